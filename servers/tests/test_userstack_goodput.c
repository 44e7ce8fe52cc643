/* test_userstack_goodput.c: how much gets through a path that loses, delays, reorders, duplicates and corrupts, against what
 * theory says of the algorithm, in virtual time. The bounds are coarse: theory knows no time-outs, no slow start, and only
 * losses that come one by one. For the table:
 *
 *     test_userstack_goodput [--bytes N] [--seeds N] [--tick-us N] [CELL]
 */
#include "check.h"
#include "userstack_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PAYLOAD = 1448, FRAME_US = 12, WINDOW = 4 << 20 }; /* with timestamps; of 1 Gbit/s */

static const struct cell {
    const char *name;
    struct impairment impairment;
    uint64_t bytes;
    double low, high; /* goodput ÷ theory; the high one is that of few losses, of which the first comes late */
} cells[] = {
    {"loss 0.1 %, delay 10 ms", {.loss = 0.001, .delay_us = 10000}, 16000000, 0.7, 20},
    {"loss 1 %, delay 10 ms", {.loss = 0.01, .delay_us = 10000}, 8000000, 0.7, 2},
    {"loss 5 %, delay 10 ms", {.loss = 0.05, .delay_us = 10000}, 4000000, 0.7, 1.4},
    {"loss 1 % on a short path", {.loss = 0.01, .delay_us = 30}, 16000000, 0.3, 1.2},
    {"loss 5 % on a short path", {.loss = 0.05, .delay_us = 30}, 8000000, 0.01, 1.2},
    {"reordering within a host", {.reorder = 0.01, .reorder_us = 500, .delay_us = 30}, 16000000, 0.2, 1},
    {"loss 1 %, delay 50 ms", {.loss = 0.01, .delay_us = 50000}, 8000000, 0.7, 3},
    {"a wide window", {.delay_us = 50000}, 40000000, 0.5, 1},
    {"reordering", {.reorder = 0.05, .reorder_us = 3000, .delay_us = 10000}, 16000000, 0.3, 1},
    {"reordering on a short path", {.reorder = 0.01, .reorder_us = 500, .delay_us = 500}, 16000000, 0.6, 1},
    {"duplication", {.duplicate = 0.05, .delay_us = 10000}, 16000000, 0.3, 1},
    {"corruption", {.corrupt = 0.01, .delay_us = 10000}, 8000000, 0.7, 2},
    {"mix", {.loss = 0.01, .reorder = 0.02, .reorder_us = 2000, .duplicate = 0.01, .corrupt = 0.005, .delay_us = 10000},
     8000000, 0.8, 3},
};

/* By Newton: no libm. */
static double root(double x)
{
    double r = x > 1 ? x : 1;
    for (int i = 0; i < 60; i++)
        r = (r + x / r) / 2;
    return r;
}

/* Bytes per second. Reno: Mathis et al. 1997, √(3/2p) segments a round trip; CUBIC: RFC 9438, 5.1, where it is more. */
static double theory(const struct impairment *i, bool cubic)
{
    double rtt = (2.0 * i->delay_us + FRAME_US) / 1e6, rate = PAYLOAD / (FRAME_US / 1e6), p = i->loss + i->corrupt;
    double wide = WINDOW / rtt, bound = rate < wide ? rate : wide;
    if (p == 0)
        return bound;
    double window = root(1.5 / p), own = 1.054 * root(rtt / p * root(rtt / p));
    double bytes = PAYLOAD * (cubic && own > window ? own : window) / rtt;
    return bytes < bound ? bytes : bound;
}

static double transfer(const struct cell *cell, uint64_t seed, const char *congestion, uint64_t total, uint32_t tick_us)
{
    struct stack_limits limits[2] = {stack_default_limits(), stack_default_limits()};
    struct impairment impairment = cell->impairment;
    impairment.frame_us = FRAME_US;
    for (int i = 0; i < 2; i++) {
        limits[i].connections = 4;
        limits[i].time_waits = 2;
        limits[i].syn_queue = 2;
        limits[i].chunks = 8192;
        limits[i].congestion = congestion;
        limits[i].send_bytes = limits[i].receive_bytes = WINDOW;
        limits[i].tick_ns = tick_us * 1000;
    }
    struct link link;
    link_open(&link, limits, &impairment, seed);
    struct stack *from = link.ends[0].stack, *to = link.ends[1].stack;
    int listener = us_listen(to, 80, 1), sender = us_connect(from, (struct us_endpoint){0x0a000002, 80}, 0), receiver = -1;
    static const uint8_t text[16384];
    uint64_t began = 0, written = 0, read = 0, until = link.now_us + UINT64_C(3600) * 1000000;
    while (read < total && link_step(&link, until)) {
        if (receiver < 0) {
            receiver = us_accept(to, listener, NULL);
            began = link.now_us;
        }
        if (us_connect_result(from, sender) == 0) {
            int taken = 1;
            while (written < total && taken > 0) {
                uint64_t left = total - written;
                taken = us_write(from, sender, text, left < sizeof text ? (uint32_t)left : (uint32_t)sizeof text, false);
                written += taken > 0 ? (uint64_t)taken : 0;
            }
        }
        int got = receiver < 0 ? -EAGAIN : us_read(to, receiver, NULL, INT32_MAX);
        read += got > 0 ? (uint64_t)got : 0;
    }
    CHECK(read == total, "%s, seed %llu, %s: %llu bytes arrived", cell->name, (unsigned long long)seed, congestion,
          (unsigned long long)read);
    double bytes_per_s = (double)read / ((double)(link.now_us - began) / 1e6);
    const struct stack_counters *c = stack_counters(from);
    printf("%s, %s, seed %llu: %.2f MB/s, %.2f of theory; %llu segments again, %llu recoveries, %llu time-outs, %llu tail "
           "probes, %llu undone\n",
           cell->name, congestion, (unsigned long long)seed, bytes_per_s / 1e6,
           bytes_per_s / theory(&impairment, congestion[0] == 'c'), (unsigned long long)c->tcp_retransmitted,
           (unsigned long long)c->tcp_fast_recoveries, (unsigned long long)c->tcp_timeouts,
           (unsigned long long)c->tcp_tail_probes, (unsigned long long)c->tcp_undone);
    link_close(&link);
    return bytes_per_s;
}

int main(int argc, char **argv)
{
    uint64_t bytes = 0, seeds = 2, tick_us = 100;
    const char *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bytes") == 0 && i + 1 < argc)
            bytes = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            seeds = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--tick-us") == 0 && i + 1 < argc)
            tick_us = strtoull(argv[++i], NULL, 10);
        else
            only = argv[i];
    }
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        if (only != NULL && strcmp(only, cells[i].name) != 0)
            continue;
        for (int cubic = 0; cubic < 2; cubic++) {
            const char *congestion = cubic ? "cubic" : "reno";
            double sum = 0;
            for (uint64_t seed = 1; seed <= seeds; seed++)
                sum += transfer(&cells[i], seed, congestion, bytes == 0 ? cells[i].bytes : bytes, (uint32_t)tick_us);
            double share = sum / (double)seeds / theory(&cells[i].impairment, cubic);
            CHECK(share >= cells[i].low && share <= cells[i].high, "%s, %s: %.2f of theory", cells[i].name, congestion, share);
        }
    }
    return checks_failed != 0;
}
