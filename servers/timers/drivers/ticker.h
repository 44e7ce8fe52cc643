/* ticker.h: a run of ticker: what is measured, and what came of it. */
#ifndef NAI_TICKER_H
#define NAI_TICKER_H

#include "domains.h"
#include "spinner.h"
#include "worker.h"

#define CPUS_AT_MOST 256u
#define SLICES_AT_MOST 1000u

enum { OFF, ON };

struct ticker {
    struct plan plan;
    struct stage *stage;
    uint32_t failed;
    struct domains domains; /* where the driver is theirs */
    bool cores;             /* measure them; else lateness */
    unsigned cpus[CPUS_AT_MOST];
    struct spinner *spinners[CPUS_AT_MOST];
    uint64_t interrupts[2][CPUS_AT_MOST];
    bool interrupts_known;
    uint64_t slice_ns;
    double burnt[2][SLICES_AT_MOST]; /* cores, by slice */
};

/* What was counted and measured in so many slices, as members of a JSON object after others. */
void ticker_report(const struct ticker *ticker, size_t slices);

#endif
