/* ours.c: the facilities of timers.h, and a loop that has no timers at all, for what a turn costs by itself. */
#include "subjects.h"
#include "timers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct ours {
    int events;
    struct timers *timers;
    struct timer all[];
};

static void expire(struct timers *timers, struct timer *timer)
{
    (void)timers;
    expired((uint32_t)(timer - ((struct ours *)whose_turn)->all));
}

static void close_ours(void *self)
{
    struct ours *ours = self;
    if (ours->timers != NULL)
        timers_close(ours->timers);
    if (ours->events >= 0)
        close(ours->events);
    free(ours);
}

static void *open_ours(const char *name, uint32_t count, char *why, size_t why_bytes)
{
    struct ours *ours = table_for(sizeof *ours + count * sizeof ours->all[0]);
    if (ours == NULL)
        return NULL;
    ours->events = epoll_create1(EPOLL_CLOEXEC);
    ours->timers = ours->events >= 0 ? timers_open(name, count, virtual_ms) : NULL;
    if (ours->timers == NULL) {
        snprintf(why, why_bytes, "%s: %s", name, errno == EINVAL ? "no such facility (see --help)" : strerror(errno));
        close_ours(ours);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++)
        ours->all[i].expire = expire;
    return ours;
}

static void start(void *self, uint32_t i, uint32_t ahead_ms)
{
    struct ours *ours = self;
    timers_start(ours->timers, &ours->all[i], virtual_ms + ahead_ms);
}

static void cancel(void *self, uint32_t i)
{
    struct ours *ours = self;
    timers_cancel(ours->timers, &ours->all[i]);
}

static void rearm(void *self, uint32_t i, uint32_t ahead_ms)
{
    struct ours *ours = self;
    timers_rearm(ours->timers, &ours->all[i], virtual_ms + ahead_ms);
}

static void look(void *self)
{
    struct epoll_event event;
    (void)epoll_wait(((struct ours *)self)->events, &event, 1, 0);
}

static void turn(void *self)
{
    look(self);
    timers_advance(((struct ours *)self)->timers, virtual_ms, SIZE_MAX);
}

static uint64_t steps(const void *self)
{
    return ((const struct ours *)self)->timers->steps;
}

const struct subject subject_ours = {"", open_ours, start, cancel, rearm, turn, close_ours, false, steps};

static void *open_nothing(const char *name, uint32_t count, char *why, size_t why_bytes)
{
    (void)name;
    (void)count;
    return open_ours("list", 0, why, why_bytes);
}

static void start_nothing(void *self, uint32_t i, uint32_t ahead_ms)
{
    __asm__ volatile("" : : "r"(self), "r"(i), "r"(ahead_ms));
}

static void cancel_nothing(void *self, uint32_t i)
{
    __asm__ volatile("" : : "r"(self), "r"(i));
}

const struct subject subject_nothing = {"nothing", open_nothing, start_nothing, cancel_nothing, start_nothing, look,
                                        close_ours, false, NULL};
