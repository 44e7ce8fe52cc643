/* chunks.h: what files are read into: a bounded number of buffers of one size, used again and again.
 *
 * One belongs to each read in progress, and one to the loop. Only those that were ever used at a time take memory: the
 * one that came back last is the next to go out.
 */
#ifndef NAI_CHUNKS_H
#define NAI_CHUNKS_H

#include "bounds.h"

#include <stdbool.h>
#include <stdlib.h>

struct chunk {
    struct chunk *next; /* while it is free */
    long got;           /* what was read into it, or minus an errno */
    char bytes[LAZY_CHUNK_BYTES];
};

struct chunks {
    struct chunk *all, *free;
    unsigned used; /* so many of all; the others' pages do not exist */
};

static inline bool chunks_start(struct chunks *chunks)
{
    *chunks = (struct chunks){.all = calloc(LAZY_OPERATIONS + 1, sizeof *chunks->all)};
    return chunks->all != NULL;
}

static inline struct chunk *chunk_take(struct chunks *chunks)
{
    struct chunk *chunk = chunks->free;
    if (chunk == NULL)
        return &chunks->all[chunks->used++];
    chunks->free = chunk->next;
    return chunk;
}

static inline void chunk_give_back(struct chunks *chunks, struct chunk *chunk)
{
    chunk->next = chunks->free;
    chunks->free = chunk;
}

static inline void chunks_stop(struct chunks *chunks)
{
    free(chunks->all);
}

#endif
