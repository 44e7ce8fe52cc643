/* ipv4.c: RFC 791, a host's part. Options are skipped, a source route is not followed (RFC 7126, 4.3). */
#include "inside.h"

enum { HOPS = 64, FRAGMENT_OFFSET = 0x1fff };

static bool is_broadcast(const struct stack *stack, uint32_t ip)
{
    uint32_t host = ~stack->address.netmask;
    return ip == 0xffffffff || (host > 1 && ip == (stack->address.ip | host));
}

void ipv4_deliver(struct stack *stack, uint8_t protocol, const struct packet *packet)
{
    switch (protocol) {
    case PROTOCOL_TCP:
        tcp_input(stack, packet);
        break;
    case PROTOCOL_UDP:
        udp_input(stack, packet);
        break;
    case PROTOCOL_ICMP:
        icmp_input(stack, packet);
        break;
    default:
        COUNT_DROP(stack, ip_protocol);
        icmp_unreachable(stack, packet, ICMP_PROTOCOL_UNREACHABLE);
    }
}

void ipv4_input(struct stack *stack, const uint8_t *p, uint32_t bytes, unsigned flags)
{
    COUNT(stack, ip_received);
    uint32_t header = bytes < IPV4_BYTES ? 0 : (p[0] & 15) * 4u;
    if (header < IPV4_BYTES || p[0] >> 4 != 4 || get16(p + IPV4_LENGTH) < header || get16(p + IPV4_LENGTH) > bytes) {
        COUNT_DROP(stack, ip_malformed);
        return;
    }
    bool checked = flags & FRAME_CHECKED;
    if (!checked && fold_sum(sum_bytes(p, header)) != 0) {
        COUNT_DROP(stack, ip_checksum);
        return;
    }
    uint32_t source = get32(p + IPV4_SOURCE), destination = get32(p + IPV4_DESTINATION);
    bool broadcast = is_broadcast(stack, destination);
    /* A source that is a group, everybody, nobody or ourselves cannot be answered (RFC 1122, 3.2.1.3). */
    if ((destination != stack->address.ip && !broadcast) || source >> 28 >= 14 || source >> 24 == 0 ||
        source >> 24 == 127 || source == stack->address.ip || is_broadcast(stack, source)) {
        COUNT_DROP(stack, ip_address);
        return;
    }
    const uint8_t *data = p + header;
    uint32_t data_bytes = get16(p + IPV4_LENGTH) - header;
    uint16_t fragment = get16(p + IPV4_FRAGMENT);
    if (fragment & (IPV4_MORE_FRAGMENTS | FRAGMENT_OFFSET)) {
        COUNT(stack, fragments_received);
        fragments_input(stack, p, data, data_bytes, checked);
        return;
    }
    struct packet packet = {
        .source = source,
        .destination = destination,
        .addresses = p + IPV4_SOURCE,
        .original = p,
        .data = data,
        .bytes = data_bytes,
        .checked = checked,
        .broadcast = broadcast,
    };
    ipv4_deliver(stack, p[IPV4_PROTOCOL], &packet);
}

static bool next_hop(const struct stack *stack, uint32_t destination, uint32_t *hop)
{
    if (destination == stack->address.ip || is_broadcast(stack, destination) || destination >> 28 >= 14)
        return false;
    *hop = (destination ^ stack->address.ip) & stack->address.netmask ? stack->address.gateway : destination;
    return *hop != 0;
}

/* Room for header and payload. */
static enum ip_result reserve(struct stack *stack, struct ip_output *out, uint32_t destination, uint32_t bytes)
{
    uint32_t hop;
    if (!next_hop(stack, destination, &hop)) {
        COUNT_DROP(stack, no_route);
        return IP_DROPPED;
    }
    struct neighbour *neighbour = arp_find(stack, hop);
    if (neighbour == NULL)
        return IP_DROPPED;
    *out = (struct ip_output){.bytes = IPV4_BYTES + bytes};
    if (neighbour->state == ARP_KNOWN) {
        out->header = ethernet_begin(stack, neighbour->mac, ETHERNET_IPV4, out->bytes);
        if (out->header == NULL)
            return IP_WIRE_FULL;
    } else {
        out->packet = pool_take(&stack->packets);
        if (out->packet == 0) {
            COUNT_DROP(stack, packets_exhausted);
            return IP_DROPPED;
        }
        out->waits_for = neighbour;
        out->header = pool_block(&stack->packets, out->packet);
    }
    out->data = out->header + IPV4_BYTES;
    return IP_OK;
}

static void finish(struct stack *stack, struct ip_output *out, uint8_t protocol, uint32_t destination,
                   uint16_t identification, uint16_t fragment)
{
    uint8_t *p = out->header;
    const uint32_t version = 0x4500, hops = HOPS << 8 | protocol, source = stack->address.ip;
    put16(p, version);
    put16(p + IPV4_LENGTH, out->bytes);
    put16(p + IPV4_IDENTIFICATION, identification);
    put16(p + IPV4_FRAGMENT, fragment);
    put16(p + IPV4_HOPS, hops);
    put32(p + IPV4_SOURCE, source);
    put32(p + IPV4_DESTINATION, destination);
    store_checksum(p + IPV4_CHECKSUM, sum_numbers((uint64_t)version + out->bytes + identification + fragment + hops + source + destination));
    if (out->waits_for != NULL)
        arp_wait(stack, out->waits_for, out->packet, out->bytes);
    else
        ethernet_end(stack, out->bytes);
}

enum ip_result ipv4_begin(struct stack *stack, struct ip_output *out, uint32_t destination, uint32_t bytes)
{
    if (IPV4_BYTES + bytes > stack->wire.mtu) {
        COUNT_DROP(stack, too_big);
        return IP_DROPPED;
    }
    return reserve(stack, out, destination, bytes);
}

void ipv4_end(struct stack *stack, struct ip_output *out, uint8_t protocol, uint32_t destination)
{
    /* One that may not be fragmented needs no identification (RFC 6864, 4.1). */
    finish(stack, out, protocol, destination, 0, IPV4_DONT_FRAGMENT);
}

enum ip_result ipv4_send(struct stack *stack, uint8_t protocol, uint32_t destination, const uint8_t *data, uint32_t bytes)
{
    uint32_t room = (path_mtu(stack, destination) - IPV4_BYTES) & ~7u;
    uint16_t identification = scramble(stack, stack->identification++, SCRAMBLE_IDENTIFICATION);
    if (bytes > 65535 - IPV4_BYTES) {
        COUNT_DROP(stack, too_big);
        return IP_DROPPED;
    }
    for (uint32_t at = 0; at == 0 || at < bytes; at += room) {
        uint32_t part = min_u32(room, bytes - at);
        struct ip_output out;
        enum ip_result result = reserve(stack, &out, destination, part);
        if (result == IP_WIRE_FULL)
            COUNT_DROP(stack, wire_full);
        if (result != IP_OK)
            return result;
        if (part > 0)
            memcpy(out.data, data + at, part);
        finish(stack, &out, protocol, destination, identification,
               (uint16_t)(at / 8 | (at + part < bytes ? IPV4_MORE_FRAGMENTS : 0)));
    }
    return IP_OK;
}
