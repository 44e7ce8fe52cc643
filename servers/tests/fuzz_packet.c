/* fuzz_packet.c: one frame, whatever is in it, at a stack in one of a few states.
 *
 * The input's first byte says which state, its second what of the frame is put right before it arrives, or almost none
 * would get past a checksum; the rest is the frame, from its Ethernet header on. What is not put right is to be refused,
 * and counted, as ledger_must_close() asks. */
#include "fuzz_stack_checks.h"

enum state { LISTENING, ESTABLISHED, WITH_A_HOLE, OPENING, UDP_ONLY, STATES };
enum repair { ADDRESSES = 1, LENGTHS = 2, IP_SUM = 4, SUM = 8, NUMBERS = 16, CHECKED = 32, TWICE = 64 };

struct target {
    struct stack *stack;
    uint64_t now;
    int listener, socket;
    uint8_t frame[WIRE_FRAME_MAX];
};

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct target *t = context;
    MUST(bytes <= WIRE_FRAME_MAX);
    return t->frame;
}

static void commit(void *context, uint32_t bytes)
{
    struct target *t = context;
    sent_frame_must_be_right(t->frame, bytes);
}

static void go_on(struct target *t, uint64_t ticks)
{
    uint64_t until = t->now + ticks, due;
    while (stack_next(t->stack, &due) && ticks_ahead(due, until) <= 0) {
        t->now = due;
        stack_advance(t->stack, due);
    }
    t->now = until;
    stack_advance(t->stack, until);
}

static void send(struct target *t, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t bytes)
{
    static const uint8_t options[] = {2, 4, 5, 0xb4, 4, 2, 1, 1};
    uint8_t frame[WIRE_FRAME_MAX] = {0};
    uint32_t header = TCP_BYTES + (flags & TCP_SYN ? sizeof options : 0), at = write_ip_header(frame, PROTOCOL_TCP, header + bytes);
    uint8_t *p = frame + at;
    put16(p + TCP_SOURCE, 5000);
    put16(p + TCP_DESTINATION, 80);
    put32(p + TCP_SEQ, seq);
    put32(p + TCP_ACKNOWLEDGMENT, ack);
    p[TCP_OFFSET] = (uint8_t)(header / 4 << 4);
    p[TCP_FLAGS] = flags;
    put16(p + TCP_WINDOW, 20000);
    memcpy(p + TCP_BYTES, options, header - TCP_BYTES);
    fill_text(frame, at + header + bytes);
    stack_input(t->stack, frame, at + header + bytes, FRAME_CHECKED);
}

static struct connection *the_connection(const struct target *t)
{
    struct tcp_tuple passive = {FUZZ_PEER, FUZZ_OWN, 5000, 80}, active = {FUZZ_PEER, FUZZ_OWN, 90, 4000};
    struct connection *c = tcp_find(t->stack, &passive);
    return c != NULL ? c : tcp_find(t->stack, &active);
}

static void prepare(struct target *t, enum state state)
{
    uint8_t text[3000];
    if (state == UDP_ONLY || state == OPENING)
        us_udp_open(t->stack, 53);
    if (state == OPENING)
        t->socket = us_connect(t->stack, (struct us_endpoint){FUZZ_PEER, 90}, 4000);
    if (state != ESTABLISHED && state != WITH_A_HOLE)
        return;
    send(t, TCP_SYN, 7000, 0, 0);
    struct connection *c = the_connection(t);
    MUST(c != NULL);
    send(t, TCP_ACK, 7001, c->snd_max, 0);
    t->socket = us_accept(t->stack, t->listener, NULL);
    MUST(t->socket >= 0);
    for (uint32_t i = 0; i < sizeof text; i++)
        text[i] = text_at(fin_seq(c) + i);
    us_write(t->stack, t->socket, text, sizeof text, false);
    send(t, TCP_ACK, 7001, c->snd_una, 300);
    if (state == WITH_A_HOLE) {
        send(t, TCP_ACK, 7601, c->snd_una, 300);
        send(t, TCP_ACK, 8201, c->snd_una, 300);
    }
}

/* Put right what the input asks for, from the inside out. */
static void put_right(const struct target *t, uint8_t *frame, uint32_t bytes, unsigned what)
{
    static const uint8_t addresses[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    uint8_t *ip = frame + WIRE_ETHERNET_BYTES;
    if (bytes < WIRE_ETHERNET_BYTES + IPV4_BYTES)
        return;
    uint32_t header = (ip[0] & 15) * 4u, all = bytes - WIRE_ETHERNET_BYTES;
    bool in_ip = get16(frame + 12) == ETHERNET_IPV4;
    if (what & ADDRESSES) {
        memcpy(frame, addresses, sizeof addresses);
        if (in_ip)
            put32(ip + IPV4_DESTINATION, FUZZ_OWN);
        if (in_ip)
            put32(ip + IPV4_SOURCE, FUZZ_PEER);
    }
    if (!in_ip)
        return;
    if (what & LENGTHS)
        put16(ip + IPV4_LENGTH, all);
    if (header >= IPV4_BYTES && header < all) {
        uint8_t *p = ip + header;
        uint32_t length = all - header;
        const struct connection *c = the_connection(t);
        if (ip[IPV4_PROTOCOL] == PROTOCOL_TCP && length >= TCP_BYTES) {
            if (what & NUMBERS && c != NULL) {
                put16(p + TCP_SOURCE, c->tuple.remote_port);
                put16(p + TCP_DESTINATION, c->tuple.local_port);
                put32(p + TCP_SEQ, c->rcv_nxt + (p[TCP_SEQ + 3] & 7) * 100u);
                put32(p + TCP_ACKNOWLEDGMENT, c->snd_max - (p[TCP_ACKNOWLEDGMENT + 3] & 7) * 100u);
            }
            fill_text(frame, bytes);
        }
        if (what & SUM && ip[IPV4_PROTOCOL] == PROTOCOL_UDP && length >= 8)
            put16(p + 4, length);
        uint32_t at = ip[IPV4_PROTOCOL] == PROTOCOL_TCP ? TCP_CHECKSUM : ip[IPV4_PROTOCOL] == PROTOCOL_UDP ? 6 : 2;
        if (what & SUM && length >= at + 2) {
            put16(p + at, 0);
            bool pseudo = ip[IPV4_PROTOCOL] != PROTOCOL_ICMP;
            store_checksum(p + at, sum_bytes(p, length) + (pseudo ? sum_pseudo(ip + IPV4_SOURCE, ip[IPV4_PROTOCOL], length) : 0));
        }
    }
    if (what & IP_SUM && header >= IPV4_BYTES && header <= all) {
        put16(ip + IPV4_CHECKSUM, 0);
        store_checksum(ip + IPV4_CHECKSUM, sum_bytes(ip, header));
    }
}

static void arrive(struct target *t, const uint8_t *data, uint32_t bytes, unsigned what)
{
    uint8_t *exactly = malloc(bytes + (bytes == 0));
    MUST(exactly != NULL);
    memcpy(exactly, data, bytes);
    put_right(t, exactly, bytes, what);
    stack_input(t->stack, exactly, bytes, what & CHECKED ? FRAME_CHECKED : 0);
    free(exactly);
    stack_must_be_sound(t->stack);
}

/* What is read is what was sent. */
static void read_all(struct target *t)
{
    uint8_t text[4096];
    if (t->socket < 0 || us_state(t->stack, t->socket) < 0)
        return;
    uint32_t seq = unread_seq(&t->stack->tcp->connections[t->socket]);
    int got = us_read(t->stack, t->socket, text, sizeof text);
    for (int i = 0; i < got; i++)
        MUST(text[i] == text_at(seq + (uint32_t)i));
}

/* State, repairs, the fields of the Ethernet header, and words of four bytes, as all headers above have. */
size_t fuzz_part(const uint8_t *data, size_t size, size_t *at)
{
    static const uint8_t fields[] = {0, 1, 2, 8, 14, 16};
    (void)data;
    size_t begin = *at / 4 * 4, end = begin + 4;
    for (unsigned i = 0; i + 1 < sizeof fields && *at < fields[sizeof fields - 1]; i++)
        if (*at >= fields[i]) {
            begin = fields[i];
            end = fields[i + 1];
        }
    *at = begin;
    return (end < size ? end : size) - begin;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target t;
    if (size < 2)
        return 0;
    t = (struct target){.now = 10000000, .socket = -1};
    struct wire wire = {.context = &t, .reserve = reserve, .commit = commit, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}};
    t.stack = open_small_stack(&wire, size % 2, t.now);
    t.listener = us_listen(t.stack, 80, 3);
    prepare(&t, (enum state)(data[0] % STATES));
    uint32_t bytes = (uint32_t)(size - 2 < WIRE_FRAME_MAX ? size - 2 : WIRE_FRAME_MAX);
    arrive(&t, data + 2, bytes, data[1]);
    if (data[1] & TWICE)
        arrive(&t, data + 2, bytes, data[1]);
    read_all(&t);
    go_on(&t, 20000);
    stack_must_be_sound(t.stack);
    us_close(t.stack, t.socket);
    us_close(t.stack, t.listener);
    go_on(&t, UINT64_C(7200) * 10000);
    stack_must_be_empty(t.stack);
    stack_close(t.stack);
    return 0;
}
