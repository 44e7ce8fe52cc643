/* test_switch_bounds.c: what a stack on the switch cannot do to others, whatever it writes; and what it is charged. */
#include "check.h"
#include "switch_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { A = 0x0a000001, B, C, SLOTS = 128 };

int checks_failed;

static uint8_t frame[WIRE_FRAME_MAX];

static uint64_t of(const struct fabric *f, const struct guest *g, enum ledger_index index)
{
    return fixture_ledger(f, g, index);
}

static void test_bounds(void)
{
    struct fabric *f = fixture_fabric(3, SLOTS, 1, NULL);
    struct guest g[3];
    uint8_t got[WIRE_FRAME_MAX];
    for (uint32_t i = 0; i < 3; i++)
        fixture_join(f, &g[i], A + i);
    uint32_t bytes = fixture_udp(frame, &g[0], &g[1], 7, 8, 5, 0);
    while (fixture_send(&g[0], frame, bytes))
        ;
    bytes = fixture_udp(frame, &g[2], &g[1], 7, 8, 6, 0);
    fixture_send(&g[2], frame, bytes);
    CHECK(fabric_turn(f) == PORT_BATCH + 1, "a batch of A's, and C's frame, in a turn");
    fabric_turn(f);
    bytes = fixture_udp(frame, &g[0], &g[1], 7, 8, 5, 0);
    while (fixture_send(&g[0], frame, bytes))
        ;
    fabric_turn(f), fabric_turn(f);
    CHECK(of(f, &g[1], LEDGER_drop_ring_full) == SLOTS + 1, "B drops at its own expense");
    uint32_t received = 0;
    for (; fixture_receive(&g[1], got, NULL) > 0; received++)
        ;
    CHECK(received == SLOTS, "%u of a full ring", received);
    for (uint32_t i = 0; i < 3; i++)
        fixture_leave(f, &g[i]);
    fabric_close(f);
}

/* What is written into the rings, of one kind at a time; the others' frames go on. */
static void test_hostile(void)
{
    for (unsigned kind = 0; kind < 6; kind++) {
        struct fabric *f = fixture_fabric(3, 16, 1, NULL);
        struct guest g[3];
        for (uint32_t i = 0; i < 3; i++)
            fixture_join(f, &g[i], A + i);
        uint32_t bytes = fixture_udp(frame, &g[0], &g[1], 7, 8, 5, 0);
        fixture_send(&g[0], frame, bytes);
        struct ring *out = g[0].out.ring, *in = g[0].in.ring;
        switch (kind) {
        case 0:
            atomic_store(&out->tail, 17u);
            break;
        case 1:
            atomic_store(&out->tail, UINT32_MAX);
            break;
        case 2:
            atomic_store(&in->head, 1000u);
            break;
        case 3:
            atomic_store(&out->entries[0], WIRE_FRAME_MAX + 1u);
            break;
        case 4:
            atomic_store(&out->entries[0], UINT32_MAX);
            break;
        case 5:
            memset(g[0].memory, 0xa5, g[0].bytes);
            break;
        }
        for (unsigned i = 0; i < 40; i++) { /* with a full ring its head is looked at */
            bytes = fixture_udp(frame, &g[1], &g[0], 7, 8, i, 0);
            fixture_send(&g[1], frame, bytes);
            fabric_turn(f);
            fixture_send(&g[1], frame, fixture_udp(frame, &g[1], &g[2], 7, 8, i, 100));
            fabric_turn(f);
            bytes = fixture_receive(&g[2], frame, NULL);
            CHECK(fixture_number(frame, bytes) == i, "kind %u: B to C, frame %u", kind, i);
        }
        bool thrown_out = kind != 3 && kind != 4;
        CHECK(of(f, &g[0], LEDGER_violations) == thrown_out, "kind %u: violations", kind);
        CHECK(f->ports[g[0].number].condemned == thrown_out, "kind %u: condemned", kind);
        CHECK(thrown_out || of(f, &g[0], LEDGER_drop_malformed) == 1, "kind %u: malformed", kind);
        for (uint32_t i = 0; i < 3; i++)
            fixture_leave(f, &g[i]);
        fabric_close(f);
    }
}

static void test_sleep(void)
{
    struct fabric *f = fixture_fabric(2, 16, 1, NULL);
    struct guest a, b;
    uint64_t rung;
    fixture_join(f, &a, A);
    fixture_join(f, &b, B);
    uint32_t bytes = fixture_udp(frame, &a, &b, 7, 8, 5, 0);
    CHECK(fabric_sleeps(f), "nothing to do");
    memcpy(producer_slot(&a.out)->frame, frame, bytes);
    producer_commit(&a.out, bytes, 0);
    CHECK(producer_flush(&a.out) && !producer_flush(&a.out), "one bell");
    producer_commit(&a.out, bytes, 0);
    CHECK(!producer_flush(&a.out), "and no second");
    fabric_wakes(f);
    CHECK(!fabric_sleeps(f), "there is something");
    CHECK(consumer_sleeps(&b.in), "B sleeps");
    fabric_turn(f);
    CHECK(read(b.bell, &rung, sizeof rung) == sizeof rung && rung == 1, "and is woken once");
    CHECK(of(f, &b, LEDGER_bells_out) == 1, "on its account");
    CHECK(!consumer_sleeps(&b.in), "B has a frame");
    fixture_leave(f, &a), fixture_leave(f, &b);
    fabric_close(f);
}

/* What was sent before somebody left arrives; even if who it is for leaves at the same moment. */
static void test_last_words(void)
{
    struct fabric *f = fixture_fabric(3, SLOTS, 1, NULL);
    struct guest a, b, c;
    uint32_t received = 0;
    fixture_join(f, &a, A);
    fixture_join(f, &b, B);
    fixture_join(f, &c, C);
    while (fixture_send(&a, frame, fixture_udp(frame, &a, received % 2 ? &b : &c, 7, 8, received, 0)))
        received++;
    fixture_leave(f, &a);
    fixture_leave(f, &b);
    fabric_turn(f);
    for (received = 0; fixture_receive(&c, frame, NULL) > 0; received++)
        ;
    CHECK(received == SLOTS / 2, "%u frames", received);
    fixture_leave(f, &c);
    fabric_close(f);
}

/* Who comes back finds its ledger; who stays away makes room. */
static void test_ledger(void)
{
    struct fabric *f = fixture_fabric(2, 16, 1, NULL);
    struct guest a, b;
    fixture_join(f, &b, B);
    for (unsigned i = 0; i < 3; i++) {
        fixture_join(f, &a, A);
        fixture_send(&a, frame, fixture_udp(frame, &a, &b, 7, 8, i, 0));
        fabric_turn(f);
        CHECK(of(f, &a, LEDGER_frames_in) == i + 1, "time %u", i);
        fixture_leave(f, &a);
    }
    for (uint32_t i = 0; i < 100; i++) {
        fixture_join(f, &a, C + i);
        fixture_leave(f, &a);
    }
    CHECK(f->ledgers.blocks[f->ledgers.count - 1].entries[LEDGER_frames_in].value == 3, "nothing is forgotten");
    fixture_leave(f, &b);
    fabric_close(f);
}

int main(void)
{
    fixture_ns = 1000000000;
    test_bounds();
    test_hostile();
    test_sleep();
    test_last_words();
    test_ledger();
    return checks_failed > 0;
}
