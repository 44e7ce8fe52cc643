/* posix_aio.c: POSIX asynchronous I/O as glibc has it: threads within the C library, one for each descriptor in use.
 *
 * Requests on the same descriptor wait for each other there (glibc, sysdeps/pthread/aio_misc.c), however many threads
 * are idle. A completion is announced by a realtime signal, which is blocked and read through a signalfd. A signal may
 * be lost: the limit of queued signals is the user's, not the process's (RLIMIT_SIGPENDING), and a thread that was
 * there before laio_open() and does not block it would take it. So a timer, too, makes the loop look, while anything is
 * in progress.
 */
#include "engine.h"

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#define LOOK_MS 20 /* how late a completion comes whose signal was lost */
#define SIGNALS 32 /* read at a time */

struct posix_aio {
    struct laio laio;
    int signal, signals, timer, both;
    bool ticking;
    bool blocked_before;     /* the signal, at laio_open() */
    struct aiocb *blocks;    /* one for each operation */
    unsigned char *underway; /* glibc has it */
};

/* Whoever has this handler for a signal has taken that signal for itself; it keeps one that was not blocked from ending
 * the process. */
static void nothing(int signal)
{
    (void)signal;
}

/* A realtime signal that nobody uses, from now on this engine's. 0: there is none. */
static int take_signal(void)
{
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; signal++) {
        struct sigaction ours = {.sa_handler = nothing, .sa_flags = SA_RESTART}, theirs;
        if (sigaction(signal, NULL, &theirs) != 0 || theirs.sa_handler != SIG_DFL ||
            sigaction(signal, &ours, &theirs) != 0)
            continue;
        if (theirs.sa_handler == SIG_DFL)
            return signal;
        sigaction(signal, &theirs, NULL); /* somebody was faster */
    }
    return 0;
}

static unsigned index_of(const struct posix_aio *aio, const struct laio_operation *operation)
{
    return (unsigned)(operation - aio->laio.operations);
}

static void set_of(int signal, sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, signal);
}

static void drop(struct posix_aio *aio)
{
    const int descriptors[] = {aio->signals, aio->timer, aio->both};
    for (int i = 0; i < 3; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    if (aio->signal > 0) {
        sigset_t ours;
        set_of(aio->signal, &ours);
        if (!aio->blocked_before)
            pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
        signal(aio->signal, SIG_DFL);
    }
    free(aio->blocks);
    free(aio->underway);
    free(aio);
}

static bool watch(int both, int descriptor)
{
    struct epoll_event readable = {.events = EPOLLIN};
    return both >= 0 && descriptor >= 0 && epoll_ctl(both, EPOLL_CTL_ADD, descriptor, &readable) == 0;
}

static struct laio *posix_aio_open(const struct laio_options *options, char *why, size_t why_bytes)
{
    const unsigned operations = laio_or(options->operations, LAIO_OPERATIONS);
    struct posix_aio *aio = calloc(1, sizeof *aio);
    if (aio == NULL)
        return laio_refuse(why, why_bytes, "no memory");
    aio->signals = aio->timer = aio->both = -1;
    aio->blocks = calloc(operations, sizeof *aio->blocks);
    aio->underway = calloc(operations, sizeof *aio->underway);
    aio->signal = take_signal();
    aio->blocked_before = true; /* so is left */
    if (aio->blocks == NULL || aio->underway == NULL || aio->signal == 0) {
        laio_refuse(why, why_bytes, "posix-aio: %s",
                    aio->signal == 0 ? "all realtime signals are in use: leave one to laio" : "no memory");
        drop(aio);
        return NULL;
    }
    sigset_t ours, before;
    set_of(aio->signal, &ours);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    aio->blocked_before = sigismember(&before, aio->signal) == 1;
    aio->signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    aio->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    aio->both = epoll_create1(EPOLL_CLOEXEC);
    if (!watch(aio->both, aio->signals) || !watch(aio->both, aio->timer)) {
        laio_refuse(why, why_bytes, "posix-aio: no descriptors: %s: raise ulimit -n", strerror(errno));
        drop(aio);
        return NULL;
    }
    if (laio_start(&aio->laio, &laio_posix_aio, options, aio->both, why, why_bytes) != 0) {
        drop(aio);
        return NULL;
    }
    /* Once and for all: glibc reads sigevent after the error code, by which the request may be taken for ended. */
    for (unsigned i = 0; i < operations; i++)
        aio->blocks[i].aio_sigevent = (struct sigevent){.sigev_notify = SIGEV_SIGNAL,
                                                        .sigev_signo = aio->signal,
                                                        .sigev_value.sival_ptr = &aio->laio.operations[i]};
    struct aioinit threads = {.aio_threads = (int)laio_or(options->threads, 64), .aio_num = (int)operations};
    aio_init(&threads); /* the library's, so for all of the process; glibc heeds it before the first request */
    return &aio->laio;
}

static bool posix_aio_supports(const struct laio *laio, long number)
{
    (void)laio;
    return number == SYS_pread64 || number == SYS_pwrite64 || number == SYS_fsync || number == SYS_fdatasync;
}

static void tick(struct posix_aio *aio, bool on)
{
    const struct timespec time = {.tv_nsec = on ? LOOK_MS * 1000000l : 0};
    timerfd_settime(aio->timer, 0, &(struct itimerspec){.it_value = time, .it_interval = time}, NULL);
    aio->ticking = on;
}

static int enqueue(struct aiocb *block, long number)
{
    switch (number) {
    case SYS_pread64:
        return aio_read(block);
    case SYS_pwrite64:
        return aio_write(block);
    default:
        return aio_fsync(number == SYS_fsync ? O_SYNC : O_DSYNC, block);
    }
}

/* Not by glibc: for want of room, or because the plain call has its own opinion, most often an error at once. */
static struct laio_outcome plainly(struct laio *laio, const struct laio_call *call, bool held)
{
    long result = laio_plainly_call(call);
    if (held || result >= 0)
        laio_went(laio, LAIO_PATH_held);
    return (struct laio_outcome){.result = result};
}

static struct laio_outcome posix_aio_call(struct laio *laio, long number, long a, long b, long c, long d, long e,
                                          long f)
{
    struct posix_aio *aio = (struct posix_aio *)laio;
    const struct laio_call call = {number, {a, b, c, d, e, f}};
    if (!posix_aio_supports(laio, number)) {
        laio_went(laio, LAIO_PATH_refused);
        return (struct laio_outcome){.result = -ENOSYS};
    }
    /* Where pread() is refused for a pipe, glibc reads it without the offset. */
    bool moves = number == SYS_pread64 || number == SYS_pwrite64;
    if (moves && laio_plainly(SYS_lseek, a, 0, SEEK_CUR, 0, 0, 0) < 0)
        return plainly(laio, &call, false);
    struct laio_operation *operation = laio_take(laio);
    if (operation == NULL)
        return plainly(laio, &call, true);
    struct aiocb *block = &aio->blocks[index_of(aio, operation)];
    operation->call = call;
    block->aio_fildes = (int)a;
    block->aio_buf = moves ? (void *)b : NULL;
    block->aio_nbytes = moves ? (size_t)c : 0;
    block->aio_offset = moves ? d : 0;
    if (enqueue(block, number) != 0) {
        bool full = errno == EAGAIN;
        laio_give_back(laio, operation);
        return plainly(laio, &call, full);
    }
    laio_went(laio, LAIO_PATH_helper);
    aio->underway[index_of(aio, operation)] = 1;
    if (!aio->ticking)
        tick(aio, true);
    return (struct laio_outcome){.operation = operation};
}

/* Where glibc could not send the signal it forgets the result and says EAGAIN (__aio_notify()), which none of these
 * calls does itself. All but an appending write may be made once more. */
static long make_again(struct posix_aio *aio, const struct laio_call *call)
{
    long flags = laio_plainly(SYS_fcntl, call->arguments[0], F_GETFL, 0, 0, 0, 0);
    if (call->number == SYS_pwrite64 && (flags & O_APPEND) != 0)
        return -EAGAIN;
    aio->laio.counters.paths[LAIO_PATH_helper]--;
    laio_went(&aio->laio, LAIO_PATH_held);
    return laio_plainly_call(call);
}

/* A signal may be of an earlier use of the operation: it only says where to look. */
static void look(struct posix_aio *aio, struct laio_operation *operation)
{
    unsigned i = index_of(aio, operation);
    if (!aio->underway[i])
        return;
    int error = aio_error(&aio->blocks[i]);
    if (error == EINPROGRESS)
        return;
    aio->underway[i] = 0;
    long result = aio_return(&aio->blocks[i]);
    if (error != 0)
        result = error == EAGAIN ? make_again(aio, &operation->call) : -error;
    laio_finish(&aio->laio, operation, result);
}

static void look_at_all(struct posix_aio *aio)
{
    struct laio_operation *head = &aio->laio.progress;
    for (struct laio_operation *operation = head->after; operation != head; operation = operation->after)
        look(aio, operation);
}

static void posix_aio_reap(struct laio *laio)
{
    struct posix_aio *aio = (struct posix_aio *)laio;
    struct signalfd_siginfo signals[SIGNALS];
    uint64_t ticks;
    long bytes;
    do {
        bytes = laio_plainly(SYS_read, aio->signals, (long)signals, sizeof signals, 0, 0, 0);
        for (long i = 0; i < bytes / (long)sizeof signals[0]; i++)
            if (signals[i].ssi_code == SI_ASYNCIO)
                look(aio, (struct laio_operation *)(uintptr_t)signals[i].ssi_ptr);
    } while (bytes == sizeof signals);
    if (!aio->ticking || laio_plainly(SYS_read, aio->timer, (long)&ticks, sizeof ticks, 0, 0, 0) < 0)
        return;
    look_at_all(aio);
    if (laio->counters.in_progress == 0)
        tick(aio, false);
}

/* What is in glibc's queue ends with ECANCELED. There is no way to reach its threads: what is under way goes on. */
static void posix_aio_interrupt(struct laio *laio)
{
    struct posix_aio *aio = (struct posix_aio *)laio;
    struct laio_operation *head = &laio->progress;
    for (struct laio_operation *operation = head->after; operation != head; operation = operation->after) {
        struct aiocb *block = &aio->blocks[index_of(aio, operation)];
        if (aio->underway[index_of(aio, operation)])
            aio_cancel(block->aio_fildes, block);
    }
    look_at_all(aio);
}

static void posix_aio_close(struct laio *laio)
{
    struct posix_aio *aio = (struct posix_aio *)laio;
    struct signalfd_siginfo unwanted[SIGNALS];
    aio_cancel(aio->both, NULL); /* takes glibc's lock: after it no block is looked at, and all signals were sent */
    while (laio_plainly(SYS_read, aio->signals, (long)unwanted, sizeof unwanted, 0, 0, 0) > 0)
        ;
    laio_stop(laio);
    drop(aio);
}

const struct laio_engine laio_posix_aio = {
    .name = "posix-aio",
    .open = posix_aio_open,
    .supports = posix_aio_supports,
    .call = posix_aio_call,
    .reap = posix_aio_reap,
    .interrupt = posix_aio_interrupt,
    .close = posix_aio_close,
};
