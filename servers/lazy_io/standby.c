/* standby.c: the threads that take the loop over when it blocks, and how they learn of it. */
#include "activation.h"

#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>

#define TICKS_WITHOUT_CALLS 100 /* then the ticker sleeps until there is one */

int kernel_thread_start(struct activation *engine, struct kernel_thread *thread)
{
    enum { GUARD_BYTES = 4096 };
    if (thread->scratch_memory == NULL) {
        char *memory = mmap(NULL, GUARD_BYTES + SCRATCH_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (memory == MAP_FAILED)
            return -1;
        mprotect(memory, GUARD_BYTES, PROT_NONE);
        thread->scratch_memory = memory;
        thread->scratch = memory + GUARD_BYTES + SCRATCH_BYTES - 256; /* 256: a red zone, and room to align */
    }
    thread->tid = (int)laio_plainly(SYS_gettid, 0, 0, 0, 0, 0, 0);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, LAIO_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    return engine->watch < 0 ? 0 : kernel_thread_watch(engine, thread);
}

int kernel_thread_watch(struct activation *engine, struct kernel_thread *thread)
{
    if (switch_records_open(&thread->records) != 0)
        return -1;
    thread->page = thread->records.page;
    /* Edge-triggered, and each record wakes one of those who wait for the set: nobody hands an upcall on. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (epoll_ctl(engine->watch, EPOLL_CTL_ADD, thread->records.event, &event) == 0)
        return 0;
    int error = errno;
    switch_records_close(&thread->records);
    errno = error;
    return -1;
}

void kernel_thread_stop(struct kernel_thread *thread)
{
    switch_records_close(&thread->records);
    if (thread->scratch_memory != NULL)
        munmap(thread->scratch_memory, (size_t)((char *)thread->scratch - thread->scratch_memory) + 256);
}

/* Go on with the loop in the place of a thread that is in a call. Returns on that thread, after its call. */
static void take_over(struct activation *engine, struct standby *me, struct kernel_thread *from, uint64_t seen,
                      enum laio_path path)
{
    /* The last one to wait first sees to it that somebody will. */
    if (atomic_load(&engine->waiting) == 0)
        standby_add(engine, false);
    me->on->taken_by = path;
    HAPPENS_BEFORE(me->on);
    if (!activation_take_over(from, seen, me)) {
        atomic_fetch_add_explicit(&engine->upcalls_lost, 1, memory_order_relaxed);
        return;
    }
    HAPPENS_AFTER(from);
    me->on = from;
    if (from->records.event >= 0)
        switch_records_mask(&from->records);
    struct laio_operation *operation = from->operation;
    long result = transfer_whole(operation, from->result);
    /* Whatever number: nobody can hold a state of this thread that is in a call, for it was last seen stolen. */
    __atomic_store_n(&from->state, (seen & ~(uint64_t)STATE_MASK) + 4, __ATOMIC_RELEASE);
    laio_finish(&engine->laio, operation, result);
}

/* A thread that was preempted wants its CPU back; only one that sleeps has blocked (proc(5), the state in stat). */
static bool sleeps(const struct kernel_thread *thread)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread->tid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    if (got <= 0)
        return true; /* no /proc: what lasts is taken for blocked */
    text[got] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && name_end[1] == ' ' && (name_end[2] == 'S' || name_end[2] == 'D');
}

/* perf: each record of a switch wakes a standby. */
static void watch_records(struct activation *engine, struct standby *me)
{
    uint64_t preempted = 0; /* state of a call that was preempted, and may block without a word */
    while (!atomic_load(&engine->closing)) {
        struct epoll_event event;
        atomic_fetch_add(&engine->waiting, 1);
        int ready = epoll_wait(engine->watch, &event, 1, preempted != 0 ? WATCHDOG_MS : -1);
        atomic_fetch_sub(&engine->waiting, 1);

        atomic_fetch_add(&engine->looking, 1); /* before the state is read: adaptive.c */
        struct kernel_thread *thread = atomic_load_explicit(&engine->current, memory_order_acquire);
        uint64_t state = __atomic_load_n(&thread->state, __ATOMIC_ACQUIRE);
        bool in_call = (state & STATE_MASK) == STATE_IN_CALL;
        if (in_call)
            HAPPENS_AFTER(thread);
        enum switched switched = in_call ? switch_records_since(&thread->records, thread->head) : SWITCHED_NOT;
        atomic_fetch_sub(&engine->looking, 1);
        bool same_call = state == preempted;
        preempted = 0;
        if (switched == SWITCHED_BLOCKED)
            take_over(engine, me, thread, state, LAIO_PATH_upcall);
        else if (switched == SWITCHED_PREEMPTED && ready == 0 && same_call && sleeps(thread))
            take_over(engine, me, thread, state, LAIO_PATH_timer);
        else if (switched == SWITCHED_PREEMPTED)
            preempted = state;
        else if (ready > 0)
            atomic_fetch_add_explicit(&engine->upcalls_false, 1, memory_order_relaxed);
    }
}

/* timer: one standby at a time looks at the loop every tick. A call that is there twice has lasted. */

static long futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    return laio_plainly(SYS_futex, (long)word, operation | FUTEX_PRIVATE_FLAG, value, 0, 0, 0);
}

void standby_wake_ticker(struct activation *engine)
{
    if (atomic_exchange(&engine->asleep, 0) != 0)
        futex(&engine->asleep, FUTEX_WAKE, 1);
}

static void watch_clock(struct activation *engine, struct standby *me)
{
    while (!atomic_load(&engine->closing)) {
        struct kernel_thread *thread = NULL;
        uint64_t state = 0, calls = 0, before = 0, idle_ticks = 0;
        atomic_fetch_add(&engine->waiting, 1);
        pthread_mutex_lock(&engine->ticking);
        while (!atomic_load(&engine->closing)) {
            struct timespec tick = {.tv_nsec = (long)engine->tick_ns};
            nanosleep(&tick, NULL);
            before = calls;
            calls = atomic_load(&engine->calls);
            thread = atomic_load_explicit(&engine->current, memory_order_acquire);
            state = __atomic_load_n(&thread->state, __ATOMIC_ACQUIRE);
            if (calls != before) {
                idle_ticks = 0;
            } else if (calls % 2 == 1) {
                if ((state & STATE_MASK) == STATE_IN_CALL && sleeps(thread))
                    break;
            } else if (++idle_ticks >= TICKS_WITHOUT_CALLS) {
                idle_ticks = 0;
                atomic_store(&engine->asleep, 1);
                if (atomic_load(&engine->calls) == calls && !atomic_load(&engine->closing))
                    futex(&engine->asleep, FUTEX_WAIT, 1);
                atomic_store(&engine->asleep, 0);
            }
        }
        pthread_mutex_unlock(&engine->ticking);
        atomic_fetch_sub(&engine->waiting, 1);
        if (!atomic_load(&engine->closing))
            take_over(engine, me, thread, state, LAIO_PATH_timer);
    }
}

static void *stand_by(void *argument)
{
    struct standby *me = argument;
    struct activation *engine = me->native->engine;
    if (kernel_thread_start(engine, me->native) != 0) {
        me->failure = errno;
        atomic_store(&me->started, -1);
        return NULL;
    }
    atomic_store(&me->started, 1);
    if (engine->watch >= 0)
        watch_records(engine, me);
    else
        watch_clock(engine, me);

    /* Nothing is in progress any more: the threads are only to be exchanged until everybody is where he began. */
    struct kernel_thread *here = me->on;
    struct context *native = here == &engine->threads[0] ? &engine->threads[0].loop
                                                         : &engine->standbys[here - engine->threads - 1].parked;
    activation_go_home(&me->parked, here, &engine->away, native);
    return NULL;
}

int standby_add(struct activation *engine, bool wait_for_it)
{
    if (pthread_mutex_trylock(&engine->growing) != 0)
        return -1; /* somebody does it already */
    unsigned index = atomic_load(&engine->standby_count);
    int error = index < engine->standby_limit ? 0 : EAGAIN;
    /* One that could not begin, for want of locked memory, would not be the last. */
    if (index > 0 && atomic_load(&engine->standbys[index - 1].started) < 0)
        error = engine->standbys[index - 1].failure;
    if (error == 0) {
        struct standby *standby = &engine->standbys[index];
        standby->native = standby->on = &engine->threads[index + 1];
        sigset_t all, before;
        sigfillset(&all);
        const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}; /* the loop's, when it is there */
        for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
            sigdelset(&all, faults[i]);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(&standby->pthread, NULL, stand_by, standby);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (error == 0)
            atomic_fetch_add(&engine->standby_count, 1);
        while (error == 0 && wait_for_it && atomic_load(&standby->started) == 0)
            sched_yield();
        if (error == 0 && wait_for_it && atomic_load(&standby->started) < 0) {
            error = standby->failure;
            pthread_join(standby->pthread, NULL);
            atomic_store(&standby->started, 0);
            atomic_fetch_sub(&engine->standby_count, 1);
        }
    }
    pthread_mutex_unlock(&engine->growing);
    errno = error;
    return error == 0 ? 0 : -1;
}

int standbys_start(struct activation *engine)
{
    if (standby_add(engine, true) != 0)
        return -1;
    for (unsigned i = 1; i < engine->standbys_at_first; i++)
        if (standby_add(engine, true) != 0)
            break;
    return 0;
}
