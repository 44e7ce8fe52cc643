#include "raw_segment.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

enum { /* offsets within the IPv4 header (RFC 791, 3.1) */
    IPV4_LENGTH = 2,
    IPV4_FRAGMENT = 6,
    IPV4_HOPS = 8,
    IPV4_PROTOCOL = 9,
    IPV4_CHECKSUM = 10,
    IPV4_SOURCE = 12,
    IPV4_DESTINATION = 16,
    IPV4_BYTES = 20,
};

enum { /* and within the TCP header (RFC 9293, 3.1) */
    TCP_SOURCE = 0,
    TCP_DESTINATION = 2,
    TCP_SEQ = 4,
    TCP_ACK = 8,
    TCP_OFFSET = 12,
    TCP_FLAGS = 13,
    TCP_WINDOW = 14,
    TCP_CHECKSUM = 16,
    TCP_BYTES = 20,
};

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2 };

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

static void put16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static void put32(uint8_t *p, uint32_t value)
{
    value = htonl(value);
    memcpy(p, &value, sizeof value);
}

/* One's complement sum in the machine's byte order, not yet folded: at most 64 KiB, so 32 bits suffice. */
static uint32_t sum_bytes(const uint8_t *p, size_t bytes)
{
    uint64_t sum = 0;
    for (; bytes >= 4; p += 4, bytes -= 4) {
        uint32_t word;
        memcpy(&word, p, sizeof word);
        sum += word;
    }
    uint8_t rest[4] = {0};
    memcpy(rest, p, bytes);
    uint32_t word;
    memcpy(&word, rest, sizeof word);
    sum += word;
    sum = (sum & 0xffffffff) + (sum >> 32);
    return (uint32_t)((sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32));
}

static uint32_t sum32(uint32_t value)
{
    value = htonl(value);
    return (value & 0xffff) + (value >> 16);
}

static uint16_t fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~((sum & 0xffff) + (sum >> 16));
}

/* The part of the pseudo-header (RFC 9293, 3.1) besides the addresses. */
static uint32_t sum_pseudo(size_t tcp_bytes) { return htons(IPPROTO_TCP) + htons((uint16_t)tcp_bytes); }

/* Options must be well-formed even though only one is of interest: a wild length would send the reader astray. */
static bool parse_options(const uint8_t *p, const uint8_t *end, struct raw_segment *out)
{
    while (p < end && *p != OPTION_END) {
        if (*p == OPTION_NOP) {
            p++;
            continue;
        }
        if (end - p < 2 || p[1] < 2 || p[1] > end - p)
            return false;
        if (*p == OPTION_MSS && (out->flags & RAW_SYN)) {
            if (p[1] != 4)
                return false;
            out->mss = get16(p + 2);
        }
        p += p[1];
    }
    return true;
}

bool raw_parse(const uint8_t *packet, size_t captured, bool verify, struct raw_segment *out)
{
    if (captured < IPV4_BYTES || packet[0] >> 4 != 4)
        return false;
    size_t ip_bytes = (size_t)(packet[0] & 15) * 4, total = get16(packet + IPV4_LENGTH);
    if (ip_bytes < IPV4_BYTES || total < ip_bytes + TCP_BYTES || total > captured) /* captured may include padding */
        return false;
    if (packet[IPV4_PROTOCOL] != IPPROTO_TCP || (get16(packet + IPV4_FRAGMENT) & 0x3fff))
        return false;
    const uint8_t *tcp = packet + ip_bytes;
    size_t tcp_bytes = total - ip_bytes, header_bytes = (size_t)(tcp[TCP_OFFSET] >> 4) * 4;
    if (header_bytes < TCP_BYTES || header_bytes > tcp_bytes)
        return false;
    if (verify && (fold(sum_bytes(packet, ip_bytes)) ||
                   fold(sum_bytes(tcp, tcp_bytes) + sum_bytes(packet + IPV4_SOURCE, 8) + sum_pseudo(tcp_bytes))))
        return false;
    *out = (struct raw_segment){
        .source = get32(packet + IPV4_SOURCE),
        .destination = get32(packet + IPV4_DESTINATION),
        .source_port = get16(tcp + TCP_SOURCE),
        .destination_port = get16(tcp + TCP_DESTINATION),
        .seq = get32(tcp + TCP_SEQ),
        .ack = get32(tcp + TCP_ACK),
        .window = get16(tcp + TCP_WINDOW),
        .mss = RAW_DEFAULT_MSS,
        .flags = tcp[TCP_FLAGS],
        .payload = tcp + header_bytes,
        .payload_bytes = (uint32_t)(tcp_bytes - header_bytes),
    };
    return parse_options(tcp + TCP_BYTES, tcp + header_bytes, out);
}

int raw_template_init(struct raw_template *t, const struct raw_path *path, uint16_t mss, const void *payload,
                      size_t payload_bytes)
{
    size_t header_bytes = TCP_BYTES + (mss ? 4 : 0), tcp_bytes = header_bytes + payload_bytes;
    if (RAW_ETHERNET_BYTES + IPV4_BYTES + tcp_bytes > RAW_FRAME_BYTES)
        return -1;
    memset(t, 0, sizeof *t);
    t->bytes = RAW_ETHERNET_BYTES + IPV4_BYTES + tcp_bytes;
    uint8_t *ethernet = t->frame, *ip = ethernet + RAW_ETHERNET_BYTES, *tcp = ip + IPV4_BYTES;
    memcpy(ethernet, path->destination_mac, 6);
    memcpy(ethernet + 6, path->source_mac, 6);
    put16(ethernet + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + IPV4_LENGTH, (uint16_t)(IPV4_BYTES + tcp_bytes));
    put16(ip + IPV4_FRAGMENT, 0x4000); /* don't fragment; the identification may then be 0 (RFC 6864) */
    ip[IPV4_HOPS] = 64;
    ip[IPV4_PROTOCOL] = IPPROTO_TCP;
    put32(ip + IPV4_DESTINATION, path->destination);
    put16(tcp + TCP_DESTINATION, path->destination_port);
    tcp[TCP_OFFSET] = (uint8_t)(header_bytes / 4 << 4);
    put16(tcp + TCP_WINDOW, path->window);
    if (mss) {
        tcp[TCP_BYTES] = OPTION_MSS;
        tcp[TCP_BYTES + 1] = 4;
        put16(tcp + TCP_BYTES + 2, mss);
    }
    if (payload_bytes)
        memcpy(tcp + header_bytes, payload, payload_bytes);
    t->ip_sum = sum_bytes(ip, IPV4_BYTES);
    t->tcp_sum = sum_bytes(tcp, tcp_bytes) + sum_bytes(ip + IPV4_DESTINATION, 4) + sum_pseudo(tcp_bytes);
    return 0;
}

size_t raw_build(const struct raw_template *t, uint8_t *frame, uint32_t source, uint16_t source_port, uint8_t flags,
                 uint32_t seq, uint32_t ack)
{
    memcpy(frame, t->frame, t->bytes);
    uint8_t *ip = frame + RAW_ETHERNET_BYTES, *tcp = ip + IPV4_BYTES;
    put32(ip + IPV4_SOURCE, source);
    put16(tcp + TCP_SOURCE, source_port);
    put32(tcp + TCP_SEQ, seq);
    put32(tcp + TCP_ACK, ack);
    tcp[TCP_FLAGS] = flags;
    uint32_t source_sum = sum32(source);
    uint16_t ip_checksum = fold(t->ip_sum + source_sum);
    /* The offset byte is in the template's sum already; flags share its 16-bit word. */
    uint16_t tcp_checksum =
            fold(t->tcp_sum + source_sum + htons(source_port) + sum32(seq) + sum32(ack) + htons(flags));
    memcpy(ip + IPV4_CHECKSUM, &ip_checksum, sizeof ip_checksum);
    memcpy(tcp + TCP_CHECKSUM, &tcp_checksum, sizeof tcp_checksum);
    return t->bytes;
}
