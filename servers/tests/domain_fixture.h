/* domain_fixture.h: a timer domain within one process, by a clock that is not real, for tests. */
#ifndef NAI_TEST_DOMAIN_FIXTURE_H
#define NAI_TEST_DOMAIN_FIXTURE_H

#include "domain.h"
#include "keeper.h"

struct fixture {
    struct domain *domain;
    struct keeper *keeper;
    struct domain_client *clients;
    uint64_t next_ns; /* until then the domain sleeps, but for a bell */
};

extern uint64_t fixture_ns;               /* now */
extern void (*fixture_interrupts)(void); /* in the middle of turns, whenever one looks at the clock; NULL: nobody */
uint64_t fixture_clock(void);

struct fixture fixture_open(uint32_t clients, uint32_t slots, uint32_t limit, uint64_t slack_ns);
void fixture_close(struct fixture *fixture);
/* The domain dies, and another begins. */
void fixture_restart(struct fixture *fixture);
/* Serve until it would sleep beyond `until_ns`, where the clock then is. Returns how many turns. */
unsigned fixture_run(struct fixture *fixture, uint64_t until_ns);
/* Take all of a client's that expired. Returns how many. */
unsigned fixture_take_all(struct domain_client *client);
struct domain_account *fixture_account(const struct fixture *fixture, uint32_t i);

#endif
