/* timerfd.c: one timerfd a timer, all in one epoll set: the kernel's red-black tree, at a system call an operation. */
#include "subjects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS 256

struct timerfds {
    int events;
    uint32_t count;
    int files[];
};

static void close_all(void *self)
{
    struct timerfds *all = self;
    for (uint32_t i = 0; i < all->count; i++)
        close(all->files[i]);
    if (all->events >= 0)
        close(all->events);
    free(all);
}

static bool add(struct timerfds *all)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = all->count};
    int file = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (file < 0)
        return false;
    all->files[all->count++] = file;
    return epoll_ctl(all->events, EPOLL_CTL_ADD, file, &event) == 0;
}

static void *open_all(const char *name, uint32_t count, char *why, size_t why_bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    struct timerfds *all = calloc(1, sizeof *all + count * sizeof all->files[0]);
    if (all == NULL)
        return NULL;
    all->events = epoll_create1(EPOLL_CLOEXEC);
    while (all->events >= 0 && all->count < count && add(all))
        ;
    if (all->count == count)
        return all;
    snprintf(why, why_bytes, "%s: %u of %u timers: %s (ulimit -n)", name, all->count, count, strerror(errno));
    close_all(all);
    return NULL;
}

static void set(void *self, uint32_t i, uint32_t ahead_ms)
{
    struct itimerspec when = {.it_value = {ahead_ms / 1000, ahead_ms % 1000 * 1000000l}};
    timerfd_settime(((struct timerfds *)self)->files[i], 0, &when, NULL);
}

static void cancel(void *self, uint32_t i)
{
    set(self, i, 0);
}

static void turn(void *self)
{
    struct timerfds *all = self;
    struct epoll_event ready[EVENTS];
    int count = epoll_wait(all->events, ready, EVENTS, 0);
    for (int k = 0; k < count; k++) {
        uint64_t times;
        if (read(all->files[ready[k].data.u32], &times, sizeof times) == sizeof times)
            expired(ready[k].data.u32);
    }
}

const struct subject subject_timerfd = {"timerfd", open_all, set, cancel, set, turn, close_all, true, NULL};
