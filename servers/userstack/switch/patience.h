/* patience.h: whether to stay awake for a little while before sleep.
 *
 * To sleep and to be woken from another CPU costs either side some ten microseconds, in a virtual machine more: an interrupt,
 * and what the other asks the hypervisor for. Who expects a frame sooner looks for it instead, and lets others run between
 * two looks. And as long as neither sleeps, a batch need not be whole before its first frames are taken on.
 *
 * How long is given, 0 for not at all. It must pay: each time in a row that nothing comes, twice as many sleeps as before
 * follow at once, up to VAIN_MOST; so does it if others, once they run, keep the CPU.
 */
#ifndef NAI_SWITCH_PATIENCE_H
#define NAI_SWITCH_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

enum { PATIENCE_VAIN_MOST = 6, PATIENCE_LATE = 4 };

struct patience {
    uint64_t most_ns, began_ns;
    uint32_t vain, skip; /* times in a row; sleeps without it that are still to follow */
    bool awake;
};

/* There is nothing. True: look again. False: sleep. */
static inline bool patience_holds(struct patience *p, uint64_t now_ns)
{
    if (!p->awake) {
        if (p->most_ns == 0 || p->skip > 0) {
            p->skip -= p->skip > 0;
            return false;
        }
        p->awake = true;
        p->began_ns = now_ns;
        return true;
    }
    if (now_ns - p->began_ns < p->most_ns)
        return true;
    p->awake = false;
    p->vain += p->vain < PATIENCE_VAIN_MOST;
    p->skip = (1u << p->vain) - 1;
    return false;
}

/* There is something. */
static inline void patience_ends(struct patience *p, uint64_t now_ns)
{
    if (!p->awake)
        return;
    p->awake = false;
    bool late = now_ns - p->began_ns >= PATIENCE_LATE * p->most_ns;
    p->vain = !late ? 0 : p->vain + (p->vain < PATIENCE_VAIN_MOST);
    p->skip = late ? (1u << p->vain) - 1 : 0;
}

#endif
