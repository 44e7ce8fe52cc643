/* listening.h: the listening socket and what becomes of it when descriptors or memory run out.
 *
 * accept(2) then fails while the connection stays in the queue, so the listener stays ready and a loop that goes on
 * asking spins. Accepting pauses instead: the design takes the listener out of its interest set while
 * listening_wanted() says false, until a connection closes or ACCEPT_PAUSE_MS have passed.
 */
#ifndef NAI_LISTENING_H
#define NAI_LISTENING_H

#include "options.h"

struct listening {
    int socket;    /* -1 once closed */
    bool blocking; /* set by the design: accepted sockets block (the listener never does) */
    int interest;  /* epoll set to be taken out of before it is closed, or -1: where several processes hold the socket,
                    * the close of one does not make its set forget it */
    uint64_t max_connections, max_descriptor;
    bool paused;
    uint64_t pause_ends_ms, closes_when_paused;
};

/* Listen as the options say. Descriptors above max_descriptor are refused (the design's tables end there).
 * Returns 0, or -1 with errno. */
int listening_start(struct listening *listening, const struct options *options, uint64_t max_descriptor);

/* The next connection of the accept queue, or -1: the queue is empty, or accepting has just paused. */
int listening_accept(struct listening *listening, uint64_t now_ms);

/* For who lets the kernel accept: what became of an accept, a socket or minus an errno. Returns the socket, or -1. */
int listening_accepted(struct listening *listening, int result, uint64_t now_ms);

/* Pause, for a resource that only the design knows to be exhausted. Returns -1. */
int listening_pause(struct listening *listening, uint64_t now_ms);

/* Whether the listener belongs in the interest set; ends a pause that is over. */
bool listening_wanted(struct listening *listening, uint64_t now_ms);

void listening_stop(struct listening *listening);

#endif
