/* cost_pipe.c: a read from a pipe as the LAIO paper measured it (Elmeleegy et al., USENIX 2004): its bytes are there,
 * or the same thread writes them after the call. Without lazy calls the latter is done by readiness: a read that would
 * block, the write, poll, and the read once more.
 */
#include "cost.h"

#include "arguments.h"
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)
#define BYTES_AT_MOST 65536 /* a pipe's default: what a single write is sure to leave there */
#define RESCUE_NS 50000000

enum { NOT_IN_CALL, IN_CALL, RESCUED };

static bool write_bytes(struct cost *cost, int pipe, unsigned i)
{
    return write(cost->far[pipe], cost->source + i * cost->bytes, cost->bytes) == (ssize_t)cost->bytes;
}

/* A call that holds the only thread that would write: somebody else does, and it is counted. */
static void *rescue(void *argument)
{
    struct cost *cost = argument;
    uint64_t before = UINT64_MAX;
    while (!atomic_load(&cost->quit)) {
        struct timespec pause = {.tv_nsec = RESCUE_NS};
        nanosleep(&pause, NULL);
        uint64_t begun = atomic_load(&cost->begun);
        int in_call = IN_CALL;
        if (begun == before && atomic_compare_exchange_strong(&cost->in_call, &in_call, RESCUED) &&
            !write_bytes(cost, LAZY, 0))
            fail(1, "a pipe: %s", strerror(errno));
        before = begun;
    }
    return NULL;
}

static bool prepare(struct cost *cost)
{
    if (cost->bytes > BYTES_AT_MOST)
        fail(2, "--bytes: at most %d of a pipe", BYTES_AT_MOST);
    for (int pipe = LAZY; pipe <= READY; pipe++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0)
            fail(1, "a pipe: %s", strerror(errno));
        cost->near[pipe] = ends[0];
        cost->far[pipe] = ends[1];
    }
    fcntl(cost->near[READY], F_SETFL, O_NONBLOCK);
    fcntl(cost->far[LAZY], F_SETPIPE_SZ, PIPE_BYTES); /* fails above fs.pipe-max-size: then blocks are shorter */
    unsigned fit = (unsigned)((uint64_t)fcntl(cost->far[LAZY], F_GETPIPE_SZ) / cost->bytes);
    if (fit < cost->block_at_most)
        cost->block_at_most = fit;
    cost->buffer = bench_buffer(cost->bytes);
    cost->source = bench_buffer(cost->block_at_most * cost->bytes);
    if (cost_is(cost, "absent")) {
        bench_thread(cost->bench, &cost->rescuer, NO_CPU, rescue, cost);
        cost->rescuer_started = true;
    }
    return true;
}

static void ready(struct cost *cost, unsigned n)
{
    /* The last operation's bytes are new, and are looked at. */
    data_fill(cost->source + (n - 1) * cost->bytes, 0, cost->bytes, ++cost->generation);
    memset(cost->buffer, 0, cost->bytes);
    if (cost_is(cost, "present") &&
        write(cost->far[LAZY], cost->source, n * cost->bytes) != (ssize_t)(n * cost->bytes))
        fail(1, "filling a pipe: %s", strerror(errno));
}

static bool right(struct cost *cost, unsigned n, long sum)
{
    return sum == (long)(n * cost->bytes) &&
           (cost->rescued > 0 || memcmp(cost->buffer, cost->source + (n - 1) * cost->bytes, cost->bytes) == 0);
}

static void end(struct cost *cost)
{
    atomic_store(&cost->quit, true);
    if (cost->rescuer_started)
        pthread_join(cost->rescuer, NULL);
    for (int pipe = LAZY; pipe <= READY; pipe++) {
        close(cost->near[pipe]);
        close(cost->far[pipe]);
    }
    free(cost->source);
}

static long present_by_engine(struct cost *cost, unsigned n)
{
    long sum = 0;
    for (unsigned i = 0; i < n; i++) {
        long got = laio_syscall(cost->laio, SYS_read, cost->near[LAZY], cost->buffer, cost->bytes);
        sum += laio_gethandle(cost->laio) == NULL ? got : bench_wait(cost->bench);
    }
    return sum;
}

static long present_by_plain(struct cost *cost, unsigned n)
{
    long sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += plain_syscall(SYS_read, cost->near[LAZY], (long)cost->buffer, (long)cost->bytes, 0, 0, 0);
    return sum;
}

static long present_by_glibc(struct cost *cost, unsigned n)
{
    long sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += read(cost->near[LAZY], cost->buffer, cost->bytes);
    return sum;
}

static long absent_by_engine(struct cost *cost, unsigned n)
{
    long sum = 0;
    for (unsigned i = 0; i < n; i++) {
        atomic_store_explicit(&cost->begun, cost->begun + 1, memory_order_relaxed);
        atomic_store_explicit(&cost->in_call, IN_CALL, memory_order_release);
        long got = laio_syscall(cost->laio, SYS_read, cost->near[LAZY], cost->buffer, cost->bytes);
        bool lazy = laio_gethandle(cost->laio) != NULL;
        if (atomic_exchange(&cost->in_call, NOT_IN_CALL) == RESCUED || !lazy)
            cost->rescued++;
        else
            plain_syscall(SYS_write, cost->far[LAZY], (long)(cost->source + i * cost->bytes), (long)cost->bytes, 0, 0,
                          0);
        sum += lazy ? bench_wait(cost->bench) : got;
    }
    return sum;
}

/* What the first read returns is known, so it is added and taken away: a wrong one shows in the sum. */
static long absent_by_plain(struct cost *cost, unsigned n)
{
    long sum = 0, near = cost->near[READY], far = cost->far[READY];
    struct pollfd wait = {.fd = (int)near, .events = POLLIN};
    for (unsigned i = 0; i < n; i++) {
        sum += EAGAIN + plain_syscall(SYS_read, near, (long)cost->buffer, (long)cost->bytes, 0, 0, 0);
        plain_syscall(SYS_write, far, (long)(cost->source + i * cost->bytes), (long)cost->bytes, 0, 0, 0);
#ifdef SYS_poll
        plain_syscall(SYS_poll, (long)&wait, 1, -1, 0, 0, 0);
#else
        plain_syscall(SYS_ppoll, (long)&wait, 1, 0, 0, 0, 0);
#endif
        sum += plain_syscall(SYS_read, near, (long)cost->buffer, (long)cost->bytes, 0, 0, 0);
    }
    return sum;
}

static long absent_by_glibc(struct cost *cost, unsigned n)
{
    long sum = 0;
    int near = cost->near[READY], far = cost->far[READY];
    struct pollfd wait = {.fd = near, .events = POLLIN};
    for (unsigned i = 0; i < n; i++) {
        sum += 1 + read(near, cost->buffer, cost->bytes);
        if (write(far, cost->source + i * cost->bytes, cost->bytes) < 0)
            return -1;
        poll(&wait, 1, -1);
        sum += read(near, cost->buffer, cost->bytes);
    }
    return sum;
}

static bool probe(struct cost *cost)
{
    if (!cost_is(cost, "absent"))
        return true;
    ready(cost, 1);
    long got = absent_by_engine(cost, 1);
    if (got != (long)cost->bytes)
        bench_wrong(cost->bench, "a first read of the pipe: %ld", got);
    bool held = cost->rescued > 0;
    cost->rescued = 0;
    return !held || bench_unsupported(cost->bench, "the call holds the only thread that would write what it waits for");
}

static long by_engine(struct cost *cost, unsigned n)
{
    return cost_is(cost, "absent") ? absent_by_engine(cost, n) : present_by_engine(cost, n);
}

static long by_plain(struct cost *cost, unsigned n)
{
    return cost_is(cost, "absent") ? absent_by_plain(cost, n) : present_by_plain(cost, n);
}

static long by_glibc(struct cost *cost, unsigned n)
{
    return cost_is(cost, "absent") ? absent_by_glibc(cost, n) : present_by_glibc(cost, n);
}

const struct cost_kind cost_pipe = {
    .name = "pipe",
    .what = "read; absent: the same thread writes what is read after the call",
    .states = {"present", "absent"},
    .twin = "pipe",
    .bytes = 1,
    .calls = {{"read", SYS_read}},
    .prepare = prepare,
    .probe = probe,
    .ready = ready,
    .right = right,
    .end = end,
    .blocks = {by_engine, by_plain, by_glibc},
};
