/* net.h: hosts that are stacks of ours, each on a port of one switch: simulated.c, in virtual time; live.c, through the
 * switch of this project, by the clock. Only the ports towards hosts have a limited rate and a queue. */
#ifndef NAI_INCAST_NET_H
#define NAI_INCAST_NET_H

#include "stack.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    NET_HOSTS = 257,
    NET_FRAME_OVERHEAD = 24, /* preamble, check sequence, gap: bytes that a frame takes on the wire besides its own */
    NET_FULL_FRAME = WIRE_ETHERNET_BYTES + 1500,
};

struct net_settings {
    uint64_t rate_bps;    /* of the ports of the switch. Live: of host 0's alone; others are sent too little to matter */
    uint64_t up_rate_bps; /* of links towards the switch; 0 = any, as it must be live */
    uint64_t delay_us;    /* of every link, one way's */
    uint64_t queue;       /* full frames that wait at a port of the switch */
    uint64_t tick_us;     /* of every stack */
    uint64_t cpu, switch_cpu; /* live: where the hosts, and the switch, run; NET_ANY_CPU = anywhere */
};
#define NET_ANY_CPU UINT64_MAX

struct net {
    const struct net_kind *kind;
    struct net_settings settings;
    uint64_t now_ns;
    struct stack *stacks[NET_HOSTS]; /* by host */
    uint32_t count;
};

struct net_counts {
    uint64_t dropped; /* at the switch, for want of room in a queue */
    uint64_t lost;    /* elsewhere: for which nothing in the experiment is meant to be the reason */
    uint64_t cpu_us, switch_cpu_us; /* live */
};

struct net_kind {
    struct net *(*open)(const struct net_settings *settings, char *error, size_t error_bytes);
    int (*add)(struct net *net, const struct stack_limits *limits, const struct stack_address *address, char *error,
               size_t error_bytes);
    int (*step)(struct net *net);
    void (*wake)(struct net *net, uint32_t host);
    struct net_counts (*close)(struct net *net);
};
extern const struct net_kind net_simulated, net_live;

/* NULL, with one line in *error. */
static inline struct net *net_open(const struct net_kind *kind, const struct net_settings *settings, char *error,
                                   size_t error_bytes)
{
    return kind->open(settings, error, error_bytes);
}

static inline struct net_counts net_close(struct net *net) { return net->kind->close(net); }

static inline uint32_t net_address(uint32_t host) { return 0x0a000100 + host; }

/* One host more, with a stack of those limits but for tick and key; its number is `count` before, its address is
 * net_address() of that. 0, or -1 with one line in *error. */
static inline int net_add(struct net *net, const struct stack_limits *limits, char *error, size_t error_bytes)
{
    struct stack_limits own = *limits;
    struct stack_address address = {.ip = net_address(net->count), .netmask = 0xffff0000};
    own.tick_ns = (uint32_t)net->settings.tick_us * 1000;
    if (net->kind->add(net, &own, &address, error, error_bytes) != 0)
        return -1;
    net->count++;
    return 0;
}

/* The next thing that happens. The number of the host to whose stack it did, -1 if none is the wiser, -2 if nothing is left
 * to happen. */
static inline int net_step(struct net *net) { return net->kind->step(net); }

/* So that calls of its stack happen now. */
static inline void net_wake(struct net *net, uint32_t host) { net->kind->wake(net, host); }

static inline uint64_t net_tick(const struct net *net) { return net->now_ns / (net->settings.tick_us * 1000); }

#endif
