/* tcp_undo.c: a window that fell for nothing rises again. What was sent again was sent in vain if the original is what
 * was acknowledged, as its timestamp tells (Eifel: RFC 3522, 4015), or if the peer reports a duplicate of every
 * retransmission (RFC 3708). On a path that reorders this decides how much gets through. */
#include "tcp.h"

void tcp_undo_begin(struct connection *c)
{
    c->undo = (struct tcp_undo){.before = c->cc, .marker = c->snd_una, .on = true};
}

/* A segment is sent again. */
void tcp_undo_sent(struct connection *c)
{
    struct tcp_undo *u = &c->undo;
    c->rack.retransmissions++;
    if (!u->on)
        return;
    u->again++;
    if (!u->stamped) {
        u->stamped = true;
        u->stamp = tcp_clock(c->stack) + c->ts_offset;
    }
}

/* Whose duplicate it is nobody knows: one that the network made, of bytes sent again since, counts as ours, as in Linux. */
void tcp_undo_duplicate(struct connection *c, const struct tcp_report *r)
{
    struct tcp_undo *u = &c->undo;
    if (u->on && seq_before(u->marker, r->twice.right) && seq_upto(r->twice.right, c->snd_una))
        u->in_vain += max_u32((r->twice.right - r->twice.left + c->mss - 1) / c->mss, 1);
}

bool tcp_undo_late(const struct connection *c, const struct tcp_report *r)
{
    const struct tcp_undo *u = &c->undo;
    return u->on && u->stamped && r->has_echo && seq_before(r->echo, u->stamp);
}

bool tcp_undo(struct connection *c, const struct tcp_report *r)
{
    struct tcp_undo *u = &c->undo;
    bool all = u->on && u->again > 0 && u->in_vain >= u->again;
    if (!all && !tcp_undo_late(c, r))
        return false;
    COUNT(c->stack, tcp_undone);
    struct tcp_window now = c->cc;
    c->cc = u->before; /* and what the algorithm remembered, RFC 9438, 4.9.2 */
    c->cc.mss = now.mss;
    c->cc.cwnd = max_u32(c->cc.cwnd, now.cwnd);
    c->cc.ssthresh = max_u32(c->cc.ssthresh, now.ssthresh);
    u->on = false;
    c->recovering = c->recovered_by_timeout = false;
    c->duplicates = 0;
    c->rack.reordering = true; /* or worse: late, at any rate */
    tcp_flight_unlose(c);
    return true;
}
