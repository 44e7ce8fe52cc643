/* fuzz_driver.c: runs a fuzz target without libFuzzer: seeded mutations of its seed texts.
 *
 *     fuzz_TARGET [RUNS [SEED]]      default 20000 runs, seed 1
 *     fuzz_TARGET FILE               one input, to reproduce a finding
 *
 * Not guided by coverage, but the same everywhere and fast. An input that brings the target down is left in the file
 * named on stderr.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "schedule.h"

#define INPUT_MAX 4096

/* Sanitizers end by abort(), so that the input is kept; without them nobody asks. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "abort_on_error=1";
}
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
    return "abort_on_error=1:print_stacktrace=1";
}

static uint8_t input[INPUT_MAX];
static size_t input_bytes;

static size_t below(struct random *r, size_t n)
{
    return n == 0 ? 0 : (size_t)(random_bits(r) % n);
}

/* Open a gap of n bytes at `at` (dropping what no longer fits), or close one. */
static void insert(size_t at, const void *bytes, size_t n)
{
    if (n > INPUT_MAX - input_bytes)
        n = INPUT_MAX - input_bytes;
    memmove(input + at + n, input + at, input_bytes - at);
    memcpy(input + at, bytes, n);
    input_bytes += n;
}

static void mutate(struct random *r, size_t seeds)
{
    static const char interesting[] = "\r\n\t :,;/.-+0159afHeE\0\x7f\x80\xff";
    uint8_t piece[64];
    size_t at = below(r, input_bytes + 1), rest = input_bytes - at;
    switch (below(r, 8)) {
    case 0: /* flip a bit */
        if (rest > 0)
            input[at] ^= (uint8_t)(1u << below(r, 8));
        break;
    case 1: /* a byte that grammars care about */
        if (rest > 0)
            input[at] = (uint8_t)interesting[below(r, sizeof interesting)];
        break;
    case 2: /* insert some of them */
        for (size_t i = 0; i < sizeof piece; i++)
            piece[i] = (uint8_t)interesting[below(r, sizeof interesting)];
        insert(at, piece, 1 + below(r, 8));
        break;
    case 3: { /* remove a piece */
        size_t n = below(r, rest + 1) % 64;
        memmove(input + at, input + at + n, rest - n);
        input_bytes -= n;
        break;
    }
    case 4: { /* repeat a piece elsewhere */
        size_t n = rest < sizeof piece ? rest : 1 + below(r, sizeof piece);
        memcpy(piece, input + at, n);
        insert(below(r, input_bytes + 1), piece, n);
        break;
    }
    case 5: /* one byte many times: long lines, long numbers */
        memset(piece, rest > 0 ? input[at] : 'x', sizeof piece);
        for (size_t i = below(r, 8); i > 0; i--)
            insert(at, piece, sizeof piece);
        break;
    case 6: { /* splice in part of another seed */
        const char *other = fuzz_seeds[below(r, seeds)];
        size_t from = below(r, strlen(other) + 1);
        insert(at, other + from, strlen(other + from));
        break;
    }
    case 7: /* cut the end off */
        input_bytes = at;
        break;
    }
}

static void keep_input(int signal_number)
{
    static const char name[] = "fuzz_finding.bin";
    FILE *file = fopen(name, "wb"); /* not async-signal-safe; the process is lost anyway */
    if (file != NULL) {
        fwrite(input, 1, input_bytes, file);
        fclose(file);
    }
    fprintf(stderr, "input of %zu bytes kept in %s\n", input_bytes, name);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void keep_input_at_exit(void)
{
    if (input_bytes != SIZE_MAX) /* exit() inside the target: a CHECK failed */
        keep_input(SIGABRT);
}

int main(int argc, char **argv)
{
    char *end = NULL;
    unsigned long long runs = argc > 1 ? strtoull(argv[1], &end, 10) : 20000;
    if (argc > 1 && *end != '\0') {
        FILE *file = fopen(argv[1], "rb");
        if (file == NULL) {
            perror(argv[1]);
            return 2;
        }
        input_bytes = fread(input, 1, sizeof input, file);
        fclose(file);
        return LLVMFuzzerTestOneInput(input, input_bytes);
    }
    signal(SIGABRT, keep_input);
    signal(SIGSEGV, keep_input);
    atexit(keep_input_at_exit);
    struct random r;
    random_seed(&r, argc > 2 ? strtoull(argv[2], NULL, 10) : 1, 0);
    size_t seeds = 0;
    while (fuzz_seeds[seeds] != NULL)
        seeds++;
    for (unsigned long long run = 0; run < runs; run++) {
        const char *seed = fuzz_seeds[below(&r, seeds)];
        input_bytes = strlen(seed) < INPUT_MAX ? strlen(seed) : INPUT_MAX;
        memcpy(input, seed, input_bytes);
        for (size_t n = below(&r, 8); n > 0; n--)
            mutate(&r, seeds);
        LLVMFuzzerTestOneInput(input, input_bytes);
    }
    input_bytes = SIZE_MAX; /* all is well */
    printf("%llu inputs\n", runs);
    return 0;
}
