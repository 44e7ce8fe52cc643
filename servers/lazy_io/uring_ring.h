/* uring_ring.h: one ring of io_uring, into which entries go one by one, and an eventfd that says when to look at it. */
#ifndef NAI_URING_RING_H
#define NAI_URING_RING_H

#include "engine.h"

#include <liburing.h>

struct uring_ring {
    struct io_uring ring;
    int event;               /* readable when there is something to take */
    unsigned workers;        /* of the kernel, at most; 0 = as it likes */
    bool enabled;            /* by the thread that submitted first, and whose it is since */
    bool has[UINT8_MAX + 1]; /* opcodes that the kernel has */
};

/* false: why says what is missing. */
bool uring_ring_open(struct uring_ring *ring, const struct laio_options *options, char *why, size_t why_bytes);
void uring_ring_close(struct uring_ring *ring);

/* false: the kernel has not taken it, and will not. name: NULL = nobody waits for its completion. */
bool uring_ring_submit(struct uring_ring *ring, const struct io_uring_sqe *entry, const void *name);

/* Is there anything to take? It costs no system call. */
bool uring_ring_ready(const struct uring_ring *ring);
/* The next completion. name: NULL = nobody waits for it. */
bool uring_ring_take(struct uring_ring *ring, void **name, long *result);

/* Where the completion queue ends, and whether something has completed since it ended at `tail`: that completion is
 * taken, others stay. */
unsigned uring_ring_tail(const struct uring_ring *ring);
bool uring_ring_completed(struct uring_ring *ring, const void *name, unsigned tail, long *result);

/* Wait for it. false: a signal came first. */
bool uring_ring_wait(struct uring_ring *ring, const void *name, unsigned tail, long *result);

/* Besides those in progress the queue has room for a few completions. If there may be more, those that come are not seen
 * by uring_ring_completed(). */
bool uring_ring_crowded(const struct uring_ring *ring);

/* Take back what was submitted. true: it has completed, with ECANCELED or otherwise; false: it goes on. */
bool uring_ring_withdraw(struct uring_ring *ring, const void *name, unsigned tail, long *result);
/* Take back everything, without waiting for it. */
void uring_ring_withdraw_all(struct uring_ring *ring);

/* Between these the eventfd is not written for what completes, since that is taken right away; the second writes it for
 * what is left after all, unless it was written for that before (told, which the first returns). */
bool uring_ring_quiet(struct uring_ring *ring);
void uring_ring_told(struct uring_ring *ring, bool told);
void uring_ring_tell(struct uring_ring *ring); /* write it */

#endif
