/* helpers.c: threads that make blocking calls for a loop. */
#include "helpers.h"

#include "transfer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS_MOST 64

struct helper {
    struct helpers *all;
    pthread_t thread;
    int tid;
    bool inside;    /* a call; under the lock, as all of this */
    bool signalled; /* while it was inside */
};

struct helpers {
    struct laio *laio;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct laio_operation *first, **last; /* the queue: no longer than there are operations */
    unsigned queued;
    unsigned idle; /* or on their way to the queue: just made, or woken */
    bool ending;
    unsigned count, most; /* of threads; the loop's */
    struct helper list[];
};

static struct laio_operation *pop(struct helpers *helpers)
{
    struct laio_operation *operation = helpers->first;
    helpers->first = operation->next;
    if (helpers->first == NULL)
        helpers->last = &helpers->first;
    helpers->queued--;
    return operation;
}

static void finish(struct laio *laio, struct laio_operation *operation, long result)
{
    laio_finish(laio, operation, transfer_whole(operation, result));
}

/* The SIGPIPE of a call waits here, where it is blocked. */
static bool takes_sigpipe(long result)
{
    const uint64_t signals = UINT64_C(1) << (SIGPIPE - 1);
    const struct timespec at_once = {0};
    return result == -EPIPE && laio_plainly(SYS_rt_sigtimedwait, (long)&signals, 0, (long)&at_once, sizeof signals, 0,
                                            0) == SIGPIPE;
}

static void *help(void *argument)
{
    struct helper *helper = argument;
    struct helpers *helpers = helper->all;
    pthread_mutex_lock(&helpers->lock);
    helper->tid = (int)laio_plainly(SYS_gettid, 0, 0, 0, 0, 0, 0);
    helpers->idle--;
    for (;;) {
        while (helpers->first == NULL && !helpers->ending) {
            helpers->idle++;
            pthread_cond_wait(&helpers->work, &helpers->lock);
            helpers->idle--;
        }
        if (helpers->first == NULL)
            break;
        struct laio_operation *operation = pop(helpers);
        helper->inside = true;
        pthread_mutex_unlock(&helpers->lock);
        long result = laio_plainly_call(&operation->call);
        operation->broken = takes_sigpipe(result);
        finish(helpers->laio, operation, result);
        pthread_mutex_lock(&helpers->lock);
        helper->inside = false;
        /* A signal that came too late for this call must not interrupt the next one, which may be a new operation. It
         * was sent under the lock, so it is pending by now, and the way out of any system call delivers it. */
        if (helper->signalled)
            laio_plainly(SYS_gettid, 0, 0, 0, 0, 0, 0);
        helper->signalled = false;
    }
    pthread_mutex_unlock(&helpers->lock);
    return NULL;
}

/* One thread more. A signal that a program handles is none of a helper's business: all are blocked but ours. */
static int grow(struct helpers *helpers)
{
    sigset_t blocked, before;
    sigfillset(&blocked);
    sigdelset(&blocked, LAIO_SIGNAL);
    struct helper *helper = &helpers->list[helpers->count];
    helper->all = helpers;
    pthread_mutex_lock(&helpers->lock); /* keeps the new thread from counting itself before it is counted */
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(&helper->thread, NULL, help, helper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    helpers->idle += error == 0;
    pthread_mutex_unlock(&helpers->lock);
    if (error != 0)
        return error;
    pthread_setname_np(helper->thread, "laio helper");
    helpers->laio->counters.threads = ++helpers->count;
    return 0;
}

struct helpers *helpers_open(struct laio *laio, const struct laio_options *options, unsigned at_first, char *why,
                             size_t why_bytes)
{
    const char *engine = laio->engine->name;
    unsigned most = laio_or(options->threads, THREADS_MOST);
    if (laio_install_interrupt() != 0)
        return laio_refuse(why, why_bytes, "%s: the program handles SIG%s itself: leave that signal to laio", engine,
                           sigabbrev_np(LAIO_SIGNAL));
    struct helpers *helpers = calloc(1, sizeof *helpers + most * sizeof helpers->list[0]);
    if (helpers == NULL)
        return laio_refuse(why, why_bytes, "%s: no memory", engine);
    helpers->laio = laio;
    helpers->last = &helpers->first;
    helpers->most = most;
    pthread_mutex_init(&helpers->lock, NULL);
    pthread_cond_init(&helpers->work, NULL);
    int error = 0;
    while (error == 0 && helpers->count < at_first && helpers->count < most)
        error = grow(helpers);
    if (helpers->count > 0 || at_first == 0)
        return helpers; /* one suffices: the queue drains */
    helpers_close(helpers);
    return laio_refuse(why, why_bytes, "%s: no thread: %s: raise ulimit -u, or the container's limit of processes",
                       engine, strerror(error));
}

/* One thread more than there were at first. */
static bool add(struct helpers *helpers)
{
    bool added = grow(helpers) == 0;
    helpers->laio->counters.grown += added;
    return added;
}

bool helpers_hand(struct helpers *helpers, struct laio_operation *operation, size_t moved, void *memory)
{
    if (helpers->count == 0 && !add(helpers))
        return false;
    operation->next = NULL;
    transfer_rest(operation, moved, memory);
    pthread_mutex_lock(&helpers->lock);
    *helpers->last = operation;
    helpers->last = &operation->next;
    bool wanting = ++helpers->queued > helpers->idle;
    pthread_cond_signal(&helpers->work);
    pthread_mutex_unlock(&helpers->lock);
    if (wanting && helpers->count < helpers->most && !add(helpers))
        helpers->most = helpers->count; /* the limit of the machine is ours; to ask again would cost every call */
    return true;
}

void helpers_interrupt(struct helpers *helpers)
{
    long process = laio_plainly(SYS_getpid, 0, 0, 0, 0, 0, 0);
    pthread_mutex_lock(&helpers->lock);
    while (helpers->first != NULL)
        finish(helpers->laio, pop(helpers), -EINTR);
    for (unsigned i = 0; i < helpers->count; i++) {
        struct helper *helper = &helpers->list[i];
        if (helper->inside && laio_plainly(SYS_tgkill, process, helper->tid, LAIO_SIGNAL, 0, 0, 0) == 0)
            helper->signalled = true;
    }
    pthread_mutex_unlock(&helpers->lock);
}

void helpers_close(struct helpers *helpers)
{
    pthread_mutex_lock(&helpers->lock);
    helpers->ending = true;
    pthread_cond_broadcast(&helpers->work);
    pthread_mutex_unlock(&helpers->lock);
    for (unsigned i = 0; i < helpers->count; i++)
        pthread_join(helpers->list[i].thread, NULL);
    pthread_cond_destroy(&helpers->work);
    pthread_mutex_destroy(&helpers->lock);
    free(helpers);
}
