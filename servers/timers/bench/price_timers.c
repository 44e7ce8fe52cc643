/* price_timers.c: prices of timers that expire: what is lost to the interrupt alone, and to waking up by it.
 *
 * A spinner of idle priority sees what it does not get of the CPU (drivers/spinner.h): in a slice that is on, one expiry
 * after another, a period apart; in one that is off the same time without them. Who wakes up is another process, so the
 * address space is switched, and it sleeps over the slice in either. With a spinner the CPU never halts. Where it shall,
 * there can be none, and no account of the kernel's holds an interrupt that is taken within an idle state: there the
 * price is what the process is charged, and how late it is tells the rest. `timer-wake` has the same two numbers beside
 * its own, to compare by.
 */
#include "arguments.h"
#include "clock.h"
#include "price.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAKES 50u
#define INTERRUPTS 200u
#define LEAD_NS UINT64_C(1000000)
#define LOOK_NS UINT64_C(200000) /* after the last wake-up of a slice */
#define IDLE_STATES_AT_MOST 16u

static void open_spinner(struct costs *costs)
{
    prctl(PR_SET_TIMERSLACK, 1ul, 0, 0, 0);
    if ((costs->spinner = spinner_start(costs->cpu, costs->gap_ns)) == NULL)
        fail(3, "a spinner on CPU %u: %s", costs->cpu, strerror(errno));
}

static void close_spinner(struct costs *costs)
{
    spinner_stop(costs->spinner);
}

static void open_files(struct costs *costs)
{
    struct rlimit limit;
    int *files = calloc(INTERRUPTS, sizeof *files);
    if (files == NULL)
        fail(1, "no memory");
    costs->its = files;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (unsigned i = 0; i < INTERRUPTS; i++)
        if ((files[i] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) < 0)
            fail(3, "%u of %u timers: %s (ulimit -n)", i, INTERRUPTS, strerror(errno));
    open_spinner(costs);
}

static void close_files(struct costs *costs)
{
    int *files = costs->its;
    close_spinner(costs);
    for (unsigned i = 0; i < INTERRUPTS; i++)
        close(files[i]);
    free(files);
}

static void arm(int file, uint64_t when_ns)
{
    const struct itimerspec when = {
        .it_value = {(time_t)(when_ns / 1000000000), (long)(when_ns % 1000000000)}};
    timerfd_settime(file, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Timers are armed before the slice begins: each expires once, and nobody waits. */
static struct taken interrupts(struct costs *costs, uint64_t times, bool on)
{
    const int *files = costs->its;
    const uint64_t begin_ns = monotonic_ns() + LEAD_NS, end_ns = begin_ns + times * costs->period_ns;
    for (uint64_t i = 0; i < times; i++)
        arm(files[i], on ? begin_ns + costs->period_ns / 2 + i * costs->period_ns : 0);
    sleep_until(begin_ns);
    const uint64_t from_ns = monotonic_ns();
    const struct spinner_reading from = spinner_read(costs->spinner);
    sleep_until(end_ns);
    const struct spinner_reading to = spinner_read(costs->spinner);
    return (struct taken){.ns = spinner_gaps(from, to) * (double)(monotonic_ns() - from_ns)};
}

static double own_ns(void)
{
    struct timespec spent;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (double)spent.tv_sec * 1e9 + (double)spent.tv_nsec;
}

/* How often the CPU has entered an idle state in which it halts. False: this machine does not tell. */
static bool read_halts(unsigned cpu, uint64_t *halts)
{
    bool found = false;
    *halts = 0;
    for (unsigned state = 0; state < IDLE_STATES_AT_MOST; state++) {
        char path[96], name[64] = "";
        unsigned long long usage = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/cpuidle/state%u/name", cpu, state);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            break;
        const bool named = fscanf(file, "%63s", name) == 1;
        fclose(file);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/cpuidle/state%u/usage", cpu, state);
        if (!named || strcmp(name, "POLL") == 0 || (file = fopen(path, "re")) == NULL)
            continue;
        if (fscanf(file, "%llu", &usage) == 1) {
            *halts += usage;
            found = true;
        }
        fclose(file);
    }
    return found;
}

/* The process that wakes up, as both see it. */
struct sleeper {
    _Atomic uint32_t slice, slept; /* slices that were announced (a futex), and that it has slept through */
    uint64_t begin_ns, period_ns, times;
    double own_ns; /* what it was charged */
    uint64_t late_ns[WAKES];
    pid_t pid; /* the other's to write */
};

/* One sleep after another; the first ends when the slice begins. */
static void sleep_through(struct sleeper *sleeper)
{
    sleep_until(sleeper->begin_ns);
    const double before_ns = own_ns();
    for (uint64_t i = 0; i < sleeper->times; i++) {
        const uint64_t until_ns = sleeper->begin_ns + (i + 1) * sleeper->period_ns;
        sleep_until(until_ns);
        sleeper->late_ns[i] = monotonic_ns() - until_ns;
    }
    sleeper->own_ns = own_ns() - before_ns;
}

static _Noreturn void be_sleeper(struct sleeper *sleeper)
{
    prctl(PR_SET_TIMERSLACK, 1ul, 0, 0, 0);
    for (uint32_t seen = 0;; seen++) {
        while (atomic_load(&sleeper->slice) == seen)
            futex_wait(&sleeper->slice, seen);
        sleep_through(sleeper);
        atomic_fetch_add(&sleeper->slept, 1);
    }
}

static void open_halting(struct costs *costs)
{
    struct sleeper *sleeper =
        mmap(NULL, sizeof *sleeper, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const pid_t pid = sleeper != MAP_FAILED ? fork_bound() : -1;
    if (pid < 0)
        fail(3, "a process that sleeps: %s", strerror(errno));
    if (pid == 0)
        be_sleeper(sleeper);
    sleeper->pid = pid;
    costs->its = sleeper;
}

static void open_waking(struct costs *costs)
{
    open_halting(costs);
    open_spinner(costs); /* a thread: after the fork */
}

static void close_waking(struct costs *costs)
{
    struct sleeper *sleeper = costs->its;
    if (costs->spinner != NULL)
        close_spinner(costs);
    kill(sleeper->pid, SIGKILL);
    waitpid(sleeper->pid, NULL, 0);
    munmap(sleeper, sizeof *sleeper);
}

/* Announce a slice in which it wakes `times` times, or once at the end; returns when that begins. */
static uint64_t announce(struct costs *costs, uint64_t times, bool on)
{
    struct sleeper *sleeper = costs->its;
    sleeper->begin_ns = monotonic_ns() + LEAD_NS;
    sleeper->period_ns = on ? costs->period_ns : costs->period_ns * times;
    sleeper->times = on ? times : 1;
    futex_wake(&sleeper->slice);
    return sleeper->begin_ns;
}

/* Wait until it has slept through it. */
static void collect(struct costs *costs, bool on)
{
    struct sleeper *sleeper = costs->its;
    while (atomic_load(&sleeper->slept) != atomic_load(&sleeper->slice)) {
        if (waitpid(sleeper->pid, NULL, WNOHANG) != 0)
            fail(3, "the process that sleeps has ended");
        sleep_until(monotonic_ns() + LOOK_NS);
    }
    for (uint64_t i = 0; on && i < sleeper->times; i++)
        note_lateness(costs, sleeper->late_ns[i]);
}

static struct taken wakes(struct costs *costs, uint64_t times, bool on)
{
    const uint64_t begin_ns = announce(costs, times, on);
    sleep_until(begin_ns);
    const uint64_t from_ns = monotonic_ns();
    const struct spinner_reading from = spinner_read(costs->spinner);
    sleep_until(begin_ns + times * costs->period_ns + LOOK_NS);
    const struct spinner_reading to = spinner_read(costs->spinner);
    const double lost_ns = spinner_gaps(from, to) * (double)(monotonic_ns() - from_ns);
    collect(costs, on);
    return (struct taken){.ns = lost_ns, .parts = {((struct sleeper *)costs->its)->own_ns}};
}

static struct taken wakes_halted(struct costs *costs, uint64_t times, bool on)
{
    uint64_t before, after;
    const uint64_t begin_ns = announce(costs, times, on);
    sleep_until(begin_ns);
    costs->halts_known = read_halts(costs->cpu, &before);
    sleep_until(begin_ns + times * costs->period_ns + LOOK_NS);
    if (on && costs->halts_known && read_halts(costs->cpu, &after))
        costs->halts += after - before;
    collect(costs, on);
    const double own = ((struct sleeper *)costs->its)->own_ns;
    return (struct taken){.ns = own, .parts = {own}};
}

const struct price price_interrupt = {
    .name = "interrupt",
    .what = "a timer's interrupt alone: a timerfd expires and nobody waits; CPU that a spinner lost",
    .open = open_files,
    .slice = interrupts,
    .close = close_files,
    .times = INTERRUPTS,
    .period_us = 100,
};
const struct price price_timer_wake = {
    .name = "timer-wake",
    .what = "a process by clock_nanosleep: arming, sleep, interrupt, wake-up; CPU that a spinner lost: it never halts",
    .parts = {"own_cpu"},
    .open = open_waking,
    .slice = wakes,
    .close = close_waking,
    .times = WAKES,
    .period_us = 200,
};
const struct price price_timer_wake_halted = {
    .name = "timer-wake-halted",
    .what = "the same on a CPU that nobody else keeps busy, so it halts if the period is long (see halts); CPU that\n"
            "    the process is charged: compare with own_cpu_ns of timer-wake, and lateness with its lateness",
    .parts = {"own_cpu"},
    .open = open_halting,
    .slice = wakes_halted,
    .close = close_waking,
    .times = WAKES,
    .period_us = 1000, /* a guest's haltpoll governor polls for as long as 200 µs before it halts */
};
