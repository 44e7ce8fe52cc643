/* timeouts.c: rings of time-outs, sorted by construction. */
#include "timeouts.h"

#include <stddef.h>

void timeouts_init(struct timeouts *timeouts)
{
    for (int class = 0; class < TIMEOUT_CLASSES; class++) {
        struct timeout *head = &timeouts->lists[class];
        head->next = head->previous = head;
        timeouts->duration_ms[class] = 0;
    }
}

void timeout_stop(struct timeout *timeout)
{
    if (timeout->next == NULL)
        return;
    timeout->previous->next = timeout->next;
    timeout->next->previous = timeout->previous;
    timeout->next = timeout->previous = NULL;
}

void timeout_start(struct timeouts *timeouts, struct timeout *timeout, enum timeout_class class, uint64_t now_ms)
{
    timeout_stop(timeout);
    struct timeout *head = &timeouts->lists[class];
    timeout->class = class;
    timeout->deadline_ms = now_ms + timeouts->duration_ms[class];
    timeout->next = head;
    timeout->previous = head->previous;
    head->previous->next = timeout;
    head->previous = timeout;
}

struct timeout *timeouts_first(struct timeouts *timeouts, enum timeout_class class)
{
    struct timeout *head = &timeouts->lists[class];
    return head->next == head ? NULL : head->next;
}

struct timeout *timeouts_expired(struct timeouts *timeouts, uint64_t now_ms)
{
    for (int class = 0; class < TIMEOUT_CLASSES; class++) {
        struct timeout *first = timeouts_first(timeouts, class);
        if (first != NULL && first->deadline_ms <= now_ms)
            return first;
    }
    return NULL;
}

int timeouts_wait_ms(const struct timeouts *timeouts, uint64_t now_ms, int limit_ms)
{
    uint64_t wait = (uint64_t)limit_ms;
    for (int class = 0; class < TIMEOUT_CLASSES; class++) {
        const struct timeout *head = &timeouts->lists[class];
        if (head->next == head)
            continue;
        uint64_t left = head->next->deadline_ms > now_ms ? head->next->deadline_ms - now_ms : 0;
        if (left < wait)
            wait = left;
    }
    return (int)wait;
}
