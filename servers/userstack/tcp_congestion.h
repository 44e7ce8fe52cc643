/* tcp_congestion.h: the small interface between loss recovery, which is the same for all (tcp_recovery.c), and what an
 * algorithm decides: how the window grows, and how far it falls. Windows in bytes. */
#ifndef NAI_STACK_TCP_CONGESTION_H
#define NAI_STACK_TCP_CONGESTION_H

#include <stdbool.h>
#include <stdint.h>

struct tcp_window {
    uint32_t cwnd, ssthresh, mss;
    uint64_t counted; /* acknowledged bytes that have not yet opened the window */
    struct {          /* cubic's; windows in segments */
        double maximum, origin, estimate, k_s;
        uint64_t epoch_us; /* 0 = not begun */
    } cubic;
};

/* Slow start, RFC 5681, 3.1, by bytes (RFC 3465), and without a limit for a single acknowledgment (L of RFC 9406, 4.2), as
 * in Linux: who receives in batches acknowledges dozens of segments at once. Returns what is left for congestion avoidance. */
static inline uint32_t tcp_slow_start(struct tcp_window *w, uint32_t acked)
{
    if (w->cwnd >= w->ssthresh)
        return acked;
    uint32_t room = w->ssthresh - w->cwnd;
    if (acked < room)
        room = acked;
    w->cwnd += room;
    return acked - room;
}

struct tcp_congestion {
    const char *name;
    /* `acked` new bytes were acknowledged, outside recovery, while the window was in use. */
    void (*acked)(struct tcp_window *w, uint32_t acked, uint64_t now_us, uint64_t rtt_us);
    /* A loss was found with so much in flight: set ssthresh (and what the algorithm remembers). */
    void (*lost)(struct tcp_window *w, uint32_t in_flight, bool timeout);
};
extern const struct tcp_congestion tcp_reno, tcp_cubic;
extern const struct tcp_congestion *const tcp_congestions[]; /* by enum of US_CONGESTION; NULL ends it */

#endif
