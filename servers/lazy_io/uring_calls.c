/* uring_calls.c: system calls as io_uring's entries.
 *
 * An entry's length has 32 bits, and a few checks that the plain call makes io_uring leaves out: where that would show,
 * the plain call is made instead.
 */
#include "uring_calls.h"

#include "borrowed.h"
#include "transfer.h"
#include "uring_alike.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define CURRENT_POSITION UINT64_MAX

static const struct {
    short number;
    short opcode;
} opcodes[] = {
    {SYS_read, IORING_OP_READ},
    {SYS_pread64, IORING_OP_READ},
    {SYS_readv, IORING_OP_READV},
    {SYS_preadv, IORING_OP_READV},
    {SYS_preadv2, IORING_OP_READV},
    {SYS_write, IORING_OP_WRITE},
    {SYS_pwrite64, IORING_OP_WRITE},
    {SYS_writev, IORING_OP_WRITEV},
    {SYS_pwritev, IORING_OP_WRITEV},
    {SYS_pwritev2, IORING_OP_WRITEV},
    {SYS_fsync, IORING_OP_FSYNC},
    {SYS_fdatasync, IORING_OP_FSYNC},
    {SYS_sync_file_range, IORING_OP_SYNC_FILE_RANGE},
    {SYS_fallocate, IORING_OP_FALLOCATE},
    {SYS_fadvise64, IORING_OP_FADVISE},
    {SYS_madvise, IORING_OP_MADVISE},
    {SYS_splice, IORING_OP_SPLICE},
    {SYS_tee, IORING_OP_TEE},
    {SYS_openat, IORING_OP_OPENAT},
    {SYS_openat2, IORING_OP_OPENAT2},
    {SYS_close, IORING_OP_CLOSE},
    {SYS_statx, IORING_OP_STATX},
    {SYS_unlinkat, IORING_OP_UNLINKAT},
    {SYS_renameat2, IORING_OP_RENAMEAT},
    {SYS_mkdirat, IORING_OP_MKDIRAT},
    {SYS_symlinkat, IORING_OP_SYMLINKAT},
    {SYS_linkat, IORING_OP_LINKAT},
    {SYS_connect, IORING_OP_CONNECT},
    {SYS_accept, IORING_OP_ACCEPT},
    {SYS_accept4, IORING_OP_ACCEPT},
    {SYS_sendto, IORING_OP_SEND},
    {SYS_recvfrom, IORING_OP_RECV},
    {SYS_sendmsg, IORING_OP_SENDMSG},
    {SYS_recvmsg, IORING_OP_RECVMSG},
};

int uring_opcode(long number)
{
    for (unsigned i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++)
        if (opcodes[i].number == number)
            return opcodes[i].opcode;
    return -1;
}

enum uring_kind uring_kind(const struct laio_call *call)
{
    switch (call->number) {
    case SYS_pread64:
    case SYS_preadv:
    case SYS_pwrite64:
    case SYS_pwritev:
        return URING_AT_OFFSET;
    case SYS_preadv2:
    case SYS_pwritev2:
        return call->arguments[3] == -1 ? URING_STREAM : URING_AT_OFFSET;
    case SYS_read:
    case SYS_readv:
    case SYS_write:
    case SYS_writev:
        return URING_STREAM;
    case SYS_accept:
    case SYS_accept4:
    case SYS_sendto:
    case SYS_recvfrom:
    case SYS_sendmsg:
    case SYS_recvmsg:
        return URING_SOCKET;
    default:
        return URING_ALIKE;
    }
}

static enum uring_put put_buffer(struct io_uring_sqe *entry, int opcode, const long *a, uint64_t offset)
{
    if ((size_t)a[2] > TRANSFER_MOST)
        return URING_HELD;
    io_uring_prep_rw(opcode, entry, (int)a[0], (const void *)a[1], (unsigned)a[2], offset);
    return URING_PUT;
}

static enum uring_put put_vector(struct io_uring_sqe *entry, int opcode, const long *a, uint64_t offset, long flags)
{
    if ((size_t)a[2] > IOV_MAX || (flags & RWF_NOWAIT) != 0)
        return URING_PLAIN;
    if ((flags & RWF_HIPRI) != 0) /* is for rings that poll the device */
        return URING_HELD;
    io_uring_prep_rw(opcode, entry, (int)a[0], (const void *)a[1], (unsigned)a[2], offset);
    entry->rw_flags = (__kernel_rwf_t)flags;
    return URING_PUT;
}

/* -1 is the file's position for preadv2 and pwritev2, and an error for the others; io_uring knows it for all. And it
 * reads and writes a pipe or socket, which has no offsets. */
static enum uring_put put_at(struct io_uring_sqe *entry, struct uring_offsets *offsets, int opcode, const long *a,
                             bool vector, bool v2)
{
    if (a[3] < (v2 ? -1 : 0) || (a[3] >= 0 && !uring_has_offsets(offsets, a[0])))
        return URING_PLAIN;
    return vector ? put_vector(entry, opcode, a, (uint64_t)a[3], v2 ? a[5] : 0)
                  : put_buffer(entry, opcode, a, (uint64_t)a[3]);
}

static enum uring_put put_transfer(struct io_uring_sqe *entry, struct uring_offsets *offsets, long number, const long *a)
{
    switch (number) {
    case SYS_read:
        return put_buffer(entry, IORING_OP_READ, a, CURRENT_POSITION);
    case SYS_write:
        return put_buffer(entry, IORING_OP_WRITE, a, CURRENT_POSITION);
    case SYS_readv:
        return put_vector(entry, IORING_OP_READV, a, CURRENT_POSITION, 0);
    case SYS_writev:
        return put_vector(entry, IORING_OP_WRITEV, a, CURRENT_POSITION, 0);
    case SYS_pread64:
        return put_at(entry, offsets, IORING_OP_READ, a, false, false);
    case SYS_pwrite64:
        return put_at(entry, offsets, IORING_OP_WRITE, a, false, false);
    case SYS_preadv:
        return put_at(entry, offsets, IORING_OP_READV, a, true, false);
    case SYS_pwritev:
        return put_at(entry, offsets, IORING_OP_WRITEV, a, true, false);
    case SYS_preadv2:
        return put_at(entry, offsets, IORING_OP_READV, a, true, true);
    case SYS_pwritev2:
        return put_at(entry, offsets, IORING_OP_WRITEV, a, true, true);
    default:
        return URING_REFUSED;
    }
}

/* A range of a file or of memory. Older kernels take 32 bits for the length of an advice (io_uring/advise.c). */
static enum uring_put put_range(struct io_uring_sqe *entry, long number, const long *a)
{
    switch (number) {
    case SYS_fsync:
        io_uring_prep_fsync(entry, (int)a[0], 0);
        return URING_PUT;
    case SYS_fdatasync:
        io_uring_prep_fsync(entry, (int)a[0], IORING_FSYNC_DATASYNC);
        return URING_PUT;
    case SYS_sync_file_range:
        if (a[2] < 0 || (uint64_t)a[2] > UINT_MAX)
            return a[2] < 0 ? URING_PLAIN : URING_HELD;
        io_uring_prep_sync_file_range(entry, (int)a[0], (unsigned)a[2], (uint64_t)a[1], (int)a[3]);
        return URING_PUT;
    case SYS_fallocate:
        io_uring_prep_rw(IORING_OP_FALLOCATE, entry, (int)a[0], (const void *)a[3], (unsigned)a[1], (uint64_t)a[2]);
        return URING_PUT;
    case SYS_fadvise64:
        if ((uint64_t)a[2] > UINT_MAX)
            return URING_HELD;
        io_uring_prep_fadvise(entry, (int)a[0], (uint64_t)a[1], a[2], (int)a[3]);
        return URING_PUT;
    case SYS_madvise:
        if ((uint64_t)a[1] > UINT_MAX)
            return URING_HELD;
        io_uring_prep_madvise(entry, (void *)a[0], a[1], (int)a[2]);
        return URING_PUT;
    default:
        return URING_REFUSED;
    }
}

/* The entry takes offsets by value, -1 for none; uring.c writes back what they have become. */
static enum uring_put put_splice(struct io_uring_sqe *entry, const long *a)
{
    int64_t in = -1, out = -1;
    if (a[4] == 0 || (a[1] != 0 && (!borrowed_copy(&in, (const void *)a[1], sizeof in) || in < 0)) ||
        (a[3] != 0 && (!borrowed_copy(&out, (const void *)a[3], sizeof out) || out < 0)))
        return URING_PLAIN;
    if ((size_t)a[4] > TRANSFER_MOST)
        return URING_HELD;
    io_uring_prep_splice(entry, (int)a[0], in, (int)a[2], out, (unsigned)a[4], (unsigned)a[5]);
    return URING_PUT;
}

static enum uring_put put_path(struct io_uring_sqe *entry, long number, const long *a)
{
    switch (number) {
    case SYS_openat:
        io_uring_prep_openat(entry, (int)a[0], (const char *)a[1], (int)a[2], (mode_t)a[3]);
        return URING_PUT;
    case SYS_openat2:
        if ((uint64_t)a[3] > UINT_MAX)
            return URING_PLAIN;
        io_uring_prep_rw(IORING_OP_OPENAT2, entry, (int)a[0], (const void *)a[1], (unsigned)a[3], (uint64_t)a[2]);
        return URING_PUT;
    case SYS_statx:
        io_uring_prep_statx(entry, (int)a[0], (const char *)a[1], (int)a[2], (unsigned)a[3], (struct statx *)a[4]);
        return URING_PUT;
    case SYS_unlinkat:
        io_uring_prep_unlinkat(entry, (int)a[0], (const char *)a[1], (int)a[2]);
        return URING_PUT;
    case SYS_renameat2:
        io_uring_prep_renameat(entry, (int)a[0], (const char *)a[1], (int)a[2], (const char *)a[3], (unsigned)a[4]);
        return URING_PUT;
    case SYS_mkdirat:
        io_uring_prep_mkdirat(entry, (int)a[0], (const char *)a[1], (mode_t)a[2]);
        return URING_PUT;
    case SYS_symlinkat:
        io_uring_prep_symlinkat(entry, (const char *)a[0], (int)a[1], (const char *)a[2]);
        return URING_PUT;
    case SYS_linkat:
        io_uring_prep_linkat(entry, (int)a[0], (const char *)a[1], (int)a[2], (const char *)a[3], (int)a[4]);
        return URING_PUT;
    default:
        return URING_REFUSED;
    }
}

/* A plain send on a blocking socket goes on until all is sent. io_uring's does with MSG_WAITALL (io_uring/net.c). */
static unsigned send_flags(long flags)
{
    return (unsigned)flags | ((flags & MSG_DONTWAIT) != 0 ? 0 : MSG_WAITALL);
}

/* An address has no place in an entry. */
struct message {
    struct msghdr header;
    struct iovec whole;
};

static enum uring_put put_message(struct io_uring_sqe *entry, long number, const long *a, void **memory)
{
    const bool sends = number == SYS_sendto;
    socklen_t address_bytes = (socklen_t)a[5];
    if (!sends && !borrowed_copy(&address_bytes, (const void *)a[5], sizeof address_bytes))
        return URING_HELD; /* EFAULT, but only when something has come */
    if (address_bytes == 0 || address_bytes > sizeof(struct sockaddr_storage))
        return sends ? URING_PLAIN : URING_HELD;
    struct message *message = *memory = calloc(1, sizeof *message);
    if (message == NULL)
        return URING_HELD;
    message->whole = (struct iovec){.iov_base = (void *)a[1], .iov_len = (size_t)a[2]};
    message->header = (struct msghdr){
        .msg_name = (void *)a[4], .msg_namelen = address_bytes, .msg_iov = &message->whole, .msg_iovlen = 1};
    if (sends)
        io_uring_prep_sendmsg(entry, (int)a[0], &message->header, send_flags(a[3]));
    else
        io_uring_prep_recvmsg(entry, (int)a[0], &message->header, (unsigned)a[3]);
    return URING_PUT;
}

void uring_message_end(const struct laio_call *call, const void *memory, long result)
{
    const struct message *message = memory;
    if (call->number == SYS_recvfrom && result >= 0) /* the only one of its number that has memory */
        *(socklen_t *)call->arguments[5] = message->header.msg_namelen;
}

static enum uring_put put_socket(struct io_uring_sqe *entry, long number, const long *a, void **memory)
{
    switch (number) {
    case SYS_connect: {
        long flags = laio_plainly(SYS_fcntl, a[0], F_GETFL, 0, 0, 0, 0);
        if (flags < 0 || (flags & O_NONBLOCK) != 0)
            return URING_PLAIN; /* EINPROGRESS; io_uring would wait for the connection */
        io_uring_prep_connect(entry, (int)a[0], (const struct sockaddr *)a[1], (socklen_t)a[2]);
        return URING_PUT;
    }
    case SYS_accept:
    case SYS_accept4:
        io_uring_prep_accept(entry, (int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2],
                             number == SYS_accept4 ? (int)a[3] : 0);
        return URING_PUT;
    case SYS_sendto:
    case SYS_recvfrom:
        if ((size_t)a[2] > TRANSFER_MOST)
            return URING_HELD;
        if (a[4] != 0)
            return put_message(entry, number, a, memory);
        io_uring_prep_rw(number == SYS_sendto ? IORING_OP_SEND : IORING_OP_RECV, entry, (int)a[0], (const void *)a[1],
                         (unsigned)a[2], 0);
        entry->msg_flags = number == SYS_sendto ? send_flags(a[3]) : (unsigned)a[3];
        return URING_PUT;
    case SYS_sendmsg:
        io_uring_prep_sendmsg(entry, (int)a[0], (const struct msghdr *)a[1], send_flags(a[2]));
        return URING_PUT;
    case SYS_recvmsg:
        io_uring_prep_recvmsg(entry, (int)a[0], (struct msghdr *)a[1], (unsigned)a[2]);
        return URING_PUT;
    default:
        return URING_REFUSED;
    }
}

enum uring_put uring_put(struct io_uring_sqe *entry, struct uring_offsets *offsets, const struct laio_call *call,
                         void **memory)
{
    const long *a = call->arguments;
    switch (uring_opcode(call->number)) {
    case IORING_OP_READ:
    case IORING_OP_READV:
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV:
        return put_transfer(entry, offsets, call->number, a);
    case IORING_OP_FSYNC:
    case IORING_OP_SYNC_FILE_RANGE:
    case IORING_OP_FALLOCATE:
    case IORING_OP_FADVISE:
    case IORING_OP_MADVISE:
        return put_range(entry, call->number, a);
    case IORING_OP_SPLICE:
        return put_splice(entry, a);
    case IORING_OP_TEE:
        if ((size_t)a[2] > TRANSFER_MOST)
            return URING_HELD;
        io_uring_prep_tee(entry, (int)a[0], (int)a[1], (unsigned)a[2], (unsigned)a[3]);
        return URING_PUT;
    case IORING_OP_CONNECT:
    case IORING_OP_ACCEPT:
    case IORING_OP_SEND:
    case IORING_OP_RECV:
    case IORING_OP_SENDMSG:
    case IORING_OP_RECVMSG:
        return put_socket(entry, call->number, a, memory);
    case IORING_OP_CLOSE:
        uring_offsets_forget(offsets, a[0]);
        io_uring_prep_close(entry, (int)a[0]);
        return URING_PUT;
    default:
        return put_path(entry, call->number, a);
    }
}
