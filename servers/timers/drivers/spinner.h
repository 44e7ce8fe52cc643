/* spinner.h: the instrument: cores burnt, as the time that a spinner of idle priority did not get.
 *
 * A thread pinned to each CPU reads the time stamp counter in a loop, under SCHED_IDLE: whatever else wants the CPU has
 * it. Two reads that lie farther apart than a threshold are a gap: somebody else ran between them, be it a process, the
 * kernel for an interrupt, or another virtual machine. What is published is the sum of what is *not* gaps, in one word:
 * a gap that lasts still is seen as far as it has come, whoever looks.
 *
 * Idle is relative to the scheduling group, which is the session where there is autogroup (sched(7)): a process of
 * another session shares the CPU with the spinner by weight, as with any task, and by how much depends on what else
 * runs in the spinner's. So what is measured is of the spinner's session, and nothing else may run: then there are next
 * to no gaps without it.
 *
 * Linux's own accounts miss most of this: short wake-ups fall between the ticks that /proc/stat samples. The price: the
 * CPU never halts, so latencies and the cost of leaving idle states are not what they are without it.
 */
#ifndef NAI_SPINNER_H
#define NAI_SPINNER_H

#include <stdbool.h>
#include <stdint.h>

struct spinner;

/* What was seen of one CPU by now, in units of the time stamp counter. */
struct spinner_reading {
    uint64_t at, own;
};

/* One that looks for gaps of at least `gap_ns` on that CPU. NULL with errno: refused. */
struct spinner *spinner_start(unsigned cpu, uint64_t gap_ns);
void spinner_stop(struct spinner *spinner);
struct spinner_reading spinner_read(const struct spinner *spinner);

/* The share of the time between two readings that was gaps, 0 to 1. */
double spinner_gaps(struct spinner_reading from, struct spinner_reading to);

/* The time stamp counter; monotonic, and the same on all CPUs. */
static inline uint64_t spinner_stamp(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t stamp;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(stamp));
    return stamp;
#else
#error "spinner.h: no time stamp counter is known for this machine"
#endif
}

#endif
