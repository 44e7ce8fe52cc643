/* periodic.h: a timerfd that expires every period, whether or not anything is due: what `tick` and `soft` sleep by. */
#ifndef NAI_PERIODIC_H
#define NAI_PERIODIC_H

#include "driver.h"

struct driver *periodic_open(const struct driver_options *options);
void periodic_close(struct driver *driver);
bool periodic_sleep(struct driver *driver, uint64_t until_ns); /* until the next period begins */
void periodic_rest(struct driver *driver);

#endif
