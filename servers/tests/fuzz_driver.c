/* fuzz_driver.c: a small coverage-guided driver for LLVMFuzzerTestOneInput, for any C compiler that knows
 * -fsanitize-coverage=trace-pc.
 *
 *   fuzz_TARGET [--iterations N] [--plateau N] [--seed N] [--words FILE] [--inputs FILE] [--keep FILE]
 *               [--expect-planted|--expect-crash] INPUT_FILE...
 *
 * It mutates inputs of a corpus that begins with the files, and splices in words that a blind mutation would need ages
 * to find. Without iterations it only runs the files: so a finding is tried again. The code under test is compiled with
 * -fsanitize-coverage=trace-pc, and fuzz_coverage.c is told of every basic block; an input that reaches a new edge, or one
 * much more often, joins the corpus. All is decided by the seed: a run repeats itself. The target runs in a child process,
 * whose current input lies in shared memory: after a crash the parent has it, tries it once more alone, and writes it to a
 * file.
 *
 * --plateau N ends the run when coverage has all but stopped to grow: after N iterations at the least, the last half has
 * brought at most one edge in 200. --keep FILE then writes few inputs that reach all that was found, a line each, which --inputs FILE has another
 * run begin with. --expect-planted turns the verdict round: the run must end by SIGUSR2, which only a bug planted for the
 * test of this driver raises. --expect-crash does so too: a bug was planted in the code under test itself, and the run must
 * end by it, and so must its input alone.
 */
#include "fuzz_coverage.h"
#include "fuzz_mutate.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CORPUS_MAX 8192  /* inputs */
#define FLAT 200 /* of so many edges at most one is new in the last half of a run: a plateau */
#define HANGS_S 30 /* of CPU time: so long without a sign of life is a finding too; or ten times as long asleep */

struct campaign {
    uint64_t iterations, plateau;
    const char *inputs, *keep;
    char **files;
    int file_count;
};

/* What the parent sees of the child. */
struct shared {
    uint64_t iteration, last_new_edge;
    uint32_t corpus, edges, edges_first; /* of those, what the inputs to begin with reach */
    uint32_t edges_at[64]; /* how many there were after two to the power of so many iterations */
    size_t size;
    uint8_t bytes[INPUT_MAX];
};

/* A sign of life. By CPU time, for on a busy machine others can take all of the clock's. */
static void watch(void)
{
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = HANGS_S}, NULL);
    alarm(10 * HANGS_S);
}

static void run(struct shared *shared, const uint8_t *bytes, size_t size)
{
    memcpy(shared->bytes, bytes, size);
    shared->size = size;
    coverage_begin();
    LLVMFuzzerTestOneInput(bytes, size);
}

static enum news anything_new(struct shared *shared)
{
    enum news news = coverage_news(&shared->edges);
    if (news == NEW_EDGE)
        shared->last_new_edge = shared->iteration;
    return news;
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
    const struct input *best = &corpus[fuzz_below(inputs)];
    for (size_t more = fuzz_below(4); more > 0; more--) {
        const struct input *other = &corpus[fuzz_below(inputs)];
        if (other->new_edge > best->new_edge || (other->new_edge == best->new_edge && other->size < best->size))
            best = other;
    }
    return best;
}

/* One more input to begin with: as it is. */
static void begin_with(struct shared *shared, struct input *corpus, const uint8_t *bytes, size_t size)
{
    run(shared, bytes, size);
    anything_new(shared);
    if (shared->corpus < CORPUS_MAX)
        keep(&corpus[shared->corpus++], bytes, size, true);
}

static FILE *open_or_exit(const char *path, const char *how)
{
    FILE *file = fopen(path, how);
    if (file == NULL) {
        perror(path);
        _exit(3);
    }
    return file;
}

static int by_size(const void *a, const void *b)
{
    const struct input *left = a, *right = b;
    return left->size < right->size ? -1 : left->size > right->size;
}

/* What of an input is not needed for all the new edges that it reached: larger pieces first. */
static size_t trim(struct shared *shared, uint8_t *bytes, size_t size)
{
    static uint32_t wanted[COVERAGE_EDGES];
    static uint8_t shorter[INPUT_MAX];
    uint32_t count = coverage_unseen(wanted);
    watch();
    for (size_t piece = size / 2; piece > 0; piece /= 2)
        for (size_t at = 0; at < size;) {
            size_t length = fuzz_part == NULL ? piece : 0;
            for (size_t next = at; length < piece && next < size; next = at + length)
                length += fuzz_part(bytes, size, &next);
            length = length < size - at ? length : size - at;
            memcpy(shorter, bytes, at);
            memcpy(shorter + at, bytes + at + length, size - at - length);
            run(shared, shorter, size - length);
            if (coverage_has(wanted, count))
                memcpy(bytes, shorter, size -= length);
            else
                at += length;
        }
    run(shared, bytes, size);
    return size;
}

/* Of the inputs found, few that reach all that all reach: short ones first, then those again from the last one on which
 * the others do not make up for. The first ones are in files already. */
static void distil(struct shared *shared, struct input *corpus, uint32_t first, const char *path)
{
    static const struct input *chosen[CORPUS_MAX];
    uint32_t count = 0;
    uint64_t last_new_edge = shared->last_new_edge;
    FILE *file = open_or_exit(path, "w");
    fprintf(file, "# Written by the driver: inputs that together reach what it had found.\n");
    qsort(corpus + first, shared->corpus - first, sizeof *corpus, by_size);
    for (unsigned pass = 0; pass < 2; pass++) {
        uint32_t left = pass == 0 ? shared->corpus - first : count, kept = 0;
        coverage_forget();
        shared->edges = 0;
        for (uint32_t i = 0; i < first; i++) {
            run(shared, corpus[i].bytes, corpus[i].size);
            anything_new(shared);
        }
        for (uint32_t i = 0; i < left; i++) {
            const struct input *input = pass == 0 ? &corpus[first + i] : chosen[left - 1 - i];
            size_t size = input->size;
            run(shared, input->bytes, size);
            if (pass == 1)
                size = trim(shared, input->bytes, size);
            if (anything_new(shared) != NEW_EDGE)
                continue;
            if (pass == 1)
                fuzz_write_line(file, input->bytes, size);
            else
                chosen[kept++] = input;
        }
        count = kept;
    }
    shared->last_new_edge = last_new_edge;
    fclose(file);
}

static void fuzz(struct shared *shared, const struct campaign *campaign)
{
    static struct input corpus[CORPUS_MAX];
    static uint8_t bytes[INPUT_MAX];
    begin_with(shared, corpus, bytes, 0);
    for (int i = 0; i < campaign->file_count; i++) {
        FILE *file = open_or_exit(campaign->files[i], "rb");
        begin_with(shared, corpus, bytes, fread(bytes, 1, sizeof bytes, file));
        fclose(file);
    }
    uint32_t first = shared->corpus;
    if (campaign->inputs != NULL) {
        FILE *file = open_or_exit(campaign->inputs, "r");
        for (size_t size; (size = fuzz_read_line(file, bytes, sizeof bytes)) > 0;)
            begin_with(shared, corpus, bytes, size);
        fclose(file);
    }
    shared->edges_first = shared->edges;
    for (uint64_t i = 1; i <= campaign->iterations; i++) {
        const struct input *from = choose(corpus, shared->corpus);
        shared->iteration = i;
        if (i % 64 == 0)
            watch();
        if ((i & (i - 1)) == 0) {
            unsigned half = (unsigned)__builtin_ctzll(i);
            shared->edges_at[half] = shared->edges;
            if (campaign->plateau > 0 && i >= campaign->plateau && half-- > 0 &&
                (shared->edges - shared->edges_at[half]) * FLAT <= shared->edges)
                break;
        }
        memcpy(bytes, from->bytes, from->size);
        size_t size = fuzz_mutate(bytes, from->size, corpus, shared->corpus);
        run(shared, bytes, size);
        enum news news = anything_new(shared);
        if (news != NOTHING && shared->corpus < CORPUS_MAX)
            keep(&corpus[shared->corpus++], bytes, size, news == NEW_EDGE);
    }
    watch();
    if (campaign->keep != NULL)
        distil(shared, corpus, first, campaign->keep);
    for (uint32_t i = 0; i < shared->corpus; i++)
        free(corpus[i].bytes);
}

static bool crashes(int status)
{
    return WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3);
}

/* Run in a child: the whole campaign, or, without one, the input in shared memory alone. Returns the wait status. */
static int in_child(struct shared *shared, const struct campaign *campaign)
{
    static uint8_t bytes[INPUT_MAX];
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        watch();
        if (campaign == NULL) {
            memcpy(bytes, shared->bytes, shared->size);
            LLVMFuzzerTestOneInput(bytes, shared->size);
        } else {
            fuzz(shared, campaign);
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
    struct campaign campaign = {0};
    bool expect_planted = false, expect_crash = false;
    int first = 1;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        if (strcmp(argv[first], "--expect-planted") == 0) {
            expect_planted = true;
        } else if (strcmp(argv[first], "--expect-crash") == 0) {
            expect_crash = true;
        } else if (strcmp(argv[first], "--plateau") == 0 && first + 1 < argc) {
            campaign.plateau = strtoull(argv[++first], NULL, 10);
        } else if (strcmp(argv[first], "--iterations") == 0 && first + 1 < argc) {
            campaign.iterations = strtoull(argv[++first], NULL, 10);
        } else if (strcmp(argv[first], "--seed") == 0 && first + 1 < argc) {
            fuzz_seed(strtoull(argv[++first], NULL, 10));
        } else if (strcmp(argv[first], "--inputs") == 0 && first + 1 < argc) {
            campaign.inputs = argv[++first];
        } else if (strcmp(argv[first], "--keep") == 0 && first + 1 < argc) {
            campaign.keep = argv[++first];
        } else if (strcmp(argv[first], "--words") == 0 && first + 1 < argc) {
            if (!fuzz_read_words(argv[++first])) {
                perror(argv[first]);
                return 3;
            }
        } else {
            fprintf(stderr, "usage: %s [--iterations N] [--plateau N] [--seed N] [--words FILE] "
                    "[--inputs FILE] [--keep FILE] [--expect-planted|--expect-crash] INPUT_FILE...\n", argv[0]);
            return 2;
        }
    }
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 3;
    }
    campaign.files = argv + first;
    campaign.file_count = argc - first;
    int status = in_child(shared, &campaign);
    bool planted = WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR2;
    bool crashed = crashes(status), alone = crashed && !(planted && expect_planted) && crashes(in_child(shared, NULL));
    bool good = expect_planted ? planted : expect_crash ? alone : !crashed;
    if (crashed && !good)
        report_crash(shared, alone);
    else if (crashed)
        printf("planted bug found at iteration %llu\n", (unsigned long long)shared->iteration);
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
        return 3;
    printf("%llu iterations, %u inputs kept, %u edges, the last of them at iteration %llu\n",
           (unsigned long long)shared->iteration, shared->corpus, shared->edges, (unsigned long long)shared->last_new_edge);
    printf("edges by iterations: 0: %u", shared->edges_first);
    for (unsigned i = 10; UINT64_C(1) << i <= shared->iteration; i++)
        printf(", %llu: %u", 1ull << i, shared->edges_at[i]);
    putchar('\n');
    if (shared->edges == 0)
        printf("no coverage was reported: was the target compiled with -fsanitize-coverage=trace-pc?\n");
    return good && shared->edges > 0 ? 0 : 1;
}
