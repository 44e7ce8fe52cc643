/* session.h: one connection of the kernel-socket client, from connect() to its end; shared by session.c, which
 * knows what events do to it, and client.c, which knows what time does. */
#ifndef NAI_SESSION_H
#define NAI_SESSION_H

#include "client.h"
#include "reply.h"
#include "transport.h"

#define NEVER UINT64_MAX
#define RECEIVE_BYTES (256u << 10) /* of client.buffer, shared by all connections */

enum session_state {
    CONNECTING,
    AWAITING, /* request sent, or being sent: the reply is due */
    THINKING, /* between two requests of a closed loop */
    WAITING_FOR_FIN,
    RETRYING, /* closed loop, without a socket, until the next attempt */
};

struct session {
    struct session *previous, *next; /* neighbours in the line, or the free list */
    struct line *line;
    uint64_t lined_up_ns;            /* when it joined the line */
    uint64_t intended_ns, actual_ns; /* of the current request: schedule's time; connect() or send() */
    uint64_t requests_left;          /* after the current one */
    const struct manifest_file *file;
    uint32_t sent; /* bytes of the request */
    int socket;
    uint8_t state; /* enum session_state */
    uint8_t kind;  /* enum request_kind */
    struct reply reply;
};

/* Connections that wait equally long, the longest-waiting first. */
struct line {
    struct session *head, *tail;
    uint64_t delay_ns;
};

struct client {
    const struct client_options *options;
    const struct manifest *manifest;
    struct report *report;
    struct client_extra *extra;
    struct tp_options transport;
    int set; /* epoll */
    struct schedule schedule;
    uint64_t starts_left;
    uint64_t stalled_until_ns;
    struct random files, sessions;
    struct line deadlines, thinking, retrying;
    struct session *pool, *free;
    uint64_t pool_used, open;
    size_t next_source;
    uint64_t replies_seen;
    uint64_t begun;  /* connections for which connect() succeeded or is in progress, ever */
    int first_error; /* errno of the first connect that could not begin */
    uint64_t idle_polling_ns; /* in the window, in calls of epoll that neither slept nor found anything */
    char *buffer;
};

void line_join(struct line *, struct session *, uint64_t now); /* at the end; leaves the line it was in */
static inline uint64_t line_due(const struct line *line)
{
    return line->head ? line->head->lined_up_ns + line->delay_ns : NEVER;
}

/* Count an event that happened now. */
#define COUNT(c, now, name)                                                                                            \
    do {                                                                                                               \
        if (report_in_window((c)->report, (now)))                                                                      \
            (c)->report->name++;                                                                                       \
    } while (0)

/* Begin the connection, whose first request was intended for intended_ns. Returns 0, or errno with nothing begun. */
int session_begin(struct client *, struct session *, uint64_t intended_ns, uint64_t now);
/* What epoll reported. Returns the time of the event. */
uint64_t session_handle(struct client *, struct session *, uint32_t events);
void session_next_request(struct client *, struct session *, uint64_t now); /* from THINKING */
void session_time_out(struct client *, struct session *, uint64_t now);

#endif
