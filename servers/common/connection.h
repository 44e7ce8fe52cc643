/* connection.h: what one connection needs between its visits.
 *
 * A design accepts a socket and opens a connection on it. Whenever the socket is ready it calls connection_serve(),
 * which never blocks and says what to wait for next. After CONNECTION_ENDED, or when connection_timed_out() names it,
 * the design forgets the socket and calls connection_close().
 */
#ifndef NAI_CONNECTION_H
#define NAI_CONNECTION_H

#include "files.h"
#include "timeouts.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum connection_wish { CONNECTION_READS, CONNECTION_WRITES, CONNECTION_ENDED };

struct connection {
    struct timeout timeout; /* first, so that it is its connection too; started while the connection is open */
    int socket;
    bool wants_write;  /* for the design: what the interest set says now */
    bool replying;     /* a reply is under way */
    bool close_after;  /* it is the last one */
    bool linger_after; /* and input that nobody wants may still come */
    bool lingering;
    /* Input that cannot be used yet: a part of a request, or requests behind a blocked reply. */
    char *held;
    size_t held_bytes;
    uint64_t body_bytes; /* of a request's body still to be ignored */
    /* The reply under way: a head, then a file. */
    char *head;
    size_t head_bytes, head_sent;
    struct file *file;
    off_t file_sent;
};

struct service;

void connection_open(struct service *service, int socket);
bool connection_is_open(const struct connection *connection);
enum connection_wish connection_serve(struct service *service, struct connection *connection);
void connection_close(struct connection *connection);

/* A connection whose time is up; NULL if there is none. While draining, an idle connection's time is up. */
struct connection *connection_timed_out(struct service *service);

#endif
