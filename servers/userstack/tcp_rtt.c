/* tcp_rtt.c: round-trip time and retransmission time-out, RFC 6298, in ticks: with a fine tick and a low minimum they
 * are as fine as the network. */
#include "tcp.h"

void tcp_measured(struct connection *c, uint64_t ticks)
{
    if (ticks == 0)
        ticks = 1;
    if (c->srtt8 == 0) { /* 2.2 */
        c->srtt8 = ticks * 8;
        c->rttvar4 = ticks * 2;
        return;
    }
    uint64_t srtt = c->srtt8 / 8, off = srtt > ticks ? srtt - ticks : ticks - srtt; /* 2.3 */
    c->rttvar4 += off - c->rttvar4 / 4;
    c->srtt8 += ticks - c->srtt8 / 8;
}

static uint64_t bounded(const struct connection *c, uint64_t rto)
{
    const struct stack_limits *l = &c->stack->limits;
    uint64_t low = ticks_of_us(c->stack, l->min_rto_us), high = ticks_of_ms(c->stack, l->max_rto_ms);
    return rto < low ? low : rto > high ? high : rto;
}

/* From what was measured, without the doublings of time-outs: those ended with an acknowledgment. Karn's other half, to
 * keep them until a fresh sample, only matters where none was ever taken: the old one then stands. */
void tcp_reset_rto(struct connection *c)
{
    if (c->srtt8 != 0) {
        uint64_t variance = c->rttvar4 > 1 ? c->rttvar4 : 1; /* G is one tick */
        c->rto = bounded(c, c->srtt8 / 8 + variance);
    }
}

static uint64_t backed_off(const struct connection *c)
{
    uint64_t high = ticks_of_ms(c->stack, c->stack->limits.max_rto_ms), rto = c->rto << min_u32(c->backoff, 20);
    return rto < high ? rto : high;
}

void tcp_arm_retransmit(struct connection *c)
{
    c->persisting = false;
    timers_rearm(c->stack->timers, &c->retransmit, c->stack->now + backed_off(c));
}

void tcp_arm_persist(struct connection *c)
{
    c->persisting = true;
    timers_rearm(c->stack->timers, &c->retransmit, c->stack->now + backed_off(c));
}
