/* list.c: one list, sorted by deadline: scheme 2 of Varghese and Lauck, what BSD's callouts were, and lwIP's are.
 *
 * The next one is always at hand, and a start walks over all that are due later, from the end: nothing for time-outs
 * that all last equally long, half the list for those that do not.
 */
#include "facility.h"

#include <stdlib.h>

struct list {
    struct timers timers;
    struct timer_link head;
};

static struct timers *open_list(uint32_t capacity, uint64_t now)
{
    struct list *list = (struct list *)timers_allocate(sizeof *list, &timers_list, capacity, now);
    if (list == NULL)
        return NULL;
    ring_init(&list->head);
    return &list->timers;
}

static void close_list(struct timers *timers)
{
    free(timers);
}

static void start(struct timers *timers, struct timer *timer, uint64_t deadline)
{
    struct list *list = (struct list *)timers;
    struct timer_link *before = list->head.previous;
    timer->deadline = timers_due(timers, deadline);
    for (; before != &list->head && ticks_ahead(timer_of(before)->deadline, timer->deadline) > 0; timers->steps++)
        before = before->previous;
    ring_add_before(before->next, &timer->link);
    timer->place = 1;
}

static void cancel(struct timers *timers, struct timer *timer)
{
    (void)timers;
    ring_remove(&timer->link);
}

static size_t advance(struct timers *timers, uint64_t now, size_t batch)
{
    struct list *list = (struct list *)timers;
    size_t expired = 0;
    timers->now = now;
    for (; expired < batch && !ring_is_empty(&list->head); expired++) {
        struct timer *timer = timer_of(list->head.next);
        if (ticks_ahead(timer->deadline, now) > 0)
            break;
        ring_remove(&timer->link);
        timer_expires(timers, timer);
    }
    return expired;
}

static bool next(const struct timers *timers, uint64_t *tick)
{
    *tick = timer_of(((const struct list *)timers)->head.next)->deadline;
    return true;
}

const struct timer_facility timers_list = {
    .name = "list",
    .cost = "start O(n), cancel O(1), expiry O(1)",
    .open = open_list,
    .close = close_list,
    .start = start,
    .cancel = cancel,
    .advance = advance,
    .next = next,
};
