/* epoll.c: epoll_pwait2() with a time-out in nanoseconds: what an event loop does that waits for sockets, too.
 *
 * A wake-up is one system call and one arming, as with clock_nanosleep(), and the slack applies. The time-out counts
 * from now, so the clock is read once more before the sleep. Linux 5.11; epoll_wait() counts in milliseconds. Source:
 * epoll_pwait2(2); fs/eventpoll.c, ep_poll().
 */
#include "driver.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

struct epoll {
    struct driver driver;
    int set;
};

static void close_epoll(struct driver *driver)
{
    struct epoll *epoll = (struct epoll *)driver;
    if (epoll->set >= 0)
        close(epoll->set);
    free(epoll);
}

static int wait_for(const struct epoll *epoll, uint64_t ns)
{
    const struct timespec time_out = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    struct epoll_event event;
    return epoll_pwait2(epoll->set, &event, 1, &time_out, NULL);
}

static struct driver *open_epoll(const struct driver_options *options)
{
    (void)options;
    struct epoll *epoll = (struct epoll *)driver_allocate(sizeof *epoll);
    if (epoll == NULL)
        return NULL;
    epoll->set = epoll_create1(EPOLL_CLOEXEC);
    if (epoll->set < 0 || wait_for(epoll, 0) < 0) { /* ENOSYS before Linux 5.11 */
        close_epoll(&epoll->driver);
        return NULL;
    }
    return &epoll->driver;
}

static bool sleep_until(struct driver *driver, uint64_t until_ns)
{
    const uint64_t now_ns = driver->options.clock();
    if (until_ns <= now_ns)
        return false;
    driver->armings++;
    (void)wait_for((struct epoll *)driver, until_ns - now_ns); /* a signal ends it early */
    return true;
}

const struct driver_kind driver_epoll = {
    .name = "epoll",
    .cost = "1 system call, 1 arming, 1 clock read more; slack applies",
    .open = open_epoll,
    .close = close_epoll,
    .sleep = sleep_until,
};
