/* facility.h: what facilities share: rings of timers, and expiring one. */
#ifndef NAI_TIMER_FACILITY_H
#define NAI_TIMER_FACILITY_H

#include "timers.h"

static inline void ring_init(struct timer_link *head)
{
    head->next = head->previous = head;
}

static inline bool ring_is_empty(const struct timer_link *head)
{
    return head->next == head;
}

static inline void ring_add_before(struct timer_link *place, struct timer_link *link)
{
    link->next = place;
    link->previous = place->previous;
    place->previous->next = link;
    place->previous = link;
}

static inline void ring_remove(struct timer_link *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
}

/* Move all of a ring to the end of another. */
static inline void ring_append_all(struct timer_link *to, struct timer_link *from)
{
    if (ring_is_empty(from))
        return;
    from->next->previous = to->previous;
    to->previous->next = from->next;
    from->previous->next = to;
    to->previous = from->previous;
    ring_init(from);
}

static inline struct timer *timer_of(const struct timer_link *link)
{
    return (struct timer *)(void *)link; /* its first member */
}

/* A timer that has left the facility's structure expires. */
static inline void timer_expires(struct timers *timers, struct timer *timer)
{
    timer->place = 0;
    timers->count--;
    timer->expire(timers, timer);
}

/* Allocate a facility's structure. NULL with errno. */
struct timers *timers_allocate(size_t bytes, const struct timer_facility *facility, uint32_t capacity, uint64_t now);

#endif
