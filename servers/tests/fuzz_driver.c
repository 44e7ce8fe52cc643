/* fuzz_driver.c: a small coverage-guided driver for LLVMFuzzerTestOneInput, for any C compiler that knows
 * -fsanitize-coverage=trace-pc.
 *
 *   fuzz_TARGET [--iterations N] [--plateau N] [--seed N] [--words FILE] [--expect-planted|--expect-crash] INPUT_FILE...
 *
 * It mutates inputs of a corpus that begins with the files, and splices in words that a blind mutation would need ages
 * to find. Without iterations it only runs the files: so a finding is tried again. The code under test is compiled with
 * -fsanitize-coverage=trace-pc, so every edge calls __sanitizer_cov_trace_pc() here; an input that reaches a new edge,
 * or one much more often, joins the corpus. All is decided by the seed: a run repeats itself. The target runs in a
 * child process, whose current input lies in shared memory: after a crash the parent has it, tries it once more alone,
 * and writes it to a file. --expect-planted turns the verdict round: the run must end by SIGUSR2, which only a bug
 * planted for the test of this driver raises. --expect-crash does so too: a bug was planted in the code under test itself,
 * and the run must end by it, and so must its input alone. --plateau N ends the run when N iterations, and as many as it
 * took until then, have brought no new edge.
 */
#include "fuzz.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define INPUT_MAX 12288  /* bytes: beyond the longest request */
#define CORPUS_MAX 8192  /* inputs */
#define EDGES (1u << 13) /* hashed: cleared for every input, so not more than needed */
#define WORDS_MAX 256
#define WORD_MAX 64 /* bytes */
#define HANGS_S 30  /* so long without a sign of life is a finding too */

void __sanitizer_cov_trace_pc(void);

struct input {
    uint8_t *bytes;
    size_t size;
    bool new_edge;
};

/* What the parent sees of the child. */
struct shared {
    uint64_t iteration, last_new_edge;
    uint32_t corpus, edges;
    size_t size;
    uint8_t bytes[INPUT_MAX];
};

static uint8_t edge_hits[EDGES], edge_seen[EDGES];
static uintptr_t previous_edge;

void __sanitizer_cov_trace_pc(void)
{
    /* Relative to a function of the target, so that address randomisation does not change the run. */
    uintptr_t here = (uintptr_t)__builtin_return_address(0) - (uintptr_t)LLVMFuzzerTestOneInput;
    uint32_t edge = (uint32_t)((here ^ previous_edge >> 1) * 0x9E3779B97F4A7C15u >> 32) % EDGES;
    if (edge_hits[edge] != UINT8_MAX)
        edge_hits[edge]++;
    previous_edge = here;
}

static uint64_t random_state;

static uint64_t random_bits(void) /* splitmix64 */
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static size_t below(size_t n)
{
    return n == 0 ? 0 : (size_t)(random_bits() % n);
}

static struct word {
    uint8_t bytes[WORD_MAX];
    size_t size;
} words[WORDS_MAX];
static size_t word_count;

/* A word is what stands between the quotes of a line, \\, \" and \xNN replaced; other lines are comments. False if the
 * file cannot be read. */
static bool read_words(const char *path)
{
    char line[512];
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    while (word_count < WORDS_MAX && fgets(line, sizeof line, file) != NULL) {
        struct word *word = &words[word_count];
        const char *at = *line == '#' ? NULL : strchr(line, '"');
        for (at = at == NULL ? "" : at + 1; *at != '\0' && *at != '"' && word->size < WORD_MAX; word->size++) {
            unsigned byte = (uint8_t)*at++;
            if (byte == '\\' && *at == 'x' && sscanf(at, "x%2x", &byte) == 1)
                at += 3;
            else if (byte == '\\' && *at != '\0')
                byte = (uint8_t)*at++;
            word->bytes[word->size] = (uint8_t)byte;
        }
        word_count += word->size > 0;
    }
    fclose(file);
    return true;
}

static size_t insert(uint8_t *bytes, size_t size, size_t at, const void *what, size_t length)
{
    if (size + length > INPUT_MAX)
        return size;
    memmove(bytes + at + length, bytes + at, size - at);
    memcpy(bytes + at, what, length);
    return size + length;
}

static size_t mutate(uint8_t *bytes, size_t size, const struct input *corpus, size_t inputs)
{
    static const uint8_t telling[] = {0, 1, '\t', '\n', '\r', ' ', '%', '/', '.', ':', '?', '0', '9', 0x7f, 0x80, 0xff};
    for (size_t times = 1 + below(4); times > 0; times--) {
        size_t at = below(size + 1), length = 1 + below(size < 32 ? size + 1 : 32);
        if (below(2)) { /* half of the time at the beginning of a line */
            uint8_t *line = at < size ? memchr(bytes + at, '\n', size - at) : NULL;
            at = line != NULL ? (size_t)(line + 1 - bytes) : 0;
        }
        switch (below(9)) {
        case 0: /* a bit */
            if (at < size)
                bytes[at] ^= (uint8_t)(1u << below(8));
            break;
        case 1: /* a byte */
            if (at < size)
                bytes[at] = below(2) ? telling[below(sizeof telling)] : (uint8_t)random_bits();
            break;
        case 2:
        case 3: { /* a word in between */
            const struct word *word = &words[below(word_count)];
            size = insert(bytes, size, at, word->bytes, word->size);
            break;
        }
        case 4: { /* a word instead */
            const struct word *word = &words[below(word_count)];
            if (at + word->size <= size)
                memcpy(bytes + at, word->bytes, word->size);
            break;
        }
        case 5: /* something less */
            if (at + length <= size) {
                memmove(bytes + at, bytes + at + length, size - at - length);
                size -= length;
            }
            break;
        case 6: /* something twice, or very often */
            if (at + length <= size) {
                uint8_t copy[40];
                memcpy(copy, bytes + at, length);
                for (size_t n = below(16) ? 1 : below(400); n > 0; n--)
                    size = insert(bytes, size, at, copy, length);
            }
            break;
        case 7: { /* the end of another input */
            const struct input *other = &corpus[below(inputs)];
            size_t from = below(other->size + 1), rest = other->size - from;
            if (at + rest <= INPUT_MAX) {
                memcpy(bytes + at, other->bytes + from, rest);
                size = at + rest;
            }
            break;
        }
        default: /* cut short */
            if (below(4) == 0)
                size = at;
        }
    }
    return size;
}

/* 1, 2, 3, 4-7, 8-15, ...: how often matters only by its magnitude (as in AFL). */
static uint8_t magnitude(uint8_t hits)
{
    return (uint8_t)(1u << (hits < 4 ? hits - 1 : hits < 8 ? 3 : hits < 16 ? 4 : hits < 32 ? 5 : hits < 128 ? 6 : 7));
}

static void run(struct shared *shared, const uint8_t *bytes, size_t size)
{
    memcpy(shared->bytes, bytes, size);
    shared->size = size;
    previous_edge = 0;
    memset(edge_hits, 0, sizeof edge_hits);
    LLVMFuzzerTestOneInput(bytes, size);
}

enum news { NOTHING, MORE_OFTEN, NEW_EDGE };

static enum news anything_new(struct shared *shared)
{
    enum news found = NOTHING;
    for (size_t word = 0; word < EDGES; word += sizeof(uint64_t)) {
        uint64_t eight;
        memcpy(&eight, edge_hits + word, sizeof eight);
        for (size_t i = word; eight != 0 && i < word + sizeof eight; i++)
            if (edge_hits[i] != 0 && (edge_seen[i] & magnitude(edge_hits[i])) == 0) {
                if (edge_seen[i] == 0) {
                    shared->edges++;
                    shared->last_new_edge = shared->iteration;
                    found = NEW_EDGE;
                } else if (found == NOTHING) {
                    found = MORE_OFTEN;
                }
                edge_seen[i] |= magnitude(edge_hits[i]);
            }
    }
    return found;
}

static void keep(struct input *input, const uint8_t *bytes, size_t size, bool new_edge)
{
    input->bytes = malloc(size + 1);
    if (input->bytes == NULL)
        abort();
    memcpy(input->bytes, bytes, size);
    input->size = size;
    input->new_edge = new_edge;
}

/* Of a few, one that reached a new edge before one that only went an edge more often, and a short one before a long one:
 * it is quicker, and its bytes matter more. */
static const struct input *choose(const struct input *corpus, size_t inputs)
{
    const struct input *best = &corpus[below(inputs)];
    for (size_t more = below(4); more > 0; more--) {
        const struct input *other = &corpus[below(inputs)];
        if (other->new_edge > best->new_edge || (other->new_edge == best->new_edge && other->size < best->size))
            best = other;
    }
    return best;
}

static void fuzz(struct shared *shared, uint64_t iterations, uint64_t plateau, char **seeds, int n)
{
    static struct input corpus[CORPUS_MAX];
    static uint8_t bytes[INPUT_MAX];
    keep(&corpus[0], bytes, 0, false);
    shared->corpus = 1;
    for (int i = 0; i < n && shared->corpus < CORPUS_MAX; i++) {
        FILE *file = fopen(seeds[i], "rb");
        if (file == NULL) {
            perror(seeds[i]);
            _exit(3);
        }
        size_t size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        run(shared, bytes, size);
        anything_new(shared);
        keep(&corpus[shared->corpus++], bytes, size, true);
    }
    for (uint64_t i = 1; i <= iterations; i++) {
        if (plateau > 0 && i > plateau + 2 * shared->last_new_edge)
            break;
        const struct input *from = choose(corpus, shared->corpus);
        shared->iteration = i;
        if (i % 64 == 0)
            alarm(HANGS_S);
        memcpy(bytes, from->bytes, from->size);
        size_t size = mutate(bytes, from->size, corpus, shared->corpus);
        run(shared, bytes, size);
        enum news news = anything_new(shared);
        if (news != NOTHING && shared->corpus < CORPUS_MAX)
            keep(&corpus[shared->corpus++], bytes, size, news == NEW_EDGE);
    }
    for (uint32_t i = 0; i < shared->corpus; i++)
        free(corpus[i].bytes);
}

static bool crashes(int status)
{
    return WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3);
}

/* Run in a child: the input in shared memory alone, or the whole campaign. Returns the wait status. */
static int in_child(struct shared *shared, bool alone, uint64_t iterations, uint64_t plateau, char **seeds, int n)
{
    static uint8_t bytes[INPUT_MAX];
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(HANGS_S);
        if (alone) {
            memcpy(bytes, shared->bytes, shared->size);
            LLVMFuzzerTestOneInput(bytes, shared->size);
        } else {
            fuzz(shared, iterations, plateau, seeds, n);
        }
        exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

static void report_crash(const struct shared *shared, bool again)
{
    printf("crash at iteration %llu, input of %zu bytes, %s:\n", (unsigned long long)shared->iteration, shared->size,
           again ? "which crashes alone too" : "which does NOT crash alone");
    for (size_t i = 0; i < shared->size && i < 400; i++) {
        uint8_t c = shared->bytes[i];
        printf(c >= ' ' && c < 0x7f && c != '\\' ? "%c" : "\\x%02x", c);
    }
    putchar('\n');
    FILE *file = fopen("fuzz-crash.bin", "wb");
    if (file != NULL) {
        fwrite(shared->bytes, 1, shared->size, file);
        fclose(file);
    }
}

int main(int argc, char **argv)
{
    uint64_t iterations = 0, plateau = 0;
    bool expect_planted = false, expect_crash = false;
    int first = 1;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        if (strcmp(argv[first], "--expect-planted") == 0) {
            expect_planted = true;
        } else if (strcmp(argv[first], "--expect-crash") == 0) {
            expect_crash = true;
        } else if (strcmp(argv[first], "--plateau") == 0 && first + 1 < argc) {
            plateau = strtoull(argv[++first], NULL, 10);
        } else if (strcmp(argv[first], "--iterations") == 0 && first + 1 < argc) {
            iterations = strtoull(argv[++first], NULL, 10);
        } else if (strcmp(argv[first], "--seed") == 0 && first + 1 < argc) {
            random_state = strtoull(argv[++first], NULL, 10);
        } else if (strcmp(argv[first], "--words") == 0 && first + 1 < argc) {
            if (!read_words(argv[++first])) {
                perror(argv[first]);
                return 3;
            }
        } else {
            fprintf(stderr, "usage: %s [--iterations N] [--plateau N] [--seed N] [--words FILE] "
                    "[--expect-planted|--expect-crash] INPUT_FILE...\n", argv[0]);
            return 2;
        }
    }
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 3;
    }
    int status = in_child(shared, false, iterations, plateau, argv + first, argc - first);
    bool planted = WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR2;
    bool crashed = crashes(status), alone = crashed && !(planted && expect_planted) && crashes(in_child(shared, true, 0, 0, NULL, 0));
    bool good = expect_planted ? planted : expect_crash ? alone : !crashed;
    if (crashed && !good)
        report_crash(shared, alone);
    else if (crashed)
        printf("planted bug found at iteration %llu\n", (unsigned long long)shared->iteration);
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
        return 3;
    printf("%llu iterations, %u inputs kept, %u edges, the last of them at iteration %llu\n",
           (unsigned long long)shared->iteration, shared->corpus, shared->edges, (unsigned long long)shared->last_new_edge);
    if (shared->edges == 0)
        printf("no coverage was reported: was the target compiled with -fsanitize-coverage=trace-pc?\n");
    return good && shared->edges > 0 ? 0 : 1;
}
