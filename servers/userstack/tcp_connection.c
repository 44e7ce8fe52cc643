/* tcp_connection.c: connections from their birth, through their states, to their end. */
#include "tcp.h"

#include <errno.h>

void tcp_layout(struct stack *stack, struct arena *arena)
{
    const struct stack_limits *l = &stack->limits;
    uint32_t buckets = 16;
    while (buckets < l->connections)
        buckets *= 2;
    uint32_t sends = stream_slots(l->send_bytes),
             receives = stream_slots(l->receive_bytes + (1u << tcp_scale_for(l->receive_bytes)));
    struct tcp_layer *layer = arena_take(arena, sizeof *layer);
    struct connection *connections = arena_take(arena, l->connections * sizeof *connections);
    uint32_t *slots = arena_take(arena, (size_t)l->connections * (sends + receives) * sizeof *slots);
    struct connection **hash = arena_take(arena, buckets * sizeof *hash);
    struct tcp_listener *listeners = arena_take(arena, l->listeners * sizeof *listeners);
    uint16_t *ports = arena_take(arena, 65536 * sizeof *ports);
    uint8_t *chunks = arena_take(arena, (size_t)l->chunks * STACK_CHUNK_BYTES);
    uint32_t *next = arena_take(arena, l->chunks * sizeof *next);
    uint8_t *runs = arena_take(arena, (size_t)l->runs * sizeof(struct tcp_sent));
    uint32_t *next_run = arena_take(arena, l->runs * sizeof *next_run);
    if (layer == NULL)
        return;
    stack->tcp = layer;
    layer->connections = connections;
    layer->hash = hash;
    layer->hash_mask = buckets - 1;
    layer->listeners = listeners;
    layer->ports = ports;
    pool_init(&layer->chunks, chunks, next, STACK_CHUNK_BYTES, l->chunks);
    pool_init(&layer->runs, runs, next_run, sizeof(struct tcp_sent), l->runs);
    layer->slots = slots;
    layer->send_slots = sends;
    layer->receive_slots = receives;
}

void tcp_link_in(struct tcp_link *list, struct connection *c)
{
    c->link.next = list;
    c->link.previous = list->previous;
    list->previous->next = &c->link;
    list->previous = &c->link;
    c->in_link = true;
}

void tcp_link_out(struct connection *c)
{
    if (!c->in_link)
        return;
    c->link.next->previous = c->link.previous;
    c->link.previous->next = c->link.next;
    c->in_link = false;
}

void tcp_open_layer(struct stack *stack)
{
    struct tcp_layer *layer = stack->tcp;
    layer->free.next = layer->free.previous = &layer->free;
    layer->time_wait.next = layer->time_wait.previous = &layer->time_wait;
}

uint8_t tcp_scale_for(uint32_t bytes)
{
    uint8_t scale = 0;
    while (scale < TCP_MAX_SCALE && bytes >> scale > UINT16_MAX)
        scale++;
    return scale;
}

static void recycle_oldest(struct tcp_layer *layer, struct stack *stack)
{
    COUNT(stack, tcp_time_waits_recycled);
    tcp_end(tcp_linked(layer->time_wait.next), 0);
}

/* The one freed last, whose memory is in the cache; or the next that was never used, whose memory is none yet. */
static struct connection *take_free(struct tcp_layer *layer, const struct stack_limits *l)
{
    if (layer->free.next == &layer->free)
        return layer->touched < l->connections ? &layer->connections[layer->touched++] : NULL;
    struct connection *c = tcp_linked(layer->free.next);
    tcp_link_out(c);
    return c;
}

struct connection *tcp_new(struct stack *stack, const struct tcp_tuple *tuple)
{
    struct tcp_layer *layer = stack->tcp;
    struct connection *c = take_free(layer, &stack->limits);
    if (c == NULL && layer->time_waits > 0) {
        recycle_oldest(layer, stack);
        c = take_free(layer, &stack->limits);
    }
    if (c == NULL) {
        COUNT_DROP(stack, tcp_connections);
        return NULL;
    }
    layer->used++;
    memset(c, 0, sizeof *c);
    uint32_t *slots = layer->slots + (size_t)(c - layer->connections) * (layer->send_slots + layer->receive_slots);
    c->send = (struct stream){.slots = slots, .slot_count = layer->send_slots};
    c->receive = (struct stream){.slots = slots + layer->send_slots, .slot_count = layer->receive_slots};
    c->stack = stack;
    tcp_buffers_begin(c);
    c->socket.kind = SOCKET_CONNECTION;
    c->tuple = *tuple;
    c->ts_offset = tcp_timestamp_offset(stack, tuple);
    c->iss = c->snd_una = c->snd_nxt = c->snd_max = tcp_isn(stack, tuple);
    c->recover = c->use_until = c->iss;
    c->full_from = c->iss + 1;
    c->send_first = c->iss + 1;
    c->peer_mss = TCP_DEFAULT_MSS;
    c->receive_scale = tcp_scale_for(stack->limits.receive_bytes);
    c->timestamps = stack->limits.timestamps != 0;
    c->sack = true;
    c->own_mss = (uint16_t)stack->limits.mss;
    c->user_timeout_ms = stack->limits.user_timeout_ms;
    c->congestion = strcmp(stack->limits.congestion, "reno") == 0 ? &tcp_reno : &tcp_cubic;
    c->heard_at = c->received_at = c->sent_at = c->unacked_since = stack->now;
    c->rto = ticks_of_ms(stack, stack->limits.first_rto_ms);
    tcp_timers_init(c);
    tcp_hash_in(c);
    return c;
}

void tcp_update_mss(struct connection *c)
{
    struct stack *stack = c->stack;
    uint32_t path = path_mtu(stack, c->tuple.remote) - IPV4_BYTES - TCP_BYTES;
    uint32_t both = min_u32(max_u32(c->peer_mss, TCP_MIN_MSS), offered_mss(c));
    uint32_t mss = min_u32(both, path) - (c->timestamps ? 12 : 0); /* RFC 6691 */
    if (mss != c->mss && c->mss != 0)
        c->full_from = c->snd_max;
    c->mss = (uint16_t)mss;
    c->cc.mss = mss;
    if (c->cc.cwnd == 0) { /* RFC 6928, 2; RFC 5681, 3.1: one segment if the SYN was lost */
        uint32_t initial = min_u32(stack->limits.initial_window * mss, max_u32(2 * mss, 14600));
        c->cc.cwnd = c->retransmitted ? mss : initial;
        c->cc.ssthresh = UINT32_MAX;
    }
}

void tcp_become(struct connection *c, enum tcp_state state)
{
    c->stack->counters.tcp_entered[state]++;
    c->state = (uint8_t)state;
    ready_changed(c->stack, &c->socket);
}

void tcp_established(struct connection *c)
{
    struct stack *stack = c->stack;
    tcp_update_mss(c);
    timers_cancel(stack->timers, &c->retransmit);
    if (c->retransmitted && c->srtt8 == 0) /* RFC 6298, 5.7 */
        c->rto = max_u32((uint32_t)c->rto, (uint32_t)ticks_of_ms(stack, 3000));
    else
        tcp_reset_rto(c);
    c->retransmitted = false;
    c->tries = c->backoff = 0;
    c->received_at = stack->now;
    tcp_become(c, TCP_ESTABLISHED);
    if (c->listener != NULL) {
        c->listener->half_open--;
        c->listener->waiting_count++;
        tcp_link_in(&c->listener->waiting, c);
        ready_changed(stack, &c->listener->socket);
        COUNT(stack, tcp_opened_passive);
    } else {
        COUNT(stack, tcp_opened_active);
    }
    if (c->fin_queued) /* closed while it was being opened */
        tcp_become(c, TCP_FIN_WAIT_1);
    tcp_arm_slow(c);
}

void tcp_free(struct connection *c)
{
    struct tcp_layer *layer = LAYER(c);
    stream_clear(&c->receive, &layer->chunks);
    ready_forget(&c->socket);
    c->socket.kind = SOCKET_FREE;
    layer->used--;
    tcp_link_in(layer->free.next, c); /* first */
}

static void cancel_timers(struct connection *c)
{
    timers_cancel(c->stack->timers, &c->retransmit);
    timers_cancel(c->stack->timers, &c->delayed_ack);
    timers_cancel(c->stack->timers, &c->slow);
    timers_cancel(c->stack->timers, &c->loss);
}

static void leave_listener(struct connection *c)
{
    if (c->listener == NULL)
        return;
    if (c->in_link)
        c->listener->waiting_count--;
    else
        c->listener->half_open--;
    c->listener = NULL;
}

void tcp_end(struct connection *c, int error)
{
    if (c->state == TCP_CLOSED)
        return;
    struct tcp_layer *layer = LAYER(c);
    cancel_timers(c);
    tcp_hash_out(c);
    if (c->state == TCP_TIME_WAIT && c->in_link)
        layer->time_waits--;
    leave_listener(c);
    tcp_link_out(c);
    if (c->blocked) {
        struct connection **from = &layer->blocked;
        while (*from != c)
            from = &(*from)->blocked_next;
        *from = c->blocked_next;
        c->blocked = false;
    }
    stream_clear(&c->send, &layer->chunks);
    tcp_flight_clear(c);
    tcp_starve_no_more(c);
    tcp_owe_no_more(c);
    if (error != 0) /* what came in order before an orderly end can still be read */
        stream_clear(&c->receive, &layer->chunks);
    c->error = error;
    tcp_become(c, TCP_CLOSED);
    if (!c->socket.open)
        tcp_free(c);
}

void tcp_abort(struct connection *c, int error)
{
    COUNT(c->stack, tcp_aborted);
    if (c->state != TCP_CLOSED && c->state != TCP_SYN_SENT && c->state != TCP_TIME_WAIT) {
        uint8_t options[TCP_OPTIONS_MAX]; /* a timestamp, RFC 7323, 3.2, and nothing else */
        uint32_t bytes = tcp_write_options(c, options, false, c->timestamps ? 12 : 0);
        COUNT(c->stack, tcp_resets_sent);
        tcp_send_bare(c->stack, &c->tuple, c->snd_max, c->rcv_nxt, TCP_RST | TCP_ACK, 0, options, bytes);
    }
    tcp_end(c, error);
}

/* Only its number and its timestamp still matter (RFC 9293, 3.4.3): it holds no chunk but what is unread. */
void tcp_time_wait(struct connection *c)
{
    struct stack *stack = c->stack;
    struct tcp_layer *layer = LAYER(c);
    cancel_timers(c);
    stream_clear(&c->send, &layer->chunks);
    tcp_flight_clear(c);
    if (c->state != TCP_TIME_WAIT)
        tcp_become(c, TCP_TIME_WAIT);
    timers_rearm(stack->timers, &c->slow, stack->now + ticks_of_ms(stack, stack->limits.time_wait_ms));
    if (c->socket.open || c->in_link)
        return;
    tcp_link_in(&layer->time_wait, c);
    if (++layer->time_waits > stack->limits.time_waits)
        recycle_oldest(layer, stack);
}
