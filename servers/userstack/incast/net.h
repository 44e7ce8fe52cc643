/* net.h: a switch and hosts on links of their own, in virtual time. Each link serialises frames at its rate; a frame for
 * whose port the queue is full is dropped. Nothing is random. */
#ifndef NAI_INCAST_NET_H
#define NAI_INCAST_NET_H

#include "stack.h"

#include <stdbool.h>
#include <stdint.h>

enum { NET_HOSTS = 257, NET_FRAMES = 16384 }; /* at most; of all that are on their way */

struct net_settings {
    uint64_t rate_bps, delay_us; /* of every link; the delay is one way's */
    uint64_t queue;              /* full frames that a port of the switch holds */
    uint64_t tick_us;            /* of every stack */
};

struct net_frame { /* on its way to the switch, or from there to a host */
    uint64_t at_ns, order;
    uint32_t bytes;
    uint16_t to; /* host */
    bool at_switch;
    uint8_t data[WIRE_FRAME_MAX];
};

struct net_host {
    struct net *net;
    struct stack *stack;
    uint64_t up_free_ns, down_free_ns; /* when its link's end, the switch's port, is free */
    uint8_t building[WIRE_FRAME_MAX];
};

struct net {
    struct net_settings settings;
    uint64_t now_ns, order, drops;
    struct net_host hosts[NET_HOSTS];
    uint32_t count;
    struct net_frame *frames;
    uint32_t heap[NET_FRAMES], heap_count, unused[NET_FRAMES], unused_count;
};

/* NULL: no memory. */
struct net *net_open(const struct net_settings *settings);
void net_close(struct net *net);
/* One host more, with a stack of those limits but for tick and key; its number, its address is net_address(). -1 with errno. */
int net_add(struct net *net, const struct stack_limits *limits);
static inline uint32_t net_address(uint32_t host) { return 0x0a000100 + host; }
/* The next thing that happens. The number of the host to whose stack it did, -1 if only a frame has reached the switch, -2
 * if nothing is left to happen. */
int net_step(struct net *net);
void net_wake(struct net *net, uint32_t host); /* so that calls of its stack happen now */

#endif
