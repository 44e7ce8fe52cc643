/* fuzz_switch.c: whatever a stack says to the switch and writes into the memory that it shares with it, whenever: the switch
 * neither goes astray nor round in circles, others' frames arrive as they were sent, and nothing reaches them that is not
 * from whom it says.
 *
 * The input is a script of steps: a byte that says what, and its arguments; see step(). Two honest stacks exchange frames
 * meanwhile, over a way that is impaired, or not.
 */
#include "bytes.h"
#include "fuzz.h"
#include "switch_fixture.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef PLANTED_BUG
#define PLANTED_BUG 0
#endif

enum { HOSTILE = 0x0a000001, SECOND, ONE, OTHER, SLOTS = 16, PORTS = 5, HOSTILES = 2, STEP_NS = 1000 };

int checks_failed;

struct scene {
    struct fabric *fabric;
    struct guest hostile[HOSTILES], one, other;
    bool there[HOSTILES];
    uint32_t sent, received; /* by the honest, from each other */
    uint32_t others;         /* received by them from the hostile */
    const uint8_t *at, *end;
};

static uint32_t take(struct scene *s) { return s->at < s->end ? *s->at++ : 0; }

static uint32_t take16(struct scene *s)
{
    uint32_t high = take(s);
    return high << 8 | take(s);
}

/* What an honest one receives is from another honest one, or from a hostile one under its own name. */
static void receive(struct scene *s, struct guest *g)
{
    uint8_t frame[WIRE_FRAME_MAX];
    unsigned flags;
    for (uint32_t n; (n = fixture_receive(g, frame, &flags)) > 0;) {
        uint32_t type = n < 14 ? 0 : get16(frame + 12);
        MUST(type == 0x0800 || type == 0x0806);
        MUST(n >= (type == 0x0800 ? 34 : 42));
        uint32_t source = get32(frame + (type == 0x0800 ? 26 : 28));
        uint8_t mac[6] = {2, 0x53, frame[8], frame[9], frame[10], frame[11]};
        MUST(memcmp(mac, frame + 6, 6) == 0);
        MUST(type != 0x0806 || memcmp(frame + 6, frame + 22, 6) == 0);
        MUST(get32(frame + 8) == source || source == 0 || flags == 0);
        MUST(source != g->ip || flags == 0);
        if (type == 0x0800 && (source == ONE || source == OTHER)) {
            MUST(fixture_number(frame, n) != UINT32_MAX || flags == 0);
            s->received++;
        } else {
            s->others++;
        }
    }
}

/* For the test of the driver: what only a sequence of sensible steps leads to. */
static bool planted_bug(const struct scene *s)
{
    if (PLANTED_BUG == 1) /* frames with a length that cannot be, among those that arrive */
        return s->there[0] && s->others > 1 && fixture_ledger(s->fabric, &s->hostile[0], LEDGER_drop_malformed) > 1;
    if (PLANTED_BUG == 2) /* thrown out while a frame is on its way to it */
        return s->there[0] && s->fabric->ports[s->hostile[0].number].condemned && s->fabric->rules[0].pool.used > 2;
    return false;
}

static void turn(struct scene *s, uint32_t us)
{
    uint8_t frame[WIRE_FRAME_MAX];
    struct fabric *f = s->fabric;
    struct guest *from = s->sent % 2 ? &s->one : &s->other, *to = s->sent % 2 ? &s->other : &s->one;
    if (fixture_send(from, frame, fixture_udp(frame, from, to, 7, 8, s->sent, s->sent % 1000)))
        s->sent++;
    fixture_ns += (uint64_t)us * STEP_NS;
    MUST(fabric_turn(f) <= PORT_BATCH * PORTS);
    MUST(f->ports[from->number].ledger->entries[LEDGER_violations].value == 0);
    MUST(f->ports[from->number].ledger->entries[LEDGER_drop_spoofed].value == 0);
    receive(s, &s->one);
    receive(s, &s->other);
    for (int i = 0; i < HOSTILES; i++) { /* as the door does */
        if (s->there[i] && f->ports[s->hostile[i].number].condemned && us % 2) {
            fixture_leave(f, &s->hostile[i]);
            s->there[i] = false;
        }
    }
    if (fabric_sleeps(f))
        fabric_wakes(f);
    if (planted_bug(s))
        raise(SIGUSR2);
}

/* Frames that make sense, or nearly. */
static uint32_t frame_of(struct scene *s, struct guest *g, uint8_t *frame)
{
    static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint32_t what = take(s);
    const struct guest *to = what & 8 ? &s->one : &s->hostile[what >> 7];
    uint32_t bytes = what & 1 ? fixture_udp(frame, g, to, (uint16_t)take(s), (uint16_t)take(s), 0, take(s) * 7)
                              : fixture_arp(frame, g, what >> 1 & 3, what & 16 ? everybody : to->mac, to->ip);
    if (what & 32)
        put16(frame + 12, take16(s));
    if (what & 64)
        frame[take(s) % bytes] = (uint8_t)take(s);
    return bytes;
}

static void step(struct scene *s)
{
    uint8_t message[64];
    struct welcome welcome;
    int files[HELLO_DESCRIPTORS];
    uint32_t what = take(s), which = what >> 7;
    struct guest *g = &s->hostile[which];
    struct hello hello = {.magic = HELLO_MAGIC, .ip = HOSTILE + (what >> 6 & 1)};
    if (!s->there[which]) {
        if (what % 4 == 0) { /* anything */
            uint32_t bytes = take(s) % sizeof message;
            memcpy(message, &hello, sizeof hello);
            for (uint32_t n = take(s) % 8; n > 0; n--)
                message[take(s) % sizeof message] = (uint8_t)take(s);
            int port = fabric_join(s->fabric, message, bytes, &welcome, files);
            MUST((port < 0) == (welcome.error != 0));
            if (port >= 0) {
                close(files[HELLO_MEMORY]);
                fabric_leave(s->fabric, (uint32_t)port);
            }
            return;
        }
        if (what % 4 == 1)
            hello.low = (uint16_t)take(s), hello.high = (uint16_t)(hello.low + take(s));
        s->there[which] = fixture_ask(s->fabric, g, &hello) == 0;
        return;
    }
    switch (what % 8) {
    case 0: { /* a run of bytes, anywhere: the beginnings of both rings are likelier */
        uint32_t at = take16(s), value = take(s), length = 1 + take(s) % 64;
        size_t begin = (at & 1 ? g->bytes / 2 : 0) + (at & 2 ? at : at % 512) % (g->bytes / 2 - 64);
        memset(g->memory + begin, (int)value, length);
        break;
    }
    case 1: { /* an index, near to where it is */
        uint32_t word = take(s), by = take(s);
        _Atomic uint32_t *indices[] = {&g->out.ring->tail, &g->out.ring->head, &g->in.ring->tail, &g->in.ring->head};
        atomic_fetch_add(indices[word % 4], by - 128);
        break;
    }
    case 2: /* an entry */
        atomic_store(&g->out.ring->entries[take(s) % SLOTS], take16(s) << (take(s) & 1 ? 16 : 0));
        break;
    case 3:
    case 4: {
        uint8_t frame[WIRE_FRAME_MAX];
        uint32_t bytes = frame_of(s, g, frame);
        fixture_send(g, frame, bytes);
        break;
    }
    case 5:
        consumer_release(&g->in, take(s) % SLOTS);
        break;
    case 6:
        if (take(s) % 8 == 0) {
            fixture_leave(s->fabric, g);
            s->there[which] = false;
        }
        break;
    default:
        turn(s, take(s));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const rules[] = {
        "from=*,to=*,loss=0.1,duplicate=0.1,corrupt=0.1,reorder=0.1,reorder-us=50,delay-us=20,jitter-us=10,pool=32", NULL};
    bool impaired = size > 0 && (data[0] & 1);
    struct scene s = {.at = data + (size > 0), .end = data + size};
    fixture_ns = 1000000000;
    s.fabric = fixture_fabric(PORTS, SLOTS, 1, impaired ? rules : NULL);
    fixture_join(s.fabric, &s.one, ONE);
    fixture_join(s.fabric, &s.other, OTHER);
    while (s.at < s.end)
        step(&s);
    for (int i = 0; i < HOSTILES; i++)
        if (s.there[i])
            fixture_leave(s.fabric, &s.hostile[i]);
    for (int i = 0; i < 100; i++)
        turn(&s, 1000);
    uint64_t full = fixture_ledger(s.fabric, &s.one, LEDGER_drop_ring_full) +
                    fixture_ledger(s.fabric, &s.other, LEDGER_drop_ring_full);
    MUST(checks_failed == 0 && (impaired || s.received + full >= s.sent));
    MUST(fabric_next_ns(s.fabric) == UINT64_MAX || impaired);
    fixture_leave(s.fabric, &s.one);
    fixture_leave(s.fabric, &s.other);
    fabric_close(s.fabric);
    return 0;
}
