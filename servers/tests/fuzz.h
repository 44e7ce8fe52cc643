/* fuzz.h: a fuzz target is libFuzzer's entry point: any bytes, and an abort if something is wrong.
 *
 * It is linked with our own driver (fuzz_driver.c), with libFuzzer (clang -fsanitize=fuzzer) or with AFL++. Inputs to
 * begin with lie in corpus/TARGET/, words worth trying in corpus/TARGET.dict, in the format that all three read.
 */
#ifndef NAI_FUZZ_H
#define NAI_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A target whose inputs are not lines may say of which parts they are: which one the byte at *at < size is in. *at goes to
 * its beginning, its length is returned. Our driver then takes, puts and repeats whole parts. */
size_t fuzz_part(const uint8_t *data, size_t size, size_t *at) __attribute__((weak));

_Noreturn static inline void fuzz_abort(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, condition);
    abort();
}

/* Abort also where a sanitizer is not watching, and say where. */
#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fuzz_abort(__FILE__, __LINE__, #condition);                                                                \
    } while (0)

#endif
