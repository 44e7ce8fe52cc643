/* test_switch_ring.c: a ring between two threads, in uneven parts, with as much sleep as can be had: nothing is lost, and
 * nobody sleeps on a frame. */
#include "check.h"
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
};

static void *produce(void *argument)
{
    static const uint64_t one = 1;
    struct pair *pair = argument;
    struct producer p = {.ring = pair->ring, .slots = SLOTS};
    uint32_t random = 1;
    for (uint32_t i = 0; i < RING_FRAMES;) {
        random = random * 1103515245 + 12345;
        for (uint32_t n = random >> 26; n > 0 && i < RING_FRAMES && producer_room(&p) > 0; n--, i++) {
            memcpy(producer_slot(&p, 0)->frame, &i, sizeof i);
            producer_commit(&p, sizeof i + i % 100, 0);
        }
        if (producer_flush(&p))
            (void)!write(pair->bell, &one, sizeof one);
        if (random >> 28 == 0)
            sched_yield();
    }
    return NULL;
}

int main(void)
{
    struct pair pair = {.ring = aligned_alloc(64, ring_bytes(SLOTS)), .bell = eventfd(0, 0)};
    pthread_t thread;
    NEED(pair.ring != NULL && pair.bell >= 0);
    memset(pair.ring, 0, ring_bytes(SLOTS));
    struct consumer c = {.ring = pair.ring, .slots = SLOTS};
    NEED(pthread_create(&thread, NULL, produce, &pair) == 0);
    for (uint32_t next = 0; next < RING_FRAMES;) {
        uint32_t n = consumer_ready(&c), number;
        for (uint32_t i = 0; i < n; i++, next++) {
            memcpy(&number, consumer_slot(&c, i)->frame, sizeof number);
            NEED(number == next && slot_what(consumer_slot(&c, i)) == sizeof number + number % 100);
        }
        consumer_release(&c, n);
        if (n == 0 && consumer_sleeps(&c)) { /* for ever, if the bell were not rung */
            uint64_t rung;
            NEED(read(pair.bell, &rung, sizeof rung) == sizeof rung);
        }
        consumer_wakes(&c);
    }
    pthread_join(thread, NULL);
    close(pair.bell);
    free(pair.ring);
    return checks_failed > 0;
}
