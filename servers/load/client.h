/* client.h: the kernel-socket client: one thread, one epoll set, many connections. */
#ifndef NAI_CLIENT_H
#define NAI_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "manifest.h"
#include "report.h"
#include "schedule.h"

/* Who ends a connection whose last reply has come.
 *
 * CLOSE_BY_SERVER, the default: the last request says "Connection: close" and the client waits for the server's FIN.
 * The end that closes first keeps the four-tuple in TIME_WAIT for a minute (RFC 9293, 3.6.1), which must not be the
 * client: at 20,000 connections/s it would run out of 28,000 ports in 1.4 s. A server that replies without
 * "Connection: close" will not close, so it is reset at once.
 * CLOSE_BY_RESET: keep-alive to the last, then RST (httperf --close-with-reset): no TIME_WAIT on either side, and the
 * server learns of the end by one more event a connection.
 * CLOSE_BY_CLIENT: keep-alive to the last, then close(), as httperf did in 2004 and as browsers do: the server sees EOF
 * as one more event, TIME_WAIT stays here. Needs many --sources or a low rate. */
enum close_by { CLOSE_BY_SERVER, CLOSE_BY_RESET, CLOSE_BY_CLIENT };

struct client_options {
    struct sockaddr_in server;
    struct sockaddr_in *sources; /* used in turn; none = the system's choice */
    size_t source_count;
    const char *congestion; /* TCP_CONGESTION or NULL */
    bool closed;            /* closed loop: `clients` connections; otherwise open: `rate` */
    uint64_t clients;
    uint64_t think_ns; /* closed: between a reply and the next request */
    double rate;       /* open: requests/s offered */
    enum arrivals arrivals;
    uint64_t requests;    /* a connection; UINT64_MAX = no end */
    double requests_mean; /* geometrically distributed number with this mean instead; 0 = not */
    enum close_by close_by;
    /* false: the request carries the handshake's last ACK, which TCP_DEFER_ACCEPT on the connecting side holds back
     * (tcp_rcv_synsent_state_process() in net/ipv4/tcp_input.c): one segment and one interrupt less a connection, and
     * the segments that rawload sends. true: it goes out alone, as httperf's in 2004 did; a
     * full accept queue then drops two segments of a connection, not one. */
    bool separate_ack;
    uint64_t timeout_ns;
    uint64_t verify_every; /* check the CRC-32 of every n-th reply; 0 = of none */
    double warmup_s, duration_s;
    uint64_t seed;
    uint64_t connections_max; /* open at once */
};

/* What only this client counts. */
struct client_extra {
    uint64_t starts_stalled;   /* turns in which a due start waited for a descriptor, a port or memory */
    uint64_t sessions_cut;     /* connections the server ended before their last request (open loop) */
    uint64_t connections_peak; /* open at once */
};

/* Offer the load and fill in *report. Returns 0; or the errno, with nothing measured, if no connection could even be
 * begun. */
int client_run(const struct client_options *, const struct manifest *, struct report *report, struct client_extra *);

#endif
