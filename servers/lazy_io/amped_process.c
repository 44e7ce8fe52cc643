/* amped_process.c: a process that makes calls for their effect on memory.
 *
 * It is a copy of the program without its descriptors, made without fork(): so no handler of the program's runs, and it
 * is no child that the program would wait for (its end sends no signal). It uses system calls only. Its root,
 * credentials and limits are those at laio_open().
 */
#include "amped_process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SCRATCH_BYTES (64 << 10)

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

/* In the process */

_Noreturn static void leave(void)
{
    for (;;)
        laio_plainly(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

/* Ends with its parent (strictly, with the thread that opened the engine), not with the signals of its terminal.
 * Nothing of the program's stays open here: it would keep connections from ending. */
static int settle_down(int socket, long parent)
{
    uint64_t all = UINT64_MAX;
    laio_plainly(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof all, 0, 0);
    laio_plainly(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
    laio_plainly(SYS_prctl, PR_SET_NAME, (long)"laio amped", 0, 0, 0, 0);
    if (laio_plainly(SYS_getppid, 0, 0, 0, 0, 0, 0) != parent)
        leave();
    socket = (int)laio_plainly(SYS_fcntl, socket, F_DUPFD, 3, 0, 0, 0);
    long null = laio_plainly(SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDWR, 0, 0, 0);
    for (int standard = 0; standard < 3; standard++)
        if (null < 0)
            laio_plainly(SYS_close, standard, 0, 0, 0, 0, 0);
        else if (null != standard)
            laio_plainly(SYS_dup3, null, standard, 0, 0, 0, 0);
    if (socket > 3)
        laio_plainly(SYS_close_range, 3, socket - 1, 0, 0, 0, 0);
    laio_plainly(SYS_close_range, socket + 1, ~0u, 0, 0, 0, 0);
    return socket;
}

static void read_all(int file, int64_t offset, uint64_t bytes)
{
    char scratch[SCRATCH_BYTES];
    while (bytes > 0) {
        uint64_t piece = bytes < sizeof scratch ? bytes : sizeof scratch;
        long got = laio_plainly(SYS_pread64, file, (long)scratch, (long)piece, offset, 0, 0);
        if (got <= 0)
            return;
        offset += got;
        bytes -= (uint64_t)got;
    }
}

/* Results and errors go nowhere: the loop makes the call itself. To open with O_PATH finds the file and brings in its
 * inode, and neither creates or truncates it, nor waits for the other end of a named pipe. */
static void make(const struct amped_request *request, int descriptor)
{
    union {
        struct stat stat;
        struct statx statx;
    } scratch;
    const int directory = descriptor >= 0 ? descriptor : AT_FDCWD;
    switch (request->kind) {
    case AMPED_READ:
        read_all(descriptor, request->offset, request->bytes);
        break;
    case AMPED_OPEN: {
        const struct open_how how = {.flags = O_PATH | O_CLOEXEC | (request->flags & (O_DIRECTORY | O_NOFOLLOW)),
                                     .resolve = request->resolve};
        long file = laio_plainly(SYS_openat2, directory, (long)request->path, (long)&how, sizeof how, 0, 0);
        if (file >= 0)
            laio_plainly(SYS_close, file, 0, 0, 0, 0, 0);
        break;
    }
    case AMPED_STATX:
        laio_plainly(SYS_statx, directory, (long)request->path, request->flags, request->mask, (long)&scratch.statx, 0);
        break;
    case AMPED_STAT:
        laio_plainly(SYS_newfstatat, directory, (long)request->path, (long)&scratch.stat, request->flags, 0, 0);
        break;
    }
}

_Noreturn static void serve(int socket, long parent)
{
    socket = settle_down(socket, parent);
    for (;;) {
        struct amped_request request;
        union control control;
        struct iovec whole = {.iov_base = &request, .iov_len = sizeof request};
        struct msghdr message = {
            .msg_iov = &whole, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        if (laio_plainly(SYS_recvmsg, socket, (long)&message, MSG_CMSG_CLOEXEC, 0, 0, 0) <= 0)
            leave(); /* the parent has gone */
        int descriptor = -1;
        if (message.msg_controllen >= CMSG_LEN(sizeof(int)))
            __builtin_memcpy(&descriptor, CMSG_DATA(&control.header), sizeof descriptor);
        make(&request, descriptor);
        if (descriptor >= 0)
            laio_plainly(SYS_close, descriptor, 0, 0, 0, 0, 0);
        if (laio_plainly(SYS_sendto, socket, (long)"", 1, MSG_NOSIGNAL, 0, 0) != 1)
            leave();
    }
}

/* In the program */

long amped_process_start(struct amped_process *process)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    long parent = laio_plainly(SYS_getpid, 0, 0, 0, 0, 0, 0);
    process->process = -1;
    process->socket = ends[0];
    long result = laio_plainly(SYS_clone, CLONE_PIDFD, 0, (long)&process->process, 0, 0, 0);
    if (result == 0)
        serve(ends[1], parent);
    close(ends[1]);
    if (result < 0)
        close(ends[0]);
    return result < 0 ? result : 0;
}

long amped_process_ask(const struct amped_process *process, const struct amped_request *request, size_t path_bytes,
                       int descriptor)
{
    union control control = {
        .header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof descriptor)}};
    __builtin_memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
    struct iovec whole = {.iov_base = (void *)request, .iov_len = offsetof(struct amped_request, path) + path_bytes};
    struct msghdr message = {.msg_iov = &whole, .msg_iovlen = 1};
    if (descriptor >= 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int));
    }
    long result = laio_plainly(SYS_sendmsg, process->socket, (long)&message, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0, 0);
    return result < 0 ? result : 0;
}

int amped_process_answered(const struct amped_process *process)
{
    char answer;
    long result = laio_plainly(SYS_recvfrom, process->socket, (long)&answer, sizeof answer, MSG_DONTWAIT, 0, 0);
    if (result == -EAGAIN || result == -EINTR)
        return 0;
    return result == sizeof answer ? 1 : -1;
}

void amped_process_end(struct amped_process *process)
{
    siginfo_t how;
    laio_plainly(SYS_pidfd_send_signal, process->process, SIGKILL, 0, 0, 0, 0);
    while (laio_plainly(SYS_waitid, P_PIDFD, process->process, (long)&how, WEXITED | __WALL, 0, 0) == -EINTR)
        ;
    close(process->process);
    close(process->socket);
}
