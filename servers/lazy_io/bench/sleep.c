/* sleep.c: what an open engine adds to the sleep of a loop that waits in epoll_wait.
 *
 * Two loops sleep on the same CPU as who wakes them, each on an eventfd of its own and one more descriptor. They differ
 * in one thing: the first has the engine open, and its other descriptor is laio_descriptor().
 */
#include "arguments.h"
#include "bench.h"
#include "calls.h"
#include "quantiles.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TRIPS 200 /* a block */
#define BLOCKS_AT_LEAST 10
#define WARM_UP 3
#define LOOPS 2

enum { WITH, WITHOUT };

/* What is written to a loop's eventfd: one event, or the order to do something else first. */
enum { EVENT = 1, BEGIN_METERS = 2, END_METERS = 3, QUIT = 4 };

struct loop {
    struct bench *bench;
    bool with;
    int in, out; /* eventfds: to the loop, and back */
    int other;   /* what it sleeps on besides */
    pthread_t thread;
    atomic_uint completions; /* there should be none */
};

static uint64_t receive(int file)
{
    uint64_t value = 0;
    if (read(file, &value, sizeof value) != sizeof value)
        fail(1, "reading an eventfd: %s", strerror(errno));
    return value;
}

static void send_value(int file, uint64_t value)
{
    if (write(file, &value, sizeof value) != sizeof value)
        fail(1, "writing an eventfd: %s", strerror(errno));
}

/* One turn, as a server's loop makes it. Returns what came. */
static uint64_t turn(struct loop *loop, int set)
{
    struct epoll_event events[2];
    struct laio_completion completions[8];
    uint64_t value = 0;
    int count = epoll_wait(set, events, 2, -1);
    if (count < 0 && errno != EINTR)
        fail(1, "epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == loop->in)
            value = receive(loop->in);
        else if (loop->with)
            atomic_fetch_add(&loop->completions, (unsigned)laio_poll(loop->bench->laio, completions, 8, 0));
    }
    return value;
}

static void *run_loop(void *argument)
{
    struct loop *loop = argument;
    struct bench *bench = loop->bench;
    if (loop->with)
        bench_open(bench);
    loop->other = loop->with ? laio_descriptor(bench->laio) : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int set = epoll_create1(EPOLL_CLOEXEC);
    int waited[2] = {loop->in, loop->other};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = waited[i]};
        if (epoll_ctl(set, EPOLL_CTL_ADD, waited[i], &event) != 0)
            fail(1, "epoll_ctl: %s", strerror(errno));
    }
    send_value(loop->out, 1); /* ready */
    for (uint64_t value = 0; value != QUIT;) {
        value = turn(loop, set);
        if (value == BEGIN_METERS)
            meters_begin(&bench->meters, bench->laio, bench->options.folder);
        if (value == END_METERS)
            meters_end(&bench->meters, bench->laio);
        if (value != 0)
            send_value(loop->out, 1);
    }
    close(set);
    if (loop->with)
        bench_close(bench);
    else
        close(loop->other);
    return NULL;
}

static void start(struct bench *bench, struct loop *loop, bool with)
{
    *loop = (struct loop){
        .bench = bench, .with = with, .in = eventfd(0, EFD_CLOEXEC), .out = eventfd(0, EFD_CLOEXEC)};
    if (loop->in < 0 || loop->out < 0)
        fail(1, "an eventfd: %s", strerror(errno));
    bench_thread(bench, &loop->thread, bench->options.cpu, run_loop, loop);
    receive(loop->out);
}

static void order(struct loop *loop, uint64_t value)
{
    send_value(loop->in, value);
    receive(loop->out);
}

static double run_block(struct loop *loop)
{
    uint64_t begin = now_ns();
    for (int i = 0; i < TRIPS; i++)
        order(loop, EVENT);
    return (double)(now_ns() - begin) / TRIPS;
}

static void measure(struct bench *bench, struct loop loops[LOOPS])
{
    struct samples each[LOOPS] = {0}, added = {0}, ratio = {0};
    for (int i = 0; i < WARM_UP * LOOPS; i++)
        run_block(&loops[i % LOOPS]);
    order(&loops[WITH], BEGIN_METERS);
    for (bench_begins(bench); bench_goes_on(bench, BLOCKS_AT_LEAST); bench->samples++) {
        uint32_t turns[LOOPS] = {WITH, WITHOUT};
        double ns[LOOPS];
        bench_shuffle(bench, turns, LOOPS);
        for (int i = 0; i < LOOPS; i++)
            ns[turns[i]] = run_block(&loops[turns[i]]);
        for (int i = 0; i < LOOPS; i++)
            samples_add(&each[i], ns[i]);
        samples_add(&added, ns[WITH] - ns[WITHOUT]);
        samples_add(&ratio, ns[WITH] / ns[WITHOUT]);
    }
    order(&loops[WITH], END_METERS);
    report_count(bench, "block_trips", TRIPS);
    report_number(bench, "with_ns", samples_median(&each[WITH]));
    report_number(bench, "without_ns", samples_median(&each[WITHOUT]));
    report_number(bench, "added_ns", samples_median(&added));
    report_number(bench, "added_p10_ns", samples_quantile(&added, .1));
    report_number(bench, "added_p90_ns", samples_quantile(&added, .9));
    report_number(bench, "ratio", samples_median(&ratio));
    report_number(bench, "ratio_p10", samples_quantile(&ratio, .1));
    report_number(bench, "ratio_p90", samples_quantile(&ratio, .9));
    if (atomic_load(&loops[WITH].completions) > 0)
        bench_wrong(bench, "%u completions of nothing", atomic_load(&loops[WITH].completions));
    samples_free(&each[WITH]);
    samples_free(&each[WITHOUT]);
    samples_free(&added);
    samples_free(&ratio);
}

static void run(struct bench *bench)
{
    struct loop loops[LOOPS];
    start(bench, &loops[WITH], true);
    start(bench, &loops[WITHOUT], false);
    measure(bench, loops);
    for (int i = 0; i < LOOPS; i++) {
        order(&loops[i], QUIT);
        pthread_join(loops[i].thread, NULL);
        close(loops[i].in);
        close(loops[i].out);
    }
}

const struct experiment experiment_sleep = {
    .name = "sleep",
    .what = "what an open engine adds to a loop's sleep: round trips on one CPU, with it and without",
    .run = run,
    .pinned = true,
};
