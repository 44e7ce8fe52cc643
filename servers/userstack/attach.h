/* attach.h: what carries a stack's frames, chosen by a word on a command line:
 *
 *     packet:INTERFACE        one interface, by packet(7): attach_packet.c
 *     switch:SOCKET           a port of the switch that listens on that Unix socket: attach_switch.c, switch/
 *     switch:SOCKET,ports=LOW-HIGH   the same, of an address that several stacks share: only these TCP and UDP ports
 */
#ifndef NAI_ATTACH_H
#define NAI_ATTACH_H

#include "stack.h"

#include <stdbool.h>

struct attachment;

/* Whether it begins with one of these words, and says what follows: what does not is a bad option. */
bool attach_known(const char *where);
/* NULL, with one line in *error that says what to do. The wire is filled in, and serves until attach_close(). */
struct attachment *attach_open(const char *where, const struct stack_address *address, struct wire *wire, char *error,
                               size_t error_bytes);
void attach_close(struct attachment *attachment);

/* Takes one frame, with its frame_flags. It is read, not kept. */
typedef void attach_take(void *receiver, const uint8_t *frame, uint32_t bytes, unsigned flags);
/* Hand over the frames that have arrived, at most `batch`. Returns how many. */
unsigned attach_receive(struct attachment *attachment, attach_take *take, void *receiver, unsigned batch);
/* The same, to the stack. */
unsigned attach_input(struct attachment *attachment, struct stack *stack, unsigned batch);
/* Send what the stack has committed, with one doorbell. To be called once a batch of work. */
void attach_flush(struct attachment *attachment);
/* Sleep until a frame has come, so many nanoseconds have passed (below 0: for ever), or a signal came. Flushes first.
 * Returns at once if there is a frame already. */
void attach_wait(struct attachment *attachment, int64_t ns);
/* The same without the flush: for a thread that only receives, while another sends. */
void attach_sleep(struct attachment *attachment, int64_t ns);
/* For who waits for several at a time: a descriptor that becomes readable, by its edge, when a frame comes after
 * attach_rests() was true; false: there is one already, do not sleep. attach_rouses() ends it. */
int attach_bell(const struct attachment *attachment);
bool attach_rests(struct attachment *attachment);
void attach_rouses(struct attachment *attachment);
uint64_t attach_lost(const struct attachment *attachment); /* frames that the carrier would not take, or kept no room for */
uint64_t attach_system_calls(const struct attachment *attachment); /* made so far, to send, to wake and to wait */

#endif
