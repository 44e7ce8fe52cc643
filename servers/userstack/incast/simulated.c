/* simulated.c: a switch and hosts on links of their own, in virtual time. Each link serialises frames at its rate; a frame
 * for whose port the queue is full is dropped. Nothing is random. */
#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES = 16384 }; /* at most, of all that are on their way */
static const uint64_t SECOND_NS = 1000000000;

struct net_frame { /* on its way to the switch, or from there to a host */
    uint64_t at_ns, order;
    uint32_t bytes;
    uint16_t to; /* host */
    bool at_switch;
    uint8_t data[WIRE_FRAME_MAX];
};

struct net_host {
    struct simulated *net;
    uint64_t up_free_ns, down_free_ns; /* when its link's end, the switch's port, is free */
    uint8_t building[WIRE_FRAME_MAX];
};

struct simulated {
    struct net net; /* first */
    uint64_t order;
    struct net_counts counts;
    struct net_host hosts[NET_HOSTS];
    struct net_frame *frames;
    uint32_t heap[FRAMES], heap_count, unused[FRAMES], unused_count;
};

static struct simulated *of(struct net *net) { return (struct simulated *)net; }

static bool sooner(const struct simulated *net, uint32_t a, uint32_t b)
{
    const struct net_frame *x = &net->frames[a], *y = &net->frames[b];
    return x->at_ns != y->at_ns ? x->at_ns < y->at_ns : x->order < y->order;
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t kept = *a;
    *a = *b;
    *b = kept;
}

static void push(struct simulated *net, uint32_t frame)
{
    uint32_t at = net->heap_count++;
    net->frames[frame].order = net->order++;
    net->heap[at] = frame;
    for (; at > 0 && sooner(net, net->heap[at], net->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&net->heap[at], &net->heap[(at - 1) / 2]);
}

static uint32_t pop(struct simulated *net)
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

static uint64_t wire_ns(uint64_t rate_bps, uint32_t bytes)
{
    return rate_bps == 0 ? 0 : (uint64_t)(bytes + NET_FRAME_OVERHEAD) * 8 * SECOND_NS / rate_bps;
}

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct net_host *host = context;
    return bytes > WIRE_FRAME_MAX ? NULL : host->building;
}

static void send_to(struct net_host *host, uint32_t bytes, uint16_t to)
{
    struct simulated *net = host->net;
    if (net->unused_count == 0) {
        net->counts.lost++;
        return;
    }
    uint32_t number = net->unused[--net->unused_count];
    struct net_frame *f = &net->frames[number];
    f->bytes = bytes;
    f->to = to;
    f->at_switch = true;
    f->at_ns = host->up_free_ns + net->net.settings.delay_us * 1000;
    memcpy(f->data, host->building, bytes);
    push(net, number);
}

static void commit(void *context, uint32_t bytes)
{
    struct net_host *host = context;
    struct simulated *net = host->net;
    uint64_t start = host->up_free_ns > net->net.now_ns ? host->up_free_ns : net->net.now_ns;
    host->up_free_ns = start + wire_ns(net->net.settings.up_rate_bps, bytes);
    if (!(host->building[0] & 1)) {
        send_to(host, bytes, (uint16_t)(host->building[4] << 8 | host->building[5]));
        return;
    }
    for (uint32_t i = 0; i < net->net.count; i++) /* a question of ARP */
        if (&net->hosts[i] != host)
            send_to(host, bytes, (uint16_t)i);
}

/* At the switch: into the queue of the port that it is for. */
static void forward(struct simulated *net, uint32_t number)
{
    const struct net_settings *settings = &net->net.settings;
    const uint64_t now_ns = net->net.now_ns, most_ns = settings->queue * wire_ns(settings->rate_bps, NET_FULL_FRAME);
    struct net_frame *f = &net->frames[number];
    struct net_host *to = &net->hosts[f->to];
    uint64_t start = to->down_free_ns > now_ns ? to->down_free_ns : now_ns;
    if (f->to >= net->net.count || start - now_ns > most_ns) {
        net->counts.dropped++;
        net->unused[net->unused_count++] = number;
        return;
    }
    to->down_free_ns = start + wire_ns(settings->rate_bps, f->bytes);
    f->at_switch = false;
    f->at_ns = to->down_free_ns + settings->delay_us * 1000;
    push(net, number);
}

static struct net *open_simulated(const struct net_settings *settings, char *error, size_t error_bytes)
{
    struct simulated *net = calloc(1, sizeof *net);
    if (net != NULL)
        net->frames = malloc(FRAMES * sizeof *net->frames);
    if (net == NULL || net->frames == NULL) {
        free(net);
        snprintf(error, error_bytes, "no memory");
        return NULL;
    }
    net->net = (struct net){.kind = &net_simulated, .settings = *settings, .now_ns = 1000 * SECOND_NS};
    for (uint32_t i = 0; i < FRAMES; i++)
        net->unused[net->unused_count++] = i;
    return &net->net;
}

static struct net_counts close_simulated(struct net *net)
{
    struct net_counts counts = of(net)->counts;
    for (uint32_t i = 0; i < net->count; i++)
        stack_close(net->stacks[i]);
    free(of(net)->frames);
    free(net);
    return counts;
}

static int add(struct net *net, const struct stack_limits *limits, const struct stack_address *address, char *error,
               size_t error_bytes)
{
    uint32_t number = net->count;
    struct net_host *host = &of(net)->hosts[number];
    struct stack_limits own = *limits;
    own.key[0] = (uint8_t)number;
    struct wire wire = {.context = host, .reserve = reserve, .commit = commit, .mtu = 1500,
                        .mac = {2, 0, 0, 0, (uint8_t)(number >> 8), (uint8_t)number}};
    host->net = of(net);
    net->stacks[number] = stack_open(&own, &wire, address, net_tick(net));
    if (net->stacks[number] != NULL)
        return 0;
    snprintf(error, error_bytes, "the stack: %s%s", strerror(errno), errno == EINVAL ? "; a limit is out of range" : "");
    return -1;
}

static void wake(struct net *net, uint32_t host) { stack_advance(net->stacks[host], net_tick(net)); }

static int step(struct net *net)
{
    struct simulated *s = of(net);
    uint64_t timer_ns = UINT64_MAX, due;
    uint32_t host = 0;
    for (uint32_t i = 0; i < net->count; i++) {
        if (stack_next(net->stacks[i], &due) && due * net->settings.tick_us * 1000 < timer_ns) {
            timer_ns = due * net->settings.tick_us * 1000;
            host = i;
        }
    }
    uint64_t frame_ns = s->heap_count > 0 ? s->frames[s->heap[0]].at_ns : UINT64_MAX;
    uint64_t next_ns = timer_ns < frame_ns ? timer_ns : frame_ns;
    if (next_ns == UINT64_MAX)
        return -2;
    net->now_ns = next_ns > net->now_ns ? next_ns : net->now_ns;
    if (timer_ns <= frame_ns) {
        wake(net, host);
        return (int)host;
    }
    uint32_t number = pop(s);
    struct net_frame *f = &s->frames[number];
    if (f->at_switch) {
        forward(s, number);
        return -1;
    }
    wake(net, f->to);
    stack_input(net->stacks[f->to], f->data, f->bytes, 0);
    s->unused[s->unused_count++] = number;
    return f->to;
}

const struct net_kind net_simulated = {open_simulated, add, step, wake, close_simulated};
