/* laio.c: what all engines share: operations, their completions, and how a loop waits for those. */
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#define CANCEL_AGAIN_MS 2 /* a signal may come just before its call: so it is sent again while anything is left */

const char *const laio_path_names[LAIO_PATH_COUNT] = {
#define X(name) #name,
    LAIO_PATHS(X)
#undef X
};

const struct laio_engine *const laio_engines[] = {
    &laio_plain,
#ifdef __x86_64__
    &laio_activation,
#endif
#ifdef LAIO_WITH_URING
    &laio_uring,
#endif
    &laio_nowait,
    &laio_pool,
    &laio_posix_aio,
    &laio_linux_aio,
    &laio_amped,
    NULL,
};

const char *laio_engine_name(const struct laio_engine *engine)
{
    return engine->name;
}

void *laio_refuse(char *why, size_t why_bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    return NULL;
}

struct laio *laio_open(const char *engine, const struct laio_options *options, char *why, size_t why_bytes)
{
    static const struct laio_options defaults;
    for (int i = 0; laio_engines[i] != NULL; i++)
        if (strcmp(laio_engines[i]->name, engine) == 0)
            return laio_engines[i]->open(options != NULL ? options : &defaults, why, why_bytes);
    char known[256] = "";
    for (int i = 0; laio_engines[i] != NULL; i++) {
        strncat(known, i > 0 ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, laio_engines[i]->name, sizeof known - strlen(known) - 1);
    }
    return laio_refuse(why, why_bytes, "no engine %s: there are %s", engine, known);
}

int laio_start(struct laio *laio, const struct laio_engine *engine, const struct laio_options *options, int descriptor,
               char *why, size_t why_bytes)
{
    unsigned count = laio_or(options->operations, LAIO_OPERATIONS);
    laio->engine = engine;
    laio->ready_end = &laio->ready;
    laio->progress.before = laio->progress.after = &laio->progress;
    laio->operations = calloc(count, sizeof *laio->operations);
    laio->event = descriptor < 0 ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    laio->descriptor = descriptor < 0 ? laio->event : descriptor;
    if (laio->operations == NULL || laio->descriptor < 0) {
        laio_refuse(why, why_bytes, "%s: %s", engine->name, laio->operations == NULL ? "no memory" : strerror(errno));
        laio_stop(laio);
        return -1;
    }
    for (unsigned i = count; i-- > 0;) {
        laio->operations[i].next = laio->free;
        laio->free = &laio->operations[i];
    }
    return 0;
}

void laio_stop(struct laio *laio)
{
    if (laio->event >= 0)
        close(laio->event);
    free(laio->operations);
}

/* The call */

long laio_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    laio->counters.calls++;
    struct laio_outcome outcome = laio->engine->call(laio, number, a, b, c, d, e, f);
    laio->handle = outcome.operation;
    if (outcome.operation != NULL) {
        errno = EINPROGRESS;
        return -1;
    }
    if ((unsigned long)outcome.result >= -4095ul) {
        errno = (int)-outcome.result;
        return -1;
    }
    return outcome.result;
}

struct laio_operation *laio_gethandle(const struct laio *laio)
{
    return laio->handle;
}

void laio_set_data(struct laio_operation *operation, void *data)
{
    operation->data = data;
}

const char *laio_watch(const struct laio *laio)
{
    return laio->engine->watch != NULL ? laio->engine->watch(laio) : "";
}

bool laio_supports(const struct laio *laio, long number)
{
    return laio->engine->supports == NULL || laio->engine->supports(laio, number);
}

/* Operations */

struct laio_operation *laio_reserve(struct laio *laio)
{
    struct laio_operation *operation = laio->free;
    if (operation == NULL)
        return NULL;
    laio->free = operation->next;
    operation->broken = false;
    operation->data = NULL;
    operation->release = NULL;
    return operation;
}

void laio_begin(struct laio *laio, struct laio_operation *operation)
{
    operation->after = &laio->progress;
    operation->before = laio->progress.before;
    operation->before->after = operation->after->before = operation;
    if (++laio->counters.in_progress > laio->counters.in_progress_peak)
        laio->counters.in_progress_peak = laio->counters.in_progress;
}

struct laio_operation *laio_take(struct laio *laio)
{
    struct laio_operation *operation = laio_reserve(laio);
    if (operation != NULL)
        laio_begin(laio, operation);
    return operation;
}

void laio_give_back(struct laio *laio, struct laio_operation *operation)
{
    operation->before->after = operation->after;
    operation->after->before = operation->before;
    operation->next = laio->free;
    laio->free = operation;
    laio->counters.in_progress--;
}

void laio_finish(struct laio *laio, struct laio_operation *operation, long result)
{
    operation->result = result;
    struct laio_operation *newest = atomic_load_explicit(&laio->ended, memory_order_relaxed);
    do
        operation->next = newest;
    while (!atomic_compare_exchange_weak_explicit(&laio->ended, &newest, operation, memory_order_acq_rel,
                                                  memory_order_relaxed));
    /* One write wakes the loop for all that ends until it looks. */
    if (laio->event >= 0 && atomic_exchange(&laio->signalled, 1) == 0) {
        uint64_t one = 1;
        while (laio_plainly(SYS_write, laio->event, (long)&one, sizeof one, 0, 0, 0) == -EINTR)
            ;
    }
}

/* Take what other threads gave back, oldest first. */
static void collect(struct laio *laio)
{
    if (laio->engine->reap != NULL)
        laio->engine->reap(laio);
    if (laio->event >= 0 && atomic_load(&laio->signalled)) {
        uint64_t count; /* EAGAIN: who signals has not written yet, and will; until then it stays signalled */
        if (laio_plainly(SYS_read, laio->event, (long)&count, sizeof count, 0, 0, 0) > 0)
            atomic_store(&laio->signalled, 0); /* before the look: what ends after it writes again */
    }
    if (atomic_load(&laio->ended) == NULL)
        return;
    struct laio_operation *newest = atomic_exchange(&laio->ended, NULL), *oldest = NULL, *last = newest;
    while (newest != NULL) {
        struct laio_operation *before = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = before;
    }
    *laio->ready_end = oldest;
    laio->ready_end = &last->next;
}

static int report(struct laio *laio, struct laio_completion *completions, int n)
{
    int reported = 0;
    while (reported < n && laio->ready != NULL) {
        struct laio_operation *operation = laio->ready;
        laio->ready = operation->next;
        if (laio->ready == NULL)
            laio->ready_end = &laio->ready;
        long result = operation->result;
        if (result == -EINTR && laio->cancelling)
            result = -ECANCELED;
        if (operation->broken)
            laio_send_sigpipe();
        laio->counters.completions++;
        laio_give_back(laio, operation);
        if (operation->release != NULL) {
            operation->release(operation->argument, result);
            continue;
        }
        bool failed = (unsigned long)result >= -4095ul;
        completions[reported++] = (struct laio_completion){.operation = operation,
                                                           .data = operation->data,
                                                           .result = failed ? -1 : result,
                                                           .error = failed ? (int)-result : 0};
    }
    if (laio->counters.in_progress == 0)
        laio->cancelling = false;
    return reported;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

int laio_poll(struct laio *laio, struct laio_completion *completions, int n, int timeout_ms)
{
    int64_t until_ms = timeout_ms > 0 ? now_ms() + timeout_ms : 0;
    for (;;) {
        collect(laio);
        int reported = report(laio, completions, n);
        if (reported > 0 || n <= 0 || timeout_ms == 0)
            return reported;
        struct pollfd wait = {.fd = laio->descriptor, .events = POLLIN};
        int left_ms = timeout_ms;
        if (timeout_ms > 0) {
            int64_t left = until_ms - now_ms();
            if (left <= 0)
                return 0;
            left_ms = (int)left;
        }
        if (poll(&wait, 1, left_ms) < 0)
            return -1;
    }
}

int laio_descriptor(const struct laio *laio)
{
    return laio->descriptor;
}

void laio_abandon(struct laio *laio, struct laio_operation *operation, void (*release)(void *argument, long result),
                  void *argument)
{
    (void)laio;
    operation->release = release;
    operation->argument = argument;
}

const struct laio_counters *laio_count(struct laio *laio)
{
    uint64_t elsewhere = 0;
    if (laio->engine->count != NULL)
        laio->engine->count(laio);
    for (int path = 0; path < LAIO_PATH_COUNT; path++)
        elsewhere += path == LAIO_PATH_inline ? 0 : laio->counters.paths[path];
    laio->counters.paths[LAIO_PATH_inline] = laio->counters.calls - elsewhere;
    return &laio->counters;
}

/* The end */

void laio_cancel(struct laio *laio)
{
    if (laio->counters.in_progress == 0)
        return;
    laio->cancelling = true;
    if (laio->engine->interrupt != NULL)
        laio->engine->interrupt(laio);
}

void laio_close(struct laio *laio)
{
    struct laio_completion unwanted[64];
    while (laio->counters.in_progress > 0) {
        laio_cancel(laio);
        laio_poll(laio, unwanted, 64, CANCEL_AGAIN_MS);
    }
    laio->engine->close(laio);
}
