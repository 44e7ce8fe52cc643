/* tcp_congestion_cubic.c: CUBIC, RFC 9438. Windows in segments here, as there. */
#include "tcp_congestion.h"

static const double C = 0.4, BETA = 0.7; /* 4.1.2, 4.6 */

/* Newton's method: no libm, and five steps are exact enough from a power of 2 near by. */
static double cube_root(double x)
{
    if (x <= 0)
        return 0;
    double root = 1;
    while (root * root * root < x)
        root *= 2;
    for (int i = 0; i < 8; i++)
        root = (2 * root + x / (root * root)) / 3;
    return root;
}

static double cube(double x) { return x * x * x; }

static void begin_epoch(struct tcp_window *w, uint64_t now_us)
{
    double cwnd = (double)w->cwnd / w->mss;
    w->cubic.epoch_us = now_us == 0 ? 1 : now_us;
    w->cubic.estimate = cwnd;
    if (cwnd < w->cubic.maximum) {
        w->cubic.k_s = cube_root((w->cubic.maximum - cwnd) / C); /* 4.2, figure 2 */
        w->cubic.origin = w->cubic.maximum;
    } else {
        w->cubic.k_s = 0;
        w->cubic.origin = cwnd;
    }
}

static void acked(struct tcp_window *w, uint32_t bytes, uint64_t now_us, uint64_t rtt_us)
{
    bytes = tcp_slow_start(w, bytes);
    if (bytes == 0)
        return;
    if (w->cubic.epoch_us == 0)
        begin_epoch(w, now_us);
    double cwnd = (double)w->cwnd / w->mss, segments = (double)bytes / w->mss;
    double t = (double)(now_us - w->cubic.epoch_us) / 1e6, rtt = (double)rtt_us / 1e6;
    double target = w->cubic.origin + C * cube(t + rtt - w->cubic.k_s); /* W_cubic(t + RTT) */
    if (target < cwnd)
        target = cwnd;
    if (target > 1.5 * cwnd)
        target = 1.5 * cwnd;
    /* 4.3: never slower than Reno would be; once past the old maximum, with alpha 1. */
    double alpha = w->cubic.estimate < w->cubic.maximum ? 3 * (1 - BETA) / (1 + BETA) : 1;
    w->cubic.estimate += alpha * segments / cwnd;
    double now = w->cubic.origin + C * cube(t - w->cubic.k_s);
    double grown = now < w->cubic.estimate ? w->cubic.estimate : cwnd + (target - cwnd) / cwnd * segments;
    if (grown > cwnd)
        w->cwnd = grown < 1e9 / w->mss ? (uint32_t)(grown * w->mss) : w->cwnd;
}

static void lost(struct tcp_window *w, uint32_t in_flight, bool timeout)
{
    (void)timeout;
    double cwnd = (double)(in_flight < w->cwnd ? in_flight : w->cwnd) / w->mss;
    /* 4.7, fast convergence: a maximum that falls makes room for others. */
    w->cubic.maximum = cwnd < w->cubic.maximum ? cwnd * (1 + BETA) / 2 : cwnd;
    w->cubic.epoch_us = 0;
    uint32_t fallen = (uint32_t)(cwnd * BETA * w->mss);
    w->ssthresh = fallen > 2 * w->mss ? fallen : 2 * w->mss;
}

const struct tcp_congestion tcp_cubic = {.name = "cubic", .acked = acked, .lost = lost};
