/* fuzz_mutate.h: inputs of the fuzz driver, how they are written down, and what becomes of them by chance. */
#ifndef NAI_FUZZ_MUTATE_H
#define NAI_FUZZ_MUTATE_H

#include "fuzz.h"

#include <stdbool.h>

#define INPUT_MAX 12288 /* bytes: beyond the longest request */

struct input {
    uint8_t *bytes;
    size_t size;
    bool new_edge; /* it reached one */
};

void fuzz_seed(uint64_t seed); /* all chance is drawn from it */
size_t fuzz_below(size_t n);   /* 0 if n is */

/* The next line's bytes: what stands between its quotes, \\, \" and \xNN replaced; other lines are comments. Returns how
 * many, 0 at the end of the file. */
size_t fuzz_read_line(FILE *file, uint8_t *bytes, size_t capacity);
void fuzz_write_line(FILE *file, const uint8_t *bytes, size_t size);

bool fuzz_read_words(const char *path); /* false if the file cannot be read */

/* Change an input a few times, by the other inputs and the words. Returns its size; `bytes` has room for INPUT_MAX. */
size_t fuzz_mutate(uint8_t *bytes, size_t size, const struct input *corpus, size_t inputs);

#endif
