/* cost.c: what an operation costs from the call until its completion is in hand.
 *
 * Operations are timed in blocks of about 100 us, one if an operation takes 20 us: two clock reads a block, and nothing
 * in it but the calls. A block by the engine, one by plain system calls and one by the C library make a turn, in an
 * order that is drawn for each; the ratios are those within a turn, which share what the machine was doing just then.
 * The engine that asks the kernel first (nowait) is compared with that question alone, too, made by the C library: no
 * engine that asks can be much cheaper.
 */
#include "cost.h"

#include "arguments.h"
#include "calls.h"
#include "operations.h"
#include "quantiles.h"
#include "ring_paths.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_NS 100000
#define ALONE_NS 20000 /* an operation that takes longer is a block */
#define TURNS_AT_LEAST 30
#define WARM_UP 5 /* turns */

static const struct cost_kind *const kinds[] = {&cost_pipe, &cost_read, &cost_openstat};
#define KINDS (sizeof kinds / sizeof *kinds)

static const struct {
    const char *name, *field;
} ways[WAYS_TO_CALL] = {
    {"engine", "call"}, {"plain call", "plain"}, {"C library", "glibc"}, {"preadv2(RWF_NOWAIT)", "raw_nowait"}};

__attribute__((noinline)) long plain_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    return inlined_syscall(number, a, b, c, d, e, f);
}

struct found {
    struct samples each[WAYS_TO_CALL], ratio[WAYS_TO_CALL]; /* of the engine to each */
    double cpu_ns[WAYS_TO_CALL]; /* sums */
};

struct block {
    double ns, cpu_ns; /* an operation */
};

static struct block run_block(struct cost *cost, int way, unsigned n)
{
    cost->kind->ready(cost, n);
    uint64_t cpu_before = cpu_ns();
    uint64_t begin = now_ns();
    long sum = cost->kind->blocks[way](cost, n);
    uint64_t end = now_ns();
    uint64_t cpu = cpu_ns() - cpu_before;
    if (!cost->kind->right(cost, n, sum))
        bench_wrong(cost->bench, "%s %s: a block of %u by the %s: sum of results %ld", cost->kind->name, cost->state, n,
                    ways[way].name, sum);
    return (struct block){.ns = (double)(end - begin) / n, .cpu_ns = (double)cpu / n};
}

/* The plain call says how long a block has to be. */
static unsigned choose_length(struct cost *cost)
{
    struct samples tried = {0};
    for (int i = 0; i < 9; i++)
        samples_add(&tried, run_block(cost, BY_PLAIN, 1).ns);
    double ns = samples_median(&tried);
    samples_free(&tried);
    unsigned in_flight = (unsigned)cost->bench->options.in_flight;
    unsigned n = ns >= ALONE_NS ? 1 : ns > 1 ? (unsigned)(BLOCK_NS / ns) : BLOCK_NS;
    if (in_flight > 1 && n < 4 * in_flight)
        n = 4 * in_flight;
    return n < 1 ? 1 : n > cost->block_at_most ? cost->block_at_most : n;
}

static void run_turn(struct cost *cost, unsigned n, struct found *found)
{
    uint32_t order[WAYS_TO_CALL] = {BY_ENGINE, BY_PLAIN, BY_GLIBC, BY_RAW_NOWAIT};
    struct block blocks[WAYS_TO_CALL];
    bench_shuffle(cost->bench, order, cost->ways);
    for (unsigned i = 0; i < cost->ways; i++)
        blocks[order[i]] = run_block(cost, (int)order[i], n);
    if (found == NULL)
        return;
    for (unsigned way = 0; way < cost->ways; way++) {
        samples_add(&found->each[way], blocks[way].ns);
        samples_add(&found->ratio[way], blocks[BY_ENGINE].ns / blocks[way].ns);
        found->cpu_ns[way] += blocks[way].cpu_ns;
    }
}

static void report_way(struct bench *bench, struct found *found, int way)
{
    char name[40];
    snprintf(name, sizeof name, "%s_ns", ways[way].field);
    report_number(bench, name, samples_median(&found->each[way]));
    snprintf(name, sizeof name, "%s_cpu_ns", ways[way].field);
    report_number(bench, name, found->cpu_ns[way] / (double)bench->samples);
    if (way == BY_ENGINE)
        return;
    static const struct {
        const char *suffix;
        double share;
    } quantiles[] = {{"", .5}, {"_p10", .1}, {"_p90", .9}};
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        snprintf(name, sizeof name, "ratio_%s%s", ways[way].field, quantiles[i].suffix);
        report_number(bench, name, samples_quantile(&found->ratio[way], quantiles[i].share));
    }
}

static void measure(struct cost *cost, struct found *found)
{
    struct bench *bench = cost->bench;
    unsigned n = choose_length(cost);
    bench_begins(bench);
    for (int i = 0; i < WARM_UP && bench_is_patient(bench); i++)
        run_turn(cost, n, NULL);
    bench->pages_seen = bench->pages_absent = 0;
    meters_begin(&bench->meters, bench->laio, bench->options.folder);
    for (bench_begins(bench); bench_goes_on(bench, TURNS_AT_LEAST); bench->samples++)
        run_turn(cost, n, found);
    meters_end(&bench->meters, bench->laio);
    found->cpu_ns[BY_ENGINE] += meters_children_ns(&bench->meters) / n;

    report_count(bench, "block_operations", n);
    report_count(bench, "in_flight", bench->options.in_flight);
    for (unsigned way = 0; way < cost->ways; way++)
        report_way(bench, found, (int)way);
    report_count(bench, "rescued", cost->rescued);
}

/* The same call as `held` makes it, one at a time. */
static void report_ring_paths(struct cost *cost)
{
    struct bench_options asked = cost->bench->options;
    struct operation twin;
    if (!ring_paths_known(cost->bench)) {
        ring_paths_report(cost->bench, NULL);
        return;
    }
    if (operation_open_kind(cost->bench, &twin, cost->kind->twin))
        ring_paths_report(cost->bench, &twin);
    operation_close(&twin);
    cost->bench->options = asked;
}

static void choose_kind(struct cost *cost)
{
    struct bench_options *options = &cost->bench->options;
    for (size_t i = 0; i < KINDS; i++)
        if (strcmp(kinds[i]->name, options->operation) == 0)
            cost->kind = kinds[i];
    if (cost->kind == NULL)
        fail(2, "cost: no operation %s (see --help)", options->operation);
    if (options->in_flight > 1 && cost->kind != &cost_read)
        fail(2, "--in-flight is for the operation read");
    for (int i = 0; i < STATES && cost->kind->states[i] != NULL; i++)
        if (options->state == NULL || strcmp(cost->kind->states[i], options->state) == 0) {
            cost->state = options->state = cost->kind->states[i];
            break;
        }
    if (cost->state == NULL)
        fail(2, "%s has no state %s (see --help)", options->operation, options->state);
    if (options->bytes == 0 || cost->kind->bytes == 0)
        options->bytes = cost->kind->bytes;
    cost->bytes = options->bytes;
}

static bool supported(struct cost *cost)
{
    for (int i = 0; i < 2 && cost->kind->calls[i].name != NULL; i++)
        if (!bench_supports(cost->bench, cost->kind->calls[i].number, cost->kind->calls[i].name))
            return false;
    if (cost->kind->probe != NULL && !cost->kind->probe(cost))
        return false;
    bool asks = strcmp(cost->bench->options.engine, "nowait") == 0;
    cost->ways = asks && cost->kind->asked != NULL && cost->kind->asked(cost) ? WAYS_TO_CALL : BY_RAW_NOWAIT;
    run_block(cost, BY_ENGINE, 1);
    return !bench_refused(cost->bench, cost->kind->calls[0].name);
}

static void run(struct bench *bench)
{
    struct cost *cost = calloc(1, sizeof *cost);
    if (cost == NULL)
        fail(1, "no memory");
    struct found found = {0};
    cost->bench = bench;
    cost->block_at_most = BLOCK_AT_MOST;
    choose_kind(cost);
    bool possible = cost->kind->prepare(cost);
    bench_open(bench);
    cost->laio = bench->laio;
    if (possible && supported(cost)) {
        measure(cost, &found);
        report_ring_paths(cost);
    }
    bench_close(bench);
    cost->kind->end(cost);
    free(cost->buffer);
    free(cost);
    for (int way = 0; way < WAYS_TO_CALL; way++) {
        samples_free(&found.each[way]);
        samples_free(&found.ratio[way]);
    }
}

static void help(FILE *out)
{
    for (size_t i = 0; i < KINDS; i++)
        print_operation(out, kinds[i]->name, kinds[i]->states, kinds[i]->what);
}

const struct experiment experiment_cost = {
    .name = "cost",
    .what = "what --operation costs, as a ratio to a plain system call and to the C library's function",
    .run = run,
    .help = help,
    .needs_operation = true,
};
