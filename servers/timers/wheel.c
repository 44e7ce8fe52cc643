/* wheel.c: wheels of growing granularity, where a timer stays in the slot in which it was put: no cascade.
 *
 * After Linux's timer wheel of 2016 (kernel/time/timer.c, Gleixner), itself scheme 7 of Varghese and Lauck with their
 * remark that one may leave timers in the coarser wheel. Level n has 64 slots of 8^n ticks. A timer goes to the first
 * level that reaches as far as it is ahead, and its deadline is rounded up to that level's granularity:
 *
 *     ahead, ticks     up to 63   504   4,032   32,256   …
 *     late by at most         0     7      63      511   … ticks: less than 1/7.8 of how far ahead it was
 *
 * Nearly all time-outs are cancelled long before, and are told from one another by nobody. Start, cancel and expiry are
 * O(1) whatever there is: an occupied slot is found by one instruction a level, and slots that are due are spliced, not
 * walked, so an advance over any distance costs no more than there are slots.
 *
 * `lazy` is the same wheel, where re-arming to a later tick only writes the deadline. When the slot of old comes, the
 * timer is not due and is put where it belongs. What every packet re-arms moves once a slot, not once a packet.
 */
#include "facility.h"

#include <stdlib.h>

#define SLOT_BITS 6
#define SLOTS (1u << SLOT_BITS)
#define LEVEL_BITS 3
#define LEVELS 20u /* the last reaches 63 * 8^19 > 2^62 ticks */

struct wheel {
    struct timers timers;
    uint32_t occupied_levels;
    uint64_t occupied[LEVELS]; /* a bit a slot */
    struct timer_link due;     /* in the order of ticks */
    struct timer_link slots[LEVELS * SLOTS];
};

static unsigned shift_of(unsigned level)
{
    return level * LEVEL_BITS;
}

/* The first level that reaches so far: 63 of its slots do, the 64th is the one the hand is in. */
static unsigned level_of(uint64_t ahead)
{
    if (ahead < SLOTS)
        return 0;
    unsigned bits = 64 - (unsigned)__builtin_clzll(ahead);
    unsigned level = (bits - SLOT_BITS + LEVEL_BITS - 1) / LEVEL_BITS;
    level += ahead > (uint64_t)(SLOTS - 1) << shift_of(level);
    return level < LEVELS ? level : LEVELS - 1;
}

static uint64_t granularity(uint64_t ahead)
{
    return UINT64_C(1) << shift_of(level_of(ahead));
}

static void place(struct wheel *wheel, struct timer *timer)
{
    unsigned level = level_of(timer->deadline - wheel->timers.now), shift = shift_of(level);
    uint64_t granules = (timer->deadline + (UINT64_C(1) << shift) - 1) >> shift;
    unsigned slot = granules % SLOTS, index = level * SLOTS + slot;
    ring_add_before(&wheel->slots[index], &timer->link);
    timer->comes = granules << shift;
    timer->place = index + 1;
    wheel->occupied[level] |= UINT64_C(1) << slot;
    wheel->occupied_levels |= 1u << level;
}

static void empty_slot(struct wheel *wheel, unsigned index)
{
    unsigned level = index / SLOTS;
    wheel->occupied[level] &= ~(UINT64_C(1) << index % SLOTS);
    if (wheel->occupied[level] == 0)
        wheel->occupied_levels &= ~(1u << level);
}

/* How far ahead of now the first occupied slot of a level is due, and which it is. */
static uint64_t first_of(const struct wheel *wheel, unsigned level, unsigned *slot)
{
    unsigned shift = shift_of(level), hand = (unsigned)(wheel->timers.now >> shift) % SLOTS, from = (hand + 1) % SLOTS;
    uint64_t occupied = wheel->occupied[level];
    uint64_t turned = from == 0 ? occupied : occupied >> from | occupied << (SLOTS - from);
    unsigned distance = (unsigned)__builtin_ctzll(turned) + 1;
    *slot = (hand + distance) % SLOTS;
    uint64_t begun = wheel->timers.now & ((UINT64_C(1) << shift) - 1);
    return ((uint64_t)distance << shift) - begun;
}

static struct timers *open_wheel(const struct timer_facility *facility, uint32_t capacity, uint64_t now)
{
    struct wheel *wheel = (struct wheel *)timers_allocate(sizeof *wheel, facility, capacity, now);
    if (wheel == NULL)
        return NULL;
    ring_init(&wheel->due);
    for (unsigned i = 0; i < LEVELS * SLOTS; i++)
        ring_init(&wheel->slots[i]);
    return &wheel->timers;
}

static struct timers *open_plain(uint32_t capacity, uint64_t now)
{
    return open_wheel(&timers_wheel, capacity, now);
}

static struct timers *open_lazy(uint32_t capacity, uint64_t now)
{
    return open_wheel(&timers_lazy, capacity, now);
}

static void close_wheel(struct timers *timers)
{
    free(timers);
}

static void start(struct timers *timers, struct timer *timer, uint64_t deadline)
{
    timer->deadline = timers_due(timers, deadline);
    place((struct wheel *)timers, timer);
}

static void cancel(struct timers *timers, struct timer *timer)
{
    struct wheel *wheel = (struct wheel *)timers;
    unsigned index = timer->place - 1;
    ring_remove(&timer->link);
    if (ring_is_empty(&wheel->slots[index])) /* as it is, too, if the hand has passed */
        empty_slot(wheel, index);
}

static void rearm_lazily(struct timers *timers, struct timer *timer, uint64_t deadline)
{
    deadline = timers_due(timers, deadline);
    if (ticks_ahead(deadline, timer->comes) >= 0) { /* or it has come, and the timer waits for an advance with room */
        timer->deadline = deadline;
        return;
    }
    cancel(timers, timer);
    start(timers, timer, deadline);
}

/* Splice the slots that the hand passes on its way to now, in the order of their ticks, and of equal ticks the coarser
 * first: of equal deadlines, those in it were started earlier. */
static void turn_to(struct wheel *wheel, uint64_t now)
{
    const uint64_t ahead = now - wheel->timers.now;
    if (ahead == 0) /* whoever looks more often than once a tick */
        return;
    for (;;) {
        uint64_t least = UINT64_MAX;
        unsigned index = 0;
        for (uint32_t levels = wheel->occupied_levels; levels != 0;) {
            unsigned level = 31 - (unsigned)__builtin_clz(levels), slot;
            levels &= ~(1u << level);
            uint64_t its = first_of(wheel, level, &slot);
            if (its < least) {
                least = its;
                index = level * SLOTS + slot;
            }
        }
        if (least > ahead)
            break;
        empty_slot(wheel, index);
        ring_append_all(&wheel->due, &wheel->slots[index]);
    }
    wheel->timers.now = now;
}

static size_t advance(struct timers *timers, uint64_t now, size_t batch)
{
    struct wheel *wheel = (struct wheel *)timers;
    size_t expired = 0;
    turn_to(wheel, now);
    for (size_t seen = 0; seen < batch && !ring_is_empty(&wheel->due); seen++) {
        struct timer *timer = timer_of(wheel->due.next);
        ring_remove(&timer->link);
        timers->steps++;
        if (ticks_ahead(timer->deadline, now) > 0) { /* re-armed lazily */
            place(wheel, timer);
            continue;
        }
        timer_expires(timers, timer);
        expired++;
    }
    return expired;
}

static bool next(const struct timers *timers, uint64_t *tick)
{
    const struct wheel *wheel = (const struct wheel *)timers;
    uint64_t least = UINT64_MAX;
    if (!ring_is_empty(&wheel->due))
        least = 0;
    for (uint32_t levels = least == 0 ? 0 : wheel->occupied_levels; levels != 0; levels &= levels - 1) {
        unsigned slot;
        uint64_t its = first_of(wheel, (unsigned)__builtin_ctz(levels), &slot);
        least = its < least ? its : least;
    }
    *tick = timers->now + least;
    return true;
}

const struct timer_facility timers_wheel = {
    .name = "wheel",
    .cost = "O(1) each",
    .open = open_plain,
    .close = close_wheel,
    .start = start,
    .cancel = cancel,
    .advance = advance,
    .next = next,
    .granularity = granularity,
};

const struct timer_facility timers_lazy = {
    .name = "lazy",
    .cost = "O(1) each; to a later tick a write",
    .open = open_lazy,
    .close = close_wheel,
    .start = start,
    .cancel = cancel,
    .rearm = rearm_lazily,
    .advance = advance,
    .next = next,
    .granularity = granularity,
};
