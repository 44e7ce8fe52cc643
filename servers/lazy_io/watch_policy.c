/* watch_policy.c: when a loop's thread is worth watching. */
#include "watch_policy.h"

/* A look costs a getrusage(), about as much as a read: nothing, once in so many. */
#define CALLS_A_LOOK 1024

/* Watched, a sleep costs some 800 ns more; not watched, a read some 100 ns: one sleep in eight calls is where it does not
 * matter. From one in 16 the watch is put aside, below one in 64 it is taken up: what is between stays as it is. */
#define CALLS_A_SLEEP_ASIDE 16
#define CALLS_A_SLEEP_AWAKE 64

/* And only if calls are what the loop does, as in a loop of reads from memory. A busy server spends ten times as much on
 * the rest of a reply: then the threads that watching needs, and the memory that it touches in each call, cost more than
 * asking does. A process of several threads locks its table of descriptors in every call. */
#define CPU_US_A_CALL_AWAKE 4
#define CPU_US_A_CALL_ASIDE 8

/* Calls without a block that are to pass before the watch is put aside again. To take it up costs some tens of µs, so
 * that is about 10 ns a call. It doubles when a block comes sooner than that once more. */
#define PATIENCE_FIRST UINT64_C(4096)
#define PATIENCE_MOST (UINT64_C(256) * PATIENCE_FIRST)

void watch_policy_start(struct watch_policy *policy, const struct watch_seen *seen)
{
    *policy = (struct watch_policy){
        .look_at = seen->calls + CALLS_A_LOOK,
        .patience = PATIENCE_FIRST,
        .aside_since = seen->calls - PATIENCE_FIRST, /* as if for long: the first block is none that came soon */
        .before = *seen,
    };
}

bool watch_policy_look(struct watch_policy *policy, bool watched, const struct watch_seen *seen)
{
    const struct watch_seen before = policy->before;
    const uint64_t calls = seen->calls - before.calls;
    policy->before = *seen;
    policy->look_at = seen->calls + CALLS_A_LOOK;
    if (seen->blocks != before.blocks) {
        policy->calm_until = seen->calls + policy->patience;
        return true;
    }
    const uint64_t sleeps = seen->sleeps - before.sleeps, cpu_us = seen->cpu_us - before.cpu_us;
    if (!watched)
        return sleeps * CALLS_A_SLEEP_AWAKE < calls && cpu_us < calls * CPU_US_A_CALL_AWAKE;
    return seen->calls < policy->calm_until ||
           (sleeps * CALLS_A_SLEEP_ASIDE < calls && cpu_us < calls * CPU_US_A_CALL_ASIDE);
}

void watch_policy_up(struct watch_policy *policy, uint64_t calls, bool for_call)
{
    if (!for_call)
        return;
    bool soon = calls - policy->aside_since < policy->patience;
    policy->patience = !soon                              ? PATIENCE_FIRST
                       : policy->patience < PATIENCE_MOST ? 2 * policy->patience
                                                          : PATIENCE_MOST;
    policy->calm_until = calls + policy->patience;
}

void watch_policy_aside(struct watch_policy *policy, uint64_t calls)
{
    policy->aside_since = calls;
}
