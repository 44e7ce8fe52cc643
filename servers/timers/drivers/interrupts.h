/* interrupts.h: timer interrupts of a CPU since boot, from /proc/interrupts. */
#ifndef NAI_INTERRUPTS_H
#define NAI_INTERRUPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of each of `cpus`, in counts[]. False: they are not told here. */
bool interrupts_read(const unsigned *cpus, size_t count, uint64_t *counts);

#endif
