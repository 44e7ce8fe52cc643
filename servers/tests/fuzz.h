/* fuzz.h: a fuzz target is libFuzzer's entry point: any bytes, and an abort if something is wrong.
 *
 * It is linked with our own driver (fuzz_driver.c), with libFuzzer (clang -fsanitize=fuzzer) or with AFL++. Inputs to
 * begin with lie in corpus/TARGET/, words worth trying in corpus/TARGET.dict, in the format that all three read.
 */
#ifndef NAI_FUZZ_H
#define NAI_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Abort also where a sanitizer is not watching. */
#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

#endif
