/* price_wakes.c: prices of waking another process by a futex, until it sleeps again.
 *
 * On the same CPU: --processes sleep, each on a futex of its own. A domain process is woken, wakes --batch of them, the
 * next ones round and round, and sleeps; whoever was woken counts and sleeps. All have the usual priority. What wakes
 * the domain is of idle priority: it goes on when none of them has anything to do, and so times all that they do. In a
 * slice that is off the domain is woken as often and wakes nobody. The difference, by wake, is the call that wakes, the
 * switch to the woken, its return from one system call and entry to the next, and the switch away, with what caches
 * and TLBs lack after all others have run: what a tick costs whoever shares the CPU with many, given that the domain
 * is awake.
 *
 * On another CPU: the waker keeps a pace by the clock, and times its calls; a spinner on the other CPU sees what it
 * loses to the woken. So that CPU does not halt: neither the exit to halt nor the way out of an idle state are in it.
 */
#include "arguments.h"
#include "clock.h"
#include "price.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSUAL_NS UINT64_C(100000000)
#define PATIENCE_NS UINT64_C(10000000000)
#define WAKES 200u

struct sleeper {
    _Alignas(64) _Atomic uint32_t word; /* its futex: counts its wakes */
};

/* Shared by all. */
struct stage {
    _Alignas(64) _Atomic uint32_t go; /* the domain's futex */
    uint32_t batch;                   /* how many it is to wake */
    _Atomic uint64_t turns;           /* that the domain has ended */
    _Atomic uint64_t served;          /* wakes after which one has run, the first one, unwoken, included */
    uint32_t next, sleeper_count;     /* whom to wake next, of how many */
    struct sleeper sleepers[];
};

/* What the waker knows. */
struct crowd {
    struct stage *stage;
    uint64_t turns, served; /* that there should have been by now */
    uint32_t sleepers;
    size_t children;
    pid_t pids[];
};

static _Noreturn void be_sleeper(struct stage *stage, uint32_t i)
{
    for (uint32_t seen = 0;; seen++) {
        atomic_fetch_add(&stage->served, 1);
        while (atomic_load(&stage->sleepers[i].word) == seen)
            futex_wait(&stage->sleepers[i].word, seen);
    }
}

static void wake_next(struct stage *stage)
{
    futex_wake(&stage->sleepers[stage->next].word);
    stage->next = stage->next + 1 < stage->sleeper_count ? stage->next + 1 : 0;
}

static _Noreturn void be_domain(struct stage *stage)
{
    for (uint32_t seen = 0;; seen++) {
        while (atomic_load(&stage->go) == seen)
            futex_wait(&stage->go, seen);
        for (uint32_t k = 0; k < stage->batch; k++)
            wake_next(stage);
        atomic_fetch_add(&stage->turns, 1);
    }
}

/* Let all that were woken run. */
static void wait_for_all(const struct crowd *crowd)
{
    const struct stage *stage = crowd->stage;
    const uint64_t begin_ns = monotonic_ns();
    while (atomic_load(&stage->turns) != crowd->turns || atomic_load(&stage->served) != crowd->served) {
        sched_yield();
        const uint64_t waited_ns = monotonic_ns() - begin_ns;
        if (waited_ns > UNUSUAL_NS && waitpid(-1, NULL, WNOHANG) > 0)
            fail(3, "a process of %zu has ended", crowd->children);
        if (waited_ns > PATIENCE_NS)
            fail(1, "a process of %zu that was woken has not slept again", crowd->children);
    }
}

/* End them, and wait: those that are ending still are no quiet machine for whoever comes next. */
static void disperse(const struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->children; i++)
        kill(crowd->pids[i], SIGKILL);
    for (size_t i = 0; i < crowd->children; i++)
        waitpid(crowd->pids[i], NULL, 0);
}

/* The i-th that sleeps, or the domain after the last of them. They end with this process. */
static void start(struct crowd *crowd, unsigned cpu, uint32_t i)
{
    const pid_t pid = fork_bound();
    if (pid < 0) {
        const int error = errno;
        disperse(crowd);
        fail(3, "process %u of %u: %s (ulimit -u)", i + 1, crowd->sleepers, strerror(error));
    }
    if (pid > 0) {
        crowd->pids[crowd->children++] = pid;
        return;
    }
    pin_to(cpu);
    if (i == crowd->sleepers)
        be_domain(crowd->stage);
    be_sleeper(crowd->stage, i);
}

static size_t stage_bytes(uint32_t sleepers)
{
    return sizeof(struct stage) + sleepers * sizeof(struct sleeper);
}

static struct crowd *gather(struct costs *costs, unsigned cpu, bool domain)
{
    const uint32_t count = costs->processes;
    struct crowd *crowd = calloc(1, sizeof *crowd + (count + 1) * sizeof crowd->pids[0]);
    struct stage *stage =
        mmap(NULL, stage_bytes(count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (crowd == NULL || stage == MAP_FAILED)
        fail(3, "%u processes: %s", count, strerror(errno));
    stage->sleeper_count = count;
    *crowd = (struct crowd){.stage = stage, .sleepers = count, .served = count};
    for (uint32_t i = 0; i < count + domain; i++)
        start(crowd, cpu, i);
    costs->its = crowd;
    return crowd;
}

static void open_same(struct costs *costs)
{
    const struct sched_param none = {0};
    const struct crowd *crowd = gather(costs, costs->cpu, true);
    if (sched_setscheduler(0, SCHED_IDLE, &none) != 0)
        fail(3, "idle priority: %s", strerror(errno));
    wait_for_all(crowd);
}

static struct taken wakes_same(struct costs *costs, uint64_t times, bool on)
{
    struct crowd *crowd = costs->its;
    const uint64_t rounds = (times + costs->batch - 1) / costs->batch;
    crowd->stage->batch = on ? costs->batch : 0;
    const uint64_t begin_ns = monotonic_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        crowd->turns++;
        crowd->served += crowd->stage->batch;
        futex_wake(&crowd->stage->go);
        wait_for_all(crowd);
    }
    const double took_ns = (double)(monotonic_ns() - begin_ns);
    return (struct taken){.ns = took_ns * (double)times / (double)(rounds * costs->batch)}; /* the last may be fuller */
}

static void open_other(struct costs *costs)
{
    if (costs->other_cpu == costs->cpu)
        fail(3, "wake-other-cpu needs a second CPU: see --other-cpu");
    wait_for_all(gather(costs, costs->other_cpu, false));
    if ((costs->spinner = spinner_start(costs->other_cpu, costs->gap_ns)) == NULL) /* a thread: after the last fork */
        fail(3, "a spinner on CPU %u: %s", costs->other_cpu, strerror(errno));
}

static struct taken wakes_other(struct costs *costs, uint64_t times, bool on)
{
    struct crowd *crowd = costs->its;
    const uint64_t begin_ns = monotonic_ns();
    const struct spinner_reading from = spinner_read(costs->spinner);
    uint64_t calls_ns = 0;
    for (uint64_t i = 1; i <= times; i++) {
        while (monotonic_ns() < begin_ns + i * costs->period_ns)
            ;
        wait_for_all(crowd); /* they have mostly slept for long */
        const uint64_t before_ns = monotonic_ns();
        if (on)
            wake_next(crowd->stage);
        calls_ns += monotonic_ns() - before_ns;
        crowd->served += on;
    }
    wait_for_all(crowd);
    const double elapsed_ns = (double)(monotonic_ns() - begin_ns);
    const double lost_ns = spinner_gaps(from, spinner_read(costs->spinner)) * elapsed_ns;
    return (struct taken){.ns = (double)calls_ns + lost_ns, .parts = {(double)calls_ns, lost_ns}};
}

static void close_crowd(struct costs *costs)
{
    struct crowd *crowd = costs->its;
    if (costs->spinner != NULL)
        spinner_stop(costs->spinner);
    disperse(crowd);
    munmap(crowd->stage, stage_bytes(crowd->sleepers));
    free(crowd);
}

const struct price price_wake_same_cpu = {
    .name = "wake-same-cpu",
    .what = "a futex wake of one of --processes on this CPU until it sleeps again; CPU of both sides, batches of\n"
            "    --batch: the floor of a shared timer domain is this by ticks delivered",
    .open = open_same,
    .slice = wakes_same,
    .close = close_crowd,
    .crowd = true,
};
const struct price price_wake_other_cpu = {
    .name = "wake-other-cpu",
    .what = "the same on --other-cpu, which does not halt: the waker's call, and what a spinner there lost",
    .parts = {"waker", "woken"},
    .open = open_other,
    .slice = wakes_other,
    .close = close_crowd,
    .times = WAKES,
    .period_us = 50,
    .crowd = true,
    .across = true,
};
