/* ring.h: connections served through an io_uring; what its designs share.
 *
 * A design asks (ring_listen, and what ring_open and ring_serve ask by themselves), enters the kernel (ring_submit or
 * ring_wait), reaps what was completed, and works on it. What it asks for is only written into the submission queue: the
 * next entry carries all of it.
 *
 * Accepting: --accept-limit N arms at most N accepts, so between two calls of ring_listen() at most N connections are
 * accepted; inf arms one multishot accept. Receiving: a multishot receive a connection, into buffers that all share.
 * Sending: a send must not wait (MSG_DONTWAIT), so it is over when the submission is, and only failures need be reported
 * (IOSQE_CQE_SKIP_SUCCESS): no entry is made, and no completion handled, to learn that a reply went out. What a full
 * socket left, and files sent by sendfile, go on in readiness style: connection_serve() whenever a poll completes.
 */
#ifndef NAI_RING_H
#define NAI_RING_H

#include "service.h"

#include <liburing.h>

/* A reply in the submission queue. The kernel reads it while it submits. */
struct ring_send {
    struct msghdr message;
    struct iovec parts[2];
    size_t bytes;
    int socket;
};

/* What the kernel holds of a socket. It is closed when it holds nothing. */
struct ring_socket {
    struct ring_send *send;
    bool receiving, receive_cancelled, polling;
    bool leaving; /* to be closed as soon as it holds nothing */
};

struct ring_sends {
    struct ring_send *list;
    unsigned count;
};

struct ring {
    struct io_uring uring;
    struct service *service;
    struct listening *listening;
    struct ring_socket *sockets; /* by descriptor */
    struct ring_sends asked, submitted;
    unsigned accepts_armed;
    bool multishot, disarming;
    int *accepted; /* by the kernel, not yet opened */
    unsigned accepted_count;
    struct io_uring_buf_ring *buffers;
    char *buffer_bytes;
    struct io_uring_cqe *completions[RING_COMPLETIONS]; /* being worked on */
    unsigned ready;
};

/* Set a ring up with these IORING_SETUP_ flags besides its own; if that is refused, one line and exit 1. */
void ring_start(struct ring *ring, struct service *service, struct listening *listening, unsigned flags);
void ring_stop(struct ring *ring);

/* Arm accepts, or disarm them: as many as limit, --max-connections and a pause in accepting allow. */
void ring_listen(struct ring *ring, uint64_t limit);

/* Whether anything is asked for that the kernel has not been told. */
bool ring_asked(const struct ring *ring);

/* Enter the kernel with all that is asked for: and return at once; or wait for a completion, 0 = look for one. */
void ring_submit(struct ring *ring);
void ring_wait(struct ring *ring, int timeout_ms);

/* Take all completions there are; no system call. Returns their number. Accepted sockets are put into ring->accepted. */
unsigned ring_reap(struct ring *ring);

/* Open a connection on an accepted socket and ask for its input. */
void ring_open(struct ring *ring, int socket);

/* Work on what was reaped. Returns how many connections were served. */
unsigned ring_serve(struct ring *ring);

/* End a connection: now, or when the kernel has let go of it. */
void ring_end(struct ring *ring, struct connection *connection);

#endif
