/* transport_lwip.c: transport.h on Debian's lwIP, by its callback ("raw") interface: what epoll-lwip is linked with.
 *
 * lwIP calls back while a frame is being taken or a timer expires; the callbacks only note what happened, and the program
 * finds it by tp_epoll_wait(), as with every transport. A socket's number is its place in a table. lwIP is used alone, or
 * with its thread (netif_attach.h): then LWIP_HELD is its core lock, or else nothing.
 *
 * A rival is used at its best: a reply's parts are queued by tcp_write() and leave by one tcp_output(), with the
 * acknowledgement and the window's update on them (confirm(), below); Nagle's algorithm is off, as in all transports.
 *
 * What is compiled into Debian's library (2.1.3, /usr/include/lwip/lwipopts.h) stays as it is, and is no handicap in small
 * replies: segments of 1,460 bytes, window and send buffer of 65,535 with window scaling, memory and connections from
 * malloc() without a limit of their own, checksums made while copying and always verified. What it does not have: SACK,
 * timestamps, a hash for connections (a list, the last one found first), a backlog (TCP_LISTEN_BACKLOG; it is kept here),
 * statistics, an RTO or a delayed ACK finer than its timers of 500 and 250 ms. TIME-WAIT lasts 2 minutes: of those as many
 * are kept as ours keeps (lwip_bound_time_waits()).
 */
#include "lwip_sockets.h"

#include "transport.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int failure(int error)
{
    errno = error;
    return -1;
}

static int errno_of(err_t error)
{
    switch (error) {
    case ERR_OK:
        return 0;
    case ERR_MEM:
    case ERR_BUF:
        return ENOBUFS;
    case ERR_USE:
        return EADDRINUSE;
    case ERR_RTE:
        return ENETUNREACH;
    case ERR_RST:
        return ECONNRESET;
    case ERR_ABRT: /* retransmitted in vain, or removed for want of memory */
        return ETIMEDOUT;
    default:
        return EINVAL;
    }
}

/* What lwIP calls. None of these may free the connection. */

static err_t sent(void *argument, struct tcp_pcb *pcb, u16_t bytes)
{
    (void)pcb, (void)bytes;
    socket_changed(argument);
    return ERR_OK;
}

static err_t received(void *argument, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    struct lwip_socket *socket = argument;
    (void)pcb, (void)error;
    if (data == NULL) {
        socket->input_ended = true;
        if (socket->output_ended)
            socket_detach(socket); /* lwIP frees a connection in TIME-WAIT without a word */
    } else if (socket->input == NULL) {
        socket->input = data;
    } else if (socket->input->tot_len + data->tot_len > UINT16_MAX) {
        return ERR_MEM; /* more than a chain can count: offered again */
    } else {
        pbuf_cat(socket->input, data);
    }
    socket_changed(socket);
    return ERR_OK;
}

static void ended(void *argument, err_t error) /* the connection is freed already */
{
    struct lwip_socket *socket = argument;
    socket->pcb = NULL;
    socket->error = error == ERR_CLSD                       ? 0
                    : error == ERR_RST && socket->connecting ? ECONNREFUSED
                                                             : errno_of(error);
    socket->input_ended = true;
    socket->connecting = false;
    socket_changed(socket);
}

static void adopt(struct lwip_socket *socket, struct tcp_pcb *pcb)
{
    socket->pcb = pcb;
    tcp_arg(pcb, socket);
    tcp_recv(pcb, received);
    tcp_sent(pcb, sent);
    tcp_err(pcb, ended);
    tcp_nagle_disable(pcb);
}

static err_t accepted(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct lwip_socket *listener = argument;
    if (pcb == NULL || error != ERR_OK)
        return ERR_VAL;
    struct lwip_socket *socket = listener->waiting < listener->backlog ? socket_new() : NULL;
    if (socket == NULL)
        return ERR_MEM; /* lwIP resets the connection: it has no other word for a full queue */
    adopt(socket, pcb);
    socket_enqueue(listener, socket);
    socket_changed(listener);
    return ERR_OK;
}

static err_t connected(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct lwip_socket *socket = argument;
    (void)pcb, (void)error;
    socket->connecting = false;
    socket_changed(socket);
    return ERR_OK;
}

/* What designs call. */

int tp_listen(const struct sockaddr_in *address, const struct tp_options *options)
{
    lwip_start();
    LWIP_HELD;
    if (tp_usable(address, options) != 0)
        return -1;
    if (options->reuse_port)
        return failure(EOPNOTSUPP);
    struct lwip_socket *socket = socket_new();
    struct tcp_pcb *pcb = socket == NULL ? NULL : tcp_new_ip_type(IPADDR_TYPE_V4);
    if (pcb == NULL) {
        socket_free(socket);
        return failure(ENOBUFS);
    }
    ip_addr_t ip = IPADDR4_INIT(address->sin_addr.s_addr);
    ip_set_option(pcb, SOF_REUSEADDR);
    err_t error = tcp_bind(pcb, &ip, ntohs(address->sin_port));
    struct tcp_pcb *listener = NULL;
    if (error == ERR_OK)
        listener = tcp_listen_with_backlog_and_err(pcb, 0xff, &error); /* frees pcb */
    if (listener == NULL) {
        tcp_abort(pcb);
        socket_free(socket);
        return failure(errno_of(error));
    }
    socket->pcb = listener;
    socket->listening = true;
    socket->backlog = options->backlog > 0 ? (unsigned)options->backlog : 1;
    tcp_arg(listener, socket);
    tcp_accept(listener, accepted);
    return socket_number(socket);
}

int tp_accept(int number, struct sockaddr_in *peer)
{
    LWIP_HELD;
    struct lwip_socket *listener = socket_at(number);
    if (listener == NULL || !listener->listening)
        return failure(EINVAL);
    struct lwip_socket *socket = socket_dequeue(listener);
    if (socket == NULL)
        return failure(EAGAIN);
    if (peer != NULL) {
        memset(peer, 0, sizeof *peer);
        peer->sin_family = AF_INET;
        if (socket->pcb != NULL) { /* or else it has been reset meanwhile, which the first read tells */
            peer->sin_port = htons(socket->pcb->remote_port);
            peer->sin_addr.s_addr = ip_addr_get_ip4_u32(&socket->pcb->remote_ip);
        }
    }
    return socket_number(socket);
}

int tp_connect(const struct sockaddr_in *destination, const struct sockaddr_in *source,
               const struct tp_options *options)
{
    lwip_start();
    LWIP_HELD;
    if (tp_usable(source, options) != 0)
        return -1;
    struct lwip_socket *socket = socket_new();
    struct tcp_pcb *pcb = socket == NULL ? NULL : tcp_new_ip_type(IPADDR_TYPE_V4);
    if (pcb == NULL) {
        socket_free(socket);
        return failure(ENOBUFS);
    }
    lwip_resolve(destination);
    adopt(socket, pcb);
    socket->connecting = true;
    const ip_addr_t from = IPADDR4_INIT(source == NULL ? INADDR_ANY : source->sin_addr.s_addr),
                    to = IPADDR4_INIT(destination->sin_addr.s_addr);
    err_t error = source == NULL ? ERR_OK : tcp_bind(pcb, &from, ntohs(source->sin_port));
    if (error == ERR_OK)
        error = tcp_connect(pcb, &to, ntohs(destination->sin_port), connected);
    if (error == ERR_OK)
        return socket_number(socket);
    socket_detach(socket);
    tcp_abort(pcb);
    socket_free(socket);
    return failure(errno_of(error));
}

int tp_connect_result(int number)
{
    LWIP_HELD;
    const struct lwip_socket *socket = socket_at(number);
    return socket == NULL ? EBADF : socket->error;
}

/* lwIP has one congestion control, which has no name: Reno's. A handshake's last ACK goes out at once. */
int tp_usable(const struct sockaddr_in *source, const struct tp_options *options)
{
    lwip_start();
    if (options != NULL && options->congestion != NULL && strcmp(options->congestion, "reno") != 0)
        return failure(ENOENT);
    return source == NULL || lwip_is_own(source) ? 0 : failure(EADDRNOTAVAIL);
}

int tp_local_address(int number, struct sockaddr_in *address)
{
    LWIP_HELD;
    const struct lwip_socket *socket = socket_at(number);
    if (socket == NULL || socket->pcb == NULL)
        return failure(EBADF);
    *address = (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_port = htons(socket->pcb->local_port),
                                    .sin_addr.s_addr = ip_addr_get_ip4_u32(&socket->pcb->local_ip)};
    return 0;
}

/* Tell lwIP that data was read, so that it opens the window again. It sends a segment of its own for that as soon as a
 * quarter of the window has been read; so it is told after a reply has been queued, and the reply carries the news. */
static void confirm(struct lwip_socket *socket)
{
    if (socket->unconfirmed > 0 && socket->pcb != NULL)
        tcp_recved(socket->pcb, (u16_t)socket->unconfirmed);
    socket->unconfirmed = 0;
}

ssize_t tp_recv(int number, void *buffer, size_t bytes)
{
    LWIP_HELD;
    struct lwip_socket *socket = socket_at(number);
    if (socket == NULL)
        return failure(EBADF);
    if (socket->input == NULL) {
        if (socket->error != 0)
            return failure(socket->error);
        return socket->input_ended ? 0 : failure(EAGAIN);
    }
    u16_t part = bytes < socket->input->tot_len ? (u16_t)bytes : socket->input->tot_len;
    if (buffer != NULL)
        pbuf_copy_partial(socket->input, buffer, part, 0);
    socket->input = pbuf_free_header(socket->input, part);
    socket->unconfirmed += part;
    if (socket->unconfirmed >= TCP_WND_UPDATE_THRESHOLD)
        confirm(socket);
    return part;
}

ssize_t tp_discard(int number, size_t bytes)
{
    return tp_recv(number, NULL, bytes);
}

/* Queue as much as there is room for. lwIP copies: the caller's buffer is its own again. */
static size_t queue(struct tcp_pcb *pcb, const void *data, size_t bytes, bool more)
{
    size_t part = bytes < tcp_sndbuf(pcb) ? bytes : tcp_sndbuf(pcb);
    u8_t flags = TCP_WRITE_FLAG_COPY | (more || part < bytes ? TCP_WRITE_FLAG_MORE : 0);
    /* Its queue is also limited in pbufs; a segment's worth may fit where all does not. */
    while (part > 0 && tcp_write(pcb, data, (u16_t)part, flags) != ERR_OK)
        part = part > tcp_mss(pcb) ? tcp_mss(pcb) : 0;
    return part;
}

/* NULL with errno set if nothing can be sent. */
static struct tcp_pcb *sending(const struct lwip_socket *socket)
{
    errno = socket == NULL        ? EBADF
            : socket->error != 0  ? socket->error
            : socket->pcb == NULL || socket->output_ended ? EPIPE
            : socket->connecting  ? EAGAIN
                                  : 0;
    return errno == 0 ? socket->pcb : NULL;
}

/* What was queued leaves, but for the last if `more` comes at once. */
static ssize_t leave(struct lwip_socket *socket, size_t queued, bool more)
{
    if (more && queued > 0)
        return (ssize_t)queued;
    confirm(socket);
    tcp_output(socket->pcb);
    return queued > 0 ? (ssize_t)queued : failure(EAGAIN);
}

ssize_t tp_sendv(int number, const struct iovec *parts, int count, bool more_follows)
{
    LWIP_HELD;
    struct lwip_socket *socket = socket_at(number);
    struct tcp_pcb *pcb = sending(socket);
    if (pcb == NULL)
        return -1;
    size_t queued = 0;
    for (int i = 0; i < count; i++) {
        size_t part = queue(pcb, parts[i].iov_base, parts[i].iov_len, more_follows || i + 1 < count);
        queued += part;
        if (part < parts[i].iov_len) {
            more_follows = false;
            break;
        }
    }
    return leave(socket, queued, more_follows);
}

ssize_t tp_send(int number, const void *buffer, size_t bytes)
{
    const struct iovec part = {.iov_base = (void *)buffer, .iov_len = bytes};
    return tp_sendv(number, &part, 1, false);
}

ssize_t tp_sendfile(int number, int file, off_t *offset, size_t bytes)
{
    LWIP_HELD;
    char buffer[TCP_SND_BUF < 65536 ? TCP_SND_BUF : 65536];
    struct lwip_socket *socket = socket_at(number);
    struct tcp_pcb *pcb = sending(socket);
    if (pcb == NULL)
        return -1;
    size_t room = tcp_sndbuf(pcb);
    size_t wanted = bytes < room ? bytes : room;
    if (wanted > sizeof buffer)
        wanted = sizeof buffer;
    ssize_t got = wanted == 0 ? 0 : pread(file, buffer, wanted, *offset);
    if (got < 0 || (got == 0 && wanted > 0))
        return got;
    size_t queued = queue(pcb, buffer, (size_t)got, (size_t)got < bytes);
    *offset += (off_t)queued;
    return leave(socket, queued, false);
}

int tp_shutdown_write(int number)
{
    LWIP_HELD;
    struct lwip_socket *socket = socket_at(number);
    if (sending(socket) == NULL)
        return failure(ENOTCONN);
    confirm(socket);
    err_t error = tcp_shutdown(socket->pcb, 0, 1);
    if (error != ERR_OK)
        return failure(errno_of(error));
    socket->output_ended = true;
    if (socket->input_ended)
        socket_detach(socket);
    socket_changed(socket);
    return 0;
}

int tp_shutdown(int number)
{
    LWIP_HELD;
    struct lwip_socket *socket = socket_at(number);
    if (socket == NULL)
        return failure(EBADF);
    socket->input_ended = true;
    socket_changed(socket);
    return tp_shutdown_write(number);
}

static void end_connection(struct lwip_socket *socket, bool reset)
{
    confirm(socket); /* what is left unread makes lwIP reset, as it should (RFC 2525, 2.17) */
    struct tcp_pcb *pcb = socket->pcb;
    socket_detach(socket);
    if (pcb != NULL && (reset || tcp_close(pcb) != ERR_OK))
        tcp_abort(pcb);
    else if (pcb != NULL)
        lwip_bound_time_waits();
    socket_free(socket);
}

static int end(int number, bool reset)
{
    LWIP_HELD;
    struct lwip_socket *socket = socket_at(number);
    if (socket == NULL)
        return failure(EBADF);
    if (!socket->listening) {
        end_connection(socket, reset);
        return 0;
    }
    struct lwip_socket *waiting;
    while ((waiting = socket_dequeue(socket)) != NULL)
        end_connection(waiting, true);
    tcp_close(socket->pcb);
    socket_free(socket);
    return 0;
}

int tp_close(int number)
{
    return number == LWIP_SET ? 0 : end(number, false);
}

int tp_abort(int number)
{
    return end(number, true);
}

/* Nothing blocks here: there is one thread, and it is lwIP's as well. */

int tp_accept_blocking(int listener)
{
    (void)listener;
    return failure(ENOTSUP);
}

ssize_t tp_blocking_recv(int socket, void *buffer, size_t bytes)
{
    (void)socket, (void)buffer, (void)bytes;
    return failure(ENOTSUP);
}

ssize_t tp_blocking_sendv(int socket, const struct iovec *parts, int count, bool more_follows)
{
    (void)socket, (void)parts, (void)count, (void)more_follows;
    return failure(ENOTSUP);
}

ssize_t tp_blocking_sendfile(int socket, int file, off_t *offset, size_t bytes)
{
    (void)socket, (void)file, (void)offset, (void)bytes;
    return failure(ENOTSUP);
}
