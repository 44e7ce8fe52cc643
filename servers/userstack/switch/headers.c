/* headers.c: numbers in a frame, wherever they may lead. All that is read lies in the first HEAD_BYTES of it, which are the
 * switch's own. */
#include "bytes.h"
#include "fabric.h"

enum {
    ETHERNET = WIRE_ETHERNET_BYTES,
    IPV4 = 20,
    FRAGMENT = 6, /* offsets in the IP header, RFC 791, 3.1 */
    PROTOCOL = 9,
    SOURCE = 12,
    PROTOCOL_ICMP = 1,
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,
    TCP_CHECKSUM = 16,
    UDP_CHECKSUM = 6,
};

/* Bytes of an IPv4 header that is there as a whole; 0: it is not. */
static uint32_t ip_header(const uint8_t *p, uint32_t bytes)
{
    uint32_t header = bytes >= IPV4 ? (p[0] & 15u) * 4 : 0;
    return header >= IPV4 && header <= bytes && p[0] >> 4 == 4 ? header : 0;
}

bool headers_ipv4(const struct frame *frame)
{
    return frame->head_bytes >= ETHERNET && ip_header(frame->head + ETHERNET, frame->head_bytes - ETHERNET) != 0;
}

/* RFC 792: unreachable, source quench, redirect, time exceeded, parameter problem quote a packet. */
static struct transport of_icmp(const uint8_t *p, uint32_t bytes)
{
    if (bytes < 8)
        return (struct transport){.kind = TRANSPORT_NONE};
    if (p[0] == 0 || p[0] == 8)
        return (struct transport){.kind = TRANSPORT_ECHO};
    uint32_t header = ip_header(p + 8, bytes - 8);
    const uint8_t *quoted = p + 8;
    bool quotes = p[0] == 3 || p[0] == 4 || p[0] == 5 || p[0] == 11 || p[0] == 12;
    if (!quotes || header == 0 || bytes - 8 < header + 4 ||
        (quoted[PROTOCOL] != PROTOCOL_TCP && quoted[PROTOCOL] != PROTOCOL_UDP) || (get16(quoted + FRAGMENT) & 0x1fff) != 0)
        return (struct transport){.kind = TRANSPORT_NONE};
    return (struct transport){
        .kind = TRANSPORT_ERROR, .source = get16(quoted + header), .destination = get16(quoted + header + 2)};
}

struct transport headers_transport(const struct frame *frame)
{
    const uint8_t *p = frame->head + ETHERNET;
    uint32_t bytes = frame->head_bytes - ETHERNET, header = ip_header(p, bytes);
    if (header == 0)
        return (struct transport){.kind = TRANSPORT_NONE};
    if ((get16(p + FRAGMENT) & 0x3fff) != 0) /* an offset, or more to come */
        return (struct transport){.kind = TRANSPORT_FRAGMENT};
    const uint8_t protocol = p[PROTOCOL];
    p += header;
    bytes -= header;
    if (protocol == PROTOCOL_ICMP)
        return of_icmp(p, bytes);
    if ((protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP) || bytes < 4)
        return (struct transport){.kind = TRANSPORT_NONE};
    return (struct transport){.kind = TRANSPORT_PORTS, .source = get16(p), .destination = get16(p + 2)};
}

void headers_finish(uint8_t *frame, uint32_t bytes)
{
    uint8_t *p = frame + ETHERNET;
    if (bytes < ETHERNET || get16(frame + 12) != 0x0800)
        return;
    uint32_t header = ip_header(p, bytes - ETHERNET), total = get16(p + 2);
    if (header == 0 || total < header || total > bytes - ETHERNET || (get16(p + FRAGMENT) & 0x3fff) != 0)
        return;
    uint32_t length = total - header, at = p[PROTOCOL] == PROTOCOL_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
    uint8_t *data = p + header;
    if ((p[PROTOCOL] != PROTOCOL_TCP && p[PROTOCOL] != PROTOCOL_UDP) || length < at + 2)
        return;
    put16(data + at, 0);
    store_checksum(data + at, sum_bytes(data, length) + sum_pseudo(p + SOURCE, p[PROTOCOL], length));
    if (p[PROTOCOL] == PROTOCOL_UDP && get16(data + at) == 0)
        put16(data + at, 0xffff); /* RFC 768: 0 means that there is none */
}
