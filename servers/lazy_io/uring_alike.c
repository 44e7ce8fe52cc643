/* uring_alike.c: where io_uring would do otherwise than the plain call, told by the descriptor. */
#include "uring_alike.h"

#include "borrowed.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

static uint64_t *offsets_word(struct uring_offsets *offsets, long descriptor)
{
    size_t word = (size_t)(unsigned)descriptor / 64;
    return word < sizeof offsets->known / sizeof offsets->known[0] ? &offsets->known[word] : NULL;
}

bool uring_has_offsets(struct uring_offsets *offsets, long descriptor)
{
    uint64_t *word = offsets_word(offsets, descriptor), bit = UINT64_C(1) << (descriptor & 63);
    if (word != NULL && (*word & bit) != 0)
        return true;
    long position = laio_plainly(SYS_lseek, descriptor, 0, SEEK_CUR, 0, 0, 0);
    if (word != NULL && position >= 0)
        *word |= bit;
    return position != -ESPIPE;
}

void uring_offsets_forget(struct uring_offsets *offsets, long descriptor)
{
    uint64_t *word = offsets_word(offsets, descriptor);
    if (word != NULL)
        *word &= ~(UINT64_C(1) << (descriptor & 63));
}

bool uring_gives_descriptor(long number)
{
    return number == SYS_openat || number == SYS_openat2 || number == SYS_accept || number == SYS_accept4;
}

static bool is_stream_socket(long descriptor)
{
    int type = 0;
    socklen_t bytes = sizeof type;
    long result = laio_plainly(SYS_getsockopt, descriptor, SOL_SOCKET, SO_TYPE, (long)&type, (long)&bytes, 0);
    return result == 0 && type == SOCK_STREAM; /* others do not send it (net/unix/af_unix.c) */
}

static bool is_fifo(long descriptor)
{
    struct stat status;
    return fstat((int)descriptor, &status) == 0 && S_ISFIFO(status.st_mode);
}

bool uring_owes_sigpipe(const struct laio_call *call)
{
    const long *a = call->arguments;
    switch (call->number) {
    case SYS_sendto:
        return (a[3] & MSG_NOSIGNAL) == 0 && is_stream_socket(a[0]);
    case SYS_sendmsg:
        return (a[2] & MSG_NOSIGNAL) == 0 && is_stream_socket(a[0]);
    case SYS_splice:
        return is_fifo(a[2]) || is_stream_socket(a[2]);
    case SYS_tee:
        return true;
    default:
        return false;
    }
}

bool uring_opened_early(const struct laio_call *call, long result)
{
    if (call->number != SYS_openat && call->number != SYS_openat2)
        return false;
    /* For a file that is one system call, the cheapest there is. */
    if (result != -ENXIO &&
        (result < 0 || laio_plainly(SYS_lseek, result, 0, SEEK_CUR, 0, 0, 0) != -ESPIPE || !is_fifo(result)))
        return false;
    uint64_t flags = (uint64_t)call->arguments[2];
    if (call->number == SYS_openat2 && !borrowed_copy(&flags, (const void *)call->arguments[2], sizeof flags))
        return false;
    return (flags & (O_NONBLOCK | O_PATH)) == 0 && (result < 0 || (flags & O_ACCMODE) == O_RDONLY);
}
