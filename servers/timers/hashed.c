/* hashed.c: a wheel of slots, each an unsorted list of those due when the hand passes, in this turn or a later one:
 * scheme 6 of Varghese and Lauck.
 *
 * Start and cancel are O(1). A tick looks at all that lie in its slot: of n timers n/SLOTS, due or not (their "4 +
 * 15 n/TableSize instructions"). A jump of a turn or more looks at all timers once, and sorts those that were due.
 */
#include "facility.h"

#include <stdlib.h>

#define SLOTS 4096u

struct hashed {
    struct timers timers;
    struct timer_link due; /* passed by the hand, in the order of their ticks */
    struct timer_link slots[SLOTS];
};

static struct timers *open_hashed(uint32_t capacity, uint64_t now)
{
    struct hashed *wheel = (struct hashed *)timers_allocate(sizeof *wheel, &timers_hashed, capacity, now);
    if (wheel == NULL)
        return NULL;
    ring_init(&wheel->due);
    for (unsigned i = 0; i < SLOTS; i++)
        ring_init(&wheel->slots[i]);
    return &wheel->timers;
}

static void close_hashed(struct timers *timers)
{
    free(timers);
}

static void start(struct timers *timers, struct timer *timer, uint64_t deadline)
{
    struct hashed *wheel = (struct hashed *)timers;
    timer->deadline = timers_due(timers, deadline);
    ring_add_before(&wheel->slots[timer->deadline % SLOTS], &timer->link);
    timer->place = 1;
}

static void cancel(struct timers *timers, struct timer *timer)
{
    (void)timers;
    ring_remove(&timer->link);
}

/* Merge a ring into one whose timers were started earlier; both are sorted. */
static void merge(struct timer_link *ring, struct timer_link *later)
{
    struct timer_link both;
    ring_init(&both);
    while (!ring_is_empty(ring) && !ring_is_empty(later)) {
        bool first = ticks_ahead(timer_of(ring->next)->deadline, timer_of(later->next)->deadline) <= 0;
        struct timer_link *least = first ? ring->next : later->next;
        ring_remove(least);
        ring_add_before(&both, least);
    }
    ring_append_all(&both, ring);
    ring_append_all(&both, later);
    ring_append_all(ring, &both);
}

/* Sort a ring by deadline, equal ones as they are: a merge sort from below (as lib/list_sort.c). */
static void sort(struct timer_link *ring)
{
    struct timer_link runs[32]; /* the i-th is empty, or of 2^i timers */
    for (unsigned i = 0; i < 32; i++)
        ring_init(&runs[i]);
    while (!ring_is_empty(ring)) {
        struct timer_link *one = ring->next, run;
        unsigned i = 0;
        ring_remove(one);
        ring_init(&run);
        ring_add_before(&run, one);
        for (; !ring_is_empty(&runs[i]); i++) {
            merge(&runs[i], &run);
            ring_append_all(&run, &runs[i]);
        }
        ring_append_all(&runs[i], &run);
    }
    for (unsigned i = 0; i < 32; i++) { /* the longer a run, the earlier its timers */
        merge(&runs[i], ring);
        ring_append_all(ring, &runs[i]);
    }
}

/* Let the hand pass over a slot. */
static void pass(struct hashed *wheel, struct timer_link *slot, uint64_t now, struct timer_link *due)
{
    for (struct timer_link *link = slot->next, *after; link != slot; link = after) {
        after = link->next;
        wheel->timers.steps++;
        if (ticks_ahead(timer_of(link)->deadline, now) <= 0) {
            ring_remove(link);
            ring_add_before(due, link);
        }
    }
}

static size_t advance(struct timers *timers, uint64_t now, size_t batch)
{
    struct hashed *wheel = (struct hashed *)timers;
    uint64_t ticks = now - timers->now;
    if (ticks >= SLOTS) {
        struct timer_link due;
        ring_init(&due);
        for (unsigned i = 0; i < SLOTS; i++)
            pass(wheel, &wheel->slots[i], now, &due);
        sort(&due);
        ring_append_all(&wheel->due, &due);
    } else {
        for (uint64_t tick = timers->now + 1; ticks > 0; tick++, ticks--)
            pass(wheel, &wheel->slots[tick % SLOTS], tick, &wheel->due);
    }
    timers->now = now;
    size_t expired = 0;
    for (; expired < batch && !ring_is_empty(&wheel->due); expired++) {
        struct timer *timer = timer_of(wheel->due.next);
        ring_remove(&timer->link);
        timer_expires(timers, timer);
    }
    return expired;
}

/* The wheel has no order to ask: from slot to slot, and if this turn has none, over all. */
static bool next(const struct timers *timers, uint64_t *tick)
{
    const struct hashed *wheel = (const struct hashed *)timers;
    *tick = timers->now;
    if (!ring_is_empty(&wheel->due))
        return true;
    int64_t least = INT64_MAX;
    for (uint64_t ahead = 1; ahead <= SLOTS && least > (int64_t)ahead; ahead++) {
        const struct timer_link *slot = &wheel->slots[(timers->now + ahead) % SLOTS];
        for (const struct timer_link *link = slot->next; link != slot; link = link->next) {
            int64_t its = ticks_ahead(timer_of(link)->deadline, timers->now);
            least = its < least ? its : least;
        }
    }
    *tick += (uint64_t)least;
    return true;
}

const struct timer_facility timers_hashed = {
    .name = "hashed",
    .cost = "start O(1), cancel O(1), a tick O(n / slots)",
    .open = open_hashed,
    .close = close_hashed,
    .start = start,
    .cancel = cancel,
    .advance = advance,
    .next = next,
};
