/* calls.h: what is measured with: the plain call, and the clock. */
#ifndef NAI_BENCH_CALLS_H
#define NAI_BENCH_CALLS_H

#include "system_call.h"

#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* CPU time of all threads of the process. A system call: outside of what is timed. */
static inline uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
