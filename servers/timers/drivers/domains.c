/* domains.c: start, restart and sum up the timer domains of a run. */
#include "domains.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

bool domains_start(struct domains *domains, const unsigned *cpus, size_t count, uint32_t clients, uint64_t slack_ns)
{
    *domains = (struct domains){.all = calloc(count, sizeof *domains->all), .seen_ns = calloc(count, sizeof(uint64_t))};
    if (domains->all == NULL || domains->seen_ns == NULL)
        return false;
    for (; domains->count < count; domains->count++) {
        const struct domain_options options = {.clients = (uint32_t)((clients + count - 1) / count),
                                               .slots = 1,
                                               .slack_ns = slack_ns,
                                               .cpu = (int)cpus[domains->count]};
        struct domain *domain = domain_open(&options);
        if (domain == NULL || !domain_start(domain))
            return false;
        domains->all[domains->count] = domain;
    }
    return true;
}

bool domains_restart(struct domains *domains, pid_t pid)
{
    for (size_t k = 0; k < domains->count; k++)
        if (domains->all[k]->pid == pid) {
            domains->seen_ns[k] = 0;
            domains->restarts++;
            errno = 0;
            (void)domain_start(domains->all[k]);
            return true;
        }
    return false;
}

void domains_look(struct domains *domains, bool add)
{
    for (size_t k = 0; k < domains->count; k++) {
        clockid_t clock;
        struct timespec used;
        if (clock_getcpuclockid(domains->all[k]->pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
            continue;
        const uint64_t ns = (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
        domains->cpu_ns += add ? ns - domains->seen_ns[k] : 0;
        domains->seen_ns[k] = ns;
    }
}

struct domains_totals domains_total(const struct domains *domains)
{
    struct domains_totals total = {0};
    for (size_t k = 0; k < domains->count; k++) {
        const struct domain_header *header = domains->all[k]->header;
        total.turns += header->turns;
        total.sleeps += header->sleeps;
        total.ns += header->own_ns;
        for (uint32_t i = 0; i < header->clients; i++) {
            total.operations += header->accounts[i].operations;
            total.wakes += header->accounts[i].wakes;
            total.bells += header->accounts[i].bells;
            total.ns += header->accounts[i].ns;
        }
    }
    return total;
}

void domains_stop(struct domains *domains)
{
    for (size_t k = 0; k < domains->count; k++)
        domain_stop(domains->all[k]);
}
