/* fragments.c: datagrams that come in pieces, within limits: so many at a time, so large, in so many runs, for so long.
 * Pieces that overlap are no accident: the whole datagram is given up (RFC 5722 demands it of IPv6). An exact repetition
 * of what is there is one, and is ignored. */
#include "inside.h"

enum { LIFE_MS = 30000 }; /* RFC 1122, 3.3.2: 60 to 120 s; a shorter life bounds what an attacker can hold */

static void give_up(struct stack *stack, struct datagram *d)
{
    timers_cancel(stack->timers, &d->timer);
    d->used = false;
}

static void too_late(struct timers *timers, struct timer *timer)
{
    (void)timers;
    struct datagram *d = (struct datagram *)(void *)timer;
    COUNT_DROP(d->stack, fragment_timeout);
    d->used = false;
}

void fragments_layout(struct stack *stack, struct arena *arena)
{
    const struct stack_limits *limits = &stack->limits;
    stack->datagrams = arena_take(arena, limits->datagrams * sizeof *stack->datagrams);
    uint8_t *data = arena_take(arena, (size_t)limits->datagrams * limits->datagram_bytes);
    if (data != NULL)
        for (uint32_t i = 0; i < limits->datagrams; i++)
            stack->datagrams[i].data = data + (size_t)i * limits->datagram_bytes;
}

void fragments_open(struct stack *stack)
{
    for (uint32_t i = 0; i < stack->limits.datagrams; i++) {
        stack->datagrams[i].stack = stack;
        stack->datagrams[i].timer.expire = too_late;
    }
}

static struct datagram *find(struct stack *stack, uint32_t source, uint16_t identification, uint8_t protocol)
{
    struct datagram *unused = NULL, *oldest = NULL;
    for (uint32_t i = 0; i < stack->limits.datagrams; i++) {
        struct datagram *d = &stack->datagrams[i];
        if (!d->used)
            unused = d;
        else if (d->source == source && d->identification == identification && d->protocol == protocol)
            return d;
        else if (oldest == NULL || d->began < oldest->began)
            oldest = d;
    }
    if (unused == NULL) {
        if (oldest == NULL) { /* a stack that reassembles nothing */
            COUNT_DROP(stack, fragment_full);
            return NULL;
        }
        COUNT_DROP(stack, fragment_full);
        give_up(stack, oldest);
        unused = oldest;
    }
    unused->used = true;
    unused->source = source;
    unused->identification = identification;
    unused->protocol = protocol;
    unused->piece_count = 0;
    unused->total = 0;
    unused->began = stack->now;
    timers_start(stack->timers, &unused->timer, stack->now + ticks_of_ms(stack, LIFE_MS));
    return unused;
}

enum added { ADDED, REPEATED, OVERLAPS, TOO_MANY };

static enum added add_piece(struct datagram *d, uint32_t left, uint32_t right)
{
    unsigned before = 0;
    while (before < d->piece_count && d->pieces[before].right <= left)
        before++;
    struct piece *next = &d->pieces[before]; /* the first that ends beyond our beginning */
    if (before < d->piece_count && next->left < right)
        return next->left <= left && right <= next->right ? REPEATED : OVERLAPS;
    bool joins_previous = before > 0 && d->pieces[before - 1].right == left;
    bool joins_next = before < d->piece_count && next->left == right;
    if (joins_previous && joins_next) {
        d->pieces[before - 1].right = next->right;
        memmove(next, next + 1, (d->piece_count - before - 1u) * sizeof *next);
        d->piece_count--;
    } else if (joins_previous) {
        d->pieces[before - 1].right = right;
    } else if (joins_next) {
        next->left = left;
    } else {
        if (d->piece_count == DATAGRAM_PIECES)
            return TOO_MANY;
        memmove(next + 1, next, (d->piece_count - before) * sizeof *next);
        *next = (struct piece){left, right};
        d->piece_count++;
    }
    return ADDED;
}

void fragments_input(struct stack *stack, const uint8_t *header, const uint8_t *data, uint32_t bytes, bool checked)
{
    uint16_t fragment = get16(header + IPV4_FRAGMENT);
    bool more = fragment & IPV4_MORE_FRAGMENTS;
    uint32_t left = (fragment & 0x1fffu) * 8, right = left + bytes;
    if (bytes == 0 || (more && bytes % 8 != 0) || right > 65535 - IPV4_BYTES) {
        COUNT_DROP(stack, fragment_malformed);
        return;
    }
    if (right > stack->limits.datagram_bytes) {
        COUNT_DROP(stack, fragment_too_big);
        return;
    }
    uint32_t source = get32(header + IPV4_SOURCE);
    struct datagram *d = find(stack, source, get16(header + IPV4_IDENTIFICATION), header[IPV4_PROTOCOL]);
    if (d == NULL)
        return;
    uint32_t held = d->piece_count == 0 ? 0 : d->pieces[d->piece_count - 1].right;
    if ((d->total != 0 && (right > d->total || (!more && right != d->total))) || (!more && held > right)) {
        COUNT_DROP(stack, fragment_malformed);
        give_up(stack, d);
        return;
    }
    switch (add_piece(d, left, right)) {
    case REPEATED:
        return;
    case OVERLAPS:
        COUNT_DROP(stack, fragment_overlap);
        give_up(stack, d);
        return;
    case TOO_MANY:
        COUNT_DROP(stack, fragment_pieces);
        give_up(stack, d);
        return;
    case ADDED:
        break;
    }
    memcpy(d->data + left, data, bytes);
    if (!more)
        d->total = right;
    if (d->total == 0 || d->piece_count != 1 || d->pieces[0].left != 0 || d->pieces[0].right != d->total)
        return;
    COUNT(stack, datagrams_reassembled);
    uint8_t addresses[8];
    memcpy(addresses, header + IPV4_SOURCE, sizeof addresses);
    struct packet packet = {
        .source = source,
        .destination = get32(header + IPV4_DESTINATION),
        .addresses = addresses,
        .data = d->data,
        .bytes = d->total,
        .checked = checked,
        .broadcast = get32(header + IPV4_DESTINATION) != stack->address.ip,
    };
    ipv4_deliver(stack, d->protocol, &packet);
    give_up(stack, d);
}
