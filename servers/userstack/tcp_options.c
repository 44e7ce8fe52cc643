/* tcp_options.c: MSS (RFC 9293, 3.7.1), window scale and timestamps (RFC 7323), SACK (RFC 2018). */
#include "tcp.h"

enum {
    OPTION_END = 0,
    OPTION_NOP = 1,
    OPTION_MSS = 2,
    OPTION_SCALE = 3,
    OPTION_SACK_PERMITTED = 4,
    OPTION_SACK = 5,
    OPTION_TIMESTAMPS = 8,
};

static bool timestamps_only(const uint8_t *p, uint32_t bytes)
{
    return bytes == 12 && p[0] == OPTION_NOP && p[1] == OPTION_NOP && p[2] == OPTION_TIMESTAMPS && p[3] == 10;
}

/* An option of a wrong length is passed over; a length that leads beyond the header makes the segment malformed. */
bool tcp_parse_options(const uint8_t *p, uint32_t bytes, bool syn, struct tcp_options *out)
{
    const uint8_t *end = p + bytes;
    memset(out, 0, offsetof(struct tcp_options, sack)); /* of which sack_count are valid */
    if (timestamps_only(p, bytes)) { /* as RFC 7323, appendix A, lays them out: nearly every segment */
        out->has_timestamps = true;
        out->tsval = get32(p + 4);
        out->tsecr = get32(p + 8);
        return true;
    }
    while (p < end && *p != OPTION_END) {
        if (*p == OPTION_NOP) {
            p++;
            continue;
        }
        if (end - p < 2 || p[1] < 2 || p[1] > end - p)
            return false;
        uint8_t length = p[1];
        if (*p == OPTION_MSS && length == 4 && syn) {
            out->mss = get16(p + 2);
        } else if (*p == OPTION_SCALE && length == 3 && syn) {
            out->has_scale = true;
            out->scale = p[2] > TCP_MAX_SCALE ? TCP_MAX_SCALE : p[2];
        } else if (*p == OPTION_SACK_PERMITTED && length == 2 && syn) {
            out->sack_permitted = true;
        } else if (*p == OPTION_TIMESTAMPS && length == 10) {
            out->has_timestamps = true;
            out->tsval = get32(p + 2);
            out->tsecr = get32(p + 6);
        } else if (*p == OPTION_SACK && !syn && length % 8 == 2 && length <= 2 + 8 * TCP_SACK_BLOCKS) {
            out->sack_count = (uint8_t)(length / 8);
            for (unsigned i = 0; i < out->sack_count; i++)
                out->sack[i] = (struct tcp_run){get32(p + 2 + 8 * i), get32(p + 6 + 8 * i)};
        }
        p += length;
    }
    return true;
}

uint32_t tcp_clock(const struct stack *stack) { return (uint32_t)(now_us(stack) / 1000); }

static uint8_t *write_timestamps(const struct connection *c, uint8_t *p)
{
    p[0] = OPTION_TIMESTAMPS;
    p[1] = 10;
    put32(p + 2, tcp_clock(c->stack) + c->ts_offset);
    put32(p + 6, c->ts_recent);
    return p + 10;
}

/* At most `room` bytes, a multiple of 4. What is on in the connection goes into its SYN: all at an active open, what the
 * peer offered at a passive one. */
uint32_t tcp_write_options(const struct connection *c, uint8_t *p, bool syn, uint32_t room)
{
    uint8_t *begin = p;
    if (syn) {
        p[0] = OPTION_MSS;
        p[1] = 4;
        put16(p + 2, offered_mss(c));
        p += 4;
        if (c->timestamps) { /* the permission where else padding were */
            p[0] = c->sack ? OPTION_SACK_PERMITTED : OPTION_NOP;
            p[1] = c->sack ? 2 : OPTION_NOP;
            p = write_timestamps(c, p + 2);
        } else if (c->sack) {
            p[0] = p[1] = OPTION_NOP;
            p[2] = OPTION_SACK_PERMITTED;
            p[3] = 2;
            p += 4;
        }
        if (c->receive_scale != UINT8_MAX) {
            p[0] = OPTION_NOP;
            p[1] = OPTION_SCALE;
            p[2] = 3;
            p[3] = c->receive_scale;
            p += 4;
        }
        return (uint32_t)(p - begin);
    }
    if (c->timestamps) {
        p[0] = p[1] = OPTION_NOP;
        p = write_timestamps(c, p + 2);
    }
    room -= (uint32_t)(p - begin);
    bool twice = c->twice.left != c->twice.right; /* before all others, RFC 2883, 4 */
    if (c->sack && c->hole_count + twice > 0 && room >= 12) { /* the most recent first, RFC 2018, 4 */
        unsigned n = min_u32(min_u32(c->hole_count + twice, (room - 4) / 8), c->timestamps ? 3 : 4);
        p[0] = p[1] = OPTION_NOP;
        p[2] = OPTION_SACK;
        p[3] = (uint8_t)(2 + 8 * n);
        p += 4;
        for (unsigned i = 0; i < n; i++, p += 8) {
            const struct tcp_run *run = twice && i == 0 ? &c->twice : &c->holes[i - twice];
            put32(p, run->left);
            put32(p + 4, run->right);
        }
    }
    return (uint32_t)(p - begin);
}
