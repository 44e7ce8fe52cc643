/* laio.h: lazy asynchronous I/O, the interface of Elmeleegy, Chanda, Cox and Zwaenepoel (2004).
 *
 * Any system call may be issued through laio_syscall(). If it does not block, it is an ordinary call: same result, same
 * errno. If it blocks, laio_syscall() returns -1 with errno EINPROGRESS and laio_gethandle() names the operation, which
 * goes on without the caller; laio_poll() reports it once, when all of it is complete.
 *
 *     long got = laio_syscall(laio, SYS_pread64, file, buffer, bytes, offset);
 *     struct laio_operation *operation = laio_gethandle(laio);
 *     if (operation != NULL)
 *         laio_set_data(operation, connection);   // not complete yet: laio_poll() will say so
 *     else if (got < 0)
 *         perror("pread");                        // as after any system call
 *
 * The contract, the same for every engine:
 *
 * - One struct laio belongs to one loop: one thread at a time calls these functions. Several loops have one each.
 * - A call may set errno to EINPROGRESS itself (connect). Only laio_gethandle() tells: NULL = the call has returned.
 * - Everything the call was given, buffers, paths and structures, stays valid and unread until the completion: of that
 *   operation, not of the call. Descriptors stay open, too: a close in between hits whoever gets the number next.
 * - A completion is final and comes once. Completions come in the order in which operations ended.
 * - Where an operation cannot be made (all are in use, or no thread is free), the caller is held, as by a plain call.
 *   That is counted (LAIO_PATH_HELD) and nothing is lost.
 * - An engine refuses a call that it has no way to make lazily with ENOSYS. laio_supports() says so beforehand, of calls
 *   that it never has; amped has reads, but not from files opened with O_DIRECT, and then ENOSYS is the answer.
 * - SIGPIPE comes as with the plain call, to the loop's thread. Of a call that was in progress it comes with the
 *   completion.
 * - What an engine does differently from the plain call is listed at the top of its file (uring.c has such a list: there
 *   SO_RCVTIMEO and SO_SNDTIMEO are not kept).
 * - laio_cancel() interrupts what is in progress. What can be interrupted completes with ECANCELED, everything else
 *   as it would have. Nothing is dropped: each operation is still reported. So it is, too, with what begins before the
 *   last of them has ended.
 * - A child made by fork must not use its parent's struct laio.
 *
 * What the engine `activation` asks beyond that, because its loop moves from one kernel thread to another whenever a
 * call blocks (activation.c says how):
 *
 * - It is the loop's of the thread that opened it, and that loop has one. Other threads have their own.
 * - Thread-local variables, errno and pthread_self() move with the loop and stay right. What the kernel keeps for a
 *   thread does not: signal mask and stack, affinity, scheduling class, gettid(), sched_getcpu(), and what rests on these
 *   (mutexes with priority inheritance, pthread_kill() of the loop's thread). Set affinity before laio_open(); the
 *   library's threads take it over.
 * - A signal handler may run on the thread of a blocked call, where thread-local variables are the loop's: so it may
 *   set lock-free flags and nothing else. Better: block signals before laio_open() and read a signalfd. SIGURG, by which
 *   calls are interrupted, stays unblocked.
 * - With options.watch adaptive, while the watch is aside: reads are made by preadv2(RWF_NOWAIT) first, which waits for
 *   no disk, but for a page of the caller's own buffer that has been swapped out. The first call that may block makes the
 *   standby threads and opens a descriptor for each, and takes that time; where they cannot be had then, the call is held (watch_failed) and the next
 *   one tries again.
 * - fork(), pthread_create(), pthread_exit(), setuid() and its relatives (which glibc carries out in every thread) are
 *   for before laio_open() and after laio_close(), which brings the loop home to the thread that opened it: children and
 *   threads made in between would have the mask of the library's threads, and end with one of those.
 */
#ifndef NAI_LAIO_H
#define NAI_LAIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

struct laio;
struct laio_operation;

/* How a call went. Every call counts on exactly one path. */
#define LAIO_PATHS(X)                                                                                                  \
    X(inline)   /* an ordinary call in the loop's thread, or complete when its submission returned */                  \
    X(hit)      /* asked first: the data was in memory */                                                              \
    X(miss)     /* asked first: it was not, so a helper makes the call */                                              \
    X(helper)   /* handed to a helper without asking */                                                                \
    X(ring)     /* kept by the kernel: io_uring or io_submit */                                                        \
    X(upcall)   /* it blocked, a switch record said so, and the loop went on without it */                             \
    X(timer)    /* it lasted too long, and the loop went on without it */                                              \
    X(held)     /* it was to be lazy and could not: the caller waited */                                               \
    X(refused)  /* ENOSYS: this engine has no such call */

enum laio_path {
#define X(name) LAIO_PATH_##name,
    LAIO_PATHS(X)
#undef X
        LAIO_PATH_COUNT
};
extern const char *const laio_path_names[LAIO_PATH_COUNT];

struct laio_counters {
    uint64_t paths[LAIO_PATH_COUNT]; /* calls by path; inline is derived, so read it with laio_count() */
    uint64_t calls;
    uint64_t completions;            /* reported by laio_poll(), or released */
    uint64_t upcalls_false;          /* a standby was woken and there was nothing to take over */
    uint64_t upcalls_lost;           /* it came too late: the call had returned */
    uint64_t grown;                  /* helpers or standbys that were added */
    uint64_t watch_aside;            /* activation, adaptive: how often the watch was put aside, after the beginning */
    uint64_t watch_again;            /* and taken up */
    uint64_t watch_failed;           /* or could not be: no descriptor, locked memory or thread. Then a call is held */
    unsigned threads;                /* helpers (threads or processes) or standbys that there are */
    unsigned in_progress, in_progress_peak;
};

struct laio_options {
    unsigned operations;      /* most that may be in progress; 0 = 1,024 */
    unsigned threads;         /* most helpers or standbys; 0 = 64 */
    unsigned threads_at_first; /* 0 = 4, but none before one is needed with nowait and with activation, adaptive */
    bool optimistic;          /* nowait: where RWF_NOWAIT is not supported, call plainly instead of by a helper */
    const char *watch;        /* activation: "adaptive", "perf", "timer", or NULL = adaptive if perf can be had, else timer */
    unsigned tick_us;         /* activation, timer: how long a call may last before it is taken for blocked; 0 = 100 */
};

/* A completion, as laio_syscall() would have returned it. */
struct laio_completion {
    struct laio_operation *operation; /* its name; may be given to a new operation after this laio_poll() */
    void *data;                       /* of laio_set_data() */
    long result;                      /* -1 with error set, or the call's result */
    int error;                        /* errno, 0 if there is none */
};

/* The engines that were compiled in, NULL after the last. */
extern const struct laio_engine *const laio_engines[];
const char *laio_engine_name(const struct laio_engine *engine);

/* Open an engine by name for the calling loop. NULL: why (of why_bytes) says in a line what is missing and what brings it.
 * options may be NULL. */
struct laio *laio_open(const char *engine, const struct laio_options *options, char *why, size_t why_bytes);

/* laio_syscall(laio, SYS_name, arguments…): up to six arguments, each passed as a register-wide value. */
#define laio_syscall(laio, ...) LAIO_PADDED(laio, __VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define LAIO_PADDED(laio, number, a, b, c, d, e, f, ...)                                                               \
    laio_call(laio, number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
long laio_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f);

/* The operation that the last laio_syscall() left in progress, or NULL if it returned. */
struct laio_operation *laio_gethandle(const struct laio *laio);
void laio_set_data(struct laio_operation *operation, void *data);

/* Up to n completions; waits for the first one up to timeout_ms (0 = not at all, -1 = for ever). Returns their number, 0
 * after the time, -1 with errno EINTR. */
int laio_poll(struct laio *laio, struct laio_completion *completions, int n, int timeout_ms);

/* Readable when laio_poll() has something to report: for a loop that waits for sockets with epoll. It may be readable
 * without: then laio_poll() returns 0. Before sleeping on it, poll until fewer than n completions come. */
int laio_descriptor(const struct laio *laio);

/* Nobody waits for an operation in progress any more: instead of being reported, it is given to release() within a later
 * laio_poll() or laio_close(), to free its buffers, and to close what it opened (result: as the kernel has it, -errno). */
void laio_abandon(struct laio *laio, struct laio_operation *operation, void (*release)(void *argument, long result),
                  void *argument);

bool laio_supports(const struct laio *laio, long number);
const char *laio_watch(const struct laio *laio); /* activation: "adaptive", "perf" or "timer"; others: "" */
const struct laio_counters *laio_count(struct laio *laio);

/* Interrupt everything in progress, as often as it takes; returns at once. */
void laio_cancel(struct laio *laio);

/* Cancel, wait for what is in progress, release what was abandoned (the rest is not reported any more), end the threads.
 * On return the loop is on the kernel thread that opened it. */
void laio_close(struct laio *laio);

#endif
