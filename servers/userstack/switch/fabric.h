/* fabric.h: what the files of the switch share: its ports, and one prototype table grouped by file.
 *
 * A frame's way: port.c takes it from a ring, demux.c says whose it is, impair.c what befalls it on the way, port.c puts it
 * into the receiver's ring. It is copied from ring to ring (ring.h says how). What is decided on is the switch's own copy
 * of its headers, which are passed on as they were judged: whoever rewrites them meanwhile changes nothing.
 *
 * Nobody is trusted. A port's memory and messages are anybody's bytes; a port sends from its own MAC, address and ports
 * only; in a turn PORT_BATCH frames of each port are moved, in turns that begin with another one each time; what goes to
 * several is limited, and what a port does not take is dropped at its own expense.
 *
 * Checksums: of a frame that a stack sends, what a receiver is told is the switch's word, not the sender's. From ring to ring
 * it came through memory of one machine and was not changed (FRAME_CHECKED), as over the kernel's loopback; who would
 * lie in a checksum can as well compute it. A frame that impairments damage is not; nor is any with `verify`. Before a
 * frame leaves through an uplink, or is damaged, a checksum that the kernel left out is computed.
 */
#ifndef NAI_SWITCH_FABRIC_H
#define NAI_SWITCH_FABRIC_H

#include "hello.h"
#include "ledger.h"
#include "pool.h"
#include "ring.h"
#include "timers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FABRIC_PORTS_MOST = 1024, /* of stacks */
    FABRIC_UPLINKS_MOST = 4,
    FABRIC_RULES_MOST = 32,   /* impairments */
    PORT_BATCH = 64,          /* frames of a port in a turn */
    HEAD_BYTES = 160,         /* the most that is looked at of a frame: to the ports of a packet quoted in ICMP */
    HEAD_SHORT_BYTES = 98,    /* what two cache lines of a slot hold of it: enough for all else */
    FLOODS_PER_S = 200,       /* frames of a port for several others */
    FLOODS_AT_ONCE = 100,
    RULE_BATCH = 256,         /* delayed frames delivered in a turn */
};

struct frame {
    uint8_t head[HEAD_BYTES]; /* its first bytes, or all */
    const uint8_t *rest;      /* what follows, where it lies: read once, as it is copied */
    uint32_t head_bytes, bytes;
    unsigned flags; /* FRAME_CHECKED, PACKET_UNFINISHED */
};

struct packet_ring;

struct port {
    bool used, uplink;
    bool listed;    /* among those that something was put into */
    bool condemned; /* its rings make no sense: to be thrown out */
    uint16_t number;
    uint32_t generation; /* of who has it */
    uint32_t ip;
    uint16_t low, high;
    uint8_t mac[6];
    struct ledger *ledger;
    uint32_t from_rules, to_rules;      /* a bit an impairment whose beginning, whose end it is */
    uint64_t draws[FABRIC_RULES_MOST];  /* frames that met it */
    uint64_t floods_at_ns;              /* when it may flood, as a bucket of tokens has it */
    /* A stack's */
    void *memory;
    size_t memory_bytes;
    struct consumer in;
    struct producer out;
    int bell, switch_bell;
    unsigned vain;  /* bells in a row with nothing behind them */
    uint32_t heard; /* head of the ring from it at the last bell */
    bool muted;
    /* An uplink's */
    struct packet_ring *packets;
};

struct station { /* an address: one port, or several that share it */
    uint32_t ip;
    uint8_t mac[6];
    uint16_t members, first; /* ports */
    uint16_t *by_port;       /* shared: TCP or UDP port → member + 1; NULL: it is not */
};

struct learned {
    uint8_t mac[6];
    uint16_t port; /* an uplink, + 1; 0 = free */
};

struct demux {
    struct station *stations;
    uint16_t *table; /* hash → station + 1 */
    uint64_t key;    /* odd */
    uint32_t bits, count, most;
    struct learned *learned; /* behind which uplink; of several */
};

#define RULE_COUNTERS(X)                                                                                               \
    X(frames)                                                                                                          \
    X(bytes)                                                                                                           \
    X(drop_loss)                                                                                                       \
    X(drop_queue)                                                                                                      \
    X(drop_pool)                                                                                                       \
    X(drop_gone)                                                                                                       \
    X(delayed)                                                                                                         \
    X(reordered)                                                                                                       \
    X(duplicated)                                                                                                      \
    X(corrupted)

/* impair.c: a wire from A to B, on which every frame of any pair that matches travels, in one queue. */
enum rule_end_kind { END_ANY, END_ADDRESS, END_UPLINK };
struct rule_end {
    enum rule_end_kind kind;
    uint32_t which; /* address, or number */
};
struct rule {
    struct rule_end from, to;
    double loss, duplicate, corrupt, reorder; /* probability of each frame */
    uint64_t delay_ns, jitter_ns, reorder_ns; /* jitter is even, within ± that, and keeps the order */
    uint64_t rate_bps;                        /* bits of frames a second; 0 = any */
    uint32_t queue_frames, pool_frames;       /* that wait for the wire; that are on it */
    uint64_t queue_bytes;                     /* 0 = any */

    uint64_t key;     /* of its draws */
    uint64_t free_ns; /* when the wire is */
    uint64_t last_ns; /* arrival of the last one in order */
    uint32_t in_order; /* held */
    uint64_t *departures; /* of those that wait, a ring of queue_frames */
    uint64_t departures_head, departures_tail;
    struct pool pool;
    void *held;
    struct rule_counts { /* as in the ledger, but of this wire */
#define X(name) uint64_t name;
        RULE_COUNTERS(X)
#undef X
    } counts;
};

struct fabric {
    struct port *ports; /* uplinks first */
    uint32_t port_count, uplinks;
    uint16_t *active; /* ports that are used */
    uint32_t active_count, begin;
    uint16_t *filled; /* ports that something was put into in this turn */
    uint32_t filled_count;
    uint32_t condemned; /* ports that are to be thrown out */
    uint32_t slots, mtu;
    uint16_t spin_us;
    bool verify; /* receivers are to verify all checksums */
    struct demux demux;
    struct rule *rules;
    uint32_t rule_count;
    struct timers *timers; /* of frames on their way, in microseconds */
    uint64_t seed, now_ns, turns;
    uint64_t (*clock)(void); /* ns */
    struct ledgers ledgers;
    struct ring_slot aside; /* ring.h */
};

#define CHARGE(port, name) LEDGER_ADD((port)->ledger, name, 1)

struct fabric_options {
    uint32_t ports, slots, mtu; /* slots of each ring, a power of 2 */
    uint16_t spin_us;           /* as stacks are told */
    uint64_t seed;
    bool verify;
    const char *counters; /* file, or NULL */
    uint64_t (*clock)(void);
};

/* fabric.c */
/* NULL with one line in *error. */
struct fabric *fabric_open(const struct fabric_options *options, char *error, size_t error_bytes);
void fabric_close(struct fabric *fabric);
/* Before any port: an interface, a rule. -1 with one line in *error. */
int fabric_uplink(struct fabric *fabric, const char *interface, char *error, size_t error_bytes);
/* A message has come from somebody who wants a port. Returns its number, or minus an errno; `welcome` and, if it has one,
 * `files` are the answer. The memory's descriptor is then the caller's to close, the bells are not. */
int fabric_join(struct fabric *fabric, const void *message, size_t bytes, struct welcome *welcome,
                int files[HELLO_DESCRIPTORS]);
void fabric_leave(struct fabric *fabric, uint32_t port);
/* Move what there is, at most PORT_BATCH frames of each port; then ring. Returns how many. */
unsigned fabric_turn(struct fabric *fabric);
/* True: no port has anything, and each will ring. Ends with fabric_wakes(). */
bool fabric_sleeps(struct fabric *fabric);
void fabric_wakes(struct fabric *fabric);
void fabric_print(const struct fabric *fabric, FILE *out);
void fabric_pass(struct fabric *fabric, struct port *from, const struct frame *frame); /* one that was taken from a port */

/* port.c */
/* 0 or an errno. `aside`: for frames to it, ring.h */
int port_open_stack(struct port *port, uint32_t slots, struct ring_slot *aside, int *memory_file);
void port_close_stack(struct port *port);
unsigned port_take(struct fabric *fabric, struct port *port);
void port_put(struct fabric *fabric, struct port *port, const struct frame *frame);
void port_flush(struct port *port);

/* demux.c */
enum demux_kind { DEMUX_PORT, DEMUX_STATION, DEMUX_UPLINKS, DEMUX_ALL, DEMUX_DROP };
struct verdict {
    enum demux_kind kind;
    uint32_t which; /* port, station, or counter of the drop in enum ledger_index */
};
int demux_open(struct demux *demux, uint32_t stations, uint64_t seed);
void demux_close(struct demux *demux);
int demux_join(struct fabric *fabric, struct port *port); /* 0 or an errno; assigns a MAC */
void demux_leave(struct fabric *fabric, const struct port *port);
struct verdict demux_frame(struct fabric *fabric, const struct port *from, const struct frame *frame);

/* headers.c: what a frame says, without trust */
struct transport {
    enum { TRANSPORT_NONE, TRANSPORT_PORTS, TRANSPORT_FRAGMENT, TRANSPORT_ERROR, TRANSPORT_ECHO } kind;
    uint16_t source, destination; /* of an ICMP error: of the packet that it quotes */
};
bool headers_ipv4(const struct frame *frame); /* there is a whole IPv4 header */
struct transport headers_transport(const struct frame *frame);
void headers_finish(uint8_t *frame, uint32_t bytes); /* compute the TCP or UDP checksum that the kernel left out */

/* rule.c */
/* "from=A,to=B,loss=…": -1 with one line in *error. */
int rule_parse(struct rule *rule, const char *text, char *error, size_t error_bytes);
void rules_print(const struct fabric *fabric, FILE *out);

/* impair.c */
int fabric_rule(struct fabric *fabric, const char *text, char *error, size_t error_bytes);
int fabric_rules_open(struct fabric *fabric); /* after the last one; -1 with errno */
void fabric_rules_close(struct fabric *fabric);
void rules_of_port(const struct fabric *fabric, struct port *port);
void impair_pass(struct fabric *fabric, struct rule *rule, struct port *from, struct port *to, const struct frame *frame);
void impair_advance(struct fabric *fabric);
uint64_t fabric_next_ns(const struct fabric *fabric); /* when the next delayed frame is due; UINT64_MAX: there is none */

/* A frame's bytes to where there is room for them. */
void frame_copy(const struct frame *frame, uint8_t *to);

#endif
