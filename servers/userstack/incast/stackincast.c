/* stackincast.c: many answer one at once, through a switch port with a shallow queue: incast, in virtual time or, with
 * --live, through the switch and by the clock.
 *
 *     stackincast --senders N [--live] [--min-rto-us N] [--tick-us N] …   (--help has all)
 *
 * A block is striped over all senders, and the next is asked for when the last byte of this one has come (Vasudevan et al.,
 * SIGCOMM 2009, 2). When a whole flight of one sender is lost, all wait for its time-out, which is why its minimum and the
 * clock's granularity decide. Every host is a stack of ours (net.h); in virtual time the same options give the same numbers.
 * Prints `key value` lines, times in microseconds. */
#include "arguments.h"
#include "net.h"
#include "socket.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { PORT = 80, EVENTS = 64, PATIENCE_S = 1000, LIVE_PATIENCE_S = 30 };

static struct {
    uint64_t senders, bytes, rounds, min_rto_us, delayed_ack_us, tail_probes;
    const char *congestion;
    bool live;
    struct net_settings net;
} options = {.senders = 8, .bytes = 1 << 20, .rounds = 20, .min_rto_us = 200000, .delayed_ack_us = 40000,
             .congestion = "cubic",
             .net = {.rate_bps = 1000000000, .up_rate_bps = UINT64_MAX, .queue = 64, .delay_us = 20, .tick_us = 10,
                     .cpu = NET_ANY_CPU, .switch_cpu = NET_ANY_CPU}};

struct end { /* of one connection; the receiver is host 0, and has the other end of each */
    int listener, socket; /* the sender's */
    int receiver;
    uint64_t owed, got; /* bytes that the sender has to write; that have come in this round */
};

struct incast {
    struct net *net;
    struct end ends[NET_HOSTS]; /* by the sender's host, from 1 */
};

struct recovery {
    uint64_t timeouts, fast_recoveries, probes, again;
};

static struct stack *stack_of(const struct incast *in, uint32_t host) { return in->net->stacks[host]; }

static void add_host(struct incast *in, bool receives)
{
    struct stack_limits limits = stack_default_limits();
    limits.connections = receives ? (uint32_t)options.senders + 8 : 8;
    limits.time_waits = limits.syn_queue = 2;
    limits.listeners = limits.udp_sockets = 1;
    limits.chunks = receives ? 32768 : 512;
    limits.runs = 1024;
    limits.arp_entries = 512;
    limits.min_rto_us = (uint32_t)options.min_rto_us;
    limits.delayed_ack_us = (uint32_t)options.delayed_ack_us;
    limits.tail_probes = (uint32_t)options.tail_probes;
    limits.congestion = options.congestion;
    char error[256];
    if (net_add(in->net, &limits, error, sizeof error) != 0)
        fail(1, "%s", error);
}

/* What a sender owes, as far as there is room. */
static void answer(struct stack *stack, struct end *end)
{
    static const uint8_t text[16384];
    char request;
    if (end->socket < 0 && (end->socket = us_accept(stack, end->listener, NULL)) < 0)
        return;
    while (us_read(stack, end->socket, &request, 1) == 1)
        end->owed += options.bytes / options.senders;
    while (end->owed > 0) {
        uint32_t part = end->owed < sizeof text ? (uint32_t)end->owed : (uint32_t)sizeof text;
        int taken = us_write(stack, end->socket, text, part, false);
        if (taken <= 0)
            return;
        end->owed -= (uint64_t)taken;
    }
}

/* What has come. Returns how many senders are through. */
static uint32_t receive(struct incast *in)
{
    struct us_event events[EVENTS];
    uint32_t through = 0;
    int n = us_wait(stack_of(in, 0), events, EVENTS);
    for (int i = 0; i < n; i++) {
        struct end *end = &in->ends[events[i].data];
        int got = us_read(stack_of(in, 0), events[i].socket, NULL, INT32_MAX);
        if (got <= 0 && got != -EAGAIN)
            fail(1, "a connection ended: %s", got == 0 ? "closed" : strerror(-got));
        uint64_t all = options.bytes / options.senders, before = end->got;
        end->got += got > 0 ? (uint64_t)got : 0;
        through += before < all && end->got >= all;
    }
    return through;
}

static void step(struct incast *in)
{
    int host = net_step(in->net);
    if (host == -2)
        fail(1, "nothing is left to happen");
    if (host > 0)
        answer(stack_of(in, (uint32_t)host), &in->ends[host]);
}

/* One after the other: a SYN that is lost, or waits for long, would be remembered by the first time-out after it (RFC 6298,
 * 5.7). */
static void connect_all(struct incast *in)
{
    struct stack *receiver = stack_of(in, 0);
    for (uint32_t i = 1; i < in->net->count; i++) {
        struct end *end = &in->ends[i];
        end->socket = -1;
        end->listener = us_listen(stack_of(in, i), PORT, 4);
        net_wake(in->net, 0);
        end->receiver = us_connect(receiver, (struct us_endpoint){net_address(i), PORT}, 0);
        if (end->listener < 0 || end->receiver < 0)
            fail(1, "no connection: %s", strerror(-end->receiver));
        us_set(receiver, end->receiver, US_NODELAY, 1);
        us_interest(receiver, end->receiver, US_READABLE, i);
        while (us_connect_result(receiver, end->receiver) == -EINPROGRESS || end->socket < 0)
            step(in);
    }
}

static uint64_t round_us(struct incast *in)
{
    const uint64_t patience_s = options.live ? LIVE_PATIENCE_S : PATIENCE_S;
    uint32_t through = 0;
    net_wake(in->net, 0);
    uint64_t began = in->net->now_ns;
    for (uint32_t i = 1; i < in->net->count; i++) {
        in->ends[i].got = 0;
        us_write(stack_of(in, 0), in->ends[i].receiver, "?", 1, false);
    }
    while (through < options.senders) {
        step(in);
        through += receive(in);
        if (in->net->now_ns - began > patience_s * UINT64_C(1000000000))
            fail(1, "a block has not come within %llu s", (unsigned long long)patience_s);
    }
    return (in->net->now_ns - began) / 1000;
}

/* Of all senders. Before the net is closed. */
static struct recovery count(const struct incast *in)
{
    struct recovery r = {0};
    for (uint32_t i = 1; i < in->net->count; i++) {
        const struct stack_counters *c = stack_counters(stack_of(in, i));
        r.timeouts += c->tcp_timeouts;
        r.fast_recoveries += c->tcp_fast_recoveries;
        r.probes += c->tcp_tail_probes;
        r.again += c->tcp_retransmitted;
    }
    return r;
}

static void print(uint64_t sum_us, uint64_t longest_us, const struct recovery *r, const struct net_counts *net)
{
    uint64_t bytes = options.bytes / options.senders * options.senders;
    const struct {
        const char *key;
        uint64_t value;
    } lines[] = {
        {"senders", options.senders}, {"bytes", bytes}, {"rounds", options.rounds}, {"queue_frames", options.net.queue},
        {"min_rto_us", options.min_rto_us}, {"tick_us", options.net.tick_us}, {"tail_probes", options.tail_probes},
        {"completion_us", sum_us / options.rounds}, {"longest_us", longest_us},
        {"goodput_bytes_per_s", sum_us == 0 ? 0 : bytes * options.rounds * 1000000 / sum_us},
        {"timeouts", r->timeouts}, {"fast_recoveries", r->fast_recoveries}, {"probes_sent", r->probes},
        {"retransmitted", r->again}, {"dropped", net->dropped}, {"lost", net->lost}, {"cpu_us", net->cpu_us},
        {"switch_cpu_us", net->switch_cpu_us},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        printf("%s %llu\n", lines[i].key, (unsigned long long)lines[i].value);
}

int main(int argc, char **argv)
{
    struct net_settings *net = &options.net;
    const struct argument table[] = {
        {"senders", ARGUMENT_INTEGER, &options.senders, 1, NET_HOSTS - 1, "N", "hosts that answer at once (8)"},
        {"bytes", ARGUMENT_INTEGER, &options.bytes, NET_HOSTS, 1 << 30, "N", "block, striped over all (1,048,576)"},
        {"rounds", ARGUMENT_INTEGER, &options.rounds, 1, 100000, "N", "blocks, one after the other (20)"},
        {"rate-bps", ARGUMENT_INTEGER, &net->rate_bps, 1000000, 100e9, "N", "of every link (1,000,000,000)"},
        {"up-rate-bps", ARGUMENT_INTEGER, &net->up_rate_bps, 0, 100e9, "N",
         "of links towards the switch, if it is another; 0 = any, as it always is with --live"},
        {"queue", ARGUMENT_INTEGER, &net->queue, 1, 8192, "FRAMES", "full ones that a switch port holds (64)"},
        {"delay-us", ARGUMENT_INTEGER, &net->delay_us, 0, 1000000, "N", "of every link, each way (20)"},
        {"min-rto-us", ARGUMENT_INTEGER, &options.min_rto_us, 10, 10000000, "N", "least retransmission time-out (200,000)"},
        {"tick-us", ARGUMENT_INTEGER, &net->tick_us, 10, 10000, "N", "granularity of all timers (10)"},
        {"delayed-ack-us", ARGUMENT_INTEGER, &options.delayed_ack_us, 10, 499999, "N", "(40,000)"},
        {"tail-probes", ARGUMENT_INTEGER, &options.tail_probes, 0, 1, "0|1", "RFC 8985, 7; off, as in 2009 (0)"},
        {"congestion", ARGUMENT_CHOICE, &options.congestion, 0, 0, "reno|cubic", "algorithm (cubic)"},
        {"live", ARGUMENT_FLAG, &options.live, 0, 0, "", "by the clock, through the switch, which is a process of its own"},
        {"cpu", ARGUMENT_INTEGER, &net->cpu, 0, CPU_SETSIZE - 1, "N", "live: of all hosts (any)"},
        {"switch-cpu", ARGUMENT_INTEGER, &net->switch_cpu, 0, CPU_SETSIZE - 1, "N", "live: of the switch (any)"},
    };
    arguments_read(argc, argv, "stackincast --senders N [--min-rto-us N] [--tick-us N] …", table, sizeof table / sizeof *table);
    if (net->up_rate_bps == UINT64_MAX || options.live)
        net->up_rate_bps = options.live ? 0 : net->rate_bps;
    static struct incast in;
    char error[256];
    in.net = net_open(options.live ? &net_live : &net_simulated, net, error, sizeof error);
    if (in.net == NULL)
        fail(1, "%s", error);
    for (uint64_t i = 0; i <= options.senders; i++)
        add_host(&in, i == 0);
    connect_all(&in);
    uint64_t sum_us = 0, longest_us = 0;
    for (uint64_t i = 0; i < options.rounds; i++) {
        uint64_t us = round_us(&in);
        sum_us += us;
        longest_us = us > longest_us ? us : longest_us;
    }
    struct recovery recovery = count(&in);
    struct net_counts counts = net_close(in.net);
    print(sum_us, longest_us, &recovery, &counts);
    return 0;
}
