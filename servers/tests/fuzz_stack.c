/* fuzz_stack.c: whatever frames come, in whatever order, and whatever the caller does meanwhile, the stack stays sound.
 *
 * The input is a script of steps: a byte that says what, and its arguments; see step(). Segments are built around the
 * numbers that a connection expects, or almost nothing would get past the first checks: '@' is the expected one. Frames
 * as they are come by 'f'. After all of it time goes on until every connection must have ended: then nothing is left. */
#include "fuzz_stack_peer.h"

#include <signal.h>

#ifndef PLANTED_BUG
#define PLANTED_BUG 0
#endif

enum { STEPS_MOST = 200 }; /* more only take longer */

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct peer *peer = context;
    MUST(bytes <= WIRE_FRAME_MAX);
    return peer->no_room ? NULL : peer->frame;
}

static void commit(void *context, uint32_t bytes)
{
    struct peer *peer = context;
    const uint8_t *ip = peer->frame + WIRE_ETHERNET_BYTES, *tcp = ip + IPV4_BYTES;
    sent_frame_must_be_right(peer->frame, bytes);
    if (get16(peer->frame + 12) != ETHERNET_IPV4)
        return;
    memcpy(peer->last, peer->frame, bytes < sizeof peer->last ? bytes : sizeof peer->last);
    if (ip[IPV4_PROTOCOL] == PROTOCOL_TCP && (tcp[TCP_FLAGS] & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK))
        memcpy(peer->syn_ack, peer->frame, bytes < sizeof peer->syn_ack ? bytes : sizeof peer->syn_ack);
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

static void datagram(struct peer *peer, uint8_t what, uint8_t length)
{
    uint8_t text[2048] = {0};
    struct us_endpoint to = {FUZZ_PEER + (what >> 2 & 31), 53}, from;
    switch (what & 3) {
    case 0:
        us_udp_send(peer->stack, peer->udp, text, length * 8u, to);
        break;
    case 1:
        us_udp_receive(peer->stack, peer->udp, text, length * 8u, &from);
        break;
    case 2:
        us_interest(peer->stack, peer->udp, length & 31, 0);
        break;
    case 3:
        us_close(peer->stack, peer->udp);
        peer->udp = us_udp_open(peer->stack, length & 1 ? 53 : 0);
        break;
    }
}

static void set_option(struct peer *peer, uint8_t which, uint8_t value)
{
    static const uint32_t units[] = {[US_USER_TIMEOUT_MS] = 20, [US_MSS] = 8};
    enum us_option option = (enum us_option)((which & 7) % (US_MSS + 1));
    int socket = which & 8 ? peer->listener : peer->sockets[(which >> 4) % SOCKETS];
    us_set(peer->stack, socket, option, units[option] == 0 ? value & 1 : value * units[option]);
}

static void ask(struct peer *peer, uint8_t which)
{
    struct us_info info;
    struct us_endpoint end;
    int socket = which & 8 ? peer->listener : peer->sockets[which % SOCKETS];
    us_readiness(peer->stack, socket);
    us_connect_result(peer->stack, socket);
    us_local(peer->stack, socket, &end);
    us_peer(peer->stack, socket, &end);
    if (us_info(peer->stack, socket, &info) == 0)
        MUST(info.sacked_bytes + info.lost_bytes <= info.unacked_bytes);
    us_interest(peer->stack, socket, which >> 3, 0);
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
            *socket = us_connect(peer->stack, (struct us_endpoint){FUZZ_PEER + (which >> 2 & 31), 90}, which & 128 ? 0 : 4000);
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

static bool among(uint8_t what, const char *those) { return what != 0 && strchr(those, what) != NULL; }

/* How many bytes a step has; a frame has three and more. */
static size_t least_bytes(uint8_t what)
{
    return what == 's' ? 7 : among(what, "takh") ? 2 : among(what, "wb") ? 1 : 3;
}

/* How many bytes a step takes; the last may be unfinished, or its frame shorter than it says. */
static size_t step_bytes(const uint8_t *p, size_t left)
{
    size_t bytes = among(p[0], "scquotakhwb") || left < 2 || p[1] < 2 ? least_bytes(p[0]) : 2u + p[1];
    return bytes < left ? bytes : left;
}

/* A step that is whole: its first byte says what, the others are its arguments. */
static void step(struct peer *peer, const uint8_t *p, size_t bytes)
{
    struct us_event events[2];
    if (bytes < least_bytes(p[0]))
        return;
    if (among(p[0], "ctuoh"))
        stack_batch_end(peer->stack); /* what lay there together are frames */
    switch (p[0]) {
    case 'b':
        stack_batch(peer->stack);
        break;
    case 's':
        peer_segment(peer, p + 1);
        break;
    case 'c':
        call(peer, p[1], p[2]);
        break;
    case 't':
        go_on(peer, (uint64_t)1 << (p[1] & (peer->no_room ? 7 : 15))); /* without room it is tried again every tick */
        us_wait(peer->stack, events, 2);
        break;
    case 'w':
        peer->no_room = !peer->no_room;
        break;
    case 'k':
        peer_answer(peer, p[1]);
        break;
    case 'q':
        peer_complain(peer, p[1], p[2]);
        break;
    case 'a':
        peer_resolve(peer, p[1]);
        break;
    case 'u':
        datagram(peer, p[1], p[2]);
        break;
    case 'o':
        set_option(peer, p[1], p[2]);
        break;
    case 'h':
        ask(peer, p[1]);
        break;
    default: { /* 'f', length, a frame; or 'i', length, an IP packet from its protocol on */
        uint32_t length = (uint32_t)bytes - 2;
        uint8_t frame[WIRE_FRAME_MAX];
        if (p[0] == 'i' && length > 3) {
            uint32_t at = write_ip_header(frame, p[2], length - 3);
            frame[WIRE_ETHERNET_BYTES + IPV4_FRAGMENT] = p[3] & 0x20;
            frame[WIRE_ETHERNET_BYTES + IPV4_FRAGMENT + 1] = p[4];
            memcpy(frame + at, p + 5, length - 3);
            peer_arrive(peer, frame, at + length - 3);
        } else {
            peer_arrive(peer, p + 2, length);
        }
    }
    }
}

size_t fuzz_part(const uint8_t *data, size_t size, size_t *at)
{
    size_t begin = 0, length;
    while (length = step_bytes(data + begin, size - begin), begin + length <= *at)
        begin += length;
    *at = begin;
    return length;
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
    peer.udp = us_udp_open(peer.stack, 53);

    unsigned steps = 0;
    for (size_t at = 0, bytes; at < size && steps < STEPS_MOST; at += bytes, steps++) {
        bytes = step_bytes(data + at, size - at);
        step(&peer, data + at, bytes);
        check_all(&peer);
    }
    stack_batch_end(peer.stack);
    peer.no_room = false;
    for (int i = 0; i < SOCKETS; i++)
        us_close(peer.stack, peer.sockets[i]);
    us_close(peer.stack, peer.listener);
    us_close(peer.stack, peer.udp);
    go_on(&peer, (uint64_t)7200 * 1000000 / TICK_US);
    stack_must_be_empty(peer.stack);
    stack_close(peer.stack);
    return 0;
}
