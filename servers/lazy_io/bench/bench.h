/* bench.h: what every experiment has: its options, the engine, chance, threads beside the loop, and a time budget. */
#ifndef NAI_BENCH_H
#define NAI_BENCH_H

#include "laio.h"
#include "meters.h"
#include "quantiles.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define PAGE_BYTES 4096u
#define NO_CPU UINT64_MAX
#define COMPETITORS_AT_MOST 64
#define STATES 3 /* most that an operation has */

struct bench_options {
    const char *engine, *operation, *state, *watch, *folder, *busy;
    uint64_t bytes; /* 0 = the operation's own */
    uint64_t cpu, partner_cpu;
    uint64_t threads, tick_us;
    uint64_t in_flight, concurrency, seed, blocks, competitors;
    uint64_t file_mib, files;
    double seconds, hit_share;
    bool drop_caches, optimistic;
};

struct bench {
    struct bench_options options;
    struct laio *laio;
    char watch[16]; /* as the engine said when it was opened */
    cpu_set_t home; /* where threads run that are not pinned */
    uint64_t random;
    uint64_t begin_ns;
    uint64_t samples, errors;
    bool supported;
    char why[256];
    char wrong[256]; /* the first error */
    uint64_t pages_seen, pages_absent; /* of those that were to be touched: looked at, and not in memory */
    struct meters meters;
    FILE *out; /* the experiment's own fields of the report */
    char *fields;
    size_t fields_bytes;
};

struct experiment {
    const char *name;
    const char *what;
    void (*run)(struct bench *bench); /* opens and closes the engine */
    void (*help)(FILE *out);          /* what --operation and --state may be; NULL = the experiment has none */
    bool needs_operation;
    bool pinned; /* to CPU 0 unless --cpu says another */
};
extern const struct experiment experiment_cost, experiment_held, experiment_upcall, experiment_preempted,
    experiment_sleep, experiment_surface;

/* Opens the engine for the calling thread; what it refuses ends the program with 3. */
void bench_open(struct bench *);
void bench_close(struct bench *);

/* The completion of the operation that the last call left in progress: its result, or -1 with errno. An engine that
 * reports another one, or none for ten seconds, is broken: the program ends. */
long bench_wait(struct bench *);

/* The result of an experiment that cannot be made. Returns false. */
__attribute__((format(printf, 2, 3))) bool bench_unsupported(struct bench *, const char *format, ...);
bool bench_supports(struct bench *, long number, const char *name);
/* After a first call that was tried: has the engine refused it, though it has such a call? */
bool bench_refused(struct bench *, const char *name);

/* A result that is not what it was to be; the first one is reported. */
__attribute__((format(printf, 2, 3))) void bench_wrong(struct bench *, const char *format, ...);

/* Is there time for another sample? The budget decides, but at least `minimum` are taken, in ten times the budget or
 * two seconds. */
void bench_begins(struct bench *);
bool bench_is_patient(const struct bench *);
bool bench_goes_on(const struct bench *, uint64_t minimum);

uint64_t bench_random(struct bench *);                   /* splitmix64 */
uint64_t bench_below(struct bench *, uint64_t bound);    /* uniform in [0, bound) */
void bench_shuffle(struct bench *, uint32_t *order, size_t count);

/* A thread beside the loop, on a CPU or, with NO_CPU, wherever the process may run. Start it before bench_open(): the
 * loop may be on a thread of the library afterwards. */
void bench_thread(struct bench *, pthread_t *thread, uint64_t cpu, void *(*body)(void *argument), void *argument);
void bench_pin(struct bench *); /* the calling thread, to --cpu; a CPU that is not there: exit 2 */

void print_operation(FILE *out, const char *name, const char *const states[], const char *what); /* for the help */

/* Memory that O_DIRECT takes. */
void *bench_buffer(size_t bytes);

/* The run's report: the common fields, then what the experiment wrote to bench->out. */
void report_open(struct bench *);
void report_number(struct bench *, const char *name, double value);
void report_count(struct bench *, const char *name, uint64_t value);
void report_text(struct bench *, const char *name, const char *value);
void report_quantiles(struct bench *, const char *prefix, struct samples *); /* PREFIX_p50_ns … PREFIX_max_ns */
void report_histogram(struct bench *, const char *name, struct samples *);
void report_name(struct bench *, const char *name); /* ,"name": for a value that the caller writes */
void report_print(struct bench *, const char *experiment);

#endif
