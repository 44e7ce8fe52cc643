/* raw_tcp.h: the client's half of one TCP connection that carries one request and one reply (RFC 9293).
 *
 * A pure function of segments, time-outs and what it decided before: it neither reads a clock nor sends. What is to be
 * done is written into a raw_action, so that it is tested and fuzzed without a network.
 *
 * As few segments as a real client needs:  SYN · ACK+request · FIN+ACK  against the server's  SYN-ACK · reply · FIN
 * (and the ACK by itself before the request, if raw_options asks for it).
 * Data on the third ACK is legal (RFC 9293, 3.10.7.4); the reply is acknowledged by our FIN when the server closes
 * directly after it (Connection: close), else by every second segment or after 40 ms, as Linux does.
 */
#ifndef NAI_RAW_TCP_H
#define NAI_RAW_TCP_H

#include "raw_segment.h"

#define RAW_SYN_RTO_MS 1000      /* doubled at each try: sent again after 1 s, 3 s, 7 s (RFC 6298, 2.1) */
#define RAW_RTO_MS 200           /* Linux TCP_RTO_MIN; the round trips of a lab are far below */
#define RAW_DELAYED_ACK_MS 40    /* Linux TCP_DELACK_MIN */

enum raw_state {
    RAW_FREE,
    RAW_SYN_SENT,
    RAW_REQUESTED, /* established: the request is sent, the reply not complete */
    RAW_REPLIED,   /* reply complete; the server's FIN is awaited */
    RAW_LAST_ACK,  /* the server has closed; our FIN is not acknowledged yet (also RFC 9293's CLOSING) */
    RAW_FIN_WAIT,  /* we closed first, because the server did not */
};

struct raw_tcp {
    uint32_t snd_una, snd_nxt, rcv_nxt;
    uint32_t rcv_acked; /* rcv_nxt as we last acknowledged it */
    uint8_t state;      /* enum raw_state */
    uint8_t tries;      /* how often the outstanding segment was sent again */
    bool ack_delayed;
};

/* What the connection shares with all others. */
struct raw_profile {
    uint16_t request_bytes;
    uint16_t mss; /* ours, as offered */
};

enum raw_event {
    RAW_CONNECTED = 1,          /* SYN-ACK arrived */
    RAW_REFUSED = 2,            /* RST in answer to the SYN; the connection is free */
    RAW_RESET = 4,              /* RST later; the connection is free */
    RAW_PEER_CLOSED = 8,        /* FIN arrived, after all data before it was delivered */
    RAW_CLOSED = 16,            /* the connection ended orderly and is free */
    RAW_RESENT_SYN = 32,
    RAW_RESENT_REQUEST = 64,
    RAW_STRAY = 128,            /* the segment belongs to no connection of ours */
};

enum raw_frame { RAW_SEND_NOTHING, RAW_SEND_SYN, RAW_SEND_BARE, RAW_SEND_REQUEST };

enum { RAW_TIMER_KEEP = -1, RAW_TIMER_OFF = 0 }; /* off: only the caller's own time-out remains */

struct raw_action {
    unsigned events;            /* enum raw_event, or-ed */
    const uint8_t *data;        /* new bytes of the reply, in order */
    uint32_t data_bytes;
    int timer_ms;               /* call raw_tcp_timer() after this long; RAW_TIMER_KEEP: the earlier wish stands */
    enum raw_frame send;        /* one answer at most */
    uint8_t flags;
    uint32_t seq, ack;
};

/* Every function overwrites *out. */
void raw_tcp_start(struct raw_tcp *c, uint32_t iss, struct raw_action *out);
void raw_tcp_input(struct raw_tcp *c, const struct raw_profile *profile, const struct raw_segment *in,
                   struct raw_action *out);
void raw_tcp_timer(struct raw_tcp *c, struct raw_action *out);
/* The caller found the reply complete in the data of *action: to be called before that action's segment is sent. */
void raw_tcp_reply_complete(struct raw_tcp *c, struct raw_action *action);
/* Give up: RST if the server may know of the connection. The connection is free. */
void raw_tcp_abort(struct raw_tcp *c, struct raw_action *out);
/* A segment for which there is no connection (RFC 9293, 3.10.7.1). */
void raw_tcp_stray(const struct raw_segment *in, struct raw_action *out);

#endif
