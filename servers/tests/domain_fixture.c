/* domain_fixture.c: turns of a timer domain by a clock that is not real; its sleeps take no time. */
#include "domain_fixture.h"

#include "check.h"

#include <stdlib.h>

uint64_t fixture_ns;
void (*fixture_interrupts)(void);

uint64_t fixture_clock(void)
{
    if (fixture_interrupts != NULL)
        fixture_interrupts();
    return fixture_ns;
}

static void open_keeper(struct fixture *fixture)
{
    struct domain *domain = fixture->domain;
    fixture->keeper = keeper_open(domain->header, domain->sessions, domain->bytes, domain->bells, fixture_clock);
    NEED(fixture->keeper != NULL);
    fixture->next_ns = 0;
}

struct fixture fixture_open(uint32_t clients, uint32_t slots, uint32_t limit, uint64_t slack_ns)
{
    const struct domain_options options = {
        .clients = clients, .slots = slots, .limit = limit, .slack_ns = slack_ns, .cpu = -1};
    struct fixture fixture = {.domain = domain_open(&options), .clients = calloc(clients, sizeof *fixture.clients)};
    NEED(fixture.domain != NULL && fixture.clients != NULL);
    open_keeper(&fixture);
    for (uint32_t i = 0; i < clients; i++)
        domain_client_open(&fixture.clients[i], fixture.domain, i);
    return fixture;
}

void fixture_close(struct fixture *fixture)
{
    keeper_close(fixture->keeper);
    domain_close(fixture->domain);
    free(fixture->clients);
}

void fixture_restart(struct fixture *fixture)
{
    keeper_close(fixture->keeper);
    open_keeper(fixture);
}

unsigned fixture_run(struct fixture *fixture, uint64_t until_ns)
{
    unsigned turns = 0;
    for (;; turns++) {
        const bool rang = keeper_sleep(fixture->keeper, 0);
        if (!rang && fixture->next_ns > until_ns)
            break;
        if (!rang && fixture->next_ns > fixture_ns)
            fixture_ns = fixture->next_ns;
        fixture->next_ns = keeper_turn(fixture->keeper);
    }
    if (until_ns > fixture_ns)
        fixture_ns = until_ns;
    return turns;
}

unsigned fixture_take_all(struct domain_client *client)
{
    unsigned taken = 0;
    for (uint32_t slot; domain_take(client, &slot);)
        taken++;
    return taken;
}

struct domain_account *fixture_account(const struct fixture *fixture, uint32_t i)
{
    return &fixture->domain->header->accounts[i];
}
