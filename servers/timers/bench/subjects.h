/* subjects.h: what timerbench compares: our facilities, and what others have, behind one interface.
 *
 * A tick is a millisecond, the finest that libuv knows. Its clock is ours (virtual_ms): libev and libuv read it through
 * clock_gettime(), which timerbench has in the C library's place.
 */
#ifndef NAI_TIMER_SUBJECTS_H
#define NAI_TIMER_SUBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct subject {
    const char *name;
    /* `count` timers, none pending; each expiry calls expired(i). NULL, with why: not here. */
    void *(*open)(const char *name, uint32_t count, char *why, size_t why_bytes);
    void (*start)(void *self, uint32_t i, uint32_t ahead_ms); /* that is not pending */
    void (*cancel)(void *self, uint32_t i);                   /* that may be */
    void (*rearm)(void *self, uint32_t i, uint32_t ahead_ms); /* whether it is pending or not */
    void (*turn)(void *self); /* of an event loop: look for events without waiting, and expire what is due */
    void (*close)(void *self);
    bool real_time; /* it goes by the kernel's clock */
    uint64_t (*steps)(const void *self); /* links followed and entries compared so far; NULL: nobody counts them */
};
extern const struct subject subject_ours, subject_nothing, subject_timerfd;
#ifdef BENCH_WITH_LIBEV
extern const struct subject subject_libev;
#endif
#ifdef BENCH_WITH_LIBUV
extern const struct subject subject_libuv;
#endif

/* Zeroed memory for a subject and its timers, on pages as --pages says; to be freed. NULL: there is none. */
void *table_for(size_t bytes);

extern uint64_t virtual_ms;
extern void *whose_turn; /* the self of the subject that runs */
void expired(uint32_t i);

#endif
