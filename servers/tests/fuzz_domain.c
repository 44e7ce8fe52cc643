/* fuzz_domain.c: whatever a client writes into its session, whenever, the timer domain goes neither astray nor round in
 * circles, and a neighbour's timers expire in time, once.
 *
 * The input is a script of steps of four bytes: what, where (2), value; see step(). */
#include "domain_fixture.h"
#include "fuzz.h"

#include <string.h>
#include <unistd.h>

enum { HOSTILE, NEIGHBOUR, CLIENTS };
enum { SLOTS = 100, LIMIT = 8 };
#define STEP_NS UINT64_C(1000)

int checks_failed;

struct neighbour {
    uint64_t deadline_ns;
    unsigned armed, expired;
};

static void serve(struct fixture *fixture, uint64_t for_ns, struct neighbour *neighbour)
{
    struct domain_client *client = &fixture->clients[NEIGHBOUR];
    struct domain_account *hostile = fixture_account(fixture, HOSTILE);
    const uint64_t operations = hostile->operations;
    const unsigned turns = fixture_run(fixture, fixture_ns + for_ns);
    MUST(hostile->operations - operations <= 2u * LIMIT * turns);
    for (uint32_t slot; domain_take(client, &slot);) {
        MUST(slot == 0 && neighbour->armed > neighbour->expired && fixture_ns >= neighbour->deadline_ns);
        neighbour->expired++;
    }
    if (neighbour->armed > neighbour->expired)
        MUST(fixture_ns <= neighbour->deadline_ns + KEEPER_BELL_NS); /* it may have rung too often itself */
}

static void step(struct fixture *fixture, const uint8_t *data, struct neighbour *neighbour)
{
    struct domain_client *hostile = &fixture->clients[HOSTILE];
    uint8_t *bytes = (uint8_t *)hostile->session;
    const size_t size = sizeof *hostile->session + SLOTS * sizeof(uint64_t), where = (data[1] << 8 | data[2]) % size;
    const uint64_t now_ns = fixture_ns, one = 1;
    uint32_t slot;
    switch (data[0] % 10) {
    case 0:
        bytes[where] = data[3];
        break;
    case 1: /* in all of it */
        memset(bytes + where, data[3], size - where);
        break;
    case 2: { /* a deadline that makes sense */
        const uint64_t deadline = now_ns + data[3] * STEP_NS - 100 * STEP_NS;
        memcpy((uint8_t *)hostile->session->deadline_ns + where % SLOTS * sizeof deadline, &deadline, sizeof deadline);
        break;
    }
    case 3:
        (void)!write(hostile->bell, &one, sizeof one);
        break;
    case 4:
        domain_arm(hostile, (uint32_t)where, now_ns + data[3] * STEP_NS);
        break;
    case 5:
        domain_cancel(hostile, (uint32_t)where);
        break;
    case 6:
        domain_take(hostile, &slot);
        break;
    case 7:
        neighbour->armed += neighbour->armed == neighbour->expired;
        neighbour->deadline_ns = now_ns + data[3] * STEP_NS;
        domain_arm(&fixture->clients[NEIGHBOUR], 0, neighbour->deadline_ns);
        break;
    case 8: { /* a bit where the domain looks */
        _Atomic uint64_t *words[] = {&hostile->session->news, &hostile->session->changed[data[2] % DOMAIN_WORDS],
                                     &hostile->session->look_ns, &hostile->session->due};
        atomic_fetch_xor(words[data[1] % 4], UINT64_C(1) << data[3] % 64);
        break;
    }
    default:
        if (data[1] == 0)
            fixture_restart(fixture);
        serve(fixture, data[3] * STEP_NS, neighbour);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct neighbour neighbour = {0};
    fixture_ns = 1000000000;
    struct fixture fixture = fixture_open(CLIENTS, SLOTS, LIMIT, 0);
    for (; bytes >= 4; data += 4, bytes -= 4)
        step(&fixture, data, &neighbour);
    serve(&fixture, 256 * STEP_NS + KEEPER_BELL_NS + 1, &neighbour);
    MUST(neighbour.armed == neighbour.expired);
    fixture_close(&fixture);
    return 0;
}
