/* fuzz.h: a fuzz target is libFuzzer's entry point and a table of texts to begin from. */
#ifndef NAI_LOAD_FUZZ_H
#define NAI_LOAD_FUZZ_H

#include <stddef.h>
#include <stdint.h>

extern const char *const fuzz_seeds[]; /* NULL-terminated; libFuzzer and AFL++ bring their own corpus and ignore it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#endif
