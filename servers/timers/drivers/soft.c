/* soft.c: soft timers: whoever is awake anyway looks at trigger points whether something is due.
 *
 * Aron and Druschel (1999): at the end of system calls, traps and interrupts, the kernel is entered anyway, and a look
 * costs a clock read and a comparison; here the program calls driver_check() at its own trigger points. As long as they
 * come, a timer costs no wake-up and no interrupt, and is late by at most the distance of two. Who has nothing to do
 * sleeps in driver_turn(), and a periodic timer backs it up (theirs is the clock interrupt): then it is `tick`.
 */
#include "periodic.h"

const struct driver_kind driver_soft = {
    .name = "soft",
    .cost = "a clock read a trigger point; asleep, 1 system call a period",
    .open = periodic_open,
    .close = periodic_close,
    .sleep = periodic_sleep,
    .rest = periodic_rest,
};
