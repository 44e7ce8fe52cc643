/* tcp_input.c: SEGMENT ARRIVES, RFC 9293, 3.10.7, in its order, as RFC 5961 and RFC 7323 amend it. */
#include "tcp.h"

#include <errno.h>

bool tcp_parse(const struct packet *packet, struct tcp_segment *out)
{
    const uint8_t *p = packet->data;
    uint32_t header = packet->bytes < TCP_BYTES ? 0 : (p[TCP_OFFSET] >> 4) * 4u;
    if (header < TCP_BYTES || header > packet->bytes)
        return false;
    out->packet = packet;
    out->source = packet->source;
    out->source_port = get16(p + TCP_SOURCE);
    out->destination_port = get16(p + TCP_DESTINATION);
    out->seq = get32(p + TCP_SEQ);
    out->ack = get32(p + TCP_ACKNOWLEDGMENT);
    out->window = get16(p + TCP_WINDOW);
    out->flags = p[TCP_FLAGS] & 63;
    out->data = p + header;
    out->bytes = packet->bytes - header;
    return out->source_port != 0 && out->destination_port != 0 &&
           tcp_parse_options(p + TCP_BYTES, header - TCP_BYTES, out->flags & TCP_SYN, &out->options);
}

void tcp_input(struct stack *stack, const struct packet *packet)
{
    struct tcp_segment s;
    if (packet->broadcast || !tcp_parse(packet, &s)) {
        COUNT_DROP(stack, tcp_malformed);
        return;
    }
    if (!packet->checked && fold_sum(sum_bytes(packet->data, packet->bytes) +
                                     sum_pseudo(packet->addresses, PROTOCOL_TCP, packet->bytes)) != 0) {
        COUNT_DROP(stack, tcp_checksum);
        return;
    }
    COUNT(stack, tcp_received);
    struct tcp_tuple tuple = {s.source, stack->address.ip, s.source_port, s.destination_port};
    struct connection *c = tcp_find(stack, &tuple);
    struct tcp_listener *listener = c == NULL ? tcp_listener_at(stack, s.destination_port) : NULL;
    if (c != NULL) {
        tcp_segment_arrives(c, &s);
    } else if (listener != NULL) {
        tcp_listener_arrives(stack, listener, &s);
    } else {
        COUNT_DROP(stack, tcp_port);
        tcp_reset_for(stack, &s);
    }
}

/* A SYN with which the peer begins anew, TIME-WAIT or not: its timestamp is greater, or without timestamps its number
 * (RFC 6191; RFC 9293, 3.6.1). */
static bool begins_anew(const struct connection *c, const struct tcp_segment *s)
{
    if ((s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
        return false;
    if (c->timestamps && s->options.has_timestamps && s->options.tsval != c->ts_recent)
        return seq_before(c->ts_recent, s->options.tsval);
    return seq_before(c->rcv_nxt, s->seq);
}

static void time_wait_arrives(struct connection *c, struct tcp_segment *s)
{
    struct stack *stack = c->stack;
    if (begins_anew(c, s)) {
        struct tcp_listener *listener = tcp_listener_at(stack, c->tuple.local_port);
        if (listener != NULL) {
            COUNT(stack, tcp_time_waits_reused);
            tcp_end(c, 0);
            tcp_listener_arrives(stack, listener, s);
            return;
        }
    }
    if (s->flags & TCP_RST) { /* RFC 1337: TIME-WAIT is not to be cut short */
        COUNT_DROP(stack, tcp_flags);
        return;
    }
    if (s->flags & TCP_FIN) /* our last ACK was lost */
        tcp_time_wait(c);
    if (segment_length(s) > 0)
        tcp_send_ack(c);
    COUNT_DROP(stack, tcp_window);
}

/* RFC 7323, 5.3 and 5.5: after 24 days of silence the clock of the peer tells nothing. */
static bool is_old_duplicate(const struct connection *c, const struct tcp_segment *s)
{
    return seq_before(s->options.tsval, c->ts_recent) &&
           c->stack->now - c->ts_recent_at < ticks_of_ms(c->stack, UINT64_C(24) * 86400 * 1000);
}

/* Refused, but its sender is to learn that it was sent twice: the original, which was late, or again for nothing. */
static void report_known(struct connection *c, const struct tcp_segment *s)
{
    if (s->bytes > 0 && seq_upto(s->seq + s->bytes, c->rcv_nxt))
        tcp_came_twice(c, s->seq, s->seq + s->bytes);
}

/* The table of 3.10.7.4. A segment without length may lie just beyond the window: that of a peer whose data, which
 * filled it, were lost. */
static bool acceptable(const struct connection *c, const struct tcp_segment *s)
{
    uint32_t length = segment_length(s), window = c->rcv_edge - c->rcv_nxt, offset = s->seq - c->rcv_nxt;
    if (length == 0)
        return offset <= window;
    if (window == 0) /* data are refused, but the ACK is heeded */
        return offset == 0;
    return offset < window || offset + length - 1 < window;
}

static void reset_arrives(struct connection *c, const struct tcp_segment *s)
{
    if (s->seq == c->rcv_nxt) {
        tcp_end(c, c->state == TCP_SYN_RECEIVED && !c->passive ? ECONNREFUSED : ECONNRESET);
        return;
    }
    COUNT_DROP(c->stack, tcp_reset_blind);
    if (s->seq - c->rcv_nxt < c->rcv_edge - c->rcv_nxt) /* RFC 5961, 3.2 */
        tcp_challenge(c);
}

static bool syn_received_arrives(struct connection *c, struct tcp_segment *s)
{
    if (!seq_before(c->snd_una, s->ack) || seq_before(c->snd_max, s->ack)) {
        COUNT_DROP(c->stack, tcp_ack);
        tcp_reset_for(c->stack, s);
        return false;
    }
    if (c->listener != NULL && c->listener->waiting_count >= c->listener->backlog) {
        COUNT_DROP(c->stack, tcp_accept_full); /* the peer has data or asks again: our SYN is sent again, too */
        return false;
    }
    c->snd_wl1 = s->seq - 1; /* so that this segment's window counts */
    c->snd_wl2 = s->ack;
    tcp_established(c);
    return true;
}

/* What our FIN's acknowledgment brings about. False: the connection has ended. */
static bool fin_acknowledged(struct connection *c)
{
    if (!c->fin_queued || seq_upto(c->snd_una, fin_seq(c)))
        return true;
    switch (c->state) {
    case TCP_FIN_WAIT_1:
        tcp_become(c, TCP_FIN_WAIT_2);
        tcp_arm_slow(c);
        return true;
    case TCP_CLOSING:
        tcp_time_wait(c);
        return false;
    case TCP_LAST_ACK:
        tcp_end(c, 0);
        return false;
    default:
        return true;
    }
}

static void fin_arrives(struct connection *c)
{
    c->rcv_nxt++;
    c->hole_count = 0; /* text beyond its own end, from before: whoever sent it is not to be told that we have it */
    c->fin_received = c->ack_now = true;
    switch (c->state) {
    case TCP_ESTABLISHED:
        tcp_become(c, TCP_CLOSE_WAIT);
        break;
    case TCP_FIN_WAIT_1: /* had it been acknowledged, this were FIN-WAIT-2 */
        tcp_become(c, TCP_CLOSING);
        break;
    case TCP_FIN_WAIT_2:
        tcp_send_ack(c);
        tcp_time_wait(c);
        break;
    }
}

void tcp_ack_later(struct connection *c)
{
    c->ack_later = true;
    c->ack_due = c->stack->now + ticks_of_us(c->stack, c->stack->limits.delayed_ack_us);
    if (!timer_pending(&c->delayed_ack)) /* that of an earlier one may be: it comes before */
        timers_start(c->stack->timers, &c->delayed_ack, c->ack_due);
}

void tcp_answer(struct connection *c)
{
    if (c->state == TCP_CLOSED || c->state == TCP_TIME_WAIT)
        return;
    tcp_output(c); /* data carry the acknowledgment */
    if (c->ack_now || (c->unacked_bytes >= 2u * c->mss && !tcp_owe(c))) {
        tcp_send_ack(c);
    } else if (c->unacked_bytes > 0 && !c->owing && !c->ack_later) {
        tcp_ack_later(c);
    }
}

static void keep_timestamp(struct connection *c, const struct tcp_segment *s)
{
    if (c->timestamps && s->options.has_timestamps && seq_upto(s->seq, c->last_ack_sent) &&
        seq_upto(c->ts_recent, s->options.tsval)) { /* RFC 7323, 4.3 */
        c->ts_recent = s->options.tsval;
        c->ts_recent_at = c->stack->now;
    }
}

/* Timestamp, sequence number, RST, SYN: the checks before anything of the segment is believed. */
static bool believed(struct connection *c, struct tcp_segment *s)
{
    struct stack *stack = c->stack;
    if (c->timestamps && !(s->flags & TCP_RST)) {
        if (!s->options.has_timestamps) {
            COUNT_DROP(stack, tcp_no_timestamp);
            return false;
        }
        if (is_old_duplicate(c, s)) {
            COUNT_DROP(stack, tcp_paws);
            report_known(c, s);
            tcp_send_ack(c);
            return false;
        }
    }
    if (s->flags & TCP_RST) {
        reset_arrives(c, s);
        return false;
    }
    if (c->state == TCP_SYN_RECEIVED && (s->flags & TCP_SYN) && s->seq == c->irs) {
        if (!(s->flags & TCP_ACK)) { /* our answer was lost */
            tcp_send_syn(c);
            return false;
        }
        s->flags &= (uint8_t)~TCP_SYN; /* both opened at the same time: figure 8 of 3.5 */
        s->seq++;
    }
    if (s->flags & TCP_SYN) { /* RFC 5961, 4: whatever its number */
        COUNT_DROP(stack, tcp_syn_blind);
        tcp_challenge(c);
        return false;
    }
    if (!acceptable(c, s)) {
        COUNT_DROP(stack, tcp_window);
        report_known(c, s);
        if (segment_length(s) > 0)
            tcp_send_ack(c);
        else
            tcp_challenge(c); /* two that answer each other's ACKs would not end: the limit ends it */
        return false;
    }
    if (!(s->flags & TCP_ACK)) {
        COUNT_DROP(stack, tcp_flags);
        return false;
    }
    return true;
}

void tcp_segment_arrives(struct connection *c, struct tcp_segment *s)
{
    if (c->state == TCP_SYN_SENT) {
        tcp_syn_sent_arrives(c, s);
        return;
    }
    if (c->state == TCP_TIME_WAIT) {
        time_wait_arrives(c, s);
        return;
    }
    if (!believed(c, s))
        return;
    if (c->state == TCP_SYN_RECEIVED && !syn_received_arrives(c, s))
        return;
    if (!tcp_take_ack(c, s))
        return;
    keep_timestamp(c, s);
    c->heard_at = c->stack->now;
    c->probes = 0;
    if (!fin_acknowledged(c))
        return;
    tcp_take_data(c, s);
    if (c->state == TCP_CLOSED)
        return;
    if (c->fin_known && !c->fin_received && c->rcv_nxt == c->fin_at)
        fin_arrives(c);
    tcp_answer(c);
}
