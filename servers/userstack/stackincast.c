/* stackincast.c: many answer one at once, through a switch port with a shallow queue: incast, in virtual time.
 *
 *     stackincast --senders N [--min-rto-us N] [--tick-us N] …   (--help has all)
 *
 * A block is striped over all senders, and the next is asked for when the last byte of this one has come (Vasudevan et al.,
 * SIGCOMM 2009, 2). When a whole flight of one sender is lost, all wait for its time-out, which is why its minimum and the
 * clock's granularity decide. Every host is a stack of ours on a link of its own; frames are serialised on each link, and
 * dropped where the queue of the receiver's port is full. Nothing here is random: the same options give the same numbers.
 * Prints `key value` lines, times in microseconds. */
#include "arguments.h"
#include "socket.h"
#include "stack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORT = 80, HOSTS = 257, FRAME_OVERHEAD = 24, FRAMES = 16384, EVENTS = 64, PATIENCE_S = 1000 };
static const uint64_t SECOND_NS = 1000000000;

static struct {
    uint64_t senders, bytes, rounds, rate_bps, queue, delay_us, min_rto_us, tick_us, delayed_ack_us, tail_probes;
    const char *congestion;
} options = {.senders = 8, .bytes = 1 << 20, .rounds = 20, .rate_bps = 1000000000, .queue = 64, .delay_us = 20,
             .min_rto_us = 200000, .tick_us = 10, .delayed_ack_us = 40000, .congestion = "cubic"};

struct frame { /* on its way to the switch, or from there to a host */
    uint64_t at_ns, order;
    uint32_t bytes;
    uint16_t to; /* host */
    bool at_switch;
    uint8_t data[WIRE_FRAME_MAX];
};

struct host {
    struct net *net;
    struct stack *stack;
    uint64_t up_free_ns, down_free_ns; /* when its link's end, the switch's port, is free */
    int listener, socket; /* of a sender */
    int end;              /* the receiver's, of its connection */
    uint64_t owed, got; /* of a sender: bytes to write; at the receiver: bytes of it in this round */
    uint8_t building[WIRE_FRAME_MAX];
};

struct net {
    uint64_t now_ns, order, drops;
    struct host hosts[HOSTS]; /* 0 receives */
    uint32_t count;
    struct frame *frames;
    uint32_t heap[FRAMES], heap_count, unused[FRAMES], unused_count;
};

static bool sooner(const struct net *net, uint32_t a, uint32_t b)
{
    const struct frame *x = &net->frames[a], *y = &net->frames[b];
    return x->at_ns != y->at_ns ? x->at_ns < y->at_ns : x->order < y->order;
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t kept = *a;
    *a = *b;
    *b = kept;
}

static void push(struct net *net, uint32_t frame)
{
    uint32_t at = net->heap_count++;
    net->frames[frame].order = net->order++;
    net->heap[at] = frame;
    for (; at > 0 && sooner(net, net->heap[at], net->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&net->heap[at], &net->heap[(at - 1) / 2]);
}

static uint32_t pop(struct net *net)
{
    uint32_t first = net->heap[0];
    net->heap[0] = net->heap[--net->heap_count];
    for (uint32_t at = 0, child; (child = 2 * at + 1) < net->heap_count; at = child) {
        if (child + 1 < net->heap_count && sooner(net, net->heap[child + 1], net->heap[child]))
            child++;
        if (!sooner(net, net->heap[child], net->heap[at]))
            break;
        swap(&net->heap[at], &net->heap[child]);
    }
    return first;
}

static uint64_t wire_ns(uint32_t bytes) /* with preamble, check sequence and gap */
{
    return (uint64_t)(bytes + FRAME_OVERHEAD) * 8 * SECOND_NS / options.rate_bps;
}

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct host *host = context;
    return bytes > WIRE_FRAME_MAX ? NULL : host->building;
}

static void send_to(struct host *host, uint32_t bytes, uint16_t to)
{
    struct net *net = host->net;
    if (net->unused_count == 0) {
        net->drops++;
        return;
    }
    uint32_t number = net->unused[--net->unused_count];
    struct frame *f = &net->frames[number];
    f->bytes = bytes;
    f->to = to;
    f->at_switch = true;
    f->at_ns = host->up_free_ns + options.delay_us * 1000;
    memcpy(f->data, host->building, bytes);
    push(net, number);
}

static void commit(void *context, uint32_t bytes)
{
    struct host *host = context;
    struct net *net = host->net;
    uint64_t start = host->up_free_ns > net->now_ns ? host->up_free_ns : net->now_ns;
    host->up_free_ns = start + wire_ns(bytes);
    if (!(host->building[0] & 1)) {
        send_to(host, bytes, (uint16_t)(host->building[4] << 8 | host->building[5]));
        return;
    }
    for (uint32_t i = 0; i < net->count; i++) /* a question of ARP */
        if (&net->hosts[i] != host)
            send_to(host, bytes, (uint16_t)i);
}

/* At the switch: into the queue of the port that it is for. */
static void forward(struct net *net, uint32_t number)
{
    struct frame *f = &net->frames[number];
    struct host *to = &net->hosts[f->to < net->count ? f->to : 0];
    uint64_t start = to->down_free_ns > net->now_ns ? to->down_free_ns : net->now_ns;
    if (start - net->now_ns > options.queue * wire_ns(WIRE_ETHERNET_BYTES + 1500)) {
        net->drops++;
        net->unused[net->unused_count++] = number;
        return;
    }
    to->down_free_ns = start + wire_ns(f->bytes);
    f->at_switch = false;
    f->at_ns = to->down_free_ns + options.delay_us * 1000;
    push(net, number);
}

static uint64_t tick(uint64_t ns) { return ns / (options.tick_us * 1000); }

static void open_host(struct net *net, uint32_t index)
{
    struct host *host = &net->hosts[index];
    struct stack_limits limits = stack_default_limits();
    bool receives = index == 0;
    limits.tick_ns = (uint32_t)options.tick_us * 1000;
    limits.connections = receives ? (uint32_t)options.senders + 8 : 8;
    limits.time_waits = limits.syn_queue = 2;
    limits.listeners = limits.udp_sockets = 1;
    limits.chunks = receives ? 32768 : 512;
    limits.runs = 1024;
    limits.arp_entries = 512;
    limits.min_rto_us = (uint32_t)options.min_rto_us;
    limits.first_rto_ms = options.min_rto_us > 1000 ? (uint32_t)(options.min_rto_us / 1000) : 1;
    limits.delayed_ack_us = (uint32_t)options.delayed_ack_us;
    limits.tail_probes = (uint32_t)options.tail_probes;
    limits.congestion = options.congestion;
    limits.key[0] = (uint8_t)index;
    uint8_t high = (uint8_t)(index >> 8), low = (uint8_t)index;
    struct wire wire = {.context = host, .reserve = reserve, .commit = commit, .mtu = 1500, .mac = {2, 0, 0, 0, high, low}};
    struct stack_address address = {.ip = 0x0a000000 + 256 + index, .netmask = 0xffff0000};
    host->net = net;
    host->socket = host->listener = -1;
    host->stack = stack_open(&limits, &wire, &address, tick(net->now_ns));
    if (host->stack == NULL)
        fail(errno == EINVAL ? 2 : 1, "no stack: %s", errno == EINVAL ? "a limit is out of range" : strerror(errno));
}

/* What a sender owes, as far as there is room. */
static void answer(struct host *host)
{
    static const uint8_t text[16384];
    char request;
    if (host->socket < 0 && (host->socket = us_accept(host->stack, host->listener, NULL)) < 0)
        return;
    while (us_read(host->stack, host->socket, &request, 1) == 1)
        host->owed += options.bytes / options.senders;
    while (host->owed > 0) {
        int taken = us_write(host->stack, host->socket, text, host->owed < sizeof text ? (uint32_t)host->owed : (uint32_t)sizeof text, false);
        if (taken <= 0)
            return;
        host->owed -= (uint64_t)taken;
    }
}

/* What has come. Returns how many senders are through. */
static uint32_t receive(struct net *net)
{
    struct us_event events[EVENTS];
    uint32_t through = 0;
    int n = us_wait(net->hosts[0].stack, events, EVENTS);
    for (int i = 0; i < n; i++) {
        struct host *from = &net->hosts[events[i].data];
        int got = us_read(net->hosts[0].stack, events[i].socket, NULL, INT32_MAX);
        if (got <= 0 && got != -EAGAIN)
            fail(1, "a connection ended: %s", got == 0 ? "closed" : strerror(-got));
        uint64_t all = options.bytes / options.senders, before = from->got;
        from->got += got > 0 ? (uint64_t)got : 0;
        through += before < all && from->got >= all;
    }
    return through;
}

/* The next thing that happens, to one host. */
static void step(struct net *net)
{
    uint64_t timer_ns = UINT64_MAX, due;
    struct host *host = NULL;
    for (uint32_t i = 0; i < net->count; i++) {
        if (stack_next(net->hosts[i].stack, &due) && due * options.tick_us * 1000 < timer_ns) {
            timer_ns = due * options.tick_us * 1000;
            host = &net->hosts[i];
        }
    }
    uint64_t frame_ns = net->heap_count > 0 ? net->frames[net->heap[0]].at_ns : UINT64_MAX;
    if (frame_ns == UINT64_MAX && host == NULL)
        fail(1, "nothing is left to happen");
    if (timer_ns <= frame_ns) {
        net->now_ns = timer_ns > net->now_ns ? timer_ns : net->now_ns;
        stack_advance(host->stack, tick(net->now_ns));
    } else {
        net->now_ns = frame_ns > net->now_ns ? frame_ns : net->now_ns;
        uint32_t number = pop(net);
        struct frame *f = &net->frames[number];
        if (f->at_switch) {
            forward(net, number);
            return;
        }
        host = &net->hosts[f->to];
        stack_advance(host->stack, tick(net->now_ns));
        stack_input(host->stack, f->data, f->bytes, 0);
        net->unused[net->unused_count++] = number;
    }
    if (host != &net->hosts[0])
        answer(host);
}

static void connect_all(struct net *net)
{
    struct stack *receiver = net->hosts[0].stack;
    uint32_t open = 0;
    for (uint32_t i = 1; i < net->count; i++) {
        int *end = &net->hosts[i].end;
        net->hosts[i].listener = us_listen(net->hosts[i].stack, PORT, 4);
        *end = us_connect(receiver, (struct us_endpoint){0x0a000000 + 256 + i, PORT}, 0);
        if (net->hosts[i].listener < 0 || *end < 0)
            fail(1, "no connection: %s", strerror(-*end));
        us_set(receiver, *end, US_NODELAY, 1);
        us_interest(receiver, *end, US_READABLE, i);
    }
    while (open < options.senders) {
        step(net);
        open = 0;
        for (uint32_t i = 1; i < net->count; i++)
            open += us_connect_result(receiver, net->hosts[i].end) == 0 && net->hosts[i].socket >= 0;
    }
}

static uint64_t round_us(struct net *net)
{
    uint64_t began = net->now_ns;
    uint32_t through = 0;
    stack_advance(net->hosts[0].stack, tick(net->now_ns));
    for (uint32_t i = 1; i < net->count; i++) {
        net->hosts[i].got = 0;
        us_write(net->hosts[0].stack, net->hosts[i].end, "?", 1, false);
    }
    while (through < options.senders) {
        step(net);
        through += receive(net);
        if (net->now_ns - began > PATIENCE_S * SECOND_NS)
            fail(1, "a block has not come within %d s of virtual time", PATIENCE_S);
    }
    return (net->now_ns - began) / 1000;
}

static void print(struct net *net, uint64_t sum_us, uint64_t longest_us)
{
    uint64_t timeouts = 0, recoveries = 0, probes = 0, again = 0, bytes = options.bytes / options.senders * options.senders;
    for (uint32_t i = 1; i < net->count; i++) {
        const struct stack_counters *c = stack_counters(net->hosts[i].stack);
        timeouts += c->tcp_timeouts;
        recoveries += c->tcp_fast_recoveries;
        probes += c->tcp_tail_probes;
        again += c->tcp_retransmitted;
    }
    const struct {
        const char *key;
        uint64_t value;
    } lines[] = {
        {"senders", options.senders}, {"bytes", bytes}, {"rounds", options.rounds}, {"queue_frames", options.queue},
        {"min_rto_us", options.min_rto_us}, {"tick_us", options.tick_us}, {"tail_probes", options.tail_probes},
        {"completion_us", sum_us / options.rounds}, {"longest_us", longest_us},
        {"goodput_bytes_per_s", sum_us == 0 ? 0 : bytes * options.rounds * 1000000 / sum_us},
        {"timeouts", timeouts}, {"fast_recoveries", recoveries}, {"probes_sent", probes}, {"retransmitted", again},
        {"dropped", net->drops},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        printf("%s %llu\n", lines[i].key, (unsigned long long)lines[i].value);
}

int main(int argc, char **argv)
{
    const struct argument table[] = {
        {"senders", ARGUMENT_INTEGER, &options.senders, 1, HOSTS - 1, "N", "hosts that answer at once (8)"},
        {"bytes", ARGUMENT_INTEGER, &options.bytes, HOSTS, 1 << 30, "N", "block, striped over all (1,048,576)"},
        {"rounds", ARGUMENT_INTEGER, &options.rounds, 1, 100000, "N", "blocks, one after the other (20)"},
        {"rate-bps", ARGUMENT_INTEGER, &options.rate_bps, 1000000, 100e9, "N", "of every link (1,000,000,000)"},
        {"queue", ARGUMENT_INTEGER, &options.queue, 1, 8192, "FRAMES", "full ones that a switch port holds (64)"},
        {"delay-us", ARGUMENT_INTEGER, &options.delay_us, 0, 1000000, "N", "of every link, each way (20)"},
        {"min-rto-us", ARGUMENT_INTEGER, &options.min_rto_us, 10, 10000000, "N", "least retransmission time-out (200,000)"},
        {"tick-us", ARGUMENT_INTEGER, &options.tick_us, 10, 10000, "N", "granularity of all timers (10)"},
        {"delayed-ack-us", ARGUMENT_INTEGER, &options.delayed_ack_us, 10, 499999, "N", "(40,000)"},
        {"tail-probes", ARGUMENT_INTEGER, &options.tail_probes, 0, 1, "0|1", "RFC 8985, 7; off, as in 2009 (0)"},
        {"congestion", ARGUMENT_CHOICE, &options.congestion, 0, 0, "reno|cubic", "algorithm (cubic)"},
    };
    arguments_read(argc, argv, "stackincast --senders N [--min-rto-us N] [--tick-us N] …", table, sizeof table / sizeof *table);
    struct net *net = calloc(1, sizeof *net);
    if (net == NULL || (net->frames = malloc(FRAMES * sizeof *net->frames)) == NULL)
        fail(1, "no memory");
    net->now_ns = 1000 * SECOND_NS;
    net->count = (uint32_t)options.senders + 1;
    for (uint32_t i = 0; i < FRAMES; i++)
        net->unused[net->unused_count++] = i;
    for (uint32_t i = 0; i < net->count; i++)
        open_host(net, i);
    connect_all(net);
    uint64_t sum_us = 0, longest_us = 0;
    for (uint64_t i = 0; i < options.rounds; i++) {
        uint64_t us = round_us(net);
        sum_us += us;
        longest_us = us > longest_us ? us : longest_us;
    }
    print(net, sum_us, longest_us);
    for (uint32_t i = 0; i < net->count; i++)
        stack_close(net->hosts[i].stack);
    free(net->frames);
    free(net);
    return 0;
}
