/* test_userstack_transfer.c: two stacks, both ways at once, every byte compared, over links good and bad.
 *
 *     test_userstack_transfer [--bytes N] [--seeds N] [CELL]
 */
#include "check.h"
#include "userstack_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct cell {
    const char *name;
    struct impairment impairment;
    uint64_t limit_s; /* of virtual time, for a megabyte each way */
} cells[] = {
    {"clean", {.delay_us = 50}, 5},
    {"rate", {.delay_us = 1000, .frame_us = 120, .queue = 50}, 60},
    {"loss-1", {.delay_us = 1000, .loss = 0.01}, 120},
    {"loss-5", {.delay_us = 1000, .loss = 0.05}, 600},
    {"loss-20", {.delay_us = 1000, .loss = 0.2}, 20000},
    {"delay", {.delay_us = 50000, .frame_us = 12}, 120},
    {"reorder", {.delay_us = 1000, .reorder = 0.1, .reorder_us = 700, .frame_us = 12}, 60},
    {"duplicate", {.delay_us = 1000, .duplicate = 0.1}, 60},
    {"corrupt", {.delay_us = 1000, .corrupt = 0.02}, 600},
    {"all", {.delay_us = 5000, .loss = 0.01, .duplicate = 0.02, .reorder = 0.05, .reorder_us = 3000, .corrupt = 0.01}, 1200},
};

static uint8_t byte_at(unsigned side, uint64_t place) { return (uint8_t)((place * 0x9e3779b97f4a7c15 + side) >> 56); }

struct side {
    struct stack *stack;
    int socket;
    uint64_t written, read, total;
    bool shut, ended, wrong;
};

/* Write and read as much as goes, in parts of uneven size. */
static void work(struct link *link, struct side *s, unsigned index)
{
    uint8_t buffer[4096];
    while (!s->ended) {
        uint32_t want = 1 + (uint32_t)(link_random(link) % sizeof buffer);
        int got = us_read(s->stack, s->socket, buffer, want);
        if (got == -EAGAIN)
            break;
        if (got <= 0) {
            CHECK(got == 0, "read: %s", strerror(-got));
            s->ended = true;
            break;
        }
        for (int i = 0; i < got; i++)
            s->wrong |= buffer[i] != byte_at(!index, s->read + (uint64_t)i);
        s->read += (uint64_t)got;
    }
    while (s->written < s->total) {
        uint64_t left = s->total - s->written;
        uint32_t part = 1 + (uint32_t)(link_random(link) % sizeof buffer);
        part = part < left ? part : (uint32_t)left;
        for (uint32_t i = 0; i < part; i++)
            buffer[i] = byte_at(index, s->written + i);
        int taken = us_write(s->stack, s->socket, buffer, part, link_chance(link, 0.1));
        if (taken == -EAGAIN)
            break;
        CHECK(taken > 0, "write: %s", strerror(-taken));
        if (taken <= 0) {
            s->written = s->total;
            break;
        }
        s->written += (uint64_t)taken;
    }
    if (s->written == s->total && !s->shut) {
        CHECK(us_shutdown_write(s->stack, s->socket) == 0, "shutdown");
        s->shut = true;
    }
}

static void transfer(const struct cell *cell, uint64_t seed, const char *congestion, uint64_t total, bool small)
{
    struct stack_limits limits[2] = {stack_default_limits(), stack_default_limits()};
    for (int i = 0; i < 2; i++) {
        limits[i].connections = 8;
        limits[i].time_waits = 2;
        limits[i].syn_queue = 4;
        limits[i].chunks = small ? 24 : 600;
        limits[i].congestion = congestion;
        limits[i].timers = seed % 2 ? "wheel" : "lazy";
        limits[i].send_bytes = small ? 8192 : 262144;
        limits[i].receive_bytes = small ? 5000 : 262144;
        limits[i].data_tries = 30;
        limits[i].syn_tries = 30;
    }
    struct link link;
    link_open(&link, limits, &cell->impairment, seed);
    struct side sides[2] = {{.stack = link.ends[0].stack, .total = total}, {.stack = link.ends[1].stack, .total = total}};
    int listener = us_listen(sides[1].stack, 80, 4);
    sides[0].socket = us_connect(sides[0].stack, (struct us_endpoint){0x0a000002, 80}, 0);
    sides[1].socket = -1;
    uint64_t began = link.now_us, until = began + cell->limit_s * 1000000 * (total / 1000000 + 1);
    bool open = false;
    CHECK(listener >= 0 && sides[0].socket >= 0, "sockets");
    while (!(sides[0].ended && sides[1].ended) && link_step(&link, until)) {
        if (sides[1].socket < 0)
            sides[1].socket = us_accept(sides[1].stack, listener, NULL);
        open |= us_connect_result(sides[0].stack, sides[0].socket) == 0;
        if (open)
            work(&link, &sides[0], 0);
        if (sides[1].socket >= 0)
            work(&link, &sides[1], 1);
    }
    double seconds = (double)(link.now_us - began) / 1e6;
    printf("%s seed %llu %s%s: %.3f s, %.1f Mbit/s each way\n", cell->name, (unsigned long long)seed, congestion,
           small ? " small" : "", seconds, (double)total * 8 / seconds / 1e6);
    for (int i = 0; i < 2; i++) {
        CHECK(sides[i].read == total && sides[i].ended && !sides[i].wrong, "%s, seed %llu, %s: side %d read %llu of %llu bytes%s",
              cell->name, (unsigned long long)seed, congestion, i, (unsigned long long)sides[i].read,
              (unsigned long long)total, sides[i].wrong ? ", some of them wrong" : "");
        us_close(sides[i].stack, sides[i].socket);
    }
    us_close(sides[1].stack, listener);
    link_run(&link, UINT64_C(3000) * 1000000);
    for (int i = 0; i < 2; i++) {
        struct stack_usage usage = stack_usage(sides[i].stack);
        CHECK(usage.connections == 0 && usage.chunks == 0 && usage.packets == 0 && usage.timers == 0,
              "%s: end %d is left with %u connections, %u chunks, %u packets, %u timers", cell->name, i, usage.connections,
              usage.chunks, usage.packets, usage.timers);
    }
    link_close(&link);
}

int main(int argc, char **argv)
{
    uint64_t bytes = 1000000, seeds = 2;
    const char *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bytes") == 0 && i + 1 < argc)
            bytes = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            seeds = strtoull(argv[++i], NULL, 10);
        else
            only = argv[i];
    }
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        if (only != NULL && strcmp(only, cells[i].name) != 0)
            continue;
        for (uint64_t seed = 1; seed <= seeds; seed++) {
            transfer(&cells[i], seed, "reno", bytes, false);
            transfer(&cells[i], seed, "cubic", bytes, false);
            transfer(&cells[i], seed, "reno", bytes / 20, true);
        }
    }
    return checks_failed != 0;
}
