/* test_userstack_scale.c: how many connections one stack holds at a time, how many it opens and closes in a row, what an
 * idle one costs, and that finding one among many takes no more steps than among few.
 *
 *     test_userstack_scale [--concurrent N] [--in-a-row N]
 *
 * It prints what it found as lines `name value`.
 */
#include "check.h"
#include "clock.h"
#include "tcp.h"
#include "userstack_link.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AT_A_TIME = 250, REQUEST = 64, REPLY = 640 };

static const struct us_endpoint server = {0x0a000002, 80};

static struct stack_limits limits_for(uint32_t connections)
{
    struct stack_limits limits = stack_default_limits();
    limits.connections = connections;
    limits.time_waits = connections / 4;
    limits.syn_queue = AT_A_TIME < connections ? AT_A_TIME : connections - 1;
    limits.chunks = 4 * AT_A_TIME;
    limits.time_wait_ms = 1000;
    return limits;
}

static uint32_t left_over(struct link *link, const char *what)
{
    uint32_t left = 0;
    for (int i = 0; i < 2; i++) {
        struct stack_usage u = stack_usage(link->ends[i].stack);
        CHECK(u.connections == 0 && u.time_waits == 0 && u.chunks == 0 && u.packets == 0 && u.timers == 0,
              "%s, end %d: %u connections, %u TIME-WAIT, %u chunks, %u packets, %u timers", what, i, u.connections,
              u.time_waits, u.chunks, u.packets, u.timers);
        left += u.connections + u.time_waits + u.chunks + u.packets + u.timers;
    }
    return left;
}

static size_t resident_bytes(void)
{
    unsigned long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    NEED(file != NULL && fscanf(file, "%lu %lu", &all, &resident) == 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Comparisons of four-tuples until a connection is found, of all that there are. */
static double steps_to_find(const struct stack *stack, uint32_t *most)
{
    uint64_t sum = 0, found = 0;
    *most = 0;
    for (uint32_t i = 0; i <= stack->tcp->hash_mask; i++) {
        uint32_t steps = 0;
        for (const struct connection *c = stack->tcp->hash[i]; c != NULL; c = c->hash_next, found++)
            sum += ++steps;
        *most = steps > *most ? steps : *most;
    }
    return (double)sum / (double)found;
}

/* Ports one after another, as a program that means no harm takes them, and one that does may. */
static void open_all(struct link *link, int listener, int *ours, int *theirs, int all)
{
    struct stack *a = link->ends[0].stack, *b = link->ends[1].stack;
    for (int first = 0; first < all; first += AT_A_TIME) {
        int end = first + AT_A_TIME < all ? first + AT_A_TIME : all;
        for (int i = first; i < end; i++)
            ours[i] = us_connect(a, server, (uint16_t)(20000 + i));
        link_run(link, 3000000); /* the first SYNs wait for ARP, and only few may */
        for (int i = first; i < end; i++) {
            theirs[i] = us_accept(b, listener, NULL);
            us_interest(b, theirs[i], US_READABLE, (uint64_t)i);
        }
    }
    for (int i = 0; i < all; i++)
        CHECK(ours[i] >= 0 && theirs[i] >= 0, "connection %d: %d and %d", i, ours[i], theirs[i]);
}

/* Over each connection its number goes there, and its port comes back. */
static void use_all(struct link *link, const int *ours, const int *theirs, int all)
{
    struct stack *a = link->ends[0].stack, *b = link->ends[1].stack;
    uint64_t sum = 0;
    for (int first = 0; first < all; first += AT_A_TIME) {
        int end = first + AT_A_TIME < all ? first + AT_A_TIME : all;
        for (int i = first; i < end; i++)
            us_write(a, ours[i], &i, sizeof i, false);
        link_run(link, 100000);
        for (int i = first; i < end; i++) {
            struct us_endpoint peer = {0, 0};
            int number = -1;
            us_peer(b, theirs[i], &peer);
            CHECK(us_read(b, theirs[i], &number, sizeof number) == sizeof number && number + 20000 == peer.port,
                  "connection %d got %d from port %u", i, number, peer.port);
            us_write(b, theirs[i], &peer.port, sizeof peer.port, false);
        }
        link_run(link, 100000);
        for (int i = first; i < end; i++) {
            uint16_t port = 0;
            CHECK(us_read(a, ours[i], &port, sizeof port) == sizeof port && port == 20000 + i, "connection %d got %u back", i, port);
            sum += port;
        }
    }
    CHECK(sum == (uint64_t)all * (uint64_t)(all - 1) / 2 + 20000 * (uint64_t)all, "each port once");
}

static uint32_t test_concurrent(int all)
{
    int *ours = malloc((size_t)all * sizeof *ours), *theirs = malloc((size_t)all * sizeof *theirs);
    NEED(ours != NULL && theirs != NULL && all > 0 && all < 40000);
    memset(ours, 1, (size_t)all * sizeof *ours);
    memset(theirs, 1, (size_t)all * sizeof *theirs);
    struct stack_limits limits[2] = {limits_for((uint32_t)all + 100), limits_for((uint32_t)all + 100)};
    struct link link;
    size_t before = resident_bytes();
    link_open(&link, limits, &(struct impairment){.delay_us = 100}, 6);
    struct stack *a = link.ends[0].stack, *b = link.ends[1].stack;
    memset(link.flights, 1, LINK_FRAMES * sizeof *link.flights); /* the link's own, all of them */
    before += LINK_FRAMES * sizeof *link.flights;
    int listener = us_listen(b, server.port, AT_A_TIME);
    open_all(&link, listener, ours, theirs, all);
    size_t resident = (resident_bytes() - before) / 2 / (size_t)all;
    use_all(&link, ours, theirs, all);
    struct us_event event;
    for (int i = 0; i < 2; i++) {
        struct stack_usage u = stack_usage(link.ends[i].stack);
        uint32_t most;
        double steps = steps_to_find(link.ends[i].stack, &most);
        CHECK(u.connections == (uint32_t)all && u.chunks == 0 && u.timers <= 1, "end %d: %u connections hold %u chunks, %u timers",
              i, u.connections, u.chunks, u.timers); /* one timer may be ARP's */
        CHECK(steps < 1.6 && most <= 10, "end %d: %.2f steps to find one of %d, at most %u", i, steps, all, most);
        CHECK(us_wait(link.ends[i].stack, &event, 1) == 0 && link.ends[i].stack->ready.ready_next == &link.ends[i].stack->ready,
              "nobody looks through idle ones");
        if (i == 1)
            printf("steps_of_%d %.3f\nmost_steps_of_%d %u\n", all, steps, all, most);
    }
    printf("resident_bytes_of_%d %zu\n", all, resident);
    for (int i = 0; i < all; i++) {
        us_abort(a, ours[i]);
        if (i % AT_A_TIME == AT_A_TIME - 1)
            link_run(&link, 100000);
    }
    link_run(&link, 100000);
    for (int i = 0; i < all; i++)
        us_close(b, theirs[i]);
    us_close(b, listener);
    link_run(&link, 5000000);
    uint32_t left = left_over(&link, "concurrent");
    link_close(&link);
    free(ours);
    free(theirs);
    return left;
}

/* What stack_open() takes for one more connection: its block, its slots of streams, its places in tables. */
static void print_block(void)
{
    struct stack_limits some = limits_for(1 << 16), more = limits_for(1 << 17);
    more.time_waits = some.time_waits;
    printf("bytes_of_a_connection %zu\n", (stack_memory_bytes(&more) - stack_memory_bytes(&some)) >> 16);
    some.send_bytes = some.receive_bytes = more.send_bytes = more.receive_bytes = 16384;
    printf("bytes_of_a_connection_with_16_KiB_windows %zu\n", (stack_memory_bytes(&more) - stack_memory_bytes(&some)) >> 16);
    printf("bytes_of_its_block %zu\n", sizeof(struct connection));
}

/* A request, a reply, and an end: from either side in turn. */
static bool converse(struct link *link, int listener, unsigned number)
{
    struct stack *a = link->ends[0].stack, *b = link->ends[1].stack;
    uint8_t request[REQUEST], reply[REPLY], got[REPLY];
    memset(request, (int)number, sizeof request);
    memset(reply, (int)~number, sizeof reply);
    int x = us_connect(a, server, 0), y = -1, read = 0;
    uint64_t until = link->now_us + 10000000;
    if (x < 0)
        return false;
    while (us_connect_result(a, x) == -EINPROGRESS && link_step(link, until))
        ;
    us_write(a, x, request, sizeof request, false);
    while ((y = us_accept(b, listener, NULL)) < 0 && link_step(link, until))
        ;
    while (us_read(b, y, got, sizeof got) == -EAGAIN && link_step(link, until))
        ;
    bool right = memcmp(got, request, sizeof request) == 0;
    us_write(b, y, reply, sizeof reply, false);
    while (read < REPLY && link_step(link, until)) {
        int some = us_read(a, x, got + read, (uint32_t)(REPLY - read));
        read += some > 0 ? some : 0;
    }
    right &= memcmp(got, reply, sizeof reply) == 0;
    struct stack *first = number % 2 ? a : b, *second = number % 2 ? b : a;
    us_close(first, number % 2 ? x : y);
    int other = number % 2 ? y : x, end;
    while ((end = us_read(second, other, got, sizeof got)) == -EAGAIN && link_step(link, until))
        ;
    us_close(second, other);
    return right && end == 0;
}

static uint32_t test_in_a_row(unsigned all)
{
    struct stack_limits limits[2] = {limits_for(64), limits_for(64)};
    struct link link;
    link_open(&link, limits, &(struct impairment){.delay_us = 20}, 7);
    int listener = us_listen(link.ends[1].stack, server.port, 8);
    unsigned right = 0;
    size_t early = 0;
    uint64_t began = monotonic_ns();
    for (unsigned i = 0; i < all; i++) {
        right += converse(&link, listener, i);
        if (i == all / 10)
            early = resident_bytes();
    }
    double seconds = (double)(monotonic_ns() - began) / 1e9;
    size_t grown = resident_bytes() - early;
    us_close(link.ends[1].stack, listener);
    link_run(&link, 10000000);
    CHECK(right == all, "%u of %u conversations were right", right, all);
    for (int i = 0; i < 2; i++) {
        const struct stack_counters *c = stack_counters(link.ends[i].stack);
        CHECK((i == 0 ? c->tcp_opened_active : c->tcp_opened_passive) == all && c->tcp_entered[TCP_CLOSED] == all,
              "end %d: %llu connections came to an end", i, (unsigned long long)c->tcp_entered[TCP_CLOSED]);
        CHECK(c->tcp_retransmitted == 0 && c->tcp_resets_sent == 0 && c->drops.tcp_connections == 0 && c->drops.tcp_memory == 0,
              "end %d: nothing went wrong", i);
    }
    printf("opened_and_closed %u\nresident_bytes_grown %zu\nconnections_per_s_both_ends %.0f\n", right, grown, all / seconds);
    uint32_t left = left_over(&link, "in a row");
    link_close(&link);
    return left;
}

int main(int argc, char **argv)
{
    int concurrent = 10000;
    unsigned in_a_row = 100000;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--concurrent") == 0)
            concurrent = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--in-a-row") == 0)
            in_a_row = (unsigned)strtoul(argv[i + 1], NULL, 10);
    }
    mallopt(M_MMAP_THRESHOLD, 1 << 18); /* what is large is given back when it is freed */
    uint32_t left = test_concurrent(100) + test_concurrent(1000);
    left += test_concurrent(concurrent);
    printf("concurrent %d\n", concurrent);
    print_block();
    left += test_in_a_row(in_a_row);
    printf("left %u\n", left);
    return checks_failed != 0;
}
