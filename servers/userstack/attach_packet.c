/* attach_packet.c: a wire that is one interface, by packet(7). */
#include "attachment.h"
#include "packet_ring.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

struct attached_packet {
    struct attachment attachment; /* first */
    struct packet_ring *ring;
    uint64_t calls; /* of the ring's, those that are counted */
};

static struct packet_ring *ring_of(const struct attachment *a) { return ((const struct attached_packet *)a)->ring; }

static struct attachment *open_packet(const char *interface, const struct stack_address *address, struct wire *wire,
                                      char *error, size_t error_bytes)
{
    (void)address; /* it takes all frames that come */
    struct attached_packet *a = calloc(1, sizeof *a);
    if (a == NULL) {
        snprintf(error, error_bytes, "no memory");
        return NULL;
    }
    a->attachment.kind = &attach_packet;
    a->ring = packet_ring_open(interface, wire->mac, &wire->mtu, error, error_bytes);
    if (a->ring == NULL) {
        free(a);
        return NULL;
    }
    wire->context = a->ring;
    wire->reserve = packet_ring_reserve;
    wire->commit = packet_ring_commit;
    return &a->attachment;
}

static void close_packet(struct attachment *a)
{
    packet_ring_close(ring_of(a));
    free(a);
}

static unsigned receive(struct attachment *a, attach_take *take, void *receiver, unsigned batch)
{
    struct packet_ring *ring = ring_of(a);
    struct packet_frame frame;
    unsigned n = 0;
    for (; n < batch && packet_ring_next(ring, &frame); n++) {
        take(receiver, frame.bytes, frame.length, frame.flags);
        packet_ring_release(ring);
    }
    return n;
}

static void flush(struct attachment *a)
{
    struct attached_packet *packet = (struct attached_packet *)a;
    packet_ring_flush(packet->ring);
    a->system_calls += packet_ring_calls(packet->ring) - packet->calls; /* those of batches that were full, too */
    packet->calls = packet_ring_calls(packet->ring);
}

static void wait_packet(struct attachment *a, int64_t ns, bool alone)
{
    (void)alone;
    struct timespec room;
    struct pollfd readable = {.fd = packet_ring_descriptor(ring_of(a)), .events = POLLIN};
    if (packet_ring_ready(ring_of(a)))
        return;
    a->system_calls++;
    ppoll(&readable, 1, duration(&room, ns), NULL);
}

static uint64_t lost(const struct attachment *a) { return packet_ring_lost(ring_of(a)) + packet_ring_missed(ring_of(a)); }

static int bell(const struct attachment *a) { return packet_ring_descriptor(ring_of(a)); }

static bool rests(struct attachment *a) { return !packet_ring_ready(ring_of(a)); }

static void rouses(struct attachment *a) { (void)a; }

const struct attachment_kind attach_packet = {"packet",    open_packet, close_packet, receive, flush,
                                              wait_packet, lost,        bell,         rests,   rouses};
