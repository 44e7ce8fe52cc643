/* waker.h: wake one waiter of each of many futexes, where possible by one system call for all.
 *
 * Between two system calls a client that was just woken may take the CPU from the domain, which then is switched in and
 * out once a wake-up. Within one (io_uring, IORING_OP_FUTEX_WAKE, Linux 6.7), on a kernel that does not preempt itself,
 * all are woken before the first one runs. Elsewhere they are so many futex(2).
 */
#ifndef NAI_DOMAIN_WAKER_H
#define NAI_DOMAIN_WAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAKER_MOST 128u /* in a batch */

struct waker {
    int ring; /* -1: there is none */
    void *rings, *entries;
    size_t rings_bytes, entries_bytes;
    _Atomic uint32_t *tail, *completions_head, *completions_tail;
    uint32_t mask;
    uint32_t count; /* in the batch */
};

/* With `plainly`, or where it is refused, without a ring. */
void waker_open(struct waker *waker, bool plainly);
void waker_close(struct waker *waker);
/* Wake one that waits for it, by waker_flush() at the latest. */
void waker_add(struct waker *waker, _Atomic uint32_t *futex);
void waker_flush(struct waker *waker);

#endif
