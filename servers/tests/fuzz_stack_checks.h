/* fuzz_stack_checks.h: what holds of a user-level stack at any time, whatever came and whatever its caller did; for the
 * fuzz targets of single packets and of sequences.
 *
 * Text is known by its sequence numbers, in both directions: who sends one byte writes text_at() of its number there, so
 * that a byte which was never sent, or not there, is seen wherever it comes out. */
#ifndef NAI_FUZZ_STACK_CHECKS_H
#define NAI_FUZZ_STACK_CHECKS_H

#include "fuzz.h"
#include "tcp.h"

static inline uint8_t text_at(uint32_t seq) { return (uint8_t)(seq * 0x9e3779b1u >> 24); }

/* Queues within their bounds, pools and timers conserved, every packet counted once, connections consistent. Aborts. */
void stack_must_be_sound(const struct stack *stack);
void stack_must_be_empty(const struct stack *stack); /* every connection has ended, time has passed */

/* A frame that the stack sends: lengths, checksums, text. */
void sent_frame_must_be_right(const uint8_t *frame, uint32_t bytes);

/* Make the text of a TCP segment what its numbers say. False: it is a fragment of one, whose text stays as it is. */
bool fill_text(uint8_t *frame, uint32_t bytes);
/* What lies next to be read: its sequence number. */
uint32_t unread_seq(const struct connection *c);

/* A stack with small limits for every queue, at 10.0.0.1, that knows its neighbour 10.0.0.2. */
enum { FUZZ_PEER = 0x0a000002, FUZZ_OWN = 0x0a000001 };
struct stack *open_small_stack(const struct wire *wire, bool reno, uint64_t now);

/* Ethernet and IP headers of a packet from the peer; returns where the payload goes. */
uint32_t write_ip_header(uint8_t *frame, uint8_t protocol, uint32_t bytes);

#endif
