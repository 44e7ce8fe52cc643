/* data.h: a file whose every word says where it stands, so that a completed read can be checked. */
#ifndef NAI_BENCH_DATA_H
#define NAI_BENCH_DATA_H

#include "bench.h"

struct data {
    int file;   /* read-ahead is off: what is read is what was asked for */
    int direct; /* O_DIRECT, or -1 if the file system has none */
    uint64_t bytes;
    unsigned char *mapped; /* never touched: mincore() wants a mapping */
};

/* lazybench-data.bin, or lazybench-write.bin, which may be written to. Made once in --folder. */
void data_open(struct bench *, struct data *, bool writable);
void data_close(struct data *);

/* The word at an offset (a multiple of 8). Generation 0 is what data.bin holds; a write makes another one. */
static inline uint64_t data_word(uint64_t offset, uint64_t generation)
{
    return (offset / 8 + 1 + (generation << 40)) * UINT64_C(0x9e3779b97f4a7c15);
}
void data_fill(void *buffer, uint64_t offset, size_t bytes, uint64_t generation);
/* A sample of the words: the first, the last and some between. */
bool data_right(const void *buffer, uint64_t offset, size_t bytes, uint64_t generation);
/* Make sure that data_right() says no until something was read. */
void data_spoil(void *buffer, size_t bytes);

void data_warm(const struct data *, uint64_t offset, size_t bytes);
void data_evict(const struct data *);
void data_evict_from(const struct data *, uint64_t offset); /* to its end; a multiple of the largest folio */
/* How many of the pages of a range are not in memory. */
uint64_t data_absent(const struct data *, uint64_t offset, size_t bytes, uint64_t *pages);
/* Counts the pages of a range, and those that are not in memory, into the report's `evicted`. */
void data_look(struct bench *, const struct data *, uint64_t offset, size_t bytes);
/* Evicts, unless none of the range is in memory anyway, and looks. */
void data_chill(struct bench *, const struct data *, uint64_t offset, size_t bytes);
bool data_evictable(struct bench *, const struct data *);

/* Places in a file, each once, in random order, before any comes again. */
struct slots {
    uint32_t *order;
    uint32_t count, next;
    uint64_t stride;
};
void slots_make(struct bench *, struct slots *, uint64_t window_bytes, size_t bytes);
uint64_t slots_next(struct bench *, struct slots *);
void slots_free(struct slots *);

#endif
