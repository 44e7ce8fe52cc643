/* linux_aio.c: the kernel's own asynchronous I/O, io_submit(2), by its system calls.
 *
 * It is asynchronous for O_DIRECT and fsync only. A buffered read or write is made within io_submit(), so the caller
 * waits for the disk there (fs/aio.c calls read_iter without IOCB_NOWAIT), and the result is there when it returns:
 * inline.
 */
#include "engine.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#define EVENTS 64 /* taken at a time */

struct linux_aio {
    struct laio laio;
    aio_context_t context;
    int event; /* the kernel writes it for each completion */
    struct laio_operation *spare;
};

static struct laio *linux_aio_open(const struct laio_options *options, char *why, size_t why_bytes)
{
    struct linux_aio *aio = calloc(1, sizeof *aio);
    if (aio == NULL)
        return laio_refuse(why, why_bytes, "no memory");
    const unsigned operations = laio_or(options->operations, LAIO_OPERATIONS);
    long result = laio_plainly(SYS_io_setup, operations, (long)&aio->context, 0, 0, 0, 0);
    if (result < 0) {
        free(aio);
        return laio_refuse(why, why_bytes, "linux-aio: io_setup: %s: %s", strerror((int)-result),
                           result == -EAGAIN ? "sudo sysctl fs.aio-max-nr=1048576, or ask for fewer operations"
                                             : "needs a kernel with CONFIG_AIO, and allow it in the container");
    }
    aio->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (aio->event < 0)
        laio_refuse(why, why_bytes, "linux-aio: eventfd: %s: raise ulimit -n", strerror(errno));
    else if (laio_start(&aio->laio, &laio_linux_aio, options, aio->event, why, why_bytes) == 0)
        return &aio->laio;
    laio_plainly(SYS_io_destroy, (long)aio->context, 0, 0, 0, 0, 0);
    if (aio->event >= 0)
        close(aio->event);
    free(aio);
    return NULL;
}

static int command(long number)
{
    switch (number) {
    case SYS_pread64:
        return IOCB_CMD_PREAD;
    case SYS_pwrite64:
        return IOCB_CMD_PWRITE;
    case SYS_preadv:
        return IOCB_CMD_PREADV;
    case SYS_pwritev:
        return IOCB_CMD_PWRITEV;
    case SYS_fsync:
        return IOCB_CMD_FSYNC;
    case SYS_fdatasync:
        return IOCB_CMD_FDSYNC;
    default:
        return -1;
    }
}

static bool linux_aio_supports(const struct laio *laio, long number)
{
    (void)laio;
    return command(number) >= 0;
}

static long submit(struct linux_aio *aio, struct laio_operation *operation, const struct laio_call *call)
{
    const long *a = call->arguments;
    bool moves = call->number != SYS_fsync && call->number != SYS_fdatasync;
    struct iocb block = {
        .aio_data = (uintptr_t)operation,
        .aio_lio_opcode = (uint16_t)command(call->number),
        .aio_fildes = (uint32_t)a[0],
        .aio_buf = moves ? (uint64_t)a[1] : 0,
        .aio_nbytes = moves ? (uint64_t)a[2] : 0,
        .aio_offset = moves ? a[3] : 0,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)aio->event,
    };
    struct iocb *blocks[] = {&block}; /* the kernel copies it */
    return laio_plainly(SYS_io_submit, (long)aio->context, 1, (long)blocks, 0, 0, 0);
}

/* Take what has completed. Of `own`, which is not in progress yet, say so; the others end. */
static bool take(struct linux_aio *aio, const struct laio_operation *own, long *result)
{
    bool found = false;
    long count;
    do {
        struct io_event events[EVENTS];
        struct timespec at_once = {0};
        count = laio_plainly(SYS_io_getevents, (long)aio->context, 0, EVENTS, (long)events, (long)&at_once, 0);
        for (long i = 0; i < count; i++) {
            struct laio_operation *operation = (struct laio_operation *)(uintptr_t)events[i].data;
            if (operation == own) {
                *result = events[i].res;
                found = true;
            } else {
                laio_finish(&aio->laio, operation, events[i].res);
            }
        }
    } while (count == EVENTS);
    return found;
}

/* Not by io_submit: for want of room (full), for arguments that the plain call refuses as well, or because the file has
 * no such operation (a directory, much of /proc: EINVAL). The plain call says which. */
static struct laio_outcome plainly(struct laio *laio, const struct laio_call *call, bool full)
{
    long result = laio_plainly_call(call);
    if (result >= 0 || full)
        laio_went(laio, LAIO_PATH_held);
    return (struct laio_outcome){.result = result};
}

static struct laio_outcome linux_aio_call(struct laio *laio, long number, long a, long b, long c, long d, long e,
                                          long f)
{
    struct linux_aio *aio = (struct linux_aio *)laio;
    struct laio_call call = {number, {a, b, c, d, e, f}};
    if (command(number) < 0) {
        laio_went(laio, LAIO_PATH_refused);
        return (struct laio_outcome){.result = -ENOSYS};
    }
    struct laio_operation *operation = aio->spare != NULL ? aio->spare : laio_reserve(laio);
    aio->spare = operation;
    if (operation == NULL)
        return plainly(laio, &call, true);
    /* On a pipe or socket io_submit would ignore the offset, and wait. */
    bool moves = number != SYS_fsync && number != SYS_fdatasync;
    if (moves && laio_plainly(SYS_lseek, a, 0, SEEK_CUR, 0, 0, 0) < 0)
        return plainly(laio, &call, false);
    long submitted = submit(aio, operation, &call);
    if (submitted != 1)
        return plainly(laio, &call, submitted == -EAGAIN);
    long result;
    if (take(aio, operation, &result))
        return (struct laio_outcome){.result = result};
    laio_went(laio, LAIO_PATH_ring);
    laio_begin(laio, operation);
    aio->spare = NULL;
    return (struct laio_outcome){.operation = operation};
}

/* The eventfd is read here only, and before the look: what a call took on its way is still announced by it. */
static void linux_aio_reap(struct laio *laio)
{
    struct linux_aio *aio = (struct linux_aio *)laio;
    uint64_t completions;
    if (laio_plainly(SYS_read, aio->event, (long)&completions, sizeof completions, 0, 0, 0) > 0)
        take(aio, NULL, NULL);
}

static void linux_aio_close(struct laio *laio)
{
    struct linux_aio *aio = (struct linux_aio *)laio;
    laio_plainly(SYS_io_destroy, (long)aio->context, 0, 0, 0, 0, 0);
    laio_stop(laio);
    close(aio->event);
    free(aio);
}

/* There is no interrupt: io_cancel() knows requests of USB gadgets and polls only (who calls kiocb_set_cancel_fn). */
const struct laio_engine laio_linux_aio = {
    .name = "linux-aio",
    .open = linux_aio_open,
    .supports = linux_aio_supports,
    .call = linux_aio_call,
    .reap = linux_aio_reap,
    .close = linux_aio_close,
};
