/* tick.c: wake up every period, and look: what a kernel of old does by its clock interrupt, and lwIP by its 250 ms.
 *
 * A wake-up is one read: nothing is armed again, and none is saved while nothing is due. A timer is late by up to a
 * period, and periods that pass while the process does not run are one wake-up. Source: timerfd_create(2); Varghese and
 * Lauck (1987), PER_TICK_BOOKKEEPING; lwIP, sys_check_timeouts(). Arms at the first sleep; no slack.
 */
#include "periodic.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct periodic {
    struct driver driver;
    int file;
    bool running;
};

struct driver *periodic_open(const struct driver_options *options)
{
    (void)options;
    struct periodic *periodic = (struct periodic *)driver_allocate(sizeof *periodic);
    if (periodic == NULL)
        return NULL;
    periodic->file = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (periodic->file >= 0)
        return &periodic->driver;
    free(periodic);
    return NULL;
}

void periodic_close(struct driver *driver)
{
    close(((struct periodic *)driver)->file);
    free(driver);
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

static void run(struct periodic *periodic)
{
    const struct driver_options *options = &periodic->driver.options;
    const uint64_t phase_ns = options->phase_ns % options->period_ns;
    const uint64_t now_ns = options->clock() + options->period_ns - phase_ns;
    const uint64_t first_ns = now_ns / options->period_ns * options->period_ns + phase_ns;
    const struct itimerspec when = {timespec_of(options->period_ns), timespec_of(first_ns)};
    timerfd_settime(periodic->file, TFD_TIMER_ABSTIME, &when, NULL);
    periodic->driver.armings++;
    periodic->running = true;
}

bool periodic_sleep(struct driver *driver, uint64_t until_ns)
{
    struct periodic *periodic = (struct periodic *)driver;
    (void)until_ns; /* the next period ends it, or a signal */
    if (!periodic->running)
        run(periodic);
    uint64_t periods;
    (void)!read(periodic->file, &periods, sizeof periods);
    return true;
}

void periodic_rest(struct driver *driver)
{
    struct periodic *periodic = (struct periodic *)driver;
    const struct itimerspec never = {0};
    timerfd_settime(periodic->file, 0, &never, NULL);
    periodic->running = false;
}

const struct driver_kind driver_tick_kind = {
    .name = "tick",
    .cost = "1 system call a period, due or not; no slack",
    .open = periodic_open,
    .close = periodic_close,
    .sleep = periodic_sleep,
    .rest = periodic_rest,
};
