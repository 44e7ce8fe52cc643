/* ring.h: frames from one process to another, through memory that both can write.
 *
 * One produces, one consumes. Either keeps its own index in its own memory, and reads of the ring only what the other has
 * to say: one index, the length of a frame, and whether it sleeps. Each is read once, checked, and then no more looked at:
 * what a hostile partner writes spoils what it sends or receives, and nothing else. Indices run freely through all 32 bits.
 *
 *     word      who writes, and what it says
 *     tail      producer: so many frames have been put in
 *     head      consumer: so many have been taken out
 *     sleeping  consumer: 1, ring my bell when you put in the next. Producer: 0, I shall
 *     what      producer, of each slot: bytes of its frame, and flags << 16
 *
 * A bell is rung at most once a sleep, however many frames have come. Nobody sleeps on one, since either side writes, then
 * reads what the other writes, all by sequentially consistent atomics (Dekker): the producer its tail, then sleeping; the
 * consumer sleeping, then the tail. Not both can miss.
 *
 * Words that different processes write, or that change at a different pace, lie on different cache lines. A slot's frame
 * begins where headers and the TCP payload behind them (66 bytes with timestamps) end up aligned, and slots are an odd
 * number of lines apart: the headers of all would else meet in a few sets of the cache.
 */
#ifndef NAI_SWITCH_RING_H
#define NAI_SWITCH_RING_H

#include "wire.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    RING_LEAST = 16, /* slots, a power of 2 */
    RING_MOST = 32768,
    RING_EARLY = 16, /* frames after which a producer shows what it has, before its batch is done */
    RING_FRAME_AT = 30,
    RING_SLOT_BYTES = 2112,
};

struct ring_slot {
    _Alignas(64) _Atomic uint32_t what;
    uint8_t unused[RING_FRAME_AT - sizeof(uint32_t)];
    uint8_t frame[WIRE_FRAME_MAX];
};
_Static_assert(sizeof(struct ring_slot) == RING_SLOT_BYTES && RING_SLOT_BYTES / 64 % 2 == 1, "see above");

struct ring {
    _Alignas(64) _Atomic uint32_t tail;
    _Alignas(64) _Atomic uint32_t head;
    _Alignas(64) _Atomic uint32_t sleeping;
    struct ring_slot slots[];
};

/* What two processes share: one ring, then the other. */
static inline size_t ring_bytes(uint32_t slots) { return sizeof(struct ring) + (size_t)slots * RING_SLOT_BYTES; }

struct producer {
    struct ring *ring;
    uint32_t slots, tail, head; /* the head as last seen */
    uint32_t shown, told;       /* tails that the consumer can see, and of which it would have been woken */
    bool broken;                /* the consumer's head makes no sense */
};

struct consumer {
    struct ring *ring;
    uint32_t slots, head, tail; /* the tail as last seen */
    bool broken;
};

/* Frames that can be put in, as far as needs be known: 0 only if the ring is full. */
static inline uint32_t producer_room(struct producer *p)
{
    if (p->tail - p->head == p->slots) {
        uint32_t head = atomic_load_explicit(&p->ring->head, memory_order_acquire);
        if (p->tail - head > p->slots)
            p->broken = true;
        else
            p->head = head;
    }
    return p->slots - (p->tail - p->head);
}

static inline struct ring_slot *producer_slot(const struct producer *p, uint32_t ahead)
{
    return &p->ring->slots[(p->tail + ahead) & (p->slots - 1)];
}

/* The next slot holds a frame. */
static inline void producer_commit(struct producer *p, uint32_t bytes, unsigned flags)
{
    atomic_store_explicit(&producer_slot(p, 0)->what, bytes | flags << 16, memory_order_relaxed);
    p->tail++;
    if (p->tail - p->shown >= RING_EARLY) {
        atomic_store_explicit(&p->ring->tail, p->tail, memory_order_release);
        p->shown = p->tail;
    }
}

/* Show all; true: ring the consumer's bell. */
static inline bool producer_flush(struct producer *p)
{
    if (p->told == p->tail)
        return false;
    atomic_store(&p->ring->tail, p->tail);
    p->shown = p->told = p->tail;
    return atomic_load(&p->ring->sleeping) == 1 && atomic_exchange(&p->ring->sleeping, 0) == 1;
}

/* Frames that lie ready, as far as needs be known: 0 only if there is none. */
static inline uint32_t consumer_ready(struct consumer *c)
{
    if (c->tail == c->head) {
        uint32_t tail = atomic_load_explicit(&c->ring->tail, memory_order_acquire);
        if (tail - c->head > c->slots)
            c->broken = true;
        else
            c->tail = tail;
    }
    return c->tail - c->head;
}

static inline struct ring_slot *consumer_slot(const struct consumer *c, uint32_t ahead)
{
    return &c->ring->slots[(c->head + ahead) & (c->slots - 1)];
}

static inline uint32_t slot_what(const struct ring_slot *slot)
{
    return atomic_load_explicit(&slot->what, memory_order_relaxed);
}

static inline void consumer_release(struct consumer *c, uint32_t frames)
{
    c->head += frames;
    atomic_store_explicit(&c->ring->head, c->head, memory_order_release);
}

/* True: nothing has come, and the bell will be rung when something does. False: do not sleep. */
static inline bool consumer_sleeps(struct consumer *c)
{
    if (c->tail != c->head)
        return false;
    atomic_store(&c->ring->sleeping, 1);
    return atomic_load(&c->ring->tail) == c->head || c->broken;
}

static inline void consumer_wakes(struct consumer *c)
{
    atomic_store_explicit(&c->ring->sleeping, 0, memory_order_relaxed);
}

#endif
