/* worker.c: a process with periodic timers, slice after slice. */
#include "worker.h"

#include "work.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct run;
struct periodic {
    struct timer timer;
    uint64_t deadline_ns; /* before it is rounded up to the grid */
    struct run *run;
};

struct run {
    const struct plan *plan;
    struct stage *stage;
    struct worker *worker;
    struct driver *driver;
    struct timers *timers;
    struct work work;
    struct periodic all[];
};

struct stage *stage_map(uint32_t workers)
{
    const size_t bytes = sizeof(struct stage) + workers * sizeof(struct worker);
    struct stage *stage = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return stage != MAP_FAILED ? stage : NULL;
}

static uint64_t phase_ns(const struct plan *plan, uint32_t worker, uint32_t timer)
{
    const uint64_t all = (uint64_t)plan->workers * plan->timers, index = (uint64_t)timer * plan->workers + worker;
    return plan->spread ? (uint64_t)((unsigned __int128)plan->granularity_ns * index / all) : 0;
}

/* The first deadline of a phase at `from_ns` or later. */
static uint64_t first_ns(uint64_t from_ns, uint64_t phase, uint64_t granularity_ns)
{
    return round_up(from_ns - phase, granularity_ns) + phase;
}

uint64_t worker_due(const struct plan *plan, uint32_t i, uint64_t begin_ns, uint64_t end_ns)
{
    uint64_t due = 0;
    for (uint32_t k = 0; k < plan->timers; k++) {
        const uint64_t first = first_ns(begin_ns, phase_ns(plan, i, k), plan->granularity_ns);
        due += first < end_ns ? (end_ns - 1 - first) / plan->granularity_ns + 1 : 0;
    }
    return due;
}

void stage_begin(struct stage *stage, uint64_t begin_ns, uint64_t end_ns)
{
    stage->begin_ns = begin_ns;
    stage->end_ns = end_ns;
    atomic_fetch_add(&stage->slice, 1);
    syscall(SYS_futex, &stage->slice, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void start(struct periodic *periodic)
{
    struct run *run = periodic->run;
    if (periodic->deadline_ns < run->stage->end_ns)
        timers_start(run->timers, &periodic->timer, driver_tick(run->driver, periodic->deadline_ns));
}

static void expire(struct timers *timers, struct timer *timer)
{
    struct periodic *periodic = (struct periodic *)(void *)timer;
    struct run *run = periodic->run;
    const uint64_t align_ns = run->plan->driver.align_ns, now_ns = run->driver->now_ns;
    const uint64_t due_ns = round_up(periodic->deadline_ns, align_ns);
    (void)timers;
    run->worker->delivered++;
    if (now_ns < due_ns)
        run->worker->early++;
    else if (run->stage->lateness)
        histogram_record(&run->worker->lateness, now_ns - due_ns);
    /* On to the next that is ahead still: those that passed meanwhile are missed. */
    const uint64_t passed_ns = align_ns > 0 ? now_ns / align_ns * align_ns : now_ns;
    if (passed_ns >= periodic->deadline_ns)
        periodic->deadline_ns = first_ns(passed_ns + 1, periodic->deadline_ns % run->plan->granularity_ns,
                                         run->plan->granularity_ns);
    else
        periodic->deadline_ns += run->plan->granularity_ns;
    start(periodic);
}

static uint64_t own_cpu_us(void)
{
    struct timespec spent;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (uint64_t)spent.tv_sec * 1000000 + (uint64_t)spent.tv_nsec / 1000;
}

/* Work all of a slice, and look at timers between. What is counted is whole pieces of work and the CPU time that they
 * took, looks and expiries included: so it does not depend on when the first timer is due, or the last. */
static void work(struct run *run)
{
    struct driver *driver = run->driver;
    struct worker *worker = run->worker;
    uint64_t begin_us = 0;
    bool within = false;
    while (driver->now_ns < run->stage->end_ns) {
        if (!within && driver->now_ns >= run->stage->begin_ns) {
            within = true;
            begin_us = own_cpu_us();
        }
        work_burn(&run->work, run->plan->trigger_us);
        driver_check(driver, run->timers);
        worker->work_units += within;
    }
    worker->work_cpu_us += within ? own_cpu_us() - begin_us : 0;
}

static void run_slice(struct run *run)
{
    struct driver *driver = run->driver;
    driver_check(driver, run->timers); /* the wheel rounds by how far ahead of its own time a deadline is */
    for (uint32_t k = 0; k < run->plan->timers; k++) {
        struct periodic *periodic = &run->all[k];
        const uint64_t phase = phase_ns(run->plan, (uint32_t)(run->worker - run->stage->workers), k);
        periodic->deadline_ns = first_ns(run->stage->begin_ns, phase, run->plan->granularity_ns);
        start(periodic);
    }
    if (run->plan->trigger_us > 0)
        work(run);
    while (run->timers->count > 0)
        driver_turn(driver, run->timers);
    driver_rest(driver);
}

static uint64_t us(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static void add_usage(struct run *run, const struct rusage *before)
{
    struct worker *worker = run->worker;
    struct rusage after;
    getrusage(RUSAGE_SELF, &after);
    worker->cpu_us += us(after.ru_utime) + us(after.ru_stime) - us(before->ru_utime) - us(before->ru_stime);
    worker->voluntary_switches += (uint64_t)(after.ru_nvcsw - before->ru_nvcsw);
    worker->involuntary_switches += (uint64_t)(after.ru_nivcsw - before->ru_nivcsw);
    worker->wakeups = run->driver->wakeups;
    worker->empty = run->driver->empty;
    worker->armings = run->driver->armings;
}

static struct run *prepare(struct stage *stage, const struct plan *plan, uint32_t i)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(plan->cpus[i % plan->cpu_count], &set);
    struct run *run = calloc(1, sizeof *run + plan->timers * sizeof run->all[0]);
    if (run == NULL || sched_setaffinity(0, sizeof set, &set) != 0)
        return NULL;
    *run = (struct run){.plan = plan, .stage = stage, .worker = &stage->workers[i]};
    for (uint32_t k = 0; k < plan->timers; k++)
        run->all[k] = (struct periodic){.timer.expire = expire, .run = run};
    struct driver_options options = plan->driver;
    options.phase_ns = phase_ns(plan, i, 0);
    if (plan->domains != NULL) {
        options.domain = plan->domains[i % plan->cpu_count];
        options.client = i / (uint32_t)plan->cpu_count;
    }
    if ((run->driver = driver_open(plan->kind, &options)) == NULL ||
        (run->timers = timers_open(plan->facility, plan->timers, 0)) == NULL)
        return NULL;
    if (plan->trigger_us > 0)
        work_calibrate(&run->work);
    return run;
}

static _Noreturn void be_worker(struct stage *stage, const struct plan *plan, uint32_t i)
{
    struct run *run = prepare(stage, plan, i);
    if (run == NULL) {
        stage->error = errno;
        _exit(1);
    }
    for (uint32_t seen = 0;; seen++) {
        atomic_store(&run->worker->rested, seen);
        while (atomic_load(&stage->slice) == seen)
            syscall(SYS_futex, &stage->slice, FUTEX_WAIT, seen, NULL, NULL, 0);
        struct rusage before;
        getrusage(RUSAGE_SELF, &before);
        run_slice(run);
        add_usage(run, &before);
    }
}

pid_t worker_start(struct stage *stage, const struct plan *plan, uint32_t i)
{
    const pid_t parent = getpid();
    atomic_store(&stage->workers[i].rested, WORKER_STARTS);
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        be_worker(stage, plan, i);
    }
    stage->workers[i].pid = pid;
    return pid;
}
