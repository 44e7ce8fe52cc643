/* server.h: the parts of the design `lazy`, a loop whose network and disk sides are chosen apart. */
#ifndef NAI_LAZY_SERVER_H
#define NAI_LAZY_SERVER_H

#include "chunks.h"
#include "counters.h"
#include "laio.h"
#include "phases.h"
#include "reads.h"
#include "service.h"

#include <sys/signalfd.h>
#include <sys/socket.h>

/* What a connection waits for that is in progress. */
enum doing { NOTHING, OPENING, COLD, BEGUN, READING, RECEIVING, SENDING };

struct lazy_socket {
    enum doing doing;
    struct chunk *chunk; /* what is read into, or sent from; NULL = none */
    unsigned looks;      /* at what is begun for it (reads.h) */
    struct lazy_socket *next; /* COLD, BEGUN (reads.h); or whose recv returned at once */
    struct iovec parts[2];    /* read into, or being sent */
    /* nonblocking */
    uint32_t interest; /* what the epoll set says; 0 = it is not in it */
    /* lazy */
    long received; /* the result of a recv that returned at once */
    struct msghdr message; /* being sent, of parts */
};

struct loop {
    struct options options;
    struct service service;
    struct listening listening;
    struct phases phases;
    const struct network *network;
    struct lazy_socket *sockets; /* by descriptor */
    struct chunks chunks;
    struct reads reads;
    struct laio *laio;
    int signals; /* a signalfd: SIGTERM and SIGINT */
    struct laio_completion completions[LAZY_OPERATIONS];
    bool accepting; /* nonblocking: the listener's readiness is asked for; lazy: an accept is in progress */
    /* nonblocking */
    int interest; /* the epoll set */
    struct epoll_event *ready;
    /* lazy */
    int listener;                    /* the listener again, which blocks; open as long as an accept is in progress */
    bool refusing;                   /* it was shut down */
    char (*input)[LAZY_INPUT_BYTES]; /* by descriptor: what is received into */
    struct lazy_socket *first_received, **last_received; /* whose recv returned at once */
    struct signalfd_siginfo signal;
};

/* The network side. Its neighbours network_nonblocking.c and network_lazy.c have the same functions in the same order. */
struct network {
    bool (*start)(struct loop *loop); /* false with errno */
    int (*getevents)(struct loop *loop); /* returns how many there are, for the next two */
    void (*accept_phase)(struct loop *loop, int ready);
    uint64_t (*serve)(struct loop *loop, int ready); /* returns how many connections */
    /* Send these parts of a reply, the last perhaps of the socket's chunk, and say what is wished then. False: the
     * connection waits. */
    bool (*send)(struct loop *loop, struct connection *connection, struct connection_output *output,
                 enum connection_wish *wish);
    void (*await_request)(struct loop *loop, struct connection *connection);
    void (*stop)(struct loop *loop);
};
extern const struct network network_nonblocking, network_lazy;

/* disk.c */

/* How long getevents may sleep: not at all if a read is to be looked at again. */
static inline int wait_ms(const struct loop *loop)
{
    return reads_wait(&loop->reads) ? 0 : service_wait_ms(&loop->service, &loop->listening);
}

/* Do what the connection wishes, and then what it wishes, until it waits or is closed. */
void go_on(struct loop *loop, struct connection *connection, enum connection_wish wish);

/* What the connection was doing on the disk side is complete, with this result or minus an errno: it goes on. */
void disk_completed(struct loop *loop, struct connection *connection, enum doing done, long result);

/* Look at some reads that were begun in earlier turns, and begin others. Returns at how many connections. */
uint64_t disk_look_again(struct loop *loop);

/* The same of whatever it was doing, when nobody waits for it any more: it is closed. */
void completed_too_late(struct loop *loop, struct connection *connection, enum doing done, long result);

/* Whether the call just made is in progress: data will come with its completion. errno stays. */
static inline bool in_progress(struct loop *loop, void *data)
{
    struct laio_operation *operation = laio_gethandle(loop->laio);
    count(system_calls);
    count(lazy_calls);
    if (operation == NULL)
        return false;
    count(lazy_in_progress);
    laio_set_data(operation, data);
    return true;
}

static inline void give_chunk_back(struct loop *loop, struct lazy_socket *socket)
{
    if (socket->chunk != NULL)
        chunk_give_back(&loop->chunks, socket->chunk);
    socket->chunk = NULL;
}

#endif
