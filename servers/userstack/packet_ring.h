/* packet_ring.h: frames of one Ethernet interface, by packet(7): in, a TPACKET_V2 ring, which shows each frame at once
 * (version 3 waits for a block); out, sendmmsg(2) once a batch, without the queueing discipline. What a stack is attached
 * to an interface by (attach_packet.c), and a switch's uplink (switch/).
 *
 * Needs CAP_NET_RAW in its network namespace, so no root in one of the lab's. The kernel must not answer on the stack's
 * address itself: it has none of its own on that interface, or another one. Segmentation and receive offloads of the
 * veth's other end are to be off (frames beyond the MTU are dropped by the stack, and counted).
 */
#ifndef NAI_PACKET_RING_H
#define NAI_PACKET_RING_H

#include "wire.h"

#include <stdbool.h>
#include <stddef.h>

struct packet_ring;

/* Beside those of enum frame_flags. */
enum { PACKET_UNFINISHED = 0x100 }; /* its kernel left the TCP or UDP checksum out: there is the pseudo-header's sum */

struct packet_frame {
    const uint8_t *bytes;
    uint32_t length; /* may be more than WIRE_FRAME_MAX, or than is there: then it is to be dropped unread */
    unsigned flags;
};

/* NULL, with one line in *error that says what to do. */
struct packet_ring *packet_ring_open(const char *interface, uint8_t mac[6], uint32_t *mtu, char *error, size_t error_bytes);
void packet_ring_close(struct packet_ring *ring);

/* The frame that arrived first, until packet_ring_release(); false: there is none. */
bool packet_ring_next(struct packet_ring *ring, struct packet_frame *frame);
void packet_ring_release(struct packet_ring *ring);
bool packet_ring_ready(const struct packet_ring *ring); /* there is one */

/* As in wire.h, with the ring as context; what is committed leaves when the batch is full or is flushed. */
uint8_t *packet_ring_reserve(void *ring, uint32_t bytes);
void packet_ring_commit(void *ring, uint32_t bytes);
void packet_ring_flush(struct packet_ring *ring);

int packet_ring_descriptor(const struct packet_ring *ring); /* to poll for reading */
uint64_t packet_ring_lost(const struct packet_ring *ring);   /* frames that the kernel would not take */
uint64_t packet_ring_missed(const struct packet_ring *ring); /* frames that came while the ring was full */
uint64_t packet_ring_calls(const struct packet_ring *ring);  /* system calls that were made to send */

#endif
