/* test_userstack_states.c: connections opened and closed, in every way and many times, and nothing left.
 *
 *     test_userstack_states [--connections N] [--seed N]
 */
#include "check.h"
#include "tcp_states.h"
#include "userstack_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[TCP_STATES] = {"CLOSED",     "LISTEN",     "SYN-SENT",   "SYN-RECEIVED",
                                                    "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT",
                                                    "CLOSING",    "LAST-ACK",   "TIME-WAIT"};

static struct stack_limits small_limits(void)
{
    struct stack_limits limits = stack_default_limits();
    limits.connections = 64;
    limits.time_waits = 16;
    limits.syn_queue = 16;
    limits.chunks = 256;
    limits.send_bytes = limits.receive_bytes = 16384;
    limits.time_wait_ms = 1000;
    limits.fin_wait_2_ms = 3000;
    limits.syn_tries = 8;
    return limits;
}

static void open_link(struct link *link, const struct impairment *impairment, uint64_t seed)
{
    struct stack_limits limits[2] = {small_limits(), small_limits()};
    link_open(link, limits, impairment, seed);
}

static void check_empty(struct link *link, const char *what)
{
    for (int i = 0; i < 2; i++) {
        struct stack_usage u = stack_usage(link->ends[i].stack);
        CHECK(u.connections == 0 && u.chunks == 0 && u.packets == 0 && u.timers == 0 && u.time_waits == 0,
              "%s, end %d: %u connections, %u TIME-WAIT, %u chunks, %u packets, %u timers", what, i, u.connections,
              u.time_waits, u.chunks, u.packets, u.timers);
    }
}

static void add_states(struct link *link, uint64_t seen[TCP_STATES])
{
    for (int i = 0; i < 2; i++)
        for (int s = 0; s < TCP_STATES; s++)
            seen[s] += stack_counters(link->ends[i].stack)->tcp_entered[s];
}

/* Both SYNs cross on the way (RFC 9293, 3.5, figure 8), then both FINs (3.6, figure 13). */
static void test_simultaneous(uint64_t seen[TCP_STATES])
{
    struct link link;
    open_link(&link, &(struct impairment){.delay_us = 10000}, 1);
    struct stack *a = link.ends[0].stack, *b = link.ends[1].stack;
    /* ARP first, or the SYNs wait for different times. */
    int probe = us_connect(a, (struct us_endpoint){0x0a000002, 9}, 900);
    link_run(&link, 100000);
    CHECK(us_connect_result(a, probe) == -ECONNREFUSED, "nobody listens");
    us_close(a, probe);
    int x = us_connect(a, (struct us_endpoint){0x0a000002, 2000}, 1000), y = us_connect(b, (struct us_endpoint){0x0a000001, 1000}, 2000);
    link_run(&link, 15000);
    CHECK(us_state(a, x) == TCP_SYN_RECEIVED && us_state(b, y) == TCP_SYN_RECEIVED, "states %d %d", us_state(a, x), us_state(b, y));
    link_run(&link, 100000);
    CHECK(us_connect_result(a, x) == 0 && us_connect_result(b, y) == 0, "both are open");
    char text[8] = "";
    CHECK(us_write(a, x, "hello", 5, false) == 5, "write");
    link_run(&link, 100000);
    CHECK(us_read(b, y, text, 8) == 5 && memcmp(text, "hello", 5) == 0, "reads %s", text);
    us_close(a, x);
    us_close(b, y);
    link_run(&link, 15000);
    add_states(&link, seen);
    CHECK(stack_counters(a)->tcp_entered[TCP_CLOSING] == 1 && stack_counters(b)->tcp_entered[TCP_CLOSING] == 1, "both close");
    link_run(&link, 5000000);
    check_empty(&link, "simultaneous");
    link_close(&link);
}

/* Half-closed: the other side may go on writing for as long as it likes. */
static void test_half_close(uint64_t seen[TCP_STATES])
{
    struct link link;
    open_link(&link, &(struct impairment){.delay_us = 1000}, 2);
    struct stack *a = link.ends[0].stack, *b = link.ends[1].stack;
    int listener = us_listen(b, 80, 4), x = us_connect(a, (struct us_endpoint){0x0a000002, 80}, 0);
    link_run(&link, 50000);
    int y = us_accept(b, listener, NULL);
    CHECK(y >= 0, "accepted");
    CHECK(us_shutdown_write(a, x) == 0 && us_write(a, x, "z", 1, false) == -EPIPE, "our side is closed");
    link_run(&link, 60000000);
    CHECK(us_state(a, x) == TCP_FIN_WAIT_2 && us_state(b, y) == TCP_CLOSE_WAIT, "states %d %d", us_state(a, x), us_state(b, y));
    char text[8];
    CHECK(us_read(b, y, text, 8) == 0, "the end");
    CHECK(us_write(b, y, "late", 4, false) == 4, "it may still write");
    link_run(&link, 50000);
    CHECK(us_read(a, x, text, 8) == 4, "and is heard");
    us_close(b, y);
    link_run(&link, 50000);
    CHECK(us_state(a, x) == TCP_TIME_WAIT && us_read(a, x, text, 8) == 0, "state %d", us_state(a, x));
    us_close(a, x);
    us_close(b, listener);
    add_states(&link, seen);
    link_run(&link, 5000000);
    check_empty(&link, "half close");
    link_close(&link);
}

/* A peer that closes its socket while data come answers with a reset; unread data make a close a reset. */
static void test_resets(void)
{
    struct link link;
    open_link(&link, &(struct impairment){.delay_us = 1000}, 3);
    struct stack *a = link.ends[0].stack, *b = link.ends[1].stack;
    int listener = us_listen(b, 80, 4);
    for (int way = 0; way < 3; way++) {
        int x = us_connect(a, (struct us_endpoint){0x0a000002, 80}, 0);
        link_run(&link, 50000);
        int y = us_accept(b, listener, NULL);
        CHECK(y >= 0, "accepted");
        if (way == 0) { /* data for a closed socket */
            us_close(b, y);
            link_run(&link, 50000);
            us_write(a, x, "data", 4, false);
        } else if (way == 1) { /* closed with data unread */
            us_write(a, x, "data", 4, false);
            link_run(&link, 50000);
            us_close(b, y);
        } else {
            us_abort(b, y);
        }
        link_run(&link, 100000);
        char text[8];
        CHECK(us_read(a, x, text, 8) == -ECONNRESET, "way %d: state %d, read %d", way, us_state(a, x), us_read(a, x, text, 8));
        us_close(a, x);
    }
    us_close(b, listener);
    link_run(&link, 5000000);
    check_empty(&link, "resets");
    link_close(&link);
}

/* Many in a row and beside one another, over a bad link, each ended in another way. */
static void test_many(unsigned wanted, uint64_t seed, uint64_t seen[TCP_STATES])
{
    enum { BESIDE = 24 };
    struct link link;
    open_link(&link, &(struct impairment){.delay_us = 200, .loss = 0.01, .duplicate = 0.01, .reorder = 0.05, .reorder_us = 300}, seed);
    struct stack *a = link.ends[0].stack, *b = link.ends[1].stack;
    int listener = us_listen(b, 80, BESIDE), ours[BESIDE], theirs[BESIDE];
    memset(ours, -1, sizeof ours);
    memset(theirs, -1, sizeof theirs);
    unsigned opened = 0, ended = 0, refused = 0;
    us_interest(b, listener, US_READABLE, 0);
    for (uint64_t steps = 0; ended < wanted && steps < UINT64_C(1000) * wanted; steps++) {
        unsigned i = (unsigned)(link_random(&link) % BESIDE);
        if (ours[i] < 0 && opened < wanted) {
            ours[i] = us_connect(a, (struct us_endpoint){0x0a000002, 80}, 0);
            refused += ours[i] < 0;
            opened += ours[i] >= 0;
        } else if (ours[i] >= 0 && us_connect_result(a, ours[i]) != -EINPROGRESS) {
            uint8_t text[3000] = {0};
            unsigned dice = (unsigned)(link_random(&link) % 8);
            if (dice < 3)
                us_write(a, ours[i], text, (uint32_t)(link_random(&link) % sizeof text), false);
            else if (dice < 5)
                us_read(a, ours[i], text, sizeof text);
            else if (dice == 5)
                us_shutdown_write(a, ours[i]);
            else {
                ended++;
                (dice == 6 || link_chance(&link, 0.5) ? us_close : us_abort)(a, ours[i]);
                ours[i] = -1;
            }
        }
        unsigned j = (unsigned)(link_random(&link) % BESIDE);
        if (theirs[j] < 0) {
            theirs[j] = us_accept(b, listener, NULL);
        } else {
            uint8_t text[3000] = {0};
            int got = us_read(b, theirs[j], text, sizeof text);
            if (got > 0)
                us_write(b, theirs[j], text, (uint32_t)got, false);
            if (got == 0 || (got < 0 && got != -EAGAIN)) {
                us_close(b, theirs[j]);
                theirs[j] = -1;
            }
        }
        for (int k = 0; k < 4; k++)
            link_step(&link, link.now_us + 1000);
    }
    CHECK(ended == wanted, "%u of %u ended, %u refused", ended, wanted, refused);
    us_close(b, listener);
    for (int i = 0; i < BESIDE; i++) {
        if (ours[i] >= 0)
            us_close(a, ours[i]);
        if (theirs[i] >= 0)
            us_close(b, theirs[i]);
    }
    link_run(&link, UINT64_C(4000) * 1000000);
    add_states(&link, seen);
    printf("%u connections, %u refused for want of room, %llu TIME-WAITs recycled\n", ended, refused,
           (unsigned long long)stack_counters(a)->tcp_time_waits_recycled);
    check_empty(&link, "many");
    link_close(&link);
}

/* Readiness, as epoll reports it. */
static void test_ready_list(void)
{
    struct link link;
    open_link(&link, &(struct impairment){.delay_us = 100}, 5);
    struct stack *a = link.ends[0].stack, *b = link.ends[1].stack;
    int listener = us_listen(b, 80, 4);
    struct us_event events[4];
    us_interest(b, listener, US_READABLE, 7);
    CHECK(us_wait(b, events, 4) == 0, "nothing yet");
    int x = us_connect(a, (struct us_endpoint){0x0a000002, 80}, 0);
    us_interest(a, x, US_WRITABLE, 8);
    CHECK(us_wait(a, events, 4) == 0, "not open yet");
    link_run(&link, 50000);
    CHECK(us_wait(a, events, 4) == 1 && events[0].data == 8 && events[0].readiness == US_WRITABLE, "open");
    CHECK(us_wait(b, events, 4) == 1 && events[0].data == 7 && events[0].readiness == US_READABLE, "to accept");
    CHECK(us_wait(b, events, 4) == 1, "level-triggered");
    int y = us_accept(b, listener, NULL);
    CHECK(us_wait(b, events, 4) == 0, "accepted");
    us_interest(b, y, US_READABLE, 9);
    CHECK(us_wait(b, events, 4) == 0, "nothing to read");
    us_abort(a, x);
    link_run(&link, 50000);
    CHECK(us_wait(b, events, 4) == 1 && events[0].readiness == (US_READABLE | US_ENDED), "an end is reported");
    us_close(b, y);
    us_close(b, listener);
    CHECK(us_wait(b, events, 4) == 0, "all closed");
    check_empty(&link, "ready list");
    link_close(&link);
}

int main(int argc, char **argv)
{
    unsigned connections = 10000;
    uint64_t seed = 4, seen[TCP_STATES] = {0};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--connections") == 0)
            connections = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
    }
    test_simultaneous(seen);
    test_half_close(seen);
    test_resets();
    test_ready_list();
    test_many(connections, seed, seen);
    for (int s = 0; s < TCP_STATES; s++)
        if (s != TCP_LISTEN) /* a listener's */
            CHECK(seen[s] > 0, "no connection was ever %s", state_names[s]);
    return checks_failed != 0;
}
