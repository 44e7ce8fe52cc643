/* netif_attach.h: lwIP's network interface on an attachment, and its clock: what makes of Debian's library a host, in one of
 * two ways.
 *
 * Alone (LWIP_THREADED 0): lwip_init() makes the stack, which belongs to the one thread that calls it, timers included: no
 * messages, no lock, no wake-ups. lwIP's documentation has this for where there is no operating system. Debian's library
 * is built for one (NO_SYS is 0), but it can be used so, and there is no cheaper way; ours is used in the same.
 *
 * With its thread (LWIP_THREADED 1): as documented for a library so built. tcpip_init() starts lwIP's thread, to which
 * frames go as messages (tcpip_input()), here from a thread that receives them; the program calls under the core lock
 * (LWIP_TCPIP_CORE_LOCKING, which Debian has chosen: without it every call were a message).
 *
 * lwIP has one stack in a process: its lists, pools and clock are the library's own variables.
 */
#ifndef NAI_NETIF_ATTACH_H
#define NAI_NETIF_ATTACH_H

#include "lwip_headers.h"

#include "attach.h"

#include <pthread.h>

struct netif_attach {
    struct netif netif;
    struct attachment *attachment;
    struct wire wire;
    uint64_t frames_in, frames_out;
    uint64_t drop_no_memory; /* received, no pbuf for it */
    uint64_t wire_full;      /* sent, no room: TCP tries again, all else is lost */
    pthread_t program;       /* it flushes what it sends; what others send leaves at once */
};

#if LWIP_THREADED
int netif_attach_lock(void); /* 0. A thread may take it several times */
void netif_attach_unlock(void);
#else
static inline int netif_attach_lock(void) { return 0; }
static inline void netif_attach_unlock(void) {}
#endif

/* 0, or -1 with one line in *error that says what to do. */
int netif_attach_open(struct netif_attach *host, const char *where, const struct stack_address *address, char *error,
                      size_t error_bytes);
void netif_attach_close(struct netif_attach *host);

/* The next three are for a stack alone; flushing is for both, and held.
 * Expire lwIP's timers, hand it the frames that have arrived. Returns how many those were. */
unsigned netif_attach_turn(struct netif_attach *host);
void netif_attach_flush(struct netif_attach *host);
/* Send; sleep until a frame or lwIP's next timer, at most so many nanoseconds (below 0: without limit), or a signal. */
void netif_attach_wait(struct netif_attach *host, int64_t ns);

/* Wait a little, at most, until lwIP knows the hardware address behind an IP address, in network order. It keeps one
 * packet for who it does not know, the latest (ARP_QUEUEING, 0): of several SYNs all but that one were lost, and each is
 * sent again after 3 s. */
void netif_attach_resolve(struct netif_attach *host, uint32_t ip);

#endif
