/* cost_openstat.c: openat, statx and close, as a server does for a file that it does not know yet. */
#include "cost.h"

#include "arguments.h"
#include "calls.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLAGS (O_RDONLY | O_CLOEXEC)

static bool prepare(struct cost *cost)
{
    cost->paths = calloc(BLOCK_AT_MOST, sizeof *cost->paths);
    cost->status = calloc(1, sizeof *cost->status);
    if (cost->paths == NULL || cost->status == NULL)
        fail(1, "no memory for the paths");
    bool cold = cost_is(cost, "cold");
    cost->block_at_most = cold ? 1 : 1024; /* cold: what was opened is warm until all is dropped again */
    return tree_open(cost->bench, &cost->tree, false, cold);
}

static void ready(struct cost *cost, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        cost->indexes[i] = tree_next(cost->bench, &cost->tree);
        tree_path(cost->indexes[i], cost->paths[i]);
    }
    cost->status->stx_size = 0;
}

/* A block sums up what statx returned, and failures of the others. */
static bool right(struct cost *cost, unsigned n, long sum)
{
    return sum == 0 && cost->status->stx_size == tree_file_bytes(cost->indexes[n - 1]);
}

static void end(struct cost *cost)
{
    tree_close(&cost->tree);
    free(cost->paths);
    free(cost->status);
}

static long by_engine(struct cost *cost, unsigned n)
{
    long sum = 0;
    for (unsigned i = 0; i < n; i++) {
        long file = laio_syscall(cost->laio, SYS_openat, cost->tree.root, cost->paths[i], FLAGS);
        if (laio_gethandle(cost->laio) != NULL)
            file = bench_wait(cost->bench);
        long result =
            laio_syscall(cost->laio, SYS_statx, file, "", AT_EMPTY_PATH, STATX_BASIC_STATS, cost->status);
        if (laio_gethandle(cost->laio) != NULL)
            result = bench_wait(cost->bench);
        sum += result + plain_syscall(SYS_close, file, 0, 0, 0, 0, 0);
    }
    return sum;
}

static long by_plain(struct cost *cost, unsigned n)
{
    long sum = 0;
    for (unsigned i = 0; i < n; i++) {
        long file = plain_syscall(SYS_openat, cost->tree.root, (long)cost->paths[i], FLAGS, 0, 0, 0);
        sum += plain_syscall(SYS_statx, file, (long)"", AT_EMPTY_PATH, STATX_BASIC_STATS, (long)cost->status, 0);
        sum += plain_syscall(SYS_close, file, 0, 0, 0, 0, 0);
    }
    return sum;
}

static long by_glibc(struct cost *cost, unsigned n)
{
    long sum = 0;
    for (unsigned i = 0; i < n; i++) {
        int file = openat(cost->tree.root, cost->paths[i], FLAGS);
        sum += statx(file, "", AT_EMPTY_PATH, STATX_BASIC_STATS, cost->status);
        sum += close(file);
    }
    return sum;
}

const struct cost_kind cost_openstat = {
    .name = "openstat",
    .what = "openat, statx of the open file, close (which the engine's loop calls plainly)",
    .states = {"warm", "cold"},
    .twin = "open",
    .calls = {{"openat", SYS_openat}, {"statx", SYS_statx}},
    .prepare = prepare,
    .ready = ready,
    .right = right,
    .end = end,
    .blocks = {by_engine, by_plain, by_glibc},
};
