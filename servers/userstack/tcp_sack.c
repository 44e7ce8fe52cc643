/* tcp_sack.c: runs of sequence numbers: those that we hold beyond gaps and report (RFC 2018), and those of ours that the
 * peer reports, the scoreboard (RFC 6675). Both are bounded; what a full scoreboard forgets is only sent once more. */
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

static void board_clip(struct connection *c, uint32_t una)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < c->board_count; i++) {
        struct tcp_run run = c->board[i];
        if (!seq_before(una, run.right))
            continue;
        if (seq_upto(run.left, una)) { /* what it said it has it does not have: it has reneged (RFC 2018, 8) */
            kept = 0;
            break;
        }
        c->board[kept++] = run;
    }
    c->board_count = (uint8_t)kept;
}

/* True if it covers a byte that no run covered. */
static bool board_add(struct connection *c, uint32_t left, uint32_t right)
{
    unsigned first = 0;
    while (first < c->board_count && seq_before(c->board[first].right, left))
        first++;
    unsigned last = first; /* runs first .. last-1 are touched */
    if (last < c->board_count && seq_upto(c->board[last].left, left) && seq_upto(right, c->board[last].right))
        return false;
    while (last < c->board_count && seq_upto(c->board[last].left, right)) {
        left = seq_min(left, c->board[last].left);
        right = seq_max(right, c->board[last].right);
        last++;
    }
    if (last == first) {
        if (c->board_count == TCP_BOARD)
            return false;
        memmove(&c->board[first + 1], &c->board[first], (c->board_count - first) * sizeof *c->board);
        c->board_count++;
    } else {
        memmove(&c->board[first + 1], &c->board[last], (c->board_count - last) * sizeof *c->board);
        c->board_count = (uint8_t)(c->board_count - (last - first - 1));
    }
    c->board[first] = (struct tcp_run){left, right};
    return true;
}

bool tcp_board_update(struct connection *c, const struct tcp_segment *s)
{
    uint32_t una = seq_max(c->snd_una, s->ack);
    board_clip(c, una);
    bool news = false;
    for (unsigned i = 0; i < s->options.sack_count; i++) {
        struct tcp_run run = s->options.sack[i];
        /* At or below the acknowledgment it reports a duplicate (RFC 2883), or is old; beyond what was sent it lies. */
        if (seq_before(una, run.left) && seq_before(run.left, run.right) && seq_upto(run.right, c->snd_max))
            news |= board_add(c, run.left, run.right);
    }
    return news;
}

bool tcp_board_lost(const struct connection *c, uint32_t seq)
{
    uint32_t runs = 0, bytes = 0;
    for (unsigned i = 0; i < c->board_count; i++) {
        if (seq_before(seq, c->board[i].left)) {
            runs++;
            bytes += c->board[i].right - c->board[i].left;
        }
    }
    return runs >= TCP_DUPLICATES || bytes > (TCP_DUPLICATES - 1u) * c->mss;
}

/* The gap below the i-th run; beyond the last run, up to what was sent. */
static struct tcp_run gap(const struct connection *c, unsigned i)
{
    return (struct tcp_run){
        .left = i == 0 ? c->snd_una : c->board[i - 1].right,
        .right = i == c->board_count ? c->snd_max : c->board[i].left,
    };
}

/* SetPipe(): all bytes of a gap have the same runs above them, so that a gap is judged as a whole. */
uint32_t tcp_board_pipe(const struct connection *c)
{
    uint32_t pipe = 0, runs = 0, sacked = 0;
    for (unsigned i = c->board_count + 1u; i-- > 0;) {
        struct tcp_run g = gap(c, i);
        bool lost = runs >= TCP_DUPLICATES || sacked > (TCP_DUPLICATES - 1u) * c->mss;
        if (!lost)
            pipe += g.right - g.left;
        if (seq_before(g.left, c->high_retransmitted))
            pipe += seq_min(g.right, c->high_retransmitted) - g.left;
        if (i > 0) {
            runs++;
            sacked += c->board[i - 1].right - c->board[i - 1].left;
        }
    }
    return pipe;
}

/* Rule 1 (lost_only), rule 3: the first bytes below the highest run that were not retransmitted in this recovery. */
bool tcp_board_next(const struct connection *c, bool lost_only, uint32_t *seq, uint32_t *bytes)
{
    for (unsigned i = 0; i < c->board_count; i++) {
        struct tcp_run g = gap(c, i);
        uint32_t from = seq_max(g.left, c->high_retransmitted);
        if (!seq_before(from, g.right))
            continue;
        if (lost_only && !tcp_board_lost(c, from))
            return false; /* nor is anything above it */
        *seq = from;
        *bytes = min_u32(g.right - from, c->mss);
        return true;
    }
    return false;
}

uint32_t tcp_board_skip(const struct connection *c, uint32_t seq, uint32_t *room)
{
    *room = UINT32_MAX;
    for (unsigned i = 0; i < c->board_count; i++) {
        if (!seq_before(seq, c->board[i].right))
            continue;
        if (seq_before(seq, c->board[i].left)) {
            *room = c->board[i].left - seq;
            break;
        }
        seq = c->board[i].right;
    }
    return seq;
}

uint32_t tcp_board_below(const struct connection *c, uint32_t seq)
{
    uint32_t bytes = 0;
    for (unsigned i = 0; i < c->board_count && seq_before(c->board[i].left, seq); i++)
        bytes += seq_min(c->board[i].right, seq) - c->board[i].left;
    return bytes;
}
