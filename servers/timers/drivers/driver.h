/* driver.h: how a process comes to be awake when its timers are due: one interface, a file a way.
 *
 * A turn sleeps until the next expiry, reads the clock once, and advances once: a batch of timers costs one clock read,
 * however many. What differs by driver is only the sleep, and that is nearly all of what a timer costs: a wake-up is
 * 12 to 25 µs of CPU, an operation of a facility 5 to 70 ns (../bench).
 *
 * For all drivers alike:
 *
 * - Tick n of the timers begins n tick_ns after the origin of CLOCK_MONOTONIC; no timer expires before that.
 * - A sleep may end early, never is one longer than asked for but by what the kernel adds: the slack, and a wake-up.
 * - Timers that are started, cancelled or re-armed between turns are seen by the next one. Who starts some long after
 *   the last turn calls driver_check() first: a wheel rounds by the time of that (timers.h).
 * - A turn with nothing pending returns at once; after driver_rest() nothing wakes the process.
 *
 * One thread at a time, the one that opened it: the slack is a thread's.
 */
#ifndef NAI_TIMER_DRIVER_H
#define NAI_TIMER_DRIVER_H

#include "timers.h"

struct driver_options {
    uint64_t tick_ns;        /* length of the timers' tick */
    uint64_t slack_ns;       /* by which the kernel may delay a wake-up to join others; 0: as it is, mostly 50 µs */
    uint64_t align_ns;       /* expiries are rounded up to a grid that all processes share; 0: they are not */
    uint64_t period_ns;      /* of `tick`, and of what backs `soft` up */
    uint64_t phase_ns;       /* of that period: processes of the same phase wake together */
    struct domain *domain;   /* of `domain`, before the fork; this process becomes its client. NULL: one of its own */
    uint32_t client;         /* which one */
    size_t batch;            /* at most so many expire in a turn */
    uint64_t (*clock)(void); /* ns; NULL: CLOCK_MONOTONIC */
};

struct driver;
struct driver_kind {
    const char *name;
    const char *cost; /* of a wake-up, by mechanism, for tables */
    struct driver *(*open)(const struct driver_options *options); /* NULL with errno */
    void (*close)(struct driver *driver);
    bool (*sleep)(struct driver *driver, uint64_t until_ns); /* returns whether it slept at all */
    void (*rest)(struct driver *driver);                     /* NULL: nothing is armed outside of a sleep */
};

/* What every driver's own structure begins with. */
struct driver {
    const struct driver_kind *kind;
    struct driver_options options;
    uint64_t now_ns;  /* the last clock read; expiries use it */
    uint64_t wakeups; /* sleeps that ended */
    uint64_t empty;   /* of which nothing was due */
    uint64_t armings; /* times that the kernel was told of a deadline */
};

/* All that were built; NULL ends it. */
extern const struct driver_kind *const driver_kinds[];
const struct driver_kind *driver_kind_named(const char *name); /* NULL: there is none */

/* Sets the thread's slack if one is asked for. NULL with errno: this machine refuses. */
struct driver *driver_open(const struct driver_kind *kind, const struct driver_options *options);
void driver_close(struct driver *driver);

/* The tick to start a timer with for a deadline in ns: the first that begins no earlier, and on the grid. */
uint64_t driver_tick(const struct driver *driver, uint64_t deadline_ns);

/* Sleep until something is due, then expire it. Returns how many expired: 0 if the sleep ended early. */
size_t driver_turn(struct driver *driver, struct timers *timers);
/* A trigger point: expire what is due, without sleeping. */
size_t driver_check(struct driver *driver, struct timers *timers);
void driver_rest(struct driver *driver);

/* For drivers: allocate a driver's structure, zeroed. NULL with errno. */
struct driver *driver_allocate(size_t bytes);

static inline uint64_t round_up(uint64_t value, uint64_t unit)
{
    return unit > 0 ? (value + unit - 1) / unit * unit : value;
}

#endif
