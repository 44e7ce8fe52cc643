/* socket_options.c: what a socket is told, and what it tells of itself. */
#include "tcp.h"

#include <errno.h>

/* Even what is corked: Linux's meaning of TCP_NODELAY at the moment it is set. */
static void send_what_waits(struct connection *c)
{
    bool corked = c->corked;
    if (c->nodelay)
        c->more = c->corked = false;
    tcp_output(c);
    c->corked = corked;
}

int us_set(struct stack *stack, int socket, enum us_option option, uint32_t value)
{
    struct connection *c = connection_of(stack, socket);
    struct tcp_listener *l = listener_of(stack, socket);
    if (c == NULL && l == NULL)
        return -EBADF;
    switch (option) {
    case US_NODELAY:
        *(c != NULL ? &c->nodelay : &l->nodelay) = value != 0;
        if (c != NULL)
            send_what_waits(c);
        return 0;
    case US_CORK:
        *(c != NULL ? &c->corked : &l->corked) = value != 0;
        if (c != NULL && value == 0)
            tcp_output(c);
        return 0;
    case US_MSS:
        if (l == NULL || (value != 0 && (value < TCP_MIN_MSS || value > UINT16_MAX)))
            return -EINVAL;
        l->mss = (uint16_t)value;
        return 0;
    case US_KEEPALIVE:
        *(c != NULL ? &c->keepalive : &l->keepalive) = value != 0;
        if (c != NULL)
            tcp_arm_slow(c);
        return 0;
    case US_USER_TIMEOUT_MS:
        *(c != NULL ? &c->user_timeout_ms : &l->user_timeout_ms) = value;
        return 0;
    case US_DEFER_ACK:
        if (c == NULL)
            return -EINVAL;
        c->defer_ack = value != 0;
        return 0;
    case US_CONGESTION:
        if (value > 1)
            return -EINVAL;
        *(c != NULL ? &c->congestion : &l->congestion) = tcp_congestions[value];
        return 0;
    }
    return -EINVAL;
}

int us_peer(struct stack *stack, int socket, struct us_endpoint *peer)
{
    struct connection *c = connection_of(stack, socket);
    if (c == NULL)
        return -EBADF;
    *peer = (struct us_endpoint){c->tuple.remote, c->tuple.remote_port};
    return 0;
}

int us_local(struct stack *stack, int socket, struct us_endpoint *local)
{
    struct connection *c = connection_of(stack, socket);
    if (c == NULL)
        return -EBADF;
    *local = (struct us_endpoint){c->tuple.local, c->tuple.local_port};
    return 0;
}

int us_state(struct stack *stack, int socket)
{
    struct connection *c = connection_of(stack, socket);
    return c != NULL ? c->state : listener_of(stack, socket) != NULL ? TCP_LISTEN : -EBADF;
}
