/* test_laio_random.c: random operations (laio_operations.h) through an engine: each completes once, as it should. */
#include "test_laio.h"

#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>

#define FAILED_ENOUGH 20      /* checks: what comes after them teaches nothing */
#define CALL_NUMBERS 512
#define REFUSALS_LOOKED_AT 20 /* of each call that the engine does not support */
#define ERRNO_UNTOUCHED 4094

struct loop {
    const char *engine;
    struct laio *laio;
    struct operations *operations;
    struct operation *free;
    unsigned in_progress;
    uint64_t random;
    int epoll;
    uint64_t made, left_out, refused, handles;
    unsigned refusals[CALL_NUMBERS];
    uint64_t by_class[OPERATION_CLASS_COUNT], lazily[OPERATION_CLASS_COUNT];
};

static uint64_t draw(struct loop *loop, uint64_t below)
{
    loop->random = loop->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (loop->random >> 33) % below;
}

static void explain(const void *argument)
{
    const struct operations *operations = argument;
    for (unsigned i = 0; i < operations->count; i++)
        if (operations->each[i].in_progress)
            operation_print(&operations->each[i], "it is in progress");
}

static void is_done(struct loop *loop, struct operation *operation, long result)
{
    operation_check(operation, result);
    operation->next_free = loop->free;
    loop->free = operation;
    if (checks_failed > FAILED_ENOUGH)
        exit(1);
}

static void *make_plainly(void *argument)
{
    struct operation *operation = argument;
    return (void *)operation_plainly(operation);
}

/* An engine that has no such call must not have done anything: so a plain call gives what was expected all the same. It
 * is made by another thread, since io_uring's work for its own (task_work, which makes signal_pending() true) is as a
 * signal to the plain calls of that one: what has moved a part of its bytes returns. */
static void check_refusal(struct loop *loop, struct operation *operation, long result, int error)
{
    if (result != -1 || error != ENOSYS || laio_gethandle(loop->laio) != NULL)
        operation_print(operation, "the engine does not support it, and did not refuse it");
    loop->refused++;
    if (operation->number < CALL_NUMBERS && !laio_supports(loop->laio, operation->number))
        loop->refusals[operation->number]++;
    pthread_t other;
    void *plain;
    NEED(pthread_create(&other, NULL, make_plainly, operation) == 0 && pthread_join(other, &plain) == 0);
    is_done(loop, operation, (long)plain);
}

/* amped has no O_DIRECT, and cannot: what another process reads so does not come into memory. */
static bool refuses_arguments(const struct loop *loop, uint64_t refused_before)
{
    return strcmp(loop->engine, "amped") == 0 &&
           laio_count(loop->laio)->paths[LAIO_PATH_refused] == refused_before + 1;
}

static void make_one(struct loop *loop, uint64_t id)
{
    struct operation *operation = loop->free;
    loop->free = operation->next_free;
    operation_prepare(operation, id);
    bool refuses = operation->number < CALL_NUMBERS && loop->refusals[operation->number] >= REFUSALS_LOOKED_AT;
    if (refuses) {
        operation_forget(operation);
        operation->next_free = loop->free;
        loop->free = operation;
        loop->left_out++;
        return;
    }
    loop->made++;
    loop->by_class[operation->class]++;
    bool supported = laio_supports(loop->laio, operation->number);
    uint64_t refused = laio_count(loop->laio)->paths[LAIO_PATH_refused];
    const long *a = operation->arguments;
    errno = ERRNO_UNTOUCHED;
    long result = laio_call(loop->laio, operation->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    int error = errno;
    struct laio_operation *handle = laio_gethandle(loop->laio);
    if (!supported || refuses_arguments(loop, refused)) {
        check_refusal(loop, operation, result, error);
    } else if (handle == NULL) {
        if (result >= 0 && error != ERRNO_UNTOUCHED)
            operation_print(operation, "it succeeded and changed errno");
        is_done(loop, operation, result == -1 ? -(long)error : result);
    } else {
        if (result != -1 || error != EINPROGRESS)
            operation_print(operation, "it is in progress without saying so");
        operation->handle = handle;
        /* Some are known by their handle only. */
        uintptr_t data = id * loop->operations->count + operation->index + 1;
        operation->data = draw(loop, 16) > 0 ? (void *)data : NULL;
        if (operation->data != NULL)
            laio_set_data(handle, operation->data);
        operation->in_progress = true;
        loop->in_progress++;
        loop->handles++;
        loop->lazily[operation->class]++;
    }
}

static struct operation *completed(const struct loop *loop, const struct laio_completion *completion)
{
    const struct operations *operations = loop->operations;
    if (completion->data != NULL)
        return &operations->each[((uintptr_t)completion->data - 1) % operations->count];
    for (unsigned i = 0; i < operations->count; i++)
        if (operations->each[i].in_progress && operations->each[i].handle == completion->operation)
            return &operations->each[i];
    return NULL;
}

static int reap(struct loop *loop, int n, int timeout_ms)
{
    struct laio_completion completions[40];
    int ended = laio_poll(loop->laio, completions, n, timeout_ms);
    if (ended < 0)
        CHECK(errno == EINTR && loop->operations->interrupted, "laio_poll: %s", strerror(errno));
    CHECK(ended <= n, "%d completions in room for %d", ended, n);
    for (int i = 0; i < ended; i++) {
        const struct laio_completion *completion = &completions[i];
        struct operation *operation = completed(loop, completion);
        bool known = operation != NULL && operation->in_progress && operation->data == completion->data &&
                     operation->handle == completion->operation;
        CHECK(known, "a completion of nothing that is in progress");
        NEED(known);
        bool failed = completion->result == -1;
        CHECK(failed ? completion->error > 0 : completion->error == 0, "result %ld with error %d", completion->result,
              completion->error);
        operation->in_progress = false;
        loop->in_progress--;
        is_done(loop, operation, failed ? -(long)completion->error : completion->result);
    }
    return ended;
}

/* Wait for a completion, by laio_poll() or, as a loop does that has sockets, by epoll. */
static void wait_for_one(struct loop *loop)
{
    int n = 1 + (int)draw(loop, 40);
    if (draw(loop, 2) == 0) {
        reap(loop, n, -1);
    } else if (reap(loop, n, 0) == 0) {
        struct epoll_event event;
        epoll_wait(loop->epoll, &event, 1, -1);
        reap(loop, n, 0);
    }
}

static void print(struct loop *loop, const char *what)
{
    const struct laio_counters *counters = laio_count(loop->laio);
    printf("%s: %llu operations, %llu refused, %llu left out;", what, (unsigned long long)loop->made,
           (unsigned long long)loop->refused, (unsigned long long)loop->left_out);
    for (int path = 0; path < LAIO_PATH_COUNT; path++)
        if (counters->paths[path] > 0)
            printf(" %s %llu", laio_path_names[path], (unsigned long long)counters->paths[path]);
    printf("; peak %u; threads %u; lazily/all:", counters->in_progress_peak, counters->threads);
    for (int class = 0; class < OPERATION_CLASS_COUNT; class++)
        printf(" %s %llu/%llu", operation_class_names[class], (unsigned long long)loop->lazily[class],
               (unsigned long long)loop->by_class[class]);
    puts("");
}

uint64_t run_random(const char *engine, struct laio *laio, struct operations *operations, uint64_t first_id,
                    uint64_t count, const char *what)
{
    struct loop loop = {.engine = engine, .laio = laio, .operations = operations};
    loop.random = operations->seed ^ first_id;
    struct epoll_event event = {.events = EPOLLIN};
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    NEED(loop.epoll >= 0 && epoll_ctl(loop.epoll, EPOLL_CTL_ADD, laio_descriptor(laio), &event) == 0);
    for (unsigned i = 0; i < operations->count; i++) {
        operations->each[i].next_free = loop.free;
        loop.free = &operations->each[i];
    }
    guard_explain(explain, operations);
    struct laio_counters before = *laio_count(laio);
    for (uint64_t id = first_id, end = first_id + count; id < end || loop.in_progress > 0;) {
        guard_saw(what);
        if (id % 3 == 0)
            put_aside(laio);
        if (id < end && loop.free != NULL)
            make_one(&loop, id++);
        if (loop.in_progress > 0 && (id == end || loop.free == NULL))
            wait_for_one(&loop);
        else if (draw(&loop, 4) == 0)
            reap(&loop, 1 + (int)draw(&loop, 40), 0);
    }
    guard_explain(NULL, NULL);
    close(loop.epoll);

    const struct laio_counters *after = laio_count(laio);
    uint64_t paths = 0;
    for (int path = 0; path < LAIO_PATH_COUNT; path++)
        paths += after->paths[path];
    CHECK(paths == after->calls, "%llu calls on paths of %llu", (unsigned long long)paths,
          (unsigned long long)after->calls);
    CHECK(after->calls - before.calls == loop.made, "calls counted");
    CHECK(after->completions - before.completions == loop.handles, "completions counted");
    CHECK(after->paths[LAIO_PATH_refused] - before.paths[LAIO_PATH_refused] == loop.refused, "refusals counted");
    CHECK(after->in_progress == 0, "%u are in progress after the last", after->in_progress);
    print(&loop, what);
    return loop.lazily[OPERATION_pipe_read];
}
