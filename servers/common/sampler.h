/* sampler.h: where a program spends its CPU time, found out by itself, without perf_event_open(2), which virtual machines
 * and containers often refuse.
 *
 * If NAI_SAMPLES names a file, the program's CPU timer interrupts it, and the program counter is noted in a table that was
 * made before; at exit() the table is written to the file. Otherwise nothing happens, and nothing is paid.
 * The kernel looks at CPU timers in its tick, so there are at most HZ samples in a second of CPU time (250 are usual),
 * each of the same weight; a share p of n samples has the standard error sqrt(p (1 - p) / n). A signal that comes inside
 * of a system call is delivered behind it: such samples are marked, and are the kernel's time.
 *
 * The file, a line a fact: "nai-samples 1"; "cpu_us N", CPU time between start and end; "interval_us N"; "lost N";
 * "map BEGIN END OFFSET PATH" of code that was mapped, as in /proc/self/maps; "code ADDRESS NAME" of functions of the C
 * library that have no name there; "at ADDRESS KERNEL COUNT". Addresses are hexadecimal. retrospective/lab/sampling.py
 * reads it.
 */
#ifndef NAI_SAMPLER_H
#define NAI_SAMPLER_H

/* Ends the program with status 1 and one line if that cannot be done. */
void sampler_start(void);

#endif
