/* work.c: a chain of dependent multiplications; and a nap. */
#include "work.h"

#include "clock.h"
#include "counters.h"

#include <time.h>

#define SAMPLES 200
#define SAMPLE_ROUNDS 20000 /* 10 to 50 µs: short enough that most samples see no interrupt */

static void spin(uint64_t rounds)
{
    uint64_t x = rounds;
    for (uint64_t i = 0; i < rounds; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        __asm__ volatile("" : "+r"(x)); /* each round needs the last: neither unrolled away nor vectorised */
    }
}

void work_calibrate(struct work *work)
{
    uint64_t best_ns = UINT64_MAX;
    for (int i = 0; i < SAMPLES; i++) {
        uint64_t start = monotonic_ns();
        spin(SAMPLE_ROUNDS);
        uint64_t took = monotonic_ns() - start;
        best_ns = took < best_ns ? took : best_ns;
    }
    work->rounds_per_ms = SAMPLE_ROUNDS * UINT64_C(1000000) / (best_ns > 0 ? best_ns : 1);
}

void work_burn(const struct work *work, uint64_t us)
{
    if (us > 0)
        spin(work->rounds_per_ms * us / 1000);
}

void work_sleep(uint64_t us)
{
    struct timespec duration = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000 * 1000)};
    count(blocked_calls);
    nanosleep(&duration, NULL);
}
