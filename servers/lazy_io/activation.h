/* activation.h: the parts of the engine `activation`: kernel threads, and the contexts that run on them. */
#ifndef NAI_ACTIVATION_H
#define NAI_ACTIVATION_H

#include "activation_layout.h"
#include "engine.h"
#include "switch_records.h"
#include "watch_policy.h"

#include <pthread.h>

#define STANDBYS_MAX 4096
#define STANDBYS_DEFAULT 64
#define STANDBYS_AT_FIRST 4
#define WATCHDOG_MS 1 /* a call that was preempted and has not returned for so long has blocked */
#define SCRATCH_BYTES 65536

struct context {
    uint64_t registers[7];
    uint64_t fs_base;
    uint32_t mxcsr;
    uint16_t x87, unused;
};

/* A thread as the kernel schedules it. Which context runs on it changes with every call that blocks. */
struct kernel_thread {
    struct context loop;  /* as the call in progress has left it; taken over by who continues the loop */
    uint64_t state;       /* activation_layout.h */
    uint64_t head;        /* of the records, when the call began */
    void *page;           /* records.page, for the assembly */
    void *scratch;        /* top of the scratch stack */
    long result;          /* of a call whose loop was taken over */
    struct laio_operation *operation; /* what the call becomes if it blocks; NULL: all are in use */
    enum laio_path taken_by;          /* how this thread came to run the loop */
    struct activation *engine;
    struct switch_records records;
    char *scratch_memory;
    int tid;
} __attribute__((aligned(64)));

/* A context besides the loop's: a thread as the C library knows it. It waits for the loop to block, and takes it over. */
struct standby {
    struct context parked;    /* while its kernel thread serves the loop's */
    struct kernel_thread *on; /* where it runs, or will run again */
    struct kernel_thread *native;
    pthread_t pthread;
    _Atomic int started; /* 1 = at work, -1 = could not begin (errno in failure) */
    int failure;
} __attribute__((aligned(64)));

struct activation {
    struct laio laio;
    struct laio_outcome (*enter)(struct kernel_thread *thread, long number, long a, long b, long c, long d, long e, long f);
    _Atomic(struct kernel_thread *) current; /* where the loop runs */
    struct kernel_thread *threads;           /* [0] is where laio_open() was called */
    struct standby *standbys;                /* [i] began on threads[i + 1] */
    _Atomic unsigned standby_count;
    unsigned standby_limit, standbys_at_first;
    pthread_mutex_t growing;
    _Atomic unsigned waiting; /* standbys that would answer an upcall at once */
    int watch;                /* perf, adaptive: epoll set of all events of records; else -1 */
    int ending;               /* eventfd that ends all waiting */
    _Atomic bool closing;
    uint32_t away; /* contexts that have not gone home yet */
    /* adaptive */
    bool adaptive;
    struct watch_policy policy;
    _Atomic unsigned looking; /* standbys that may be reading the records of the loop's thread */
    /* timer */
    uint64_t tick_ns;
    pthread_mutex_t ticking; /* one standby ticks */
    _Atomic uint32_t asleep; /* it does not: nothing was called for a while */
    _Atomic uint64_t calls;  /* begun and ended: odd while the loop is in one, or about to be */
    _Atomic uint64_t upcalls_false, upcalls_lost;
};

/* What the assembly orders by its compare-and-swap, said to the thread sanitizer, which cannot see it. */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define HAPPENS_BEFORE(what) __tsan_release(what)
#define HAPPENS_AFTER(what) __tsan_acquire(what)
#else
#define HAPPENS_BEFORE(what) ((void)(what))
#define HAPPENS_AFTER(what) ((void)(what))
#endif

/* activation_switch.S */
struct laio_outcome activation_enter(struct kernel_thread *thread, long number, long a, long b, long c, long d, long e,
                                     long f);
struct laio_outcome activation_enter_timed(struct kernel_thread *thread, long number, long a, long b, long c, long d,
                                           long e, long f);
bool activation_take_over(struct kernel_thread *thread, uint64_t seen, struct standby *me);
void activation_go_home(struct context *mine, struct kernel_thread *here, uint32_t *away, struct context *native);

/* activation.c. A call whose block is noticed; and the engine as it is with the watch aside, and with it. */
struct laio_outcome activation_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f);
extern const struct laio_engine activation_aside, activation_adaptive;

/* adaptive.c */
void activation_start_aside(struct activation *engine);
/* Loop: watch its thread no longer, until a call may block. False: a standby is looking at it just now. */
bool activation_put_aside(struct activation *engine);
struct laio_outcome activation_call_aside(struct laio *laio, long number, long a, long b, long c, long d, long e, long f);
struct laio_outcome activation_call_adaptive(struct laio *laio, long number, long a, long b, long c, long d, long e,
                                             long f);

/* standby.c. A kernel thread's own things, made on it; its records are among them where there are any, and come and go
 * by themselves, too. Return 0, or -1 with errno. */
int kernel_thread_start(struct activation *engine, struct kernel_thread *thread);
int kernel_thread_watch(struct activation *engine, struct kernel_thread *thread);
void kernel_thread_stop(struct kernel_thread *thread);
/* One standby more. Returns 0, or -1 with errno; if it was to be waited for, one that fails has left nothing. */
int standby_add(struct activation *engine, bool wait_for_it);
/* As many as there are to be at first. Returns 0, or -1 with errno if there is none at all. */
int standbys_start(struct activation *engine);
void standby_wake_ticker(struct activation *engine);

#endif
