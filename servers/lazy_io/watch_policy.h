/* watch_policy.h: when the engine `activation` watches its loop's thread (adaptive.c), by counting alone.
 *
 * What watching costs is paid when the thread sleeps: the kernel keeps a perf event at each of its context switches. What
 * doing without costs is paid by each call: it is asked first whether it would wait, and else takes the watch up.
 * So a loop that does not block, and sleeps often or has much to do beside its calls, does without; one that blocks, or
 * does nothing but call, does not.
 */
#ifndef NAI_WATCH_POLICY_H
#define NAI_WATCH_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* Of a loop so far. The last two are its kernel thread's: they say nothing where it has moved, that is, has blocked. */
struct watch_seen {
    uint64_t calls;
    uint64_t blocks; /* calls that blocked, whether the loop went on or was held */
    uint64_t sleeps; /* voluntary context switches */
    uint64_t cpu_us;
};

struct watch_policy {
    uint64_t look_at;     /* calls: then watch_policy_look() is to be asked */
    uint64_t calm_until;  /* calls: before, the watch is not put aside */
    uint64_t patience;    /* calls without a block that it takes */
    uint64_t aside_since; /* calls */
    struct watch_seen before; /* at the last look */
};

/* The watch is aside at first. */
void watch_policy_start(struct watch_policy *policy, const struct watch_seen *seen);

/* Is the thread to be watched from now on? */
bool watch_policy_look(struct watch_policy *policy, bool watched, const struct watch_seen *seen);

/* It was taken up: for a call that may block, or because of a look. And it was put aside. */
void watch_policy_up(struct watch_policy *policy, uint64_t calls, bool for_call);
void watch_policy_aside(struct watch_policy *policy, uint64_t calls);

#endif
