/* test_domain.c: what domain.h promises, in turns by a clock that is not real: by examples, and against a model over
 * random operations.
 *
 *     test_domain [--operations N] [--seed N]
 */
#include "check.h"
#include "clock.h"
#include "domain_fixture.h"
#include "timers.h"

#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define START (1000 * MS)

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

static void test_one(void)
{
    fixture_ns = START;
    struct fixture fixture = fixture_open(2, 2, 0, MS);
    struct domain_client *client = &fixture.clients[0];
    CHECK(!domain_arm(client, 2, START + 1) && client->refused == 1, "beyond its slots it is refused");
    CHECK(!domain_arm(client, 0, 0) && client->refused == 2, "0 is no deadline");
    CHECK(!domain_cancel(client, 0), "it was not armed");
    CHECK(domain_arm(client, 0, START + 10 * MS) && client->rung == 1, "the first rings");
    fixture_run(&fixture, START + 10 * MS);
    CHECK(fixture_take_all(client) == 0, "its slack is not over");
    fixture_run(&fixture, START + 11 * MS);
    CHECK(fixture_take_all(client) == 1 && fixture_take_all(client) == 0, "once, by deadline and slack");
    CHECK(!domain_cancel(client, 0), "it is not armed any more");

    domain_arm(client, 0, START + 20 * MS);
    domain_arm(client, 1, START + 20 * MS + MS / 2);
    const uint64_t turns = fixture.domain->header->sleeps;
    CHECK(domain_cancel(client, 0), "cancelled in time");
    fixture_run(&fixture, START + 22 * MS);
    CHECK(fixture_take_all(client) == 1 && fixture.domain->header->sleeps - turns <= 3, "only the other one");

    domain_arm(client, 0, START + 30 * MS);
    fixture_run(&fixture, START + 31 * MS);
    domain_arm(client, 0, START + 40 * MS);
    CHECK(fixture_take_all(client) == 0, "had expired, and was armed anew before it was taken: never given");
    fixture_run(&fixture, START + 41 * MS);
    CHECK(fixture_take_all(client) == 1, "by its new deadline");

    domain_arm(client, 0, START + 50 * MS);
    fixture_run(&fixture, START + 51 * MS);
    CHECK(!domain_cancel(client, 0) && fixture_take_all(client) == 0, "too late to cancel, but not given after that");

    domain_arm(client, 0, START);
    fixture_run(&fixture, START + 53 * MS);
    CHECK(fixture_take_all(client) == 1, "a deadline that has passed");
    CHECK(!domain_arm(client, 0, DOMAIN_NEVER) && client->refused == 3, "nor is never");
    domain_arm(client, 0, DOMAIN_NEVER - 1);
    fixture_run(&fixture, START + 55 * MS);
    CHECK(fixture_take_all(client) == 1, "one that is too far away counts as passed");
    domain_arm(client, 0, START + 55 * MS + TIMERS_FARTHEST);
    fixture_run(&fixture, START + 57 * MS);
    CHECK(fixture_take_all(client) == 1, "one that is just too far away, too");
    fixture_close(&fixture);
}

static void test_not_early(void)
{
    fixture_ns = START;
    struct fixture fixture = fixture_open(1, 1, 0, 0);
    struct domain_client *client = &fixture.clients[0];
    domain_arm(client, 0, START + MS);
    fixture_run(&fixture, START + MS / 2);
    domain_arm(client, 0, START + MS + 500);
    fixture_run(&fixture, START + MS + 499);
    CHECK(fixture_take_all(client) == 0, "it was made later by less than the clock's usual step");
    fixture_run(&fixture, START + MS + 501);
    CHECK(fixture_take_all(client) == 1, "then");
    fixture_close(&fixture);
}

/* What expired before its client sleeps does not let it sleep: else this would be an hour long. */
static void test_does_not_sleep(void)
{
    const uint64_t hour = 3600000 * MS;
    fixture_ns = monotonic_ns();
    struct fixture fixture = fixture_open(1, 2, 0, 0);
    struct domain_client *client = &fixture.clients[0];
    domain_arm(client, 0, fixture_ns + hour);
    domain_arm(client, 1, fixture_ns + 2 * hour);
    fixture_run(&fixture, fixture_ns + hour + 1);
    domain_wait(client);
    CHECK(fixture_take_all(client) == 1 && client->backups == 0, "at once");
    fixture_close(&fixture);
}

/* Later is a store; and who arms again after it was woken rings no bell, while the domain wakes up for somebody. */
static void test_no_bells(void)
{
    fixture_ns = START;
    struct fixture fixture = fixture_open(10, 1, 0, MS / 2);
    uint64_t deadlines[10], early = 0;
    for (uint32_t i = 0; i < 10; i++)
        domain_arm(&fixture.clients[i], 0, deadlines[i] = START + 10 * MS + i * MS);
    fixture_run(&fixture, START + 5 * MS);
    const uint64_t before = fixture_account(&fixture, 0)->operations;
    for (unsigned k = 0; k < 100; k++)
        domain_arm(&fixture.clients[0], 0, ++deadlines[0]);
    fixture_run(&fixture, START + 9 * MS);
    CHECK(fixture_account(&fixture, 0)->operations == before, "nobody looks at what becomes later");
    uint64_t rung = 0;
    for (uint32_t i = 0; i < 10; i++)
        rung += fixture.clients[i].rung;
    for (unsigned tick = 0; tick < 1000; tick++) {
        fixture_run(&fixture, fixture_ns + MS / 4);
        for (uint32_t i = 0; i < 10; i++)
            if (fixture_take_all(&fixture.clients[i]) > 0) {
                early += fixture_ns < deadlines[i];
                domain_arm(&fixture.clients[i], 0, deadlines[i] += 10 * MS);
            }
    }
    for (uint32_t i = 0; i < 10; i++) {
        rung -= fixture.clients[i].rung;
        CHECK(deadlines[i] > fixture_ns - MS, "%u lags behind", i);
    }
    CHECK(rung == 0 && early == 0, "%lld bells rung, %llu early", -(long long)rung, (unsigned long long)early);
    CHECK(fixture.domain->header->sleeps < 300, "%llu sleeps for 250 ms of ten timers",
          (unsigned long long)fixture.domain->header->sleeps);
    fixture_close(&fixture);
}

/* A client arms after the domain has looked at its news for the last time in a turn, and before it has promised when to
 * look again: it rings no bell, as the promise of old is good enough, so the domain must look once more. */

static struct fixture *raced;
static unsigned arms;

static void arm_meanwhile(void)
{
    struct domain_client *first = &raced->clients[0], *second = &raced->clients[1];
    if (arms == 0 && first->session->due != 0 && second->session->due != 0) {
        arms++; /* both are woken: the second is looked at again in this turn ... */
        domain_arm(second, 0, START + 20 * MS);
    } else if (arms == 1 && second->session->news == 0) {
        arms++; /* ... and that has happened */
        domain_arm(first, 0, START + 10 * MS);
    }
}

static void test_arms_before_the_promise(void)
{
    fixture_ns = START;
    struct fixture fixture = fixture_open(2, 1, 0, 0);
    raced = &fixture;
    for (uint32_t i = 0; i < 2; i++)
        domain_arm(&fixture.clients[i], 0, START + MS);
    fixture_run(&fixture, START + MS / 2);
    arms = 0;
    fixture_interrupts = arm_meanwhile;
    fixture_run(&fixture, START + 2 * MS);
    fixture_interrupts = NULL;
    CHECK(arms == 2 && fixture.clients[0].rung == 1 && fixture.clients[1].rung == 1, "no bells but the first");
    fixture_run(&fixture, START + 10 * MS);
    CHECK(fixture_take_all(&fixture.clients[0]) == 1, "and in time");
    fixture_close(&fixture);
}

/* Against the model. */

enum { CLIENTS = 4, SLOTS = 70 };
static uint64_t model[CLIENTS][SLOTS]; /* deadline, 0 = not armed */

static uint64_t some_deadline(void)
{
    static const uint64_t ranges[] = {1000, MS / 10, MS, 10 * MS, 1000 * MS};
    return draw(30) == 0 ? fixture_ns - draw(10 * MS) : fixture_ns + 1 + draw(ranges[draw(5)]);
}

static void operate(struct fixture *fixture)
{
    const uint32_t i = (uint32_t)draw(CLIENTS), slot = (uint32_t)draw(SLOTS);
    if (draw(3) > 0) {
        domain_arm(&fixture->clients[i], slot, model[i][slot] = some_deadline());
    } else {
        const bool armed = model[i][slot] != 0, in_time = domain_cancel(&fixture->clients[i], slot);
        CHECK(!in_time || armed, "cancelled what was not armed");
        CHECK(in_time || !armed || model[i][slot] <= fixture_ns, "expired early");
        model[i][slot] = 0;
    }
}

static struct fixture *interrupted;

/* Clients run in the middle of a turn, too. */
static void interrupt(void)
{
    fixture_interrupts = NULL;
    if (draw(8) == 0)
        operate(interrupted);
    fixture_interrupts = interrupt;
}

static unsigned check_against_model(struct fixture *fixture, uint64_t slack_ns)
{
    unsigned taken = 0;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        for (uint32_t slot; domain_take(&fixture->clients[i], &slot); taken++) {
            CHECK(model[i][slot] != 0, "%u of %u was not armed", slot, i);
            CHECK(model[i][slot] <= fixture_ns, "%u of %u is early", slot, i);
            model[i][slot] = 0;
        }
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            CHECK(model[i][slot] == 0 || model[i][slot] + slack_ns > fixture_ns, "%u of %u is lost or late by %llu ns",
                  slot, i, (unsigned long long)(fixture_ns - model[i][slot]));
    }
    return taken;
}

static void test_random(uint64_t operations, uint64_t seed, uint32_t limit, uint64_t slack_ns, bool interrupts)
{
    fixture_ns = START;
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    memset(model, 0, sizeof model);
    struct fixture fixture = fixture_open(CLIENTS, SLOTS, limit, slack_ns);
    uint64_t taken = 0;
    const int before = checks_failed;
    for (uint64_t k = 0; k < operations && checks_failed < before + 10; k++) {
        operate(&fixture);
        if (draw(20) == 0) {
            /* Without slack, what is due now may wait for the next nanosecond (timers.h). And bells for a while. */
            interrupted = &fixture;
            fixture_interrupts = interrupts ? interrupt : NULL;
            fixture_run(&fixture, fixture_ns + draw(draw(10) == 0 ? 100 * MS : MS));
            fixture_interrupts = NULL;
            fixture_run(&fixture, fixture_ns + KEEPER_BELL_NS + slack_ns + 1);
            taken += check_against_model(&fixture, slack_ns + 1);
        }
        if (draw(2000) == 0)
            fixture_restart(&fixture);
    }
    CHECK(taken > operations / 10, "only %llu expired: the test tests little", (unsigned long long)taken);
    fixture_close(&fixture);
}

static void test_accounts(void)
{
    fixture_ns = START;
    struct fixture fixture = fixture_open(3, 4, 0, 0);
    domain_arm(&fixture.clients[1], 0, START + MS);
    domain_arm(&fixture.clients[1], 1, START + MS);
    fixture_run(&fixture, START + 2 * MS);
    CHECK(fixture_account(&fixture, 1)->expiries == 2 && fixture_account(&fixture, 1)->operations == 4, "its own");
    CHECK(fixture_account(&fixture, 1)->bells == 1 && fixture_account(&fixture, 1)->known == 1, "one bell for both");
    CHECK(fixture_account(&fixture, 0)->operations == 0 && fixture_account(&fixture, 0)->known == 0, "the others' not");
    fixture_close(&fixture);
    const struct domain_options bad[] = {{.clients = 0, .slots = 1},
                                         {.clients = 1, .slots = 0},
                                         {.clients = 1, .slots = DOMAIN_SLOTS_MOST + 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(domain_open(&bad[i]) == NULL, "%zu is refused", i);
}

int main(int argc, char **argv)
{
    uint64_t operations = 100000, seed = 2004;
    for (int i = 1; i + 1 < argc; i += 2) {
        const uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--operations") == 0)
            operations = value;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = value;
    }
    test_one();
    test_not_early();
    test_does_not_sleep();
    test_no_bells();
    test_arms_before_the_promise();
    test_random(operations / 4, seed, 0, MS / 2, false);
    test_random(operations / 4, seed + 1, 3, 0, false);
    test_random(operations / 4, seed + 2, 1, MS / 2, true);
    test_random(operations / 4, seed + 3, 0, 0, true);
    test_accounts();
    return checks_failed > 0;
}
