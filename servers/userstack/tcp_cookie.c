/* tcp_cookie.c: SYN cookies (Bernstein 1996; RFC 4987, 3.6): while the queue of half-open connections is full, all that a
 * SYN said is put into the number and the timestamp of the answer, and read from what the peer echoes. Nothing is kept.
 *
 * number    = hash(tuple) + the peer's number + (period << 24) + 24 bits of (hash(tuple, period) + which MSS)
 * timestamp = our clock with its low 6 bits replaced by window scale (4; 15 = none) and SACK (1): Linux's way */
#include "tcp.h"

enum { PERIOD_US = 64000000, PERIODS = 2, LOW_BITS = 6, NO_SCALE = 15, SACK_BIT = 16 };

static const uint16_t sizes[] = {536, 1024, 1300, 1400, 1440, 1452, 1460, 8960}; /* MSS, ascending */
enum { SIZES = sizeof sizes / sizeof *sizes };

static uint32_t hash(const struct stack *stack, const struct tcp_tuple *tuple, uint32_t period, uint32_t use)
{
    struct {
        struct tcp_tuple tuple;
        uint32_t period, use;
    } input = {*tuple, period, use};
    return (uint32_t)siphash(stack->limits.key, &input, sizeof input);
}

static uint32_t period_now(const struct stack *stack) { return (uint32_t)(now_us(stack) / PERIOD_US); }

void tcp_cookie_send(struct stack *stack, const struct tcp_tuple *tuple, const struct tcp_segment *s)
{
    const struct tcp_options *o = &s->options;
    uint32_t size = 0, period = period_now(stack);
    while (size + 1 < SIZES && sizes[size + 1] <= o->mss)
        size++;
    uint32_t number = hash(stack, tuple, 0, 3) + s->seq + (period << 24) + ((hash(stack, tuple, period, 4) + size) & 0xffffff);
    /* Options as of a connection that has what the peer offered. */
    struct connection like = {.stack = stack, .receive_scale = UINT8_MAX};
    uint8_t options[TCP_OPTIONS_MAX];
    if (o->has_timestamps) { /* without them only the MSS can be remembered */
        uint32_t bits = (o->has_scale ? o->scale : NO_SCALE) | (o->sack_permitted ? SACK_BIT : 0), clock = tcp_clock(stack);
        uint32_t stamp = (clock & ~((1u << LOW_BITS) - 1)) | bits;
        if (seq_before(clock, stamp))
            stamp -= 1u << LOW_BITS;
        like.timestamps = true;
        like.ts_offset = stamp - clock; /* no secret offset: the bits must come back as they are */
        like.ts_recent = o->tsval;
        like.sack = o->sack_permitted;
        if (o->has_scale)
            like.receive_scale = tcp_scale_for(stack->limits.receive_bytes);
    }
    uint32_t bytes = tcp_write_options(&like, options, true, TCP_OPTIONS_MAX);
    COUNT(stack, tcp_cookies_sent);
    tcp_send_bare(stack, tuple, number, s->seq + 1, TCP_SYN | TCP_ACK, min_u32(UINT16_MAX, stack->limits.receive_bytes),
                  options, bytes);
}

bool tcp_cookie_check(struct stack *stack, const struct tcp_tuple *tuple, const struct tcp_segment *s,
                      struct tcp_options *agreed)
{
    uint32_t rest = s->ack - 1 - (s->seq - 1) - hash(stack, tuple, 0, 3), now = period_now(stack);
    uint32_t age = ((now - (rest >> 24)) & 0xff);
    if (age >= PERIODS)
        return false;
    uint32_t size = (rest - hash(stack, tuple, now - age, 4)) & 0xffffff;
    if (size >= SIZES)
        return false;
    *agreed = (struct tcp_options){.mss = sizes[size]};
    if (s->options.has_timestamps) {
        uint32_t bits = s->options.tsecr;
        agreed->has_timestamps = true;
        agreed->tsval = s->options.tsval;
        agreed->sack_permitted = bits & SACK_BIT;
        agreed->scale = bits & 15;
        agreed->has_scale = agreed->scale != NO_SCALE;
    }
    return true;
}
