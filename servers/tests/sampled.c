/* sampled.c: a program that spends known shares of its CPU time, for the test of the profiler: of each round, `burns` half,
 * `copies` three tenths, and `enters` two tenths, by this thread's CPU clock.
 *
 *     NAI_SAMPLES=FILE sampled SECONDS
 */
#include "sampler.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ROUND_NS = 10000000, BYTES = 1 << 16 };

static volatile uint64_t sink;

static uint64_t used_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

__attribute__((noinline)) static void burns(void)
{
    uint64_t x = sink;
    for (int i = 0; i < 20000; i++)
        x = x * 6364136223846793005u + 1442695040888963407u;
    sink = x;
}

__attribute__((noinline)) static void copies(void)
{
    static char from[BYTES], to[BYTES];
    size_t bytes = BYTES - (sink & 1); /* unknown to the compiler: a call of memcpy() */
    for (int i = 0; i < 16; i++)
        memcpy(to, from, bytes);
    sink += (unsigned char)to[sink % BYTES];
}

__attribute__((noinline)) static void enters(void)
{
    char buffer[64];
    for (int i = 0; i < 100; i++)
        sink += (uint64_t)syscall(SYS_getcwd, buffer, sizeof buffer);
}

static void spend(void (*work)(void), uint64_t ns)
{
    uint64_t until = used_ns() + ns;
    while (used_ns() < until)
        work();
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    sampler_start();
    for (uint64_t end = used_ns() + (uint64_t)(seconds * 1e9); used_ns() < end;) {
        spend(burns, ROUND_NS / 10 * 5);
        spend(copies, ROUND_NS / 10 * 3);
        spend(enters, ROUND_NS / 10 * 2);
    }
    return 0;
}
