/* timers.c: the facilities by name. */
#include "facility.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct timer_facility *const timer_facilities[] = {
    &timers_list, &timers_heap, &timers_heap4, &timers_hashed, &timers_wheel, &timers_lazy, NULL,
};

struct timers *timers_allocate(size_t bytes, const struct timer_facility *facility, uint32_t capacity, uint64_t now)
{
    struct timers *timers = calloc(1, bytes);
    if (timers != NULL)
        *timers = (struct timers){.facility = facility, .capacity = capacity, .now = now};
    return timers;
}

struct timers *timers_open(const char *facility, uint32_t capacity, uint64_t now)
{
    for (size_t i = 0; timer_facilities[i] != NULL; i++)
        if (strcmp(timer_facilities[i]->name, facility) == 0)
            return timer_facilities[i]->open(capacity, now);
    errno = EINVAL;
    return NULL;
}
