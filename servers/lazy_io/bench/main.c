/* main.c: lazybench EXPERIMENT --engine NAME: measures the library of lazy I/O and prints one JSON object. */
#include "arguments.h"
#include "bench.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const struct experiment *const experiments[] = {
    &experiment_cost, &experiment_held, &experiment_upcall, &experiment_preempted, &experiment_sleep,
    &experiment_surface,
};
#define EXPERIMENTS (sizeof experiments / sizeof *experiments)

static void print_help(const struct argument *table, size_t count)
{
    puts("lazybench EXPERIMENT --engine NAME [option …]: measures lazy I/O, prints one JSON object on stdout\n");
    puts("experiments, and what --operation and --state may be:");
    for (size_t i = 0; i < EXPERIMENTS; i++) {
        printf("  %-10s %s\n", experiments[i]->name, experiments[i]->what);
        if (experiments[i]->help != NULL)
            experiments[i]->help(stdout);
    }
    printf("\nengines:");
    for (int i = 0; laio_engines[i] != NULL; i++)
        printf(" %s", laio_engine_name(laio_engines[i]));
    puts("\n\noptions:");
    arguments_print(table, count);
    puts("\nexit status: 0 = measured, or not supported (and why); 1 = wrong results, or the environment refuses;\n"
         "2 = a bad option; 3 = the engine refuses. A line on stderr says why.");
}

static const struct experiment *find(const char *name)
{
    for (size_t i = 0; i < EXPERIMENTS; i++)
        if (strcmp(experiments[i]->name, name) == 0)
            return experiments[i];
    fail(2, "no experiment %s (see --help)", name);
}

int main(int argc, char **argv)
{
    struct bench bench = {
        .options = {.folder = "/var/tmp/lazybench", .cpu = NO_CPU, .partner_cpu = NO_CPU, .in_flight = 1, .seed = 1,
                    .concurrency = 1, .seconds = .2, .hit_share = .9, .file_mib = 256, .files = 512, .competitors = 2,
                    .busy = "no"},
        .supported = true,
    };
    struct bench_options *options = &bench.options;
    const struct argument table[] = {
        {"engine", ARGUMENT_TEXT, &options->engine, 0, 0, "NAME", "how calls are made lazy"},
        {"operation", ARGUMENT_TEXT, &options->operation, 0, 0, "NAME", "what is called (cost, held)"},
        {"state", ARGUMENT_TEXT, &options->state, 0, 0, "NAME", "and what it finds; default: the first one listed"},
        {"bytes", ARGUMENT_INTEGER, &options->bytes, 1, 1 << 28, "N",
         "of an operation; default: 65536 for sendfile, 4096 for other files, 1 for pipes"},
        {"seconds", ARGUMENT_NUMBER, &options->seconds, .001, 3600, "S", "to measure for; default 0.2"},
        {"seed", ARGUMENT_INTEGER, &options->seed, 0, 1e18, "N", "of every order and place; default 1"},
        {"cpu", ARGUMENT_INTEGER, &options->cpu, 0, 4095, "N", "of the loop; default: any (preempted, sleep: 0)"},
        {"partner-cpu", ARGUMENT_INTEGER, &options->partner_cpu, 0, 4095, "N", "of threads beside it; default: any"},
        {"threads", ARGUMENT_INTEGER, &options->threads, 1, 4096, "N", "most helpers or standbys"},
        {"in-flight", ARGUMENT_INTEGER, &options->in_flight, 1, 512, "N", "reads at a time (cost read); default 1"},
        {"concurrency", ARGUMENT_INTEGER, &options->concurrency, 1, 512, "N", "surface: reads at a time; default 1"},
        {"hit-share", ARGUMENT_NUMBER, &options->hit_share, 0, 1, "S", "surface: of the reads, in memory; default 0.9"},
        {"watch", ARGUMENT_CHOICE, &options->watch, 0, 0, "adaptive|perf|timer",
         "activation: what notices a blocked call; unset, adaptive if perf can be had"},
        {"tick-us", ARGUMENT_INTEGER, &options->tick_us, 1, 1000000, "N", "activation, timer: its period"},
        {"optimistic", ARGUMENT_FLAG, &options->optimistic, 0, 0, "", "nowait: call plainly where it cannot ask"},
        {"busy", ARGUMENT_CHOICE, &options->busy, 0, 0, "yes|no", "upcall: a thread spins on --partner-cpu; or no"},
        {"blocks", ARGUMENT_INTEGER, &options->blocks, 1, 1e9, "N", "upcall: operations, instead of --seconds"},
        {"competitors", ARGUMENT_INTEGER, &options->competitors, 0, COMPETITORS_AT_MOST, "N",
         "preempted: threads that spin on --cpu; default 2"},
        {"folder", ARGUMENT_TEXT, &options->folder, 0, 0, "DIR",
         "of the data, which stays there for the next run; default /var/tmp/lazybench"},
        {"file-mib", ARGUMENT_INTEGER, &options->file_mib, 4, 65536, "N", "MiB of the data file; default 256"},
        {"files", ARGUMENT_INTEGER, &options->files, 2, 100000, "N", "of the tree, a folder each; default 512"},
        {"drop-caches", ARGUMENT_FLAG, &options->drop_caches, 0, 0, "",
         "cold names, by emptying the caches of the whole machine; needs root"},
    };
    const size_t count = sizeof table / sizeof *table;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(table, count);
            return 0;
        }
    }
    if (argc < 2)
        fail(2, "which experiment? (see --help)");
    const struct experiment *experiment = find(argv[1]);
    arguments_read(argc - 1, argv + 1, "", table, count); /* --help was not among them */
    if (options->engine == NULL)
        fail(2, "--engine is needed (see --help)");
    if (experiment->needs_operation && options->operation == NULL)
        fail(2, "%s: --operation is needed (see --help)", experiment->name);
    if (options->in_flight > 1 && experiment != &experiment_cost)
        fail(2, "%s: --in-flight is for cost", experiment->name);
    if (!experiment->needs_operation && (options->operation != NULL || options->state != NULL))
        fail(2, "%s: has no operations", experiment->name);
    if (experiment->pinned && options->cpu == NO_CPU)
        options->cpu = 0;
    bench.random = options->seed;
    signal(SIGPIPE, SIG_IGN);
    report_open(&bench);
    bench_pin(&bench);
    experiment->run(&bench);
    report_print(&bench, experiment->name);
    return bench.errors > 0 ? 1 : 0;
}
