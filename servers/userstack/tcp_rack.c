/* tcp_rack.c: what was sent a while before something that has arrived is lost: RACK, RFC 8985, 6. It sees what the count
 * of duplicates cannot: a retransmission that was lost, a loss of which fewer than three segments tell; and it takes
 * late for late, not for lost, as soon as the path is known to reorder. */
#include "tcp.h"

enum { MIN_RTT_WINDOW_MS = 300000, PERSIST = 16 };

static uint64_t ms_of(const struct connection *c, uint64_t tick) { return tick * c->stack->limits.tick_ns / 1000000; }

/* A retransmission is acknowledged: is it for the original? Faster than any, or by its timestamp (6.2, step 2). */
static bool of_the_original(const struct connection *c, const struct tcp_sent *run, const struct tcp_report *r)
{
    if (c->stack->now - run->at < c->rack.min_rtt)
        return true;
    return r->has_echo && seq_before(r->echo - c->ts_offset, (uint32_t)ms_of(c, run->at));
}

static void take_min_rtt(struct connection *c, uint64_t rtt)
{
    struct tcp_rack *k = &c->rack;
    uint64_t now = c->stack->now;
    if (!k->known || rtt <= k->min_rtt || now - k->min_rtt_at > ticks_of_ms(c->stack, MIN_RTT_WINDOW_MS)) {
        k->min_rtt = rtt;
        k->min_rtt_at = now;
    }
}

/* Steps 1 to 3, for each run that has arrived, up to `right`. */
void tcp_rack_delivered(struct connection *c, const struct tcp_sent *run, uint32_t right, const struct tcp_report *r)
{
    struct tcp_rack *k = &c->rack;
    uint64_t rtt = c->stack->now - run->at;
    if (k->known && seq_before(right, k->farthest))
        k->reordering |= !run->again;
    else
        k->farthest = right;
    if (!run->again)
        take_min_rtt(c, rtt);
    else if (of_the_original(c, run, r))
        return;
    int64_t later = ticks_ahead(run->at, k->sent_at);
    k->rtt = rtt;
    if (!k->known || later > 0 || (later == 0 && seq_before(k->right, right))) {
        k->sent_at = run->at;
        k->right = right;
    }
    k->known = true;
}

/* RACK_update_reo_wnd(), step 4: how late is late. */
static uint64_t reordering_window(const struct connection *c)
{
    const struct tcp_rack *k = &c->rack;
    bool many = c->duplicates >= TCP_DUPLICATES || c->flight.sacked > (TCP_DUPLICATES - 1u) * c->mss;
    if (!k->reordering && (many || c->recovering || c->recovered_by_timeout))
        return 0;
    uint64_t window = (k->multiplier + 1u) * k->min_rtt / 4, srtt = c->srtt8 / 8;
    window = window < srtt ? window : srtt;
    return window > 0 ? window : 1;
}

/* Step 5, of one run. If it is not yet due: how many ticks are to go. */
static bool overdue(const struct connection *c, const struct tcp_sent *run, uint64_t *wait)
{
    const struct tcp_rack *k = &c->rack;
    int64_t since = ticks_ahead(k->sent_at, run->at);
    *wait = 0;
    /* Within a tick order is that of numbers, but not for what is out of order because it was sent again. */
    if (!k->known || since < 0 || (since == 0 && (run->again || !seq_before(run->right, k->right))))
        return false;
    int64_t left = ticks_ahead(run->at + k->rtt + reordering_window(c), c->stack->now);
    *wait = left > 0 ? (uint64_t)left : 0;
    return left <= 0;
}

uint32_t tcp_rack_detect(struct connection *c)
{
    struct stack *stack = c->stack;
    uint32_t lost = 0;
    uint64_t longest = 0;
    /* Acknowledged in order, nothing sent again: nothing is older than what has arrived. */
    bool in_order = c->flight.sacked == 0 && !c->recovering && !c->recovered_by_timeout;
    for (struct tcp_sent *run = in_order ? NULL : c->flight.first; run != NULL; run = run->next) {
        uint64_t wait;
        if (run->sacked || run->lost)
            continue;
        if (overdue(c, run, &wait))
            lost += tcp_flight_lose(c, run);
        else if (wait > longest)
            longest = wait;
    }
    if (longest > 0) {
        c->tail_due = false;
        timers_rearm(stack->timers, &c->loss, stack->now + longest);
    } else if (!c->tail_due) {
        timers_cancel(stack->timers, &c->loss);
    }
    return lost;
}

/* A duplicate was reported: something was sent again too early, so that the window widens, once a round trip (step 4).
 * But not for more of them than we have sent twice: then it is the network that duplicates. */
void tcp_rack_duplicate(struct connection *c)
{
    struct tcp_rack *k = &c->rack;
    if (++k->duplicates > k->retransmissions)
        return;
    if (k->in_round && seq_before(c->snd_una, k->round))
        return;
    k->in_round = true;
    k->round = c->snd_nxt;
    k->persist = PERSIST;
    if (k->multiplier < UINT8_MAX)
        k->multiplier++;
}

/* After so many recoveries in which it did not happen again the window is as narrow as at first. */
void tcp_rack_recovered(struct connection *c)
{
    struct tcp_rack *k = &c->rack;
    if (k->persist > 0 && --k->persist == 0)
        k->multiplier = 0;
}
