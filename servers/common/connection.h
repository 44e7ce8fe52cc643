/* connection.h: what one connection needs between its visits.
 *
 * A design accepts a socket and opens a connection on it. Then there are two styles, which differ in who calls the
 * transport:
 *
 * Readiness (select, epoll): whenever the socket is ready the design calls connection_serve(), which never blocks,
 * calls the transport and says what to wait for next.
 *
 * Completion (io_uring, blocking threads): the design calls the transport. What it received it gives to
 * connection_receive(). After CONNECTION_WRITES it sends what connection_output() names and reports connection_sent().
 * Neither calls the transport but to close the sending side, and each says what the connection wants next.
 *
 * After CONNECTION_ENDED, or when connection_timed_out() names it, the design forgets the socket and calls
 * connection_close(). If its operations must end first, it calls connection_leave() now and connection_close() then.
 */
#ifndef NAI_CONNECTION_H
#define NAI_CONNECTION_H

#include "files.h"
#include "http.h"
#include "timeouts.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

enum connection_wish { CONNECTION_READS, CONNECTION_OPENS, CONNECTION_WRITES, CONNECTION_ENDED };

struct connection {
    struct timeout timeout; /* first, so that it is its connection too; started while the connection is open */
    int socket;
    bool wants_write;  /* for the design: what the interest set says now */
    bool replying;     /* a reply is under way */
    bool close_after;  /* it is the last one */
    bool linger_after; /* and input that nobody wants may still come */
    bool lingering;
    bool input_ended; /* completion style: the client ended while a reply was under way */
    /* Input that cannot be used yet: a part of a request, or requests behind a blocked reply. */
    char *held;
    size_t held_used, held_bytes; /* bytes at its beginning that are done with, and those behind them */
    uint64_t body_bytes; /* of a request's body still to be ignored */
    /* The reply under way: a head, then a file. */
    char *head;
    size_t head_bytes, head_sent;
    struct file *file;
    off_t file_sent;
    struct http_request request; /* while its file is opened; without the target */
};

struct service;

void connection_open(struct service *service, int socket);
bool connection_is_open(const struct connection *connection);
enum connection_wish connection_serve(struct service *service, struct connection *connection);

/* Completion style. Input that arrived in somebody else's buffer; length 0 = the client ended, or receiving failed. The
 * bytes are used or copied at once. While a reply is under way (CONNECTION_WRITES) input is only kept, in held: the
 * design bounds it by receiving no more. */
enum connection_wish connection_receive(struct service *service, struct connection *connection, const char *bytes,
                                        size_t length);

/* After CONNECTION_OPENS, which only a design hears that opens files itself (service.h): what came of opening
 * connection->file, a descriptor or minus an errno (files.h). Until then the file stays where it is. */
enum connection_wish connection_opened(struct service *service, struct connection *connection, long result);

/* What is left of the reply under way. It stays where it is until connection_sent() or connection_close(). */
struct connection_output {
    struct iovec parts[2]; /* to be sent in one call: head, and contents in memory; then */
    int count;             /* their number; 0 = only the file is left */
    bool more_follows;     /* after the parts, by sendfile: MSG_MORE */
    int file;              /* descriptor, or -1 */
    off_t offset;
    size_t file_bytes;
};

/* False if no reply is under way. */
bool connection_output(const struct connection *connection, struct connection_output *output);

/* So many bytes of it were sent; 0 or less = sending failed, or the file was cut short. */
enum connection_wish connection_sent(struct service *service, struct connection *connection, ssize_t sent);

/* The file of its reply cannot be read, or is shorter than it was. If nothing was sent yet it becomes a 500; else its
 * Content-Length cannot be kept, and the connection ends. */
enum connection_wish connection_failed(struct service *service, struct connection *connection);

/* Nothing is wanted of it any more, but the design cannot close it yet. Named as timed out if that lasts. */
void connection_leave(struct service *service, struct connection *connection);
bool connection_is_left(const struct connection *connection);

void connection_close(struct connection *connection);

/* A connection whose time is up; NULL if there is none. While draining, an idle connection's time is up. */
struct connection *connection_timed_out(struct service *service);

#endif
