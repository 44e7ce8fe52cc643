/* tcp_syn_sent.c: an active open's answer, RFC 9293, 3.10.7.3. */
#include "tcp.h"

#include <errno.h>

/* Of the peer's SYN: what both have is on. */
void tcp_take_peer_options(struct connection *c, const struct tcp_segment *s)
{
    const struct tcp_options *o = &s->options;
    c->peer_mss = o->mss == 0 ? TCP_DEFAULT_MSS : o->mss;
    c->sack = c->sack && o->sack_permitted;
    c->timestamps = c->timestamps && o->has_timestamps;
    if (c->timestamps) {
        c->ts_recent = o->tsval;
        c->ts_recent_at = c->stack->now;
    }
    if (o->has_scale) {
        c->send_scale = o->scale;
    } else { /* neither may scale (RFC 7323, 2.2) */
        c->send_scale = 0;
        c->receive_scale = UINT8_MAX;
    }
    c->irs = s->seq;
    c->rcv_nxt = s->seq + 1;
    c->rcv_edge = c->rcv_nxt;
    c->snd_wnd = c->max_window = s->window; /* a SYN's is never scaled */
    c->snd_wl1 = s->seq;
    c->snd_wl2 = s->ack;
}

void tcp_syn_sent_arrives(struct connection *c, struct tcp_segment *s)
{
    struct stack *stack = c->stack;
    bool acknowledges = s->flags & TCP_ACK;
    if (acknowledges && s->ack != c->snd_max) { /* an older incarnation of us: the reset clears it */
        COUNT_DROP(stack, tcp_ack);
        tcp_reset_for(stack, s);
        return;
    }
    if (s->flags & TCP_RST) {
        if (acknowledges)
            tcp_end(c, ECONNREFUSED);
        else
            COUNT_DROP(stack, tcp_reset_blind);
        return;
    }
    if (!(s->flags & TCP_SYN)) {
        COUNT_DROP(stack, tcp_flags);
        return;
    }
    tcp_take_peer_options(c, s);
    if (!acknowledges) { /* both open at the same time */
        tcp_become(c, TCP_SYN_RECEIVED);
        tcp_send_syn(c);
        return;
    }
    c->snd_una = s->ack;
    if (c->timing)
        tcp_measured(c, stack->now - c->timed_at);
    else if (c->timestamps && s->options.tsecr != 0) /* the SYN was sent twice: its echo tells which (Karn) */
        tcp_measured(c, ticks_of_ms(stack, min_u32(tcp_clock(stack) + c->ts_offset - s->options.tsecr, 60000)));
    c->timing = false;
    tcp_established(c);
    c->heard_at = stack->now;
    if (c->defer_ack && c->send.length == 0 && !c->fin_queued) {
        tcp_ack_later(c);
        return;
    }
    c->ack_now = true;
    tcp_answer(c);
}
