/* raw_wheel.h: one timer for each of n things, in a hashed timing wheel (Varghese and Lauck 1987, scheme 6).
 *
 * Setting, moving and cancelling are O(1), and nearly every timer of a connection is cancelled. Times are ticks of the
 * caller's choice that only move forward (they may wrap); a timer set into the past fires at the next call.
 */
#ifndef NAI_RAW_WHEEL_H
#define NAI_RAW_WHEEL_H

#include <stdint.h>

#define RAW_WHEEL_SLOTS 4096 /* ticks of one turn; a timer further away costs one look a turn */
#define RAW_WHEEL_NONE UINT32_MAX

struct raw_wheel_timer {
    uint32_t next, previous; /* circular; next == RAW_WHEEL_NONE: not set */
    uint32_t due;
};

struct raw_wheel {
    struct raw_wheel_timer *timers; /* count of them, then the slots' list heads, then that of the expiring */
    uint32_t count;
    uint32_t now; /* all slots up to and including this tick are dealt with */
    uint32_t pending;
};

int raw_wheel_init(struct raw_wheel *, uint32_t count, uint32_t now); /* 0, or -1 with errno */
void raw_wheel_free(struct raw_wheel *);
void raw_wheel_set(struct raw_wheel *, uint32_t id, uint32_t due); /* or move */
void raw_wheel_cancel(struct raw_wheel *, uint32_t id);
/* Take one timer due at or before `now`; RAW_WHEEL_NONE if there is none left. */
uint32_t raw_wheel_expire(struct raw_wheel *, uint32_t now);
/* Ticks after the last expired one until a slot is occupied: no timer fires before; RAW_WHEEL_NONE if none is set. */
uint32_t raw_wheel_idle(const struct raw_wheel *, uint32_t at_most);

#endif
