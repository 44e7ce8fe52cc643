/* tcp_tail.c: after a silence of two round trips one segment more: its acknowledgment tells of losses at the end of a
 * flight, of which nothing after them could, long before the retransmission time-out: tail loss probe, RFC 8985, 7. */
#include "tcp.h"

/* Unless something is known to be missing: then RACK's timer is at work. */
static bool wanted(const struct connection *c)
{
    return c->stack->limits.tail_probes != 0 && c->sack && c->flight.first != NULL && c->flight.sacked == 0 &&
           c->flight.lost == 0 && !c->recovering && !c->recovered_by_timeout && !c->persisting && !c->tail.probing &&
           c->srtt8 != 0 && synchronized(c->state);
}

/* After new data, and after an acknowledgment. */
void tcp_tail_arm(struct connection *c)
{
    struct stack *stack = c->stack;
    if (timer_pending(&c->loss) && !c->tail_due)
        return;
    c->tail.instead = false;
    if (!wanted(c)) {
        timers_cancel(stack->timers, &c->loss);
        return;
    }
    uint64_t low = ticks_of_us(stack, stack->limits.min_rto_us), wait = c->srtt8 / 4;
    /* A single segment's acknowledgment may be delayed. Otherwise hosts take their time: 2 ms of Linux's 200. */
    wait += c->snd_nxt - c->snd_una <= c->mss ? low : low / 100 + 1;
    uint64_t due = stack->now + wait;
    if (timer_pending(&c->retransmit) && ticks_ahead(due, c->retransmit.deadline) >= 0) {
        timers_cancel(stack->timers, &c->loss);
        c->tail.instead = true; /* of the time-out, once: a timer less for a request and its reply */
        return;
    }
    c->tail_due = true;
    timers_rearm(stack->timers, &c->loss, due);
}

void tcp_tail_expired(struct connection *c)
{
    c->tail_due = c->tail.instead = false;
    if (!wanted(c))
        return;
    COUNT(c->stack, tcp_tail_probes);
    c->tail.probing = true;
    c->tail.again = tcp_send_tail(c);
    c->tail.end = c->snd_nxt;
    tcp_arm_retransmit(c);
}

/* The tail is acknowledged (7.4): by the probe, if nobody says that something came twice. Then a loss was mended, and the
 * window falls for it as for any other. */
void tcp_tail_acked(struct connection *c, const struct tcp_report *r)
{
    struct tcp_tail *t = &c->tail;
    if (!t->probing || seq_before(c->snd_una, t->end))
        return;
    bool beyond = seq_before(t->end, c->snd_una), plain = r->acked == 0 && !r->sacked;
    if (t->again && !r->duplicate && !beyond && !plain)
        return; /* the next acknowledgment tells */
    t->probing = false;
    if (!t->again || r->duplicate || !beyond)
        return;
    c->congestion->lost(&c->cc, c->cc.cwnd, false);
    c->cc.cwnd = max_u32(min_u32(c->cc.cwnd, c->cc.ssthresh), c->mss);
}
