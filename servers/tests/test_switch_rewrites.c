/* test_switch_rewrites.c: a stack whose other thread rewrites the headers of what it sends while the switch looks at them:
 * whatever is judged, it is what arrives. (Nothing for the thread sanitizer: the races are the point.) */
#include "bytes.h"
#include "check.h"
#include "switch_fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { A = 0x0a000001, B, SLOTS = 64, FRAMES = 100000, SOURCE_MAC = 11, SOURCE = 29 };

int checks_failed;

struct forger {
    struct guest *guest;
    atomic_bool ends;
};

/* The last bytes of its MAC and of its address become B's, and its own again. */
static void *forge(void *argument)
{
    struct forger *forger = argument;
    for (uint8_t last = 0; !atomic_load(&forger->ends); last ^= (uint8_t)(A ^ B)) {
        for (uint32_t i = 0; i < SLOTS; i++) {
            volatile uint8_t *frame = ring_slot(forger->guest->out.ring, SLOTS, i)->frame;
            frame[SOURCE_MAC] = (uint8_t)A ^ last;
            frame[SOURCE] = (uint8_t)A ^ last;
        }
    }
    return NULL;
}

int main(void)
{
    uint8_t frame[WIRE_FRAME_MAX];
    struct guest a, b;
    struct fabric *f = fixture_fabric(2, SLOTS, 1, NULL);
    fixture_join(f, &a, A);
    fixture_join(f, &b, B);
    struct forger forger = {.guest = &a};
    pthread_t thread;
    uint32_t received = 0;
    NEED(pthread_create(&thread, NULL, forge, &forger) == 0);
    for (uint32_t i = 0; i < FRAMES; i++) {
        fixture_send(&a, frame, fixture_udp(frame, &a, &b, 7, 8, i, 20));
        if (i % 8 != 7)
            continue;
        fabric_turn(f);
        while (fixture_receive(&b, frame, NULL) > 0) {
            received++;
            CHECK(frame[SOURCE_MAC] == (uint8_t)A && frame[SOURCE] == (uint8_t)A, "frame %u is from %u, %u", received,
                  frame[SOURCE_MAC], frame[SOURCE]);
        }
        if (checks_failed > 0)
            break;
    }
    atomic_store(&forger.ends, true);
    pthread_join(thread, NULL);
    CHECK(received > 0, "none was right");
    printf("%u frames, %llu of them forged in time\n", received,
           (unsigned long long)fixture_ledger(f, &a, LEDGER_drop_spoofed));
    fixture_leave(f, &a), fixture_leave(f, &b);
    fabric_close(f);
    return checks_failed > 0;
}
