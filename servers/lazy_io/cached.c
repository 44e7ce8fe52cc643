/* cached.c: calls that do not wait. */
#include "cached.h"

#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/uio.h>

#define CURRENT_POSITION (-1l)

bool cached_is_read(long number)
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

/* `got` bytes are fewer than were asked for: of a file, the plain call would have gone on to its end. */
static struct cached ask_on(struct laio_call *call, long got)
{
    size_t moved = 0, wanted = transfer_bytes(call);
    void *memory = NULL;
    do {
        moved += (size_t)got;
        if (moved == wanted || !transfer_advance(call, (size_t)got, &memory))
            break;
        got = ask(call);
        if (got == -EAGAIN)
            return (struct cached){.answer = CACHED_MISS, .moved = moved, .memory = memory};
    } while (got > 0); /* 0: the end of the file; an error comes again with the next call */
    free(memory);
    return (struct cached){.answer = CACHED_HIT, .result = (long)moved};
}

/* Eight bytes, which do not cross a page: the kernel reads the set before it looks at what to do with it, and that is
 * nothing it knows (Abseil's AddressIsReadable). */
static bool is_readable(long address)
{
    return laio_plainly(SYS_rt_sigprocmask, -1, address, 0, sizeof(uint64_t), 0, 0) == -EINVAL;
}

static struct cached open_cached(const struct laio_call *call)
{
    const long *a = call->arguments;
    const struct open_how *how = (const struct open_how *)a[2];
    if (a[3] != sizeof *how || !is_readable(a[2]) ||
        !is_readable(a[2] + (long)offsetof(struct open_how, resolve)) || (how->flags & O_NONBLOCK) == 0)
        return (struct cached){.answer = CACHED_NOT};
    struct open_how asked = *how;
    asked.resolve |= RESOLVE_CACHED;
    long opened = laio_plainly(SYS_openat2, a[0], a[1], (long)&asked, sizeof asked, 0, 0);
    if (opened == -EAGAIN)
        return (struct cached){.answer = CACHED_MISS};
    if (opened == -EINVAL || opened == -ESTALE) /* before Linux 5.12; or the plain call has its own opinion */
        return (struct cached){.answer = CACHED_UNKNOWN};
    return (struct cached){.answer = opened >= 0 ? CACHED_HIT : CACHED_RETURNED, .result = opened};
}

struct cached cached_call(struct laio_call *call)
{
    const long number = call->number, *a = call->arguments;
    if (number == SYS_openat2)
        return open_cached(call);
    if (!cached_is_read(number))
        return (struct cached){.answer = CACHED_NOT};
    if (is_plain(call))
        return (struct cached){.answer = CACHED_RETURNED, .result = laio_plainly_call(call)};
    bool vast = (number == SYS_read || number == SYS_pread64) && (size_t)a[2] > TRANSFER_MOST;
    if (vast) /* a vector of one is judged differently: EINVAL for EFAULT */
        return (struct cached){.answer = CACHED_NOT};
    long got = ask(call);
    if (got == -EAGAIN && !transfer_never_waits(a[0]))
        return (struct cached){.answer = CACHED_MISS};
    if (got == -EOPNOTSUPP)
        return (struct cached){.answer = CACHED_UNKNOWN};
    if (got > 0 && (size_t)got < transfer_bytes(call) && transfer_of_file(a[0]))
        return ask_on(call, got);
    return (struct cached){.answer = got >= 0 ? CACHED_HIT : CACHED_RETURNED, .result = got};
}

long cached_probe(int eventfd)
{
    uint64_t count;
    struct iovec whole = {.iov_base = &count, .iov_len = sizeof count};
    long result = laio_plainly(SYS_preadv2, eventfd, (long)&whole, 1, CURRENT_POSITION, 0, RWF_NOWAIT);
    /* EOPNOTSUPP, before Linux 5.8, says nothing about files. */
    return result >= 0 || result == -EAGAIN || result == -EOPNOTSUPP ? 0 : result;
}
