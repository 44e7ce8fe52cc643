/* work.h: CPU work of a stated size.
 *
 * A fixed number of instructions, not a spin until a clock says so: a spin on a clock would swallow the packet
 * processing that interrupts it, and whether the server pays for its packets is what the experiments ask.
 */
#ifndef NAI_WORK_H
#define NAI_WORK_H

#include <stdint.h>

struct work {
    uint64_t rounds_per_ms; /* of this CPU, undisturbed; 0 = not measured */
};

/* Measure the CPU for about 10 ms: the best of many short runs, so that being interrupted does no harm. */
void work_calibrate(struct work *work);
void work_burn(const struct work *work, uint64_t us);
void work_sleep(uint64_t us); /* a handler that waits for something else than the CPU; a signal ends it */

#endif
