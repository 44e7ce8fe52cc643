/* transport_kernel.c: transport.h on the operating system's own TCP. */
#include "transport.h"

#include "counters.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int set_flag(int socket, int level, int option, int value)
{
    return setsockopt(socket, level, option, &value, sizeof value);
}

static int set_congestion(int socket, const struct tp_options *options)
{
    if (options == NULL || options->congestion == NULL)
        return 0;
    return setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, options->congestion,
                      (socklen_t)strlen(options->congestion));
}

static int close_keeping_errno(int socket)
{
    int error = errno;
    close(socket);
    errno = error;
    return -1;
}

int tp_listen(const struct sockaddr_in *address, const struct tp_options *options)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0)
        return -1;
    /* Accepted sockets are clones of the listener (inet_csk_clone_lock): they inherit TCP_NODELAY and the congestion
     * control, which saves two system calls a connection. */
    bool ready = set_flag(listener, SOL_SOCKET, SO_REUSEADDR, 1) == 0 &&
                 set_flag(listener, IPPROTO_TCP, TCP_NODELAY, 1) == 0 && set_congestion(listener, options) == 0 &&
                 (!options->reuse_port || set_flag(listener, SOL_SOCKET, SO_REUSEPORT, 1) == 0) &&
                 (options->defer_accept_s == 0 ||
                  set_flag(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, options->defer_accept_s) == 0) &&
                 bind(listener, (const struct sockaddr *)address, sizeof *address) == 0 &&
                 listen(listener, options->backlog) == 0;
    return ready ? listener : close_keeping_errno(listener);
}

int tp_accept(int listener, struct sockaddr_in *peer)
{
    count(system_calls);
    socklen_t bytes = sizeof *peer;
    return accept4(listener, (struct sockaddr *)peer, peer == NULL ? NULL : &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

int tp_connect(const struct sockaddr_in *destination, const struct sockaddr_in *source,
               const struct tp_options *options)
{
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection < 0)
        return -1;
    bool ready = set_flag(connection, IPPROTO_TCP, TCP_NODELAY, 1) == 0 && set_congestion(connection, options) == 0;
    if (ready && source != NULL) {
        /* The port is then chosen at connect(), when the four-tuple is known: 28,000 ports per destination, not in
         * all (ip(7), IP_BIND_ADDRESS_NO_PORT). */
        ready = set_flag(connection, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, source->sin_port == 0) == 0 &&
                bind(connection, (const struct sockaddr *)source, sizeof *source) == 0;
    }
    if (ready && options != NULL && options->defer_accept_s > 0) {
        /* On a connecting socket this holds back the bare ACK of the handshake: it travels with the first data
         * (tcp(7); net/ipv4/tcp_input.c, tcp_rcv_synsent_state_process). */
        ready = set_flag(connection, IPPROTO_TCP, TCP_DEFER_ACCEPT, options->defer_accept_s) == 0;
    }
    if (ready && (connect(connection, (const struct sockaddr *)destination, sizeof *destination) == 0 ||
                  errno == EINPROGRESS))
        return connection;
    return close_keeping_errno(connection);
}

int tp_usable(const struct sockaddr_in *source, const struct tp_options *options)
{
    int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return -1;
    bool usable = set_congestion(probe, options) == 0 &&
                  (source == NULL || bind(probe, (const struct sockaddr *)source, sizeof *source) == 0);
    close_keeping_errno(probe);
    return usable ? 0 : -1;
}

int tp_local_address(int socket, struct sockaddr_in *address)
{
    socklen_t bytes = sizeof *address;
    return getsockname(socket, (struct sockaddr *)address, &bytes);
}

int tp_connect_result(int connection)
{
    int error = 0;
    socklen_t bytes = sizeof error;
    return getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 ? error : errno;
}

ssize_t tp_recv(int socket, void *buffer, size_t bytes)
{
    count(system_calls);
    return recv(socket, buffer, bytes, 0);
}

ssize_t tp_discard(int socket, size_t bytes)
{
    count(system_calls);
    return recv(socket, NULL, bytes, MSG_TRUNC);
}

ssize_t tp_send(int socket, const void *buffer, size_t bytes)
{
    count(system_calls);
    return send(socket, buffer, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

ssize_t tp_sendv(int socket, const struct iovec *parts, int count, bool more_follows)
{
    count(system_calls);
    return tp_blocking_sendv(socket, parts, count, more_follows);
}

ssize_t tp_sendfile(int socket, int file, off_t *offset, size_t bytes)
{
    count(system_calls);
    return sendfile(socket, file, offset, bytes);
}

int tp_accept_blocking(int listener)
{
    count(system_calls);
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

ssize_t tp_blocking_recv(int socket, void *buffer, size_t bytes)
{
    return recv(socket, buffer, bytes, 0);
}

ssize_t tp_blocking_sendv(int socket, const struct iovec *parts, int count, bool more_follows)
{
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
    return sendmsg(socket, &message, MSG_NOSIGNAL | (more_follows ? MSG_MORE : 0));
}

ssize_t tp_blocking_sendfile(int socket, int file, off_t *offset, size_t bytes)
{
    return sendfile(socket, file, offset, bytes);
}

int tp_shutdown_write(int socket)
{
    count(system_calls);
    return shutdown(socket, SHUT_WR);
}

int tp_shutdown(int socket)
{
    count(system_calls);
    return shutdown(socket, SHUT_RDWR);
}

int tp_close(int socket)
{
    count(system_calls);
    return close(socket);
}

int tp_abort(int socket)
{
    count(system_calls);
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return close(socket);
}

int tp_epoll_create(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

int tp_epoll_ctl(int set, int operation, int socket, struct epoll_event *event)
{
    count(system_calls);
    return epoll_ctl(set, operation, socket, event);
}

int tp_epoll_wait(int set, struct epoll_event *events, int capacity, int timeout_ms)
{
    return epoll_wait(set, events, capacity, timeout_ms);
}

int tp_epoll_wait_ns(int set, struct epoll_event *events, int capacity, uint64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u), .tv_nsec = (long)(timeout_ns % 1000000000u)};
    long n = syscall(SYS_epoll_pwait2, set, events, capacity, &timeout, NULL, 0);
    if (n < 0 && errno == ENOSYS) /* before Linux 5.11 */
        n = tp_epoll_wait(set, events, capacity, (int)(timeout_ns / 1000000u));
    return (int)n;
}
