#include "fuzz_stack_peer.h"

void peer_arrive(struct peer *peer, const uint8_t *frame, uint32_t bytes)
{
    uint8_t *exactly = malloc(bytes + (bytes == 0));
    MUST(exactly != NULL);
    memcpy(exactly, frame, bytes);
    peer->foreign |= !fill_text(exactly, bytes);
    stack_input(peer->stack, exactly, bytes, FRAME_CHECKED); /* or hardly a mutant would get through */
    free(exactly);
}

/* Near what is expected, or, with the high bit, far from it. */
static uint32_t off(uint8_t byte)
{
    int32_t by = (byte & 127) - '@';
    return byte & 128 ? (uint32_t)by * 0x1000003u : (uint32_t)by * 100u;
}

/* flags, seq, ack, window and options, length, and which connection */
void peer_segment(struct peer *peer, const uint8_t *a)
{
    uint8_t frame[WIRE_FRAME_MAX] = {0};
    struct tcp_tuple tuple = {FUZZ_PEER, FUZZ_OWN, (uint16_t)(5000 + (a[5] & 3) + (a[5] & 8)), 80};
    if (a[5] & 4) { /* the stack's own attempt */
        tuple.remote_port = 90;
        tuple.local_port = 4000;
    }
    const struct connection *c = tcp_find(peer->stack, &tuple);
    uint32_t seq = (c == NULL ? 7000 : c->rcv_nxt) + off(a[1]), ack = (c == NULL ? 0 : c->snd_max) + off(a[2]);
    uint8_t options[TCP_OPTIONS_MAX] = {0}, *o = options;
    if (a[0] & TCP_SYN) {
        static const uint8_t syn[] = {2, 4, 2, 0, 1, 3, 3, 4, 1, 1, 4, 2};
        uint32_t some = a[3] & 8 ? 12 : a[3] & 4 ? 4 : 0;
        memcpy(o, syn, some);
        o += some;
    }
    if (a[3] & 2) {
        static const uint8_t start[] = {1, 1, 8, 10};
        memcpy(o, start, sizeof start);
        put32(o + 4, (uint32_t)peer->now / 10 + (a[3] & 128 ? 0u - 1000u : 0));
        put32(o + 8, c == NULL ? 0 : tcp_clock(peer->stack) + c->ts_offset);
        o += 12;
    }
    if (a[3] & 16) {
        static const uint8_t start[] = {1, 1, 5, 10};
        memcpy(o, start, sizeof start);
        uint32_t left = (c == NULL ? 0 : c->snd_una) + off(a[4] & 127);
        put32(o + 4, left);
        put32(o + 8, left + 300u * (a[1] & 7));
        o += 12;
    }
    uint32_t header = TCP_BYTES + (uint32_t)(o - options), bytes = (a[4] & 15) * 90u, at = write_ip_header(frame, PROTOCOL_TCP, header + bytes);
    uint8_t *p = frame + at;
    put16(p + TCP_SOURCE, tuple.remote_port);
    put16(p + TCP_DESTINATION, tuple.local_port);
    put32(p + TCP_SEQ, seq);
    put32(p + TCP_ACKNOWLEDGMENT, ack);
    p[TCP_OFFSET] = (uint8_t)(header / 4 << 4);
    p[TCP_FLAGS] = a[0] & 63;
    put16(p + TCP_WINDOW, a[3] & 32 ? 0 : a[3] & 64 ? 200 : 20000);
    memcpy(p + TCP_BYTES, options, header - TCP_BYTES);
    peer_arrive(peer, frame, at + header + bytes);
}

/* What ends the handshake that the last SYN-ACK belongs to, as who got that would send it. */
void peer_answer(struct peer *peer, uint8_t length)
{
    uint8_t frame[WIRE_FRAME_MAX] = {0};
    const uint8_t *theirs = peer->syn_ack + WIRE_ETHERNET_BYTES + IPV4_BYTES;
    bool stamped = theirs[TCP_BYTES] == 2 && theirs[TCP_BYTES + 4] != 1 && theirs[TCP_OFFSET] >> 4 > 7;
    uint32_t header = TCP_BYTES + (stamped ? 12u : 0), bytes = (length & 15) * 90u,
             at = write_ip_header(frame, PROTOCOL_TCP, header + bytes);
    uint8_t *p = frame + at;
    memcpy(p + TCP_SOURCE, theirs + TCP_DESTINATION, 2);
    memcpy(p + TCP_DESTINATION, theirs + TCP_SOURCE, 2);
    memcpy(p + TCP_SEQ, theirs + TCP_ACKNOWLEDGMENT, 4);
    put32(p + TCP_ACKNOWLEDGMENT, get32(theirs + TCP_SEQ) + 1);
    p[TCP_OFFSET] = (uint8_t)(header / 4 << 4);
    p[TCP_FLAGS] = TCP_ACK;
    put16(p + TCP_WINDOW, 20000);
    for (uint32_t i = TCP_BYTES; stamped && i + 10 <= (theirs[TCP_OFFSET] >> 4) * 4u; i++)
        if (theirs[i] == 8 && theirs[i + 1] == 10) {
            static const uint8_t start[] = {1, 1, 8, 10};
            memcpy(p + TCP_BYTES, start, sizeof start);
            put32(p + TCP_BYTES + 4, (uint32_t)peer->now / 10);
            memcpy(p + TCP_BYTES + 8, theirs + i + 2, 4);
            break;
        }
    peer_arrive(peer, frame, at + header + bytes);
}

/* An ICMP error about what was sent last. */
void peer_complain(struct peer *peer, uint8_t code, uint8_t mtu)
{
    enum { QUOTED = IPV4_BYTES + 8 };
    uint8_t frame[WIRE_FRAME_MAX] = {0};
    uint32_t at = write_ip_header(frame, PROTOCOL_ICMP, 8 + QUOTED);
    uint8_t *p = frame + at;
    p[0] = code & 16 ? 11 : 3;
    p[1] = code & 15;
    put16(p + 6, mtu * 8u);
    memcpy(p + 8, peer->last + WIRE_ETHERNET_BYTES, QUOTED);
    peer_arrive(peer, frame, at + 8 + QUOTED);
}

/* A neighbour answers, or asks. */
void peer_resolve(struct peer *peer, uint8_t who)
{
    static const uint8_t start[] = {0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2};
    uint8_t frame[WIRE_ETHERNET_BYTES + IPV4_BYTES + 28];
    write_ip_header(frame, 0, 0);
    put16(frame + 12, ETHERNET_ARP);
    uint8_t *p = frame + WIRE_ETHERNET_BYTES;
    memset(p, 0, 28);
    memcpy(p, start, sizeof start);
    p[7] = who & 64 ? 1 : 2;
    p[13] = who;
    put32(p + 14, FUZZ_PEER + (who & 31));
    put32(p + 24, FUZZ_OWN);
    peer_arrive(peer, frame, WIRE_ETHERNET_BYTES + 28);
}
