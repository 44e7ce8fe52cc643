/* raw_segment.h: TCP segments in IPv4 packets, read and written by hand. No sockets, no state.
 *
 * Numbers are in host byte order everywhere but in the packets themselves.
 */
#ifndef NAI_RAW_SEGMENT_H
#define NAI_RAW_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_ETHERNET_BYTES 14
#define RAW_HEADERS_BYTES (RAW_ETHERNET_BYTES + 20 + 20)
#define RAW_FRAME_BYTES 1514 /* largest frame that is built: an Ethernet MTU of 1500 */
#define RAW_DEFAULT_MSS 536  /* RFC 9293, 3.7.1: what a peer accepts that names no maximum */

enum raw_flags { RAW_FIN = 1, RAW_SYN = 2, RAW_RST = 4, RAW_PSH = 8, RAW_ACK = 16 };

struct raw_segment {
    uint32_t source, destination;
    uint16_t source_port, destination_port;
    uint32_t seq, ack; /* ack is meaningful with RAW_ACK only */
    uint16_t window;
    uint16_t mss;  /* of a SYN: the option's value, or RAW_DEFAULT_MSS */
    uint8_t flags; /* enum raw_flags */
    const uint8_t *payload;
    uint32_t payload_bytes;
};

/* Read the IPv4 packet of which `captured` bytes are at `packet`. With `verify`, wrong checksums are malformed; without,
 * the kernel vouches for them (over veth they are usually not computed at all, TP_STATUS_CSUMNOTREADY).
 * Returns true and fills *out (payload points into packet); false if it is no whole, unfragmented TCP segment. */
bool raw_parse(const uint8_t *packet, size_t captured, bool verify, struct raw_segment *out);

/* A frame of which only source, port, sequence numbers and flags remain to be filled in; the checksum of all the rest
 * is summed once (RFC 1071: the sum may be taken in parts, in any byte order). */
struct raw_template {
    uint8_t frame[RAW_FRAME_BYTES];
    size_t bytes;
    uint32_t ip_sum, tcp_sum;
};

struct raw_path {
    uint8_t destination_mac[6], source_mac[6];
    uint32_t destination;
    uint16_t destination_port;
    uint16_t window; /* offered in every segment */
};

/* *t := a frame along `path`; `mss` > 0 adds that option (for a SYN). The payload is copied.
 * Returns 0, or -1 if it does not fit one frame. */
int raw_template_init(struct raw_template *t, const struct raw_path *path, uint16_t mss, const void *payload,
                      size_t payload_bytes);

/* Write the frame into `frame` (at least t->bytes long). Returns its length. */
size_t raw_build(const struct raw_template *t, uint8_t *frame, uint32_t source, uint16_t source_port, uint8_t flags,
                 uint32_t seq, uint32_t ack);

#endif
