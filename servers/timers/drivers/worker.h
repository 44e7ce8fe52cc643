/* worker.h: one of N processes that have periodic timers, held between slices of time by a futex.
 *
 * The memory is shared by all. Begin and end of a slice are announced before: a timer is due at every multiple of the
 * granularity, plus its phase, that lies in the slice. So how many are due is arithmetic (worker_due()), and what a
 * process that was killed or never ran did not deliver counts as missed. So does one that passes before the timer's
 * last one was delivered: it has no lateness.
 */
#ifndef NAI_TICKER_WORKER_H
#define NAI_TICKER_WORKER_H

#include "driver.h"
#include "histogram.h"

#include <stdatomic.h>
#include <sys/types.h>

struct plan {
    const struct driver_kind *kind;
    const char *facility;
    struct driver_options driver; /* phase_ns is each worker's own */
    struct domain **domains; /* one for each of `cpus`; NULL: none */
    uint64_t granularity_ns;
    uint32_t workers, timers; /* timers of each */
    const unsigned *cpus;     /* worker i runs on the (i mod count)th only */
    size_t cpu_count;
    bool spread;         /* phases by process and timer; else all are the same */
    uint64_t trigger_us; /* it works all of a slice, so long from one trigger point to the next; 0: it never does */
};

/* What one did, in all slices. */
struct worker {
    pid_t pid;
    _Atomic uint32_t rested; /* the last slice after which it came to rest; 0: it is ready */
    uint64_t due; /* as whoever announces the slices counts it */
    uint64_t delivered, early, wakeups, empty, armings;
    uint64_t work_units, work_cpu_us; /* pieces of work between trigger points, and what they took */
    uint64_t cpu_us, voluntary_switches, involuntary_switches;
    struct histogram lateness; /* ns after the deadline (rounded up to the grid) */
};

#define WORKER_STARTS UINT32_MAX /* in `rested`: it has not come so far */

struct stage {
    _Atomic uint32_t slice; /* counts from 1: a futex for those at rest */
    uint64_t begin_ns, end_ns;
    bool lateness; /* record it */
    int error;     /* errno of a worker whose driver was refused */
    struct worker workers[];
};

/* Shared memory for so many. NULL with errno. */
struct stage *stage_map(uint32_t workers);
/* Fork the i-th. -1 with errno. It ends with the thread that calls this. */
pid_t worker_start(struct stage *stage, const struct plan *plan, uint32_t i);
/* Announce a slice to all that are at rest. */
void stage_begin(struct stage *stage, uint64_t begin_ns, uint64_t end_ns);
/* How many deadlines of one's timers lie in [begin, end). */
uint64_t worker_due(const struct plan *plan, uint32_t i, uint64_t begin_ns, uint64_t end_ns);

#endif
