/* test_switch_impair.c: what befalls frames on the way is what was asked for, within what chance allows, and the same every
 * time. By a clock that is not real. */
#include "check.h"
#include "switch_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { A = 0x0a000001, B = 0x0a000002, FRAMES = 20000, APART_NS = 10000, SLOTS = 256 };

int checks_failed;

struct run {
    uint32_t received;                  /* frames whose checksums are right */
    uint32_t damaged, overtaken, twice; /* others; that a later one came before; of which there was one already */
    uint32_t times[FRAMES];
    uint32_t order[2 * FRAMES];    /* numbers as they came, UINT32_MAX a damaged one */
    uint64_t arrived_ns[FRAMES];   /* of the first copy; sent at number × APART_NS */
    struct rule_counts counts;     /* of the first rule */
    uint64_t charged[LEDGER_COUNT]; /* to the sender */
};

/* Frames of 100 bytes of payload, one every `apart_ns`, and then time until all must have come. */
static struct run *run(const char *rule, uint64_t seed, uint64_t apart_ns)
{
    struct run *r = calloc(1, sizeof *r);
    const char *rules[] = {rule, NULL};
    uint8_t frame[WIRE_FRAME_MAX];
    uint32_t sent = 0, came = 0, newest = 0;
    unsigned flags;
    struct guest a, b;
    NEED(r != NULL);
    fixture_ns = 1000000000;
    const uint64_t begin_ns = fixture_ns;
    struct fabric *f = fixture_fabric(2, SLOTS, seed, rules);
    fixture_join(f, &a, A);
    fixture_join(f, &b, B);
    for (uint32_t step = 0; step < FRAMES + 5000; step++) {
        fixture_ns = begin_ns + step * apart_ns;
        if (sent < FRAMES)
            NEED(fixture_send(&a, frame, fixture_udp(frame, &a, &b, 7, 8, sent++, 100)));
        fabric_turn(f);
        for (uint32_t n; (n = fixture_receive(&b, frame, &flags)) > 0;) {
            uint32_t number = fixture_number(frame, n);
            NEED(came < 2 * FRAMES && (number < FRAMES || number == UINT32_MAX));
            CHECK((number == UINT32_MAX) == (flags == 0), "damaged frames, and they alone, are to be verified");
            r->order[came++] = number;
            if (number == UINT32_MAX) {
                r->damaged++;
                continue;
            }
            r->received++;
            r->twice += r->times[number]++ > 0;
            r->overtaken += number < newest;
            newest = number > newest ? number : newest;
            if (r->times[number] == 1)
                r->arrived_ns[number] = fixture_ns - begin_ns;
        }
    }
    CHECK(fabric_next_ns(f) == UINT64_MAX && f->rules[0].pool.used == 0 && f->rules[0].in_order == 0,
          "%s: something is still on its way", rule);
    CHECK(f->rules[0].counts.frames == FRAMES, "%s: all frames are counted", rule);
    r->counts = f->rules[0].counts;
    for (int i = 0; i < LEDGER_COUNT; i++)
        r->charged[i] = fixture_ledger(f, &a, (enum ledger_index)i);
    fixture_leave(f, &a), fixture_leave(f, &b);
    fabric_close(f);
    return r;
}

/* Of FRAMES draws with this probability: five standard deviations are left by one run in a million. */
static void check_share(const char *what, uint64_t count, double probability)
{
    double expected = FRAMES * probability, deviation = sqrt(expected * (1 - probability));
    CHECK(fabs((double)count - expected) <= 5 * deviation, "%s: %llu, expected %.0f ± %.0f", what,
          (unsigned long long)count, expected, 5 * deviation);
}

static void test_shares(void)
{
    struct run *r = run("from=10.0.0.1,to=10.0.0.2,loss=0.05", 1, APART_NS);
    check_share("loss", r->counts.drop_loss, 0.05);
    CHECK(r->received == FRAMES - r->counts.drop_loss && r->twice + r->overtaken + r->damaged == 0, "loss alone");
    CHECK(r->charged[LEDGER_drop_loss] == r->counts.drop_loss, "charged to the sender");
    /* Independent: pairs in a row are lost as often as two coins fall. */
    uint64_t pairs = 0;
    for (uint32_t i = 1; i < FRAMES; i++)
        pairs += r->times[i] == 0 && r->times[i - 1] == 0;
    check_share("pairs", pairs, 0.05 * 0.05);
    free(r);
    r = run("from=*,to=10.0.0.2,duplicate=0.1", 2, APART_NS);
    check_share("duplicates", r->counts.duplicated, 0.1);
    CHECK(r->twice == r->counts.duplicated && r->received == FRAMES + r->twice && r->overtaken == 0, "duplication alone");
    free(r);
    r = run("from=*,to=*,corrupt=0.02", 3, APART_NS);
    check_share("damage", r->counts.corrupted, 0.02);
    CHECK(r->damaged == r->counts.corrupted && r->received == FRAMES - r->damaged, "%u of %llu damaged frames found",
          r->damaged, (unsigned long long)r->counts.corrupted);
    free(r);
    r = run("from=*,to=*,reorder=0.1,reorder-us=55", 4, APART_NS);
    check_share("reordering", r->counts.reordered, 0.1);
    CHECK(r->received == FRAMES && r->overtaken > 0 && r->overtaken <= r->counts.reordered &&
              r->overtaken > r->counts.reordered * 9 / 10,
          "%u overtaken of %llu", r->overtaken, (unsigned long long)r->counts.reordered);
    free(r);
}

static void test_reproducible(void)
{
    static const char rule[] = "from=*,to=*,loss=0.1,duplicate=0.1,corrupt=0.1,reorder=0.1,reorder-us=100,delay-us=200,"
                               "jitter-us=100,rate-bps=1000000000";
    struct run *a = run(rule, 7, APART_NS), *b = run(rule, 7, APART_NS), *c = run(rule, 8, APART_NS);
    CHECK(memcmp(a, b, sizeof *a) == 0, "the same seed, the same run");
    CHECK(memcmp(a->order, c->order, sizeof a->order) != 0, "another seed, another run");
    free(b), free(c);
    /* What one thing does to a frame does not depend on what else there is, nor on the time. */
    b = run("from=*,to=*,loss=0.1", 7, APART_NS / 2);
    for (uint32_t i = 0; i < FRAMES; i++)
        CHECK(b->times[i] == 1 || a->times[i] == 0, "frame %u was lost, too", i);
    CHECK(b->counts.drop_loss == a->counts.drop_loss, "the same number");
    free(a), free(b);
}

static void test_delay(void)
{
    struct run *r = run("from=*,to=*,delay-us=3000", 1, APART_NS);
    for (uint32_t i = 0; i < FRAMES; i++)
        CHECK(r->arrived_ns[i] == (uint64_t)i * APART_NS + 3000000, "frame %u after %llu ns", i,
              (unsigned long long)(r->arrived_ns[i] - (uint64_t)i * APART_NS));
    CHECK(r->received == FRAMES && r->overtaken == 0 && r->counts.delayed == FRAMES, "delay alone");
    free(r);
    r = run("from=*,to=*,delay-us=3000,jitter-us=500", 1, 1000000);
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < FRAMES; i++) {
        double us = (double)(r->arrived_ns[i] - (uint64_t)i * 1000000) / 1000;
        CHECK(us >= 2000 && us <= 4000, "frame %u after %.0f us", i, us); /* seen once a millisecond */
        sum += us, squares += us * us;
    }
    CHECK(r->overtaken == 0 && sum / FRAMES > 3000 && squares > 0, "jitter keeps the order");
    free(r);
    r = run("from=*,to=*,delay-us=300,jitter-us=300", 1, APART_NS);
    CHECK(r->overtaken == 0 && r->received == FRAMES, "also where it is longer than what lies between frames");
    free(r);
}

static void test_rate(void)
{
    /* A frame of 150 bytes every 10 us is 120 Mbit/s: at 60 every second finds no room, once the queue is full. */
    struct run *r = run("from=*,to=*,rate-bps=60000000,queue=100", 1, APART_NS);
    CHECK(llabs((long long)r->received - FRAMES / 2) <= 101, "%u received", r->received);
    CHECK(r->counts.drop_queue == FRAMES - r->received && r->overtaken == 0, "the others are counted");
    for (uint32_t i = 0; i < FRAMES; i++) {
        uint64_t late = r->times[i] == 0 ? 0 : r->arrived_ns[i] - (uint64_t)i * APART_NS;
        CHECK(late <= 101 * 20000, "frame %u after %llu ns: more than the queue", i, (unsigned long long)late);
    }
    free(r);
    r = run("from=*,to=*,rate-bps=60000000,queue-bytes=15000,queue=1000000", 1, APART_NS);
    CHECK(llabs((long long)r->received - FRAMES / 2) <= 102, "%u received", r->received);
    free(r);
    r = run("from=*,to=*,rate-bps=240000000", 1, APART_NS);
    CHECK(r->received == FRAMES && r->counts.drop_queue == 0, "a wire that is fast enough");
    free(r);
    r = run("from=*,to=*,delay-us=10000,pool=100", 1, APART_NS);
    CHECK(r->counts.drop_pool == FRAMES - r->received && r->counts.drop_pool > FRAMES / 2, "a pool that is too small");
    free(r);
}

/* Of several rules the first that matches; frames on their way to a stack that has left are nobody's. */
static void test_which(void)
{
    const char *rules[] = {"from=10.0.0.1,to=10.0.0.2,delay-us=100", "from=10.0.0.1,to=*,loss=1", NULL};
    struct fabric *f = fixture_fabric(3, 16, 1, rules);
    uint8_t frame[WIRE_FRAME_MAX];
    struct guest a, b, c;
    fixture_join(f, &a, A);
    fixture_join(f, &b, B);
    fixture_join(f, &c, B + 1);
    fixture_send(&a, frame, fixture_udp(frame, &a, &b, 7, 8, 1, 0));
    fixture_send(&a, frame, fixture_udp(frame, &a, &c, 7, 8, 2, 0));
    fixture_send(&b, frame, fixture_udp(frame, &b, &c, 7, 8, 3, 0));
    fabric_turn(f);
    CHECK(f->rules[0].counts.delayed == 1 && f->rules[1].counts.drop_loss == 1, "first and second");
    CHECK(fixture_receive(&c, frame, NULL) > 0 && frame[6 + 5] == 2, "and none");
    fixture_leave(f, &b);
    fixture_join(f, &b, B);
    fixture_ns += 1000000;
    fabric_turn(f);
    CHECK(fixture_receive(&b, frame, NULL) == 0 && f->rules[0].counts.drop_gone == 1, "another stack now");
    fixture_leave(f, &a), fixture_leave(f, &b), fixture_leave(f, &c);
    fabric_close(f);
}

static void test_words(void)
{
    static const char *const bad[] = {"", "loss", "loss=", "loss=2", "loss=-1", "loss=x", "loss=0.1x", "lose=1", "from=10.0.0",
                                      "from=10.0.0.256", "to=uplink9", "delay-us=1e9", "jitter-us=5", "pool=0", "queue=0",
                                      "loss=nan"};
    struct rule rule;
    char error[512];
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        *error = '\0';
        CHECK(rule_parse(&rule, bad[i], error, sizeof error) != 0 && *error != '\0', "'%s'", bad[i]);
    }
    CHECK(rule_parse(&rule, "from=uplink1,to=10.1.2.3,loss=0.5,rate-bps=1000000000", error, sizeof error) == 0 &&
              rule.from.kind == END_UPLINK && rule.from.which == 1 && rule.to.which == 0x0a010203 && rule.loss == 0.5 &&
              rule.rate_bps == 1000000000,
          "%s", error);
}

int main(void)
{
    test_shares();
    test_reproducible();
    test_delay();
    test_rate();
    test_which();
    test_words();
    return checks_failed > 0;
}
