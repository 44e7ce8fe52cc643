#include "userstack_link.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

uint64_t link_random(struct link *link) /* xorshift64* (Vigna 2016) */
{
    link->random ^= link->random >> 12;
    link->random ^= link->random << 25;
    link->random ^= link->random >> 27;
    return link->random * 0x2545f4914f6cdd1d;
}

bool link_chance(struct link *link, double probability)
{
    return probability > 0 && (double)(link_random(link) >> 11) < probability * (double)(UINT64_C(1) << 53);
}

static bool sooner(const struct link *link, uint32_t a, uint32_t b)
{
    const struct flight *x = &link->flights[a], *y = &link->flights[b];
    return x->arrives_us != y->arrives_us ? x->arrives_us < y->arrives_us : x->order < y->order;
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t kept = *a;
    *a = *b;
    *b = kept;
}

static void push(struct link *link, uint32_t flight)
{
    uint32_t at = link->heap_count++;
    link->heap[at] = flight;
    for (; at > 0 && sooner(link, link->heap[at], link->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&link->heap[at], &link->heap[(at - 1) / 2]);
}

static uint32_t pop(struct link *link)
{
    uint32_t first = link->heap[0];
    link->heap[0] = link->heap[--link->heap_count];
    for (uint32_t at = 0, child; (child = 2 * at + 1) < link->heap_count; at = child) {
        if (child + 1 < link->heap_count && sooner(link, link->heap[child + 1], link->heap[child]))
            child++;
        if (!sooner(link, link->heap[child], link->heap[at]))
            break;
        swap(&link->heap[at], &link->heap[child]);
    }
    return first;
}

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct end *end = context;
    return end->refuse || bytes > WIRE_FRAME_MAX ? NULL : end->building;
}

static void fly(struct end *end, const uint8_t *frame, uint32_t bytes, uint64_t arrives_us)
{
    struct link *link = end->link;
    if (link->unused_count == 0) {
        end->lost++;
        return;
    }
    uint32_t number = link->unused[--link->unused_count];
    struct flight *f = &link->flights[number];
    f->arrives_us = arrives_us;
    f->order = link->order++;
    f->bytes = bytes;
    f->to = !end->index;
    memcpy(f->frame, frame, bytes);
    if (link_chance(link, link->impairment.corrupt)) {
        f->frame[link_random(link) % bytes] ^= (uint8_t)(1 << link_random(link) % 8);
    }
    push(link, number);
}

static void commit(void *context, uint32_t bytes)
{
    struct end *end = context;
    struct link *link = end->link;
    const struct impairment *i = &link->impairment;
    end->sent++;
    if (end->observer != NULL)
        end->observer(end, end->building, bytes);
    uint64_t start = end->free_us > link->now_us ? end->free_us : link->now_us;
    bool full = i->frame_us > 0 && i->queue > 0 && start - link->now_us > (uint64_t)i->queue * i->frame_us;
    if (full || (end->filter != NULL && end->filter(end, end->building, bytes)) || link_chance(link, i->loss)) {
        end->lost++;
        return;
    }
    end->free_us = start + i->frame_us;
    uint64_t arrives = end->free_us + i->delay_us + (link_chance(link, i->reorder) ? i->reorder_us : 0);
    fly(end, end->building, bytes, arrives);
    if (link_chance(link, i->duplicate))
        fly(end, end->building, bytes, arrives);
}

static uint64_t tick(const struct link *link, uint64_t us) { return us * 1000 / link->tick_ns; }

void link_open(struct link *link, const struct stack_limits limits[2], const struct impairment *impairment, uint64_t seed)
{
    *link = (struct link){.impairment = *impairment, .random = seed * 2 + 1, .now_us = 1000000000, .tick_ns = limits[0].tick_ns};
    link->flights = malloc(LINK_FRAMES * sizeof *link->flights);
    link->heap = malloc(LINK_FRAMES * sizeof *link->heap);
    link->unused = malloc(LINK_FRAMES * sizeof *link->unused);
    NEED(link->flights != NULL && link->heap != NULL && link->unused != NULL);
    for (uint32_t i = 0; i < LINK_FRAMES; i++)
        link->unused[link->unused_count++] = i;
    for (uint8_t i = 0; i < 2; i++) {
        struct end *end = &link->ends[i];
        struct wire wire = {.context = end, .reserve = reserve, .commit = commit, .mtu = 1500, .mac = {2, 0, 0, 0, 0, (uint8_t)(i + 1)}};
        struct stack_address address = {.ip = 0x0a000001u + i, .netmask = 0xffffff00, .gateway = 0x0a000002u - i};
        struct stack_limits own = limits[i];
        own.key[0] = (uint8_t)(seed + 1);
        own.key[1] = i;
        end->link = link;
        end->index = i;
        end->stack = stack_open(&own, &wire, &address, tick(link, link->now_us));
        NEED(end->stack != NULL);
    }
}

void link_close(struct link *link)
{
    for (int i = 0; i < 2; i++)
        stack_close(link->ends[i].stack);
    free(link->flights);
    free(link->heap);
    free(link->unused);
}

static void advance(struct link *link, uint64_t us)
{
    if (us > link->now_us)
        link->now_us = us;
    for (int i = 0; i < 2; i++)
        stack_advance(link->ends[i].stack, tick(link, link->now_us));
}

bool link_step(struct link *link, uint64_t until_us)
{
    uint64_t timer_us = UINT64_MAX, due;
    for (int i = 0; i < 2; i++) {
        if (stack_next(link->ends[i].stack, &due)) {
            uint64_t us = (due * link->tick_ns + 999) / 1000;
            timer_us = us < timer_us ? us : timer_us;
        }
    }
    uint64_t frame_us = link->heap_count > 0 ? link->flights[link->heap[0]].arrives_us : UINT64_MAX;
    uint64_t next_us = frame_us < timer_us ? frame_us : timer_us;
    if (next_us > until_us) { /* told of it all the same: calls that follow happen then */
        advance(link, until_us);
        return false;
    }
    advance(link, next_us);
    if (frame_us <= next_us) {
        uint32_t number = pop(link);
        struct flight *f = &link->flights[number];
        uint8_t *exactly = malloc(f->bytes); /* so that the sanitizer sees a byte too far */
        NEED(exactly != NULL);
        memcpy(exactly, f->frame, f->bytes);
        if (link->ends[f->to].observer != NULL)
            link->ends[f->to].observer(&link->ends[f->to], exactly, f->bytes);
        stack_input(link->ends[f->to].stack, exactly, f->bytes, 0);
        free(exactly);
        link->unused[link->unused_count++] = number;
    }
    return true;
}

void link_run(struct link *link, uint64_t for_us)
{
    uint64_t until = link->now_us + for_us;
    while (link_step(link, until))
        ;
}
