/* timercost.c: timercost PRICE: what the primitives cost that timers are made of; prints one JSON object.
 *
 * A price is taken in pairs of slices, one with the operation and one without, in the order on off, off on, …, so that
 * what drifts falls on both. Of each pair there is a difference by operation: the price is their median, and the 10th
 * and 90th percentiles say how they lie. Some differences are negative on a machine that is not quiet. The prices
 * themselves, and what exactly is in them: price_calls.c, price_timers.c, price_wakes.c.
 */
#include "arguments.h"
#include "clock.h"
#include "price.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAIRS_AT_LEAST 3u
#define PAIRS_AT_MOST 10000u
#define LATENESS_ROOM 1000000u

static const struct price *const prices[] = {
    &price_stamp,
    &price_clock,
    &price_null_call,
    &price_timerfd_untouched,
    &price_timerfd_reprogrammed,
    &price_timerfd_moved,
    &price_interrupt,
    &price_timer_wake,
    &price_timer_wake_halted,
    &price_wake_same_cpu,
    &price_wake_other_cpu,
};
#define PRICES (sizeof prices / sizeof *prices)

void pin_to(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        fail(3, "CPU %u: this process may not run there", cpu);
}

void sleep_until(uint64_t ns)
{
    const struct timespec until = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

void futex_wake(_Atomic uint32_t *word)
{
    atomic_fetch_add(word, 1);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

pid_t fork_bound(void)
{
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    return pid;
}

/* The n-th CPU on which this process may run; the first if there are fewer. */
static unsigned allowed_cpu(unsigned n)
{
    cpu_set_t allowed;
    unsigned first = CPU_SETSIZE;
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed)) {
            first = first == CPU_SETSIZE ? cpu : first;
            if (n-- == 0)
                return cpu;
        }
    return first;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of sorted values, between neighbours where it lies between them. */
static double quantile(const double *values, size_t count, double q)
{
    const double place = q * (double)(count - 1);
    const size_t below = (size_t)place;
    return below + 1 < count ? values[below] + (place - (double)below) * (values[below + 1] - values[below])
                             : values[count - 1];
}

static void print_quantiles(const char *name, double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    printf(",\"%s_ns\":%.5g,\"%s_p10_ns\":%.5g,\"%s_p90_ns\":%.5g", name, quantile(values, count, .5), name,
           quantile(values, count, .1), name, quantile(values, count, .9));
}

static uint64_t calibrated(const struct price *price, struct costs *costs)
{
    uint64_t times = 16; /* price.h says so */
    while (price->slice(costs, times, true).ns < SLICE_NS)
        times *= 2;
    return times;
}

struct differences {
    double *ns, *parts[PRICE_PARTS]; /* by pair, of an operation */
    size_t pairs;
    uint64_t times;
};

static double *room_for(size_t count)
{
    double *values = calloc(count, sizeof *values);
    if (values == NULL)
        fail(1, "no memory");
    return values;
}

static struct differences measure(const struct price *price, struct costs *costs, double seconds)
{
    struct differences all = {.ns = room_for(PAIRS_AT_MOST)};
    for (size_t k = 0; k < PRICE_PARTS; k++)
        all.parts[k] = room_for(PAIRS_AT_MOST);
    all.times = price->times > 0 ? price->times : calibrated(price, costs);
    for (int on = 0; on < 2; on++) /* touches everything once */
        price->slice(costs, all.times, on);
    costs->lateness_count = costs->halts = 0;
    const uint64_t begin_ns = monotonic_ns();
    do {
        struct taken taken[2];
        for (int k = 0; k < 2; k++) {
            const bool on = (k == 0) == (all.pairs % 2 == 0);
            taken[on] = price->slice(costs, all.times, on);
        }
        all.ns[all.pairs] = (taken[true].ns - taken[false].ns) / (double)all.times;
        for (size_t k = 0; k < PRICE_PARTS; k++)
            all.parts[k][all.pairs] = (taken[true].parts[k] - taken[false].parts[k]) / (double)all.times;
        all.pairs++;
    } while (all.pairs < PAIRS_AT_LEAST ||
             (all.pairs < PAIRS_AT_MOST && (double)(monotonic_ns() - begin_ns) < seconds * 1e9));
    return all;
}

static void print_integer(const char *name, uint64_t value, bool known)
{
    if (known)
        printf(",\"%s\":%llu", name, (unsigned long long)value);
    else
        printf(",\"%s\":null", name);
}

static void print(const struct price *price, struct costs *costs, struct differences *all)
{
    const uint64_t operations = all->pairs * all->times;
    printf("{\"price\":\"%s\"", price->name);
    print_quantiles("price", all->ns, all->pairs);
    printf(",\"samples\":%zu,\"operations\":%llu", all->pairs, (unsigned long long)operations);
    print_integer("cpu", costs->cpu, true);
    print_integer("other_cpu", costs->other_cpu, price->across);
    print_integer("processes", costs->processes, price->crowd);
    print_integer("batch", costs->batch, price->crowd && !price->across);
    print_integer("period_us", costs->period_ns / 1000, price->period_us > 0);
    for (size_t k = 0; k < PRICE_PARTS; k++)
        if (price->parts[k] != NULL)
            print_quantiles(price->parts[k], all->parts[k], all->pairs);
    if (costs->lateness_count > 0)
        print_quantiles("lateness", costs->lateness_ns, costs->lateness_count);
    if (costs->halts_known)
        printf(",\"halts\":%.4g", (double)costs->halts / (double)operations);
    puts("}");
}

static void print_help(const struct argument *table, size_t count)
{
    puts("timercost PRICE [option …]: what the primitives cost that timers are made of, one JSON object\n\nprices:");
    for (size_t i = 0; i < PRICES; i++)
        printf("  %-20s %s\n", prices[i]->name, prices[i]->what);
    puts("\noptions:");
    arguments_print(table, count);
    puts("\nprice_ns is the median over pairs of slices (samples) of the difference that the operation makes, by\n"
         "operation; price_p10_ns and price_p90_ns are the percentiles. So for its parts. lateness_ns is over wake-ups:\n"
         "from the deadline until the process has read the clock. halts is how often the CPU halted, by wake-up.\n\n"
         "exit status: 0 = measured; 1 = it failed; 2 = a bad option; 3 = this machine refuses.\n"
         "A line on stderr says why.");
}

int main(int argc, char **argv)
{
    uint64_t cpu = allowed_cpu(0), other_cpu = UINT64_MAX, processes = 1, batch = 1, period_us = 0, gap_ns = 300;
    double seconds = 1;
    const struct argument table[] = {
        {"cpu", ARGUMENT_INTEGER, &cpu, 0, CPU_SETSIZE - 1, "N", "run there; default: the first that is allowed"},
        {"other-cpu", ARGUMENT_INTEGER, &other_cpu, 0, CPU_SETSIZE - 1, "N",
         "where wake-other-cpu wakes; default: the next that is allowed"},
        {"processes", ARGUMENT_INTEGER, &processes, 1, 100000, "N", "that are woken in turn; default 1"},
        {"batch", ARGUMENT_INTEGER, &batch, 1, 100000, "N", "of them that wake-same-cpu wakes at a time; default 1"},
        {"period-us", ARGUMENT_INTEGER, &period_us, 1, 1e6, "N",
         "from one to the next of what keeps a pace; default: the price's own"},
        {"seconds", ARGUMENT_NUMBER, &seconds, .001, 3600, "S", "to measure for, three pairs at least; default 1"},
        {"gap-ns", ARGUMENT_INTEGER, &gap_ns, 50, 1e6, "N", "what the spinner takes for a gap; default 300"},
    };
    const size_t options = sizeof table / sizeof *table;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0) {
            print_help(table, options);
            return 0;
        }
    const struct price *price = NULL;
    for (size_t i = 0; i < PRICES && argc > 1; i++)
        if (strcmp(prices[i]->name, argv[1]) == 0)
            price = prices[i];
    if (price == NULL)
        fail(2, argc > 1 ? "no price %s (see --help)" : "which price? (see --help)", argv[1]);
    arguments_read(argc - 1, argv + 1, "", table, options);
    if (batch > processes)
        fail(2, "--batch %llu is more than --processes %llu", (unsigned long long)batch, (unsigned long long)processes);

    struct costs costs = {
        .cpu = (unsigned)cpu,
        .other_cpu = (unsigned)(other_cpu != UINT64_MAX ? other_cpu : allowed_cpu(allowed_cpu(0) == cpu)),
        .processes = (uint32_t)processes,
        .batch = (uint32_t)batch,
        .period_ns = (period_us > 0 ? period_us : price->period_us) * 1000,
        .gap_ns = gap_ns,
        .lateness_ns = room_for(LATENESS_ROOM),
        .lateness_room = LATENESS_ROOM,
    };
    pin_to(costs.cpu);
    price->open(&costs);
    struct differences all = measure(price, &costs, seconds);
    if (price->close != NULL)
        price->close(&costs);
    print(price, &costs, &all);
    free(all.ns);
    for (size_t k = 0; k < PRICE_PARTS; k++)
        free(all.parts[k]);
    free(costs.lateness_ns);
    return 0;
}
