/* transfer.c: a call that reads or writes, as what it asks for and what is left of it. */
#include "transfer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>

static bool has_vector(long number)
{
    switch (number) {
    case SYS_readv:
    case SYS_preadv:
    case SYS_preadv2:
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
        return true;
    default:
        return false;
    }
}

/* The file's own position, which the part that was moved has moved already, is not one of the arguments. */
static bool has_offset(const struct laio_call *call)
{
    switch (call->number) {
    case SYS_pread64:
    case SYS_preadv:
    case SYS_pwrite64:
    case SYS_pwritev:
        return true;
    case SYS_preadv2:
    case SYS_pwritev2:
        return call->arguments[3] != -1;
    default:
        return false;
    }
}

size_t transfer_bytes(const struct laio_call *call)
{
    size_t bytes = 0;
    if (has_vector(call->number)) {
        const struct iovec *vector = (const struct iovec *)call->arguments[1];
        for (long i = 0; i < call->arguments[2] && bytes < TRANSFER_MOST; i++)
            bytes += vector[i].iov_len < TRANSFER_MOST ? vector[i].iov_len : TRANSFER_MOST;
    } else {
        bytes = (size_t)call->arguments[2];
    }
    return bytes < TRANSFER_MOST ? bytes : TRANSFER_MOST;
}

static bool advance_vector(struct laio_call *call, size_t moved, void **memory)
{
    const struct iovec *vector = (const struct iovec *)call->arguments[1];
    size_t parts = (size_t)call->arguments[2];
    while (parts > 0 && moved >= vector->iov_len) {
        moved -= vector->iov_len;
        vector++;
        parts--;
    }
    struct iovec *left = calloc(parts + 1, sizeof *left); /* + 1: of none there is no array */
    if (left == NULL)
        return false;
    for (size_t i = 0; i < parts; i++)
        left[i] = vector[i];
    left->iov_base = (char *)left->iov_base + moved;
    left->iov_len -= moved;
    free(*memory);
    *memory = left;
    call->arguments[1] = (long)left;
    call->arguments[2] = (long)parts;
    return true;
}

bool transfer_advance(struct laio_call *call, size_t moved, void **memory)
{
    if (has_vector(call->number)) {
        if (!advance_vector(call, moved, memory))
            return false;
    } else {
        call->arguments[1] += (long)moved;
        call->arguments[2] -= (long)moved;
    }
    if (has_offset(call))
        call->arguments[3] += (long)moved;
    return true;
}

enum { MOVED, MEMORY }; /* engine_data */

void transfer_rest(struct laio_operation *operation, size_t moved, void *memory)
{
    operation->engine_data[MOVED] = (void *)(uintptr_t)moved;
    operation->engine_data[MEMORY] = memory;
}

long transfer_whole(struct laio_operation *operation, long rest)
{
    size_t moved = (size_t)(uintptr_t)operation->engine_data[MOVED];
    free(operation->engine_data[MEMORY]);
    transfer_rest(operation, 0, NULL);
    return transfer_joined(moved, rest);
}

bool transfer_of_file(long descriptor)
{
    struct stat status;
    return fstat((int)descriptor, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
}

static bool has_flag(long descriptor, long flag)
{
    long flags = laio_plainly(SYS_fcntl, descriptor, F_GETFL, 0, 0, 0, 0);
    return flags >= 0 && (flags & flag) != 0;
}

bool transfer_never_waits(long descriptor)
{
    return has_flag(descriptor, O_NONBLOCK) && !transfer_of_file(descriptor);
}

bool transfer_is_direct(long descriptor)
{
    return has_flag(descriptor, O_DIRECT);
}
