/* counters.h: what a running design counts about itself, readable by others while it runs.
 *
 * With --counters FILE the struct lives in that file, mapped shared, and Python (servers.Counters) reads it live;
 * without, it lives in private memory: the increments are the same instruction either way. Phase times cost a clock
 * read a phase and are taken only when somebody asked for the file (counters_timed()).
 *
 * File layout (little endian): 8 bytes magic "NAICNT01", uint64 number of counters n, then n records of
 * { char name[24] (NUL-padded), uint64 value }. A reader needs no other description. A design of several processes has
 * one such block for each, one after another, the first process's first.
 */
#ifndef NAI_COUNTERS_H
#define NAI_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

/* One table: a counter is added here and nowhere else. Terms of Brecht et al. 2004, section 4. */
#define COUNTER_LIST(X)                                                                                                \
    X(accepts)            /* connections taken from the accept queue */                                                \
    X(accept_phases)      /* times the accept phase was entered */                                                     \
    X(accept_phases_empty)/* of which found no connection */                                                           \
    X(accept_errors)      /* accept calls that failed otherwise than by EAGAIN */                                      \
    X(accept_pauses)      /* times accepting paused for want of descriptors or memory */                               \
    X(getevents)          /* calls of select, poll, epoll_wait, ... */                                                 \
    X(system_calls)       /* made while serving: getevents, and what the transport does for connections */             \
    X(events)             /* ready descriptors those calls reported, listener included */                              \
    X(work_phases)        /* work phases with at least one connection to serve */                                      \
    X(work_items)         /* connections served in them (one connection, one visit) */                                 \
    X(requests)           /* complete requests parsed */                                                               \
    X(replies)            /* replies whose last byte was handed to the transport */                                    \
    X(replies_4xx)                                                                                                     \
    X(replies_5xx)                                                                                                     \
    X(bytes_received)                                                                                                  \
    X(bytes_sent)                                                                                                      \
    X(closes)             /* connections ended, for whatever reason */                                                 \
    X(vanished)           /* of which the client left mid-request or mid-reply */                                      \
    X(timeouts)           /* of which the header or idle time-out ended */                                             \
    X(connections_open)   /* gauge */                                                                                  \
    X(connections_peak)   /* highest value of the gauge */                                                             \
    X(blocked_calls)      /* calls the design knows to have blocked outside getevents */                               \
    X(getevents_ns)       /* time inside getevents, sleep included */                                                  \
    X(getevents_ready_ns) /* of which in probes that found something ready: cost without sleep (phases.h) */           \
    X(getevents_ready)    /* number of those probes: all calls, under overload */                                      \
    X(accept_ns)          /* time in accept phases */                                                                  \
    X(work_ns)            /* time in work phases, time-outs included */                                                \
    X(turns_over_100us)   /* turns of the loop, from one getevents call to the next, that lasted longer (phases.h) */  \
    X(turns_over_1ms)                                                                                                  \
    X(turns_over_10ms)                                                                                                 \
    X(turns_over_100ms)                                                                                                \
    X(turns_over_1s)                                                                                                   \
    X(turn_max_us)        /* the longest: so long was everybody held */                                                \
    X(file_hits)          /* files served from the open-file cache */                                                  \
    X(file_misses)                                                                                                     \
    X(lazy_calls)         /* made through lazy_io */                                                                   \
    X(lazy_in_progress)   /* of which went on without the loop */                                                      \
    X(lazy_inline)        /* by path: how the calls went, in laio.h's words */                                         \
    X(lazy_hit)                                                                                                        \
    X(lazy_miss)                                                                                                       \
    X(lazy_helper)                                                                                                     \
    X(lazy_ring)                                                                                                       \
    X(lazy_upcall)                                                                                                     \
    X(lazy_timer)                                                                                                      \
    X(lazy_held)                                                                                                       \
    X(lazy_refused)

struct counter {
    char name[24];
    uint64_t value;
};

enum counter_index {
#define X(name) COUNTER_##name,
    COUNTER_LIST(X)
#undef X
        COUNTER_COUNT
};

extern struct counter *counters; /* COUNTER_COUNT records; never NULL */

/* Increment from the one thread of a design; a reader sees a value at most one increment old. */
#define count(name) (counters[COUNTER_##name].value++)
#define count_by(name, n) (counters[COUNTER_##name].value += (uint64_t)(n))
#define counter_value(name) (counters[COUNTER_##name].value)

/* Map FILE (created, or an existing /proc/self/fd/N) as the live counters of this many processes, and count in the
 * first block; NULL keeps them private. Returns 0, or -1 with errno. */
int counters_open(const char *file, uint64_t processes);
void counters_belong_to(uint64_t process); /* in a forked process: count in its own block from now on */
bool counters_timed(void); /* true if a file was given: phase times are wanted */

#endif
