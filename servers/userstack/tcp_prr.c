/* tcp_prr.c: the window during recovery: proportional rate reduction, RFC 6937, with the slow-start bound only while the
 * path shows no further loss, as Linux has it (net/ipv4/tcp_input.c, tcp_cwnd_reduction()). Sending goes on as
 * acknowledgments come, and ends at ssthresh, without the half round trip of silence of RFC 6675. */
#include "tcp.h"

void tcp_prr_begin(struct connection *c, uint32_t flight)
{
    c->prr = (struct tcp_prr){.flight = max_u32(flight, c->mss)};
}

/* `safe`: snd_una has moved and nothing more was lost. `at_once`: a segment is to go, whatever the proportion. */
void tcp_prr_acked(struct connection *c, uint32_t delivered, bool safe, bool at_once)
{
    struct tcp_prr *p = &c->prr;
    uint32_t pipe = tcp_in_flight(c), ssthresh = c->cc.ssthresh, mss = c->mss, send;
    p->delivered += delivered;
    if (pipe > ssthresh) {
        uint64_t share = (uint64_t)p->delivered * ssthresh / p->flight;
        share = (share + mss - 1) / mss * mss; /* whole segments */
        send = share > p->out ? (uint32_t)(share - p->out) : 0;
    } else {
        uint32_t behind = p->delivered > p->out ? p->delivered - p->out : 0;
        send = min_u32(max_u32(behind, delivered) + (safe ? mss : 0), ssthresh - pipe);
    }
    if (p->out == 0 || at_once) /* the first retransmission waits for nothing */
        send = max_u32(send, mss);
    c->cc.cwnd = max_u32(pipe + send, mss);
}
