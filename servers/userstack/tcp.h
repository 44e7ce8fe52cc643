/* tcp.h: a connection, and what the files of TCP share. Terms are those of RFC 9293, 3.3.1. */
#ifndef NAI_STACK_TCP_H
#define NAI_STACK_TCP_H

#include "inside.h"
#include "stream.h"
#include "tcp_loss.h"
#include "tcp_states.h"

enum tcp_flags { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32 };

enum {
    TCP_SOURCE = 0, /* offsets, RFC 9293, 3.1 */
    TCP_DESTINATION = 2,
    TCP_SEQ = 4,
    TCP_ACKNOWLEDGMENT = 8,
    TCP_OFFSET = 12,
    TCP_FLAGS = 13,
    TCP_WINDOW = 14,
    TCP_CHECKSUM = 16,
    TCP_URGENT = 18,
    TCP_BYTES = 20,
    TCP_OPTIONS_MAX = 40,
    TCP_DEFAULT_MSS = 536, /* 3.7.1 */
    TCP_MIN_MSS = 64,      /* a peer's offer below is not taken at its word: tiny segments are an attack */
    TCP_SACK_BLOCKS = 4,   /* that fit the options, RFC 2018, 3 */
    TCP_HOLES = 64,        /* runs kept out of order */
    TCP_MAX_SCALE = 14,    /* RFC 7323, 2.3 */
};

struct tcp_options {
    uint16_t mss; /* 0 = none given */
    bool has_scale, has_timestamps, sack_permitted;
    uint8_t scale;
    uint32_t tsval, tsecr;
    uint8_t sack_count;
    struct tcp_run sack[TCP_SACK_BLOCKS];
};

struct tcp_segment { /* received */
    const struct packet *packet;
    uint32_t source; /* address */
    uint16_t source_port, destination_port;
    uint32_t seq, ack, window; /* window as it stands, unscaled */
    uint8_t flags;
    const uint8_t *data;
    uint32_t bytes; /* of data */
    struct tcp_options options;
};

static inline uint32_t segment_length(const struct tcp_segment *s) /* SEG.LEN */
{
    return s->bytes + !!(s->flags & TCP_SYN) + !!(s->flags & TCP_FIN);
}

struct tcp_tuple { /* hashed as it lies in memory: no padding */
    uint32_t remote, local;
    uint16_t remote_port, local_port;
};

struct tcp_link {
    struct tcp_link *next, *previous;
};

struct tcp_listener {
    struct socket socket; /* first */
    struct tcp_link waiting;   /* established, for us_accept() */
    uint32_t waiting_count, backlog;
    uint32_t half_open;
    uint16_t port, mss; /* mss: as limits.mss */
    bool nodelay, keepalive, corked;
    uint32_t user_timeout_ms;
    uint64_t cookies_until; /* tick up to which cookies may come back */
    const struct tcp_congestion *congestion;
};

struct connection {
    struct socket socket; /* first */
    struct tcp_link link; /* of free ones, of TIME-WAIT, or of a listener's accept queue */
    struct stack *stack;
    struct tcp_listener *listener; /* while it has not been accepted */
    struct connection *hash_next, **hash_from; /* hash_from: what points to it */
    struct connection *blocked_next, *starving_next, *owing_next;
    struct tcp_tuple tuple;
    uint8_t state; /* enum tcp_state */
    bool passive, nodelay, keepalive, hashed, in_link, blocked, starving, owing;
    bool defer_ack; /* that of the handshake waits for data, as long as any may */

    /* negotiated */
    bool timestamps, sack;
    uint8_t send_scale, receive_scale;
    uint16_t own_mss;       /* as limits.mss */
    uint16_t peer_mss, mss; /* mss: payload of a full segment, options and path considered */
    uint32_t ts_offset;     /* of our timestamp clock */
    uint32_t ts_recent, last_ack_sent;
    uint64_t ts_recent_at;

    /* sending */
    struct stream send;
    uint32_t send_first; /* sequence number of the stream's first byte */
    uint32_t iss, snd_una, snd_nxt, snd_max;
    uint32_t snd_wnd, snd_wl1, snd_wl2, max_window;
    bool fin_queued, more; /* more: the caller has promised to write soon */
    bool corked, unpushed; /* unpushed: what was written last came with that promise, and ends without PSH */
    uint8_t burst;         /* new segments of this run */
    uint32_t full_from;    /* from here on every segment was a full one */
    uint64_t sent_at;      /* last data, for RFC 5681, 4.1 */

    /* receiving */
    struct stream receive;
    uint32_t irs, rcv_nxt, rcv_edge; /* rcv_edge: right edge of the window that was offered */
    uint8_t hole_count;
    struct tcp_run holes[TCP_HOLES]; /* runs beyond gaps; the one that changed last first */
    struct tcp_run twice;            /* what came twice, to be reported in the next ACK (RFC 2883); empty: nothing */
    uint32_t unacked_bytes;          /* received since our last ACK */
    uint8_t beyond;                  /* segments beyond a gap, since the last in order; no more than matter */
    uint32_t read_bytes;             /* in this round trip */
    uint64_t read_since;
    bool ack_now, fin_received;
    bool ack_later; /* at ack_due, unless something that carries it goes first; its timer then expires for nothing */
    uint64_t ack_due;
    bool fin_known; /* one has come, perhaps beyond a gap */
    uint32_t fin_at;

    /* retransmission: ticks, ×8 and ×4 (RFC 6298) */
    uint64_t srtt8, rttvar4, rto;
    bool timing;
    uint32_t timed_seq;
    uint64_t timed_at;
    uint8_t tries, backoff, probes; /* unanswered retransmissions or probes; doublings; unanswered keepalives */
    bool persisting, retransmitted;
    uint64_t unacked_since; /* tick when what is unacknowledged was first so */
    uint64_t heard_at, received_at; /* anything; data */
    uint64_t challenge_second; /* in which so many challenge ACKs were sent */
    uint32_t challenges;

    /* congestion */
    const struct tcp_congestion *congestion;
    struct tcp_window cc;
    bool window_used;               /* since snd_una was beyond use_until: all of it, or flight_max at most */
    uint32_t flight_max, use_until;
    uint16_t duplicates;                   /* acknowledgments, since the last that moved snd_una */
    bool recovering, recovered_by_timeout; /* fast recovery; after a timeout, up to `recover` */
    uint32_t recover;
    struct tcp_flight flight;
    struct tcp_rack rack;
    struct tcp_tail tail;
    struct tcp_prr prr;
    struct tcp_undo undo;

    struct timer retransmit, delayed_ack, slow; /* slow: keepalive, FIN-WAIT-2, TIME-WAIT */
    struct timer loss;                          /* tail_due: a tail loss probe; else what may only be late is lost */
    bool tail_due;
    uint32_t user_timeout_ms;
    int error; /* why it ended, as errno */
};

struct tcp_layer {
    struct connection *connections;
    struct connection **hash;
    uint32_t hash_mask;
    struct tcp_listener *listeners;
    uint16_t *ports; /* by port: a listener's place, from 1 */
    struct tcp_link free, time_wait;
    uint32_t touched; /* connections that were ever used: those behind them are no memory yet, and not in the free list */
    uint32_t used, time_waits;
    uint32_t *slots; /* of all connections' streams */
    uint32_t send_slots, receive_slots;
    struct pool chunks, runs; /* bytes of streams; struct tcp_sent */
    struct connection *blocked;  /* the wire had no room for what they would send */
    struct connection *starving; /* the pool had no chunk for what they would write */
    struct connection *owing;    /* their ACK goes when the batch has ended */
};

#define LAYER(c) ((c)->stack->tcp)

static inline bool synchronized(uint8_t state) { return state >= TCP_ESTABLISHED; }

/* The MSS that our SYN offers. */
static inline uint32_t offered_mss(const struct connection *c)
{
    uint32_t wire = c->stack->wire.mtu - IPV4_BYTES - TCP_BYTES;
    return c->own_mss == 0 ? wire : min_u32(c->own_mss, wire);
}

static inline uint32_t fin_seq(const struct connection *c) { return c->send_first + c->send.length; }

/* Whether our FIN was sent, at least once. */
static inline bool fin_sent(const struct connection *c) { return c->fin_queued && seq_before(fin_seq(c), c->snd_max); }

/* tcp_demux.c */
struct connection *tcp_find(const struct stack *stack, const struct tcp_tuple *tuple);
void tcp_hash_in(struct connection *c);
void tcp_hash_out(struct connection *c);
struct tcp_listener *tcp_listener_at(struct stack *stack, uint16_t port);

/* tcp_connection.c: birth, states, death */
struct connection *tcp_new(struct stack *stack, const struct tcp_tuple *tuple); /* NULL: none is left */
void tcp_become(struct connection *c, enum tcp_state state);
void tcp_established(struct connection *c);
void tcp_end(struct connection *c, int error); /* to CLOSED; freed if no caller holds it */
void tcp_abort(struct connection *c, int error); /* the same, with a RST */
void tcp_time_wait(struct connection *c);
void tcp_update_mss(struct connection *c);
uint8_t tcp_scale_for(uint32_t bytes); /* the smallest with which a window of so many bytes can be told */
void tcp_free(struct connection *c);
void tcp_link_in(struct tcp_link *list, struct connection *c);
void tcp_link_out(struct connection *c);
static inline struct connection *tcp_linked(struct tcp_link *link)
{
    return (struct connection *)(void *)((char *)link - offsetof(struct connection, link));
}

/* tcp_options.c */
bool tcp_parse_options(const uint8_t *p, uint32_t bytes, bool syn, struct tcp_options *out);
uint32_t tcp_write_options(const struct connection *c, uint8_t *p, bool syn, uint32_t room);
uint32_t tcp_clock(const struct stack *stack); /* milliseconds, of the timestamp option */

/* tcp_input.c, tcp_ack.c, tcp_data.c */
bool tcp_parse(const struct packet *packet, struct tcp_segment *out); /* the checksum apart */
void tcp_ack_later(struct connection *c); /* delayed, RFC 9293, 3.8.6.3 */
void tcp_answer(struct connection *c); /* what a segment calls for: data, or an ACK now or later */
void tcp_segment_arrives(struct connection *c, struct tcp_segment *s);
bool tcp_take_ack(struct connection *c, const struct tcp_segment *s); /* false: the segment is to be dropped */
void tcp_update_window(struct connection *c, const struct tcp_segment *s);
void tcp_take_data(struct connection *c, struct tcp_segment *s);

/* tcp_syn_sent.c */
void tcp_take_peer_options(struct connection *c, const struct tcp_segment *s);
void tcp_syn_sent_arrives(struct connection *c, struct tcp_segment *s);

/* tcp_listen.c, tcp_cookie.c, tcp_isn.c */
void tcp_listener_arrives(struct stack *stack, struct tcp_listener *listener, struct tcp_segment *s);
uint32_t tcp_isn(const struct stack *stack, const struct tcp_tuple *tuple);
uint32_t tcp_timestamp_offset(const struct stack *stack, const struct tcp_tuple *tuple);
void tcp_cookie_send(struct stack *stack, const struct tcp_tuple *tuple, const struct tcp_segment *s);
bool tcp_cookie_check(struct stack *stack, const struct tcp_tuple *tuple, const struct tcp_segment *s,
                      struct tcp_options *agreed);

/* tcp_output.c, tcp_reset.c */
void tcp_output(struct connection *c);    /* all that may be sent now */
enum ip_result tcp_send_segment(struct connection *c, uint32_t seq, uint32_t bytes, uint8_t flags);
void tcp_send_ack(struct connection *c);
void tcp_send_syn(struct connection *c);
bool tcp_send_tail(struct connection *c); /* a segment more; true: it was a retransmission */
void tcp_probe_window(struct connection *c);
void tcp_window_opened(struct connection *c); /* the caller has read */
void tcp_challenge(struct connection *c);
void tcp_reset_for(struct stack *stack, const struct tcp_segment *s); /* RFC 9293, 3.10.7.1 */
void tcp_send_bare(struct stack *stack, const struct tcp_tuple *tuple, uint32_t seq, uint32_t ack, uint8_t flags,
                   uint32_t window, const uint8_t *options, uint32_t option_bytes);

/* socket.c: NULL, if the caller holds none of that number */
struct connection *connection_of(struct stack *stack, int number);
struct tcp_listener *listener_of(struct stack *stack, int number);

/* tcp_batch.c */
bool tcp_owe(struct connection *c);
void tcp_owe_no_more(struct connection *c);

/* tcp_buffers.c */
void tcp_buffers_begin(struct connection *c);
uint32_t tcp_receive_window(const struct connection *c); /* what could be offered */
void tcp_was_read(struct connection *c, uint32_t bytes);
uint32_t tcp_send_room(const struct connection *c);      /* for what the caller writes */
bool tcp_worth_writing(const struct connection *c);
void tcp_starve_no_more(struct connection *c);

/* tcp_rtt.c, tcp_timer.c */
void tcp_measured(struct connection *c, uint64_t ticks);
void tcp_reset_rto(struct connection *c);
void tcp_arm_retransmit(struct connection *c);
void tcp_arm_persist(struct connection *c);
void tcp_arm_slow(struct connection *c);
void tcp_timers_init(struct connection *c);

/* tcp_sack.c */
void tcp_hole_add(struct connection *c, uint32_t left, uint32_t right); /* there is room */
bool tcp_hole_fits(const struct connection *c, uint32_t left, uint32_t right);
void tcp_holes_absorb(struct connection *c); /* those that have become in order: rcv_nxt moves */
bool tcp_hole_known(const struct connection *c, uint32_t left, uint32_t right); /* all of it is held already */
void tcp_came_twice(struct connection *c, uint32_t left, uint32_t right);
bool tcp_reports_duplicate(const struct connection *c, const struct tcp_segment *s, struct tcp_run *what);

#endif
