/* timers.h: the one interface to timers, and what it promises whatever facility is behind it.
 *
 * Time is counted in ticks, whose length is the caller's choice, and read by the caller, once for a batch of work: a
 * facility only learns of it from timers_advance(). What Varghese and Lauck (1987) call START_TIMER, STOP_TIMER,
 * PER_TICK_BOOKKEEPING and EXPIRY_PROCESSING are timers_start(), timers_cancel() and timers_advance().
 *
 * For all facilities alike:
 *
 * - A timer is the caller's memory, and is linked, never copied. Nothing is allocated after timers_open(). There are at
 *   most as many pending as that was told; one more is refused. A timer that is pending may not be freed.
 * - None expires before its deadline. One expires at the first advance to its due tick or later: that is the deadline,
 *   with `wheel` and `lazy` rounded up to a granularity() that depends on how far ahead of the last advance it was when
 *   it was started. So who has let time pass, as after a long sleep or with nothing pending, advances first and then
 *   starts: a timer of 10 ticks that is started 1,000 ticks after the last advance is rounded as one of 1,010.
 * - A deadline that has passed is due one tick after the last advance. So what an expiry starts expires, at the
 *   earliest, in the next advance to a later tick, and an advance ends.
 * - An advance expires in the order of due ticks; of one due tick, timers of equal deadlines in that of their start.
 *   One that was re-armed while it was pending may come anywhere in its advance.
 * - An advance expires at most `batch`, so that a million that are due at once hold nobody: what it leaves is first in
 *   the next one, which may be to the same tick. timers_next() tells whether there is any. A batch of none only tells
 *   what time it is.
 * - An expiry may start, cancel and re-arm any timer, its own and those due in the same advance, too: one that is
 *   cancelled or re-armed then does not expire. It may not call timers_advance().
 * - The clock may jump. To a later tick: what was due meanwhile expires, each once. To an earlier one: nothing happens
 *   until it has caught up.
 * - Ticks wrap around. A deadline lies less than 2^62 ticks ahead; one farther back or ahead counts as passed.
 *
 * One thread at a time.
 */
#ifndef NAI_TIMERS_H
#define NAI_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timers;
struct timer;
typedef void timer_expiry(struct timers *timers, struct timer *timer);

struct timer_link {
    struct timer_link *next, *previous;
};

/* The caller's to embed; begins as zeroes with `expire` set, and is the facility's otherwise. */
struct timer {
    struct timer_link link;
    uint64_t deadline; /* a tick */
    union {
        uint64_t order; /* in a heap: of its start */
        uint64_t comes; /* in a wheel: the tick at which its slot does */
    };
    timer_expiry *expire;
    uint32_t place; /* in the facility, from 1; 0 = not pending */
};

struct timer_facility {
    const char *name;
    const char *cost; /* of start, cancel and expiry of one of n, for tables */
    struct timers *(*open)(uint32_t capacity, uint64_t now);
    void (*close)(struct timers *timers);
    void (*start)(struct timers *timers, struct timer *timer, uint64_t deadline);
    void (*cancel)(struct timers *timers, struct timer *timer);
    void (*rearm)(struct timers *timers, struct timer *timer, uint64_t deadline); /* NULL: cancel, then start */
    size_t (*advance)(struct timers *timers, uint64_t now, size_t batch);
    bool (*next)(const struct timers *timers, uint64_t *tick);
    uint64_t (*granularity)(uint64_t ahead); /* of one started so many ticks ahead, a power of 2; NULL: one tick */
};
extern const struct timer_facility timers_list, timers_heap, timers_heap4, timers_hashed, timers_wheel, timers_lazy;

/* All of them, in the order of their history; NULL ends it. */
extern const struct timer_facility *const timer_facilities[];

/* What every facility's own structure begins with. */
struct timers {
    const struct timer_facility *facility;
    uint64_t now; /* last advance */
    uint32_t count, capacity;
    uint64_t steps; /* links followed, entries compared: what an operation's time is made of */
};

/* NULL if there is no memory, or no facility of that name (errno: ENOMEM, EINVAL). */
struct timers *timers_open(const char *facility, uint32_t capacity, uint64_t now);
/* Those pending are forgotten. */
static inline void timers_close(struct timers *timers)
{
    timers->facility->close(timers);
}

static inline bool timer_pending(const struct timer *timer)
{
    return timer->place != 0;
}

/* How far a tick is ahead of another; negative if behind. */
static inline int64_t ticks_ahead(uint64_t tick, uint64_t of)
{
    return (int64_t)(tick - of);
}

#define TIMERS_FARTHEST (UINT64_C(1) << 62)

/* The deadline that counts: one that has passed is the next tick. */
static inline uint64_t timers_due(const struct timers *timers, uint64_t deadline)
{
    return deadline - timers->now - 1 < TIMERS_FARTHEST - 1 ? deadline : timers->now + 1;
}

/* A timer that is not pending, after an advance to about the present. False: there are as many as may be. */
static inline bool timers_start(struct timers *timers, struct timer *timer, uint64_t deadline)
{
    if (timers->count == timers->capacity)
        return false;
    timers->count++;
    timers->facility->start(timers, timer, deadline);
    return true;
}

/* True if it was pending. */
static inline bool timers_cancel(struct timers *timers, struct timer *timer)
{
    if (!timer_pending(timer))
        return false;
    timers->count--;
    timers->facility->cancel(timers, timer);
    timer->place = 0;
    return true;
}

/* Start a timer, or give it another deadline. False as for start. */
static inline bool timers_rearm(struct timers *timers, struct timer *timer, uint64_t deadline)
{
    if (!timer_pending(timer))
        return timers_start(timers, timer, deadline);
    if (timers->facility->rearm != NULL) {
        timers->facility->rearm(timers, timer, deadline);
        return true;
    }
    timers->facility->cancel(timers, timer);
    timers->facility->start(timers, timer, deadline);
    return true;
}

/* It is `now`: expire what is due, at most `batch`. Returns how many expired. */
static inline size_t timers_advance(struct timers *timers, uint64_t now, size_t batch)
{
    return timers->facility->advance(timers, ticks_ahead(now, timers->now) > 0 ? now : timers->now, batch);
}

/* The tick to which to advance next: no timer is due before it. (With `lazy`, perhaps none is due then either.)
 * False: none is pending. */
static inline bool timers_next(const struct timers *timers, uint64_t *tick)
{
    return timers->count > 0 && timers->facility->next(timers, tick);
}

#endif
