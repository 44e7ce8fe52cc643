/* icmp.c: echo, and errors both ways (RFC 792; RFC 1122, 3.2.2; RFC 1191). */
#include "inside.h"

enum {
    TYPE = 0,
    CODE = 1,
    CHECKSUM = 2,
    NEXT_HOP_MTU = 6, /* RFC 1191, 4 */
    ICMP_BYTES = 8,
    ECHO_REPLY = 0,
    UNREACHABLE = 3,
    ECHO_REQUEST = 8,
    TIME_EXCEEDED = 11,
    QUOTED = 8, /* bytes behind the quoted header: ports and sequence number */
};

static void echo(struct stack *stack, const struct packet *packet)
{
    uint8_t reply[WIRE_MTU_MAX];
    const uint8_t *data = packet->data;
    if (packet->bytes > sizeof reply) { /* came in pieces, larger than any frame: nobody needs that answered */
        COUNT_DROP(stack, too_big);
        return;
    }
    memcpy(reply, data, packet->bytes);
    reply[TYPE] = ECHO_REPLY;
    put16(reply + CHECKSUM, 0);
    store_checksum(reply + CHECKSUM, sum_bytes(reply, packet->bytes));
    if (ipv4_send(stack, PROTOCOL_ICMP, packet->source, reply, packet->bytes) == IP_OK)
        COUNT(stack, icmp_echoes);
}

/* What RFC 1191, 5, has a host assume when an old router names no MTU. */
static uint32_t plateau(uint32_t length)
{
    static const uint16_t plateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296};
    for (unsigned i = 0; i < sizeof plateaus / sizeof *plateaus; i++)
        if (plateaus[i] < length)
            return plateaus[i];
    return 68;
}

/* An error about a packet of ours: to whom it was is in the quoted header. */
static void error(struct stack *stack, const struct packet *packet)
{
    const uint8_t *quoted = packet->data + ICMP_BYTES;
    uint32_t bytes = packet->bytes - ICMP_BYTES, header = bytes < IPV4_BYTES ? 0 : (quoted[0] & 15) * 4u;
    if (header < IPV4_BYTES || bytes < header + QUOTED) {
        COUNT_DROP(stack, icmp_malformed);
        return;
    }
    if (get32(quoted + IPV4_SOURCE) != stack->address.ip) {
        COUNT_DROP(stack, icmp_unmatched);
        return;
    }
    uint8_t code = packet->data[TYPE] == TIME_EXCEEDED ? 0 : packet->data[CODE];
    uint32_t mtu = 0;
    if (code == ICMP_FRAGMENTATION_NEEDED) {
        mtu = get16(packet->data + NEXT_HOP_MTU);
        if (mtu == 0)
            mtu = plateau(get16(quoted + IPV4_LENGTH));
    }
    if (quoted[IPV4_PROTOCOL] == PROTOCOL_TCP)
        tcp_icmp(stack, get32(quoted + IPV4_DESTINATION), quoted + header, code, mtu);
    else /* datagrams are sent so that they may be fragmented */
        COUNT_DROP(stack, icmp_unmatched);
}

void icmp_input(struct stack *stack, const struct packet *packet)
{
    COUNT(stack, icmp_received);
    if (packet->bytes < ICMP_BYTES) {
        COUNT_DROP(stack, icmp_malformed);
        return;
    }
    if (!packet->checked && fold_sum(sum_bytes(packet->data, packet->bytes)) != 0) {
        COUNT_DROP(stack, icmp_checksum);
        return;
    }
    switch (packet->data[TYPE]) {
    case ECHO_REQUEST:
        if (packet->broadcast) /* RFC 1122, 3.2.2.6 lets us be silent: no amplifier */
            COUNT_DROP(stack, icmp_type);
        else
            echo(stack, packet);
        break;
    case UNREACHABLE:
    case TIME_EXCEEDED:
        error(stack, packet);
        break;
    default:
        COUNT_DROP(stack, icmp_type);
    }
}

void icmp_unreachable(struct stack *stack, const struct packet *about, uint8_t code)
{
    if (about->original == NULL || about->broadcast)
        return;
    uint64_t second = now_us(stack) / 1000000;
    if (stack->icmp_second != second) { /* a known limit would tell how many errors went to others: CVE-2020-25705 */
        stack->icmp_second = second;
        stack->icmp_sent = 0;
        stack->icmp_limit = stack->limits.icmp_per_s -
                            (uint32_t)(siphash(stack->limits.key, &second, sizeof second) % (stack->limits.icmp_per_s / 2 + 1));
    }
    if (stack->icmp_sent >= stack->icmp_limit) {
        COUNT_DROP(stack, icmp_limited);
        return;
    }
    stack->icmp_sent++;
    uint8_t message[ICMP_BYTES + 60 + QUOTED] = {UNREACHABLE, code};
    uint32_t header = (about->original[0] & 15) * 4u, quoted = header + min_u32(QUOTED, about->bytes);
    memcpy(message + ICMP_BYTES, about->original, quoted);
    store_checksum(message + CHECKSUM, sum_bytes(message, ICMP_BYTES + quoted));
    if (ipv4_send(stack, PROTOCOL_ICMP, about->source, message, ICMP_BYTES + quoted) == IP_OK)
        COUNT(stack, icmp_unreachables);
}
