/* wire.h: what the stack asks of whatever carries its frames. An attachment (a packet socket, a ring shared with a
 * switch, a test's simulated link) fills in a struct wire, hands received frames to stack_input(), and is all that knows
 * of system calls.
 *
 * A frame is an Ethernet II frame without preamble and check sequence: 14 bytes of header, then at most `mtu` bytes.
 * Short ones need no padding; padding of a received one is cut off by the length in the IP header.
 *
 * To transmit, the stack asks for room, writes the frame there, and commits it: a ring's slot is written in place and
 * nothing is copied. Between reserve() and commit() neither is called again. A reservation that is not committed is void
 * as soon as reserve() is called the next time.
 */
#ifndef NAI_WIRE_H
#define NAI_WIRE_H

#include <stdint.h>

enum {
    WIRE_ETHERNET_BYTES = 14,
    WIRE_MTU_MIN = 576, /* what every IPv4 host reassembles, RFC 791, 3.1 */
    WIRE_MTU_MAX = 2034,
    WIRE_FRAME_MAX = WIRE_ETHERNET_BYTES + WIRE_MTU_MAX, /* 2 KiB: a slot of any ring that carries all frames */
};

struct wire {
    void *context;
    /* Room for one frame of at most `bytes` bytes, or NULL: the queue is full. The stack then drops and counts, or, with
     * TCP, tries again at the next stack_advance(). */
    uint8_t *(*reserve)(void *context, uint32_t bytes);
    /* What was reserved last is a whole frame of that many bytes. */
    void (*commit)(void *context, uint32_t bytes);
    uint32_t mtu; /* largest IP packet, WIRE_MTU_MIN..WIRE_MTU_MAX bytes */
    uint8_t mac[6];
};

/* What an attachment knows of a received frame. */
enum frame_flags {
    /* Checksums were verified, or need not be: the sender's kernel left them out (TP_STATUS_CSUMNOTREADY), or the frame
     * came unchanged through memory (switch/fabric.h). */
    FRAME_CHECKED = 1,
};

#endif
