/* laio_operations_fails.c: operations that fail, each kind of errno by several calls. */
#include "laio_operations.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#define NO_SUCH_CALL 4000 /* there are fewer than a thousand */

struct failing {
    int error;
    long call[7]; /* number and arguments */
};
#define FAILS(error, ...) {error, {__VA_ARGS__}}
#define P(pointer) ((long)(pointer))

void prepare_fail(struct operation *operation)
{
    struct operations *all = operation->all;
    static const struct timespec too_much = {.tv_nsec = 1000000000}, negative = {.tv_nsec = -1};
    static const struct open_how beneath = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
    static const struct sockaddr_storage other_family = {.ss_family = 77};
    long folder = all->folder_descriptor, file = all->content_file, pipe = all->empty_pipe[0], missing = P("missing");
    /* A number that nobody has: it is above the usual limit of descriptors. */
    long nobody = operation_draw(operation, 2) == 0 ? -1 : 1 << 30;
    size_t bytes = 1 + operation_draw(operation, 1000);
    long buffer = P(operation_filled(operation, operation_content(operation, bytes), bytes)), n = (long)bytes;
    /* No memory: where nothing is ever mapped, or behind the end of ours. */
    long bad = operation_draw(operation, 2) == 0 ? 8 : P(operation->area + AREA_BYTES);
    long region = (long)operation->index * REGION_BYTES, address = P(&operation->address);
    operation->address = all->nobody;
    operation->word = 7;
    operation->offset = 0;
    operation->vectors[0] = (struct iovec){.iov_base = (void *)buffer, .iov_len = bytes};
    operation->vectors[1] = (struct iovec){.iov_base = (void *)bad, .iov_len = bytes};
    long good_vector = P(&operation->vectors[0]), bad_vector = P(&operation->vectors[1]);
    NEED(lseek(operation->reader, 0, SEEK_SET) == 0 && lseek(operation->folder, 0, SEEK_SET) == 0);

    const struct failing failing[] = {
        FAILS(EBADF, SYS_read, nobody, buffer, n),
        FAILS(EBADF, SYS_write, nobody, buffer, n),
        FAILS(EBADF, SYS_pread64, nobody, buffer, n, 0),
        FAILS(EBADF, SYS_pwrite64, nobody, buffer, n, 0),
        FAILS(EBADF, SYS_readv, nobody, good_vector, 1),
        FAILS(EBADF, SYS_writev, nobody, good_vector, 1),
        FAILS(EBADF, SYS_preadv, nobody, good_vector, 1, 0),
        FAILS(EBADF, SYS_pwritev, nobody, good_vector, 1, 0),
        FAILS(EBADF, SYS_fsync, nobody),
        FAILS(EBADF, SYS_fdatasync, nobody),
        FAILS(EBADF, SYS_lseek, nobody, 0, SEEK_SET),
        FAILS(EBADF, SYS_fstat, nobody, buffer),
        FAILS(EBADF, SYS_getdents64, nobody, buffer, n),
        FAILS(EBADF, SYS_sendfile, nobody, file, 0, n),
        FAILS(EBADF, SYS_sendfile, operation->pair[0], nobody, 0, n),
        FAILS(EBADF, SYS_accept4, nobody, 0, 0, 0),
        FAILS(EBADF, SYS_connect, nobody, address, all->nobody_bytes),
        FAILS(EBADF, SYS_recvfrom, nobody, buffer, n, 0, 0, 0),
        FAILS(EBADF, SYS_sendto, nobody, buffer, n, 0, 0, 0),
        FAILS(EBADF, SYS_openat, -1, missing, O_RDONLY),
        FAILS(EBADF, SYS_newfstatat, -1, missing, buffer, 0),
        FAILS(EBADF, SYS_statx, -1, missing, 0, STATX_BASIC_STATS, buffer),
        FAILS(EBADF, SYS_read, all->write_only, buffer, n),
        FAILS(EBADF, SYS_pread64, all->write_only, buffer, n, 0),
        FAILS(EBADF, SYS_write, file, buffer, n),
        FAILS(EBADF, SYS_pwrite64, file, buffer, n, 0),
        FAILS(EBADF, SYS_read, all->full_pipe[1], buffer, n),

        FAILS(EFAULT, SYS_read, operation->reader, bad, n),
        FAILS(EFAULT, SYS_pread64, file, bad, n, 0),
        FAILS(EFAULT, SYS_pwrite64, operation->writer, bad, n, region),
        FAILS(EFAULT, SYS_write, operation->pipe[1], bad, n),
        FAILS(EFAULT, SYS_readv, file, bad, 1),
        FAILS(EFAULT, SYS_preadv, file, bad, 1, 0),
        FAILS(EFAULT, SYS_preadv, file, bad_vector, 1, 0),
        FAILS(EFAULT, SYS_pwritev, operation->writer, bad_vector, 1, region),
        FAILS(EFAULT, SYS_openat, folder, bad, O_RDONLY),
        FAILS(EFAULT, SYS_openat2, folder, bad, P(&beneath), sizeof beneath),
        FAILS(EFAULT, SYS_openat2, folder, missing, bad, sizeof beneath),
        FAILS(EFAULT, SYS_newfstatat, folder, bad, buffer, 0),
        FAILS(EFAULT, SYS_newfstatat, folder, P("content.bin"), bad, 0),
        FAILS(EFAULT, SYS_fstat, file, bad),
        FAILS(EFAULT, SYS_statx, folder, bad, 0, STATX_BASIC_STATS, buffer),
        FAILS(EFAULT, SYS_statx, folder, P("content.bin"), 0, STATX_BASIC_STATS, bad),
        FAILS(EFAULT, SYS_nanosleep, bad, 0),
        FAILS(EFAULT, SYS_futex, P(operation->area + AREA_BYTES), FUTEX_WAIT_PRIVATE, 0, 0),
        FAILS(EFAULT, SYS_getdents64, operation->folder, bad, 4096),
        FAILS(EFAULT, SYS_connect, all->stream, bad, all->nobody_bytes),
        FAILS(EFAULT, SYS_sendto, operation->pair[0], bad, n, 0, 0, 0),
        FAILS(EFAULT, SYS_sendto, all->datagram, buffer, n, 0, bad, all->nobody_bytes),
        FAILS(EFAULT, SYS_sendfile, operation->pair[0], file, bad, n),

        FAILS(EINVAL, SYS_pread64, file, buffer, n, -5),
        FAILS(EINVAL, SYS_pread64, file, buffer, n, -1), /* which io_uring takes for the file's position */
        FAILS(EINVAL, SYS_pwrite64, operation->writer, buffer, n, -5),
        FAILS(EINVAL, SYS_preadv, file, good_vector, 1, -1),
        FAILS(EINVAL, SYS_readv, file, good_vector, -1),
        FAILS(EINVAL, SYS_preadv, file, good_vector, 1025, 0),
        FAILS(EINVAL, SYS_lseek, file, 0, 99),
        FAILS(EINVAL, SYS_lseek, operation->reader, -1, SEEK_SET),
        FAILS(EINVAL, SYS_nanosleep, P(&too_much), 0),
        FAILS(EINVAL, SYS_nanosleep, P(&negative), 0),
        FAILS(EINVAL, SYS_futex, P(&operation->word) + 1, FUTEX_WAIT_PRIVATE, 0, 0),
        FAILS(EINVAL, SYS_fsync, pipe),
        FAILS(EINVAL, SYS_fdatasync, operation->pair[0]),
        FAILS(EINVAL, SYS_getdents64, folder, buffer, 1),
        FAILS(EINVAL, SYS_accept4, all->stream, 0, 0, 0),
        FAILS(EINVAL, SYS_accept4, all->quiet_listener, 0, 0, 1),
        FAILS(EINVAL, SYS_connect, all->stream, address, 1),
        FAILS(EINVAL, SYS_statx, folder, P("content.bin"), 0, 1u << 31, buffer),
        FAILS(EINVAL, SYS_openat2, folder, P("content.bin"), P(&beneath), sizeof beneath - 1),

        FAILS(ENOENT, SYS_openat, folder, missing, O_RDONLY),
        FAILS(ENOENT, SYS_openat, folder, P("no/such"), O_RDONLY | O_CREAT, 0600),
        FAILS(ENOENT, SYS_openat, folder, P(""), O_RDONLY),
        FAILS(ENOENT, SYS_openat2, folder, missing, P(&beneath), sizeof beneath),
        FAILS(EXDEV, SYS_openat2, folder, P("../content.bin"), P(&beneath), sizeof beneath),
        FAILS(ENOENT, SYS_newfstatat, folder, missing, buffer, 0),
        FAILS(ENOENT, SYS_statx, folder, missing, 0, STATX_BASIC_STATS, buffer),
        FAILS(ENOTDIR, SYS_openat, folder, P("content.bin/x"), O_RDONLY),
        FAILS(ENOTDIR, SYS_openat, folder, P("content.bin"), O_RDONLY | O_DIRECTORY),
        FAILS(ENOTDIR, SYS_openat, file, missing, O_RDONLY),
        FAILS(ENOTDIR, SYS_statx, folder, P("content.bin/x"), 0, STATX_BASIC_STATS, buffer),
        FAILS(ENOTDIR, SYS_getdents64, file, buffer, n),
        FAILS(ESPIPE, SYS_lseek, pipe, 0, SEEK_SET),
        FAILS(ESPIPE, SYS_pread64, pipe, buffer, n, 0),
        FAILS(ESPIPE, SYS_preadv, pipe, good_vector, 1, 0),
        FAILS(ESPIPE, SYS_pwrite64, operation->pipe[1], buffer, n, 0),
        FAILS(ESPIPE, SYS_pread64, operation->pair[0], buffer, n, 0),
        FAILS(EISDIR, SYS_read, folder, buffer, n),
        FAILS(EISDIR, SYS_pread64, folder, buffer, n, 0),
        FAILS(EISDIR, SYS_openat, folder, P("folder"), O_WRONLY),
        FAILS(EEXIST, SYS_openat, folder, P("content.bin"), O_WRONLY | O_CREAT | O_EXCL, 0600),
        FAILS(ELOOP, SYS_openat, folder, P("loop"), O_RDONLY),
        FAILS(ELOOP, SYS_statx, folder, P("loop/x"), 0, STATX_BASIC_STATS, buffer),
        FAILS(ENXIO, SYS_openat, folder, P("fifo"), O_WRONLY | O_NONBLOCK),
        FAILS(ENAMETOOLONG, SYS_openat, folder, P(all->endless), O_RDONLY),

        FAILS(EPIPE, SYS_write, all->broken_pipe[1], buffer, n),
        FAILS(EPIPE, SYS_writev, all->broken_pipe[1], good_vector, 1),
        FAILS(EPIPE, SYS_sendto, all->broken_pair[0], buffer, n, MSG_NOSIGNAL, 0, 0),
        FAILS(EPIPE, SYS_sendto, all->broken_pair[0], buffer, n, 0, 0, 0),
        FAILS(EPIPE, SYS_sendfile, all->broken_pair[0], file, 0, n),
        FAILS(ENOSPC, SYS_write, all->full_device, buffer, n),
        FAILS(ENOSPC, SYS_pwrite64, all->full_file >= 0 ? all->full_file : all->full_device, buffer, n, 4096),
        FAILS(ENOSPC, SYS_pwritev, all->full_file >= 0 ? all->full_file : all->full_device, good_vector, 1, 8192),

        FAILS(EAGAIN, SYS_read, pipe, buffer, n),
        FAILS(EAGAIN, SYS_readv, pipe, good_vector, 1),
        FAILS(EAGAIN, SYS_write, all->full_pipe[1], buffer, n),
        FAILS(EAGAIN, SYS_accept4, all->quiet_listener, 0, 0, 0),
        FAILS(EAGAIN, SYS_recvfrom, all->silent_pair[0], buffer, n, 0, 0, 0),
        FAILS(EAGAIN, SYS_recvfrom, operation->pair[0], buffer, n, MSG_DONTWAIT, 0, 0),
        FAILS(EAGAIN, SYS_recvfrom, all->datagram, buffer, n, MSG_DONTWAIT, 0, 0),
        FAILS(ENOTSOCK, SYS_connect, file, address, all->nobody_bytes),
        FAILS(ENOTSOCK, SYS_accept4, pipe, 0, 0, 0),
        FAILS(ENOTSOCK, SYS_recvfrom, pipe, buffer, n, 0, 0, 0),
        FAILS(ENOTSOCK, SYS_sendto, folder, buffer, n, 0, 0, 0),
        FAILS(ENOTCONN, SYS_recvfrom, all->stream, buffer, n, 0, 0, 0),
        FAILS(EOPNOTSUPP, SYS_accept4, all->datagram, 0, 0, 0),
        FAILS(EDESTADDRREQ, SYS_sendto, all->datagram, buffer, n, 0, 0, 0),
        FAILS(EAFNOSUPPORT, SYS_connect, all->stream, P(&other_family), all->nobody_bytes),
        FAILS(ENOSYS, NO_SUCH_CALL, buffer, n),
    };
    size_t which = operation_draw(operation, sizeof failing / sizeof failing[0]);
    const long *call = failing[which].call;
    operation->expected = -failing[which].error;
    operation->waits = call[0] == SYS_sendfile; /* which a signal interrupts before it fails (splice_to_socket) */
    OPERATION_CALL(operation, call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
}
