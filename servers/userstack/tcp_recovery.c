/* tcp_recovery.c: from loss to order. A connection is open, or it recovers from losses that acknowledgments told of
 * (`recovering`, RFC 6675, without SACK RFC 6582), or from a time-out (`recovered_by_timeout`, RFC 5681, 3.1), until all
 * that was on its way then is acknowledged. In each window ssthresh falls once. How losses are found is tcp_rack.c's, how
 * much is sent meanwhile tcp_prr.c's, and how far the window falls and how it grows the algorithm's (tcp_congestion.h). */
#include "tcp.h"

/* RFC 5681, 3.1: FlightSize, but without what limited transmit has added. */
static uint32_t in_use(const struct connection *c) { return min_u32(c->cc.cwnd, c->snd_nxt - c->snd_una); }

static void enter(struct connection *c)
{
    COUNT(c->stack, tcp_fast_recoveries);
    uint32_t flight = in_use(c);
    tcp_undo_begin(c);
    c->congestion->lost(&c->cc, flight, false);
    c->recovering = true;
    c->recover = c->snd_nxt;
    tcp_prr_begin(c, flight);
}

static void leave(struct connection *c, const struct tcp_report *r)
{
    bool fast = c->recovering;
    c->recovering = c->recovered_by_timeout = false;
    c->duplicates = 0;
    if (tcp_undo(c, r))
        return;
    tcp_rack_recovered(c);
    if (fast)
        c->cc.cwnd = c->cc.ssthresh;
}

/* Without SACK: the third duplicate, and each acknowledgment that stops short, tell of one segment (RFC 6582, 3.2). */
static uint32_t count_detect(struct connection *c, const struct tcp_report *r)
{
    bool third = !c->recovering && !c->recovered_by_timeout && c->duplicates >= TCP_DUPLICATES;
    return third || (c->recovering && r->acked > 0) ? tcp_flight_lose_first(c) : 0;
}

void tcp_note_use(struct connection *c)
{
    uint32_t flight = tcp_in_flight(c);
    bool used = flight + c->mss > c->cc.cwnd, anew = !seq_before(c->snd_una, c->use_until);
    if (!anew && !used && (c->window_used || flight <= c->flight_max))
        return;
    c->window_used = used;
    c->flight_max = flight;
    c->use_until = c->snd_nxt;
}

/* A window that was not in use has not been tried, and does not grow (RFC 7661, 4.2, in spirit); in slow start it may grow
 * to twice what was. */
static void grow(struct connection *c, uint32_t delivered)
{
    if (c->window_used || (c->cc.cwnd < c->cc.ssthresh && c->cc.cwnd < 2 * c->flight_max)) {
        uint64_t rtt_us = c->srtt8 / 8 * c->stack->limits.tick_ns / 1000;
        c->congestion->acked(&c->cc, delivered, now_us(c->stack), rtt_us);
    }
}

/* After every acknowledgment of data on their way. */
void tcp_recover(struct connection *c, struct tcp_report *r)
{
    bool recovers = c->recovering || c->recovered_by_timeout;
    if (r->duplicate) {
        tcp_rack_duplicate(c);
        tcp_undo_duplicate(c, r);
    }
    if (recovers && !seq_before(c->snd_una, c->recover))
        leave(c, r);
    else if ((recovers && r->acked > 0 && tcp_undo_late(c, r)) || (!recovers && r->duplicate))
        tcp_undo(c, r);
    tcp_tail_acked(c, r);
    r->lost = c->sack ? tcp_rack_detect(c) : count_detect(c, r);
    if (c->flight.lost > 0 && !c->recovering && !c->recovered_by_timeout)
        enter(c);
    if (c->recovering && r->delivered + r->lost > 0)
        tcp_prr_acked(c, r->delivered, r->acked > 0 && r->lost == 0, !c->sack && r->lost > 0);
    else if (!c->recovering && (r->acked > 0 || c->rack.reordering)) /* in order, unless the path knows none */
        grow(c, max_u32(r->delivered, min_u32(r->acked, c->mss)));
    if (r->acked > 0 || r->sacked)
        tcp_tail_arm(c);
}

void tcp_losses_found(struct connection *c)
{
    uint32_t lost = tcp_rack_detect(c);
    if (lost > 0 && !c->recovering && !c->recovered_by_timeout)
        enter(c);
    if (lost > 0 && c->recovering)
        tcp_prr_acked(c, 0, false, false);
}

/* All is thought lost that was not SACKed and is old enough (RFC 8985, 6.3). */
void tcp_timed_out(struct connection *c)
{
    COUNT(c->stack, tcp_timeouts);
    /* Once for a segment, however often it is sent (RFC 5681, 3.1); and not again for a flight that recovers. */
    if (c->tries == 1 && !c->recovering) {
        uint32_t flight = in_use(c);
        tcp_undo_begin(c);
        c->congestion->lost(&c->cc, flight, true);
    }
    if (c->tries > 2)
        tcp_flight_unsack(c); /* the peer may have reneged (RFC 2018, 8) */
    for (struct tcp_sent *run = c->flight.first; run != NULL; run = run->next) {
        bool young = c->sack && c->rack.known && run != c->flight.first &&
                     ticks_ahead(run->at + c->rack.rtt, c->stack->now) > 0;
        if (!young)
            tcp_flight_lose(c, run);
    }
    if (c->snd_wnd == 0) { /* the window has closed over what was on its way: it will be asked for (tcp_probe_window()) */
        tcp_flight_clear(c);
        c->snd_nxt = c->snd_una;
    }
    c->recovering = false;
    c->recovered_by_timeout = true;
    c->recover = c->snd_max;
    c->duplicates = 0;
    c->tail.probing = c->tail_due = false;
    timers_cancel(c->stack->timers, &c->loss);
    c->cc.cwnd = tcp_in_flight(c) + c->mss;
    c->cc.counted = 0;
    c->timing = false;
    c->retransmitted = true;
}
