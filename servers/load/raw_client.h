/* raw_client.h: many one-request connections at once: what joins tuples, TCP, timers, HTTP and the report.
 *
 * Connection n of a run (its serial) has the tuple  (net + n mod addresses, 32768 + n / addresses mod 32768)  and the
 * slot  n mod slots  of the table, so a segment finds its connection without search and no two connections ever
 * collide but by lapping: a slot is used again only after `slots` later connections, a tuple only after up to 2^24.
 */
#ifndef NAI_RAW_CLIENT_H
#define NAI_RAW_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "manifest.h"
#include "raw_ring.h"
#include "raw_segment.h"
#include "raw_tcp.h"
#include "raw_wheel.h"
#include "reply.h"
#include "report.h"

#define RAW_PORTS_LOW 32768u          /* ports 32768..65535 are in use */
#define RAW_ADDRESSES_BITS_MAX 9      /* at most so many bits of --source-net: real clients are not each of a new address,
                                         and the server keeps state by address (tcp_metrics) */
#define RAW_SLOTS_BITS_MAX 22         /* 4 million connections at once */
#define RAW_START_BATCH 64            /* SYNs per turn of the loop, so that replies do not wait behind them */
#define RAW_INPUT_BATCH 128           /* segments per turn */
#define RAW_MSS 1460
#define RAW_WINDOW 16384              /* bounds a segment not yet cut to the MTU (GSO), and so the ring's frames */

struct raw_options {
    uint32_t server;
    uint16_t server_port;
    uint32_t net;
    unsigned net_bits; /* prefix length */
    uint64_t timeout_ms;
    uint64_t verify_every; /* 0 = never */
    double rate_per_s;
    uint8_t next_hop[6], own_mac[6];
    bool separate_ack; /* complete the handshake by a segment of its own, as most clients do */
};

struct raw_connection {
    struct raw_tcp tcp;
    uint32_t serial;
    uint32_t deadline; /* tick of the time-out */
    bool settled;      /* its outcome is counted */
    bool partial;      /* its reply came in part: see raw_client.replies */
    uint64_t intended_ns, started_ns;
};

struct raw_client {
    struct raw_options options;
    const struct manifest_file *file;
    struct raw_profile profile;
    struct raw_template syn, bare, request;
    struct raw_ring *ring;
    struct report *report;
    struct raw_wheel wheel;
    struct raw_connection *connections;
    struct reply *replies; /* one a slot; only those of replies in several segments are ever touched */
    struct reply scratch;
    uint32_t slots, open;
    unsigned address_bits;
    uint32_t serial, serial_mask; /* of the next connection */
    uint64_t epoch_ns;            /* tick 0; a tick is 1 ms */
    uint64_t replies_seen;
    uint64_t begun[RAW_START_BATCH]; /* intended times of the SYNs not yet flushed */
    unsigned begun_count;
    uint64_t malformed, foreign, retransmitted_syn, retransmitted_request, table_full; /* in the window */
};

/* The ring, the report and the file must outlive the client. Returns 0, or -1 with one line in *error. */
int raw_client_init(struct raw_client *, const struct raw_options *, const struct manifest_file *, struct raw_ring *,
                    struct report *, uint64_t now_ns, char *error, size_t error_bytes);
void raw_client_free(struct raw_client *);

/* Each returns how much it did. Frames are only queued: flush afterwards. */
unsigned raw_client_receive(struct raw_client *, uint64_t now_ns);
unsigned raw_client_expire(struct raw_client *, uint64_t now_ns);
bool raw_client_start(struct raw_client *, uint64_t intended_ns, uint64_t now_ns); /* false: no slot is free */
/* Send what is queued; the lag of the SYNs among it ends here. */
void raw_client_flush(struct raw_client *);

void raw_client_censor(struct raw_client *, uint64_t end_ns); /* the window ends: what is unanswered has no latency */
/* Abort up to `most` connections from slot *cursor on; returns how many (0: none is left). */
unsigned raw_client_abort(struct raw_client *, uint32_t *cursor, unsigned most);
uint64_t raw_client_next_ns(const struct raw_client *, uint64_t now_ns); /* no timer fires before */

#endif
