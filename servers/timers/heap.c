/* heap.c: a heap in an array, binary or of four children a node: what libev (four), libuv and Go's timers stand on.
 *
 * An entry has its due tick beside the pointer, so that sifting looks at timers only where ticks are equal. Four
 * children share a cache line and halve the depth: more comparisons, fewer misses (LaMarca and Ladner 1996).
 */
#include "facility.h"

#include <stdlib.h>

struct entry {
    uint64_t due;
    struct timer *timer;
};

struct heap {
    struct timers timers;
    uint64_t started;
    uint32_t used;
    struct entry *entries; /* from [0] */
};

static bool earlier(const struct entry *a, const struct entry *b)
{
    if (a->due != b->due)
        return ticks_ahead(a->due, b->due) < 0;
    return a->timer->order < b->timer->order;
}

static void put(struct heap *heap, uint32_t index, struct entry entry)
{
    heap->entries[index] = entry;
    entry.timer->place = index + 1;
    heap->timers.steps++;
}

static void sift_up(struct heap *heap, uint32_t index, struct entry entry, uint32_t children)
{
    while (index > 0) {
        uint32_t parent = (index - 1) / children;
        if (!earlier(&entry, &heap->entries[parent]))
            break;
        put(heap, index, heap->entries[parent]);
        index = parent;
    }
    put(heap, index, entry);
}

static void sift_down(struct heap *heap, uint32_t index, struct entry entry, uint32_t children)
{
    for (;;) {
        uint64_t first = (uint64_t)index * children + 1;
        if (first >= heap->used)
            break;
        uint32_t least = (uint32_t)first;
        for (uint64_t child = first + 1; child < first + children && child < heap->used; child++)
            if (earlier(&heap->entries[child], &heap->entries[least]))
                least = (uint32_t)child;
        if (!earlier(&heap->entries[least], &entry))
            break;
        put(heap, index, heap->entries[least]);
        index = least;
    }
    put(heap, index, entry);
}

/* An entry takes the place of one that leaves. */
static void replace(struct heap *heap, uint32_t index, struct entry entry, uint32_t children)
{
    if (index > 0 && earlier(&entry, &heap->entries[(index - 1) / children]))
        sift_up(heap, index, entry, children);
    else
        sift_down(heap, index, entry, children);
}

static void take_out(struct heap *heap, uint32_t index, uint32_t children)
{
    struct entry last = heap->entries[--heap->used];
    if (index != heap->used)
        replace(heap, index, last, children);
}

static struct timers *open_heap(const struct timer_facility *facility, uint32_t capacity, uint64_t now)
{
    struct heap *heap = (struct heap *)timers_allocate(sizeof *heap, facility, capacity, now);
    if (heap == NULL)
        return NULL;
    heap->entries = malloc((capacity > 0 ? capacity : 1) * sizeof *heap->entries);
    if (heap->entries == NULL) {
        free(heap);
        return NULL;
    }
    return &heap->timers;
}

static void close_heap(struct timers *timers)
{
    free(((struct heap *)timers)->entries);
    free(timers);
}

static struct entry entry_of(struct heap *heap, struct timer *timer, uint64_t deadline)
{
    timer->deadline = timers_due(&heap->timers, deadline);
    timer->order = heap->started++;
    return (struct entry){timer->deadline, timer};
}

static inline size_t advance(struct timers *timers, uint64_t now, size_t batch, uint32_t children)
{
    struct heap *heap = (struct heap *)timers;
    size_t expired = 0;
    timers->now = now;
    for (; expired < batch && heap->used > 0 && ticks_ahead(heap->entries[0].due, now) <= 0; expired++) {
        struct timer *timer = heap->entries[0].timer;
        take_out(heap, 0, children);
        timer_expires(timers, timer);
    }
    return expired;
}

static bool next(const struct timers *timers, uint64_t *tick)
{
    *tick = ((const struct heap *)timers)->entries[0].due;
    return true;
}

/* The same for each number of children, which the compiler is to know. */
#define FACILITY(variable, its_name, children, its_cost)                                                               \
    static struct timers *open_##variable(uint32_t capacity, uint64_t now)                                             \
    {                                                                                                                  \
        return open_heap(&variable, capacity, now);                                                                    \
    }                                                                                                                  \
    static void start_##variable(struct timers *timers, struct timer *timer, uint64_t deadline)                        \
    {                                                                                                                  \
        struct heap *heap = (struct heap *)timers;                                                                     \
        sift_up(heap, heap->used++, entry_of(heap, timer, deadline), children);                                        \
    }                                                                                                                  \
    static void cancel_##variable(struct timers *timers, struct timer *timer)                                          \
    {                                                                                                                  \
        take_out((struct heap *)timers, timer->place - 1, children);                                                   \
    }                                                                                                                  \
    static void rearm_##variable(struct timers *timers, struct timer *timer, uint64_t deadline)                        \
    {                                                                                                                  \
        struct heap *heap = (struct heap *)timers;                                                                     \
        replace(heap, timer->place - 1, entry_of(heap, timer, deadline), children);                                    \
    }                                                                                                                  \
    static size_t advance_##variable(struct timers *timers, uint64_t now, size_t batch)                                \
    {                                                                                                                  \
        return advance(timers, now, batch, children);                                                                  \
    }                                                                                                                  \
    const struct timer_facility variable = {                                                                           \
        .name = its_name,                                                                                              \
        .cost = its_cost,                                                                                              \
        .open = open_##variable,                                                                                       \
        .close = close_heap,                                                                                           \
        .start = start_##variable,                                                                                     \
        .cancel = cancel_##variable,                                                                                   \
        .rearm = rearm_##variable,                                                                                     \
        .advance = advance_##variable,                                                                                 \
        .next = next,                                                                                                  \
    };

FACILITY(timers_heap, "heap", 2, "O(log₂ n) each")
FACILITY(timers_heap4, "heap4", 4, "O(log₄ n) each")
