/* amped.c: the asymmetric multi-process event-driven way of Flash (Pai, Druschel and Zwaenepoel 1999, section 3.4).
 *
 * The loop reads what is in memory itself. What is not, a helper process reads first, for nothing but to bring it into
 * the page cache; then the loop reads it. A path is likewise looked up by a helper, and then by the loop. So results
 * and errors are the plain call's own, and descriptors the loop's. In the time between, memory may lose the data again:
 * then the loop waits for the disk after all.
 *
 * sendfile() is asked about its input. Its output should be O_NONBLOCK, or the loop waits for that; it waits for the
 * other end of a named pipe, too, that it opens.
 */
#include "amped_process.h"
#include "borrowed.h"
#include "residency.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define PROCESSES_AT_FIRST 4
#define WOKEN UINT32_MAX /* in place of a process's number */

struct helper {
    struct amped_process process;     /* socket: -1 when it is dead */
    struct laio_operation *operation; /* that it works for */
};

struct amped {
    struct laio laio;
    struct residency *residency;
    struct laio_operation *first, **last; /* wait for a helper */
    int ready;                            /* epoll of the sockets, and of this: */
    int wake;                             /* an eventfd, for what ends without a helper */
    unsigned count, alive;
    struct helper list[];
};

static bool watch(const struct amped *amped, int descriptor, uint32_t number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    return amped->ready >= 0 && descriptor >= 0 && epoll_ctl(amped->ready, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

static void bury(struct amped *amped, struct helper *helper)
{
    amped_process_end(&helper->process);
    helper->process.socket = -1;
    amped->laio.counters.threads = --amped->alive;
}

static void drop(struct amped *amped)
{
    for (unsigned i = 0; i < amped->count; i++)
        if (amped->list[i].process.socket >= 0)
            bury(amped, &amped->list[i]);
    if (amped->residency != NULL)
        residency_close(amped->residency);
    if (amped->ready >= 0)
        close(amped->ready);
    if (amped->wake >= 0)
        close(amped->wake);
    free(amped);
}

static struct laio *amped_open(const struct laio_options *options, char *why, size_t why_bytes)
{
    unsigned processes = laio_or(options->threads_at_first, PROCESSES_AT_FIRST);
    if (options->threads > 0 && options->threads < processes)
        processes = options->threads;
    if (laio_plainly(SYS_close_range, ~0u, ~0u, 0, 0, 0, 0) != 0)
        return laio_refuse(why, why_bytes, "amped: no close_range: needs Linux 5.9, and allow it in the container");
    struct amped *amped = calloc(1, sizeof *amped + processes * sizeof amped->list[0]);
    if (amped == NULL)
        return laio_refuse(why, why_bytes, "no memory");
    amped->last = &amped->first;
    amped->ready = amped->wake = -1;
    long result = 0;
    while (amped->count < processes && (result = amped_process_start(&amped->list[amped->count].process)) == 0)
        amped->alive = ++amped->count;
    amped->residency = residency_open();
    amped->ready = epoll_create1(EPOLL_CLOEXEC);
    amped->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool watched = watch(amped, amped->wake, WOKEN);
    for (unsigned i = 0; watched && i < amped->count; i++)
        watched = watch(amped, amped->list[i].process.socket, i);
    if (amped->count == 0)
        laio_refuse(why, why_bytes, "amped: no process: %s: %s", strerror((int)-result),
                    result == -EMFILE ? "raise ulimit -n" : "raise ulimit -u, or the container's limit of processes");
    else if (!watched || amped->residency == NULL)
        laio_refuse(why, why_bytes, "amped: %s", watched ? "no memory" : "too many open files: raise ulimit -n");
    else if (laio_start(&amped->laio, &laio_amped, options, amped->ready, why, why_bytes) == 0) {
        amped->laio.counters.threads = amped->alive;
        return &amped->laio;
    }
    drop(amped);
    return NULL;
}

static bool amped_supports(const struct laio *laio, long number)
{
    (void)laio;
    return number == SYS_pread64 || number == SYS_sendfile || number == SYS_openat || number == SYS_openat2 ||
           number == SYS_statx || number == SYS_newfstatat;
}

/* What a helper is asked */

/* false: the offset is not there to be read. */
static bool range_of(const struct laio_call *call, int *file, off_t *offset, size_t *bytes)
{
    const long *a = call->arguments;
    if (call->number == SYS_pread64) {
        *file = (int)a[0];
        *offset = a[3];
        *bytes = (size_t)a[2];
        return true;
    }
    *file = (int)a[1];
    *bytes = (size_t)a[3];
    if (a[2] != 0)
        return borrowed_copy(offset, (const void *)a[2], sizeof *offset);
    *offset = laio_plainly(SYS_lseek, a[1], 0, SEEK_CUR, 0, 0, 0);
    return true;
}

/* A lookup; false: there is nothing to look up. */
static bool request_path(const struct laio_call *call, struct amped_request *request, size_t *path_bytes)
{
    const long *a = call->arguments;
    *path_bytes = borrowed_path(request->path, (const char *)a[1]);
    switch (call->number) {
    case SYS_openat:
        request->kind = AMPED_OPEN;
        request->flags = (int)a[2];
        break;
    case SYS_openat2: {
        struct open_how how;
        if (a[3] < (long)sizeof how || !borrowed_copy(&how, (const void *)a[2], sizeof how))
            return false;
        request->kind = AMPED_OPEN;
        request->flags = (int)how.flags;
        request->resolve = how.resolve;
        break;
    }
    case SYS_statx:
        request->kind = AMPED_STATX;
        request->flags = (int)a[2];
        request->mask = (unsigned)a[3];
        break;
    default:
        request->kind = AMPED_STAT;
        request->flags = (int)a[3];
        break;
    }
    return *path_bytes > 1;
}

enum asked { ASKED, POINTLESS /* the plain call returns at once */, FAILED };

/* Let the helper work for the operation. A relative path is relative to where the loop is now. */
static enum asked ask(struct helper *helper, struct laio_operation *operation)
{
    struct amped_request request = {.kind = AMPED_READ};
    size_t path_bytes = 0;
    int descriptor = -1, directory = -1;
    if (operation->call.number == SYS_pread64 || operation->call.number == SYS_sendfile) {
        off_t offset;
        size_t bytes;
        if (!range_of(&operation->call, &descriptor, &offset, &bytes))
            return POINTLESS;
        request.offset = offset;
        request.bytes = bytes;
    } else {
        if (!request_path(&operation->call, &request, &path_bytes))
            return POINTLESS;
        if (request.path[0] != '/')
            descriptor = (int)operation->call.arguments[0];
        if (descriptor == AT_FDCWD)
            descriptor = directory = (int)laio_plainly(SYS_openat, AT_FDCWD, (long)".", O_PATH | O_CLOEXEC, 0, 0, 0);
    }
    bool asked = amped_process_ask(&helper->process, &request, path_bytes, descriptor) == 0;
    if (directory >= 0)
        close(directory);
    if (asked)
        helper->operation = operation;
    return asked ? ASKED : FAILED;
}

static struct helper *idle(struct amped *amped)
{
    for (unsigned i = 0; i < amped->count; i++)
        if (amped->list[i].process.socket >= 0 && amped->list[i].operation == NULL)
            return &amped->list[i];
    return NULL;
}

/* The call */

/* An operation for the call, at a helper or in the queue. Where that cannot be, the plain call. */
static struct laio_outcome offload(struct amped *amped, const struct laio_call *call, enum laio_path path)
{
    struct laio_operation *operation = amped->alive > 0 ? laio_take(&amped->laio) : NULL;
    enum asked asked = FAILED;
    if (operation != NULL) {
        struct helper *helper = idle(amped);
        operation->call = *call;
        operation->next = NULL;
        operation->engine_data[0] = (void *)(uintptr_t)path;
        if (helper == NULL) {
            *amped->last = operation;
            amped->last = &operation->next;
        }
        asked = helper == NULL ? ASKED : ask(helper, operation);
        if (asked == ASKED) {
            laio_went(&amped->laio, path);
            return (struct laio_outcome){.operation = operation};
        }
        laio_give_back(&amped->laio, operation);
    }
    long result = laio_plainly_call(call);
    if (asked == FAILED && result >= 0) /* an error came at once */
        laio_went(&amped->laio, LAIO_PATH_held);
    return (struct laio_outcome){.result = result};
}

static struct laio_outcome refuse(struct laio *laio)
{
    laio_went(laio, LAIO_PATH_refused);
    return (struct laio_outcome){.result = -ENOSYS};
}

static struct laio_outcome amped_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    struct amped *amped = (struct amped *)laio;
    struct laio_call call = {number, {a, b, c, d, e, f}};
    if (!amped_supports(laio, number))
        return refuse(laio);
    if (number != SYS_pread64 && number != SYS_sendfile)
        return offload(amped, &call, LAIO_PATH_helper);
    struct stat status;
    off_t offset;
    size_t bytes;
    int file;
    if (!range_of(&call, &file, &offset, &bytes) || offset < 0 || fstat(file, &status) != 0 ||
        S_ISDIR(status.st_mode) || S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode))
        return (struct laio_outcome){.result = laio_plainly_call(&call)}; /* an error */
    if (!S_ISREG(status.st_mode))
        return refuse(laio);
    if (residency_of(amped->residency, file, &status, offset, bytes)) {
        laio_went(laio, LAIO_PATH_hit);
        return (struct laio_outcome){.result = laio_plainly_call(&call)};
    }
    long flags = laio_plainly(SYS_fcntl, file, F_GETFL, 0, 0, 0, 0);
    if (flags < 0 || (flags & O_DIRECT) != 0)
        return refuse(laio); /* what a helper reads does not stay in memory */
    return offload(amped, &call, LAIO_PATH_miss);
}

/* The helpers' answers */

/* No helper has done anything for it: the loop waits. */
static void hold(struct amped *amped, struct laio_operation *operation)
{
    amped->laio.counters.paths[(uintptr_t)operation->engine_data[0]]--;
    laio_went(&amped->laio, LAIO_PATH_held);
    laio_finish(&amped->laio, operation, laio_plainly_call(&operation->call));
}

static struct laio_operation *pop(struct amped *amped)
{
    struct laio_operation *operation = amped->first;
    amped->first = operation->next;
    if (amped->first == NULL)
        amped->last = &amped->first;
    return operation;
}

static void feed(struct amped *amped)
{
    struct helper *helper;
    while (amped->first != NULL && ((helper = idle(amped)) != NULL || amped->alive == 0)) {
        struct laio_operation *operation = pop(amped);
        if (helper == NULL || ask(helper, operation) != ASKED)
            hold(amped, operation);
    }
}

static void amped_reap(struct laio *laio)
{
    struct amped *amped = (struct amped *)laio;
    struct epoll_event events[64];
    int count = epoll_wait(amped->ready, events, 64, 0);
    for (int i = 0; i < count; i++) {
        uint64_t wakes;
        if (events[i].data.u32 == WOKEN) {
            laio_plainly(SYS_read, amped->wake, (long)&wakes, sizeof wakes, 0, 0, 0);
            continue;
        }
        struct helper *helper = &amped->list[events[i].data.u32];
        int answered = amped_process_answered(&helper->process);
        if (answered == 0)
            continue;
        struct laio_operation *operation = helper->operation;
        helper->operation = NULL;
        if (answered < 0)
            bury(amped, helper);
        feed(amped); /* before the loop makes the call itself */
        if (answered > 0)
            laio_finish(laio, operation, laio_plainly_call(&operation->call));
        else if (operation != NULL)
            hold(amped, operation);
    }
}

/* What waits for a helper ends. What a helper does is for the disk, and not to be interrupted. */
static void amped_interrupt(struct laio *laio)
{
    struct amped *amped = (struct amped *)laio;
    uint64_t one = 1;
    while (amped->first != NULL)
        laio_finish(laio, pop(amped), -EINTR);
    laio_plainly(SYS_write, amped->wake, (long)&one, sizeof one, 0, 0, 0);
}

static void amped_close(struct laio *laio)
{
    laio_stop(laio);
    drop((struct amped *)laio);
}

const struct laio_engine laio_amped = {
    .name = "amped",
    .open = amped_open,
    .supports = amped_supports,
    .call = amped_call,
    .reap = amped_reap,
    .interrupt = amped_interrupt,
    .close = amped_close,
};
