/* preempted.c: a loop that never blocks but loses its CPU to others: nothing may be taken for blocked. */
#include "arguments.h"
#include "bench.h"
#include "calls.h"
#include "data.h"

#include <stdatomic.h>
#include <stdlib.h>

#define WINDOW_BYTES (UINT64_C(1) << 20)
#define READ_BYTES 4096
#define CALLS_A_LOOK 64 /* at the clock */

static void *spin(void *argument)
{
    while (!atomic_load_explicit((atomic_bool *)argument, memory_order_relaxed))
        ;
    return NULL;
}

static void read_once(struct bench *bench, const struct data *data, unsigned char *buffer)
{
    uint64_t offset = bench_below(bench, WINDOW_BYTES / READ_BYTES) * READ_BYTES;
    data_spoil(buffer, READ_BYTES);
    long got = laio_syscall(bench->laio, SYS_pread64, data->file, buffer, READ_BYTES, offset);
    if (laio_gethandle(bench->laio) != NULL)
        got = bench_wait(bench);
    if (got != READ_BYTES || !data_right(buffer, offset, READ_BYTES, 0))
        bench_wrong(bench, "pread64: %ld", got);
}

static void ask_once(struct bench *bench, long parent)
{
    long got = laio_syscall(bench->laio, SYS_getppid);
    if (laio_gethandle(bench->laio) != NULL)
        got = bench_wait(bench);
    if (got != parent)
        bench_wrong(bench, "getppid: %ld", got);
}

static void measure(struct bench *bench, const struct data *data, unsigned char *buffer)
{
    bool reads = laio_supports(bench->laio, SYS_pread64), asks = laio_supports(bench->laio, SYS_getppid);
    long parent = inlined_syscall(SYS_getppid, 0, 0, 0, 0, 0, 0);
    meters_begin(&bench->meters, bench->laio, bench->options.folder);
    for (bench_begins(bench); bench_goes_on(bench, 1);) {
        for (int i = 0; i < CALLS_A_LOOK; i++) {
            if (reads)
                read_once(bench, data, buffer);
            if (asks)
                ask_once(bench, parent);
            bench->samples += reads + asks;
        }
    }
    meters_end(&bench->meters, bench->laio);
    data_look(bench, data, 0, WINDOW_BYTES);
    const struct laio_counters *before = &bench->meters.before.laio, *after = &bench->meters.after.laio;
    report_count(bench, "competitors", bench->options.competitors);
    report_count(bench, "stolen", after->paths[LAIO_PATH_upcall] - before->paths[LAIO_PATH_upcall] +
                                      after->paths[LAIO_PATH_timer] - before->paths[LAIO_PATH_timer]);
}

static void run(struct bench *bench)
{
    struct data data;
    pthread_t competitors[COMPETITORS_AT_MOST];
    atomic_bool quit = false;
    data_open(bench, &data, false);
    data_warm(&data, 0, WINDOW_BYTES);
    unsigned char *buffer = bench_buffer(READ_BYTES);
    for (uint64_t i = 0; i < bench->options.competitors; i++)
        bench_thread(bench, &competitors[i], bench->options.cpu, spin, &quit);
    bench_open(bench);
    if (laio_supports(bench->laio, SYS_getppid) || bench_supports(bench, SYS_pread64, "pread64, and no getppid"))
        measure(bench, &data, buffer);
    atomic_store(&quit, true);
    for (uint64_t i = 0; i < bench->options.competitors; i++)
        pthread_join(competitors[i], NULL);
    bench_close(bench);
    data_close(&data);
    free(buffer);
}

const struct experiment experiment_preempted = {
    .name = "preempted",
    .what = "calls that do not block (pread64, getppid) while --competitors spin on the loop's CPU",
    .run = run,
    .pinned = true,
};
