/* cost_read.c: pread64 at random pages that are in memory, that were evicted, or past the page cache. */
#include "cost.h"

#include "arguments.h"
#include "calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define WINDOW_BYTES (UINT64_C(1) << 20) /* what is in memory is small, so that the processor's caches count alike */

static bool prepare(struct cost *cost)
{
    struct bench *bench = cost->bench;
    data_open(bench, &cost->data, false);
    cost->buffer = bench_buffer(cost->bytes);
    cost->buffers = calloc(bench->options.in_flight, sizeof *cost->buffers);
    if (cost->buffers == NULL)
        fail(1, "no memory for %llu buffers", (unsigned long long)bench->options.in_flight);
    for (uint64_t i = 0; i < bench->options.in_flight; i++)
        cost->buffers[i] = bench_buffer(cost->bytes);
    cost->file = cost_is(cost, "direct") ? cost->data.direct : cost->data.file;
    if (cost_is(cost, "direct") && cost->bytes % PAGE_BYTES != 0)
        fail(2, "--bytes: O_DIRECT needs a multiple of %u", PAGE_BYTES);
    if (cost->file < 0)
        return bench_unsupported(bench, "the file system of %s has no O_DIRECT", bench->options.folder);
    if (cost_is(cost, "cold") && !data_evictable(bench, &cost->data))
        return false;
    uint64_t window = cost->data.bytes;
    if (cost_is(cost, "cached")) {
        window = 4 * cost->bytes > WINDOW_BYTES ? 4 * cost->bytes : WINDOW_BYTES;
        data_warm(&cost->data, 0, window);
    } else {
        data_evict(&cost->data);
    }
    slots_make(bench, &cost->slots, window, cost->bytes);
    if (!cost_is(cost, "cached") && cost->slots.count < cost->block_at_most)
        cost->block_at_most = cost->slots.count;
    return true;
}

static void ready(struct cost *cost, unsigned n)
{
    struct bench *bench = cost->bench;
    /* Not the same place twice within a block, unless all of it is in memory anyway. */
    if (!cost_is(cost, "cached") && cost->slots.count - cost->slots.next < n)
        cost->slots.next = cost->slots.count;
    for (unsigned i = 0; i < n; i++)
        cost->offsets[i] = slots_next(bench, &cost->slots);
    if (cost_is(cost, "cold"))
        data_evict(&cost->data);
    for (unsigned i = 0; i < n && i < 16 && !cost_is(cost, "direct"); i++)
        data_look(bench, &cost->data, cost->offsets[i], cost->bytes);
    data_spoil(cost->buffer, cost->bytes);
    for (uint64_t i = 0; i < bench->options.in_flight; i++)
        data_spoil(cost->buffers[i], cost->bytes);
}

static bool right(struct cost *cost, unsigned n, long sum)
{
    if (cost_is(cost, "cached")) /* and it still is */
        data_look(cost->bench, &cost->data, cost->offsets[n - 1], cost->bytes);
    return sum == (long)(n * cost->bytes) && data_right(cost->buffer, cost->offsets[n - 1], cost->bytes, 0);
}

static void end(struct cost *cost)
{
    data_close(&cost->data);
    slots_free(&cost->slots);
    for (uint64_t i = 0; i < cost->bench->options.in_flight; i++)
        free(cost->buffers[i]);
    free(cost->buffers);
}

/* Several at a time: a buffer each, and whatever has ended makes room for the next. */
static long by_engine_in_flight(struct cost *cost, unsigned n)
{
    struct bench *bench = cost->bench;
    struct laio_completion done[16];
    unsigned room = (unsigned)bench->options.in_flight, begun = 0, ended = 0;
    long sum = 0;
    while (ended < n) {
        while (begun < n && room > 0) {
            unsigned char *buffer = begun + 1 == n ? cost->buffer : cost->buffers[--room];
            long got = laio_syscall(cost->laio, SYS_pread64, cost->file, buffer, cost->bytes, cost->offsets[begun]);
            begun++;
            struct laio_operation *operation = laio_gethandle(cost->laio);
            if (operation != NULL) {
                laio_set_data(operation, buffer);
                continue;
            }
            sum += got;
            ended++;
            if (buffer != cost->buffer)
                cost->buffers[room++] = buffer;
        }
        if (ended == n)
            break;
        int count = laio_poll(cost->laio, done, sizeof done / sizeof *done, 10000);
        if (count == 0 || (count < 0 && errno != EINTR))
            fail(1, "engine %s: %u reads are not complete", bench->options.engine, begun - ended);
        for (int i = 0; i < count; i++) {
            sum += done[i].result;
            ended++;
            if (done[i].data != cost->buffer)
                cost->buffers[room++] = done[i].data;
        }
    }
    return sum;
}

static long by_engine(struct cost *cost, unsigned n)
{
    if (cost->bench->options.in_flight > 1)
        return by_engine_in_flight(cost, n);
    long sum = 0;
    for (unsigned i = 0; i < n; i++) {
        long got = laio_syscall(cost->laio, SYS_pread64, cost->file, cost->buffer, cost->bytes, cost->offsets[i]);
        sum += laio_gethandle(cost->laio) == NULL ? got : bench_wait(cost->bench);
    }
    return sum;
}

static long by_plain(struct cost *cost, unsigned n)
{
    long sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += plain_syscall(SYS_pread64, cost->file, (long)cost->buffer, (long)cost->bytes, (long)cost->offsets[i], 0,
                             0);
    return sum;
}

static long by_glibc(struct cost *cost, unsigned n)
{
    long sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += pread(cost->file, cost->buffer, cost->bytes, (off_t)cost->offsets[i]);
    return sum;
}

/* Where a page went since it was warmed all are read plainly: bytes from the device then say that the run counts for
 * nothing. */
static long by_raw_nowait(struct cost *cost, unsigned n)
{
    long sum = 0;
    struct iovec whole = {.iov_base = cost->buffer, .iov_len = cost->bytes};
    for (unsigned i = 0; i < n; i++)
        sum += preadv2(cost->file, &whole, 1, (off_t)cost->offsets[i], RWF_NOWAIT);
    return sum == (long)(n * cost->bytes) || errno != EAGAIN ? sum : by_glibc(cost, n);
}

static bool asked(struct cost *cost)
{
    if (!cost_is(cost, "cached"))
        return false;
    cost->offsets[0] = 0;
    return by_raw_nowait(cost, 1) == (long)cost->bytes;
}

const struct cost_kind cost_read = {
    .name = "read",
    .what = "pread64 at a random page",
    .states = {"cached", "cold", "direct"},
    .twin = "read",
    .bytes = 4096,
    .calls = {{"pread64", SYS_pread64}},
    .prepare = prepare,
    .asked = asked,
    .ready = ready,
    .right = right,
    .end = end,
    .blocks = {by_engine, by_plain, by_glibc, by_raw_nowait},
};
