/* socket.c: socket.h for TCP, and what all kinds have in common. Numbers: connections, then listeners, then UDP. */
#include "tcp.h"

#include <errno.h>

enum { FIRST_PORT = 1024, PORTS = 64512 }; /* all but the well-known ones: RFC 6056, 3.2 */

int us_number(const struct stack *stack, const struct socket *socket)
{
    const struct stack_limits *l = &stack->limits;
    switch (socket->kind) {
    case SOCKET_CONNECTION:
        return (int)((const struct connection *)(const void *)socket - stack->tcp->connections);
    case SOCKET_LISTENER:
        return (int)(l->connections + (uint32_t)((const struct tcp_listener *)(const void *)socket - stack->tcp->listeners));
    default:
        return (int)(l->connections + l->listeners + (uint32_t)((const struct udp_socket *)(const void *)socket - stack->udp));
    }
}

struct connection *connection_of(struct stack *stack, int number)
{
    if (number < 0 || (uint32_t)number >= stack->limits.connections)
        return NULL;
    struct connection *c = &stack->tcp->connections[number];
    return c->socket.kind == SOCKET_CONNECTION && c->socket.open ? c : NULL;
}

struct tcp_listener *listener_of(struct stack *stack, int number)
{
    uint32_t first = stack->limits.connections;
    if (number < 0 || (uint32_t)number < first || (uint32_t)number - first >= stack->limits.listeners)
        return NULL;
    struct tcp_listener *l = &stack->tcp->listeners[(uint32_t)number - first];
    return l->socket.kind == SOCKET_LISTENER ? l : NULL;
}

struct socket *socket_of(struct stack *stack, int number)
{
    struct connection *c = connection_of(stack, number);
    if (c != NULL)
        return &c->socket;
    struct tcp_listener *l = listener_of(stack, number);
    if (l != NULL)
        return &l->socket;
    struct udp_socket *u = udp_of(stack, number);
    return u == NULL ? NULL : &u->socket;
}

int us_listen(struct stack *stack, uint16_t port, uint32_t backlog)
{
    if (port == 0 || backlog == 0)
        return -EINVAL;
    if (tcp_listener_at(stack, port) != NULL)
        return -EADDRINUSE;
    for (uint32_t i = 0; i < stack->limits.listeners; i++) {
        struct tcp_listener *l = &stack->tcp->listeners[i];
        if (l->socket.kind != SOCKET_FREE)
            continue;
        *l = (struct tcp_listener){
            .socket = {.kind = SOCKET_LISTENER, .open = true},
            .backlog = backlog,
            .port = port,
            .mss = (uint16_t)stack->limits.mss,
            .user_timeout_ms = stack->limits.user_timeout_ms,
            .congestion = strcmp(stack->limits.congestion, "reno") == 0 ? &tcp_reno : &tcp_cubic,
        };
        l->waiting.next = l->waiting.previous = &l->waiting;
        stack->tcp->ports[port] = (uint16_t)(i + 1);
        return us_number(stack, &l->socket);
    }
    return -ENFILE;
}

int us_accept(struct stack *stack, int listener, struct us_endpoint *peer)
{
    struct tcp_listener *l = listener_of(stack, listener);
    if (l == NULL)
        return -EBADF;
    if (l->waiting_count == 0)
        return -EAGAIN;
    struct connection *c = tcp_linked(l->waiting.next);
    tcp_link_out(c);
    l->waiting_count--;
    c->listener = NULL;
    c->socket.open = true;
    if (peer != NULL)
        *peer = (struct us_endpoint){c->tuple.remote, c->tuple.remote_port};
    return us_number(stack, &c->socket);
}

/* RFC 6056, 3.3.4: from a place that depends on the destination, and counted for few destinations together, so that the
 * ports that one sees do not tell how many connections go to others. */
static uint16_t free_port(struct stack *stack, struct tcp_tuple *tuple)
{
    uint64_t hash = siphash(stack->limits.key, tuple, sizeof *tuple);
    uint16_t *count = &stack->next_ports[(hash >> 32) % PORT_COUNTS];
    for (uint32_t i = 0; i < PORTS; i++) {
        tuple->local_port = (uint16_t)(FIRST_PORT + ((uint32_t)hash % PORTS + (*count)++) % PORTS);
        if (tcp_find(stack, tuple) == NULL && tcp_listener_at(stack, tuple->local_port) == NULL)
            return tuple->local_port;
    }
    return 0;
}

int us_connect(struct stack *stack, struct us_endpoint destination, uint16_t source_port)
{
    struct tcp_tuple tuple = {destination.ip, stack->address.ip, destination.port, source_port};
    if (destination.port == 0)
        return -EINVAL;
    if (destination.ip == stack->address.ip || destination.ip >> 28 >= 14 || destination.ip == 0)
        return -ENETUNREACH;
    if (source_port == 0 && free_port(stack, &tuple) == 0)
        return -EADDRNOTAVAIL;
    if (source_port != 0 && tcp_find(stack, &tuple) != NULL)
        return -EADDRINUSE;
    struct connection *c = tcp_new(stack, &tuple);
    if (c == NULL)
        return -ENFILE;
    c->socket.open = true;
    c->snd_nxt = c->snd_max = c->iss + 1;
    c->timing = true;
    c->timed_seq = c->iss;
    c->timed_at = stack->now;
    tcp_become(c, TCP_SYN_SENT);
    tcp_send_syn(c);
    tcp_arm_retransmit(c);
    return us_number(stack, &c->socket);
}

int us_connect_result(struct stack *stack, int socket)
{
    struct connection *c = connection_of(stack, socket);
    if (c == NULL)
        return -EBADF;
    return c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED ? -EINPROGRESS : -c->error;
}

int us_read(struct stack *stack, int socket, void *buffer, uint32_t bytes)
{
    struct connection *c = connection_of(stack, socket);
    if (c == NULL)
        return -EBADF;
    if (c->receive.length == 0) {
        if (c->error != 0)
            return -c->error;
        return c->fin_received || c->state == TCP_CLOSED ? 0 : -EAGAIN;
    }
    bytes = min_u32(min_u32(bytes, c->receive.length), INT32_MAX);
    if (buffer != NULL)
        stream_copy(&c->receive, &stack->tcp->chunks, 0, buffer, bytes);
    stream_consume(&c->receive, &stack->tcp->chunks, bytes, c->hole_count == 0);
    tcp_was_read(c, bytes);
    tcp_window_opened(c);
    return (int)bytes;
}

static bool may_write(const struct connection *c)
{
    return (c->state == TCP_ESTABLISHED || c->state == TCP_CLOSE_WAIT) && !c->fin_queued;
}

/* As much as there is room for. */
static uint32_t append(struct connection *c, const struct iovec *parts, int count)
{
    uint32_t room = tcp_send_room(c), taken = 0;
    for (int i = 0; i < count; i++) {
        uint32_t bytes = (uint32_t)parts[i].iov_len;
        uint32_t part = stream_append(&c->send, &LAYER(c)->chunks, parts[i].iov_base, min_u32(bytes, room - taken));
        taken += part;
        if (part < bytes)
            break;
    }
    return taken;
}

int us_writev(struct stack *stack, int socket, const struct iovec *parts, int count, bool more)
{
    struct connection *c = connection_of(stack, socket);
    uint32_t bytes = 0;
    if (c == NULL)
        return -EBADF;
    if (c->error != 0)
        return -c->error;
    if (c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED)
        return -EAGAIN;
    if (!may_write(c))
        return -EPIPE;
    for (int i = 0; i < count; i++)
        bytes += (uint32_t)parts[i].iov_len;
    uint32_t taken = append(c, parts, count);
    c->unpushed = more;
    c->more = more && taken == bytes;
    if ((c->socket.told & US_WRITABLE) && (taken < bytes || !tcp_worth_writing(c)))
        c->socket.told &= (uint8_t)~US_WRITABLE;
    tcp_output(c);
    return taken > 0 || bytes == 0 ? (int)taken : -EAGAIN;
}

int us_write(struct stack *stack, int socket, const void *buffer, uint32_t bytes, bool more)
{
    const struct iovec whole = {.iov_base = (void *)(uintptr_t)buffer, .iov_len = bytes};
    return us_writev(stack, socket, &whole, 1, more);
}

static void queue_fin(struct connection *c)
{
    c->fin_queued = true;
    if (c->state == TCP_ESTABLISHED)
        tcp_become(c, TCP_FIN_WAIT_1);
    else if (c->state == TCP_CLOSE_WAIT)
        tcp_become(c, TCP_LAST_ACK);
    tcp_output(c);
}

int us_shutdown_write(struct stack *stack, int socket)
{
    struct connection *c = connection_of(stack, socket);
    if (c == NULL)
        return -EBADF;
    if (c->state == TCP_CLOSED || c->state == TCP_SYN_SENT)
        return -ENOTCONN;
    if (!c->fin_queued)
        queue_fin(c);
    return 0;
}

static void release(struct connection *c)
{
    c->socket.open = false;
    c->socket.interest = 0;
    ready_forget(&c->socket);
}

static int close_connection(struct connection *c)
{
    release(c);
    switch (c->state) {
    case TCP_CLOSED:
        tcp_free(c);
        return 0;
    case TCP_SYN_SENT:
        tcp_end(c, 0);
        return 0;
    case TCP_TIME_WAIT:
        stream_clear(&c->receive, &LAYER(c)->chunks);
        tcp_time_wait(c);
        return 0;
    }
    if (c->receive.length > 0) {
        tcp_abort(c, ECONNABORTED);
        return 0;
    }
    c->more = false;
    if (!c->fin_queued)
        queue_fin(c);
    else if (c->state == TCP_FIN_WAIT_2)
        tcp_arm_slow(c);
    return 0;
}

static int close_listener(struct stack *stack, struct tcp_listener *l)
{
    for (uint32_t i = 0; i < stack->limits.connections; i++) {
        struct connection *c = &stack->tcp->connections[i];
        if (c->socket.kind == SOCKET_CONNECTION && c->listener == l)
            tcp_abort(c, ECONNABORTED);
    }
    stack->tcp->ports[l->port] = 0;
    ready_forget(&l->socket);
    l->socket.kind = SOCKET_FREE;
    return 0;
}

int us_close(struct stack *stack, int socket)
{
    struct connection *c = connection_of(stack, socket);
    if (c != NULL)
        return close_connection(c);
    struct tcp_listener *l = listener_of(stack, socket);
    if (l != NULL)
        return close_listener(stack, l);
    struct udp_socket *u = udp_of(stack, socket);
    if (u == NULL)
        return -EBADF;
    udp_close(stack, u);
    return 0;
}

int us_abort(struct stack *stack, int socket)
{
    struct connection *c = connection_of(stack, socket);
    if (c == NULL)
        return -EBADF;
    release(c);
    if (c->state == TCP_CLOSED)
        tcp_free(c);
    else
        tcp_abort(c, ECONNABORTED);
    return 0;
}

unsigned socket_readiness(const struct socket *socket, unsigned asked)
{
    if (socket->kind == SOCKET_LISTENER)
        return ((const struct tcp_listener *)(const void *)socket)->waiting_count > 0 ? US_READABLE : 0;
    if (socket->kind == SOCKET_UDP)
        return ((const struct udp_socket *)(const void *)socket)->length > 0 ? US_READABLE | US_WRITABLE : US_WRITABLE;
    const struct connection *c = (const struct connection *)(const void *)socket;
    if (c->state == TCP_CLOSED)
        return US_READABLE | US_WRITABLE | US_ENDED | US_PEER_CLOSED;
    unsigned readiness = c->receive.length > 0 ? US_READABLE : 0;
    if (c->fin_received)
        readiness |= US_READABLE | US_PEER_CLOSED;
    if ((asked & US_WRITABLE) && may_write(c) && tcp_worth_writing(c))
        readiness |= US_WRITABLE;
    if (c->fin_received && c->fin_queued)
        readiness |= US_ENDED;
    return readiness;
}

unsigned us_readiness(struct stack *stack, int number)
{
    const struct socket *socket = socket_of(stack, number);
    return socket == NULL ? 0 : socket_readiness(socket, ~0u);
}

struct stack_usage stack_usage(const struct stack *stack)
{
    struct stack_usage usage = {
        .connections = stack->tcp->used,
        .time_waits = stack->tcp->time_waits,
        .chunks = stack->tcp->chunks.used,
        .packets = stack->packets.used,
        .timers = stack->timers->count,
    };
    for (uint32_t i = 0; i < stack->limits.datagrams; i++)
        usage.datagrams += stack->datagrams[i].used;
    for (uint32_t i = 0; i < stack->limits.udp_sockets; i++)
        usage.udp_sockets += stack->udp[i].socket.kind != SOCKET_FREE;
    for (uint32_t i = 0; i < stack->limits.listeners; i++)
        usage.listeners += stack->tcp->listeners[i].socket.kind != SOCKET_FREE;
    return usage;
}
