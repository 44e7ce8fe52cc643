/* libuv.c: libuv's uv_timer_t: a binary heap of nodes that point to one another (heap-inl.h). */
#include "subjects.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct libuv {
    uv_loop_t loop;
    uint32_t count;
    uv_timer_t all[];
};

static void expire(uv_timer_t *timer)
{
    expired((uint32_t)(timer - ((struct libuv *)whose_turn)->all));
}

static void *open_all(const char *name, uint32_t count, char *why, size_t why_bytes)
{
    struct libuv *libuv = table_for(sizeof *libuv + count * sizeof libuv->all[0]);
    if (libuv == NULL)
        return NULL;
    int error = uv_loop_init(&libuv->loop);
    if (error != 0) {
        snprintf(why, why_bytes, "%s: %s", name, uv_strerror(error));
        free(libuv);
        return NULL;
    }
    for (; libuv->count < count; libuv->count++)
        uv_timer_init(&libuv->loop, &libuv->all[libuv->count]);
    return libuv;
}

static void close_all(void *self)
{
    struct libuv *libuv = self;
    for (uint32_t i = 0; i < libuv->count; i++)
        uv_close((uv_handle_t *)&libuv->all[i], NULL);
    uv_run(&libuv->loop, UV_RUN_DEFAULT);
    uv_loop_close(&libuv->loop);
    free(libuv);
}

static void start(void *self, uint32_t i, uint32_t ahead_ms)
{
    uv_timer_start(&((struct libuv *)self)->all[i], expire, ahead_ms, 0); /* stops it first, if it is pending */
}

static void cancel(void *self, uint32_t i)
{
    uv_timer_stop(&((struct libuv *)self)->all[i]);
}

static void turn(void *self)
{
    uv_run(&((struct libuv *)self)->loop, UV_RUN_NOWAIT);
}

const struct subject subject_libuv = {"libuv", open_all, start, cancel, start, turn, close_all, false, NULL};
