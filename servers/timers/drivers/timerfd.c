/* timerfd.c: a tickless timerfd, told of a deadline only if that is earlier than what it is armed for.
 *
 * A wake-up is a read, and a timerfd_settime for the deadline after it; the slack does not apply. To arm costs 0.5 µs,
 * ten times that where it becomes the CPU's next deadline and a virtual machine exits for it. So one that is armed too
 * early stays so: it wakes once for nothing, and is then told of what is pending. Source: timerfd_create(2);
 * fs/timerfd.c; the same idea within the kernel is lazy re-arming of hrtimers.
 */
#include "driver.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct timerfd {
    struct driver driver;
    int file;
    uint64_t armed_ns; /* for when; UINT64_MAX: it is not */
};

static struct driver *open_timerfd(const struct driver_options *options)
{
    (void)options;
    struct timerfd *timerfd = (struct timerfd *)driver_allocate(sizeof *timerfd);
    if (timerfd == NULL)
        return NULL;
    timerfd->armed_ns = UINT64_MAX;
    timerfd->file = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (timerfd->file >= 0)
        return &timerfd->driver;
    free(timerfd);
    return NULL;
}

static void close_timerfd(struct driver *driver)
{
    close(((struct timerfd *)driver)->file);
    free(driver);
}

static void arm(struct timerfd *timerfd, uint64_t when_ns)
{
    const bool never = when_ns == UINT64_MAX;
    const struct itimerspec when = {
        .it_value = {never ? 0 : (time_t)(when_ns / 1000000000), never ? 0 : (long)(when_ns % 1000000000)}};
    timerfd_settime(timerfd->file, TFD_TIMER_ABSTIME, &when, NULL);
    timerfd->armed_ns = when_ns;
}

static bool sleep_until(struct driver *driver, uint64_t until_ns)
{
    struct timerfd *timerfd = (struct timerfd *)driver;
    if (until_ns < timerfd->armed_ns) {
        driver->armings++;
        arm(timerfd, until_ns);
    }
    uint64_t times;
    if (read(timerfd->file, &times, sizeof times) == sizeof times) /* else a signal ended it early */
        timerfd->armed_ns = UINT64_MAX;
    return true;
}

static void rest(struct driver *driver)
{
    arm((struct timerfd *)driver, UINT64_MAX);
}

const struct driver_kind driver_timerfd = {
    .name = "timerfd",
    .cost = "2 system calls, 1 arming; no slack",
    .open = open_timerfd,
    .close = close_timerfd,
    .sleep = sleep_until,
    .rest = rest,
};
