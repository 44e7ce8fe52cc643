/* tcp_reset.c: segments of no connection: resets, answers to half-open ones; and challenge ACKs. */
#include "tcp.h"

void tcp_send_bare(struct stack *stack, const struct tcp_tuple *tuple, uint32_t seq, uint32_t ack, uint8_t flags,
                   uint32_t window, const uint8_t *options, uint32_t option_bytes)
{
    struct ip_output out;
    uint32_t header = TCP_BYTES + option_bytes;
    enum ip_result result = ipv4_begin(stack, &out, tuple->remote, header);
    if (result == IP_WIRE_FULL)
        COUNT_DROP(stack, wire_full);
    if (result != IP_OK)
        return;
    uint8_t *p = out.data;
    put16(p + TCP_SOURCE, tuple->local_port);
    put16(p + TCP_DESTINATION, tuple->remote_port);
    put32(p + TCP_SEQ, seq);
    put32(p + TCP_ACKNOWLEDGMENT, ack);
    p[TCP_OFFSET] = (uint8_t)(header / 4 << 4);
    p[TCP_FLAGS] = flags;
    put16(p + TCP_WINDOW, window);
    put32(p + TCP_CHECKSUM, 0);
    if (option_bytes > 0)
        memcpy(p + TCP_BYTES, options, option_bytes);
    uint8_t addresses[8];
    put32(addresses, stack->address.ip);
    put32(addresses + 4, tuple->remote);
    store_checksum(p + TCP_CHECKSUM, sum_bytes(p, header) + sum_pseudo(addresses, PROTOCOL_TCP, header));
    ipv4_end(stack, &out, PROTOCOL_TCP, tuple->remote);
    COUNT(stack, tcp_sent);
}

/* 3.10.7.1: so that the peer believes it. */
void tcp_reset_for(struct stack *stack, const struct tcp_segment *s)
{
    if (s->flags & TCP_RST)
        return;
    struct tcp_tuple tuple = {s->source, stack->address.ip, s->source_port, s->destination_port};
    COUNT(stack, tcp_resets_sent);
    if (s->flags & TCP_ACK)
        tcp_send_bare(stack, &tuple, s->ack, 0, TCP_RST, 0, NULL, 0);
    else
        tcp_send_bare(stack, &tuple, 0, s->seq + segment_length(s), TCP_RST | TCP_ACK, 0, NULL, 0);
}

/* RFC 5961, 7: so many a second. Each connection has a count of its own: one that all share tells whoever uses it up with
 * a connection of his own whether his guess at another's was right (Cao et al. 2016, CVE-2016-5696), be the limit varied
 * or not, since he may send a guess as often as it takes. */
void tcp_challenge(struct connection *c)
{
    struct stack *stack = c->stack;
    uint64_t second = now_us(stack) / 1000000;
    if (c->challenge_second != second) {
        c->challenge_second = second;
        c->challenges = 0;
    }
    if (c->challenges >= stack->limits.challenges_per_s) {
        COUNT(stack, tcp_challenges_limited);
        return;
    }
    c->challenges++;
    COUNT(stack, tcp_challenges);
    tcp_send_ack(c);
}
