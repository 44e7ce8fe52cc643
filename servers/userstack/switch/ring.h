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
 *     cpu       consumer: that it ran on when it woke, + 1; only for the producer's speed
 *     entries   producer, of each frame in order: its bytes, flags, and the slot that it lies in
 *
 * A bell is rung at most once a sleep, however many frames have come. Nobody sleeps on one, since either side writes, then
 * reads what the other writes, all by sequentially consistent atomics (Dekker): the producer its tail, then sleeping; the
 * consumer sleeping, then the tail. Not both can miss.
 *
 * Entries go round; slots do not. The slot that was given back last is taken first: as many are in use as frames were under
 * way at a time, and those stay in the caches, however many there are. (A ring of thousands, walked through slot by slot,
 * would be fetched from memory all the time.) Which are free is the producer's own knowledge, by what it has put in.
 *
 * A slot that a consumer on another CPU has read lies in that CPU's cache, and each of its lines would have to be asked back
 * to be written again. So whoever writes for another CPU writes its frame aside, where it is hot, and moves it into the slot
 * past the caches (non-temporal stores, which ask for nothing); then a fence, and only then the tail is shown. For a
 * consumer on the same CPU the slot is written itself.
 *
 * Words that different processes write lie on different cache lines. A slot's frame begins where headers and the TCP payload
 * behind them (66 bytes with timestamps) end up aligned, and slots are an odd number of lines apart: the headers of all
 * would else meet in a few sets of the cache.
 */
#ifndef NAI_SWITCH_RING_H
#define NAI_SWITCH_RING_H

#include "wire.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#include <sched.h>
#define RING_PASSES_CACHES 1
#else
#define RING_PASSES_CACHES 0 /* no such stores: all slots are written themselves */
#endif

enum {
    RING_LEAST = 16, /* slots, a power of 2 */
    RING_MOST = 32768,
    RING_EARLY = 16, /* frames after which a producer shows what it has, before its batch is done */
    RING_FRAME_AT = 30,
    RING_SLOT_BYTES = 2112,
    RING_LINE_BYTES = 64,
    RING_AHEAD = 4, /* frames that are fetched while one is read */
};

struct ring_slot {
    _Alignas(64) uint8_t unused[RING_FRAME_AT];
    uint8_t frame[WIRE_FRAME_MAX];
};
_Static_assert(sizeof(struct ring_slot) == RING_SLOT_BYTES && RING_SLOT_BYTES / 64 % 2 == 1, "see above");

struct ring {
    _Alignas(64) _Atomic uint32_t tail;
    _Alignas(64) _Atomic uint32_t head;
    _Atomic uint32_t sleeping, cpu;
    _Alignas(64) _Atomic uint32_t entries[]; /* then the slots */
};

/* An entry: 12 bits of bytes, 4 of flags, 16 of the slot's number. */
enum { ENTRY_BYTES = 0xfff, ENTRY_FLAGS_AT = 12, ENTRY_FLAGS = 0xf, ENTRY_SLOT_AT = 16 };
_Static_assert(sizeof(((struct ring_slot *)0)->frame) <= ENTRY_BYTES, "each has room");

/* What two processes share: one ring, then the other. */
static inline size_t ring_bytes(uint32_t slots)
{
    return sizeof(struct ring) + (size_t)slots * (sizeof(uint32_t) + RING_SLOT_BYTES);
}

static inline struct ring_slot *ring_slot(struct ring *ring, uint32_t slots, uint32_t number)
{
    return (struct ring_slot *)(void *)(ring->entries + slots) + (number & (slots - 1));
}

struct producer {
    struct ring *ring;
    uint32_t slots, tail, head; /* the head as last seen */
    uint32_t shown, told;       /* tails that the consumer can see, and of which it would have been woken */
    uint32_t free_count;
    uint16_t *free, *taken; /* slots: that are free, the hottest last; of each entry, while it is put in and not taken out */
    struct ring_slot *aside; /* where frames for another CPU are written; NULL: all are written into their slots */
    bool far;                /* the consumer is on another CPU */
    bool broken;             /* the consumer's head makes no sense */
};

struct consumer {
    struct ring *ring;
    uint32_t slots, head, tail; /* the tail as last seen */
    bool broken;
};

/* Of a ring that nobody has put anything into. False: there is no memory. Several may share `aside`: it is needed from
 * producer_slot() to producer_commit(). */
static inline bool producer_open(struct producer *p, struct ring *ring, uint32_t slots, struct ring_slot *aside)
{
    *p = (struct producer){.ring = ring, .slots = slots, .free_count = slots, .aside = aside};
    p->free = malloc(2 * slots * sizeof *p->free);
    if (p->free == NULL)
        return false;
    p->taken = p->free + slots;
    for (uint32_t i = 0; i < slots; i++)
        p->free[i] = (uint16_t)(slots - 1 - i);
    return true;
}

static inline void producer_close(struct producer *p)
{
    free(p->free);
    p->free = NULL;
}

/* What has been taken out is free again; and where the consumer is. */
static inline void producer_look(struct producer *p)
{
    uint32_t head = atomic_load_explicit(&p->ring->head, memory_order_acquire);
    if (head - p->head > p->tail - p->head) {
        p->broken = true;
        return;
    }
    for (; p->head != head; p->head++)
        p->free[p->free_count++] = p->taken[p->head & (p->slots - 1)];
#if RING_PASSES_CACHES
    p->far = p->aside != NULL && atomic_load_explicit(&p->ring->cpu, memory_order_relaxed) != (uint32_t)sched_getcpu() + 1;
#endif
}

/* Frames that can be put in, as far as needs be known: 0 only if the ring is full. The consumer is asked once a batch, so
 * that what it has given back is used again, and not what it gave back long ago. */
static inline uint32_t producer_room(struct producer *p)
{
    if (p->free_count == 0 || p->tail == p->shown)
        producer_look(p);
    return p->free_count;
}

/* Where the next frame is to be written, if there is room. */
static inline struct ring_slot *producer_slot(const struct producer *p)
{
    return p->far ? p->aside : ring_slot(p->ring, p->slots, p->free[p->free_count - 1]);
}

/* Whole lines, past the caches. What lies behind the frame is nobody's business. A function of its own for profiles: it
 * copies. */
__attribute__((noinline, unused)) static void ring_move(struct ring_slot *to, struct ring_slot *from, uint32_t bytes)
{
#if RING_PASSES_CACHES
    uint8_t *source = (uint8_t *)from, *target = (uint8_t *)to;
    uint32_t end = RING_FRAME_AT + bytes, whole = (end + RING_LINE_BYTES - 1) & ~(RING_LINE_BYTES - 1u);
    memset(source + end, 0, whole - end);
    for (uint32_t i = 0; i < whole; i += sizeof(__m128i))
        _mm_stream_si128((__m128i *)(void *)(target + i), _mm_load_si128((const __m128i *)(void *)(source + i)));
#else
    memcpy(to->frame, from->frame, bytes);
#endif
}

static inline void ring_fence(void)
{
#if RING_PASSES_CACHES
    _mm_sfence(); /* no other order holds for non-temporal stores */
#endif
}

/* What was written at producer_slot() is a frame. */
static inline void producer_commit(struct producer *p, uint32_t bytes, unsigned flags)
{
    uint32_t at = p->tail & (p->slots - 1), slot = p->free[--p->free_count];
    p->taken[at] = (uint16_t)slot;
    if (p->far)
        ring_move(ring_slot(p->ring, p->slots, slot), p->aside, bytes);
    atomic_store_explicit(&p->ring->entries[at], bytes | flags << ENTRY_FLAGS_AT | slot << ENTRY_SLOT_AT,
                          memory_order_relaxed);
    p->tail++;
    if (p->tail - p->shown >= RING_EARLY) {
        ring_fence();
        atomic_store_explicit(&p->ring->tail, p->tail, memory_order_release);
        p->shown = p->tail;
    }
}

/* Show all; true: ring the consumer's bell. */
static inline bool producer_flush(struct producer *p)
{
    if (p->told == p->tail)
        return false;
    ring_fence();
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

/* One of those that lie ready, or may: its entry, which is read once, and where that says that it is. */
struct ring_frame {
    const struct ring_slot *slot;
    uint32_t bytes; /* anything up to ENTRY_BYTES */
    unsigned flags;
};

static inline struct ring_frame consumer_frame(const struct consumer *c, uint32_t ahead)
{
    uint32_t at = (c->head + ahead) & (c->slots - 1);
    uint32_t entry = atomic_load_explicit(&c->ring->entries[at], memory_order_relaxed);
    return (struct ring_frame){.slot = ring_slot(c->ring, c->slots, entry >> ENTRY_SLOT_AT),
                               .bytes = entry & ENTRY_BYTES,
                               .flags = entry >> ENTRY_FLAGS_AT & ENTRY_FLAGS};
}

/* Have a frame brought near, if it has come: its headers to the first cache, the rest to the second, which can wait for more
 * lines at a time. What another CPU has put past the caches comes from memory. */
static inline void consumer_fetch(const struct consumer *c, uint32_t ahead)
{
    if (ahead >= c->tail - c->head)
        return;
    const struct ring_frame frame = consumer_frame(c, ahead);
    const uint8_t *at = (const uint8_t *)frame.slot, *headers = at + 2 * RING_LINE_BYTES, *end = at + RING_FRAME_AT;
    end += frame.bytes < WIRE_FRAME_MAX ? frame.bytes : WIRE_FRAME_MAX;
    for (; at < headers; at += RING_LINE_BYTES)
        __builtin_prefetch(at, 0, 3);
    for (; at < end; at += RING_LINE_BYTES)
        __builtin_prefetch(at, 0, 2);
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

/* Also at the beginning. */
static inline void consumer_wakes(struct consumer *c)
{
    atomic_store_explicit(&c->ring->sleeping, 0, memory_order_relaxed);
#if RING_PASSES_CACHES
    atomic_store_explicit(&c->ring->cpu, (uint32_t)sched_getcpu() + 1, memory_order_relaxed);
#endif
}

#endif
