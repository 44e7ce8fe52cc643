/* tcp_output.c: which segment comes next, and segments as bytes. */
#include "tcp.h"

/* The window to offer: its right edge never moves back, and moves on only by a worthwhile step (RFC 9293, 3.8.6.2.2). */
static uint32_t offer_window(struct connection *c, bool syn)
{
    uint32_t edge = c->rcv_nxt + tcp_receive_window(c), step = min_u32(c->receive.limit / 2, max_u32(c->mss, 1));
    uint8_t scale = syn || c->receive_scale == UINT8_MAX ? 0 : c->receive_scale;
    if (seq_before(c->rcv_edge, c->rcv_nxt))
        c->rcv_edge = c->rcv_nxt;
    if (seq_before(c->rcv_edge, edge) && edge - c->rcv_edge >= step)
        c->rcv_edge = edge;
    uint32_t window = min_u32((c->rcv_edge - c->rcv_nxt + (1u << scale) - 1) >> scale, UINT16_MAX);
    if (seq_before(c->rcv_edge, c->rcv_nxt + (window << scale)) || window == UINT16_MAX)
        c->rcv_edge = c->rcv_nxt + (window << scale);
    return window;
}

/* One segment, with so many bytes of the send stream from `seq` on. It carries our acknowledgment and window. */
enum ip_result tcp_send_segment(struct connection *c, uint32_t seq, uint32_t bytes, uint8_t flags)
{
    struct stack *stack = c->stack;
    uint8_t options[TCP_OPTIONS_MAX];
    bool syn = flags & TCP_SYN;
    uint32_t room = stack->wire.mtu - IPV4_BYTES - TCP_BYTES - bytes;
    uint32_t option_bytes = tcp_write_options(c, options, syn, min_u32(room, TCP_OPTIONS_MAX));
    uint32_t header = TCP_BYTES + option_bytes;
    struct ip_output out;
    enum ip_result result = ipv4_begin(stack, &out, c->tuple.remote, header + bytes);
    if (result == IP_WIRE_FULL)
        return result;
    uint32_t window = offer_window(c, syn);
    if (result == IP_OK) {
        uint8_t *p = out.data;
        uint32_t number = flags & TCP_ACK ? c->rcv_nxt : 0, ip = stack->address.ip;
        uint32_t head = header / 4 << 12 | flags;
        put16(p + TCP_SOURCE, c->tuple.local_port);
        put16(p + TCP_DESTINATION, c->tuple.remote_port);
        put32(p + TCP_SEQ, seq);
        put32(p + TCP_ACKNOWLEDGMENT, number);
        put16(p + TCP_OFFSET, head);
        put16(p + TCP_WINDOW, window);
        put32(p + TCP_CHECKSUM, 0); /* and urgent pointer */
        memcpy(p + TCP_BYTES, options, option_bytes);
        uint64_t sum = sum_numbers((uint64_t)c->tuple.local_port + c->tuple.remote_port + seq + number + head + window +
                                   ip + c->tuple.remote + PROTOCOL_TCP + header + bytes);
        sum += sum_bytes(options, option_bytes);
        if (bytes > 0)
            sum += stream_copy_and_sum(&c->send, &LAYER(c)->chunks, seq - c->send_first, p + header, bytes);
        store_checksum(p + TCP_CHECKSUM, sum);
        ipv4_end(stack, &out, PROTOCOL_TCP, c->tuple.remote);
        COUNT(stack, tcp_sent);
    }
    if (flags & TCP_ACK) {
        c->last_ack_sent = c->rcv_nxt;
        c->unacked_bytes = 0;
        c->ack_now = c->ack_later = false;
        c->twice = (struct tcp_run){0, 0};
    }
    return result;
}

static void wait_for_wire(struct connection *c)
{
    if (c->blocked)
        return;
    c->blocked = true;
    c->blocked_next = LAYER(c)->blocked;
    LAYER(c)->blocked = c;
}

/* The number of a segment without data: beyond all that was sent, although snd_nxt went back after a time-out, or both
 * ends would find each other's ACKs old; but not beyond the peer's window, as a probe is. */
static uint32_t bare_seq(const struct connection *c)
{
    uint32_t edge = c->snd_una + c->snd_wnd;
    return seq_before(edge, c->snd_max) ? edge : c->snd_max;
}

void tcp_send_ack(struct connection *c)
{
    if (tcp_send_segment(c, bare_seq(c), 0, TCP_ACK) == IP_WIRE_FULL) {
        c->ack_now = true;
        wait_for_wire(c);
    }
}

void tcp_send_syn(struct connection *c)
{
    if (tcp_send_segment(c, c->iss, 0, c->state == TCP_SYN_SENT ? TCP_SYN : TCP_SYN | TCP_ACK) == IP_WIRE_FULL)
        COUNT_DROP(c->stack, wire_full); /* it is asked for again */
}

/* Data that were, or are now, sent: the clock, the timer, the counters. False: no room on the wire. */
static bool send_data(struct connection *c, uint32_t seq, uint32_t bytes, bool fin)
{
    struct stack *stack = c->stack;
    bool fresh = !seq_before(seq, c->snd_max);
    bool push = seq + bytes == fin_seq(c) && (!c->unpushed || fin); /* the last there is, RFC 9293, 3.9.1.2 */
    uint32_t run = stack->limits.push_segments;
    if (fresh && run > 0 && ++c->burst == run) {
        c->burst = 0;
        push = true;
    }
    if (bytes != c->mss || (seq - c->full_from) % c->mss != 0)
        c->full_from = seq_max(c->full_from, seq + bytes + fin);
    uint8_t flags = (uint8_t)(TCP_ACK | (fin ? TCP_FIN : 0) | (push && bytes > 0 ? TCP_PSH : 0));
    if (tcp_send_segment(c, seq, bytes, flags) == IP_WIRE_FULL) {
        wait_for_wire(c);
        return false;
    }
    uint32_t right = seq + bytes + fin;
    if (seq_before(seq, c->snd_max)) {
        COUNT(stack, tcp_retransmitted);
        c->retransmitted = true;
        if (c->timing && seq_upto(seq, c->timed_seq)) /* Karn */
            c->timing = false;
    } else if (!c->timing) {
        c->timing = true;
        c->timed_seq = seq;
        c->timed_at = stack->now;
    }
    if (c->snd_max == c->snd_una)
        c->unacked_since = stack->now;
    c->snd_max = seq_max(c->snd_max, right);
    c->sent_at = stack->now;
    if (!timer_pending(&c->retransmit) || c->persisting)
        tcp_arm_retransmit(c);
    return true;
}

/* The same, as part of the flight. */
static bool send_in_flight(struct connection *c, uint32_t seq, uint32_t bytes, bool fin)
{
    bool again = seq_before(seq, c->snd_max);
    if (!send_data(c, seq, bytes, fin))
        return false;
    tcp_flight_sent(c, seq, seq + bytes + fin, again);
    c->snd_nxt = seq_max(c->snd_nxt, seq + bytes + fin);
    if (again)
        tcp_undo_sent(c);
    if (c->recovering)
        c->prr.out += bytes;
    return true;
}

/* In a closed window one byte goes all the same: the answer tells how wide it is (RFC 9293, 3.8.6.1). In one that is too
 * small to be worth a segment, what fits goes now: the override of 3.8.6.2.1. */
void tcp_probe_window(struct connection *c)
{
    uint32_t held = fin_seq(c) - c->snd_una, room = max_u32(c->snd_wnd, 1);
    uint32_t bytes = min_u32(min_u32(held, room), c->mss);
    bool fin = c->fin_queued && bytes == held;
    c->unpushed = false; /* waited for long enough */
    if (c->snd_wnd == 0)
        COUNT(c->stack, tcp_window_probes);
    /* What is refused is not on its way. */
    bool sent = c->snd_wnd == 0 ? send_data(c, c->snd_una, bytes, fin) : send_in_flight(c, c->snd_una, bytes, fin);
    if (sent)
        c->timing = false;
}

/* Is the next new segment worth it? Nagle's and the sender's half of silly window avoidance (3.7.4, 3.8.6.2.1). */
static bool worth_sending(const struct connection *c, uint32_t bytes, bool all, bool limited_by_peer)
{
    if (bytes == c->mss)
        return true;
    if (all)
        return c->fin_queued || (!c->more && !c->corked && (c->nodelay || c->snd_una == c->snd_max));
    return limited_by_peer && 2 * bytes >= c->max_window;
}

/* Something at snd_nxt. False: nothing may be sent, or the wire is full. */
static bool send_next(struct connection *c)
{
    uint32_t seq = c->snd_nxt, end = fin_seq(c);
    if (seq_before(end, seq)) /* beyond our FIN */
        return false;
    uint32_t data = end - seq, flight = tcp_in_flight(c), cwnd = c->cc.cwnd;
    uint32_t offered = seq_before(seq, c->snd_una + c->snd_wnd) ? c->snd_una + c->snd_wnd - seq : 0;
    uint32_t allowed = cwnd > flight ? cwnd - flight : 0;
    uint32_t bytes = min_u32(min_u32(data, c->mss), min_u32(offered, allowed));
    bool fin = c->fin_queued && bytes == data;
    if (data > 0 && bytes == 0)
        return false;
    if (data == 0 && !fin)
        return false;
    bool again = seq_before(seq, c->snd_max);
    if (data > 0 && !again && !worth_sending(c, bytes, bytes == data, offered <= allowed))
        return false;
    return send_in_flight(c, seq, bytes, fin);
}

/* The first that is lost. Beyond a window that has shrunk only what is needed first, which then asks for the window. */
static bool send_lost(struct connection *c)
{
    struct tcp_run lost;
    if (!tcp_flight_next_lost(c, &lost))
        return false;
    uint32_t edge = lost.left == c->snd_una ? lost.right : c->snd_una + c->snd_wnd, end = fin_seq(c);
    if (!seq_before(lost.left, edge))
        return false;
    uint32_t right = seq_min(seq_min(lost.right, edge), end); /* of data */
    uint32_t bytes = seq_before(lost.left, right) ? min_u32(right - lost.left, c->mss) : 0;
    bool fin = lost.left + bytes == end && seq_before(end, lost.right);
    if (tcp_in_flight(c) + bytes > c->cc.cwnd || !send_in_flight(c, lost.left, bytes, fin))
        return false;
    if (lost.left == c->snd_una)
        tcp_arm_retransmit(c);
    return true;
}

/* RFC 8985, 7.3: whatever the congestion window. */
bool tcp_send_tail(struct connection *c)
{
    uint32_t end = fin_seq(c), edge = seq_min(end, c->snd_una + c->snd_wnd), seq = c->snd_nxt;
    c->burst = 0;
    if (seq == c->snd_max && seq_before(seq, edge)) {
        uint32_t bytes = min_u32(edge - seq, c->mss);
        send_in_flight(c, seq, bytes, c->fin_queued && seq + bytes == end);
        return false;
    }
    /* What went last by itself, a FIN for instance, goes so again. */
    uint32_t right = seq_min(seq, end), left = seq_max(c->snd_una, c->flight.last->left);
    uint32_t bytes = seq_before(left, right) ? min_u32(right - left, c->mss) : 0;
    send_in_flight(c, right - bytes, bytes, right != seq);
    return true;
}

void tcp_output(struct connection *c)
{
    if (c->state < TCP_ESTABLISHED || c->state == TCP_TIME_WAIT || c->blocked)
        return;
    if (c->send.length == 0 && c->snd_nxt == c->snd_una && !c->fin_queued) /* nothing on its way, nothing to come */
        return;
    if (c->snd_una == c->snd_max && c->stack->now - c->sent_at > c->rto) /* RFC 5681, 4.1 */
        c->cc.cwnd = min_u32(c->cc.cwnd, c->stack->limits.initial_window * c->mss);
    c->burst = 0;
    uint32_t before = c->snd_nxt;
    while (c->flight.lost > 0 ? send_lost(c) : send_next(c)) /* what is lost before what is new */
        ;
    if (c->snd_nxt != before)
        tcp_tail_arm(c);
    tcp_note_use(c);
    bool held_back = seq_before(c->snd_nxt, fin_seq(c));
    if (held_back && c->snd_nxt == c->snd_una && !timer_pending(&c->retransmit) && !c->blocked) {
        c->unacked_since = c->stack->now;
        tcp_arm_persist(c);
    }
}

void tcp_retry_output(struct stack *stack)
{
    struct connection *c = stack->tcp->blocked, *next;
    stack->tcp->blocked = NULL;
    for (; c != NULL; c = next) {
        next = c->blocked_next;
        c->blocked = false;
        tcp_output(c);
        if (c->ack_now && !c->blocked)
            tcp_send_ack(c);
    }
}

bool tcp_output_waits(const struct stack *stack) { return stack->tcp->blocked != NULL; }

/* After a read: tell of the room, if the sender may soon wait for it and it is worth a segment. Otherwise the next ACK
 * tells. */
void tcp_window_opened(struct connection *c)
{
    if (c->state < TCP_ESTABLISHED || c->fin_received || c->state == TCP_TIME_WAIT)
        return;
    uint32_t edge = c->rcv_nxt + tcp_receive_window(c), left = seq_before(c->rcv_nxt, c->rcv_edge) ? c->rcv_edge - c->rcv_nxt : 0;
    uint32_t step = seq_before(c->rcv_edge, edge) ? edge - c->rcv_edge : 0;
    uint32_t limit = c->receive.limit;
    if ((left < limit / 8 && step >= limit / 4) || (left < 2u * c->mss && step >= min_u32(limit / 2, c->mss)))
        tcp_send_ack(c);
}
