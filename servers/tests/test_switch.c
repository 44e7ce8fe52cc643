/* test_switch.c: ports of the switch: who gets one, and what reaches it. */
#include "bytes.h"
#include "check.h"
#include "switch_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { A = 0x0a000001, B, C, D, SLOTS = 128 };

int checks_failed;

static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static uint8_t frame[WIRE_FRAME_MAX];

static uint64_t of(const struct fabric *f, const struct guest *g, enum ledger_index index)
{
    return fixture_ledger(f, g, index);
}

/* Send it, and say how many of the guests have received something then. */
static unsigned reaches(struct fabric *f, struct guest *from, uint32_t bytes, struct guest *guests, unsigned count,
                        unsigned *last)
{
    uint8_t got[WIRE_FRAME_MAX];
    unsigned reached = 0;
    NEED(fixture_send(from, frame, bytes));
    fabric_turn(f);
    for (unsigned i = 0; i < count; i++) {
        uint32_t n = fixture_receive(&guests[i], got, NULL);
        if (n == 0)
            continue;
        CHECK(n == bytes && memcmp(got, frame, bytes) == 0, "guest %u got another frame", i);
        reached++;
        *last = i;
    }
    return reached;
}

static void test_who_gets_a_port(void)
{
    struct fabric *f = fixture_fabric(3, 16, 1, NULL);
    struct guest a, b, c, d;
    const struct hello good = {.magic = HELLO_MAGIC, .ip = A};
    struct hello bad[] = {good, good, good, good, good, good, good, good};
    bad[0].magic++;
    bad[1].ip = 0;
    bad[2].ip = 0x7f000001;
    bad[3].ip = 0xffffffff;
    bad[4].low = 5;
    bad[5].high = 5;
    bad[6].low = 6, bad[6].high = 5;
    bad[7].mac[0] = 1;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(fixture_ask(f, &a, &bad[i]) == EINVAL, "bad hello %u", i);
    for (size_t cut = 0; cut < sizeof good; cut++) {
        struct welcome welcome;
        int files[HELLO_DESCRIPTORS];
        CHECK(fabric_join(f, &good, cut, &welcome, files) == -EINVAL, "cut at %zu", cut);
    }
    CHECK(fixture_ask(f, &a, &good) == 0, "A");
    CHECK(fixture_ask(f, &b, &good) == EADDRINUSE, "A again");
    struct hello shared = {.magic = HELLO_MAGIC, .ip = A, .low = 1, .high = 9};
    CHECK(fixture_ask(f, &b, &shared) == EADDRINUSE, "A has all ports");
    shared.ip = B;
    CHECK(fixture_ask(f, &b, &shared) == 0, "B, ports 1 to 9");
    shared.low = 9, shared.high = 20;
    CHECK(fixture_ask(f, &c, &shared) == EADDRINUSE, "9 is taken");
    shared.low = 10;
    shared.mac[5] = 1;
    CHECK(fixture_ask(f, &c, &shared) == EADDRINUSE, "another MAC for one address");
    shared.mac[5] = 0;
    CHECK(fixture_ask(f, &c, &shared) == 0, "B, ports 10 to 20");
    CHECK(memcmp(b.mac, c.mac, 6) == 0 && memcmp(a.mac, b.mac, 6) != 0, "a MAC an address");
    CHECK(fixture_ask(f, &d, &(struct hello){.magic = HELLO_MAGIC, .ip = D}) == EUSERS, "no port is left");
    /* Neither side can take memory from under the other. */
    CHECK(ftruncate(a.memory_file, 0) != 0 && errno == EPERM, "sealed against shrinking");
    CHECK(ftruncate(a.memory_file, 1 << 30) != 0 && errno == EPERM, "sealed against growing");
    CHECK(fcntl(a.memory_file, F_ADD_SEALS, F_SEAL_WRITE) != 0, "and against more seals");
    fixture_leave(f, &a);
    CHECK(fixture_ask(f, &a, &good) == 0, "A is free again");
    fixture_leave(f, &b);
    CHECK(fixture_ask(f, &b, &(struct hello){.magic = HELLO_MAGIC, .ip = B}) == EADDRINUSE, "of B ports 10 to 20 are taken");
    shared.low = 1, shared.high = 9;
    CHECK(fixture_ask(f, &b, &shared) == 0, "B, ports 1 to 9, again");
    fixture_leave(f, &a), fixture_leave(f, &b), fixture_leave(f, &c);
    fabric_close(f);
}

static void test_addresses(void)
{
    struct fabric *f = fixture_fabric(8, SLOTS, 1, NULL);
    struct guest g[3];
    unsigned last = 9;
    for (uint32_t i = 0; i < 3; i++)
        fixture_join(f, &g[i], A + i);
    uint32_t bytes = fixture_udp(frame, &g[0], &g[1], 7, 8, 5, 1000);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 1 && last == 1, "to B");
    CHECK(of(f, &g[1], LEDGER_frames_out) == 1 && of(f, &g[1], LEDGER_bytes_out) == bytes, "B's account");
    CHECK(of(f, &g[0], LEDGER_frames_in) == 1 && of(f, &g[0], LEDGER_bytes_in) == bytes, "A's account");
    /* Only as itself. */
    fixture_udp(frame, &g[2], &g[1], 7, 8, 5, 10);
    CHECK(reaches(f, &g[0], 60, g, 3, &last) == 0 && of(f, &g[0], LEDGER_drop_spoofed) == 1, "as C");
    fixture_udp(frame, &g[0], &g[1], 7, 8, 5, 10);
    put32(frame + 26, C);
    CHECK(reaches(f, &g[0], 60, g, 3, &last) == 0 && of(f, &g[0], LEDGER_drop_spoofed) == 2, "from C's address");
    bytes = fixture_arp(frame, &g[0], 2, g[1].mac, B);
    put32(frame + 28, C);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 0 && of(f, &g[0], LEDGER_drop_spoofed) == 3, "as C by ARP");
    bytes = fixture_arp(frame, &g[0], 2, g[1].mac, B);
    memcpy(frame + 22, g[2].mac, 6);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 0 && of(f, &g[0], LEDGER_drop_spoofed) == 4, "with C's MAC by ARP");
    /* The address's MAC, or nobody's. */
    fixture_udp(frame, &g[0], &g[1], 7, 8, 5, 10);
    frame[5] ^= 1;
    CHECK(reaches(f, &g[0], 60, g, 3, &last) == 0 && of(f, &g[0], LEDGER_drop_unknown) == 1, "another MAC");
    fixture_udp(frame, &g[0], &g[1], 7, 8, 5, 10);
    put32(frame + 30, D);
    CHECK(reaches(f, &g[0], 60, g, 3, &last) == 0 && of(f, &g[0], LEDGER_drop_unknown) == 2, "nobody's address");
    put16(frame + 12, 0x86dd);
    CHECK(reaches(f, &g[0], 60, g, 3, &last) == 0 && of(f, &g[0], LEDGER_drop_type) == 1, "IPv6");
    fixture_udp(frame, &g[0], &g[1], 7, 8, 5, 10);
    for (uint32_t cut = 0; cut < 34; cut++)
        CHECK(reaches(f, &g[0], cut, g, 3, &last) == 0, "cut at %u", cut);
    CHECK(of(f, &g[0], LEDGER_drop_malformed) == 34, "%llu", (unsigned long long)of(f, &g[0], LEDGER_drop_malformed));
    /* A question goes to whom it is about. */
    bytes = fixture_arp(frame, &g[0], 1, everybody, C);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 1 && last == 2, "who has C");
    bytes = fixture_arp(frame, &g[2], 2, g[0].mac, A);
    CHECK(reaches(f, &g[2], bytes, g, 3, &last) == 1 && last == 0, "C has");
    bytes = fixture_arp(frame, &g[0], 1, everybody, D);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 0, "nobody has D");
    /* An announcement to all others, but not without end. */
    bytes = fixture_arp(frame, &g[0], 1, everybody, A);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 2, "announced");
    unsigned heard = 0;
    for (int i = 0; i < 1000; i++)
        heard += reaches(f, &g[0], bytes, g, 3, &last) == 2;
    CHECK(heard == FLOODS_AT_ONCE - 1, "%u announcements", heard);
    CHECK(of(f, &g[0], LEDGER_drop_flood) == 1000 - heard, "and the others counted");
    fixture_ns += 1000000000 / FLOODS_PER_S;
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 2, "some time later");
    bytes = fixture_arp(frame, &g[1], 1, everybody, B);
    CHECK(reaches(f, &g[1], bytes, g, 3, &last) == 2, "at the expense of no other");
    for (uint32_t i = 0; i < 3; i++)
        fixture_leave(f, &g[i]);
    fabric_close(f);
}

/* An ICMP error about a UDP packet that went from `quoted` to `from`. */
static uint32_t icmp_error(const struct guest *from, const struct guest *quoted, uint16_t quoted_port, uint16_t own_port)
{
    uint8_t inner[WIRE_FRAME_MAX], *icmp = frame + 34;
    fixture_udp(inner, quoted, from, quoted_port, own_port, 1, 0);
    fixture_udp(frame, from, quoted, 0, 0, 1, 20);
    frame[23] = 1;
    memset(icmp, 0, 8);
    icmp[0] = 3;
    memcpy(icmp + 8, inner + 14, 28);
    return 34 + 8 + 28;
}

static void test_shared_address(void)
{
    struct fabric *f = fixture_fabric(8, SLOTS, 1, NULL);
    struct guest g[3];
    unsigned last = 9;
    fixture_join(f, &g[0], A);
    for (uint16_t i = 0; i < 2; i++)
        NEED(fixture_ask(f, &g[i + 1], &(struct hello){.magic = HELLO_MAGIC, .ip = B, .low = (uint16_t)(1 + 100 * i),
                                                         .high = (uint16_t)(100 + 100 * i)}) == 0);
    for (uint16_t port = 1; port <= 200; port++) {
        uint32_t bytes = fixture_udp(frame, &g[0], &g[1], 7, port, 5, 10);
        CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 1 && last == 1 + (port - 1u) / 100, "port %u", port);
    }
    uint32_t bytes = fixture_udp(frame, &g[0], &g[1], 7, 201, 5, 10);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 0 && of(f, &g[0], LEDGER_drop_no_port) == 1, "nobody's port");
    put16(frame + 20, 0x2000);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 0 && of(f, &g[0], LEDGER_drop_fragment) == 1, "a fragment");
    bytes = fixture_udp(frame, &g[1], &g[0], 100, 7, 5, 10);
    CHECK(reaches(f, &g[1], bytes, g, 3, &last) == 1 && last == 0, "from its own port");
    bytes = fixture_udp(frame, &g[1], &g[0], 101, 7, 5, 10);
    CHECK(reaches(f, &g[1], bytes, g, 3, &last) == 0 && of(f, &g[1], LEDGER_drop_spoofed) == 1, "from the other's");
    bytes = icmp_error(&g[0], &g[2], 150, 9);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 1 && last == 2, "an error about what port 150 sent");
    bytes = icmp_error(&g[1], &g[0], 9, 50);
    CHECK(reaches(f, &g[1], bytes, g, 3, &last) == 1 && last == 0, "an error about what came to port 50");
    bytes = icmp_error(&g[1], &g[0], 9, 150);
    CHECK(reaches(f, &g[1], bytes, g, 3, &last) == 0 && of(f, &g[1], LEDGER_drop_spoofed) == 2, "about the other's");
    /* One is asked, and both hear the answer. */
    bytes = fixture_arp(frame, &g[0], 1, everybody, B);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 1 && last == 1, "who has B");
    bytes = fixture_arp(frame, &g[0], 2, g[1].mac, B);
    CHECK(reaches(f, &g[0], bytes, g, 3, &last) == 2, "A has");
    fixture_leave(f, &g[1]);
    bytes = fixture_arp(frame, &g[0], 1, everybody, B);
    CHECK(reaches(f, &g[0], bytes, &g[2], 1, &last) == 1, "the other answers now");
    fixture_leave(f, &g[0]), fixture_leave(f, &g[2]);
    fabric_close(f);
}

/* Two uplinks, of which only the numbers are there: what is between kernels goes by the MACs behind them. */
static void test_uplinks(void)
{
    static const uint8_t left[6] = {2, 0, 0, 0, 0, 1}, right[6] = {2, 0, 0, 0, 0, 2}, many[6] = {0x33, 0x33, 0, 0, 0, 1};
    struct fabric *f = fixture_fabric(4, SLOTS, 1, NULL);
    struct port *uplinks = f->ports;
    struct frame looked = {.bytes = 60, .head_bytes = 60};
    struct guest g, kernel = {.ip = D}, other = {.ip = C};
    struct verdict v;
    memcpy(kernel.mac, left, 6);
    memcpy(other.mac, right, 6);
    fixture_join(f, &g, A);
#define SEE(from, to, way, kind_, which_)                                                                              \
    do {                                                                                                               \
        fixture_udp(looked.head, from, to, 7, 8, 1, 0);                                                                \
        v = demux_frame(f, way, &looked);                                                                              \
        CHECK(v.kind == (kind_) && v.which == (uint32_t)(which_), "%d, %u", (int)v.kind, v.which);                     \
    } while (0)
    SEE(&g, &kernel, &f->ports[g.number], DEMUX_DROP, LEDGER_drop_unknown);
    uplinks[0].uplink = uplinks[1].uplink = true;
    f->uplinks = 1;
    SEE(&g, &kernel, &f->ports[g.number], DEMUX_PORT, 0);
    SEE(&kernel, &g, &uplinks[0], DEMUX_PORT, g.number);
    SEE(&kernel, &other, &uplinks[0], DEMUX_DROP, LEDGER_drop_unknown);
    f->uplinks = 2;
    SEE(&g, &kernel, &f->ports[g.number], DEMUX_UPLINKS, 0);
    SEE(&kernel, &g, &uplinks[0], DEMUX_PORT, g.number);
    SEE(&g, &kernel, &f->ports[g.number], DEMUX_PORT, 0);
    SEE(&kernel, &other, &uplinks[0], DEMUX_UPLINKS, 0);
    SEE(&other, &kernel, &uplinks[1], DEMUX_PORT, 0);
    SEE(&kernel, &other, &uplinks[0], DEMUX_PORT, 1);
    SEE(&other, &other, &uplinks[1], DEMUX_DROP, LEDGER_drop_unknown);
    memcpy(other.mac, many, 6);
    SEE(&kernel, &other, &uplinks[0], DEMUX_UPLINKS, 0);
    memcpy(other.mac, everybody, 6);
    SEE(&kernel, &other, &uplinks[0], DEMUX_ALL, 0);
#undef SEE
    /* Questions between kernels do not bother stacks; those about stacks bother no kernel. */
    fixture_arp(looked.head, &kernel, 1, everybody, C);
    CHECK(demux_frame(f, &uplinks[0], &looked).kind == DEMUX_UPLINKS, "who has C");
    fixture_arp(looked.head, &kernel, 1, everybody, A);
    v = demux_frame(f, &uplinks[0], &looked);
    CHECK(v.kind == DEMUX_PORT && v.which == g.number, "who has A");
    /* A checksum that a kernel left to its interface: the pseudo-header's is there. */
    uint32_t bytes = fixture_udp(frame, &kernel, &g, 7, 8, 77, 33);
    put16(frame + 40, 0x1234);
    CHECK(fixture_number(frame, bytes) == UINT32_MAX, "it is wrong");
    headers_finish(frame, bytes);
    CHECK(fixture_number(frame, bytes) == 77, "and finished");
    f->uplinks = 0;
    fixture_leave(f, &g);
    fabric_close(f);
}

/* Whatever the secret that scatters them: two kernels are both remembered. */
static void test_two_stations_at_one_place(void)
{
    struct guest left = {.ip = C, .mac = {2, 0, 0, 0, 0, 1}}, right = {.ip = D, .mac = {2, 0, 0, 0, 0, 2}};
    struct frame looked = {.bytes = 60, .head_bytes = 60};
    unsigned forgotten = 0;
    for (unsigned secrets = 0; secrets < 8000; secrets++) {
        struct fabric *f = fixture_fabric(1, 16, 1, NULL);
        f->ports[0].uplink = f->ports[1].uplink = true;
        f->uplinks = 2;
        fixture_udp(looked.head, &left, &right, 7, 8, 1, 0);
        demux_frame(f, &f->ports[0], &looked);
        fixture_udp(looked.head, &right, &left, 7, 8, 1, 0);
        forgotten += demux_frame(f, &f->ports[1], &looked).kind != DEMUX_PORT;
        f->uplinks = 0;
        fabric_close(f);
    }
    CHECK(forgotten == 0, "%u times", forgotten);
}

int main(void)
{
    fixture_ns = 1000000000;
    test_two_stations_at_one_place();
    test_who_gets_a_port();
    test_addresses();
    test_shared_address();
    test_uplinks();
    return checks_failed > 0;
}
