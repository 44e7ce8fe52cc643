/* traffic.h: one TCP connection with a job at each end of it, over whatever transport the program is linked with: what
 * bulk throughput and round trips are measured by.
 *
 * What is sent is one pattern of 65,537 pseudo-random bytes, again and again. The number is a prime and no divisor of
 * any segment's, chunk's or window's size: bytes that are lost, doubled or come in another's place do not compare equal.
 * Every byte received is compared, by every role.
 */
#ifndef NAI_TRAFFIC_H
#define NAI_TRAFFIC_H

#include "histogram.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    TRAFFIC_PERIOD = 65537,
    TRAFFIC_WRITE_MAX = 65536,
};

enum traffic_role {
    TRAFFIC_SOURCE, /* sends `bytes`, closes its side, waits for the peer's close */
    TRAFFIC_SINK,   /* receives until the peer closes, or `seconds` have passed: then it resets the connection */
    TRAFFIC_BOTH,   /* source and sink at a time */
    TRAFFIC_PING,   /* sends messages of `write_bytes`, each when the one before has come back; `bytes` or `seconds` */
    TRAFFIC_ECHO,   /* sends back what it receives */
};

struct traffic_options {
    enum traffic_role role;
    struct sockaddr_in address;
    bool listens;           /* at the address, for one connection; or else connects to it */
    const char *congestion; /* TCP_CONGESTION or NULL */
    uint64_t bytes;         /* to be sent */
    uint64_t write_bytes;   /* in one call, at most TRAFFIC_WRITE_MAX */
    double warmup_s;        /* pings: not recorded */
    double seconds;         /* since the connection is established; 0 = no limit */
    double patience_s;      /* for the connection to be established */
    double stay_s;          /* afterwards: a user-level stack has still to answer its peer */
};

enum traffic_outcome {
    TRAFFIC_ENDED,       /* all was sent, and the peer closed its side */
    TRAFFIC_TIME,        /* `seconds` passed */
    TRAFFIC_STOPPED,     /* a signal came */
    TRAFFIC_UNCONNECTED, /* in time, or for the reason in `error` */
    TRAFFIC_BROKEN,      /* the connection ended for the reason in `error` */
    TRAFFIC_WRONG,       /* a byte was not what was sent; the first of them at `wrong_at` */
};

struct traffic_result {
    enum traffic_outcome outcome;
    int error;
    uint64_t sent, received; /* bytes; what was received compared equal */
    uint64_t wrong_at;
    double connect_s;      /* until the connection was established */
    double seconds, cpu_s; /* from then on, until all was done */
    struct histogram rtt;  /* of pings */
};

/* Calls `listening` when a peer could connect, and `done` once, as soon as all is done; then stays. 0, or the errno of
 * what could not even be begun. */
int traffic_run(const struct traffic_options *, struct traffic_result *, void (*listening)(void),
                void (*done)(const struct traffic_options *, const struct traffic_result *));

#endif
