/* laio_operations_waits.c: operations on pipes and sockets, which find what they need or wait for the partner. */
#include "laio_operations.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/syscall.h>

/* Reading from a pipe */

static bool deed_write(void *argument)
{
    struct operation *operation = argument;
    NEED(write(operation->pipe[1], operation->content, operation->filler_bytes) == (ssize_t)operation->filler_bytes);
    return true;
}

static bool deed_close(void *argument)
{
    struct operation *operation = argument;
    close(operation->opened[1]);
    operation->opened[1] = -1;
    return true;
}

void prepare_pipe_read(struct operation *operation)
{
    size_t bytes = 1 + operation_draw(operation, 600), present = 1 + operation_draw(operation, 600);
    char *buffer = operation_buffer(operation, bytes);
    if (operation_draw(operation, 6) == 0) { /* a pipe that comes to its end */
        int pipe[2];
        NEED(pipe2(pipe, O_CLOEXEC) == 0);
        operation_open(operation, 0, pipe[0]);
        operation_open(operation, 1, pipe[1]);
        OPERATION_CALL(operation, SYS_read, pipe[0], buffer, bytes);
        operation_now_or_soon(operation, deed_close);
        return;
    }
    operation->uses = USES_PIPE;
    operation->filler_bytes = present;
    operation->expected = (long)(bytes < present ? bytes : present);
    operation->left_bytes = present - (size_t)operation->expected;
    operation->content = operation_content(operation, present);
    operation->verify = operation_holds_content;
    operation->vectors[0] = (struct iovec){.iov_base = buffer, .iov_len = bytes / 3};
    operation->vectors[1] = (struct iovec){.iov_base = buffer + bytes / 3, .iov_len = bytes - bytes / 3};
    if (operation_draw(operation, 4) == 0)
        OPERATION_CALL(operation, SYS_readv, operation->pipe[0], operation->vectors, 2);
    else
        OPERATION_CALL(operation, SYS_read, operation->pipe[0], buffer, bytes);
    operation_now_or_soon(operation, deed_write);
}

/* Sending to a pipe or socket: there is room, or there is none until the partner makes some. */

static void fill_pipe(struct operation *operation, int descriptor)
{
    int bytes = fcntl(descriptor, F_GETPIPE_SZ);
    NEED(bytes > 0 && write(descriptor, operation->all->content, (size_t)bytes) == bytes);
    operation->filler_bytes = (size_t)bytes;
}

static void fill_pair(struct operation *operation)
{
    const char *content = operation->all->content;
    for (ssize_t sent; (sent = send(operation->pair[0], content + operation->filler_bytes, 1024, MSG_DONTWAIT)) > 0;)
        operation->filler_bytes += (size_t)sent;
    NEED(errno == EAGAIN);
}

static void drain_from(struct operation *operation, int descriptor, unsigned uses, bool full)
{
    operation->uses = uses;
    operation->drain_from = descriptor;
    operation->verify = operation_drained;
    operation->partly = full;
    if (full)
        operation_ask_soon(operation, deed_drain);
}

void prepare_pipe_write(struct operation *operation)
{
    unsigned how = (unsigned)operation_draw(operation, 8);
    size_t bytes = 1 + operation_draw(operation, how < 3 ? 10000 : 4096);
    char *buffer = operation_filled(operation, operation_content(operation, bytes), bytes);
    if (how == 0) { /* nobody will read it */
        int pipe[2];
        NEED(pipe2(pipe, O_CLOEXEC) == 0);
        operation_open(operation, 0, pipe[1]);
        operation_open(operation, 1, pipe[0]);
        fcntl(pipe[1], F_SETPIPE_SZ, 4096);
        fill_pipe(operation, pipe[1]);
        operation->expected = -EPIPE;
        OPERATION_CALL(operation, SYS_write, pipe[1], buffer, bytes);
        operation_now_or_soon(operation, deed_close);
        return;
    }
    operation->expected = (long)bytes;
    OPERATION_CALL(operation, SYS_write, operation->pipe[1], buffer, bytes);
    if (how < 3)
        fill_pipe(operation, operation->pipe[1]);
    drain_from(operation, operation->pipe[0], USES_PIPE, how < 3);
}

/* A datagram socket of the operation, with a datagram to itself. */
static void open_datagram(struct operation *operation)
{
    struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    operation_open(operation, 0, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    NEED(bind(operation->opened[0], (struct sockaddr *)&loopback, sizeof loopback) == 0);
    operation->address_bytes = sizeof operation->address;
    NEED(getsockname(operation->opened[0], (struct sockaddr *)&operation->address, &operation->address_bytes) == 0);
}

static void verify_datagram(struct operation *operation, long result)
{
    char *received = operation->drained;
    struct pollfd one = {.fd = operation->opened[0], .events = POLLIN};
    poll(&one, 1, 10000); /* it may arrive a moment later, when the kernel leaves that to ksoftirqd */
    bool same = recv(operation->opened[0], received, DRAINED_BYTES, MSG_DONTWAIT) == result;
    if (!same || memcmp(received, operation->content, (size_t)result) != 0)
        operation_print(operation, "another datagram was sent");
}

void prepare_send(struct operation *operation)
{
    unsigned how = (unsigned)operation_draw(operation, 4);
    size_t bytes = 1 + operation_draw(operation, how == 0 ? 10000 : 1024);
    char *buffer = operation_filled(operation, operation_content(operation, bytes), bytes);
    operation->expected = (long)bytes;
    if (how == 1) {
        open_datagram(operation);
        operation->verify = verify_datagram;
        OPERATION_CALL(operation, SYS_sendto, operation->opened[0], buffer, bytes, 0, &operation->address,
                       operation->address_bytes);
        return;
    }
    OPERATION_CALL(operation, SYS_sendto, operation->pair[0], buffer, bytes, MSG_NOSIGNAL, NULL, 0);
    if (how == 0)
        fill_pair(operation);
    drain_from(operation, operation->pair[1], USES_PAIR, how == 0);
}

static void verify_sent_file(struct operation *operation, long result)
{
    operation_drained(operation, result);
    off_t position = operation->arguments[2] != 0 ? operation->offset : lseek(operation->reader, 0, SEEK_CUR);
    if (position != operation->content - operation->all->content + result)
        operation_print(operation, "the position behind it is wrong");
}

void prepare_send_file(struct operation *operation)
{
    size_t size = operation->all->content_bytes, from = operation_draw(operation, size);
    bool full = operation_draw(operation, 3) == 0, has_offset = operation_draw(operation, 2) == 0;
    size_t bytes = 1 + operation_draw(operation, full ? 16384 : 4096);
    if (operation_draw(operation, 8) == 0)
        from = size - operation_draw(operation, bytes);
    operation->expected = (long)(bytes < size - from ? bytes : size - from);
    operation->content = operation->all->content + from;
    operation->offset = (off_t)from;
    if (!has_offset)
        NEED(lseek(operation->reader, (off_t)from, SEEK_SET) == (off_t)from);
    if (operation_draw(operation, 4) == 0)
        posix_fadvise(operation->reader, (off_t)from, 65536, POSIX_FADV_DONTNEED);
    OPERATION_CALL(operation, SYS_sendfile, operation->pair[0], operation->reader,
                   has_offset ? &operation->offset : NULL, bytes);
    if (full)
        fill_pair(operation);
    drain_from(operation, operation->pair[1], USES_PAIR, full);
    operation->waits = operation->partly = true; /* a signal may end it between two pages (splice_to_socket) */
    operation->verify = verify_sent_file;
}

/* Receiving */

static bool deed_send(void *argument) /* in two pieces, the second a little later */
{
    struct operation *operation = argument;
    size_t all = operation->filler_bytes, from = operation->drained_bytes;
    size_t bytes = from == 0 ? (all + 1) / 2 : all - from;
    if (operation->opened[0] >= 0)
        NEED(sendto(operation->opened[0], operation->content, all, 0, (struct sockaddr *)&operation->address,
                    sizeof(struct sockaddr_in)) == (ssize_t)all);
    else
        NEED(send(operation->pair[1], operation->content + from, bytes, 0) == (ssize_t)bytes);
    operation->drained_bytes = operation->opened[0] >= 0 ? all : from + bytes;
    return operation->drained_bytes == all;
}

static void verify_received_from(struct operation *operation, long result)
{
    struct sockaddr_storage *from = (struct sockaddr_storage *)operation->path; /* as long as an Internet address */
    if (operation->address_bytes != sizeof(struct sockaddr_in) || memcmp(from, &operation->address, 8) != 0)
        operation_print(operation, "it came from elsewhere");
    operation_holds_content(operation, result);
}

void prepare_receive(struct operation *operation)
{
    size_t bytes = 2 + operation_draw(operation, 600), present = bytes;
    char *buffer = operation_buffer(operation, bytes);
    unsigned how = (unsigned)operation_draw(operation, 6);
    if (how == 0) { /* a connection that comes to its end */
        int pair[2];
        NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        operation_open(operation, 0, pair[0]);
        operation_open(operation, 1, pair[1]);
        OPERATION_CALL(operation, SYS_recvfrom, pair[0], buffer, bytes, 0, NULL, NULL);
        operation_now_or_soon(operation, deed_close);
        return;
    }
    operation->verify = operation_holds_content;
    operation->expected = (long)bytes;
    if (how == 1) { /* a datagram, of which there may be more than room */
        open_datagram(operation);
        operation->waits = true; /* a little, even if it was sent before */
        present += operation_draw(operation, 100);
        memset(operation->path, 0, sizeof operation->path);
        operation->verify = verify_received_from;
        OPERATION_CALL(operation, SYS_recvfrom, operation->opened[0], buffer, bytes, 0, operation->path,
                       &operation->address_bytes);
    } else {
        operation->uses = USES_PAIR;
        operation->partly = true;
        operation->left_bytes = how == 2 ? present : 0;
        OPERATION_CALL(operation, SYS_recvfrom, operation->pair[0], buffer, bytes,
                       MSG_WAITALL | (how == 2 ? MSG_PEEK : 0), NULL, NULL);
    }
    operation->filler_bytes = present;
    operation->content = operation_content(operation, present);
    if (how == 2) /* the kernel does not wait for all when it only looks: so all is there */
        while (!deed_send(operation))
            ;
    else if (operation_draw(operation, 2) == 0)
        while (!deed_send(operation))
            ;
    else
        operation_ask_soon(operation, deed_send);
}

/* connect and accept4, to the operation's own listeners: Unix, whose backlog one connection fills, and TCP */

static int connect_to(int listener, bool may_wait)
{
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    NEED(getsockname(listener, (struct sockaddr *)&address, &bytes) == 0);
    int descriptor = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | (may_wait ? 0 : SOCK_NONBLOCK), 0);
    NEED(descriptor >= 0);
    NEED(connect(descriptor, (struct sockaddr *)&address, bytes) == 0 || errno == EINPROGRESS || errno == EINTR);
    return descriptor;
}

static bool deed_accept(void *argument)
{
    struct operation *operation = argument;
    int accepted = accept(operation->listeners[0], NULL, NULL);
    NEED(accepted >= 0);
    close(accepted);
    return true;
}

static void verify_connected(struct operation *operation, long result)
{
    (void)result;
    struct sockaddr_storage peer;
    socklen_t bytes = sizeof peer;
    if (getpeername(operation->opened[0], (struct sockaddr *)&peer, &bytes) != 0 || bytes != operation->address_bytes ||
        memcmp(&peer, &operation->address, bytes) != 0)
        operation_print(operation, "it is not connected to the listener");
    if (peer.ss_family == AF_INET) { /* the listener may learn of it a moment later */
        struct pollfd one = {.fd = operation->listeners[1], .events = POLLIN};
        poll(&one, 1, 10000);
    }
}

void prepare_connect(struct operation *operation)
{
    unsigned how = (unsigned)operation_draw(operation, 4); /* Unix, Unix that is full, TCP, nobody */
    operation->uses = USES_LISTENERS;
    operation->waits = true; /* over TCP: a signal makes it EINTR although the connection is there already */
    operation->address_bytes = sizeof operation->address;
    operation->address = operation->all->nobody;
    if (how == 3)
        operation->address_bytes = operation->all->nobody_bytes;
    else
        NEED(getsockname(operation->listeners[how == 2], (struct sockaddr *)&operation->address,
                         &operation->address_bytes) == 0);
    char *address = operation_filled(operation, &operation->address, operation->address_bytes);
    operation_open(operation, 0, socket(operation->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    operation->expected = how == 3 ? -ECONNREFUSED : 0;
    operation->verify = verify_connected;
    OPERATION_CALL(operation, SYS_connect, operation->opened[0], address, operation->address_bytes);
    if (how == 1) {
        operation_open(operation, 1, connect_to(operation->listeners[0], true));
        operation_ask_soon(operation, deed_accept);
    }
}

static bool deed_connect(void *argument)
{
    struct operation *operation = argument;
    operation->opened[0] = connect_to((int)operation->arguments[0], false);
    return true;
}

static void verify_accepted(struct operation *operation, long result)
{
    int descriptor = (int)result, flags = (int)operation->arguments[3];
    struct sockaddr_storage own = {.ss_family = 0};
    socklen_t bytes = sizeof own;
    bool right = getsockname(operation->opened[0], (struct sockaddr *)&own, &bytes) == 0 &&
                 operation->address_bytes == bytes &&
                 (fcntl(descriptor, F_GETFD) == FD_CLOEXEC) == ((flags & SOCK_CLOEXEC) != 0) &&
                 ((fcntl(descriptor, F_GETFL) & O_NONBLOCK) != 0) == ((flags & SOCK_NONBLOCK) != 0);
    if (!right)
        operation_print(operation, "another connection was accepted, or with other flags");
    operation_holds(operation, operation->area + operation->at, (char *)&own, operation->address_bytes);
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(descriptor);
}

void prepare_accept(struct operation *operation)
{
    static const int flags[] = {0, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK};
    int listener = operation->listeners[operation_draw(operation, 2)];
    char *address = operation_buffer(operation, sizeof operation->address);
    operation->uses = USES_LISTENERS;
    operation->waits = true; /* a little, even where the partner is not asked to be late */
    operation->address_bytes = sizeof operation->address;
    operation->gives_descriptor = true;
    operation->verify = verify_accepted;
    OPERATION_CALL(operation, SYS_accept4, listener, address, &operation->address_bytes,
                   flags[operation_draw(operation, 4)]);
    operation_now_or_soon(operation, deed_connect);
}
