/* sockets.c: socket calls as packetdrill makes them, on socket.h; the shared object's way in. */
#include "world.h"

#include "tcp_states.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct world *enter(void *world)
{
    struct world *w = world;
    pthread_mutex_lock(&w->lock);
    if (w->stack != NULL)
        stack_advance(w->stack, w->now_us / TICK_US);
    return w;
}

/* The call's end: -errno becomes -1 and errno. */
static ssize_t leave(struct world *w, ssize_t result)
{
    if (w->stack != NULL)
        world_settle(w);
    world_leave(w);
    pthread_mutex_unlock(&w->lock);
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

struct descriptor *descriptor_of(struct world *w, int fd)
{
    for (unsigned i = 0; fd > 0 && i < DESCRIPTORS; i++)
        if (w->descriptors[i].fd == fd)
            return &w->descriptors[i];
    return NULL;
}

static struct descriptor *descriptor_new(struct world *w, int us)
{
    for (unsigned i = 0; i < DESCRIPTORS; i++) {
        struct descriptor *d = &w->descriptors[i];
        if (d->fd != 0)
            continue;
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0)
            return NULL;
        *d = (struct descriptor){.fd = fd, .us = us, .send_buffer = 16384, .receive_buffer = 131072};
        return d;
    }
    errno = EMFILE;
    return NULL;
}

/* Should the call be tried once more? After something has happened, if it may block. */
static bool again(struct world *w, const struct descriptor *d, int flags, ssize_t result)
{
    bool unfinished = result == -EAGAIN || result == -EINPROGRESS;
    return unfinished && !d->nonblocking && !(flags & MSG_DONTWAIT) && world_wait(w, UINT64_MAX);
}

static int do_socket(void *world, int domain, int type, int protocol)
{
    struct world *w = enter(world);
    if (domain != AF_INET)
        return (int)leave(w, -EAFNOSUPPORT);
    if ((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM || (protocol != 0 && protocol != IPPROTO_TCP))
        return (int)leave(w, -EPROTONOSUPPORT);
    struct descriptor *d = descriptor_new(w, -1);
    if (d == NULL)
        return (int)leave(w, -errno);
    d->nonblocking = type & SOCK_NONBLOCK;
    return (int)leave(w, d->fd);
}

static int do_bind(void *world, int fd, const struct sockaddr *address, socklen_t bytes)
{
    struct world *w = enter(world);
    struct descriptor *d = descriptor_of(w, fd);
    const struct sockaddr_in *in = (const void *)address;
    if (d == NULL)
        return (int)leave(w, -EBADF);
    if (bytes < sizeof *in || in->sin_family != AF_INET || d->us >= 0)
        return (int)leave(w, -EINVAL);
    if (w->stack == NULL && in->sin_addr.s_addr != 0)
        w->address.ip = ntohl(in->sin_addr.s_addr);
    d->port = ntohs(in->sin_port);
    return (int)leave(w, 0);
}

static int do_listen(void *world, int fd, int backlog)
{
    struct world *w = enter(world);
    struct descriptor *d = descriptor_of(w, fd);
    if (d == NULL)
        return (int)leave(w, -EBADF);
    if (d->us >= 0)
        return (int)leave(w, d->listening ? 0 : -EINVAL);
    if (!world_open_stack(w, (uint32_t)d->mss))
        return (int)leave(w, -errno);
    int us = us_listen(w->stack, d->port, (uint32_t)(backlog < 1 ? 1 : backlog));
    if (us < 0)
        return (int)leave(w, us);
    d->us = us;
    d->listening = true;
    options_apply(w, d);
    return (int)leave(w, 0);
}

static void tell(const struct us_endpoint *peer, struct sockaddr *address, socklen_t *bytes)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(peer->port), .sin_addr.s_addr = htonl(peer->ip)};
    if (address == NULL || bytes == NULL)
        return;
    memcpy(address, &in, *bytes < sizeof in ? *bytes : sizeof in);
    *bytes = sizeof in;
}

static int do_accept(void *world, int fd, struct sockaddr *address, socklen_t *bytes)
{
    struct world *w = enter(world);
    struct descriptor *d = descriptor_of(w, fd);
    struct us_endpoint peer;
    int us;
    if (d == NULL)
        return (int)leave(w, -EBADF);
    if (!d->listening)
        return (int)leave(w, -EINVAL);
    do
        us = us_accept(w->stack, d->us, &peer);
    while (again(w, d, 0, us));
    if (us < 0)
        return (int)leave(w, us);
    struct descriptor *accepted = descriptor_new(w, us);
    if (accepted == NULL) {
        us_abort(w->stack, us);
        return (int)leave(w, -EMFILE);
    }
    tell(&peer, address, bytes);
    return (int)leave(w, accepted->fd);
}

static int do_connect(void *world, int fd, const struct sockaddr *address, socklen_t bytes)
{
    struct world *w = enter(world);
    struct descriptor *d = descriptor_of(w, fd);
    const struct sockaddr_in *in = (const void *)address;
    int result;
    if (d == NULL)
        return (int)leave(w, -EBADF);
    if (bytes < sizeof *in || in->sin_family != AF_INET)
        return (int)leave(w, -EAFNOSUPPORT);
    bool began = d->us < 0;
    if (began) {
        struct us_endpoint to = {ntohl(in->sin_addr.s_addr), ntohs(in->sin_port)};
        if (!world_open_stack(w, (uint32_t)d->mss))
            return (int)leave(w, -errno);
        int us = us_connect(w->stack, to, d->port);
        if (us < 0)
            return (int)leave(w, us);
        d->us = us;
        options_apply(w, d);
        world_settle(w);
    }
    do
        result = us_connect_result(w->stack, d->us);
    while (again(w, d, 0, result));
    if (!began && result == -EINPROGRESS)
        result = -EALREADY;
    return (int)leave(w, !began && result == 0 ? -EISCONN : result);
}

/* An error that ended a connection is told once; then reads find the end, and writes a broken pipe. */
static ssize_t once(struct descriptor *d, ssize_t result, ssize_t later)
{
    if (result >= 0 || result == -EAGAIN || result == -EPIPE || result == -EBADF)
        return result;
    if (d->told)
        return later;
    d->told = true;
    return result;
}

static ssize_t receive(struct world *w, int fd, void *buffer, size_t bytes, int flags)
{
    struct descriptor *d = descriptor_of(w, fd);
    ssize_t result;
    if (d == NULL)
        return -EBADF;
    if (buffer == NULL && bytes > 0)
        return -EFAULT;
    if (flags & ~MSG_DONTWAIT)
        return -EOPNOTSUPP;
    if (d->us < 0 || d->listening)
        return -ENOTCONN;
    do {
        result = us_read(w->stack, d->us, buffer, bytes > INT32_MAX ? INT32_MAX : (uint32_t)bytes);
        if (result == -EAGAIN && d->read_shut)
            result = 0;
    } while (again(w, d, flags, result));
    return once(d, result, 0);
}

static ssize_t transmit(struct world *w, int fd, const void *buffer, size_t bytes, int flags)
{
    struct descriptor *d = descriptor_of(w, fd);
    size_t done = 0;
    ssize_t result;
    if (d == NULL)
        return -EBADF;
    if (buffer == NULL && bytes > 0)
        return -EFAULT;
    if (flags & ~(MSG_DONTWAIT | MSG_MORE | MSG_NOSIGNAL))
        return -EOPNOTSUPP;
    if (d->us < 0 || d->listening)
        return -EPIPE;
    do {
        size_t rest = bytes - done;
        result = us_write(w->stack, d->us, (const char *)buffer + done, rest > INT32_MAX ? INT32_MAX : (uint32_t)rest,
                          flags & MSG_MORE);
        if (result > 0)
            done += (size_t)result;
        if (result >= 0 && done < bytes)
            result = -EAGAIN;
        world_settle(w);
    } while (again(w, d, flags, result));
    return done > 0 ? (ssize_t)done : once(d, result, -EPIPE);
}

static ssize_t do_read(void *world, int fd, void *buffer, size_t bytes)
{
    struct world *w = enter(world);
    return leave(w, receive(w, fd, buffer, bytes, 0));
}

static ssize_t do_recv(void *world, int fd, void *buffer, size_t bytes, int flags)
{
    struct world *w = enter(world);
    return leave(w, receive(w, fd, buffer, bytes, flags));
}

static ssize_t do_recvfrom(void *world, int fd, void *buffer, size_t bytes, int flags, struct sockaddr *from,
                           socklen_t *from_bytes)
{
    (void)from;
    if (from_bytes != NULL)
        *from_bytes = 0; /* as of any connected stream */
    return do_recv(world, fd, buffer, bytes, flags);
}

static ssize_t scatter(struct world *w, int fd, const struct iovec *parts, size_t count, int flags)
{
    ssize_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].iov_len == 0)
            continue;
        ssize_t got = receive(w, fd, parts[i].iov_base, parts[i].iov_len, sum > 0 ? flags | MSG_DONTWAIT : flags);
        if (got < 0)
            return sum > 0 ? sum : got;
        sum += got;
        if ((size_t)got < parts[i].iov_len)
            break;
    }
    return sum;
}

static ssize_t do_readv(void *world, int fd, const struct iovec *parts, int count)
{
    struct world *w = enter(world);
    return leave(w, scatter(w, fd, parts, (size_t)count, 0));
}

static ssize_t do_recvmsg(void *world, int fd, struct msghdr *message, int flags)
{
    struct world *w = enter(world);
    ssize_t got = scatter(w, fd, message->msg_iov, message->msg_iovlen, flags);
    message->msg_namelen = 0;
    message->msg_controllen = 0;
    message->msg_flags = 0;
    return leave(w, got);
}

static ssize_t do_write(void *world, int fd, const void *buffer, size_t bytes)
{
    struct world *w = enter(world);
    return leave(w, transmit(w, fd, buffer, bytes, 0));
}

static ssize_t do_send(void *world, int fd, const void *buffer, size_t bytes, int flags)
{
    struct world *w = enter(world);
    return leave(w, transmit(w, fd, buffer, bytes, flags));
}

static ssize_t do_sendto(void *world, int fd, const void *buffer, size_t bytes, int flags, const struct sockaddr *to,
                         socklen_t to_bytes)
{
    (void)to; /* a stream's destination is not looked at */
    (void)to_bytes;
    return do_send(world, fd, buffer, bytes, flags);
}

/* One write, for what PSH and Nagle make of it. */
static ssize_t gather(struct world *w, int fd, const struct iovec *parts, size_t count, int flags)
{
    size_t sum = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        sum += parts[i].iov_len;
    char *whole = malloc(sum + 1);
    if (whole == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; at += parts[i++].iov_len)
        if (parts[i].iov_len > 0)
            memcpy(whole + at, parts[i].iov_base, parts[i].iov_len);
    ssize_t done = transmit(w, fd, whole, sum, flags);
    free(whole);
    return done;
}

static ssize_t do_writev(void *world, int fd, const struct iovec *parts, int count)
{
    struct world *w = enter(world);
    return leave(w, gather(w, fd, parts, (size_t)count, 0));
}

static ssize_t do_sendmsg(void *world, int fd, const struct msghdr *message, int flags)
{
    struct world *w = enter(world);
    return leave(w, gather(w, fd, message->msg_iov, message->msg_iovlen, flags));
}

static int do_fcntl(void *world, int fd, int command, ...)
{
    struct world *w = enter(world);
    struct descriptor *d = descriptor_of(w, fd);
    va_list rest;
    va_start(rest, command);
    int flags = command == F_SETFL ? va_arg(rest, int) : 0;
    va_end(rest);
    if (d == NULL)
        return (int)leave(w, -EBADF);
    if (command == F_GETFL)
        return (int)leave(w, O_RDWR | (d->nonblocking ? O_NONBLOCK : 0));
    if (command != F_SETFL)
        return (int)leave(w, -EINVAL);
    d->nonblocking = flags & O_NONBLOCK;
    return (int)leave(w, 0);
}

static int do_ioctl(void *world, int fd, unsigned long request, ...)
{
    struct world *w = enter(world);
    struct descriptor *d = descriptor_of(w, fd);
    struct us_info info;
    va_list rest;
    va_start(rest, request);
    int *value = va_arg(rest, int *);
    va_end(rest);
    if (d == NULL)
        return (int)leave(w, -EBADF);
    if (d->us < 0 || us_info(w->stack, d->us, &info) < 0 || (request != SIOCINQ && request != SIOCOUTQ))
        return (int)leave(w, -EINVAL);
    *value = (int)(request == SIOCINQ ? info.unread_bytes : info.unacked_bytes + info.unsent_bytes);
    return (int)leave(w, 0);
}

static int do_close(void *world, int fd)
{
    struct world *w = enter(world);
    struct descriptor *d = descriptor_of(w, fd);
    if (d == NULL)
        return (int)leave(w, -EBADF);
    int result = 0;
    if (d->us >= 0)
        result = d->abortive && !d->listening ? us_abort(w->stack, d->us) : us_close(w->stack, d->us);
    close(d->fd);
    d->fd = 0;
    return (int)leave(w, result);
}

static int do_shutdown(void *world, int fd, int how)
{
    struct world *w = enter(world);
    struct descriptor *d = descriptor_of(w, fd);
    int result = 0;
    if (d == NULL)
        return (int)leave(w, -EBADF);
    if (d->us < 0 || d->listening)
        return (int)leave(w, -ENOTCONN);
    if (how != SHUT_WR)
        d->read_shut = true;
    if (how != SHUT_RD)
        result = us_shutdown_write(w->stack, d->us);
    return (int)leave(w, result);
}

static int do_getsockopt(void *world, int fd, int level, int name, void *value, socklen_t *bytes)
{
    struct world *w = enter(world);
    struct descriptor *d = descriptor_of(w, fd);
    return (int)leave(w, d == NULL ? -EBADF : option_get(w, d, level, name, value, bytes));
}

static int do_setsockopt(void *world, int fd, int level, int name, const void *value, socklen_t bytes)
{
    struct world *w = enter(world);
    struct descriptor *d = descriptor_of(w, fd);
    return (int)leave(w, d == NULL ? -EBADF : option_set(w, d, level, name, value, bytes));
}

static int poll_once(struct world *w, struct pollfd *fds, nfds_t count)
{
    int ready = 0;
    for (nfds_t i = 0; i < count; i++) {
        struct descriptor *d = descriptor_of(w, fds[i].fd);
        unsigned is = d == NULL || d->us < 0 ? 0 : us_readiness(w->stack, d->us);
        int events = d == NULL ? POLLNVAL : (is & US_READABLE ? POLLIN : 0) | (is & US_WRITABLE ? POLLOUT : 0);
        if (is & US_ENDED)
            events |= POLLHUP;
        if (d != NULL && d->us >= 0 && us_state(w->stack, d->us) == TCP_CLOSED && us_connect_result(w->stack, d->us) < 0)
            events |= POLLERR;
        fds[i].revents = (short)(events & (fds[i].events | POLLERR | POLLHUP | POLLNVAL));
        ready += fds[i].revents != 0;
    }
    return ready;
}

static int do_poll(void *world, struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct world *w = enter(world);
    uint64_t until = timeout_ms < 0 ? UINT64_MAX : w->now_us + (uint64_t)timeout_ms * 1000;
    int ready = poll_once(w, fds, count);
    while (ready == 0 && world_wait(w, until))
        ready = poll_once(w, fds, count);
    return (int)leave(w, ready);
}

static int do_netdev_send(void *world, const void *packet, size_t bytes)
{
    struct world *w = enter(world);
    world_packet(w, packet, bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes);
    return (int)leave(w, 0);
}

static int do_netdev_receive(void *world, void *packet, size_t *bytes, long long *at_us)
{
    struct world *w = enter(world);
    const struct frame *frame = world_sent(w);
    *at_us = (long long)(frame == NULL ? w->now_us : frame->at_us);
    *bytes = frame == NULL ? 0 : *bytes < frame->bytes ? *bytes : frame->bytes;
    if (frame != NULL)
        memcpy(packet, frame->data, *bytes);
    return (int)leave(w, 0);
}

static int do_usleep(void *world, useconds_t us)
{
    if (pthread_equal(((struct world *)world)->driver, pthread_self()))
        world_let_finish(world);
    struct world *w = enter(world);
    world_go_on(w, w->now_us + us);
    return (int)leave(w, 0);
}

static int do_gettimeofday(void *world, struct timeval *now, struct timezone *zone)
{
    struct world *w = world;
    (void)zone;
    pthread_mutex_lock(&w->lock);
    uint64_t us = world_clock(w);
    pthread_mutex_unlock(&w->lock);
    *now = (struct timeval){.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    return 0;
}

static int no_epoll_create(void *world, int size)
{
    (void)size;
    return (int)leave(enter(world), -ENOSYS);
}

static int no_epoll_ctl(void *world, int epoll, int operation, int fd, struct epoll_event *event)
{
    (void)operation, (void)fd, (void)event;
    return no_epoll_create(world, epoll);
}

static int no_epoll_wait(void *world, int epoll, struct epoll_event *events, int capacity, int timeout_ms)
{
    (void)events, (void)capacity, (void)timeout_ms;
    return no_epoll_create(world, epoll);
}

static int no_pipe(void *world, int fds[2])
{
    (void)fds;
    return no_epoll_create(world, 0);
}

static int no_splice(void *world, int from, loff_t *from_at, int to, loff_t *to_at, size_t bytes, unsigned flags)
{
    (void)from_at, (void)to, (void)to_at, (void)bytes, (void)flags;
    return no_epoll_create(world, from);
}

static void do_free(void *world)
{
    world_of_process = NULL;
    world_free(world);
}

void packetdrill_interface_init(const char *flags, struct packetdrill_interface *table)
{
    (void)flags;
    struct world *w = world_new();
    if (w == NULL) {
        static const char message[] = "packetdrill_userstack: not enough memory\n";
        ssize_t ignored = write(STDERR_FILENO, message, sizeof message - 1);
        (void)ignored;
        exit(1);
    }
    world_of_process = w;
    *table = (struct packetdrill_interface){
        .world = w, .free = do_free, .socket = do_socket, .bind = do_bind, .listen = do_listen, .accept = do_accept,
        .connect = do_connect, .read = do_read, .readv = do_readv, .recv = do_recv, .recvfrom = do_recvfrom,
        .recvmsg = do_recvmsg, .write = do_write, .writev = do_writev, .send = do_send, .sendto = do_sendto,
        .sendmsg = do_sendmsg, .fcntl = do_fcntl, .ioctl = do_ioctl, .close = do_close, .shutdown = do_shutdown,
        .getsockopt = do_getsockopt, .setsockopt = do_setsockopt, .poll = do_poll, .netdev_send = do_netdev_send,
        .netdev_receive = do_netdev_receive, .usleep = do_usleep, .gettimeofday = do_gettimeofday,
        .epoll_create = no_epoll_create, .epoll_ctl = no_epoll_ctl, .epoll_wait = no_epoll_wait, .pipe = no_pipe,
        .splice = no_splice,
    };
}
