/* fuzz_stack.c: whatever frames come, in whatever order, and whatever the caller does meanwhile, the stack stays sound.
 *
 * The input is a script of steps: a byte that says what, and its arguments; see step(). Segments are built around the
 * numbers that a connection expects, or almost nothing would get past the first checks: '@' is the expected one. Frames
 * as they are come by 'f'. After all of it time goes on until every connection must have ended: then nothing is left. */
#include "fuzz.h"
#include "tcp.h"

#include <signal.h>

#ifndef PLANTED_BUG
#define PLANTED_BUG 0
#endif

enum { SOCKETS = 4, PEER = 0x0a000002, OWN = 0x0a000001, TICK_US = 100 };

struct peer {
    struct stack *stack;
    uint64_t now;
    int listener, sockets[SOCKETS], count;
    bool no_room;
    uint32_t sent;
    uint8_t frame[WIRE_FRAME_MAX];
};

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct peer *peer = context;
    MUST(bytes <= WIRE_FRAME_MAX);
    return peer->no_room ? NULL : peer->frame;
}

/* What the stack sends is whole and right. */
static void commit(void *context, uint32_t bytes)
{
    struct peer *peer = context;
    const uint8_t *ip = peer->frame + WIRE_ETHERNET_BYTES;
    peer->sent++;
    MUST(bytes > WIRE_ETHERNET_BYTES && bytes <= WIRE_ETHERNET_BYTES + 1500);
    if (get16(peer->frame + 12) != ETHERNET_IPV4)
        return;
    MUST(get16(ip + IPV4_LENGTH) == bytes - WIRE_ETHERNET_BYTES && fold_sum(sum_bytes(ip, IPV4_BYTES)) == 0);
    uint32_t length = bytes - WIRE_ETHERNET_BYTES - IPV4_BYTES;
    if (ip[IPV4_PROTOCOL] == PROTOCOL_TCP)
        MUST(fold_sum(sum_bytes(ip + IPV4_BYTES, length) + sum_pseudo(ip + IPV4_SOURCE, PROTOCOL_TCP, length)) == 0);
}

static void check_flight(const struct connection *c)
{
    uint32_t at = c->snd_una, sacked = 0, lost = 0, runs = 0;
    const struct tcp_sent *last = NULL;
    for (const struct tcp_sent *run = c->flight.first; run != NULL; last = run, run = run->next) {
        MUST(run->left == at && seq_before(run->left, run->right) && !(run->sacked && run->lost));
        at = run->right;
        sacked += run->sacked ? run->right - run->left : 0;
        lost += run->lost ? run->right - run->left : 0;
        runs++;
    }
    MUST(last == c->flight.last && runs == c->flight.runs);
    MUST(sacked == c->flight.sacked && lost == c->flight.lost);
    MUST(runs == 0 || at == c->snd_nxt);
}

static void check(const struct connection *c)
{
    MUST(c->send.length <= c->send.limit && c->receive.length <= c->receive.limit);
    MUST(c->hole_count <= TCP_HOLES);
    if (c->state == TCP_CLOSED)
        return;
    MUST(c->hashed && c->state != TCP_LISTEN);
    MUST(seq_upto(c->snd_una, c->snd_nxt) && seq_upto(c->snd_nxt, c->snd_max));
    if (c->state < TCP_ESTABLISHED)
        return;
    MUST(seq_upto(c->snd_max, fin_seq(c) + c->fin_queued) || c->state == TCP_TIME_WAIT);
    MUST(c->cc.cwnd >= c->mss && c->mss >= TCP_MIN_MSS - 12);
    check_flight(c);
    for (unsigned i = 0; i < c->hole_count; i++)
        MUST(seq_before(c->rcv_nxt, c->holes[i].left) && seq_before(c->holes[i].left, c->holes[i].right));
    /* Data that may not be acknowledged must not be forgotten: somebody will wake. */
    bool outstanding = c->snd_una != c->snd_max;
    MUST(!outstanding || c->state == TCP_TIME_WAIT || timer_pending(&c->retransmit) || c->blocked);
}

/* For the test of the driver: states that only a sequence of right packets and calls leads to. */
static bool planted_bug(const struct connection *c)
{
    if (PLANTED_BUG == 1)
        return c->state == TCP_CLOSING && c->sack;
    if (PLANTED_BUG == 2)
        return c->hole_count > 2 && c->passive;
    return false;
}

static void check_all(const struct peer *peer)
{
    uint32_t used = 0, chunks = 0, half_open = 0;
    struct tcp_layer *layer = peer->stack->tcp;
    for (uint32_t i = 0; i < peer->stack->limits.connections; i++) {
        struct connection *c = &layer->connections[i];
        if (c->socket.kind != SOCKET_CONNECTION)
            continue;
        used++;
        half_open += c->listener != NULL && c->state == TCP_SYN_RECEIVED;
        check(c);
        if (planted_bug(c))
            raise(SIGUSR2);
        for (uint32_t s = 0; s < c->send.slot_count; s++)
            chunks += c->send.slots[s] != 0;
        for (uint32_t s = 0; s < c->receive.slot_count; s++)
            chunks += c->receive.slots[s] != 0;
    }
    MUST(used == layer->used && chunks == layer->chunks.used && half_open == layer->listeners[0].half_open);
}

static void arrive(struct peer *peer, const uint8_t *frame, uint32_t bytes)
{
    uint8_t *exactly = malloc(bytes + (bytes == 0));
    MUST(exactly != NULL);
    memcpy(exactly, frame, bytes);
    stack_input(peer->stack, exactly, bytes, FRAME_CHECKED); /* or hardly a mutant would get through */
    free(exactly);
}

static uint32_t ip_header(uint8_t *frame, uint8_t protocol, uint32_t bytes)
{
    static const uint8_t start[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64};
    memset(frame, 0, WIRE_ETHERNET_BYTES + IPV4_BYTES);
    memcpy(frame, start, sizeof start);
    uint8_t *ip = frame + WIRE_ETHERNET_BYTES;
    put16(ip + IPV4_LENGTH, IPV4_BYTES + bytes);
    ip[IPV4_PROTOCOL] = protocol;
    put32(ip + IPV4_SOURCE, PEER);
    put32(ip + IPV4_DESTINATION, OWN);
    return WIRE_ETHERNET_BYTES + IPV4_BYTES;
}

/* Near what is expected, or, with the high bit, far from it. */
static uint32_t off(uint8_t byte)
{
    int32_t by = (byte & 127) - '@';
    return byte & 128 ? (uint32_t)by * 0x1000003u : (uint32_t)by * 100u;
}

/* flags, seq, ack, window and options, length, and which connection */
static void segment(struct peer *peer, const uint8_t *a)
{
    uint8_t frame[WIRE_FRAME_MAX] = {0};
    struct tcp_tuple tuple = {PEER, OWN, (uint16_t)(5000 + (a[5] & 3)), 80};
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
    uint32_t header = TCP_BYTES + (uint32_t)(o - options), bytes = (a[4] & 15) * 90u, at = ip_header(frame, PROTOCOL_TCP, header + bytes);
    uint8_t *p = frame + at;
    put16(p + TCP_SOURCE, tuple.remote_port);
    put16(p + TCP_DESTINATION, tuple.local_port);
    put32(p + TCP_SEQ, seq);
    put32(p + TCP_ACKNOWLEDGMENT, ack);
    p[TCP_OFFSET] = (uint8_t)(header / 4 << 4);
    p[TCP_FLAGS] = a[0] & 63;
    put16(p + TCP_WINDOW, a[3] & 32 ? 0 : a[3] & 64 ? 200 : 20000);
    memcpy(p + TCP_BYTES, options, header - TCP_BYTES);
    arrive(peer, frame, at + header + bytes);
}

static void call(struct peer *peer, uint8_t what, uint8_t which)
{
    static uint8_t text[3000];
    int *socket = &peer->sockets[which % SOCKETS];
    switch (what & 7) {
    case 0:
        if (*socket < 0)
            *socket = us_accept(peer->stack, peer->listener, NULL);
        break;
    case 1:
        if (*socket < 0)
            *socket = us_connect(peer->stack, (struct us_endpoint){PEER, 90}, 4000);
        break;
    case 2:
        us_write(peer->stack, *socket, text, which * 11u, what & 8);
        break;
    case 3:
        us_read(peer->stack, *socket, text, which * 11u);
        break;
    case 4:
        us_shutdown_write(peer->stack, *socket);
        break;
    case 5:
        us_close(peer->stack, *socket);
        *socket = -1;
        break;
    case 6:
        us_abort(peer->stack, *socket);
        *socket = -1;
        break;
    case 7:
        us_set(peer->stack, *socket, which & 3, which & 4);
        us_interest(peer->stack, *socket, which & 3, 0);
        break;
    }
}

static void go_on(struct peer *peer, uint64_t ticks)
{
    uint64_t until = peer->now + ticks, due;
    while (stack_next(peer->stack, &due) && ticks_ahead(due, until) <= 0) {
        peer->now = due;
        stack_advance(peer->stack, due);
    }
    peer->now = until;
    stack_advance(peer->stack, until);
}

/* Returns how many bytes it took. */
static size_t step(struct peer *peer, const uint8_t *p, size_t left)
{
    struct us_event events[2];
    switch (p[0]) {
    case 's':
        if (left < 7)
            return left;
        segment(peer, p + 1);
        return 7;
    case 'c':
        if (left < 3)
            return left;
        call(peer, p[1], p[2]);
        return 3;
    case 't':
        if (left < 2)
            return left;
        go_on(peer, (uint64_t)1 << (p[1] & (peer->no_room ? 7 : 15))); /* without room it is tried again every tick */
        us_wait(peer->stack, events, 2);
        return 2;
    case 'w':
        peer->no_room = !peer->no_room;
        return 1;
    default: { /* 'f', length, a frame; or 'i', length, an IP packet from its protocol on */
        if (left < 3)
            return left;
        uint32_t bytes = p[1] < left - 2 ? p[1] : (uint32_t)left - 2;
        uint8_t frame[WIRE_FRAME_MAX];
        if (p[0] == 'i' && bytes > 3) {
            uint32_t at = ip_header(frame, p[2], bytes - 3);
            frame[WIRE_ETHERNET_BYTES + IPV4_FRAGMENT] = p[3] & 0x20;
            frame[WIRE_ETHERNET_BYTES + IPV4_FRAGMENT + 1] = p[4];
            memcpy(frame + at, p + 5, bytes - 3);
            arrive(peer, frame, at + bytes - 3);
        } else {
            arrive(peer, p + 2, bytes);
        }
        return 2 + bytes;
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct peer peer;
    peer = (struct peer){.now = 10000000};
    struct stack_limits limits = stack_default_limits();
    limits.connections = 6;
    limits.time_waits = 2;
    limits.syn_queue = 3;
    limits.listeners = 1;
    limits.chunks = 12;
    limits.runs = 8;
    limits.send_bytes = 8192;
    limits.receive_bytes = 4096;
    limits.packets = 8;
    limits.arp_entries = limits.paths = 8;
    limits.datagrams = 2;
    limits.datagram_bytes = 2048;
    limits.udp_sockets = 1;
    limits.udp_queue_bytes = 512;
    limits.congestion = size % 2 ? "reno" : "cubic";
    limits.keepalive_idle_ms = 500;
    limits.keepalive_interval_ms = 100;
    limits.timers = "list"; /* the smallest to open */
    struct wire wire = {.context = &peer, .reserve = reserve, .commit = commit, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}};
    struct stack_address address = {.ip = OWN, .netmask = 0xffffff00};
    peer.stack = stack_open(&limits, &wire, &address, peer.now);
    MUST(peer.stack != NULL);
    peer.listener = us_listen(peer.stack, 80, 3);
    for (int i = 0; i < SOCKETS; i++)
        peer.sockets[i] = -1;
    us_udp_open(peer.stack, 53);
    static const uint8_t question[] = {0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1};
    uint8_t frame[WIRE_ETHERNET_BYTES + sizeof question];
    ip_header(frame, 0, 0 * sizeof question);
    put16(frame + 12, ETHERNET_ARP);
    memcpy(frame + WIRE_ETHERNET_BYTES, question, sizeof question);
    arrive(&peer, frame, sizeof frame);

    for (size_t at = 0; at < size;) {
        at += step(&peer, data + at, size - at);
        check_all(&peer);
    }
    peer.no_room = false;
    for (int i = 0; i < SOCKETS; i++)
        us_close(peer.stack, peer.sockets[i]);
    us_close(peer.stack, peer.listener);
    go_on(&peer, (uint64_t)7200 * 1000000 / TICK_US);
    struct stack_usage usage = stack_usage(peer.stack);
    MUST(usage.connections == 0 && usage.chunks == 0 && usage.packets == 0 && usage.datagrams == 0 && usage.timers == 0);
    stack_close(peer.stack);
    return 0;
}
