#include "raw_wheel.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

static uint32_t head_of(const struct raw_wheel *w, uint32_t tick) { return w->count + tick % RAW_WHEEL_SLOTS; }

static uint32_t expiring(const struct raw_wheel *w) { return w->count + RAW_WHEEL_SLOTS; }

static void link_before(struct raw_wheel *w, uint32_t id, uint32_t head)
{
    struct raw_wheel_timer *t = w->timers;
    t[id].previous = t[head].previous;
    t[id].next = head;
    t[t[head].previous].next = id;
    t[head].previous = id;
}

static void unlink_timer(struct raw_wheel *w, uint32_t id)
{
    struct raw_wheel_timer *t = w->timers;
    t[t[id].previous].next = t[id].next;
    t[t[id].next].previous = t[id].previous;
    t[id].next = RAW_WHEEL_NONE;
}

int raw_wheel_init(struct raw_wheel *w, uint32_t count, uint32_t now)
{
    *w = (struct raw_wheel){.count = count, .now = now};
    if (count > RAW_WHEEL_NONE - RAW_WHEEL_SLOTS - 2) {
        errno = ENOMEM;
        return -1;
    }
    size_t all = (size_t)count + RAW_WHEEL_SLOTS + 1;
    w->timers = calloc(all, sizeof *w->timers);
    if (!w->timers)
        return -1;
    for (uint32_t i = 0; i < count; i++)
        w->timers[i].next = RAW_WHEEL_NONE;
    for (uint32_t i = count; i < all; i++)
        w->timers[i].next = w->timers[i].previous = i;
    return 0;
}

void raw_wheel_free(struct raw_wheel *w)
{
    free(w->timers);
    w->timers = NULL;
}

void raw_wheel_cancel(struct raw_wheel *w, uint32_t id)
{
    if (w->timers[id].next == RAW_WHEEL_NONE)
        return;
    unlink_timer(w, id);
    w->pending--;
}

void raw_wheel_set(struct raw_wheel *w, uint32_t id, uint32_t due)
{
    raw_wheel_cancel(w, id);
    if ((int32_t)(due - w->now) <= 0)
        due = w->now + 1;
    w->timers[id].due = due;
    link_before(w, id, head_of(w, due));
    w->pending++;
}

uint32_t raw_wheel_expire(struct raw_wheel *w, uint32_t now)
{
    struct raw_wheel_timer *t = w->timers;
    uint32_t list = expiring(w);
    for (;;) {
        while (t[list].next != list) {
            uint32_t id = t[list].next;
            unlink_timer(w, id);
            if ((int32_t)(t[id].due - w->now) <= 0) {
                w->pending--;
                return id;
            }
            link_before(w, id, head_of(w, t[id].due)); /* due in a later turn of the wheel */
        }
        if ((int32_t)(now - w->now) <= 0)
            return RAW_WHEEL_NONE;
        if (!w->pending) {
            w->now = now;
            return RAW_WHEEL_NONE;
        }
        w->now++;
        uint32_t head = head_of(w, w->now);
        if (t[head].next == head)
            continue;
        t[list] = t[head]; /* the slot's whole list moves, so that each timer in it is looked at once */
        t[t[list].next].previous = t[t[list].previous].next = list;
        t[head].next = t[head].previous = head;
    }
}

uint32_t raw_wheel_idle(const struct raw_wheel *w, uint32_t at_most)
{
    if (!w->pending)
        return RAW_WHEEL_NONE;
    for (uint32_t ticks = 1; ticks < at_most && ticks < RAW_WHEEL_SLOTS; ticks++) {
        uint32_t head = head_of(w, w->now + ticks);
        if (w->timers[head].next != head)
            return ticks;
    }
    return at_most;
}
