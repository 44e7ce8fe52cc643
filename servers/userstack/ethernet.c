#include "inside.h"

enum { TYPE = 12 };

static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

uint8_t *ethernet_begin(struct stack *stack, const uint8_t mac[6], uint16_t type, uint32_t bytes)
{
    uint8_t *frame = stack->wire.reserve(stack->wire.context, WIRE_ETHERNET_BYTES + bytes);
    if (frame == NULL)
        return NULL;
    memcpy(frame, mac == NULL ? everybody : mac, 6);
    memcpy(frame + 6, stack->wire.mac, 6);
    put16(frame + TYPE, type);
    return frame + WIRE_ETHERNET_BYTES;
}

void ethernet_end(struct stack *stack, uint32_t bytes)
{
    COUNT(stack, frames_sent);
    stack->counters.bytes_sent += WIRE_ETHERNET_BYTES + bytes;
    stack->wire.commit(stack->wire.context, WIRE_ETHERNET_BYTES + bytes);
}

void stack_input(struct stack *stack, const uint8_t *frame, uint32_t bytes, unsigned flags)
{
    COUNT(stack, frames_received);
    stack->counters.bytes_received += bytes;
    /* Padding is no error: bytes beyond the MTU are. */
    if (bytes < WIRE_ETHERNET_BYTES || bytes > WIRE_ETHERNET_BYTES + max_u32(stack->wire.mtu, 46)) {
        COUNT_DROP(stack, ethernet_short);
        return;
    }
    if (memcmp(frame, stack->wire.mac, 6) != 0 && memcmp(frame, everybody, 6) != 0) {
        COUNT_DROP(stack, ethernet_address);
        return;
    }
    const uint8_t *payload = frame + WIRE_ETHERNET_BYTES;
    bytes -= WIRE_ETHERNET_BYTES;
    switch (get16(frame + TYPE)) {
    case ETHERNET_IPV4:
        ipv4_input(stack, payload, bytes, flags);
        break;
    case ETHERNET_ARP:
        arp_input(stack, payload, bytes);
        break;
    default:
        COUNT_DROP(stack, ethernet_type);
    }
}
