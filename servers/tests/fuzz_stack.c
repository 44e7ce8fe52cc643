/* fuzz_stack.c: whatever frames come, in whatever order, and whatever the caller does meanwhile, the stack stays sound.
 *
 * The input is a script of steps: a byte that says what, and its arguments; see step(). Segments are built around the
 * numbers that a connection expects, or almost nothing would get past the first checks: '@' is the expected one. Frames
 * as they are come by 'f'. After all of it time goes on until every connection must have ended: then nothing is left. */
#include "fuzz_stack_checks.h"

#include <signal.h>

#ifndef PLANTED_BUG
#define PLANTED_BUG 0
#endif

enum { SOCKETS = 4, TICK_US = 100 };

struct peer {
    struct stack *stack;
    uint64_t now;
    int listener, sockets[SOCKETS];
    bool has_read[SOCKETS];
    uint32_t next_read[SOCKETS]; /* sequence number of what comes next */
    bool no_room;
    bool foreign; /* text came whose numbers nobody knows */
    uint8_t frame[WIRE_FRAME_MAX];
};

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct peer *peer = context;
    MUST(bytes <= WIRE_FRAME_MAX);
    return peer->no_room ? NULL : peer->frame;
}

static void commit(void *context, uint32_t bytes)
{
    struct peer *peer = context;
    sent_frame_must_be_right(peer->frame, bytes);
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
    stack_must_be_sound(peer->stack);
    for (uint32_t i = 0; PLANTED_BUG != 0 && i < peer->stack->limits.connections; i++) {
        const struct connection *c = &peer->stack->tcp->connections[i];
        if (c->socket.kind == SOCKET_CONNECTION && planted_bug(c))
            raise(SIGUSR2);
    }
}

static void arrive(struct peer *peer, const uint8_t *frame, uint32_t bytes)
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
static void segment(struct peer *peer, const uint8_t *a)
{
    uint8_t frame[WIRE_FRAME_MAX] = {0};
    struct tcp_tuple tuple = {FUZZ_PEER, FUZZ_OWN, (uint16_t)(5000 + (a[5] & 3)), 80};
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
    arrive(peer, frame, at + header + bytes);
}

/* All that is read is what was sent at its number, and follows what was read before. */
static void read_some(struct peer *peer, unsigned which, uint32_t bytes)
{
    uint8_t text[3000];
    const struct connection *c = &peer->stack->tcp->connections[peer->sockets[which]];
    uint32_t seq = unread_seq(c);
    int got = us_read(peer->stack, peer->sockets[which], text, bytes);
    for (int i = 0; i < got && !peer->foreign; i++)
        MUST(text[i] == text_at(seq + (uint32_t)i));
    if (got <= 0)
        return;
    MUST(seq == (peer->has_read[which] ? peer->next_read[which] : c->irs + 1));
    peer->has_read[which] = true;
    peer->next_read[which] = seq + (uint32_t)got;
}

static void write_some(struct peer *peer, int socket, uint32_t bytes, bool more)
{
    uint8_t text[3000];
    uint32_t seq = fin_seq(&peer->stack->tcp->connections[socket]);
    for (uint32_t i = 0; i < bytes; i++)
        text[i] = text_at(seq + i);
    us_write(peer->stack, socket, text, bytes, more);
}

static void call(struct peer *peer, uint8_t what, uint8_t which)
{
    unsigned place = which % SOCKETS;
    int *socket = &peer->sockets[place];
    if (*socket < 0 && (what & 7) > 1)
        return;
    switch (what & 7) {
    case 0:
        if (*socket < 0) {
            *socket = us_accept(peer->stack, peer->listener, NULL);
            peer->has_read[place] = false;
        }
        break;
    case 1:
        if (*socket < 0) {
            *socket = us_connect(peer->stack, (struct us_endpoint){FUZZ_PEER, 90}, 4000);
            peer->has_read[place] = false;
        }
        break;
    case 2:
        write_some(peer, *socket, which * 11u, what & 8);
        break;
    case 3:
        read_some(peer, place, which * 11u);
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
            uint32_t at = write_ip_header(frame, p[2], bytes - 3);
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
    struct wire wire = {.context = &peer, .reserve = reserve, .commit = commit, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}};
    peer.stack = open_small_stack(&wire, size % 2, peer.now);
    peer.listener = us_listen(peer.stack, 80, 3);
    for (int i = 0; i < SOCKETS; i++)
        peer.sockets[i] = -1;
    us_udp_open(peer.stack, 53);

    for (size_t at = 0; at < size;) {
        at += step(&peer, data + at, size - at);
        check_all(&peer);
    }
    peer.no_room = false;
    for (int i = 0; i < SOCKETS; i++)
        us_close(peer.stack, peer.sockets[i]);
    us_close(peer.stack, peer.listener);
    go_on(&peer, (uint64_t)7200 * 1000000 / TICK_US);
    stack_must_be_empty(peer.stack);
    stack_close(peer.stack);
    return 0;
}
