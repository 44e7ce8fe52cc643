/* raw_ring.h: frames in and out of one interface by packet(7).
 *
 * In: a TPACKET_V2 ring. Version 3 hands over whole blocks, the last one only after a time-out of at least 1 ms, which
 * would be added to every round trip; version 2 shows each frame at once. Out: sendmmsg(2) without the queueing
 * discipline. A transmit ring would save a copy of 60 bytes, but its frames are pages lent to the receiver, declared free
 * as soon as the receiver's IP layer takes the packet (skb_orphan in ip_rcv_core()), before its TCP has read it.
 */
#ifndef NAI_RAW_RING_H
#define NAI_RAW_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "raw_segment.h"

#define RAW_RING_BATCH 256 /* frames handed to the kernel in one call at most */
/* Over veth a frame counts against its socket's send buffer until the receiver takes it from its CPU's backlog
 * (net.core.netdev_max_backlog, 1000 frames). One buffer of net.core.wmem_max holds about 400 frames; the loss under
 * overload must be the receiver's, so there are sockets enough to fill its backlog. */
#define RAW_RING_OUT 8

struct raw_ring_flow { /* what is received: TCP from there to this network, in host byte order */
    uint32_t server, net, mask;
    uint16_t server_port;
};

struct raw_packet {
    const uint8_t *ip;
    size_t captured, length; /* from the IPv4 header on; captured < length: cut off by the ring's frame size */
    bool checksum_known;     /* the kernel vouches for it, or never computed it */
};

struct raw_ring {
    int in, out[RAW_RING_OUT];
    unsigned out_now; /* the socket that last had room */
    uint8_t *frames;
    size_t frame_bytes, map_bytes;
    uint32_t frame_count, next;
    unsigned queued;
    uint64_t tx_drops; /* frames not delivered: over veth nearly always the receiver's full backlog (ENOBUFS) */
    uint8_t mac[6];       /* the interface's own */
    struct mmsghdr messages[RAW_RING_BATCH];
    struct iovec parts[RAW_RING_BATCH];
    uint8_t outgoing[RAW_RING_BATCH][RAW_FRAME_BYTES + 22]; /* a multiple of the cache line */
};

/* Open on `interface`; packets of up to packet_bytes (from the IPv4 header on) are captured whole.
 * Returns 0, or -1 with one line in *error saying what to do. */
int raw_ring_open(struct raw_ring *, const char *interface, const struct raw_ring_flow *flow, size_t packet_bytes,
                  char *error, size_t error_bytes);
void raw_ring_close(struct raw_ring *);

/* The oldest frame not yet released, or false. It stays valid until raw_ring_release(). */
bool raw_ring_peek(struct raw_ring *, struct raw_packet *out);
void raw_ring_release(struct raw_ring *);

/* Room for one outgoing frame; then the number of bytes written there. A full batch is flushed by itself. */
static inline uint8_t *raw_ring_room(struct raw_ring *r) { return r->outgoing[r->queued]; }
void raw_ring_queue(struct raw_ring *, size_t bytes);
void raw_ring_flush(struct raw_ring *);

uint64_t raw_ring_drops(struct raw_ring *); /* frames lost since the last call because the ring was full */
void raw_ring_sleep(struct raw_ring *, uint64_t ns); /* until a frame arrives, at most ns */

/* The link-layer address of a neighbour (IPv4, host byte order): from the kernel's table, else by asking (ARP).
 * Returns 0, or -1 if there is no answer within a second. */
int raw_ring_neighbour(const char *interface, uint32_t address, uint8_t mac[6]);

#endif
