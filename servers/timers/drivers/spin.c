/* spin.c: read the clock until it is time: no wake-up, no interrupt, no slack, and a core.
 *
 * What kernel-bypass stacks do (DPDK's timer library, Caladan's I/O kernel). A clock read is 20 to 30 ns from the vDSO;
 * lateness is that, until another process wants the CPU: then it is that one's time slice.
 */
#include "driver.h"

#include <stdlib.h>

static struct driver *open_spin(const struct driver_options *options)
{
    (void)options;
    return driver_allocate(sizeof(struct driver));
}

static void close_spin(struct driver *driver)
{
    free(driver);
}

static bool spin(struct driver *driver, uint64_t until_ns)
{
    while (driver->options.clock() < until_ns)
        ;
    return false;
}

const struct driver_kind driver_spin = {
    .name = "spin",
    .cost = "none: a core while anything is pending",
    .open = open_spin,
    .close = close_spin,
    .sleep = spin,
};
