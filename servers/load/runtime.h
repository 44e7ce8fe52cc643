/* runtime.h: what a generator asks of the machine it runs on. */
#ifndef NAI_RUNTIME_H
#define NAI_RUNTIME_H

#include <signal.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* vDSO: no system call */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

extern volatile sig_atomic_t runtime_stop; /* SIGTERM or SIGINT came: end early, report what was measured */

void runtime_catch_signals(void);              /* sets runtime_stop; SIGPIPE ignored */
double runtime_cpu_s(void);                    /* CPU time of this process so far */
int runtime_pin(uint64_t cpu);                 /* 0, or -1 with errno */
void runtime_precise_timers(void);             /* timer slack 1 ns instead of 50 us */
uint64_t runtime_raise_descriptor_limit(void); /* soft limit to hard limit; returns it */

#endif
