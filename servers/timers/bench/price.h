/* price.h: what timercost measures: a price a row, taken in pairs of slices of time that differ in it alone. */
#ifndef NAI_TIMER_PRICE_H
#define NAI_TIMER_PRICE_H

#include "spinner.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PRICE_PARTS 2

struct costs {
    unsigned cpu, other_cpu;   /* where this process is pinned, and where those are whom it wakes across CPUs */
    uint32_t processes, batch; /* of those who are woken by others */
    uint64_t period_ns;        /* of the prices that are paced */
    uint64_t gap_ns;           /* of the spinner */
    struct spinner *spinner;   /* of those prices that have one */
    double *lateness_ns;       /* of wake-ups, as they come */
    size_t lateness_count, lateness_room;
    uint64_t halts; /* of the CPU in slices that are on, where that is told (halts_known) */
    bool halts_known;
    void *its; /* what the price keeps */
};

/* What a slice took, in ns: all that the price consists of, and the parts of it that have names. */
struct taken {
    double ns, parts[PRICE_PARTS];
};

struct price {
    const char *name, *what;
    const char *parts[PRICE_PARTS]; /* JSON names, less "_ns"; NULL: none */
    void (*open)(struct costs *costs);
    /* A slice in which the operation is done `times` times, or (off) everything else is done just the same. */
    struct taken (*slice)(struct costs *costs, uint64_t times, bool on);
    void (*close)(struct costs *costs); /* NULL: nothing is left */
    uint64_t times;     /* in a slice; 0: 16, or twice that, and so on, until it is SLICE_NS long */
    uint64_t period_us; /* from one to the next, unless --period-us says; 0: as fast as can be */
    bool crowd, across; /* there are --processes and --batch, or --other-cpu */
};
extern const struct price price_stamp, price_clock, price_null_call, price_timerfd_untouched,
    price_timerfd_reprogrammed, price_timerfd_moved, price_interrupt, price_timer_wake, price_timer_wake_halted,
    price_wake_same_cpu, price_wake_other_cpu;

#define SLICE_NS 2000000

void pin_to(unsigned cpu);     /* the calling thread; fails with exit 3 */
void sleep_until(uint64_t ns); /* of CLOCK_MONOTONIC */
/* Until somebody wakes; not at all if the word is not `value`. It may end early. */
void futex_wait(_Atomic uint32_t *word, uint32_t value);
void futex_wake(_Atomic uint32_t *word); /* one who waits, after counting the word up */
/* Fork one that ends with this process. -1 with errno. */
pid_t fork_bound(void);

/* Note how late a wake-up was. What there is no room for is not noted. */
static inline void note_lateness(struct costs *costs, uint64_t ns)
{
    if (costs->lateness_count < costs->lateness_room)
        costs->lateness_ns[costs->lateness_count++] = (double)ns;
}

#endif
