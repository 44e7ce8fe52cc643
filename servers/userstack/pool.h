/* pool.h: blocks of one size, all made at the start; taken and given back in O(1). Blocks are named by numbers from 1, so
 * that a zeroed table names none. */
#ifndef NAI_POOL_H
#define NAI_POOL_H

#include "poison.h"

#include <stdbool.h>
#include <stdint.h>

struct pool {
    uint8_t *blocks;
    uint32_t *next;         /* of a free block: the next one */
    uint32_t free;          /* the first free one, 0 = none */
    uint32_t touched;       /* blocks beyond were never taken: their memory is not even mapped yet */
    uint32_t block_bytes, count, used;
};

/* Whether somebody who holds so many may have one more: no more than are still free. So one that takes all it can get
 * has half of them, n have n/(n+1), and whoever comes then still finds some: dynamic thresholds (Choudhury, Hahne 1998). */
static inline bool pool_has_share(const struct pool *pool, uint32_t held) { return held < pool->count - pool->used; }

static inline void pool_init(struct pool *pool, uint8_t *blocks, uint32_t *next, uint32_t block_bytes, uint32_t count)
{
    *pool = (struct pool){.blocks = blocks, .next = next, .block_bytes = block_bytes, .count = count};
}

/* 0 if none is left. */
static inline uint32_t pool_take(struct pool *pool)
{
    uint32_t block = pool->free;
    if (block != 0)
        pool->free = pool->next[block - 1];
    else if (pool->touched < pool->count)
        block = ++pool->touched;
    else
        return 0;
    UNPOISON(pool->blocks + (uint64_t)(block - 1) * pool->block_bytes, pool->block_bytes);
    pool->used++;
    return block;
}

static inline void pool_give(struct pool *pool, uint32_t block)
{
    pool->next[block - 1] = pool->free;
    pool->free = block;
    POISON(pool->blocks + (uint64_t)(block - 1) * pool->block_bytes, pool->block_bytes);
    pool->used--;
}

static inline uint8_t *pool_block(const struct pool *pool, uint32_t block)
{
    return pool->blocks + (uint64_t)(block - 1) * pool->block_bytes;
}

#endif
