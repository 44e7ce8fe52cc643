/* surface.c: where reading lazily begins to pay: a closed loop of reads, so many at a time, some of them in memory.
 *
 * The first part of the data file stays in memory, the rest is evicted: a read goes to the one or the other by chance,
 * and to no evicted place twice before all are evicted again. The lazy loop keeps --concurrency reads going: a turn
 * begins as many as may begin and then takes the completions. Beside it, slice by slice and by chance which comes
 * first, a thread without an engine makes reads of the same chances by the C library's pread, which holds it: one at a
 * time.
 *
 * A slice is timed from when every chain of reads has come round once until it has lasted long enough: so there are as
 * many reads in progress at either end. What begins and ends a slice, and the eviction after it, is not timed.
 */
#include "arguments.h"
#include "bench.h"
#include "calls.h"
#include "data.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOT_PART 8 /* of the file, one: in memory */
#define SLICE_NS 10000000
#define CHAIN_PLACES 8 /* of the cold ones, at least: half may be left, one is read before a slice is timed */
#define SLICES_AT_LEAST 5
#define READS_A_LOOK 16  /* at the clock, where reads are too short to look each time */
#define READS_A_CHECK 64 /* of the words that came; of a cold read, all are checked */
#define PLACES_LOOKED_AT 16
#define DONE_AT_ONCE 64
#define COMPLETION_MS 10000

struct chain {
    unsigned char *buffer;
    uint64_t offset;
    bool cold;
};

/* What one way of reading has done: within the timed parts, and altogether. */
struct leg {
    bool lazy;
    struct samples rates;     /* reads/s, a slice each */
    struct samples cold_held; /* ns, of the cold reads */
    uint64_t reads, ns, cpu_ns;
    uint64_t all, cold;
};

struct timed_part {
    bool open, closed;
    uint64_t reads, begin_ns, begin_cpu_ns;
};

struct surface {
    struct bench *bench;
    struct data data;
    uint64_t hot_bytes, hot_places;
    struct slots cold;
    struct chain *chains, **idle; /* of the lazy loop; the eager one needs the first alone */
    uint32_t idle_count;
    double hot_resident; /* share, the least that was seen */
    struct leg lazy, eager;
    pthread_t thread; /* of the eager loop */
    sem_t go, gone;
    bool quit;
    unsigned threads_peak;
};

/* Two draws a read, whatever they say: equal seeds give both ways the same hits and misses. False: no cold place is
 * left. */
static bool aim(struct surface *surface, struct chain *chain)
{
    struct bench *bench = surface->bench;
    chain->cold = (double)(bench_random(bench) >> 11) * 0x1p-53 >= bench->options.hit_share;
    uint64_t hot = bench_below(bench, surface->hot_places) * surface->cold.stride;
    if (chain->cold && surface->cold.next == surface->cold.count)
        return false;
    chain->offset = chain->cold ? surface->hot_bytes + slots_next(bench, &surface->cold) : hot;
    return true;
}

static void close_part(struct leg *leg, struct timed_part *part, uint64_t end_ns)
{
    if (!part->open || part->closed)
        return;
    leg->cpu_ns += cpu_ns() - part->begin_cpu_ns;
    leg->ns += end_ns - part->begin_ns;
    leg->reads += part->reads;
    samples_add(&leg->rates, (double)part->reads * 1e9 / (double)(end_ns - part->begin_ns));
    part->closed = true;
}

/* A read has ended: it is checked and counted. */
static void ended(struct surface *surface, struct leg *leg, struct timed_part *part, const struct chain *chain,
                  long got, uint64_t chains)
{
    uint64_t bytes = surface->bench->options.bytes;
    bool checked = chain->cold || leg->all % READS_A_CHECK == 0;
    if (got != (long)bytes || (checked && !data_right(chain->buffer, chain->offset, bytes, 0)))
        bench_wrong(surface->bench, "%s read at %llu: %ld", leg->lazy ? "lazy" : "eager",
                    (unsigned long long)chain->offset, got);
    leg->all++;
    leg->cold += chain->cold;
    if (part->closed)
        return;
    if (part->open) {
        part->reads++;
        if (part->reads < chains || (!chain->cold && part->reads % READS_A_LOOK != 0))
            return;
        uint64_t now = now_ns();
        if (now - part->begin_ns >= SLICE_NS)
            close_part(leg, part, now);
    } else if (++part->reads >= chains) {
        *part = (struct timed_part){.open = true, .begin_cpu_ns = cpu_ns(), .begin_ns = now_ns()};
    }
}

static void *run_eagerly(void *argument)
{
    struct surface *surface = argument;
    struct leg *leg = &surface->eager;
    struct chain *chain = surface->chains;
    size_t bytes = surface->bench->options.bytes;
    for (;;) {
        while (sem_wait(&surface->go) != 0)
            ;
        if (surface->quit)
            return NULL;
        struct timed_part part = {0};
        while (!part.closed && aim(surface, chain)) {
            uint64_t begin = chain->cold ? now_ns() : 0;
            long got = pread(surface->data.file, chain->buffer, bytes, (off_t)chain->offset);
            if (chain->cold)
                samples_add(&leg->cold_held, (double)(now_ns() - begin));
            ended(surface, leg, &part, chain, got, 1);
        }
        close_part(leg, &part, now_ns());
        sem_post(&surface->gone);
    }
}

/* As many reads as may begin when the turn does: one that is complete at once makes room for the next turn's. */
static void begin_reads(struct surface *surface, struct timed_part *part)
{
    struct bench *bench = surface->bench;
    struct leg *leg = &surface->lazy;
    for (uint32_t turn = surface->idle_count; turn > 0 && !part->closed; turn--) {
        struct chain *chain = surface->idle[surface->idle_count - 1];
        if (!aim(surface, chain)) {
            close_part(leg, part, now_ns());
            part->closed = true;
            return;
        }
        uint64_t begin = chain->cold ? now_ns() : 0;
        long got = laio_syscall(bench->laio, SYS_pread64, surface->data.file, chain->buffer, bench->options.bytes,
                                chain->offset);
        if (chain->cold)
            samples_add(&leg->cold_held, (double)(now_ns() - begin));
        struct laio_operation *operation = laio_gethandle(bench->laio);
        if (operation == NULL) {
            ended(surface, leg, part, chain, got, bench->options.concurrency);
        } else {
            laio_set_data(operation, chain);
            surface->idle_count--;
        }
    }
}

static void take_completions(struct surface *surface, struct timed_part *part)
{
    struct bench *bench = surface->bench;
    struct laio_completion done[DONE_AT_ONCE];
    bool waits = surface->idle_count == 0 || part->closed;
    int count = laio_poll(bench->laio, done, DONE_AT_ONCE, waits ? COMPLETION_MS : 0);
    if (count < 0 && errno != EINTR)
        fail(1, "engine %s: laio_poll: %s", bench->options.engine, strerror(errno));
    if (count == 0 && waits)
        fail(1, "engine %s: no completion within %d s", bench->options.engine, COMPLETION_MS / 1000);
    for (int i = 0; i < count; i++) {
        surface->idle[surface->idle_count++] = done[i].data;
        ended(surface, &surface->lazy, part, done[i].data, done[i].result, bench->options.concurrency);
    }
}

static void run_lazily(struct surface *surface)
{
    uint32_t concurrency = (uint32_t)surface->bench->options.concurrency;
    struct timed_part part = {0};
    while (!part.closed || surface->idle_count < concurrency) {
        if (!part.closed)
            begin_reads(surface, &part);
        if (surface->idle_count < concurrency)
            take_completions(surface, &part);
    }
}

static void evict_cold(struct surface *surface, uint32_t from)
{
    struct bench *bench = surface->bench;
    data_evict_from(&surface->data, surface->hot_bytes);
    for (uint32_t i = from; i < surface->cold.next && i < from + PLACES_LOOKED_AT; i++)
        data_look(bench, &surface->data, surface->hot_bytes + surface->cold.order[i] * surface->cold.stride,
                  bench->options.bytes);
    uint64_t pages, missing = data_absent(&surface->data, 0, surface->hot_bytes, &pages);
    double resident = 1 - (double)missing / (double)pages;
    if (bench->options.hit_share > 0 && resident < surface->hot_resident)
        surface->hot_resident = resident;
}

static void run_slice(struct surface *surface)
{
    struct bench *bench = surface->bench;
    bool eager_first = bench_random(bench) & 1;
    uint64_t chances = bench_random(bench);
    for (int i = 0; i < 2; i++) {
        if (surface->cold.next > surface->cold.count / 2) {
            bench_shuffle(bench, surface->cold.order, surface->cold.count);
            surface->cold.next = 0;
        }
        uint32_t from = surface->cold.next;
        bench->random = chances;
        if ((i == 0) == eager_first) {
            sem_post(&surface->go);
            while (sem_wait(&surface->gone) != 0)
                ;
        } else {
            run_lazily(surface);
            unsigned threads = meters_threads() - 1; /* without the eager loop's */
            if (threads > surface->threads_peak)
                surface->threads_peak = threads;
        }
        evict_cold(surface, from);
    }
}

static void report_leg(struct bench *bench, struct leg *leg, const char *suffix, double children_ns)
{
    char name[40];
    snprintf(name, sizeof name, "reads_per_s%s", suffix);
    report_number(bench, name, samples_median(&leg->rates));
    snprintf(name, sizeof name, "cpu_us_per_read%s", suffix);
    double own_ns = (double)leg->cpu_ns / (double)leg->reads;
    report_number(bench, name, (own_ns + children_ns / (double)leg->all) * 1e-3);
}

static void forget(struct leg *leg)
{
    samples_free(&leg->rates);
    samples_free(&leg->cold_held);
    *leg = (struct leg){.lazy = leg->lazy};
}

static void measure(struct surface *surface)
{
    struct bench *bench = surface->bench;
    struct leg *lazy = &surface->lazy, *eager = &surface->eager;
    struct samples ratio = {0};
    run_slice(surface); /* for the engine's threads, and for who evicts */
    forget(lazy);
    forget(eager);
    bench->pages_seen = bench->pages_absent = 0;
    meters_begin(&bench->meters, bench->laio, bench->options.folder);
    for (bench_begins(bench); bench_goes_on(bench, SLICES_AT_LEAST); bench->samples++)
        run_slice(surface);
    double elapsed_ns = (double)(now_ns() - bench->begin_ns);
    meters_end(&bench->meters, bench->laio);
    for (size_t i = 0; i < lazy->rates.count && i < eager->rates.count; i++)
        samples_add(&ratio, lazy->rates.values[i] / eager->rates.values[i]);

    uint64_t before = bench->meters.before.device_read_bytes, after = bench->meters.after.device_read_bytes;
    double all_bytes = (double)(lazy->all + eager->all) * (double)surface->cold.stride;
    report_number(bench, "hit_share", bench->options.hit_share);
    report_number(bench, "hit_share_got", after > before ? 1 - (double)(after - before) / all_bytes : 1);
    report_number(bench, "hot_resident", surface->hot_resident);
    report_count(bench, "concurrency", bench->options.concurrency);
    report_count(bench, "cold_reads", lazy->cold + eager->cold);
    report_leg(bench, lazy, "", meters_children_ns(&bench->meters));
    report_leg(bench, eager, "_eager", 0);
    report_number(bench, "ratio_eager", samples_median(&ratio));
    report_number(bench, "ratio_eager_p10", samples_quantile(&ratio, .1));
    report_number(bench, "ratio_eager_p90", samples_quantile(&ratio, .9));
    report_number(bench, "paused", 1 - (double)(lazy->ns + eager->ns) / elapsed_ns);
    report_count(bench, "threads_peak", surface->threads_peak);
    report_count(bench, "peak_rss_bytes", meters_peak_rss_bytes());
    report_quantiles(bench, "held", &lazy->cold_held);
    report_quantiles(bench, "plain", &eager->cold_held);
    samples_free(&ratio);
}

static bool prepare(struct surface *surface)
{
    struct bench *bench = surface->bench;
    struct bench_options *options = &bench->options;
    if (options->bytes == 0)
        options->bytes = PAGE_BYTES;
    data_open(bench, &surface->data, false);
    surface->hot_bytes = surface->data.bytes / HOT_PART;
    slots_make(bench, &surface->cold, surface->data.bytes - surface->hot_bytes, options->bytes);
    surface->cold.next = 0;
    surface->hot_places = surface->hot_bytes / surface->cold.stride;
    surface->chains = calloc(options->concurrency, sizeof *surface->chains);
    surface->idle = calloc(options->concurrency, sizeof *surface->idle);
    if (surface->chains == NULL || surface->idle == NULL)
        fail(1, "no memory for %llu reads", (unsigned long long)options->concurrency);
    for (; surface->idle_count < options->concurrency; surface->idle_count++) {
        surface->chains[surface->idle_count].buffer = bench_buffer(options->bytes);
        surface->idle[surface->idle_count] = &surface->chains[surface->idle_count];
    }
    if (surface->hot_places == 0 || surface->cold.count < CHAIN_PLACES * options->concurrency)
        return bench_unsupported(bench, "a file of %llu MiB has too few places for %llu reads of %llu bytes at a time",
                                 (unsigned long long)options->file_mib, (unsigned long long)options->concurrency,
                                 (unsigned long long)options->bytes);
    if (options->hit_share < 1 && !data_evictable(bench, &surface->data))
        return false;
    data_evict_from(&surface->data, surface->hot_bytes);
    if (options->hit_share > 0)
        data_warm(&surface->data, 0, surface->hot_bytes);
    return true;
}

static bool supported(struct bench *bench, struct surface *surface)
{
    if (!bench_supports(bench, SYS_pread64, "pread64"))
        return false;
    long got = laio_syscall(bench->laio, SYS_pread64, surface->data.file, surface->chains->buffer,
                            bench->options.bytes, 0);
    if (laio_gethandle(bench->laio) != NULL)
        got = bench_wait(bench);
    return !bench_refused(bench, "pread64") && got >= 0;
}

static void run(struct bench *bench)
{
    struct surface surface = {.bench = bench, .hot_resident = 1, .lazy.lazy = true};
    bool possible = prepare(&surface);
    sem_init(&surface.go, 0, 0);
    sem_init(&surface.gone, 0, 0);
    bench_thread(bench, &surface.thread, bench->options.cpu, run_eagerly, &surface);
    bench_open(bench);
    if (possible && supported(bench, &surface))
        measure(&surface);
    bench_close(bench);
    surface.quit = true;
    sem_post(&surface.go);
    pthread_join(surface.thread, NULL);
    for (uint64_t i = 0; i < bench->options.concurrency; i++)
        free(surface.chains[i].buffer);
    free(surface.chains);
    free(surface.idle);
    slots_free(&surface.cold);
    data_close(&surface.data);
    samples_free(&surface.lazy.rates);
    samples_free(&surface.lazy.cold_held);
    samples_free(&surface.eager.rates);
    samples_free(&surface.eager.cold_held);
    sem_destroy(&surface.go);
    sem_destroy(&surface.gone);
}

const struct experiment experiment_surface = {
    .name = "surface",
    .what = "reads by --bytes, --hit-share and --concurrency: how many a second, beside plain ones in a like loop",
    .run = run,
};
