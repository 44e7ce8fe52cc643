/* tcp_listen.c: a listener's segments, RFC 9293, 3.10.7.2: half-open connections up to a bound, and cookies beyond. */
#include "tcp.h"

/* Half open, by what the SYN says. */
static struct connection *open_passive(struct stack *stack, struct tcp_listener *listener, const struct tcp_tuple *tuple,
                                       const struct tcp_segment *s)
{
    struct connection *c = tcp_new(stack, tuple);
    if (c == NULL)
        return NULL;
    c->passive = true;
    c->listener = listener;
    c->nodelay = listener->nodelay;
    c->keepalive = listener->keepalive;
    c->corked = listener->corked;
    c->own_mss = listener->mss;
    c->user_timeout_ms = listener->user_timeout_ms;
    c->congestion = listener->congestion;
    listener->half_open++;
    tcp_take_peer_options(c, s);
    tcp_become(c, TCP_SYN_RECEIVED);
    return c;
}

static void syn_arrives(struct stack *stack, struct tcp_listener *listener, const struct tcp_tuple *tuple,
                        const struct tcp_segment *s)
{
    if (listener->waiting_count >= listener->backlog) {
        COUNT_DROP(stack, tcp_accept_full);
        return;
    }
    struct connection *c = NULL;
    if (listener->half_open < stack->limits.syn_queue)
        c = open_passive(stack, listener, tuple, s);
    if (c == NULL) {
        listener->cookies_until = stack->now + ticks_of_ms(stack, 130000); /* two of their periods */
        tcp_cookie_send(stack, tuple, s);
        return;
    }
    c->snd_nxt = c->snd_max = c->iss + 1;
    c->timing = true;
    c->timed_seq = c->iss;
    c->timed_at = stack->now;
    tcp_send_syn(c);
    tcp_arm_retransmit(c);
}

/* The connection that the cookie stands for, as if its SYN had been kept. */
static void cookie_arrives(struct stack *stack, struct tcp_listener *listener, const struct tcp_tuple *tuple,
                           struct tcp_segment *s, const struct tcp_options *agreed)
{
    if (listener->waiting_count >= listener->backlog) {
        COUNT_DROP(stack, tcp_accept_full);
        return;
    }
    struct tcp_segment syn = *s;
    syn.seq = s->seq - 1;
    syn.options = *agreed;
    struct connection *c = open_passive(stack, listener, tuple, &syn);
    if (c == NULL)
        return;
    COUNT(stack, tcp_cookies_taken);
    c->iss = c->snd_una = s->ack - 1;
    c->snd_nxt = c->snd_max = c->send_first = s->ack;
    c->recover = c->use_until = c->iss;
    c->full_from = c->snd_nxt;
    c->ts_offset = 0; /* what the cookie's timestamps had */
    c->last_ack_sent = c->rcv_nxt;
    c->rcv_edge = c->rcv_nxt + min_u32(UINT16_MAX, c->receive.limit); /* the cookie's own SYN offered that */
    tcp_segment_arrives(c, s);
}

void tcp_listener_arrives(struct stack *stack, struct tcp_listener *listener, struct tcp_segment *s)
{
    struct tcp_tuple tuple = {s->source, stack->address.ip, s->source_port, s->destination_port};
    struct tcp_options agreed;
    if (s->flags & TCP_RST) {
        COUNT_DROP(stack, tcp_flags);
    } else if (s->flags & TCP_ACK) {
        bool possible = !(s->flags & TCP_SYN) && ticks_ahead(listener->cookies_until, stack->now) > 0;
        if (possible && tcp_cookie_check(stack, &tuple, s, &agreed)) {
            cookie_arrives(stack, listener, &tuple, s, &agreed);
            return;
        }
        if (possible)
            COUNT_DROP(stack, tcp_cookie);
        else
            COUNT_DROP(stack, tcp_port);
        tcp_reset_for(stack, s);
    } else if ((s->flags & (TCP_SYN | TCP_FIN)) == TCP_SYN) {
        syn_arrives(stack, listener, &tuple, s);
    } else {
        COUNT_DROP(stack, tcp_flags);
    }
}
