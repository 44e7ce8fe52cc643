/* userstack_capture.c: what two user-level stacks say to one another, as a capture that other programs read: the classic
 * format of libpcap, with the time of the simulated link. It is taken at one end, as tcpdump would: what that end sends,
 * lost or not, and what reaches it.
 *
 *     userstack_capture SCENARIO 0|1 > FILE.pcap       end 0 opens and sends, end 1 listens
 *     userstack_capture                                prints the scenarios' names
 */
#include "check.h"
#include "inside.h"
#include "userstack_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PORT = 50007, ALL = 60000, LINKTYPE_ETHERNET = 1 };

static const struct us_endpoint far_end = {0x0a000002, PORT};

static void put_word(uint32_t word) { fwrite(&word, sizeof word, 1, stdout); } /* in the machine's byte order */

static void record(struct end *end, const uint8_t *frame, uint32_t bytes)
{
    put_word((uint32_t)(end->link->now_us / 1000000));
    put_word((uint32_t)(end->link->now_us % 1000000));
    put_word(bytes);
    put_word(bytes);
    fwrite(frame, 1, bytes, stdout);
}

struct talk {
    struct link link;
    struct stack *a, *b;
    int listener, x, y;
};

static void open_talk(struct talk *t)
{
    t->listener = us_listen(t->b, PORT, 4);
    t->x = us_connect(t->a, far_end, 0);
    link_run(&t->link, 500000);
    t->y = us_accept(t->b, t->listener, NULL);
    NEED(t->x >= 0 && t->y >= 0);
}

/* So that neither has to ask where the other is. */
static void say_hello(struct talk *t)
{
    int here = us_udp_open(t->a, PORT), there = us_udp_open(t->b, PORT);
    us_udp_send(t->a, here, "hello", 5, far_end);
    link_run(&t->link, 100000);
    us_close(t->a, here);
    us_close(t->b, there);
}

static void close_talk(struct talk *t)
{
    us_close(t->a, t->x);
    link_run(&t->link, 500000);
    us_close(t->b, t->y);
    us_close(t->b, t->listener);
    link_run(&t->link, 500000);
}

/* From end 0 to end 1, which reads whatever comes. */
static void move(struct talk *t, uint32_t bytes)
{
    uint8_t part[4096];
    uint32_t written = 0, read = 0;
    uint64_t until = t->link.now_us + UINT64_C(600) * 1000000;
    for (uint32_t i = 0; i < sizeof part; i++)
        part[i] = (uint8_t)(i * 7);
    do {
        uint32_t want = bytes - written < sizeof part ? bytes - written : (uint32_t)sizeof part;
        int took = want > 0 ? us_write(t->a, t->x, part, want, false) : 0;
        written += took > 0 ? (uint32_t)took : 0;
        int got = us_read(t->b, t->y, NULL, bytes);
        read += got > 0 ? (uint32_t)got : 0;
    } while (read < bytes && link_step(&t->link, until));
    NEED(read == bytes);
    link_run(&t->link, 200000);
}

static void orderly(struct talk *t)
{
    open_talk(t);
    move(t, ALL);
    us_write(t->b, t->y, "and back", 8, false);
    link_run(&t->link, 100000);
    us_read(t->a, t->x, NULL, 8);
    close_talk(t);
}

static uint32_t frame_number; /* full ones, of those that the filter has seen */

static bool lose_some(struct end *end, const uint8_t *frame, uint32_t bytes)
{
    (void)end;
    (void)frame;
    if (bytes < 1000)
        return false;
    frame_number++;
    return frame_number == 12 || frame_number == 14 || frame_number == 20;
}

static void loses(struct talk *t)
{
    frame_number = 0;
    t->link.ends[0].filter = lose_some;
    orderly(t);
    NEED(stack_counters(t->a)->tcp_retransmitted >= 3 && stack_counters(t->a)->tcp_timeouts == 0);
}

/* The reader is busy until the window has closed and been probed. */
static void fills_the_window(struct talk *t)
{
    static uint8_t much[ALL];
    open_talk(t);
    us_write(t->a, t->x, much, sizeof much, false);
    link_run(&t->link, 3000000);
    NEED(stack_counters(t->a)->tcp_window_probes >= 2);
    for (int i = 0; i < 100; i++) {
        us_read(t->b, t->y, NULL, 4096);
        link_run(&t->link, 50000);
    }
    close_talk(t);
}

static void keeps_alive(struct talk *t)
{
    open_talk(t);
    us_set(t->a, t->x, US_KEEPALIVE, 1);
    link_run(&t->link, 10000000);
    NEED(stack_counters(t->a)->tcp_keepalives >= 1);
    close_talk(t);
}

static void resets(struct talk *t)
{
    open_talk(t);
    us_abort(t->a, t->x);
    link_run(&t->link, 100000);
    us_close(t->b, t->y);
    us_close(t->b, t->listener);
    int nobody = us_connect(t->a, far_end, 0);
    link_run(&t->link, 100000);
    NEED(us_connect_result(t->a, nobody) == -ECONNREFUSED);
}

/* Both open at the same time, and both close. */
static void crosses(struct talk *t)
{
    say_hello(t);
    t->x = us_connect(t->a, far_end, PORT + 1);
    t->y = us_connect(t->b, (struct us_endpoint){0x0a000001, PORT + 1}, PORT);
    link_run(&t->link, 500000);
    move(t, 5000);
    us_close(t->a, t->x);
    us_close(t->b, t->y);
    link_run(&t->link, 500000);
}

/* More than its queue of half-open ones holds: the last is let in by a cookie. */
static void takes_a_cookie(struct talk *t)
{
    open_talk(t);
    NEED(stack_counters(t->b)->tcp_cookies_taken == 1);
    move(t, ALL);
    close_talk(t);
}

static void datagrams(struct talk *t)
{
    static uint8_t text[8000];
    int here = us_udp_open(t->a, PORT), there = us_udp_open(t->b, PORT + 1);
    for (uint32_t size = 1; size <= sizeof text; size += 1333) { /* the later ones in pieces */
        us_udp_send(t->a, here, text, size, (struct us_endpoint){far_end.ip, PORT + 1});
        link_run(&t->link, 100000);
        NEED(us_udp_receive(t->b, there, text, sizeof text, NULL) == (int)size);
    }
    us_udp_send(t->a, here, text, 100, (struct us_endpoint){far_end.ip, PORT + 2}); /* nobody there: ICMP says so */
    link_run(&t->link, 100000);
    NEED(stack_counters(t->b)->icmp_unreachables == 1);
}

/* Questions of another kind of host, which has end 0's address: a small echo, and one that comes in pieces. */
static void echoes(struct talk *t)
{
    say_hello(t);
    for (uint16_t number = 1; number <= 3; number++) {
        static uint8_t message[1900];
        uint32_t bytes = number == 3 ? sizeof message : 64;
        memset(message, 0, sizeof message);
        message[0] = 8;
        put16(message + 4, 77);
        put16(message + 6, number);
        store_checksum(message + 2, sum_bytes(message, bytes));
        NEED(ipv4_send(t->a, PROTOCOL_ICMP, far_end.ip, message, bytes) == IP_OK);
        link_run(&t->link, 100000);
    }
    NEED(stack_counters(t->b)->icmp_echoes >= 2);
}

static const struct scenario {
    const char *name;
    void (*play)(struct talk *t);
    struct impairment impairment;
    uint32_t receive_bytes, syn_queue;
} scenarios[] = {
    {"orderly", orderly, {.delay_us = 5000}, 262144, 16},
    {"loss", loses, {.delay_us = 5000, .frame_us = 12}, 262144, 16},
    {"reordering", orderly, {.delay_us = 5000, .reorder = 0.3, .reorder_us = 200, .frame_us = 120}, 262144, 16},
    {"window", fills_the_window, {.delay_us = 1000}, 16384, 16},
    {"keepalive", keeps_alive, {.delay_us = 1000}, 262144, 16},
    {"reset", resets, {.delay_us = 1000}, 262144, 16},
    {"simultaneous", crosses, {.delay_us = 10000}, 262144, 16},
    {"cookie", takes_a_cookie, {.delay_us = 1000}, 262144, 0},
    {"udp", datagrams, {.delay_us = 1000}, 262144, 16},
    {"icmp", echoes, {.delay_us = 1000}, 262144, 16},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        const struct scenario *s = &scenarios[i];
        if (argc < 3) {
            puts(s->name);
            continue;
        }
        if (strcmp(argv[1], s->name) != 0)
            continue;
        struct stack_limits limits[2] = {stack_default_limits(), stack_default_limits()};
        for (int end = 0; end < 2; end++) {
            limits[end].receive_bytes = s->receive_bytes;
            limits[end].syn_queue = s->syn_queue;
            limits[end].keepalive_idle_ms = 2000;
        }
        struct talk t = {.x = -1, .y = -1, .listener = -1};
        link_open(&t.link, limits, &s->impairment, 9);
        t.a = t.link.ends[0].stack;
        t.b = t.link.ends[1].stack;
        t.link.ends[argv[2][0] == '1'].observer = record;
        put_word(0xa1b2c3d4); /* microseconds */
        fwrite((uint16_t[]){2, 4}, 4, 1, stdout); /* version */
        put_word(0);
        put_word(0);
        put_word(65535);
        put_word(LINKTYPE_ETHERNET);
        s->play(&t);
        link_close(&t.link);
        return checks_failed != 0;
    }
    return argc < 3 ? 0 : 2;
}
