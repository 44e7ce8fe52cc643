/* test_domain_hostile.c: what a client of the timer domain can do to its neighbours, in work done before they are
 * served, and what is left by one, or a domain, that died anywhere. In turns by a clock that is not real.
 */
#include "check.h"
#include "domain_fixture.h"

#include <unistd.h>

#define MS UINT64_C(1000000)
#define START (1000 * MS)

static void test_many_at_once(void)
{
    enum { LIMIT = 64, HOSTILE = 3 };
    fixture_ns = START;
    struct fixture fixture = fixture_open(HOSTILE + 1, DOMAIN_SLOTS_MOST, LIMIT, 0);
    struct domain_client *neighbour = &fixture.clients[HOSTILE];
    uint64_t before[HOSTILE];
    unsigned expired = 0;
    for (uint32_t i = 0; i < HOSTILE; i++)
        for (uint32_t k = 0; k < 1000000; k++)
            domain_arm(&fixture.clients[i], k, START + MS);
    CHECK(fixture.clients[0].refused == 1000000 - DOMAIN_SLOTS_MOST, "%llu of a million refused",
          (unsigned long long)fixture.clients[0].refused);
    domain_arm(neighbour, 0, START + MS);
    fixture_run(&fixture, START + MS / 2);
    fixture_ns = START + MS;
    for (uint32_t i = 0; i < HOSTILE; i++)
        before[i] = fixture_account(&fixture, i)->operations;
    while (fixture_take_all(neighbour) == 0)
        keeper_turn(fixture.keeper);
    for (uint32_t i = 0; i < HOSTILE; i++) {
        const uint64_t work = fixture_account(&fixture, i)->operations - before[i];
        CHECK(work <= 4 * LIMIT, "%llu deadlines of %u before it", (unsigned long long)work, i);
    }
    fixture_run(&fixture, START + 2 * MS);
    for (uint32_t i = 0; i < HOSTILE; i++)
        expired += fixture_take_all(&fixture.clients[i]);
    CHECK(expired == HOSTILE * DOMAIN_SLOTS_MOST, "they have theirs, too: %u", expired);
    fixture_close(&fixture);
}

static void test_storm_of_bells(void)
{
    fixture_ns = START;
    struct fixture fixture = fixture_open(2, 1, 0, 0);
    struct domain_client *hostile = &fixture.clients[0], *neighbour = &fixture.clients[1];
    const uint64_t one = 1;
    uint64_t deadline_ns = START + MS / 3, served = 0;
    domain_arm(neighbour, 0, deadline_ns);
    for (unsigned k = 0; k < 100000; k++) { /* for 100 ms, every µs */
        (void)!write(hostile->bell, &one, sizeof one);
        domain_arm(hostile, 0, fixture_ns - k % 2);
        fixture_run(&fixture, fixture_ns + 1000);
        if (fixture_take_all(neighbour) > 0) {
            served++;
            CHECK(fixture_ns - deadline_ns <= 2000, "late by %llu ns", (unsigned long long)(fixture_ns - deadline_ns));
            domain_arm(neighbour, 0, deadline_ns += MS / 3);
        }
    }
    const struct domain_account *account = fixture_account(&fixture, 0);
    CHECK(served >= 299, "the neighbour was served %llu times", (unsigned long long)served);
    CHECK(account->bells <= KEEPER_BELLS + 100 * MS / KEEPER_BELL_NS + 1 &&
              account->mutes > 0,
          "%llu bells heard",
          (unsigned long long)account->bells);
    CHECK(fixture_account(&fixture, 1)->mutes == 0, "the neighbour is heard");
    domain_cancel(neighbour, 0);
    fixture_take_all(hostile);
    domain_arm(hostile, 0, fixture_ns + MS);
    fixture_run(&fixture, fixture_ns + 2 * MS);
    CHECK(fixture_take_all(hostile) == 1, "and so is who rang too often, later");
    fixture_close(&fixture);
}

/* It dies between any two writes of an arming; another has its session then. */
static void test_dies_while_arming(void)
{
    for (unsigned writes = 0; writes <= 4; writes++) {
        fixture_ns = START;
        struct fixture fixture = fixture_open(2, 2, 0, 0);
        struct domain_client *dead = &fixture.clients[0], *neighbour = &fixture.clients[1];
        const uint64_t one = 1;
        domain_arm(neighbour, 0, START + 5 * MS);
        if (writes > 0)
            dead->session->deadline_ns[1] = START + MS;
        if (writes > 1)
            dead->session->changed[0] = 2;
        if (writes > 2)
            dead->session->news = 1;
        if (writes > 3)
            (void)!write(dead->bell, &one, sizeof one);
        fixture_run(&fixture, START + 2 * MS);
        domain_client_open(dead, fixture.domain, 0);
        CHECK(fixture_take_all(dead) == 0, "its successor has none of its timers");
        domain_arm(dead, 0, START + 5 * MS);
        domain_arm(dead, 1, START + 6 * MS);
        fixture_run(&fixture, START + 5 * MS);
        CHECK(fixture_take_all(neighbour) == 1 && fixture_take_all(dead) == 1, "after %u writes: at 5 ms", writes);
        fixture_run(&fixture, START + 6 * MS);
        CHECK(fixture_take_all(dead) == 1, "after %u writes: at 6 ms", writes);
        fixture_close(&fixture);
    }
}

/* A domain that died after it had made a timer expire, and before it said so. */
static void test_dies_while_expiring(void)
{
    fixture_ns = START;
    struct fixture fixture = fixture_open(1, 100, 8, 0);
    struct domain_client *client = &fixture.clients[0];
    for (uint32_t k = 0; k < 100; k++)
        domain_arm(client, k, START + 10 * MS);
    fixture_run(&fixture, START + MS);
    client->session->deadline_ns[7] = 0;
    fixture_restart(&fixture);
    fixture_run(&fixture, START + 2 * MS);
    domain_wait(client); /* returns at once: another has taken over */
    uint32_t slot = 0;
    CHECK(domain_take(client, &slot) && slot == 7 && fixture_take_all(client) == 0, "that one, which is %u", slot);
    fixture_run(&fixture, START + 10 * MS);
    CHECK(fixture_take_all(client) == 99, "the others in time");
    fixture_close(&fixture);
}

int main(void)
{
    test_many_at_once();
    test_storm_of_bells();
    test_dies_while_arming();
    test_dies_while_expiring();
    return checks_failed > 0;
}
