/* lwip_sockets.h: the table of sockets that transport_lwip.c keeps beside lwIP's connections, and which of them are ready. */
#ifndef NAI_LWIP_SOCKETS_H
#define NAI_LWIP_SOCKETS_H

#include "netif_attach.h"

#include "bounds.h"

#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum {
    LWIP_FIRST = DESCRIPTORS_INHERITED, /* number of a socket, as of our stack's: mixing descriptors up shows */
    LWIP_SET = INT_MAX,                 /* number of the one set of tp_epoll_create() */
};

struct lwip_socket {
    struct tcp_pcb *pcb; /* NULL: the connection has ended */
    struct pbuf *input;  /* received and not yet read */
    uint32_t unconfirmed; /* bytes read of which lwIP has not been told */
    int error;           /* errno of what ended the connection */
    bool open, listening, connecting, input_ended, output_ended;
    unsigned waiting, backlog; /* of a listener: connections to be accepted */
    struct lwip_socket *first, *last, *next; /* those; or the next free one */
    uint32_t interest; /* epoll's words */
    bool watched, listed;
    epoll_data_t data;
    struct lwip_socket *ready_next, *ready_previous;
};

/* Until the end of the block lwIP and the table belong to the caller; callbacks have it so already. */
static inline void lwip_leave(const int *held) { (void)held, netif_attach_unlock(); }
#define LWIP_HELD __attribute__((cleanup(lwip_leave))) const int held = netif_attach_lock()

/* Start lwIP as NAI_STACK says, once; what that says wrongly ends the program with status 2, what refuses it with 1. */
void lwip_start(void);
bool lwip_is_own(const struct sockaddr_in *address);

struct lwip_socket *socket_at(int number); /* NULL: no such socket is open */
int socket_number(const struct lwip_socket *socket);
struct lwip_socket *socket_new(void);              /* NULL: there are as many as NAI_STACK allows */
void socket_free(struct lwip_socket *socket);      /* with what it has received; may be NULL */
void socket_detach(struct lwip_socket *socket);    /* lwIP forgets the socket, and it the connection */
void socket_changed(struct lwip_socket *socket);   /* it may be ready now */

void lwip_resolve(const struct sockaddr_in *destination); /* before a SYN to it */
void lwip_bound_time_waits(void); /* after an orderly close */

void socket_enqueue(struct lwip_socket *listener, struct lwip_socket *socket);
struct lwip_socket *socket_dequeue(struct lwip_socket *listener);

#endif
