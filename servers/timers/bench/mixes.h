/* mixes.h: what timerbench does to timers, and whose turn it is to have it done. */
#ifndef NAI_TIMER_MIXES_H
#define NAI_TIMER_MIXES_H

#include "subjects.h"

struct mix {
    const char *name, *what;
    uint32_t least_ms, most_ms; /* of a deadline */
    /* Do operations, whose number it returns, until `wanted` are done or more. */
    uint64_t (*run)(uint64_t wanted);
    void (*prepare)(void); /* before each run, not counted; then a run is of all timers, whatever is wanted. Or NULL */
    bool expires;
};
extern const struct mix mixes[];
extern const size_t mix_count;

/* One subject at a time has the mix done to its timers. A side keeps its own while it is not its turn. */
struct turn {
    const struct mix *mix;
    const struct subject *subject;
    uint32_t timers;
    uint64_t chance; /* state of what is drawn */
    uint64_t expiries;
    bool again; /* what expires is started again */
};
extern struct turn turn;

void start_all(void); /* in the order of their numbers */

#endif
