/* timeouts.h: one list per class of time-out.
 *
 * Within a class all time-outs last equally long, so a started one always belongs at the end and the list stays sorted:
 * start, stop and "which is next" are O(1), without a wheel or a heap (Varghese and Lauck 1987, scheme 2's best case).
 */
#ifndef NAI_TIMEOUTS_H
#define NAI_TIMEOUTS_H

#include <stdbool.h>
#include <stdint.h>

enum timeout_class {
    TIMEOUT_HEADER, /* for a whole request, from the accept or its first byte; progress does not renew it */
    TIMEOUT_IDLE,   /* between requests */
    TIMEOUT_SEND,   /* a reply without progress */
    TIMEOUT_LINGER, /* after a refusal */
    TIMEOUT_CLASSES
};

struct timeout {
    struct timeout *next, *previous; /* NULL: not started */
    uint64_t deadline_ms;
    enum timeout_class class;
};

struct timeouts {
    struct timeout lists[TIMEOUT_CLASSES]; /* heads of rings */
    uint64_t duration_ms[TIMEOUT_CLASSES];
};

void timeouts_init(struct timeouts *timeouts);
void timeout_start(struct timeouts *timeouts, struct timeout *timeout, enum timeout_class class, uint64_t now_ms);
void timeout_stop(struct timeout *timeout);

/* One whose deadline has passed, or NULL. It stays started: end it or start it anew before asking again. */
struct timeout *timeouts_expired(struct timeouts *timeouts, uint64_t now_ms);

/* The one of a class that began first, or NULL. */
struct timeout *timeouts_first(struct timeouts *timeouts, enum timeout_class class);

/* From now to the earliest deadline, at most limit_ms. */
int timeouts_wait_ms(const struct timeouts *timeouts, uint64_t now_ms, int limit_ms);

#endif
