/* nowait.c: read with RWF_NOWAIT first: what is in memory comes at once, and a helper thread reads the rest.
 *
 * preadv2(RWF_NOWAIT) answers EAGAIN where the page cache has not what is asked for (mm/filemap.c, IOCB_NOWAIT), and a
 * part where it has a part. Calls other than reads have no such question, so a helper makes them. Of O_DIRECT it asks
 * the wrong thing: such a read avoids waiting for locks, but not for the disk, and holds the loop.
 */
#include "helpers.h"
#include "transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define CURRENT_POSITION (-1l)

struct nowait {
    struct laio laio;
    struct helpers *helpers;
    bool optimistic;
};

static bool is_read(long number)
{
    switch (number) {
    case SYS_read:
    case SYS_pread64:
    case SYS_readv:
    case SYS_preadv:
    case SYS_preadv2:
        return true;
    default:
        return false;
    }
}

/* Where the plain call has its own opinion before it would look at the data, or was asked this very question. */
static bool is_plain(const struct laio_call *call)
{
    const long *a = call->arguments;
    switch (call->number) {
    case SYS_pread64: /* a negative offset is an error; preadv2 takes -1 for the file's position */
    case SYS_preadv:
        return a[3] < 0;
    case SYS_preadv2:
        return (a[5] & RWF_NOWAIT) != 0;
    default:
        return false;
    }
}

static long ask(const struct laio_call *call)
{
    const long *a = call->arguments;
    struct iovec whole = {.iov_base = (void *)a[1], .iov_len = (size_t)a[2]};
    switch (call->number) {
    case SYS_read:
        return laio_plainly(SYS_preadv2, a[0], (long)&whole, 1, CURRENT_POSITION, 0, RWF_NOWAIT);
    case SYS_pread64:
        return laio_plainly(SYS_preadv2, a[0], (long)&whole, 1, a[3], 0, RWF_NOWAIT);
    case SYS_readv:
        return laio_plainly(SYS_preadv2, a[0], a[1], a[2], CURRENT_POSITION, 0, RWF_NOWAIT);
    case SYS_preadv:
        return laio_plainly(SYS_preadv2, a[0], a[1], a[2], a[3], 0, RWF_NOWAIT);
    default:
        return laio_plainly(SYS_preadv2, a[0], a[1], a[2], a[3], a[4], a[5] | RWF_NOWAIT);
    }
}

/* Refuse where the question itself is not known, or not allowed. What is asked is an empty eventfd: EAGAIN, or
 * EOPNOTSUPP before Linux 5.8, which says nothing about files. */
static bool probe(struct laio *laio, char *why, size_t why_bytes)
{
    uint64_t count;
    struct iovec whole = {.iov_base = &count, .iov_len = sizeof count};
    long result = laio_plainly(SYS_preadv2, laio->event, (long)&whole, 1, CURRENT_POSITION, 0, RWF_NOWAIT);
    if (result >= 0 || result == -EAGAIN || result == -EOPNOTSUPP)
        return true;
    laio_refuse(why, why_bytes, "nowait: preadv2(RWF_NOWAIT): %s: needs Linux 4.14, and allow preadv2 in the container",
                strerror((int)-result));
    return false;
}

static struct laio *nowait_open(const struct laio_options *options, char *why, size_t why_bytes)
{
    struct nowait *nowait = calloc(1, sizeof *nowait);
    if (nowait == NULL)
        return laio_refuse(why, why_bytes, "no memory");
    nowait->optimistic = options->optimistic;
    if (laio_start(&nowait->laio, &laio_nowait, options, -1, why, why_bytes) == 0) {
        if (probe(&nowait->laio, why, why_bytes))
            nowait->helpers = helpers_open(&nowait->laio, options, why, why_bytes);
        if (nowait->helpers != NULL)
            return &nowait->laio;
        laio_stop(&nowait->laio);
    }
    free(nowait);
    return NULL;
}

static struct laio_outcome plainly(struct laio *laio, const struct laio_call *call, enum laio_path path)
{
    laio_went(laio, path);
    return (struct laio_outcome){.result = laio_plainly_call(call)};
}

/* The call, or what is left of it after `moved` bytes, by a helper. */
static struct laio_outcome hand(struct laio *laio, const struct laio_call *call, enum laio_path path, size_t moved,
                                void *memory)
{
    struct laio_operation *operation = laio_take(laio);
    if (operation != NULL) {
        laio_went(laio, path);
        operation->call = *call;
        helpers_hand(((struct nowait *)laio)->helpers, operation, moved, memory);
        return (struct laio_outcome){.operation = operation};
    }
    struct laio_outcome outcome = plainly(laio, call, LAIO_PATH_held);
    if (moved > 0)
        outcome.result = (long)moved + (outcome.result > 0 ? outcome.result : 0);
    free(memory);
    return outcome;
}

/* `got` bytes are fewer than were asked for: of a file, the plain call would have gone on to its end. */
static struct laio_outcome ask_on(struct laio *laio, struct laio_call *call, long got)
{
    size_t moved = 0, wanted = transfer_bytes(call);
    void *memory = NULL;
    do {
        moved += (size_t)got;
        if (moved == wanted || !transfer_advance(call, (size_t)got, &memory))
            break;
        got = ask(call);
        if (got == -EAGAIN)
            return hand(laio, call, LAIO_PATH_miss, moved, memory);
    } while (got > 0); /* 0: the end of the file; an error comes again with the next call */
    free(memory);
    laio_went(laio, LAIO_PATH_hit);
    return (struct laio_outcome){.result = (long)moved};
}

static struct laio_outcome nowait_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    struct laio_call call = {number, {a, b, c, d, e, f}};
    if (!is_read(number))
        return hand(laio, &call, LAIO_PATH_helper, 0, NULL);
    if (is_plain(&call))
        return (struct laio_outcome){.result = laio_plainly_call(&call)};
    bool vast = (number == SYS_read || number == SYS_pread64) && (size_t)c > TRANSFER_MOST;
    if (vast) /* a vector of one is judged differently: EINVAL for EFAULT */
        return hand(laio, &call, LAIO_PATH_helper, 0, NULL);
    long got = ask(&call);
    if (got == -EAGAIN && !transfer_never_waits(a))
        return hand(laio, &call, LAIO_PATH_miss, 0, NULL);
    if (got == -EOPNOTSUPP)
        return ((struct nowait *)laio)->optimistic ? plainly(laio, &call, LAIO_PATH_held)
                                                   : hand(laio, &call, LAIO_PATH_helper, 0, NULL);
    if (got > 0 && (size_t)got < transfer_bytes(&call) && transfer_of_file(a))
        return ask_on(laio, &call, got);
    if (got >= 0)
        laio_went(laio, LAIO_PATH_hit);
    return (struct laio_outcome){.result = got};
}

static void nowait_interrupt(struct laio *laio)
{
    helpers_interrupt(((struct nowait *)laio)->helpers);
}

static void nowait_close(struct laio *laio)
{
    helpers_close(((struct nowait *)laio)->helpers);
    laio_stop(laio);
    free(laio);
}

const struct laio_engine laio_nowait = {
    .name = "nowait",
    .open = nowait_open,
    .call = nowait_call,
    .interrupt = nowait_interrupt,
    .close = nowait_close,
};
