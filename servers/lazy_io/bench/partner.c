/* partner.c: told through one futex word. */
#include "partner.h"

#include "calls.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>

enum { IDLE, ARMED, TOLD, QUIT };

static void wait_while(struct partner *partner, uint32_t state, uint64_t ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    inlined_syscall(SYS_futex, (long)&partner->word, FUTEX_WAIT_PRIVATE, state, (long)&timeout, 0, 0);
}

static void wake(struct partner *partner)
{
    inlined_syscall(SYS_futex, (long)&partner->word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

/* It is idle again before it acts: when the loop sees the effect, it may arm. */
static void act(struct partner *partner, uint32_t state)
{
    if (state == TOLD && partner->after_told_ns > 0) {
        struct timespec pause = {.tv_nsec = (long)partner->after_told_ns};
        nanosleep(&pause, NULL);
    }
    if (!atomic_compare_exchange_strong(&partner->word, &state, IDLE))
        return; /* told at the last moment, or disarmed, or to quit: the next look says which */
    if (state == ARMED)
        atomic_fetch_add(&partner->late, 1);
    partner->act(partner->argument);
}

static void *partner_thread(void *argument)
{
    struct partner *partner = argument;
    prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
    for (;;) {
        uint32_t state = atomic_load(&partner->word);
        if (state == QUIT)
            return NULL;
        if (state == TOLD) {
            act(partner, state);
            continue;
        }
        /* Arming wakes nobody, so an idle partner looks again before anything armed meanwhile can be due. */
        uint64_t wait_ns = partner->at_latest_ns;
        if (state == ARMED) {
            uint64_t due_ns = atomic_load(&partner->armed_ns) + partner->at_latest_ns, now = now_ns();
            if (now >= due_ns) {
                act(partner, state);
                continue;
            }
            wait_ns = due_ns - now;
        }
        wait_while(partner, state, wait_ns);
    }
}

void partner_start(struct bench *bench, struct partner *partner, void (*act)(void *argument), void *argument,
                   uint64_t after_told_ns, uint64_t at_latest_ns)
{
    *partner = (struct partner){
        .act = act, .argument = argument, .after_told_ns = after_told_ns, .at_latest_ns = at_latest_ns};
    bench_thread(bench, &partner->thread, bench->options.partner_cpu, partner_thread, partner);
    partner->started = true;
}

void partner_stop(struct partner *partner)
{
    if (!partner->started)
        return;
    atomic_store(&partner->word, QUIT);
    wake(partner);
    pthread_join(partner->thread, NULL);
    partner->started = false;
}

void partner_arm(struct partner *partner)
{
    atomic_store(&partner->armed_ns, now_ns());
    uint32_t state = IDLE;
    while (!atomic_compare_exchange_strong(&partner->word, &state, ARMED)) {
        sched_yield();
        atomic_store(&partner->armed_ns, now_ns());
        state = IDLE;
    }
}

bool partner_tell(struct partner *partner)
{
    uint32_t state = ARMED;
    if (!atomic_compare_exchange_strong(&partner->word, &state, TOLD))
        return false;
    wake(partner);
    return true;
}

bool partner_disarm(struct partner *partner)
{
    uint32_t state = ARMED;
    return atomic_compare_exchange_strong(&partner->word, &state, IDLE);
}
