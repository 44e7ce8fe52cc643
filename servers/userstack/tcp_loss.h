/* tcp_loss.h: what a connection remembers of its bytes on the way, and of what acknowledgments say about them: by this
 * losses are found, mended, and taken back if they were none. Each struct belongs to the file that it is named after. */
#ifndef NAI_STACK_TCP_LOSS_H
#define NAI_STACK_TCP_LOSS_H

#include "tcp_congestion.h"

struct connection;
struct tcp_segment;

enum {
    TCP_DUPLICATES = 3, /* DupThresh, RFC 5681, 3.2 */
    TCP_RUNS = 1024,    /* of one connection's flight */
};

struct tcp_run {
    uint32_t left, right; /* sequence numbers, right exclusive */
};

/* Bytes that were sent together, within a 64th of a round trip, and have had the same fate. */
struct tcp_sent {
    struct tcp_sent *next;
    uint64_t at; /* tick when the first of them was sent last */
    uint32_t left, right;
    bool sacked, lost, again; /* lost: to be sent again; again: was, at least once */
};

struct tcp_flight { /* snd_una .. snd_nxt */
    struct tcp_sent *first, *last; /* ascending, without gaps */
    struct tcp_sent own;           /* one run needs no pool: most connections never have a second */
    bool own_used;
    uint16_t runs;
    uint32_t sacked, lost; /* bytes */
};

struct tcp_rack { /* RFC 8985, 5.2; ticks */
    uint64_t sent_at, rtt; /* of what was sent last of all that has arrived */
    uint64_t min_rtt, min_rtt_at;
    uint32_t right, farthest; /* its end; the end of the highest that has arrived (RACK.fack) */
    uint32_t round;           /* snd_nxt when a duplicate was last reported */
    uint32_t duplicates, retransmissions;
    uint8_t multiplier, persist;
    bool known, reordering, in_round;
};

struct tcp_tail { /* RFC 8985, 7 */
    uint32_t end; /* snd_nxt when the probe was sent */
    bool probing, again; /* again: it was a retransmission */
    bool instead;        /* it goes when the retransmission timer expires, which had not to wait for longer */
};

struct tcp_prr { /* RFC 6937, 3: RecoverFS, prr_delivered, prr_out */
    uint32_t flight, delivered, out;
};

struct tcp_undo { /* the window before it fell, and whether all that was sent again was sent in vain */
    struct tcp_window before;
    uint32_t marker, stamp; /* snd_una then; our timestamp at the first retransmission */
    uint32_t again, in_vain; /* segments */
    bool on, stamped;
};

/* What one acknowledgment has told. */
struct tcp_report {
    uint32_t acked;     /* bytes by which snd_una has moved */
    uint32_t delivered; /* bytes that are now known to have arrived: DeliveredData, RFC 6937, 3 */
    uint32_t lost;      /* bytes now thought lost */
    uint32_t echo;      /* of our timestamp */
    bool has_echo, sacked, duplicate;
    struct tcp_run twice; /* if duplicate: what has arrived twice, RFC 2883 */
};

/* tcp_flight.c */
uint32_t tcp_in_flight(const struct connection *c); /* thought to be on the way: pipe of RFC 6675 */
void tcp_flight_sent(struct connection *c, uint32_t left, uint32_t right, bool again);
void tcp_flight_acked(struct connection *c, uint32_t una, struct tcp_report *r);
void tcp_flight_sacked(struct connection *c, const struct tcp_segment *s, struct tcp_report *r);
uint32_t tcp_flight_lose_first(struct connection *c);             /* a segment at snd_una; returns the bytes */
uint32_t tcp_flight_lose(struct connection *c, struct tcp_sent *run);
bool tcp_flight_next_lost(const struct connection *c, struct tcp_run *out);
void tcp_flight_unlose(struct connection *c);
void tcp_flight_unsack(struct connection *c);
void tcp_flight_clear(struct connection *c);

/* tcp_rack.c */
void tcp_rack_delivered(struct connection *c, const struct tcp_sent *run, uint32_t right, const struct tcp_report *r);
uint32_t tcp_rack_detect(struct connection *c); /* bytes now thought lost; the timer waits for the rest */
void tcp_rack_duplicate(struct connection *c);
void tcp_rack_recovered(struct connection *c);

/* tcp_tail.c */
void tcp_tail_arm(struct connection *c);
void tcp_tail_expired(struct connection *c);
void tcp_tail_acked(struct connection *c, const struct tcp_report *r);

/* tcp_prr.c */
void tcp_prr_begin(struct connection *c, uint32_t flight);
void tcp_prr_acked(struct connection *c, uint32_t delivered, bool safe, bool at_once);

/* tcp_undo.c */
void tcp_undo_begin(struct connection *c);
void tcp_undo_sent(struct connection *c);
void tcp_undo_duplicate(struct connection *c, const struct tcp_report *r);
bool tcp_undo_late(const struct connection *c, const struct tcp_report *r); /* the original did it, a timestamp says */
bool tcp_undo(struct connection *c, const struct tcp_report *r);            /* true: it was in vain, and is taken back */

/* tcp_recovery.c */
void tcp_recover(struct connection *c, struct tcp_report *r);
void tcp_losses_found(struct connection *c); /* by time alone, without an acknowledgment */
void tcp_timed_out(struct connection *c);
void tcp_note_use(struct connection *c); /* of the window, after sending */

#endif
