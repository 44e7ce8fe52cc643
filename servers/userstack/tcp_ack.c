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

/* Without SACK each duplicate stood for a segment that had left the network; these are now acknowledged (RFC 6582, 3.2,
 * step 5). */
static void count_duplicates(struct connection *c, struct tcp_report *r)
{
    uint32_t keep = 0;
    if (!c->sack) {
        uint32_t segments = (r->acked + c->mss - 1) / c->mss;
        keep = c->recovering && c->duplicates + 1u > segments ? c->duplicates + 1u - segments : 0;
        r->delivered -= min_u32(r->delivered, (c->duplicates - keep) * c->mss);
    }
    c->duplicates = (uint16_t)keep;
}

static void advance(struct connection *c, const struct tcp_segment *s, struct tcp_report *r)
{
    struct stack *stack = c->stack;
    uint32_t data = s->ack - c->send_first;
    r->acked = s->ack - c->snd_una;
    measure(c, s);
    tcp_flight_acked(c, s->ack, r);
    if (seq_before(c->send_first, s->ack)) {
        data = min_u32(data, c->send.length); /* the rest is our FIN */
        stream_consume(&c->send, &LAYER(c)->chunks, data, true);
        c->send_first += data;
    }
    c->snd_una = s->ack;
    c->snd_nxt = seq_max(c->snd_nxt, c->snd_una);
    c->tries = c->backoff = 0;
    c->more = false; /* the promise holds no longer than a round trip */
    c->unacked_since = stack->now;
    tcp_reset_rto(c);
    count_duplicates(c, r);
    if (c->snd_una == c->snd_max) {
        c->retransmitted = false;
        timers_cancel(stack->timers, &c->retransmit);
        c->persisting = false;
    } else {
        tcp_arm_retransmit(c);
    }
    ready_changed(stack, &c->socket);
}

/* It acknowledges nothing new. With SACK it counts if it reports something new, without as RFC 5681, 2 says. */
static void duplicate_arrives(struct connection *c, const struct tcp_segment *s, struct tcp_report *r)
{
    bool same = (s->window << c->send_scale) == c->snd_wnd;
    bool plain = s->bytes == 0 && !(s->flags & TCP_FIN) && same;
    /* After a time-out duplicates may be of what was sent twice (RFC 6582, 4.1). */
    if (c->sack ? !r->sacked : !plain || c->recovered_by_timeout)
        return;
    if (c->duplicates < UINT16_MAX)
        c->duplicates++;
    if (!c->sack)
        r->delivered = c->mss;
}

bool tcp_take_ack(struct connection *c, const struct tcp_segment *s)
{
    struct stack *stack = c->stack;
    if (seq_before(c->snd_max, s->ack) || seq_before(s->ack, c->snd_una - c->max_window)) {
        COUNT_DROP(stack, tcp_ack); /* RFC 5961, 5.2: text is not taken by such a segment either */
        tcp_challenge(c);
        return false;
    }
    struct tcp_report r = {.echo = s->options.tsecr, .has_echo = c->timestamps && s->options.tsecr != 0};
    r.duplicate = c->sack && tcp_reports_duplicate(c, s, &r.twice);
    if (seq_before(c->snd_una, s->ack))
        advance(c, s, &r);
    if (c->sack)
        tcp_flight_sacked(c, s, &r);
    if (r.acked == 0 && s->ack == c->snd_una && c->snd_una != c->snd_max && !c->persisting)
        duplicate_arrives(c, s, &r);
    if (r.acked > 0 || r.duplicate || c->flight.first != NULL)
        tcp_recover(c, &r);
    if (!seq_before(s->ack, c->snd_una))
        tcp_update_window(c, s);
    return true;
}
