/* tcp_ack.c: what an acknowledgment says of our data, and of the peer's window. */
#include "tcp.h"

void tcp_update_window(struct connection *c, const struct tcp_segment *s)
{
    bool newer = seq_before(c->snd_wl1, s->seq) || (c->snd_wl1 == s->seq && seq_upto(c->snd_wl2, s->ack));
    if (!newer)
        return;
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
    c->snd_wnd = s->window << c->send_scale;
    c->max_window = max_u32(c->max_window, c->snd_wnd);
    if (c->persisting) {
        c->tries = 0; /* it answers: probing may go on for ever (RFC 9293, 3.8.6.1) */
        if (c->snd_wnd > 0) {
            timers_cancel(c->stack->timers, &c->retransmit);
            c->persisting = false;
            c->backoff = 0;
        }
    }
}

static void measure(struct connection *c, const struct tcp_segment *s)
{
    if (c->timing && seq_before(c->timed_seq, s->ack)) {
        tcp_measured(c, c->stack->now - c->timed_at);
        c->timing = false;
    } else if (c->retransmitted && c->timestamps && s->options.tsecr != 0) {
        /* Karn: an acknowledgment of what was sent twice tells no time, unless it says which of the two it is for
         * (RFC 7323, 4.1). Its clock is coarser than ours. */
        uint32_t ms = tcp_clock(c->stack) + c->ts_offset - s->options.tsecr;
        if (ms <= c->stack->limits.max_rto_ms)
            tcp_measured(c, ticks_of_ms(c->stack, max_u32(ms, 1)));
    }
}

static void advance(struct connection *c, const struct tcp_segment *s)
{
    struct stack *stack = c->stack;
    uint32_t acked = s->ack - c->snd_una, data = s->ack - c->send_first;
    measure(c, s);
    if (seq_before(c->send_first, s->ack)) {
        data = min_u32(data, c->send.length); /* the rest is our FIN */
        stream_consume(&c->send, &LAYER(c)->chunks, data, true);
        c->send_first += data;
    }
    c->snd_una = s->ack;
    c->snd_nxt = seq_max(c->snd_nxt, c->snd_una);
    c->tries = c->backoff = 0;
    c->unacked_since = stack->now;
    tcp_reset_rto(c);
    tcp_new_ack(c, acked);
    if (c->snd_una == c->snd_max) {
        c->retransmitted = false;
        timers_cancel(stack->timers, &c->retransmit);
        c->persisting = false;
    } else {
        tcp_arm_retransmit(c);
    }
    ready_changed(stack, &c->socket);
}

bool tcp_take_ack(struct connection *c, const struct tcp_segment *s)
{
    struct stack *stack = c->stack;
    if (seq_before(c->snd_max, s->ack) || seq_before(s->ack, c->snd_una - c->max_window)) {
        COUNT_DROP(stack, tcp_ack); /* RFC 5961, 5.2: text is not taken by such a segment either */
        tcp_challenge(c);
        return false;
    }
    bool news = c->sack && tcp_board_update(c, s);
    if (seq_before(c->snd_una, s->ack)) {
        advance(c, s);
    } else if (s->ack == c->snd_una && c->snd_una != c->snd_max && !c->persisting) {
        bool same = (s->window << c->send_scale) == c->snd_wnd;
        bool duplicate = s->bytes == 0 && !(s->flags & TCP_FIN) && same; /* RFC 5681, 2 */
        if (c->sack ? news : duplicate)
            tcp_duplicate_ack(c);
    }
    if (!seq_before(s->ack, c->snd_una))
        tcp_update_window(c, s);
    return true;
}
