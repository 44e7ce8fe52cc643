/* stack.h: a TCP/IP stack for one address on one wire, as a library. It makes no system call, reads no clock and
 * allocates nothing after stack_open(): wire, time and memory come from the caller.
 *
 * Time is counted in ticks of limits.tick_ns nanoseconds. The caller reads its clock once for a batch of work, says so by
 * stack_advance(), then hands in the frames that have arrived and makes its calls of socket.h; all of it happens "now".
 * stack_next() says by when to call again. `now` × tick_ns must fit 64 bits, and should not begin at 0 at every start:
 * initial sequence numbers and timestamps are made from it (RFC 6528, 3).
 *
 * One thread at a time. Addresses and ports are in host byte order everywhere but in packets.
 */
#ifndef NAI_STACK_H
#define NAI_STACK_H

#include "counters.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stack;

enum { STACK_CHUNK_BYTES = 2048 }; /* streams are kept in pieces of this size */

struct stack_limits {
    uint32_t tick_ns;     /* 10,000 (10 µs) .. 10,000,000 */
    const char *timers;   /* facility of timers.h: "wheel", "lazy", … */
    uint32_t timer_batch; /* expiries in one stack_advance() */
    uint8_t key[16];      /* secret, random: sequence numbers, cookies, hash tables */

    uint32_t packets;         /* whole frames that wait for ARP, in all */
    uint32_t arp_entries;     /* neighbours, a power of 2 */
    uint32_t arp_queue;       /* frames that wait for one neighbour */
    uint32_t datagrams;       /* that are reassembled at a time */
    uint32_t datagram_bytes;  /* the largest, up to 65,515 bytes of payload */
    uint32_t paths;           /* destinations whose MTU is remembered, a power of 2 */
    uint32_t icmp_per_s;      /* errors sent in a second: at most, and at least half of it */

    uint32_t udp_sockets;
    uint32_t udp_queue_bytes; /* received and unread, of a socket */

    uint32_t connections;     /* TCP, in every state but LISTEN and CLOSED */
    uint32_t listeners;
    uint32_t chunks;          /* of STACK_CHUNK_BYTES, for all streams together */
    uint32_t runs;            /* of bytes that were sent at one time and have one fate, beyond a connection's first */
    uint32_t send_bytes;      /* of a connection: written and not yet acknowledged */
    uint32_t receive_bytes;   /* of a connection: received and not yet read; the largest window */
    uint32_t syn_queue;       /* half-open connections of a listener; beyond that, cookies */
    uint32_t time_waits;      /* the oldest makes room beyond that */
    uint32_t challenges_per_s; /* of a connection: RFC 5961, 7 */
    const char *congestion;   /* "reno" or "cubic": the default of sockets */
    uint32_t initial_window;  /* segments, RFC 6928: up to 10 */
    uint32_t mss;             /* the most that is asked for and sent; 0 = what the wire carries */
    uint32_t timestamps;      /* RFC 7323: 1, or 0 to go without */
    uint32_t push_segments;   /* PSH ends every run of so many segments, as it ends bursts of a sender with segmentation
                                 offload; 0 = only where what was written ends */

    uint32_t min_rto_us, max_rto_ms, first_rto_ms; /* RFC 6298: 1 s, 60 s, 1 s; the first is often chosen lower */
    uint32_t delayed_ack_us;                       /* RFC 9293, 3.8.6.3: under 500 ms */
    uint32_t time_wait_ms;                         /* 2 MSL */
    uint32_t fin_wait_2_ms;                        /* of a socket that was closed */
    uint32_t keepalive_idle_ms, keepalive_interval_ms, keepalive_probes; /* RFC 9293, 3.8.4 */
    uint32_t user_timeout_ms; /* data unacknowledged for so long ends the connection; 0 = only the number of tries does */
    uint32_t tail_probes;     /* RFC 8985, 7: 0 = none */
    uint32_t syn_tries, data_tries; /* retransmissions, R2 of RFC 9293, 3.8.3 */
};

struct stack_address {
    uint32_t ip, netmask, gateway; /* gateway 0 = none */
};

/* Good for a server of about a thousand connections. The key is zero: to be filled in. */
struct stack_limits stack_default_limits(void);

/* NULL with errno: EINVAL (a limit, an address or the wire's MTU is out of range), ENOMEM. The wire is copied. */
struct stack *stack_open(const struct stack_limits *limits, const struct wire *wire,
                         const struct stack_address *address, uint64_t now);
void stack_close(struct stack *stack); /* connections are forgotten, nothing is sent */
size_t stack_memory_bytes(const struct stack_limits *limits); /* that stack_open() takes, besides timers */

/* It is `now`: expire timers, send what the wire had no room for. Returns how many timers expired; if that is
 * limits.timer_batch, more may be due. */
size_t stack_advance(struct stack *stack, uint64_t now);
bool stack_next(const struct stack *stack, uint64_t *tick); /* false: nothing is to be done until a frame comes */

/* A frame has arrived. It is read, not kept. */
void stack_input(struct stack *stack, const uint8_t *frame, uint32_t bytes, unsigned flags);
/* Around frames that lay there together: data in order, or beyond the same gap, are acknowledged once. */
void stack_batch(struct stack *stack);
void stack_batch_end(struct stack *stack);

const struct stack_counters *stack_counters(const struct stack *stack);
/* The i-th counter's name and value, drops first ("drop_…"); false beyond the last. */
bool stack_counter(const struct stack *stack, unsigned i, const char **name, uint64_t *value);

/* What is in use now: for tests of leaks. */
struct stack_usage {
    uint32_t connections, time_waits, chunks, packets, datagrams, timers, udp_sockets, listeners;
};
struct stack_usage stack_usage(const struct stack *stack);

#endif
