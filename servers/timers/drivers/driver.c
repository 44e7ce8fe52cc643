/* driver.c: a turn: what all drivers share. */
#include "driver.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

extern const struct driver_kind driver_tick_kind, driver_timerfd, driver_epoll, driver_nanosleep, driver_uring,
    driver_spin, driver_soft, driver_domain;

const struct driver_kind *const driver_kinds[] = {
    &driver_tick_kind, &driver_timerfd, &driver_epoll, &driver_nanosleep,
#ifdef DRIVERS_WITH_URING
    &driver_uring,
#endif
    &driver_spin,      &driver_soft,    &driver_domain,     NULL,
};

const struct driver_kind *driver_kind_named(const char *name)
{
    for (size_t i = 0; driver_kinds[i] != NULL; i++)
        if (strcmp(driver_kinds[i]->name, name) == 0)
            return driver_kinds[i];
    return NULL;
}

struct driver *driver_allocate(size_t bytes)
{
    return calloc(1, bytes);
}

struct driver *driver_open(const struct driver_kind *kind, const struct driver_options *options)
{
    if (options->slack_ns > 0 && prctl(PR_SET_TIMERSLACK, (unsigned long)options->slack_ns, 0, 0, 0) != 0)
        return NULL;
    struct driver *driver = kind->open(options);
    if (driver == NULL)
        return NULL;
    driver->kind = kind;
    driver->options = *options;
    if (driver->options.clock == NULL)
        driver->options.clock = monotonic_ns;
    return driver;
}

void driver_close(struct driver *driver)
{
    driver->kind->close(driver);
}

uint64_t driver_tick(const struct driver *driver, uint64_t deadline_ns)
{
    const uint64_t due_ns = round_up(deadline_ns, driver->options.align_ns);
    return round_up(due_ns, driver->options.tick_ns) / driver->options.tick_ns;
}

size_t driver_check(struct driver *driver, struct timers *timers)
{
    driver->now_ns = driver->options.clock();
    return timers_advance(timers, driver->now_ns / driver->options.tick_ns, driver->options.batch);
}

/* When a tick begins, in ns; at most 146 years after the clock's origin, so that nothing wraps around. A sleep may end
 * early. */
static uint64_t begin_of(const struct driver *driver, uint64_t tick)
{
    uint64_t ns;
    const bool beyond = __builtin_mul_overflow(tick, driver->options.tick_ns, &ns) || ns > TIMERS_FARTHEST;
    return beyond ? TIMERS_FARTHEST : ns;
}

size_t driver_turn(struct driver *driver, struct timers *timers)
{
    uint64_t tick;
    if (!timers_next(timers, &tick))
        return 0;
    /* What a full batch left over is due already, and nobody sleeps before it. */
    const bool ahead = ticks_ahead(tick, timers->now) > 0;
    const bool slept = ahead && driver->kind->sleep(driver, begin_of(driver, tick));
    const size_t expired = driver_check(driver, timers);
    driver->wakeups += slept;
    driver->empty += slept && expired == 0;
    return expired;
}

void driver_rest(struct driver *driver)
{
    if (driver->kind->rest != NULL)
        driver->kind->rest(driver);
}
