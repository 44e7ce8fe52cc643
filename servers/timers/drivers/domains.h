/* domains.h: the timer domains of a run, one for each CPU, whose clients are the processes there. */
#ifndef NAI_TICKER_DOMAINS_H
#define NAI_TICKER_DOMAINS_H

#include "domain.h"

/* Where none is asked for, and deadlines are not aligned anyway: a part of the timers' period, and at most so much. */
#define DOMAIN_SLACK_PART 10u
#define DOMAIN_SLACK_NS UINT64_C(1000000)

struct domains {
    struct domain **all;
    uint64_t *seen_ns; /* CPU time of each at the last look */
    size_t count;
    uint64_t cpu_ns;
    uint32_t restarts;
};

struct domains_totals {
    uint64_t turns, sleeps, operations, wakes, bells, ns;
};

/* Before the clients are forked. False with errno. */
bool domains_start(struct domains *domains, const unsigned *cpus, size_t count, uint32_t clients, uint64_t slack_ns);
/* A process has ended: true if it was one of these. It is started again, or the error is in errno. */
bool domains_restart(struct domains *domains, pid_t pid);
/* Look at their CPU times; with `add`, count what was used since the last look. */
void domains_look(struct domains *domains, bool add);
struct domains_totals domains_total(const struct domains *domains);
/* Their accounts stay. */
void domains_stop(struct domains *domains);

#endif
