/* tcp_buffers.c: how much a connection may hold. The pool of chunks is shared by all streams (pool.h sees to it that each
 * gets some); within that both buffers begin at what a fast network needs, and grow with what is on the way, up to the
 * limits: the sender's with its congestion window, the receiver's with what its caller reads in a round trip. */
#include "tcp.h"

enum { BEGIN_BYTES = 262144, STEP_BYTES = 65536 };

/* Rounding up to the scale may offer a little more, for which the stream has slots. */
uint32_t tcp_receive_window(const struct connection *c)
{
    const struct pool *chunks = &LAYER(c)->chunks;
    const struct stream *stream = &c->receive;
    uint32_t room = stream->length < stream->limit ? stream->limit - stream->length : 0;
    /* The share falls as it is used: half of what is between it and what is held can be promised. */
    uint32_t unused = chunks->count - chunks->used, share = unused > stream->held ? (unused - stream->held + 1) / 2 : 0;
    room = (uint32_t)(share < room / STACK_CHUNK_BYTES ? share * STACK_CHUNK_BYTES : room);
    return min_u32(room, (uint32_t)UINT16_MAX << (c->receive_scale == UINT8_MAX ? 0 : c->receive_scale));
}

/* Dynamic right-sizing (Fisk, Feng 2001): a sender in slow start doubles, and hears of the new window a round trip later,
 * so that it needs four times what was read in this one. */
void tcp_was_read(struct connection *c, uint32_t bytes)
{
    struct stack *stack = c->stack;
    c->read_bytes += bytes;
    if (stack->now - c->read_since < c->srtt8 / 8)
        return;
    uint64_t wanted = (uint64_t)c->read_bytes * 4;
    if (wanted > c->receive.limit)
        c->receive.limit = wanted < stack->limits.receive_bytes ? (uint32_t)wanted : stack->limits.receive_bytes;
    c->read_bytes = 0;
    c->read_since = stack->now;
}

static uint32_t send_limit(const struct connection *c)
{
    uint32_t useful = c->cc.cwnd < UINT32_MAX / 2 ? 2 * c->cc.cwnd : UINT32_MAX; /* a window on its way, one to come */
    return min_u32(c->send.limit, max_u32(useful, BEGIN_BYTES));
}

uint32_t tcp_send_room(const struct connection *c)
{
    uint32_t limit = send_limit(c);
    return limit > c->send.length ? limit - c->send.length : 0;
}

static bool wants_chunks(const struct connection *c) { return !pool_has_share(&LAYER(c)->chunks, c->send.held); }

/* Room for a quarter of the buffer, not for every byte, but of a large one for no more than 64 KiB: what has been freed and
 * not been filled is missing from the flight. And a chunk to begin with. */
bool tcp_worth_writing(const struct connection *c)
{
    return tcp_send_room(c) >= min_u32(send_limit(c) / 4, STEP_BYTES) && !wants_chunks(c);
}

/* The caller waits until it can write. What it waits for is not always an acknowledgment. */
void tcp_wait_for_chunks(struct stack *stack, struct socket *socket)
{
    struct connection *c = (struct connection *)(void *)socket;
    if (socket->kind != SOCKET_CONNECTION || c->starving || c->state == TCP_CLOSED || !wants_chunks(c))
        return;
    c->starving = true;
    c->starving_next = stack->tcp->starving;
    stack->tcp->starving = c;
}

/* Others may have given chunks back. */
void tcp_feed_starving(struct stack *stack)
{
    struct tcp_layer *layer = stack->tcp;
    for (struct connection **from = &layer->starving, *c; (c = *from) != NULL;) {
        if (!wants_chunks(c)) {
            *from = c->starving_next;
            c->starving = false;
            ready_changed(stack, &c->socket);
        } else {
            from = &c->starving_next;
        }
    }
}

void tcp_starve_no_more(struct connection *c)
{
    struct connection **from = &LAYER(c)->starving;
    if (!c->starving)
        return;
    while (*from != c)
        from = &(*from)->starving_next;
    *from = c->starving_next;
    c->starving = false;
}

void tcp_buffers_begin(struct connection *c)
{
    c->send.limit = c->stack->limits.send_bytes;
    c->receive.limit = min_u32(c->stack->limits.receive_bytes, BEGIN_BYTES);
    c->read_since = c->stack->now;
}
