/* attach_packet.h: a wire that is one interface, by packet(7). Needs CAP_NET_RAW in its network namespace, so no root in
 * one of the lab's. The kernel must not answer on the stack's address itself: it has none of its own on that interface,
 * or another one. Segmentation and receive offloads of the veth's other end are to be off (frames beyond the MTU are
 * dropped by the stack, and counted).
 */
#ifndef NAI_ATTACH_PACKET_H
#define NAI_ATTACH_PACKET_H

#include "stack.h"

struct attach_packet;

/* Open on an interface. NULL, with one line in *error that says what to do. The wire is filled in, with the interface's
 * MAC and MTU, and serves until attach_packet_close(). */
struct attach_packet *attach_packet_open(const char *interface, struct wire *wire, char *error, size_t error_bytes);
void attach_packet_close(struct attach_packet *attachment);

/* Hand all frames that have arrived, at most `batch`, to the stack. Returns how many. */
unsigned attach_packet_input(struct attach_packet *attachment, struct stack *stack, unsigned batch);
/* Send what the stack has committed. To be called once a batch of work. */
void attach_packet_flush(struct attach_packet *attachment);
int attach_packet_descriptor(const struct attach_packet *attachment); /* to poll for reading */
uint64_t attach_packet_lost(const struct attach_packet *attachment);  /* frames that the kernel would not take */

#endif
