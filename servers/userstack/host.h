/* host.h: a stack, what carries its frames, and its clock: what every program on a user-level stack begins with.
 *
 *     while (…) {
 *         host_turn(&host);            the clock is read once, timers expire, frames come in
 *         … us_wait(host.stack, …), us_read(), us_write() …
 *         host_wait(&host, timeout);   what was written leaves; sleeps until a frame or a timer is due
 *     }
 */
#ifndef NAI_STACK_HOST_H
#define NAI_STACK_HOST_H

#include "attach.h"
#include "socket.h"

struct host {
    struct stack *stack;
    struct attachment *attachment;
    uint32_t tick_ns;
    unsigned frames; /* of the last turn */
};

enum { HOST_BATCH = 256 }; /* frames of one turn */

/* Open the attachment, draw the secret key, open the stack. 0, or -1 with one line in *error. `limits->key` is filled in. */
int host_open(struct host *host, const char *where, const struct stack_address *address, struct stack_limits *limits,
              char *error, size_t error_bytes);
void host_close(struct host *host);

void host_turn(struct host *host);
/* Sends. Then sleeps for at most so many nanoseconds (below 0: as long as nothing is due), not at all with 0, or if the last
 * turn left frames behind. */
void host_wait(struct host *host, int64_t ns);
uint64_t host_now(const struct host *host); /* ticks, by the clock */

#endif
