/* test_switch_ring.c: a ring between two threads, in uneven parts, with as much sleep as can be had, near and far: nothing
 * is lost, and nobody sleeps on a frame. And of slots no more are used than there are frames under way. And patience,
 * which decides about sleep. */
#include "check.h"
#include "patience.h"
#include "ring.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SLOTS = 64, RING_FRAMES = 300000 };

int checks_failed;

struct pair {
    struct ring *ring;
    int bell;
    bool far; /* as if always on different CPUs; or always on the same */
};

static void *produce(void *argument)
{
    static const uint64_t one = 1;
    struct pair *pair = argument;
    struct producer p;
    uint32_t random = 1;
    static struct ring_slot aside;
    NEED(producer_open(&p, pair->ring, SLOTS, pair->far ? &aside : NULL));
    for (uint32_t i = 0; i < RING_FRAMES;) {
        random = random * 1103515245 + 12345;
        for (uint32_t n = random >> 26; n > 0 && i < RING_FRAMES && producer_room(&p) > 0; n--, i++) {
            memcpy(producer_slot(&p)->frame, &i, sizeof i);
            producer_commit(&p, sizeof i + i % 100, i % 16);
        }
        if (producer_flush(&p))
            (void)!write(pair->bell, &one, sizeof one);
        if (random >> 28 == 0)
            sched_yield();
    }
    producer_close(&p);
    return NULL;
}

static void test_threads(bool far)
{
    struct pair pair = {.ring = aligned_alloc(64, ring_bytes(SLOTS)), .bell = eventfd(0, 0), .far = far};
    pthread_t thread;
    NEED(pair.ring != NULL && pair.bell >= 0);
    memset(pair.ring, 0, ring_bytes(SLOTS));
    struct consumer c = {.ring = pair.ring, .slots = SLOTS};
    NEED(pthread_create(&thread, NULL, produce, &pair) == 0);
    for (uint32_t next = 0; next < RING_FRAMES;) {
        uint32_t n = consumer_ready(&c), number;
        for (uint32_t i = 0; i < n; i++, next++) {
            const struct ring_frame frame = consumer_frame(&c, i);
            memcpy(&number, frame.slot->frame, sizeof number);
            NEED(number == next && frame.bytes == sizeof number + number % 100 && frame.flags == number % 16);
        }
        consumer_release(&c, n);
        if (n == 0 && consumer_sleeps(&c)) { /* for ever, if the bell were not rung */
            uint64_t rung;
            NEED(read(pair.bell, &rung, sizeof rung) == sizeof rung);
        }
        consumer_wakes(&c);
        if (far)
            atomic_store(&c.ring->cpu, 0);
    }
    pthread_join(thread, NULL);
    close(pair.bell);
    free(pair.ring);
}

/* Frames of all lengths go round often; what was behind one is not given away with the next. */
static void test_slots(bool far)
{
    enum { AT_A_TIME = 5, TIMES = 1000 };
    static struct ring_slot aside;
    struct ring *ring = aligned_alloc(64, ring_bytes(SLOTS));
    struct producer p;
    NEED(ring != NULL && producer_open(&p, ring, SLOTS, far ? &aside : NULL));
    memset(ring, 0, ring_bytes(SLOTS));
    struct consumer c = {.ring = ring, .slots = SLOTS};
    bool used[SLOTS] = {false};
    uint32_t most = 0;
    for (uint32_t i = 0; i < TIMES; i++) {
        for (uint32_t k = 0; k < AT_A_TIME; k++) {
            uint32_t bytes = (i * 331 + k * 97) % WIRE_FRAME_MAX + 1;
            NEED(producer_room(&p) > 0);
            CHECK(p.far == far, "far %d: it is %d", far, p.far);
            memset(producer_slot(&p)->frame, (int)(i + k), bytes);
            producer_commit(&p, bytes, 0);
        }
        CHECK(!producer_flush(&p), "nobody sleeps");
        for (uint32_t k = 0; k < AT_A_TIME; k++) {
            NEED(consumer_ready(&c) > 0);
            const struct ring_frame frame = consumer_frame(&c, 0);
            NEED(frame.bytes == (i * 331 + k * 97) % WIRE_FRAME_MAX + 1);
            uint32_t right = 0, number = (uint32_t)(frame.slot - ring_slot(ring, SLOTS, 0)), end = frame.bytes;
            while (right < frame.bytes && frame.slot->frame[right] == (uint8_t)(i + k))
                right++;
            CHECK(right == frame.bytes, "far %d, frame %u.%u: byte %u", far, i, k, right);
            for (; far && (RING_FRAME_AT + end) % RING_LINE_BYTES != 0; end++)
                CHECK(frame.slot->frame[end] == 0, "frame %u.%u: what lies behind it", i, k);
            most += !used[number];
            used[number] = true;
            consumer_release(&c, 1);
        }
    }
    CHECK(most == AT_A_TIME, "far %d: %u slots for %d frames at a time", far, most, AT_A_TIME);
    producer_close(&p);
    free(ring);
}

/* Sleeps at once, until it stays awake again. */
static unsigned skipped(struct patience *p, uint64_t now_ns)
{
    unsigned n = 0;
    for (; n < 1000 && !patience_holds(p, now_ns); n++)
        ;
    return n;
}

static void test_patience(void)
{
    struct patience none = {0}, p = {.most_ns = 100};
    CHECK(!patience_holds(&none, 5) && !patience_holds(&none, 6), "not at all");
    for (unsigned i = 0, expected = 0; i < 10; i++) {
        unsigned n = skipped(&p, 1000);
        CHECK(n == expected, "after %u times in vain %u sleeps follow at once, not %u", i, n, expected);
        CHECK(patience_holds(&p, 1099) && !patience_holds(&p, 1100), "it ends in time");
        expected = expected < 63 ? 2 * expected + 1 : 63;
    }
    CHECK(skipped(&p, 2000) == 63, "as before");
    patience_ends(&p, 2099);
    CHECK(skipped(&p, 3000) == 0, "it was worth it");
    patience_ends(&p, 3400);
    CHECK(skipped(&p, 4000) == 1, "others kept the CPU: it was not");
    patience_ends(&p, 4001);
    patience_ends(&p, 9000);
    CHECK(skipped(&p, 9000) == 0, "what comes while nobody waits says nothing");
}

int main(void)
{
    test_patience();
    for (int far = 0; far < 1 + RING_PASSES_CACHES; far++) {
        test_threads(far);
        test_slots(far);
    }
    return checks_failed > 0;
}
