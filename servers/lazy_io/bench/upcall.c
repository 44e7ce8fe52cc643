/* upcall.c: from a call that blocks until the loop has gone on without it. */
#include "arguments.h"
#include "bench.h"
#include "calls.h"
#include "partner.h"
#include "quantiles.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define AT_LATEST_NS 1000000000 /* a loop that has not gone on by then will not */
#define BLOCKS_AT_LEAST 100
#define WARM_UP 5

struct pipes {
    int near, far;
    unsigned char sent;
};

static void write_byte(void *argument)
{
    struct pipes *pipes = argument;
    if (write(pipes->far, &pipes->sent, 1) != 1)
        fail(1, "a pipe: %s", strerror(errno));
}

static void *spin(void *argument)
{
    while (!atomic_load_explicit((atomic_bool *)argument, memory_order_relaxed))
        ;
    return NULL;
}

/* The byte comes only after the loop has said that it has a handle, so what is timed is no call that returned. */
static uint64_t block_once(struct bench *bench, struct pipes *pipes, struct partner *partner, uint64_t *lazy)
{
    unsigned char got = (unsigned char)~++pipes->sent;
    partner_arm(partner);
    uint64_t begin = now_ns();
    long result = laio_syscall(bench->laio, SYS_read, pipes->near, &got, 1);
    uint64_t held_ns = now_ns() - begin;
    if (laio_gethandle(bench->laio) != NULL) {
        partner_tell(partner);
        result = bench_wait(bench);
        ++*lazy;
    } else {
        partner_disarm(partner);
    }
    if (result != 1 || got != pipes->sent)
        bench_wrong(bench, "read of a pipe: %ld: %s", result, result < 0 ? strerror(errno) : "not the byte");
    return held_ns;
}

static uint64_t stolen(const struct laio_counters *counters)
{
    return counters->paths[LAIO_PATH_upcall] + counters->paths[LAIO_PATH_timer];
}

static void measure(struct bench *bench, struct pipes *pipes, struct partner *partner)
{
    struct samples resumed = {0};
    uint64_t lazy = 0, blocks = bench->options.blocks;
    bench_begins(bench);
    for (int i = 0; i < WARM_UP && bench_is_patient(bench); i++)
        block_once(bench, pipes, partner, &lazy);
    lazy = 0;
    uint64_t late_before = atomic_load(&partner->late);
    meters_begin(&bench->meters, bench->laio, bench->options.folder);
    for (bench_begins(bench); blocks > 0 ? bench->samples < blocks : bench_goes_on(bench, BLOCKS_AT_LEAST);
         bench->samples++)
        samples_add(&resumed, (double)block_once(bench, pipes, partner, &lazy));
    meters_end(&bench->meters, bench->laio);
    report_text(bench, "busy", bench->options.busy);
    report_count(bench, "blocks", bench->samples);
    report_count(bench, "lazy", lazy);
    report_count(bench, "missed", atomic_load(&partner->late) - late_before);
    report_count(bench, "stolen", stolen(&bench->meters.after.laio) - stolen(&bench->meters.before.laio));
    report_quantiles(bench, "resumed", &resumed);
    report_histogram(bench, "resumed_histogram", &resumed);
    samples_free(&resumed);
}

static void run(struct bench *bench)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        fail(1, "a pipe: %s", strerror(errno));
    struct pipes pipes = {.near = ends[0], .far = ends[1]};
    struct partner partner;
    atomic_bool quit = false;
    pthread_t spinner;
    bool busy = strcmp(bench->options.busy, "yes") == 0;
    partner_start(bench, &partner, write_byte, &pipes, 0, AT_LATEST_NS);
    if (busy)
        bench_thread(bench, &spinner, bench->options.partner_cpu, spin, &quit);
    bench_open(bench);
    if (bench_supports(bench, SYS_read, "read"))
        measure(bench, &pipes, &partner);
    bench_close(bench);
    partner_stop(&partner);
    atomic_store(&quit, true);
    if (busy)
        pthread_join(spinner, NULL);
    close(pipes.near);
    close(pipes.far);
}

const struct experiment experiment_upcall = {
    .name = "upcall",
    .what = "how long a loop is held by a call that blocks: a read of a pipe that is written once the loop has gone on",
    .run = run,
};
