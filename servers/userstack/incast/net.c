#include "net.h"

#include <stdlib.h>
#include <string.h>

enum { FRAME_OVERHEAD = 24 }; /* preamble, check sequence, gap */
static const uint64_t SECOND_NS = 1000000000;

static bool sooner(const struct net *net, uint32_t a, uint32_t b)
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

static uint64_t wire_ns(const struct net *net, uint32_t bytes)
{
    return (uint64_t)(bytes + FRAME_OVERHEAD) * 8 * SECOND_NS / net->settings.rate_bps;
}

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct net_host *host = context;
    return bytes > WIRE_FRAME_MAX ? NULL : host->building;
}

static void send_to(struct net_host *host, uint32_t bytes, uint16_t to)
{
    struct net *net = host->net;
    if (net->unused_count == 0) {
        net->drops++;
        return;
    }
    uint32_t number = net->unused[--net->unused_count];
    struct net_frame *f = &net->frames[number];
    f->bytes = bytes;
    f->to = to;
    f->at_switch = true;
    f->at_ns = host->up_free_ns + net->settings.delay_us * 1000;
    memcpy(f->data, host->building, bytes);
    push(net, number);
}

static void commit(void *context, uint32_t bytes)
{
    struct net_host *host = context;
    struct net *net = host->net;
    uint64_t start = host->up_free_ns > net->now_ns ? host->up_free_ns : net->now_ns;
    host->up_free_ns = start + wire_ns(net, bytes);
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
    struct net_frame *f = &net->frames[number];
    struct net_host *to = &net->hosts[f->to];
    uint64_t start = to->down_free_ns > net->now_ns ? to->down_free_ns : net->now_ns;
    if (f->to >= net->count || start - net->now_ns > net->settings.queue * wire_ns(net, WIRE_ETHERNET_BYTES + 1500)) {
        net->drops++;
        net->unused[net->unused_count++] = number;
        return;
    }
    to->down_free_ns = start + wire_ns(net, f->bytes);
    f->at_switch = false;
    f->at_ns = to->down_free_ns + net->settings.delay_us * 1000;
    push(net, number);
}

struct net *net_open(const struct net_settings *settings)
{
    struct net *net = calloc(1, sizeof *net);
    if (net == NULL)
        return NULL;
    net->frames = malloc(NET_FRAMES * sizeof *net->frames);
    if (net->frames == NULL) {
        free(net);
        return NULL;
    }
    net->settings = *settings;
    net->now_ns = 1000 * SECOND_NS;
    for (uint32_t i = 0; i < NET_FRAMES; i++)
        net->unused[net->unused_count++] = i;
    return net;
}

void net_close(struct net *net)
{
    for (uint32_t i = 0; i < net->count; i++)
        stack_close(net->hosts[i].stack);
    free(net->frames);
    free(net);
}

static uint64_t tick(const struct net *net) { return net->now_ns / (net->settings.tick_us * 1000); }

int net_add(struct net *net, const struct stack_limits *limits)
{
    uint32_t number = net->count;
    struct net_host *host = &net->hosts[number];
    struct stack_limits own = *limits;
    own.tick_ns = (uint32_t)net->settings.tick_us * 1000;
    own.key[0] = (uint8_t)number;
    struct wire wire = {.context = host, .reserve = reserve, .commit = commit, .mtu = 1500,
                        .mac = {2, 0, 0, 0, (uint8_t)(number >> 8), (uint8_t)number}};
    struct stack_address address = {.ip = net_address(number), .netmask = 0xffff0000};
    host->net = net;
    host->stack = stack_open(&own, &wire, &address, tick(net));
    if (host->stack == NULL)
        return -1;
    net->count++;
    return (int)number;
}

void net_wake(struct net *net, uint32_t host) { stack_advance(net->hosts[host].stack, tick(net)); }

int net_step(struct net *net)
{
    uint64_t timer_ns = UINT64_MAX, due;
    uint32_t host = 0;
    for (uint32_t i = 0; i < net->count; i++) {
        if (stack_next(net->hosts[i].stack, &due) && due * net->settings.tick_us * 1000 < timer_ns) {
            timer_ns = due * net->settings.tick_us * 1000;
            host = i;
        }
    }
    uint64_t frame_ns = net->heap_count > 0 ? net->frames[net->heap[0]].at_ns : UINT64_MAX;
    uint64_t next_ns = timer_ns < frame_ns ? timer_ns : frame_ns;
    if (next_ns == UINT64_MAX)
        return -2;
    net->now_ns = next_ns > net->now_ns ? next_ns : net->now_ns;
    if (timer_ns <= frame_ns) {
        net_wake(net, host);
        return (int)host;
    }
    uint32_t number = pop(net);
    struct net_frame *f = &net->frames[number];
    if (f->at_switch) {
        forward(net, number);
        return -1;
    }
    net_wake(net, f->to);
    stack_input(net->hosts[f->to].stack, f->data, f->bytes, 0);
    net->unused[net->unused_count++] = number;
    return f->to;
}
