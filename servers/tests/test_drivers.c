/* test_drivers.c: what driver.h promises: a turn by a clock that is not real, and every driver by the one that is. */
#include "check.h"
#include "clock.h"
#include "driver.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>

#define TIMERS 50
#define MS UINT64_C(1000000)

struct watched {
    struct timer timer;
    uint64_t deadline_ns;
    struct driver *driver;
    unsigned expired;
};

static void expire(struct timers *timers, struct timer *timer)
{
    struct watched *watched = (struct watched *)(void *)timer;
    (void)timers;
    watched->expired++;
    CHECK(watched->driver->now_ns >= watched->deadline_ns, "%s: %llu ns early", watched->driver->kind->name,
          (unsigned long long)(watched->deadline_ns - watched->driver->now_ns));
}

static void start(struct driver *driver, struct timers *timers, struct watched *watched, uint64_t deadline_ns)
{
    watched->timer.expire = expire;
    watched->driver = driver;
    watched->deadline_ns = deadline_ns;
    NEED(timers_rearm(timers, &watched->timer, driver_tick(driver, deadline_ns)));
}

static struct timers *open_timers(const char *facility)
{
    struct timers *timers = timers_open(facility, TIMERS, 0);
    NEED(timers != NULL);
    return timers;
}

/* A driver whose sleeps take no time, and end as they like: early, on time, late. */

static uint64_t virtual_ns, asked_ns, rests;

static uint64_t virtual_clock(void)
{
    return virtual_ns;
}

static struct driver *open_virtual(const struct driver_options *options)
{
    (void)options;
    return driver_allocate(sizeof(struct driver));
}

static void close_virtual(struct driver *driver)
{
    free(driver);
}

static bool sleep_virtually(struct driver *driver, uint64_t until_ns)
{
    CHECK(until_ns > driver->now_ns, "asked to sleep until now");
    asked_ns = until_ns;
    switch (driver->wakeups % 4) {
    case 0: /* a signal */
        virtual_ns += (until_ns - virtual_ns) / 2;
        break;
    case 1:
        virtual_ns = until_ns - 1;
        break;
    case 2:
        virtual_ns = until_ns;
        break;
    default:
        virtual_ns = until_ns + 3 * MS;
    }
    return true;
}

static void rest_virtually(struct driver *driver)
{
    (void)driver;
    rests++;
}

static const struct driver_kind virtual_kind = {
    .name = "virtual",
    .open = open_virtual,
    .close = close_virtual,
    .sleep = sleep_virtually,
    .rest = rest_virtually,
};

static void test_turns(const char *facility)
{
    const struct driver_options options = {.tick_ns = 1000, .batch = 3, .clock = virtual_clock};
    struct watched some[TIMERS] = {0};
    virtual_ns = 1000 * MS + 1;
    struct driver *driver = driver_open(&virtual_kind, &options);
    NEED(driver != NULL);
    struct timers *timers = open_timers(facility);
    driver_check(driver, timers);
    CHECK(driver_turn(driver, timers) == 0 && driver->wakeups == 0, "nothing is pending: no sleep");
    for (unsigned i = 0; i < TIMERS; i++)
        start(driver, timers, &some[i], virtual_ns + 1 + i / 10 * 7 * MS + i % 3);
    unsigned turns = 0;
    size_t expired = 0;
    for (; timers->count > 0 && turns < 1000; turns++) {
        const size_t now = driver_turn(driver, timers);
        CHECK(now <= options.batch, "no more than a batch");
        expired += now;
    }
    CHECK(expired == TIMERS, "%zu of %u expired", expired, TIMERS);
    for (unsigned i = 0; i < TIMERS; i++)
        CHECK(some[i].expired == 1, "%u expired %u times", i, some[i].expired);
    CHECK(driver->wakeups < turns, "what a batch leaves over needs no sleep");
    CHECK(driver->empty > 0 && driver->empty < driver->wakeups, "%llu of %llu sleeps ended for nothing",
          (unsigned long long)driver->empty, (unsigned long long)driver->wakeups);
    driver_rest(driver);
    CHECK(rests > 0, "it rests");
    timers_close(timers);
    driver_close(driver);
}

/* A deadline that timers.h allows, and that no clock in ns comes to. */
static void test_farthest(void)
{
    const struct driver_options options = {.tick_ns = 1000, .batch = 3, .clock = virtual_clock};
    struct timer timer = {0};
    virtual_ns = MS;
    struct driver *driver = driver_open(&virtual_kind, &options);
    NEED(driver != NULL);
    struct timers *timers = open_timers("heap");
    driver_check(driver, timers);
    NEED(timers_start(timers, &timer, TIMERS_FARTHEST - 1));
    CHECK(driver_turn(driver, timers) == 0 && asked_ns == TIMERS_FARTHEST, "asked to sleep until %llu",
          (unsigned long long)asked_ns);
    timers_close(timers);
    driver_close(driver);
}

static void test_aligned(void)
{
    const struct driver_options options = {.tick_ns = 1000, .align_ns = 10 * MS, .batch = 100, .clock = virtual_clock};
    struct watched some[3] = {0};
    virtual_ns = 999 * MS;
    struct driver *driver = driver_open(&virtual_kind, &options);
    NEED(driver != NULL);
    struct timers *timers = open_timers("heap");
    driver_check(driver, timers);
    start(driver, timers, &some[0], 1001 * MS);
    start(driver, timers, &some[1], 1010 * MS);
    start(driver, timers, &some[2], 1010 * MS + 1);
    while (timers->count > 1)
        driver_turn(driver, timers);
    CHECK(asked_ns == 1010 * MS, "two share a wake-up, at %llu", (unsigned long long)asked_ns);
    while (timers->count > 0)
        driver_turn(driver, timers);
    CHECK(asked_ns == 1020 * MS, "the third is on the grid, too");
    timers_close(timers);
    driver_close(driver);
}

/* The real ones */

static struct driver *open_real(const struct driver_kind *kind)
{
    const struct driver_options options = {
        .tick_ns = 1000, .batch = 100, .period_ns = MS, .phase_ns = MS / 3, .slack_ns = 1};
    struct driver *driver = driver_open(kind, &options);
    if (driver == NULL && strcmp(kind->name, "uring") == 0)
        fprintf(stderr, "uring: %s: not tested\n", strerror(errno));
    else
        NEED(driver != NULL);
    return driver;
}

static void test_delivers(const struct driver_kind *kind)
{
    struct watched some[TIMERS] = {0};
    struct driver *driver = open_real(kind);
    if (driver == NULL)
        return;
    struct timers *timers = open_timers("heap");
    driver_check(driver, timers);
    CHECK(prctl(PR_GET_TIMERSLACK) == 1, "the slack that was asked for");
    for (int round = 0; round < 2; round++) { /* twice: after a rest it ticks again */
        for (unsigned i = 0; i < TIMERS; i++)
            start(driver, timers, &some[i], monotonic_ns() + i * MS / 2 + i * 1234);
        while (timers->count > 0)
            driver_turn(driver, timers);
        for (unsigned i = 0; i < TIMERS; i++)
            CHECK(some[i].expired == (unsigned)round + 1, "%s: %u expired %u times", kind->name, i, some[i].expired);
        driver_rest(driver);
    }
    /* At trigger points nobody sleeps. */
    const uint64_t wakeups = driver->wakeups;
    start(driver, timers, &some[0], monotonic_ns() + MS);
    while (timers->count > 0)
        driver_check(driver, timers);
    CHECK(driver->wakeups == wakeups && some[0].expired == 3, "%s: by trigger points", kind->name);
    timers_close(timers);
    driver_close(driver);
}

static void nothing(int signal)
{
    (void)signal;
}

/* A sleep that a signal ends leaves the timerfd armed; a later deadline does not change that, an earlier one does. */
static void test_timerfd_is_lazy(void)
{
    struct watched one = {0};
    struct driver *driver = open_real(driver_kind_named("timerfd"));
    struct timers *timers = open_timers("heap");
    const struct sigaction interrupt = {.sa_handler = nothing};
    sigaction(SIGALRM, &interrupt, NULL);
    driver_check(driver, timers);
    /* Every 5 ms: one that comes before the sleep is not the last. */
    const struct itimerval often = {{0, 5000}, {0, 5000}}, never = {0};
    setitimer(ITIMER_REAL, &often, NULL);
    start(driver, timers, &one, monotonic_ns() + 10000 * MS);
    CHECK(driver_turn(driver, timers) == 0 && driver->armings == 1, "a signal ends a sleep");
    start(driver, timers, &one, monotonic_ns() + 20000 * MS);
    CHECK(driver_turn(driver, timers) == 0 && driver->armings == 1, "later: nobody tells the kernel");
    start(driver, timers, &one, monotonic_ns() + 20 * MS);
    while (timers->count > 0)
        driver_turn(driver, timers);
    CHECK(driver->armings == 2 && one.expired == 1, "earlier: armed %llu times", (unsigned long long)driver->armings);
    setitimer(ITIMER_REAL, &never, NULL);
    timers_close(timers);
    driver_close(driver);
}

int main(void)
{
    CHECK(driver_kind_named("sundial") == NULL, "no such driver");
    for (size_t i = 0; timer_facilities[i] != NULL; i++)
        test_turns(timer_facilities[i]->name);
    test_farthest();
    test_aligned();
    for (size_t i = 0; driver_kinds[i] != NULL; i++)
        test_delivers(driver_kinds[i]);
    test_timerfd_is_lazy();
    return checks_failed > 0;
}
