/* held.c: for how long a call keeps its caller, and how long it takes until it is complete. */
#include "bench.h"
#include "operations.h"
#include "quantiles.h"
#include "ring_paths.h"

#define WARM_UP 5

struct found {
    struct samples held, total, plain;
    uint64_t lazy;
    double call_cpu_ns, plain_cpu_ns; /* sums */
};

static void one_lazily(struct operation *operation, struct found *found)
{
    struct timing timing = operation_lazily(operation);
    samples_add(&found->held, (double)timing.held_ns);
    samples_add(&found->total, (double)timing.total_ns);
    found->call_cpu_ns += (double)timing.cpu_ns;
    found->lazy += timing.lazy;
}

static void one_plainly(struct operation *operation, struct found *found)
{
    struct timing timing = operation_plainly(operation);
    samples_add(&found->plain, (double)timing.held_ns);
    found->plain_cpu_ns += (double)timing.cpu_ns;
}

/* One of each by turns, and by chance which comes first: what changes with time changes for both. */
static void measure(struct bench *bench, struct operation *operation, struct found *found)
{
    bench_begins(bench);
    for (int i = 0; i < WARM_UP && bench_is_patient(bench); i++) {
        operation_lazily(operation);
        operation_plainly(operation);
    }
    bench->pages_seen = bench->pages_absent = 0;
    meters_begin(&bench->meters, bench->laio, bench->options.folder);
    for (bench_begins(bench); bench_goes_on(bench, operation->kind->minimum); bench->samples++) {
        bool plain_first = bench_random(bench) & 1;
        if (plain_first)
            one_plainly(operation, found);
        one_lazily(operation, found);
        if (!plain_first)
            one_plainly(operation, found);
    }
    meters_end(&bench->meters, bench->laio);
    found->call_cpu_ns += meters_children_ns(&bench->meters);
}

static bool tried(struct bench *bench, struct operation *operation)
{
    operation_lazily(operation);
    return !bench_refused(bench, operation->kind->call);
}

static void report(struct bench *bench, struct found *found)
{
    report_quantiles(bench, "held", &found->held);
    report_quantiles(bench, "total", &found->total);
    report_quantiles(bench, "plain", &found->plain);
    report_count(bench, "lazy", found->lazy);
    report_number(bench, "call_cpu_ns", found->call_cpu_ns / (double)bench->samples);
    report_number(bench, "plain_cpu_ns", found->plain_cpu_ns / (double)bench->samples);
    report_histogram(bench, "held_histogram", &found->held);
    report_histogram(bench, "total_histogram", &found->total);
    report_histogram(bench, "plain_histogram", &found->plain);
}

static void run(struct bench *bench)
{
    struct operation operation;
    struct found found = {0};
    bool possible = operation_open_kind(bench, &operation, bench->options.operation);
    bench_open(bench);
    if (possible && bench_supports(bench, operation.number, operation.kind->call) && tried(bench, &operation)) {
        measure(bench, &operation, &found);
        report(bench, &found);
        ring_paths_report(bench, &operation);
        if (operation.kind->all_right != NULL && !operation.kind->all_right(&operation))
            bench_wrong(bench, "what was written is not there");
    }
    bench_close(bench);
    operation_close(&operation);
    samples_free(&found.held);
    samples_free(&found.total);
    samples_free(&found.plain);
}

const struct experiment experiment_held = {
    .name = "held",
    .what = "how long each call of --operation holds its caller, and how long until it is complete",
    .run = run,
    .help = operations_help,
    .needs_operation = true,
};
