/* phases.h: what the phases of a loop cost.
 *
 * Only with --counters are clocks read, one read at the end of a phase: a phase lasts from the end of the one before, so
 * the three sums are the whole time of the loop.
 *
 * The price of getevents must not include sleep. So with --counters a call is first made with time-out 0, and if it
 * reports something, it is counted as ready, with its exact cost. If it reports nothing, the loop goes round to a call
 * with the ordinary time-out, and the next PROBE_REST calls are ordinary ones too. Under overload, where the price
 * decides, every call is thus of the measured kind and none is added; a lightly loaded loop makes at most one call in
 * PROBE_REST + 1 that it would not have made. All calls count as getevents; one with time-out 0 is a probe by itself.
 *
 * A turn is what a loop does between two getevents calls. While it lasts nobody else is served: so long ones are counted,
 * by length, and the longest is kept. (Of kernel threads that is the accept phases of one of them: they hold nobody.)
 */
#ifndef NAI_PHASES_H
#define NAI_PHASES_H

#include "clock.h"
#include "counters.h"

#define PROBE_REST 16

struct phases {
    uint64_t mark_ns; /* end of the last phase */
    uint64_t turn_ns; /* phases since getevents returned */
    unsigned rest;    /* calls until the next probe */
    bool probing;
};

static inline void phases_start(struct phases *phases)
{
    *phases = (struct phases){.mark_ns = monotonic_ns()};
}

/* End a phase; its time is added to the counter. Returns it. */
static inline uint64_t phase_ends(struct phases *phases, enum counter_index time_ns)
{
    if (!counters_timed())
        return 0;
    uint64_t now_ns = monotonic_ns(), took_ns = now_ns - phases->mark_ns;
    phases->mark_ns = now_ns;
    phases->turn_ns += took_ns;
    counters[time_ns].value += took_ns;
    return took_ns;
}

static inline void turn_ends(struct phases *phases)
{
    const uint64_t us = phases->turn_ns / 1000;
    phases->turn_ns = 0;
    if (us > counter_value(turn_max_us))
        counter_value(turn_max_us) = us;
    count_by(turns_over_100us, us > 100);
    count_by(turns_over_1ms, us > 1000);
    count_by(turns_over_10ms, us > 10000);
    count_by(turns_over_100ms, us > 100000);
    count_by(turns_over_1s, us > 1000000);
}

/* The time-out for the coming getevents call: the wanted one, or 0 for a probe. */
static inline int getevents_begins(struct phases *phases, int wanted_ms)
{
    turn_ends(phases);
    phases->probing = counters_timed() && (phases->rest == 0 || wanted_ms == 0);
    if (phases->rest > 0)
        phases->rest--;
    return phases->probing ? 0 : wanted_ms;
}

static inline void getevents_ends(struct phases *phases, int ready)
{
    uint64_t took_ns = phase_ends(phases, COUNTER_getevents_ns);
    phases->turn_ns = 0;
    count(getevents);
    count(system_calls);
    if (ready > 0)
        count_by(events, ready);
    if (!phases->probing)
        return;
    if (ready > 0) {
        count(getevents_ready);
        count_by(getevents_ready_ns, took_ns);
    } else {
        phases->rest = PROBE_REST;
    }
}

#endif
