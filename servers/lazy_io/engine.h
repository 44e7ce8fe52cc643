/* engine.h: what an engine of laio is made of, and what all of them share.
 *
 * An engine's struct begins with a struct laio. Its call() either returns the kernel's result (operation NULL), or an
 * operation that it took with laio_take() and that somebody will give to laio_finish(), once.
 */
#ifndef NAI_LAIO_ENGINE_H
#define NAI_LAIO_ENGINE_H

#include "laio.h"

#include <stdatomic.h>
#include <unistd.h>

struct laio_outcome {
    long result; /* as the kernel has it: -errno on failure */
    struct laio_operation *operation;
};

struct laio_call {
    long number, arguments[6];
};

struct laio_operation {
    struct laio_operation *next;
    struct laio_operation *before, *after; /* in the list of those in progress */
    struct laio_call call;                 /* for engines whose helpers make it */
    long result;
    bool broken; /* whoever made the call got SIGPIPE for it: the loop is to have that */
    void *data;
    void (*release)(void *argument, long result);
    void *argument;
    void *engine_data[4]; /* the engine's own */
};

struct laio_engine {
    const char *name;
    struct laio *(*open)(const struct laio_options *options, char *why, size_t why_bytes);
    bool (*supports)(const struct laio *laio, long number); /* NULL = everything */
    struct laio_outcome (*call)(struct laio *laio, long number, long a, long b, long c, long d, long e, long f);
    void (*reap)(struct laio *laio);      /* give what has ended to laio_finish(); NULL if others do that */
    void (*interrupt)(struct laio *laio); /* everything in progress, once; called again until nothing is left */
    void (*close)(struct laio *laio);     /* nothing is in progress; free the engine's own, and itself */
    void (*count)(struct laio *laio);     /* bring the counters up to date; NULL if they are */
    const char *(*watch)(const struct laio *laio); /* NULL: there is nothing to watch */
};

struct laio {
    const struct laio_engine *engine;
    struct laio_operation *handle;
    struct laio_operation *free;                     /* the loop's */
    struct laio_operation *ready, **ready_end;       /* ended, in order, not yet reported; the loop's */
    _Atomic(struct laio_operation *) ended;          /* given back by any thread, newest first */
    struct laio_operation progress;                  /* head of the ring of those in progress */
    struct laio_operation *operations;               /* all of them */
    int descriptor;                                  /* readable when something ended */
    int event;                                       /* its eventfd, or -1: the engine has a descriptor of its own */
    atomic_int signalled;                            /* the eventfd was written */
    bool cancelling;
    struct laio_counters counters;
};

#define LAIO_OPERATIONS 1024 /* that there are, where the options name no number */

/* Start and stop what all engines share. descriptor: -1 = an eventfd that laio_finish() writes. Returns 0, or -1 with why. */
int laio_start(struct laio *laio, const struct laio_engine *engine, const struct laio_options *options, int descriptor,
               char *why, size_t why_bytes);
void laio_stop(struct laio *laio);

/* Loop: an operation, in progress from now on, or NULL when all are in use. */
struct laio_operation *laio_take(struct laio *laio);
/* Loop: the same in two steps. What is reserved is nobody's yet, and may be finished before it has begun. */
struct laio_operation *laio_reserve(struct laio *laio);
void laio_begin(struct laio *laio, struct laio_operation *operation);
/* Loop: what was taken is not needed: its call has returned. */
void laio_give_back(struct laio *laio, struct laio_operation *operation);
/* Any thread, once: it has ended, and nobody touches it any more. */
void laio_finish(struct laio *laio, struct laio_operation *operation, long result);

/* Loop: a call goes this path. Those that are counted nowhere went inline. */
static inline void laio_went(struct laio *laio, enum laio_path path)
{
    laio->counters.paths[path]++;
}

/* The call itself, plainly: the kernel's result, -errno on failure. Never touches errno. */
long laio_plainly(long number, long a, long b, long c, long d, long e, long f);
static inline long laio_plainly_call(const struct laio_call *call)
{
    const long *a = call->arguments;
    return laio_plainly(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* SIGPIPE to the calling thread, as the plain call sends it. */
void laio_send_sigpipe(void);

/* A line for people into why; returns NULL, for open() to return. */
__attribute__((format(printf, 3, 4))) void *laio_refuse(char *why, size_t why_bytes, const char *format, ...);

/* The signal that interrupts a blocked call (SIGURG, which is ignored by default): a handler that does nothing, installed
 * once, without the C library, since it may run where thread-local storage is another thread's. */
#define LAIO_SIGNAL SIGURG
int laio_install_interrupt(void);

static inline unsigned laio_or(unsigned value, unsigned otherwise)
{
    return value > 0 ? value : otherwise;
}

extern const struct laio_engine laio_plain, laio_activation, laio_uring, laio_nowait, laio_pool, laio_posix_aio,
    laio_linux_aio, laio_amped;

#endif
