/* adaptive.c: the watch of the engine `activation`, put aside while nothing blocks.
 *
 * A perf event costs its thread something at every context switch, masked or disabled, as long as it is open; and a
 * process of several threads pays in each call for locking what they share. A server whose files are all in memory
 * blocks never, and most of its work is not its calls: it should not pay for either. So the loop has two states, as watch_policy.h decides:
 *
 *     watched   as with --watch perf: every call may block, and is taken over then
 *     aside     the event of the loop's thread is closed, and at first there is no other thread. A call is made as far
 *               as it need not wait (cached.h), a read above all. What would wait, and every call that cannot be asked
 *               so, first takes the watch up again: no block is missed
 *
 * Only the thread that the loop is on has its event closed: standbys sleep until they are woken by it, and have theirs.
 */
#include "activation.h"

#include "cached.h"
#include "transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

static uint64_t us(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static struct watch_seen see(const struct activation *engine)
{
    const struct laio_counters *counters = &engine->laio.counters;
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (struct watch_seen){
        .calls = counters->calls,
        .blocks = counters->paths[LAIO_PATH_upcall] + counters->paths[LAIO_PATH_timer] +
                  counters->paths[LAIO_PATH_held],
        .sleeps = (uint64_t)usage.ru_nvcsw,
        .cpu_us = us(usage.ru_utime) + us(usage.ru_stime),
    };
}

static struct kernel_thread *current(struct activation *engine)
{
    return atomic_load_explicit(&engine->current, memory_order_relaxed);
}

static bool is_due(const struct activation *engine)
{
    return engine->laio.counters.calls >= engine->policy.look_at;
}

static bool wants_watch(struct activation *engine, bool watched)
{
    const struct watch_seen seen = see(engine);
    return watch_policy_look(&engine->policy, watched, &seen);
}

void activation_start_aside(struct activation *engine)
{
    const struct watch_seen seen = see(engine);
    switch_records_close(&current(engine)->records);
    watch_policy_start(&engine->policy, &seen);
    engine->laio.engine = &activation_aside;
}

/* A standby reads the records of a thread that it has seen in a call, while it is `looking`. Here the thread is in none.
 * So after both have made themselves known, by operations in one order, either the standby sees that, or it is seen. */
bool activation_put_aside(struct activation *engine)
{
    if (atomic_fetch_add(&engine->looking, 0) != 0)
        return false;
    switch_records_close(&current(engine)->records);
    watch_policy_aside(&engine->policy, engine->laio.counters.calls);
    engine->laio.counters.watch_aside++;
    engine->laio.engine = &activation_aside;
    return true;
}

/* From now on blocks are noticed. Leaves errno alone, which is the call's. */
static bool take_up(struct activation *engine, bool for_call)
{
    struct kernel_thread *thread = current(engine);
    const int error = errno;
    bool watched = kernel_thread_watch(engine, thread) == 0;
    if (watched && atomic_load(&engine->standby_count) == 0 && standbys_start(engine) != 0) {
        switch_records_close(&thread->records);
        watched = false;
    }
    errno = error;
    if (!watched) {
        engine->laio.counters.watch_failed++;
        return false;
    }
    watch_policy_up(&engine->policy, engine->laio.counters.calls, for_call);
    engine->laio.counters.watch_again++;
    engine->laio.engine = &activation_adaptive;
    return true;
}

static struct laio_outcome make(struct activation *engine, const struct laio_call *call)
{
    const long *a = call->arguments;
    return activation_call(&engine->laio, call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* What is left of a call of which `moved` bytes were read. */
static struct laio_outcome make_rest(struct activation *engine, const struct laio_call *call, size_t moved, void *memory)
{
    struct kernel_thread *thread = current(engine);
    if (thread->operation == NULL)
        thread->operation = laio_reserve(&engine->laio);
    struct laio_operation *operation = thread->operation;
    if (operation == NULL) {
        struct laio_outcome held = make(engine, call);
        free(memory);
        return (struct laio_outcome){.result = transfer_joined(moved, held.result)};
    }
    transfer_rest(operation, moved, memory);
    struct laio_outcome outcome = make(engine, call);
    if (outcome.operation == NULL) /* else by who takes the result (standby.c) */
        outcome.result = transfer_whole(operation, outcome.result);
    return outcome;
}

static struct laio_outcome hold(struct activation *engine, const struct laio_call *call, size_t moved, void *memory)
{
    laio_went(&engine->laio, LAIO_PATH_held);
    long result = transfer_joined(moved, laio_plainly_call(call));
    free(memory);
    return (struct laio_outcome){.result = result};
}

struct laio_outcome activation_call_aside(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    struct activation *engine = (struct activation *)laio;
    struct laio_call call = {number, {a, b, c, d, e, f}};
    if (is_due(engine) && wants_watch(engine, false) && take_up(engine, false))
        return make(engine, &call);
    struct cached asked = {.answer = CACHED_NOT};
    if (!cached_is_read(number) || !transfer_is_direct(a)) /* that would wait for the disk all the same */
        asked = cached_call(&call);
    if (asked.answer == CACHED_HIT)
        laio_went(laio, LAIO_PATH_hit);
    if (asked.answer == CACHED_HIT || asked.answer == CACHED_RETURNED)
        return (struct laio_outcome){.result = asked.result};
    if (!take_up(engine, true))
        return hold(engine, &call, asked.moved, asked.memory);
    return asked.moved > 0 ? make_rest(engine, &call, asked.moved, asked.memory) : make(engine, &call);
}

struct laio_outcome activation_call_adaptive(struct laio *laio, long number, long a, long b, long c, long d, long e,
                                             long f)
{
    struct activation *engine = (struct activation *)laio;
    if (is_due(engine) && !wants_watch(engine, true) && activation_put_aside(engine))
        return activation_call_aside(laio, number, a, b, c, d, e, f);
    return activation_call(laio, number, a, b, c, d, e, f);
}
