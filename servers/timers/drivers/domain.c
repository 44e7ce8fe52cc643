/* domain.c: sleep until the shared timer domain says that something is due: ../domain/domain.h.
 *
 * A wake-up is one system call of the client's, the sleep itself: arming is a store into shared memory, except when the
 * domain sleeps for longer than that: then its bell is rung, a write more. The domain adds a futex wake-up, on the same
 * CPU, and its own share of a sleep that it shares with all whose deadlines lie within its slack. So N processes cost
 * the timer interrupts of one. The slack is the domain's, not the kernel's. One slot holds the next expiry.
 */
#include "domain.h"

#include "driver.h"

#include <stdlib.h>

struct shared {
    struct driver driver;
    struct domain_client client;
    struct domain *own; /* where none was given */
};

/* For one that is alone. */
static struct domain *open_own(const struct driver_options *options)
{
    const struct domain_options one = {.clients = 1, .slots = 1, .slack_ns = options->slack_ns, .cpu = -1};
    struct domain *domain = domain_open(&one);
    if (domain == NULL || domain_start(domain))
        return domain;
    domain_close(domain);
    return NULL;
}

static void close_shared(struct driver *driver)
{
    struct shared *shared = (struct shared *)driver;
    if (shared->own != NULL)
        domain_close(shared->own);
    free(driver);
}

static struct driver *open_shared(const struct driver_options *options)
{
    struct shared *shared = (struct shared *)driver_allocate(sizeof *shared);
    if (shared == NULL)
        return NULL;
    struct domain *domain = options->domain;
    if (domain == NULL)
        domain = shared->own = open_own(options);
    if (domain == NULL || (domain == options->domain && !domain_isolate(domain, options->client))) {
        free(shared);
        return NULL;
    }
    domain_client_open(&shared->client, domain, shared->own != NULL ? 0 : options->client);
    return &shared->driver;
}

static bool sleep_until(struct driver *driver, uint64_t until_ns)
{
    struct domain_client *client = &((struct shared *)driver)->client;
    uint32_t slot;
    domain_arm(client, 0, until_ns > 0 ? until_ns : 1); /* 0 is none */
    domain_wait(client);
    while (domain_take(client, &slot)) /* its expiry is seen by the clock */
        ;
    driver->armings = client->rung;
    return true;
}

static void rest(struct driver *driver)
{
    domain_cancel(&((struct shared *)driver)->client, 0);
}

const struct driver_kind driver_domain = {
    .name = "domain",
    .cost = "1 system call, and 1 of the domain's; its slack applies",
    .open = open_shared,
    .close = close_shared,
    .sleep = sleep_until,
    .rest = rest,
};
