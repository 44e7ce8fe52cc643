/* netif_attach.h: lwIP's network interface on an attachment, and its clock: what makes of Debian's library a host.
 *
 * The library is built for an operating system (NO_SYS is 0): tcpip_init() would start a thread, and others would send it
 * messages. It is not called. lwip_init() alone makes the stack, which then belongs to the one thread that calls it, timers
 * included: no messages, no core lock, no wake-ups. So lwIP's documentation has it without an operating system; it is the
 * cheapest way there is to use the library, and the same way as ours is used.
 *
 * lwIP has one stack in a process: its lists, pools and clock are the library's own variables.
 */
#ifndef NAI_NETIF_ATTACH_H
#define NAI_NETIF_ATTACH_H

#include "lwip_headers.h"

#include "attach.h"

struct netif_attach {
    struct netif netif;
    struct attachment *attachment;
    struct wire wire;
    uint64_t frames_in, frames_out;
    uint64_t drop_no_memory; /* received, no pbuf for it */
    uint64_t wire_full;      /* sent, no room: TCP tries again, all else is lost */
};

/* 0, or -1 with one line in *error that says what to do. */
int netif_attach_open(struct netif_attach *host, const char *where, const struct stack_address *address, char *error,
                      size_t error_bytes);
void netif_attach_close(struct netif_attach *host);

/* Expire lwIP's timers, hand it the frames that have arrived. Returns how many those were. */
unsigned netif_attach_turn(struct netif_attach *host);
void netif_attach_flush(struct netif_attach *host);
/* Send; sleep until a frame or lwIP's next timer, at most so many nanoseconds (below 0: without limit), or a signal. */
void netif_attach_wait(struct netif_attach *host, int64_t ns);

#endif
