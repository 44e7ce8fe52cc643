/* tcp_sack.c: the receiver's half of selective acknowledgment: runs that we hold beyond gaps, which are bounded, and are
 * reported (RFC 2018); and what has come twice (RFC 2883). The sender's half is tcp_flight.c. */
#include "tcp.h"

static bool touches(const struct tcp_run *run, uint32_t left, uint32_t right)
{
    return seq_upto(run->left, right) && seq_upto(left, run->right);
}

bool tcp_hole_fits(const struct connection *c, uint32_t left, uint32_t right)
{
    for (unsigned i = 0; i < c->hole_count; i++)
        if (touches(&c->holes[i], left, right))
            return true;
    return c->hole_count < TCP_HOLES;
}

/* Join it with all that it touches; the result comes first: the peer learns of the latest first, and, as the blocks
 * repeat, of each several times (RFC 2018, 4). */
void tcp_hole_add(struct connection *c, uint32_t left, uint32_t right)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < c->hole_count; i++) {
        struct tcp_run run = c->holes[i];
        if (touches(&run, left, right)) {
            left = seq_min(left, run.left);
            right = seq_max(right, run.right);
        } else {
            c->holes[kept++] = run;
        }
    }
    memmove(c->holes + 1, c->holes, kept * sizeof *c->holes);
    c->holes[0] = (struct tcp_run){left, right};
    c->hole_count = (uint8_t)(kept + 1);
}

void tcp_holes_absorb(struct connection *c)
{
    for (bool more = true; more;) { /* a run may make another one in order */
        more = false;
        unsigned kept = 0;
        for (unsigned i = 0; i < c->hole_count; i++) {
            struct tcp_run run = c->holes[i];
            if (seq_before(c->rcv_nxt, run.left)) {
                c->holes[kept++] = run;
            } else if (seq_before(c->rcv_nxt, run.right)) {
                c->receive.length += run.right - c->rcv_nxt;
                c->rcv_nxt = run.right;
                more = true;
            }
        }
        c->hole_count = (uint8_t)kept;
    }
}

bool tcp_hole_known(const struct connection *c, uint32_t left, uint32_t right)
{
    for (unsigned i = 0; i < c->hole_count; i++)
        if (seq_upto(c->holes[i].left, left) && seq_upto(right, c->holes[i].right))
            return true;
    return false;
}

void tcp_came_twice(struct connection *c, uint32_t left, uint32_t right)
{
    c->ack_now = true;
    if (c->sack)
        c->twice = (struct tcp_run){left, right};
}

/* The first block is of a duplicate if it lies below the acknowledgment, or within the second (RFC 2883, 4). */
bool tcp_reports_duplicate(const struct connection *c, const struct tcp_segment *s, struct tcp_run *what)
{
    const struct tcp_run *block = s->options.sack;
    if (s->options.sack_count == 0 || !seq_before(block->left, block->right) || seq_before(c->snd_max, block->right))
        return false;
    *what = *block;
    return seq_before(block->left, s->ack) ||
           (s->options.sack_count > 1 && seq_upto(block[1].left, block->left) && seq_upto(block->right, block[1].right));
}
