/* ticker.c: ticker --driver NAME: N processes with periodic timers: what being awake in time costs; one JSON object.
 *
 * With --measure cores, slices in which the processes tick alternate with slices in which all of them are held, both of
 * the same length and in the order on off, off on, …, so that what drifts falls on both. An instrument sees how much of
 * each CPU others took in either (spinner.h): the cores burnt are the difference; the off slices show the floor, and
 * its drift. With --measure lateness there are no off slices, and no instrument, which would keep CPUs from halting.
 */
#include "arguments.h"
#include "clock.h"
#include "interrupts.h"
#include "ticker.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define LEAD_NS UINT64_C(2000000)     /* from the announcement of a slice to its begin ... */
#define LEAD_EACH_NS UINT64_C(100000) /* ... and for every process that must wake up for it */
#define REST_AT_MOST_NS UINT64_C(60000000000)

static void sleep_until(uint64_t ns)
{
    const struct timespec until = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

/* Note who has ended: nobody should. */
static void reap(struct ticker *ticker)
{
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        if (ticker->stage->error != 0)
            fail(3, "%s on %s: %s", ticker->plan.kind->name, ticker->plan.facility, strerror(ticker->stage->error));
        if (domains_restart(&ticker->domains, pid)) {
            if (errno != 0)
                fail(1, "a timer domain ended, and cannot be started again: %s", strerror(errno));
            continue;
        }
        ticker->failed++;
        for (uint32_t i = 0; i < ticker->plan.workers; i++)
            if (ticker->stage->workers[i].pid == pid)
                ticker->stage->workers[i].pid = 0;
    }
}

/* Wait until all that live have come to rest after a slice. */
static void wait_for_rest(struct ticker *ticker, uint32_t slice)
{
    const uint64_t begin_ns = monotonic_ns();
    for (uint32_t i = 0; i < ticker->plan.workers;) {
        const struct worker *worker = &ticker->stage->workers[i];
        if (worker->pid == 0 || atomic_load(&worker->rested) == slice) {
            i++;
            continue;
        }
        if (monotonic_ns() - begin_ns > REST_AT_MOST_NS)
            fail(1, "process %u of %u has not come to rest", i, ticker->plan.workers);
        sleep_until(monotonic_ns() + 1000000);
        reap(ticker);
    }
}

static void read_spinners(const struct ticker *ticker, struct spinner_reading *readings)
{
    for (size_t k = 0; ticker->cores && k < ticker->plan.cpu_count; k++)
        readings[k] = spinner_read(ticker->spinners[k]);
}

static void run_slice(struct ticker *ticker, int state, size_t slice)
{
    struct spinner_reading begin[CPUS_AT_MOST], end[CPUS_AT_MOST];
    uint64_t before[CPUS_AT_MOST], after[CPUS_AT_MOST];
    const struct plan *plan = &ticker->plan;
    const uint64_t begin_ns = monotonic_ns() + LEAD_NS + (state == ON ? plan->workers * LEAD_EACH_NS : 0);
    const uint64_t end_ns = begin_ns + ticker->slice_ns;
    if (state == ON) {
        domains_look(&ticker->domains, false);
        stage_begin(ticker->stage, begin_ns, end_ns);
        for (uint32_t i = 0; i < plan->workers; i++)
            ticker->stage->workers[i].due += worker_due(plan, i, begin_ns, end_ns);
    }
    sleep_until(begin_ns);
    ticker->interrupts_known = interrupts_read(ticker->cpus, plan->cpu_count, before);
    read_spinners(ticker, begin);
    sleep_until(end_ns);
    read_spinners(ticker, end);
    interrupts_read(ticker->cpus, plan->cpu_count, after);
    for (size_t k = 0; k < plan->cpu_count; k++) {
        ticker->interrupts[state][k] += after[k] - before[k];
        ticker->burnt[state][slice] += ticker->cores ? spinner_gaps(begin[k], end[k]) : 0;
    }
    if (state == ON)
        wait_for_rest(ticker, atomic_load(&ticker->stage->slice));
    domains_look(&ticker->domains, state == ON);
    reap(ticker);
}

static void read_cpus(struct ticker *ticker, const char *list)
{
    cpu_set_t allowed;
    size_t count = 0;
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (const char *next = list;; next++) {
        char *end;
        const unsigned long cpu = strtoul(next, &end, 10);
        if (end == next || *next == '-' || (*end != ',' && *end != '\0') || cpu >= CPU_SETSIZE || count == CPUS_AT_MOST)
            fail(2, "--cpus: '%s' is not a list like 0,1", list);
        if (!CPU_ISSET(cpu, &allowed))
            fail(3, "--cpus %lu: this process may not run there", cpu);
        ticker->cpus[count++] = (unsigned)cpu;
        next = end;
        if (*end == '\0')
            break;
    }
    ticker->plan.cpus = ticker->cpus;
    ticker->plan.cpu_count = count;
}

static void start_domains(struct ticker *ticker)
{
    struct plan *plan = &ticker->plan;
    if (strcmp(plan->kind->name, "domain") != 0)
        return;
    if (plan->driver.slack_ns == 0 && plan->driver.align_ns == 0)
        plan->driver.slack_ns = plan->granularity_ns / DOMAIN_SLACK_PART < DOMAIN_SLACK_NS
                                    ? plan->granularity_ns / DOMAIN_SLACK_PART
                                    : DOMAIN_SLACK_NS;
    if (!domains_start(&ticker->domains, ticker->cpus, plan->cpu_count, plan->workers, plan->driver.slack_ns))
        fail(3, "a timer domain for %u processes: %s", plan->workers, strerror(errno));
    plan->domains = ticker->domains.all;
}

static void stop_all(struct ticker *ticker)
{
    for (size_t k = 0; k < ticker->plan.cpu_count; k++)
        if (ticker->spinners[k] != NULL)
            spinner_stop(ticker->spinners[k]);
    for (uint32_t i = 0; i < ticker->plan.workers; i++)
        if (ticker->stage->workers[i].pid > 0)
            kill(ticker->stage->workers[i].pid, SIGKILL);
    domains_stop(&ticker->domains);
    while (waitpid(-1, NULL, 0) > 0) /* a thousand that are ending still are no quiet machine for the next trial */
        ;
}

static void start_all(struct ticker *ticker, uint64_t gap_ns)
{
    ticker->stage = stage_map(ticker->plan.workers);
    if (ticker->stage == NULL)
        fail(3, "%u processes: %s", ticker->plan.workers, strerror(errno));
    start_domains(ticker);
    for (uint32_t i = 0; i < ticker->plan.workers; i++)
        if (worker_start(ticker->stage, &ticker->plan, i) < 0) {
            const int error = errno;
            stop_all(ticker); /* whoever comes next is to have their places */
            fail(3, "process %u of %u: %s (ulimit -u)", i + 1, ticker->plan.workers, strerror(error));
        }
    wait_for_rest(ticker, 0);
    reap(ticker);
    for (size_t k = 0; ticker->cores && k < ticker->plan.cpu_count; k++) /* threads only after the last fork */
        if ((ticker->spinners[k] = spinner_start(ticker->cpus[k], gap_ns)) == NULL)
            fail(3, "a spinner on CPU %u: %s", ticker->cpus[k], strerror(errno));
}

static bool known_facility(const char *name)
{
    for (size_t i = 0; timer_facilities[i] != NULL; i++)
        if (strcmp(timer_facilities[i]->name, name) == 0)
            return true;
    return false;
}

static void print_help(const struct argument *table, size_t count)
{
    puts("ticker --driver NAME [option …]: what it costs to be awake when timers are due, one JSON object\n\n"
         "drivers, and what a wake-up costs:");
    for (size_t i = 0; driver_kinds[i] != NULL; i++)
        printf("  %-10s %s\n", driver_kinds[i]->name, driver_kinds[i]->cost);
    puts("\noptions:");
    arguments_print(table, count);
    puts("\nexit status: 0 = measured; 1 = it failed; 2 = a bad option; 3 = this machine refuses.\n"
         "A line on stderr says why.");
}

int main(int argc, char **argv)
{
    static struct ticker ticker;
    const char *driver = NULL, *facility = "heap", *measure = "lateness", *phases = "spread", *cpus = "0";
    uint64_t processes = 1, timers = 1, granularity_us = 10000, tick_us = 1, slack_ns = 0, align_us = 0, period_us = 0;
    uint64_t trigger_us = 0, batch = 1000, slices = 10, gap_ns = 300;
    double seconds = 1;
    const struct argument table[] = {
        {"driver", ARGUMENT_TEXT, &driver, 0, 0, "NAME", "how a process sleeps"},
        {"facility", ARGUMENT_TEXT, &facility, 0, 0, "NAME", "that holds its timers (timers.h); default heap"},
        {"measure", ARGUMENT_CHOICE, &measure, 0, 0, "lateness|cores", "default lateness"},
        {"processes", ARGUMENT_INTEGER, &processes, 1, 100000, "N", "default 1"},
        {"timers", ARGUMENT_INTEGER, &timers, 1, 1000000, "N", "of each process; default 1"},
        {"granularity-us", ARGUMENT_INTEGER, &granularity_us, 1, 1e9, "N", "period of each timer; default 10000"},
        {"tick-us", ARGUMENT_INTEGER, &tick_us, 1, 1e6, "N", "of the facility; default 1"},
        {"phases", ARGUMENT_CHOICE, &phases, 0, 0, "spread|same", "of the timers; default spread"},
        {"align-us", ARGUMENT_INTEGER, &align_us, 0, 1e9, "N", "round expiries up to this grid; default 0: do not"},
        {"slack-ns", ARGUMENT_INTEGER, &slack_ns, 0, 1e12, "N",
         "the kernel's, or the domain's; default 0: as it is; domain without a grid:\n"
         "                     a tenth of the granularity, at most 1000000"},
        {"period-us", ARGUMENT_INTEGER, &period_us, 1, 1e9, "N", "of tick and soft's back-up; default: the timers'"},
        {"trigger-us", ARGUMENT_INTEGER, &trigger_us, 0, 1e6, "N",
         "soft: never sleep, but work, and look at timers after so much of it; default 0: sleep"},
        {"batch", ARGUMENT_INTEGER, &batch, 1, 1e9, "N", "most expiries in a turn; default 1000"},
        {"seconds", ARGUMENT_NUMBER, &seconds, .001, 3600, "S", "of ticking, over all slices; default 1"},
        {"slices", ARGUMENT_INTEGER, &slices, 1, SLICES_AT_MOST, "N", "of it, with as many between; default 10"},
        {"cpus", ARGUMENT_TEXT, &cpus, 0, 0, "LIST", "process i runs on the i-th of them, round and round; default 0"},
        {"gap-ns", ARGUMENT_INTEGER, &gap_ns, 50, 1e6, "N", "what the instrument takes for a gap; default 300"},
    };
    const size_t options = sizeof table / sizeof *table;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0) {
            print_help(table, options);
            return 0;
        }
    arguments_read(argc, argv, "", table, options);
    if (driver == NULL)
        fail(2, "--driver is needed (see --help)");
    const struct driver_kind *kind = driver_kind_named(driver);
    if (kind == NULL && strcmp(driver, "uring") == 0)
        fail(3, "uring: not built in; as root: make system");
    if (kind == NULL)
        fail(2, "no driver %s (see --help)", driver);
    if (trigger_us > 0 && strcmp(driver, "soft") != 0)
        fail(2, "--trigger-us is of soft timers: --driver soft");
    if (!known_facility(facility))
        fail(2, "no facility %s (see timers.h)", facility);
    ticker.plan = (struct plan){
        .kind = kind,
        .facility = facility,
        .driver = {.tick_ns = tick_us * 1000,
                   .slack_ns = slack_ns,
                   .align_ns = align_us * 1000,
                   .period_ns = (period_us > 0 ? period_us : granularity_us) * 1000,
                   .batch = (size_t)batch},
        .granularity_ns = granularity_us * 1000,
        .workers = (uint32_t)processes,
        .timers = (uint32_t)timers,
        .spread = strcmp(phases, "spread") == 0,
        .trigger_us = trigger_us,
    };
    read_cpus(&ticker, cpus);
    ticker.cores = strcmp(measure, "cores") == 0;
    ticker.slice_ns = (uint64_t)(seconds * 1e9 / (double)slices);

    start_all(&ticker, gap_ns);
    ticker.stage->lateness = !ticker.cores;
    for (size_t i = 0; i < slices; i++) {
        const int first = i % 2 == 0 ? ON : OFF;
        if (ticker.cores) {
            run_slice(&ticker, first, i);
            run_slice(&ticker, ON + OFF - first, i);
        } else {
            run_slice(&ticker, ON, i);
        }
    }
    stop_all(&ticker);

    slack_ns = ticker.plan.driver.slack_ns;
    printf("{\"driver\":\"%s\",\"facility\":\"%s\",\"measure\":\"%s\",\"processes\":%llu,\"timers\":%llu,"
           "\"granularity_us\":%llu,\"phases\":\"%s\",\"align_us\":%llu,\"slack_ns\":%llu,\"seconds\":%.6g,"
           "\"slices\":%llu",
           driver, facility, measure, (unsigned long long)processes, (unsigned long long)timers,
           (unsigned long long)granularity_us, phases, (unsigned long long)align_us, (unsigned long long)slack_ns,
           seconds, (unsigned long long)slices);
    ticker_report(&ticker, (size_t)slices);
    puts("}");
    return 0;
}
