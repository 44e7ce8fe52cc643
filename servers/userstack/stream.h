/* stream.h: bytes of a connection in one direction, in chunks of a pool that all share. A table of chunk numbers, a slot
 * for each chunk that the limit may need, gives any byte in O(1): for retransmission anywhere, and for data that comes
 * out of order, which is put where it will belong. An empty stream holds no chunk. */
#ifndef NAI_STACK_STREAM_H
#define NAI_STACK_STREAM_H

#include "pool.h"
#include "stack.h"

#include <stdbool.h>

struct stream {
    uint32_t *slots; /* chunk numbers; 0 = none yet */
    uint32_t slot_count;
    uint32_t limit;  /* bytes */
    uint32_t begin;  /* place of the first byte, in 0 .. slot_count × chunk */
    uint32_t length; /* bytes from there on, without gaps */
    uint32_t held;   /* chunks */
};

/* Slots for a limit: one more than it fills, since the first byte may lie anywhere in its chunk. */
static inline uint32_t stream_slots(uint32_t limit)
{
    return (limit + STACK_CHUNK_BYTES - 1) / STACK_CHUNK_BYTES + 1;
}

/* Put bytes `at` so many from the begin, without a change of length. False if the pool has no more for it: nothing is kept. The
 * caller sees to it that at + bytes <= limit. */
bool stream_place(struct stream *stream, struct pool *chunks, uint32_t at, const uint8_t *data, uint32_t bytes);
/* At the end. How many were taken: up to the limit, and to this stream's share of the pool. */
uint32_t stream_append(struct stream *stream, struct pool *chunks, const uint8_t *data, uint32_t bytes);
void stream_copy(const struct stream *stream, const struct pool *chunks, uint32_t at, uint8_t *out, uint32_t bytes);
/* The same, and their sum, as of sum_bytes(). */
uint64_t stream_copy_and_sum(const struct stream *stream, const struct pool *chunks, uint32_t at, uint8_t *out, uint32_t bytes);
/* The first ones, bytes <= length. With `last` nothing was placed beyond the end: an empty stream gives all back. */
void stream_consume(struct stream *stream, struct pool *chunks, uint32_t bytes, bool last);
void stream_clear(struct stream *stream, struct pool *chunks);                  /* all, those out of order too */

#endif
