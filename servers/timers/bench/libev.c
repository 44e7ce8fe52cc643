/* libev.c: libev's ev_timer: a heap of four children a node (ev.c). */
#include "subjects.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>

struct libev {
    struct ev_loop *loop;
    ev_timer all[];
};

static void expire(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    expired((uint32_t)(timer - ((struct libev *)whose_turn)->all));
}

static void *open_all(const char *name, uint32_t count, char *why, size_t why_bytes)
{
    struct libev *libev = table_for(sizeof *libev + count * sizeof libev->all[0]);
    if (libev == NULL)
        return NULL;
    libev->loop = ev_loop_new(EVBACKEND_EPOLL);
    if (libev->loop == NULL) {
        snprintf(why, why_bytes, "%s: no loop on epoll", name);
        free(libev);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++)
        ev_timer_init(&libev->all[i], expire, 0, 0);
    return libev;
}

static void close_all(void *self)
{
    ev_loop_destroy(((struct libev *)self)->loop);
    free(self);
}

static void start(void *self, uint32_t i, uint32_t ahead_ms)
{
    struct libev *libev = self;
    ev_timer_set(&libev->all[i], ahead_ms * 1e-3, 0);
    ev_timer_start(libev->loop, &libev->all[i]);
}

static void cancel(void *self, uint32_t i)
{
    struct libev *libev = self;
    ev_timer_stop(libev->loop, &libev->all[i]);
}

/* The way that its documentation recommends for time-outs that are pushed back ("Be smart about timeouts"). */
static void rearm(void *self, uint32_t i, uint32_t ahead_ms)
{
    struct libev *libev = self;
    libev->all[i].repeat = ahead_ms * 1e-3;
    ev_timer_again(libev->loop, &libev->all[i]);
    libev->all[i].repeat = 0; /* once */
}

static void turn(void *self)
{
    ev_run(((struct libev *)self)->loop, EVRUN_NOWAIT);
}

const struct subject subject_libev = {"libev", open_all, start, cancel, rearm, turn, close_all, false, NULL};
