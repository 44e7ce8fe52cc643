/* test_userstack_flood.c: a hundred thousand SYNs from made-up sources, while established connections move data and others
 * want to be let in: all of them are served as if nothing were, and the flood leaves nothing behind.
 *
 *     test_userstack_flood [--syns N]
 */
#include "check.h"
#include "inside.h"
#include "tcp.h"
#include "userstack_link.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum {
    ESTABLISHED = 8,
    SYNS_A_MS = 50,
    PART_BYTES = 1000, /* each way, of each connection, every PART_MS */
    PART_MS = 10,
    NEWCOMER_MS = 20, /* a newcomer comes so often, and has got its answer by the next one */
};

static const struct us_endpoint server = {0x0a000002, 80};

static uint8_t byte_at(unsigned stream, uint64_t place) { return (uint8_t)((place * 0x9e3779b97f4a7c15 + stream) >> 56); }

struct pair {
    int sockets[2]; /* at end 0, at end 1 */
    uint64_t written[2], read[2];
    bool wrong;
};

/* A SYN as end 1 sees it come from its gateway, or from a neighbour, with some or no options. */
static void inject(struct link *link, uint32_t source, unsigned number)
{
    static const uint8_t options[3][20] = {{0}, {2, 4, 5, 0xb4}, {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0, 1, 3, 3, 7}};
    static const uint32_t lengths[3] = {0, 4, 20};
    uint32_t length = TCP_BYTES + lengths[number % 3];
    if (source >> 24 == 127) /* nobody's, and refused before */
        source ^= 1u << 30;
    uint8_t frame[WIRE_ETHERNET_BYTES + IPV4_BYTES + TCP_BYTES + 20] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};
    uint8_t *ip = frame + WIRE_ETHERNET_BYTES, *tcp = ip + IPV4_BYTES;
    ip[0] = 0x45;
    put16(ip + IPV4_LENGTH, IPV4_BYTES + length);
    ip[IPV4_HOPS] = 64;
    ip[IPV4_PROTOCOL] = PROTOCOL_TCP;
    put32(ip + IPV4_SOURCE, source);
    put32(ip + IPV4_DESTINATION, server.ip);
    store_checksum(ip + IPV4_CHECKSUM, sum_bytes(ip, IPV4_BYTES));
    put16(tcp + TCP_SOURCE, 1024 + (uint32_t)(link_random(link) % 60000));
    put16(tcp + TCP_DESTINATION, server.port);
    put32(tcp + TCP_SEQ, (uint32_t)link_random(link));
    tcp[TCP_OFFSET] = (uint8_t)(length / 4 << 4);
    tcp[TCP_FLAGS] = TCP_SYN;
    put16(tcp + TCP_WINDOW, 65535);
    memcpy(tcp + TCP_BYTES, options[number % 3], lengths[number % 3]);
    store_checksum(tcp + TCP_CHECKSUM, sum_bytes(tcp, length) + sum_pseudo(ip + IPV4_SOURCE, PROTOCOL_TCP, length));
    stack_input(link->ends[1].stack, frame, WIRE_ETHERNET_BYTES + IPV4_BYTES + length, 0);
}

static void write_part(struct link *link, struct pair *pair, int end, unsigned stream)
{
    uint8_t part[PART_BYTES];
    for (uint32_t i = 0; i < sizeof part; i++)
        part[i] = byte_at(2 * stream + (unsigned)end, pair->written[end] + i);
    int taken = us_write(link->ends[end].stack, pair->sockets[end], part, sizeof part, false);
    pair->written[end] += taken > 0 ? (uint64_t)taken : 0;
}

static void read_parts(struct link *link, struct pair *pair, int end, unsigned stream)
{
    uint8_t part[4096];
    int got;
    while ((got = us_read(link->ends[end].stack, pair->sockets[end], part, sizeof part)) > 0) {
        for (int i = 0; i < got; i++)
            pair->wrong |= part[i] != byte_at(2 * stream + !end, pair->read[end] + (uint64_t)i);
        pair->read[end] += (uint64_t)got;
    }
    CHECK(got == -EAGAIN, "stream %u: %s", stream, strerror(-got));
}

/* One that is let in while the flood lasts: what it sends comes back. */
struct newcomer {
    int socket, accepted;
    unsigned came, served;
};

static void serve_newcomer(struct link *link, int listener, struct newcomer *n)
{
    struct stack *a = link->ends[0].stack, *b = link->ends[1].stack;
    uint8_t text[100];
    n->socket = us_connect(a, server, 0);
    n->came++;
    link_run(link, 2000);
    us_write(a, n->socket, "let me in", 9, false);
    link_run(link, 2000);
    n->accepted = us_accept(b, listener, NULL);
    int got = us_read(b, n->accepted, text, sizeof text);
    us_write(b, n->accepted, text, got > 0 ? (uint32_t)got : 0, false);
    link_run(link, 2000);
    n->served += us_read(a, n->socket, text, sizeof text) == 9 && memcmp(text, "let me in", 9) == 0;
    us_close(a, n->socket);
    us_close(b, n->accepted);
    link_run(link, 2000);
}

static struct stack_limits limits_of(void)
{
    struct stack_limits limits = stack_default_limits();
    limits.connections = 256;
    limits.time_waits = 32;
    limits.syn_queue = 64;
    limits.arp_entries = 64;
    limits.chunks = 512;
    limits.time_wait_ms = 1000;
    return limits;
}

/* Sources beyond the gateway, or made-up neighbours, each of which has to be asked for its address. */
static void flood(unsigned syns, bool neighbours)
{
    const char *what = neighbours ? "neighbours" : "strangers";
    struct stack_limits limits[2] = {limits_of(), limits_of()};
    struct link link;
    link_open(&link, limits, &(struct impairment){.delay_us = 100}, 8);
    struct stack *b = link.ends[1].stack;
    struct pair pairs[ESTABLISHED] = {0};
    struct newcomer newcomer = {0};
    int listener = us_listen(b, server.port, 64);
    for (int i = 0; i < ESTABLISHED; i++) {
        pairs[i].sockets[0] = us_connect(link.ends[0].stack, server, 0);
        link_run(&link, 10000);
        pairs[i].sockets[1] = us_accept(b, listener, NULL);
        NEED(pairs[i].sockets[0] >= 0 && pairs[i].sockets[1] >= 0);
    }
    size_t allocated = mallinfo2().uordblks;
    uint32_t most = 0;
    for (unsigned sent = 0, ms = 0; sent < syns; ms++) {
        for (unsigned i = 0; i < SYNS_A_MS && sent < syns; i++, sent++)
            inject(&link, neighbours ? 0x0a000003u + (uint32_t)(link_random(&link) % 250) : 0x0b000000u + (uint32_t)(link_random(&link) % 0xb0000000), sent);
        link_run(&link, 1000);
        for (unsigned i = 0; i < ESTABLISHED; i++) {
            for (int end = 0; end < 2; end++) {
                if (ms % PART_MS == 0)
                    write_part(&link, &pairs[i], end, i);
                read_parts(&link, &pairs[i], end, i);
            }
        }
        if (ms % NEWCOMER_MS == NEWCOMER_MS - 1)
            serve_newcomer(&link, listener, &newcomer);
        uint32_t used = stack_usage(b).connections;
        most = used > most ? used : most;
    }
    link_run(&link, 500000);
    const struct stack_counters *c = stack_counters(b);
    CHECK(mallinfo2().uordblks <= allocated + 65536, "%s: memory was taken", what); /* some frames lie in the allocator's caches */
    CHECK(most <= limits[1].syn_queue + ESTABLISHED + limits[1].time_waits + 2, "%s: %u connections at a time", what, most);
    CHECK(c->tcp_cookies_sent + limits[1].syn_queue + syns / 100 >= syns, "%s: %llu cookies", what, (unsigned long long)c->tcp_cookies_sent);
    CHECK(newcomer.came > 0 && newcomer.served == newcomer.came, "%s: %u of %u newcomers were served", what, newcomer.served, newcomer.came);
    CHECK(c->tcp_cookies_taken == newcomer.came, "%s: %llu by cookies", what, (unsigned long long)c->tcp_cookies_taken);
    for (int end = 0; end < 2; end++) {
        const struct stack_counters *of = stack_counters(link.ends[end].stack);
        CHECK(of->tcp_timeouts == 0 && of->tcp_retransmitted == 0 && link.ends[end].lost == 0,
              "%s, end %d: %llu time-outs, %llu retransmissions", what, end, (unsigned long long)of->tcp_timeouts,
              (unsigned long long)of->tcp_retransmitted);
    }
    for (unsigned i = 0; i < ESTABLISHED; i++) {
        for (int end = 0; end < 2; end++) {
            read_parts(&link, &pairs[i], end, i);
            CHECK(pairs[i].written[!end] > 0 && pairs[i].read[end] == pairs[i].written[!end] && !pairs[i].wrong,
                  "%s, connection %u: end %d read %llu of %llu bytes", what, i, end, (unsigned long long)pairs[i].read[end],
                  (unsigned long long)pairs[i].written[!end]);
        }
    }
    printf("%s: %u SYNs, %llu cookies, %u newcomers, %llu bytes each way of each connection\n", what, syns,
           (unsigned long long)c->tcp_cookies_sent, newcomer.served, (unsigned long long)pairs[0].read[0]);
    for (unsigned i = 0; i < ESTABLISHED; i++)
        for (int end = 0; end < 2; end++)
            us_close(link.ends[end].stack, pairs[i].sockets[end]);
    us_close(b, listener);
    link_run(&link, UINT64_C(300) * 1000000);
    for (int end = 0; end < 2; end++) {
        struct stack_usage u = stack_usage(link.ends[end].stack);
        CHECK(u.connections == 0 && u.chunks == 0 && u.packets == 0 && u.timers == 0,
              "%s, end %d: %u connections, %u chunks, %u packets, %u timers", what, end, u.connections, u.chunks, u.packets, u.timers);
    }
    link_close(&link);
}

int main(int argc, char **argv)
{
    unsigned syns = 100000;
    if (argc == 3 && strcmp(argv[1], "--syns") == 0)
        syns = (unsigned)strtoul(argv[2], NULL, 10);
    flood(syns, false);
    flood(syns / 4, true);
    return checks_failed != 0;
}
