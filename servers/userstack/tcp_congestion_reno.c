/* tcp_congestion_reno.c: slow start and congestion avoidance, RFC 5681, 3.1, by bytes (RFC 3465). */
#include "tcp_congestion.h"

#include <stddef.h>

const struct tcp_congestion *const tcp_congestions[] = {&tcp_reno, &tcp_cubic, NULL};

static void acked(struct tcp_window *w, uint32_t bytes, uint64_t now_us, uint64_t rtt_us)
{
    (void)now_us;
    (void)rtt_us;
    w->counted += tcp_slow_start(w, bytes);
    while (w->counted >= w->cwnd) {
        w->counted -= w->cwnd;
        w->cwnd += w->mss;
    }
}

static void lost(struct tcp_window *w, uint32_t in_flight, bool timeout)
{
    (void)timeout;
    w->ssthresh = in_flight / 2 > 2 * w->mss ? in_flight / 2 : 2 * w->mss;
    w->counted = 0;
}

const struct tcp_congestion tcp_reno = {.name = "reno", .acked = acked, .lost = lost};
