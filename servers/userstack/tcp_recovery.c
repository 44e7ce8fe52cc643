/* tcp_recovery.c: loss, found by duplicate ACKs or by time, and how sending goes on: NewReno (RFC 6582), with SACK
 * RFC 6675. How much the window falls and grows is the algorithm's (tcp_congestion.h). */
#include "tcp.h"

/* What is thought to be on the way. After a time-out it is what was sent since; outside recovery what was not SACKed. */
uint32_t tcp_in_flight(const struct connection *c)
{
    if (c->recovering && sack_usable(c))
        return tcp_board_pipe(c);
    return c->snd_nxt - c->snd_una - tcp_board_below(c, c->snd_nxt);
}

static void enter(struct connection *c)
{
    COUNT(c->stack, tcp_fast_recoveries);
    c->congestion->lost(&c->cc, c->snd_max - c->snd_una, false);
    c->recovering = true;
    c->recover = c->snd_max;
    c->cc.cwnd = c->cc.ssthresh + (c->sack ? 0 : TCP_DUPLICATES * c->mss);
    tcp_retransmit_first(c);
    c->high_retransmitted = c->snd_una + c->mss;
}

/* Of an ACK that acknowledges nothing new; with SACK, one that reports something new. */
void tcp_duplicate_ack(struct connection *c)
{
    if (c->recovering) {
        if (!c->sack)
            c->cc.cwnd += c->mss; /* a segment has left the network (3.2, step 3) */
        return;
    }
    /* After a time-out, or a recovery, duplicates may be of what was sent twice (RFC 6582, 4.1). */
    if (seq_before(c->snd_una, c->recover) && c->recovered_by_timeout)
        return;
    if (c->duplicates < UINT8_MAX)
        c->duplicates++;
    if (c->duplicates >= TCP_DUPLICATES || (sack_usable(c) && tcp_board_lost(c, c->snd_una)))
        enter(c);
}

static void partial(struct connection *c, uint32_t acked)
{
    if (sack_usable(c)) {
        c->high_retransmitted = seq_max(c->high_retransmitted, c->snd_una);
        return; /* tcp_output() goes on by the scoreboard */
    }
    if (!c->sack) { /* deflate by what has left, inflate by the one segment (step 5) */
        c->cc.cwnd -= min_u32(acked, c->cc.cwnd - c->mss);
        if (acked >= c->mss)
            c->cc.cwnd += c->mss;
    }
    tcp_retransmit_first(c);
    c->high_retransmitted = seq_max(c->high_retransmitted, c->snd_una + c->mss);
}

void tcp_new_ack(struct connection *c, uint32_t acked)
{
    if (c->recovering) {
        if (seq_before(c->snd_una, c->recover)) {
            partial(c, acked);
            return;
        }
        c->recovering = false;
        c->duplicates = 0;
        uint32_t flight = max_u32(c->snd_max - c->snd_una, c->mss) + c->mss;
        c->cc.cwnd = c->sack ? c->cc.ssthresh : min_u32(c->cc.ssthresh, flight); /* no burst */
        return;
    }
    c->duplicates = 0;
    if (!seq_before(c->snd_una, c->recover))
        c->recovered_by_timeout = false;
    /* A window that was not in use has not been tried, and does not grow (RFC 7661, 4.2, in spirit). */
    uint32_t used = tcp_in_flight(c) + acked + c->mss;
    if (used >= c->cc.cwnd || (c->cc.cwnd < c->cc.ssthresh && 2 * used >= c->cc.cwnd)) {
        uint64_t rtt_us = c->srtt8 / 8 * c->stack->limits.tick_ns / 1000;
        c->congestion->acked(&c->cc, acked, now_us(c->stack), rtt_us);
    }
}

void tcp_timed_out(struct connection *c)
{
    COUNT(c->stack, tcp_timeouts);
    if (c->tries == 1) /* ssthresh falls once for a segment, however often it is sent (RFC 5681, 3.1) */
        c->congestion->lost(&c->cc, c->snd_max - c->snd_una, true);
    else
        c->board_count = 0; /* the peer may have reneged (RFC 2018, 8) */
    c->cc.cwnd = c->mss;
    c->cc.counted = 0;
    c->recovering = false;
    c->duplicates = 0;
    c->recovered_by_timeout = true;
    c->recover = c->snd_max;
    c->snd_nxt = c->snd_una;
    c->timing = false;
    c->retransmitted = true;
}
