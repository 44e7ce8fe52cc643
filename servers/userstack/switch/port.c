/* port.c: what lies between the switch and one stack, or one interface. */
#include "../packet_ring.h"
#include "fabric.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

int port_open_stack(struct port *port, uint32_t slots, struct ring_slot *aside, int *memory_file)
{
    size_t one = ring_bytes(slots);
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    port->memory_bytes = 2 * one;
    port->memory = MAP_FAILED;
    port->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    port->switch_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *memory_file = memfd_create("switch port", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (port->bell >= 0 && port->switch_bell >= 0 && *memory_file >= 0 &&
        ftruncate(*memory_file, (off_t)port->memory_bytes) == 0 && fcntl(*memory_file, F_ADD_SEALS, seals) == 0)
        port->memory = mmap(NULL, port->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *memory_file, 0);
    if (port->memory == MAP_FAILED || !producer_open(&port->out, (void *)((uint8_t *)port->memory + one), slots, aside)) {
        int failed = errno;
        if (port->memory != MAP_FAILED)
            munmap(port->memory, port->memory_bytes);
        for (int i = 0; i < 3; i++) {
            int file = (int[]){port->bell, port->switch_bell, *memory_file}[i];
            if (file >= 0)
                close(file);
        }
        return failed;
    }
    port->in = (struct consumer){.ring = port->memory, .slots = slots};
    consumer_wakes(&port->in);
    return 0;
}

void port_close_stack(struct port *port)
{
    producer_close(&port->out);
    munmap(port->memory, port->memory_bytes);
    close(port->bell);
    close(port->switch_bell);
}

void frame_copy(const struct frame *frame, uint8_t *to)
{
    memcpy(to, frame->head, frame->head_bytes);
    if (frame->bytes > frame->head_bytes)
        memcpy(to + frame->head_bytes, frame->rest, frame->bytes - frame->head_bytes);
}

/* Its headers become the switch's own. There is room for HEAD_BYTES to be read, whatever the frame's length. */
static void look(struct frame *frame, const uint8_t *bytes, uint32_t length, unsigned flags)
{
    frame->bytes = length;
    frame->flags = flags;
    if (length <= HEAD_SHORT_BYTES) {
        memcpy(frame->head, bytes, HEAD_SHORT_BYTES);
        frame->head_bytes = length;
    } else {
        memcpy(frame->head, bytes, HEAD_BYTES);
        frame->head_bytes = length < HEAD_BYTES ? length : HEAD_BYTES;
    }
    frame->rest = bytes + frame->head_bytes;
}

static unsigned take_from_stack(struct fabric *f, struct port *port)
{
    struct frame frame;
    uint64_t bytes_in = 0;
    uint32_t n = consumer_ready(&port->in);
    n = n < PORT_BATCH ? n : PORT_BATCH;
    if (n == 0)
        return 0;
    for (uint32_t i = 0; i < RING_AHEAD; i++)
        consumer_fetch(&port->in, i);
    for (uint32_t i = 0; i < n; i++) {
        const struct ring_frame from = consumer_frame(&port->in, i); /* once: it may be another the next time */
        consumer_fetch(&port->in, i + RING_AHEAD);
        if (from.bytes > WIRE_FRAME_MAX) {
            CHARGE(port, drop_malformed);
            continue;
        }
        look(&frame, from.slot->frame, from.bytes, f->verify ? 0 : FRAME_CHECKED);
        bytes_in += from.bytes;
        fabric_pass(f, port, &frame);
    }
    consumer_release(&port->in, n);
    LEDGER_ADD(port->ledger, frames_in, n);
    LEDGER_ADD(port->ledger, bytes_in, bytes_in);
    return n;
}

static unsigned take_from_uplink(struct fabric *f, struct port *port)
{
    struct packet_frame packet;
    struct frame frame;
    uint64_t bytes_in = 0, missed = packet_ring_missed(port->packets);
    unsigned n = 0;
    for (; n < PORT_BATCH && packet_ring_next(port->packets, &packet); n++) {
        if (packet.length > WIRE_FRAME_MAX) {
            CHARGE(port, drop_malformed); /* of an offload that is still on */
        } else {
            look(&frame, packet.bytes, packet.length, packet.flags);
            bytes_in += packet.length;
            fabric_pass(f, port, &frame);
        }
        packet_ring_release(port->packets);
    }
    LEDGER_ADD(port->ledger, frames_in, n);
    LEDGER_ADD(port->ledger, bytes_in, bytes_in);
    LEDGER_ADD(port->ledger, drop_missed, packet_ring_missed(port->packets) - missed);
    return n;
}

unsigned port_take(struct fabric *f, struct port *port)
{
    return port->uplink ? take_from_uplink(f, port) : take_from_stack(f, port);
}

/* The kernel's ring; a checksum that the kernel of another uplink left out would now be wrong. */
static bool put_uplink(struct port *port, const struct frame *frame)
{
    uint8_t *room = packet_ring_reserve(port->packets, frame->bytes);
    if (room == NULL)
        return false;
    frame_copy(frame, room);
    if (frame->flags & PACKET_UNFINISHED)
        headers_finish(room, frame->bytes);
    packet_ring_commit(port->packets, frame->bytes);
    return true;
}

static bool put_stack(struct port *port, const struct frame *frame)
{
    if (producer_room(&port->out) == 0)
        return false;
    frame_copy(frame, producer_slot(&port->out)->frame);
    producer_commit(&port->out, frame->bytes, frame->flags & FRAME_CHECKED);
    return true;
}

void port_put(struct fabric *f, struct port *port, const struct frame *frame)
{
    if (!(port->uplink ? put_uplink(port, frame) : put_stack(port, frame))) {
        CHARGE(port, drop_ring_full);
        return;
    }
    CHARGE(port, frames_out);
    LEDGER_ADD(port->ledger, bytes_out, frame->bytes);
    if (!port->listed) {
        port->listed = true;
        f->filled[f->filled_count++] = port->number;
    }
}

void port_flush(struct port *port)
{
    static const uint64_t one = 1;
    port->listed = false;
    if (port->uplink) {
        uint64_t lost = packet_ring_lost(port->packets);
        packet_ring_flush(port->packets);
        LEDGER_ADD(port->ledger, drop_carrier, packet_ring_lost(port->packets) - lost);
    } else if (producer_flush(&port->out)) {
        CHARGE(port, bells_out);
        (void)!write(port->bell, &one, sizeof one);
    }
}
