/* socket.h: sockets of a user-level stack, for programs with a loop. It is what common/transport.h asks of a TCP, call
 * for call; only that errors are returned (-EAGAIN) instead of left in errno, and that the stack is named.
 *
 * A socket is a small number, the caller's until it closes it. Nothing blocks. Calls happen at the time that
 * stack_advance() was last told.
 */
#ifndef NAI_STACK_SOCKET_H
#define NAI_STACK_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct stack;

struct us_endpoint {
    uint32_t ip;
    uint16_t port;
};

/* Listen on a port (at all of the stack's addresses, of which there is one); at most `backlog` established connections
 * wait for us_accept(). -EADDRINUSE, -EINVAL (port 0), -ENFILE. */
int us_listen(struct stack *stack, uint16_t port, uint32_t backlog);

/* -EAGAIN if none waits. `peer` may be NULL. */
int us_accept(struct stack *stack, int listener, struct us_endpoint *peer);

/* Begin a connection; it is writable when that has ended, and us_connect_result() says how. `source_port` 0 = any free
 * one. -EADDRINUSE, -EADDRNOTAVAIL, -ENETUNREACH, -EINVAL, -ENFILE. */
int us_connect(struct stack *stack, struct us_endpoint destination, uint16_t source_port);
/* 0, -EINPROGRESS, or why it failed, or ended: -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, -ECONNRESET, -ECONNABORTED. */
int us_connect_result(struct stack *stack, int socket);

/* Bytes read, up to what has arrived in order; 0: the peer has closed its side and all is read; -EAGAIN; or why the
 * connection ended. With buffer NULL the bytes are passed over. */
int us_read(struct stack *stack, int socket, void *buffer, uint32_t bytes);
/* Bytes taken, as far as there is room; -EAGAIN: none; -EPIPE: our side is closed; or why the connection ended.
 * With `more` the last segment waits for what follows, if it is not full (MSG_MORE; at most a retransmission time-out). */
int us_write(struct stack *stack, int socket, const void *buffer, uint32_t bytes, bool more);
/* The same of several buffers, of together less than 2 GiB, as if they were one. */
int us_writev(struct stack *stack, int socket, const struct iovec *parts, int count, bool more);

int us_shutdown_write(struct stack *stack, int socket); /* FIN after what is queued; -ENOTCONN */
/* The number is free at once; what is queued is still sent. Unread data makes it an abort (RFC 9293, 3.10.4 and
 * RFC 2525, 2.17). */
int us_close(struct stack *stack, int socket);
int us_abort(struct stack *stack, int socket); /* RST */

enum us_option {
    US_NODELAY,         /* no Nagle (RFC 9293, 3.7.4); off at first, inherited from a listener as are the others */
    US_KEEPALIVE,       /* off at first */
    US_USER_TIMEOUT_MS, /* limits.user_timeout_ms at first */
    US_CONGESTION,      /* 0 reno, 1 cubic; before any data */
    US_CORK,            /* only full segments until it is taken back (Linux's TCP_CORK) */
    US_MSS,             /* of a listener: limits.mss for what it accepts */
    US_DEFER_ACK,       /* of one that connects: its handshake's last ACK may wait for data, as any may */
};
int us_set(struct stack *stack, int socket, enum us_option option, uint32_t value); /* -EINVAL, -EBADF */

int us_state(struct stack *stack, int socket); /* enum tcp_state, for tests and tables */

/* How a connection fares: what TCP_INFO tells of a kernel's. */
enum us_loss { US_LOSS_NONE, US_LOSS_SUSPECTED, US_LOSS_FAST_RECOVERY, US_LOSS_TIMEOUT };
struct us_info {
    int state; /* enum tcp_state */
    enum us_loss loss;
    bool timestamps, sack;
    uint8_t send_scale, receive_scale; /* UINT8_MAX: no scaling */
    uint8_t tries, backoff, probes;    /* unanswered retransmissions or window probes; doublings; unanswered keepalives */
    uint32_t mss, offered_mss;         /* payload of a full segment; what our SYN asked for */
    uint32_t cwnd_bytes, ssthresh_bytes, peer_window_bytes;
    uint32_t unacked_bytes, unsent_bytes, sacked_bytes, lost_bytes, unread_bytes;
    uint64_t rtt_us, rttvar_us, rto_us;            /* 0: not yet measured */
    uint64_t data_sent_us, data_received_us, heard_us; /* since then */
};
int us_info(struct stack *stack, int socket, struct us_info *info);
int us_peer(struct stack *stack, int socket, struct us_endpoint *peer);
int us_local(struct stack *stack, int socket, struct us_endpoint *local);

/* Readiness, level-triggered as with epoll: of a socket that is ready one event is reported in each us_wait(). With
 * US_EDGE in its interest one is reported for each change (data have come, its state is another one), and US_WRITABLE
 * again only after a us_write() has left it not so. */
enum us_readiness {
    US_READABLE = 1, /* data, the end, an error; a connection to accept; a datagram */
    US_WRITABLE = 2, /* room for a quarter of what a connection buffers, or for 64 KiB; or an error */
    US_ENDED = 4,    /* both sides have closed, or an error: reported unasked */
    US_PEER_CLOSED = 8, /* the peer has closed its side: nothing will come but what has */
    US_EDGE = 16,       /* an interest only */
};
struct us_event {
    uint64_t data;
    uint32_t readiness;
    int socket;
};
int us_interest(struct stack *stack, int socket, unsigned readiness, uint64_t data); /* 0 = none; it begins anew */
int us_wait(struct stack *stack, struct us_event *events, int capacity);             /* how many */
unsigned us_readiness(struct stack *stack, int socket);

/* UDP. Datagrams are dropped and counted when the socket's queue is full. */
int us_udp_open(struct stack *stack, uint16_t port); /* port 0 = any free one; -EADDRINUSE, -ENFILE */
/* The payload's length; the rest of a datagram beyond `bytes` is lost. -EAGAIN. */
int us_udp_receive(struct stack *stack, int socket, void *buffer, uint32_t bytes, struct us_endpoint *from);
/* -EMSGSIZE, -ENETUNREACH, -EAGAIN (no room on the wire, or none for packets that wait for ARP). */
int us_udp_send(struct stack *stack, int socket, const void *buffer, uint32_t bytes, struct us_endpoint to);

#endif
