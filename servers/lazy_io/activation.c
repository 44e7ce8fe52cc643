/* activation.c: scheduler activations without a kernel that has them.
 *
 * In LAIO the kernel made an upcall when a call blocked: on a fresh thread, which went on with the event loop, while the
 * blocked thread stayed in the kernel and reported its result when it woke. Here the kernel is the one at hand. It only
 * *records* that the loop's thread was switched out because it blocked (switch_records.h), and wakes a standby thread,
 * which does the rest:
 *
 *     loop's thread                    standby
 *     ─────────────                    ───────
 *     save context, state = in call    sleeps in epoll_wait
 *     system call … blocks      ────►  wakes; the state says "in call", the records say "blocked"
 *     (in the kernel)                  compare-and-swap: state = stolen; load the loop's context
 *     (in the kernel)                  returns from laio_syscall(): EINPROGRESS
 *     … returns; state is "stolen"     (is the loop from now on)
 *     become the standby: give the result to laio_finish(), wait for the next block
 *
 * So two contexts have swapped their kernel threads. A context is registers, stack and the base of thread-local storage:
 * everything the C library takes for the thread goes with it.
 *
 * If the call returns first, its compare-and-swap wins, and the standby was woken in vain (upcalls_false, upcalls_lost).
 * If no standby is free, or the record found no room because the thread was preempted too often before it blocked, the
 * caller is held until one is free, or until the watchdog looks (WATCHDOG_MS).
 *
 * What watches, by options->watch:
 *
 * - perf: the records, always. That costs next to nothing in a call, but at every context switch of the loop's thread.
 * - adaptive, the default: the records, but only while calls block, or the loop does nothing but call. Otherwise a
 *   read is asked for with RWF_NOWAIT, and whatever else may block takes the watch up first (adaptive.c).
 * - timer, where perf is refused (kernel.perf_event_paranoid 3 and 4 in some distributions, seccomp): a standby looks
 *   every tick_us, and a call that it sees twice, and asleep, has blocked. That is lazy by time, as in Go.
 */
#include "activation.h"

#include "cached.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

_Static_assert(sizeof(struct context) == CONTEXT_BYTES && offsetof(struct context, fs_base) == CONTEXT_FS &&
                   offsetof(struct context, mxcsr) == CONTEXT_MXCSR && offsetof(struct context, x87) == CONTEXT_X87 &&
                   offsetof(struct kernel_thread, loop) == 0 &&
                   offsetof(struct kernel_thread, state) == THREAD_STATE &&
                   offsetof(struct kernel_thread, head) == THREAD_HEAD &&
                   offsetof(struct kernel_thread, page) == THREAD_PAGE &&
                   offsetof(struct kernel_thread, scratch) == THREAD_SCRATCH &&
                   offsetof(struct kernel_thread, result) == THREAD_RESULT &&
                   offsetof(struct standby, parked) == 0 && offsetof(struct standby, on) == STANDBY_ON,
               "activation_layout.h must say what the structures are");

/* The call */

static struct laio_outcome held(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    struct activation *engine = (struct activation *)laio;
    struct kernel_thread *thread = atomic_load_explicit(&engine->current, memory_order_relaxed);
    thread->operation = laio_reserve(laio); /* perhaps one was reported since */
    if (thread->operation != NULL) {
        HAPPENS_BEFORE(thread);
        return engine->enter(thread, number, a, b, c, d, e, f);
    }
    laio_went(laio, LAIO_PATH_held);
    return (struct laio_outcome){.result = laio_plainly(number, a, b, c, d, e, f)};
}

struct laio_outcome activation_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    struct activation *engine = (struct activation *)laio;
    struct kernel_thread *thread = atomic_load_explicit(&engine->current, memory_order_relaxed);
    if (thread->operation == NULL)
        return held(laio, number, a, b, c, d, e, f);
    HAPPENS_BEFORE(thread);
    return engine->enter(thread, number, a, b, c, d, e, f);
}

static struct laio_outcome call_timed(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    struct activation *engine = (struct activation *)laio;
    atomic_fetch_add(&engine->calls, 1);
    if (atomic_load(&engine->asleep)) /* the ticker says so, and then looks at calls */
        standby_wake_ticker(engine);
    struct laio_outcome outcome = activation_call(laio, number, a, b, c, d, e, f);
    atomic_fetch_add(&engine->calls, 1);
    return outcome;
}

/* The call has returned before anybody came: its thread was switched out, or the timer watches. */
struct laio_outcome activation_kept(struct kernel_thread *thread, long result);
struct laio_outcome activation_kept(struct kernel_thread *thread, long result)
{
    if (thread->records.event >= 0) {
        if (switch_records_since(&thread->records, thread->head) == SWITCHED_BLOCKED)
            laio_went(&thread->engine->laio, LAIO_PATH_held);
        switch_records_mask(&thread->records);
    }
    return (struct laio_outcome){.result = result};
}

/* The loop, on the thread that took it over. */
struct laio_outcome activation_went_on(struct kernel_thread *from, struct kernel_thread *now);
struct laio_outcome activation_went_on(struct kernel_thread *from, struct kernel_thread *now)
{
    HAPPENS_AFTER(now);
    struct activation *engine = now->engine;
    struct laio_operation *operation = from->operation; /* which stays until `current` is another */
    if (from->records.event >= 0)
        switch_records_mask(&from->records); /* or its return would wake a standby for nothing */
    laio_begin(&engine->laio, operation);
    laio_went(&engine->laio, now->taken_by);
    now->operation = laio_reserve(&engine->laio);
    atomic_store_explicit(&engine->current, now, memory_order_release);
    return (struct laio_outcome){.operation = operation};
}

static void interrupt(struct laio *laio)
{
    struct activation *engine = (struct activation *)laio;
    for (unsigned i = 0; i <= engine->standby_limit; i++) {
        uint64_t state = __atomic_load_n(&engine->threads[i].state, __ATOMIC_ACQUIRE);
        if ((state & STATE_MASK) == STATE_STOLEN)
            laio_plainly(SYS_tgkill, getpid(), engine->threads[i].tid, LAIO_SIGNAL, 0, 0, 0);
    }
}

static void count(struct laio *laio)
{
    struct activation *engine = (struct activation *)laio;
    laio->counters.upcalls_false = atomic_load(&engine->upcalls_false);
    laio->counters.upcalls_lost = atomic_load(&engine->upcalls_lost);
    laio->counters.threads = atomic_load(&engine->standby_count);
    if (laio->counters.threads > engine->standbys_at_first)
        laio->counters.grown = laio->counters.threads - engine->standbys_at_first;
}

static const char *watch_of(const struct laio *laio)
{
    const struct activation *engine = (const struct activation *)laio;
    return engine->watch < 0 ? "timer" : engine->adaptive ? "adaptive" : "perf";
}

/* Beginning and end */

static _Thread_local bool in_use; /* of the loop, wherever it runs: two would take over one another's calls */

static void close_engine(struct laio *laio)
{
    struct activation *engine = (struct activation *)laio;
    pthread_mutex_lock(&engine->growing); /* a standby that came too late may still be adding another */
    unsigned count = atomic_load(&engine->standby_count), at_work = 0;
    for (unsigned i = 0; i < count; i++) {
        while (atomic_load(&engine->standbys[i].started) == 0)
            sched_yield();
        at_work += atomic_load(&engine->standbys[i].started) == 1;
    }
    engine->away = at_work + 1;
    atomic_store(&engine->closing, true);
    uint64_t one = 1;
    if (write(engine->ending, &one, sizeof one) != sizeof one)
        abort(); /* an eventfd takes it */
    standby_wake_ticker(engine);

    struct kernel_thread *here = atomic_load(&engine->current), *home = &engine->threads[0];
    struct context mine;
    if (at_work == 0) {
        /* Everybody is home. */
    } else if (here == home) {
        activation_go_home(&mine, here, &engine->away, &mine);
    } else {
        /* Whoever began on `here` waits for it; the loop's context waits to be taken by whoever is on [0]. */
        struct standby *native = &engine->standbys[here - engine->threads - 1];
        activation_go_home(&engine->threads[0].loop, here, &engine->away, &native->parked);
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(engine->standbys[i].pthread, NULL);
    pthread_mutex_unlock(&engine->growing);
    pthread_mutex_destroy(&engine->growing);
    pthread_mutex_destroy(&engine->ticking);
    for (unsigned i = 0; i <= engine->standby_limit; i++)
        kernel_thread_stop(&engine->threads[i]);
    if (engine->watch >= 0)
        close(engine->watch);
    if (engine->ending >= 0)
        close(engine->ending);
    laio_stop(laio);
    free(engine->threads);
    free(engine->standbys);
    free(engine);
    in_use = false;
}

static struct laio *open_engine(const struct laio_options *options, char *why, size_t why_bytes);

/* The engine, by how its calls are made at the moment. */
#define ENGINE(how)                                                                                                    \
    {                                                                                                                  \
        .name = "activation", .open = open_engine, .call = how, .interrupt = interrupt, .close = close_engine,         \
        .count = count, .watch = watch_of,                                                                             \
    }
const struct laio_engine laio_activation = ENGINE(activation_call);
const struct laio_engine activation_adaptive = ENGINE(activation_call_adaptive);
const struct laio_engine activation_aside = ENGINE(activation_call_aside);
static const struct laio_engine timed = ENGINE(call_timed);

/* What must be there for a context to be moved, or the line that says so. */
static bool movable(char *why, size_t why_bytes)
{
    enum { FSGSBASE = 2 /* HWCAP2_FSGSBASE */, SHSTK_STATUS = 0x5005 /* ARCH_SHSTK_STATUS */ };
    unsigned long shadow_stack = 0;
    if (!(getauxval(AT_HWCAP2) & FSGSBASE))
        laio_refuse(why, why_bytes,
                    "activation: the kernel does not let programs set FS (needs Linux 5.9 and a CPU with FSGSBASE)");
    else if (laio_plainly(SYS_arch_prctl, SHSTK_STATUS, (long)&shadow_stack, 0, 0, 0, 0) == 0 && (shadow_stack & 1))
        laio_refuse(why, why_bytes,
                    "activation: shadow stacks are on: run with GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK");
    else
        return true;
    return false;
}

static struct laio *give_up(struct activation *engine, char *why, size_t why_bytes, const char *what)
{
    if (what != NULL)
        laio_refuse(why, why_bytes, "activation: %s: %s", what, strerror(errno));
    close_engine(&engine->laio);
    return NULL;
}

static bool is(const char *watch, const char *name)
{
    return watch != NULL && strcmp(watch, name) == 0;
}

static struct laio *open_engine(const struct laio_options *options, char *why, size_t why_bytes)
{
    const char *watch = options->watch;
    const bool adaptive = is(watch, "adaptive"), timer = is(watch, "timer");
    if (watch != NULL && !adaptive && !is(watch, "perf") && !timer)
        return laio_refuse(why, why_bytes, "activation: no watch %s: there are adaptive, perf, timer", watch);
    if (in_use)
        return laio_refuse(why, why_bytes, "activation: this thread's loop has one open already");
    if (options->tick_us >= 1000000)
        return laio_refuse(why, why_bytes, "activation: a tick of %u µs: at most 999,999", options->tick_us);
    if (!movable(why, why_bytes))
        return NULL;
    struct activation *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return laio_refuse(why, why_bytes, "activation: no memory");
    unsigned limit = laio_or(options->threads, STANDBYS_DEFAULT);
    unsigned at_first = laio_or(options->threads_at_first, STANDBYS_AT_FIRST);
    engine->standby_limit = limit < STANDBYS_MAX ? limit : STANDBYS_MAX;
    engine->standbys_at_first = at_first < engine->standby_limit ? at_first : engine->standby_limit;
    engine->watch = engine->ending = -1;
    engine->tick_ns = laio_or(options->tick_us, 100) * UINT64_C(1000);
    engine->enter = activation_enter;
    pthread_mutex_init(&engine->growing, NULL);
    pthread_mutex_init(&engine->ticking, NULL);
    if (laio_start(&engine->laio, &laio_activation, options, -1, why, why_bytes) != 0) {
        free(engine);
        return NULL;
    }
    engine->threads = aligned_alloc(64, (engine->standby_limit + 1) * sizeof *engine->threads);
    engine->standbys = aligned_alloc(64, engine->standby_limit * sizeof *engine->standbys);
    engine->ending = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (engine->threads == NULL || engine->standbys == NULL || engine->ending < 0) {
        laio_refuse(why, why_bytes, "activation: no memory, or no descriptor");
        laio_stop(&engine->laio);
        free(engine->threads);
        free(engine->standbys);
        free(engine);
        return NULL;
    }
    memset(engine->threads, 0, (engine->standby_limit + 1) * sizeof *engine->threads);
    memset(engine->standbys, 0, engine->standby_limit * sizeof *engine->standbys);
    for (unsigned i = 0; i <= engine->standby_limit; i++) {
        engine->threads[i].engine = engine;
        engine->threads[i].records.event = -1;
        __asm__ volatile("rdfsbase %0" : "=r"(engine->threads[i].loop.fs_base)); /* the loop's, wherever it runs */
    }
    atomic_store(&engine->current, &engine->threads[0]);
    if (laio_install_interrupt() != 0)
        return give_up(engine, why, why_bytes, "SIGURG has a handler already, which cannot be shared");

    long unasked = cached_probe(engine->laio.event); /* 0: reads can be asked for */
    if (adaptive && unasked != 0) {
        errno = (int)-unasked;
        return give_up(engine, why, why_bytes, "preadv2(RWF_NOWAIT): allow it in the container, or --watch perf");
    }
    if (!timer)
        engine->watch = epoll_create1(EPOLL_CLOEXEC);
    if (!timer && watch != NULL && engine->watch < 0)
        return give_up(engine, why, why_bytes, "cannot wait");
    struct epoll_event ending = {.events = EPOLLIN}; /* level-triggered: it ends everybody's wait */
    if (engine->watch >= 0 && epoll_ctl(engine->watch, EPOLL_CTL_ADD, engine->ending, &ending) != 0)
        return give_up(engine, why, why_bytes, "cannot wait");
    if (kernel_thread_start(engine, &engine->threads[0]) != 0) {
        if (watch != NULL || engine->watch < 0)
            return give_up(engine, why, why_bytes,
                           "no switch records (sudo sysctl kernel.perf_event_paranoid=2, or --watch timer)");
        close(engine->watch);
        engine->watch = -1;
        if (kernel_thread_start(engine, &engine->threads[0]) != 0)
            return give_up(engine, why, why_bytes, "no scratch stack");
    }
    if (engine->watch < 0) {
        engine->laio.engine = &timed;
        engine->enter = activation_enter_timed;
    }
    engine->adaptive = engine->watch >= 0 && !is(watch, "perf") && unasked == 0;
    if ((!engine->adaptive || options->threads_at_first > 0) && standbys_start(engine) != 0)
        return give_up(engine, why, why_bytes, "no standby thread (locked memory: ulimit -l; threads: ulimit -u)");
    engine->threads[0].operation = laio_reserve(&engine->laio);
    if (engine->adaptive)
        activation_start_aside(engine);
    in_use = true;
    return &engine->laio;
}
