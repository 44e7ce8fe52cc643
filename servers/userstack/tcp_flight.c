/* tcp_flight.c: what is on the way, as runs of bytes that were sent at one time and have had one fate: the scoreboard of
 * RFC 6675 with the times that RFC 8985 adds. A connection whose data are acknowledged in order has few runs, however
 * wide its window; losses and what was SACKed make more. They are bounded: where none is left, bytes share the time or
 * the fate of their neighbours, and are at worst sent once more, or later. */
#include "tcp.h"

static struct tcp_sent *take(struct connection *c)
{
    struct tcp_flight *f = &c->flight;
    struct tcp_sent *run = NULL;
    if (!f->own_used) {
        f->own_used = true;
        run = &f->own;
    } else if (f->runs < TCP_RUNS) {
        uint32_t block = pool_take(&LAYER(c)->runs);
        run = block == 0 ? NULL : (struct tcp_sent *)(void *)pool_block(&LAYER(c)->runs, block);
    }
    if (run == NULL)
        COUNT(c->stack, tcp_runs_exhausted);
    else
        f->runs++;
    return run;
}

static void give(struct connection *c, struct tcp_sent *run)
{
    struct pool *pool = &LAYER(c)->runs;
    c->flight.runs--;
    if (run == &c->flight.own)
        c->flight.own_used = false;
    else
        pool_give(pool, (uint32_t)(((uint8_t *)run - pool->blocks) / pool->block_bytes) + 1);
}

static uint32_t length_of(const struct tcp_sent *run) { return run->right - run->left; }

static void set_fate(struct connection *c, struct tcp_sent *run, bool sacked, bool lost)
{
    struct tcp_flight *f = &c->flight;
    uint32_t bytes = length_of(run);
    f->sacked += (sacked ? bytes : 0) - (run->sacked ? bytes : 0);
    f->lost += (lost ? bytes : 0) - (run->lost ? bytes : 0);
    run->sacked = sacked;
    run->lost = lost;
}

/* From one run two. False: there is none left. */
static bool split(struct connection *c, struct tcp_sent *run, uint32_t at)
{
    struct tcp_sent *rest = take(c);
    if (rest == NULL)
        return false;
    *rest = *run;
    rest->left = run->right = at;
    run->next = rest;
    if (c->flight.last == run)
        c->flight.last = rest;
    return true;
}

/* Times that differ by no more count as one; but not while new bytes and old ones are sent by turns: which was first then
 * tells which is lost. */
static bool at_once(const struct connection *c, uint64_t first, uint64_t then)
{
    uint64_t grain = c->recovering || c->recovered_by_timeout ? 0 : c->srtt8 / 8 / 64;
    return then - first <= grain;
}

static bool alike(const struct connection *c, const struct tcp_sent *a, const struct tcp_sent *b)
{
    if (a->sacked || b->sacked)
        return a->sacked && b->sacked;
    return a->lost == b->lost && a->again == b->again && (a->lost || at_once(c, a->at, b->at));
}

/* Join what has become alike, from a run on (NULL: the first) and from the one after it. */
static void tidy(struct connection *c, struct tcp_sent *run)
{
    struct tcp_flight *f = &c->flight;
    run = run == NULL ? f->first : run;
    for (int i = 0; i < 2 && run != NULL; i++, run = run->next) {
        while (run->next != NULL && alike(c, run, run->next)) {
            struct tcp_sent *next = run->next;
            run->right = next->right;
            run->next = next->next;
            if (f->last == next)
                f->last = run;
            give(c, next);
        }
    }
}

/* The run that holds a number, and the one before it. */
static struct tcp_sent *find(const struct connection *c, uint32_t seq, struct tcp_sent **before)
{
    struct tcp_sent *run = c->flight.first;
    *before = NULL;
    while (run != NULL && seq_upto(run->right, seq)) {
        *before = run;
        run = run->next;
    }
    return run;
}

uint32_t tcp_in_flight(const struct connection *c)
{
    uint32_t bytes = c->snd_nxt - c->snd_una - c->flight.sacked - c->flight.lost;
    uint32_t told = c->sack ? 0 : c->duplicates * (uint32_t)c->mss; /* each of a segment that has left the network */
    return bytes > told ? bytes - told : 0;
}

static void append(struct connection *c, uint32_t left, uint32_t right, bool again)
{
    struct tcp_flight *f = &c->flight;
    uint64_t now = c->stack->now;
    struct tcp_sent *last = f->last;
    if (last != NULL && !last->sacked && !last->lost && last->again == again && at_once(c, last->at, now)) {
        last->right = right;
        return;
    }
    struct tcp_sent *run = take(c);
    if (run == NULL) { /* so there is a last one, which is taken for as young as this */
        set_fate(c, last, false, false);
        last->right = right;
        last->at = now;
        return;
    }
    *run = (struct tcp_sent){.at = now, .left = left, .right = right, .again = again};
    if (last == NULL)
        f->first = run;
    else
        last->next = run;
    f->last = run;
}

/* New bytes at the end, or such as were sent before. */
void tcp_flight_sent(struct connection *c, uint32_t left, uint32_t right, bool again)
{
    struct tcp_flight *f = &c->flight;
    if (f->last == NULL || f->last->right == left) {
        append(c, left, right, again);
        return;
    }
    struct tcp_sent *before, *run = find(c, left, &before);
    if (run != NULL && seq_before(run->left, left) && split(c, run, left)) {
        before = run;
        run = run->next;
    }
    for (; run != NULL && seq_before(run->left, right); run = run->next) {
        if (seq_before(right, run->right))
            split(c, run, right);
        if (run->sacked)
            continue;
        set_fate(c, run, false, false);
        run->again = true;
        run->at = c->stack->now;
    }
    tidy(c, before);
}

void tcp_flight_acked(struct connection *c, uint32_t una, struct tcp_report *r)
{
    struct tcp_flight *f = &c->flight;
    if (seq_before(c->full_from, una) && una - c->full_from > 1u << 28) /* numbers wrap around */
        c->full_from += (una - c->full_from) / c->mss * c->mss;
    while (f->first != NULL && seq_before(f->first->left, una)) {
        struct tcp_sent *run = f->first;
        uint32_t right = seq_min(run->right, una), bytes = right - run->left;
        if (run->sacked) {
            f->sacked -= bytes;
        } else {
            r->delivered += bytes;
            tcp_rack_delivered(c, run, right, r);
        }
        if (run->lost)
            f->lost -= bytes;
        run->left = right;
        if (right != run->right)
            break;
        f->first = run->next;
        if (f->first == NULL)
            f->last = NULL;
        give(c, run);
    }
    if (f->first != NULL && f->first->sacked) /* it does not have what it said it has: RFC 2018, 8 */
        tcp_flight_unsack(c);
}

static void sacked(struct connection *c, struct tcp_run block, struct tcp_report *r)
{
    struct tcp_sent *before, *run = find(c, block.left, &before);
    if (run != NULL && seq_before(run->left, block.left)) {
        if (!run->sacked && !split(c, run, block.left))
            return;
        before = run;
        run = run->next;
    }
    for (; run != NULL && seq_before(run->left, block.right); run = run->next) {
        if (run->sacked)
            continue;
        if (seq_before(block.right, run->right) && !split(c, run, block.right))
            break;
        r->sacked = true;
        r->delivered += length_of(run);
        tcp_rack_delivered(c, run, run->right, r);
        set_fate(c, run, true, false);
    }
    tidy(c, before);
}

/* Part of a segment is none: where the segments are known, those that a block covers wholly count (RFC 8985, 5.2). */
static struct tcp_run whole_segments(const struct connection *c, struct tcp_run block)
{
    if (seq_before(block.left, c->full_from))
        return block;
    block.left += (c->mss - (block.left - c->full_from) % c->mss) % c->mss;
    if (block.right != c->snd_max)
        block.right -= (block.right - c->full_from) % c->mss;
    return block;
}

void tcp_flight_sacked(struct connection *c, const struct tcp_segment *s, struct tcp_report *r)
{
    uint32_t una = seq_max(c->snd_una, s->ack);
    for (unsigned i = 0; i < s->options.sack_count; i++) {
        struct tcp_run block = whole_segments(c, s->options.sack[i]);
        /* At or below the acknowledgment it is old, or of a duplicate (RFC 2883); beyond what was sent it lies. */
        if (seq_before(una, block.left) && seq_before(block.left, block.right) && seq_upto(block.right, c->snd_nxt))
            sacked(c, block, r);
    }
}

uint32_t tcp_flight_lose(struct connection *c, struct tcp_sent *run)
{
    if (run->sacked || run->lost)
        return 0;
    set_fate(c, run, false, true);
    return length_of(run);
}

uint32_t tcp_flight_lose_first(struct connection *c)
{
    struct tcp_sent *first = c->flight.first;
    if (first == NULL)
        return 0;
    if (!first->lost && length_of(first) > c->mss)
        split(c, first, first->left + c->mss);
    return tcp_flight_lose(c, first);
}

bool tcp_flight_next_lost(const struct connection *c, struct tcp_run *out)
{
    if (c->flight.lost == 0)
        return false;
    const struct tcp_sent *run = c->flight.first;
    while (!run->lost)
        run = run->next;
    *out = (struct tcp_run){run->left, run->right};
    return true;
}

void tcp_flight_unlose(struct connection *c)
{
    for (struct tcp_sent *run = c->flight.first; run != NULL; run = run->next)
        set_fate(c, run, run->sacked, false);
}

void tcp_flight_unsack(struct connection *c)
{
    for (struct tcp_sent *run = c->flight.first; run != NULL; run = run->next)
        set_fate(c, run, false, run->lost);
}

void tcp_flight_clear(struct connection *c)
{
    struct tcp_flight *f = &c->flight;
    for (struct tcp_sent *run = f->first, *next; run != NULL; run = next) {
        next = run->next;
        give(c, run);
    }
    f->first = f->last = NULL;
    f->sacked = f->lost = 0;
}
