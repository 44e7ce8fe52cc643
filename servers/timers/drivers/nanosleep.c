/* nanosleep.c: clock_nanosleep() until an absolute time: the plainest sleep there is.
 *
 * A wake-up is one system call, one hrtimer armed, one interrupt, one switch there and back. The thread's slack
 * applies. It waits for nothing else: a process with sockets needs another thread for them. Source: clock_nanosleep(2);
 * kernel/time/hrtimer.c, hrtimer_nanosleep().
 */
#include "driver.h"

#include <stdlib.h>
#include <time.h>

static struct driver *open_nanosleep(const struct driver_options *options)
{
    (void)options;
    return driver_allocate(sizeof(struct driver));
}

static void close_nanosleep(struct driver *driver)
{
    free(driver);
}

static bool sleep_until(struct driver *driver, uint64_t until_ns)
{
    const struct timespec until = {(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
    driver->armings++;
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL); /* a signal ends it early */
    return true;
}

const struct driver_kind driver_nanosleep = {
    .name = "nanosleep",
    .cost = "1 system call, 1 arming; slack applies",
    .open = open_nanosleep,
    .close = close_nanosleep,
    .sleep = sleep_until,
};
