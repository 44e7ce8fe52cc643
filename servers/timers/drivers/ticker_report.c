/* ticker_report.c: a run's counters, cores and lateness as JSON. */
#include "ticker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Somebody else's burst, once a second, say, is in few of the slices: a median leaves it out, a mean would not. */
static double median(const double *values, size_t count)
{
    double sorted[SLICES_AT_MOST];
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, compare);
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

static void print_list(const char *name, const double *values, size_t count)
{
    printf(",\"%s\":[", name);
    for (size_t i = 0; i < count; i++)
        printf("%s%.6g", i > 0 ? "," : "", values[i]);
    printf("]");
}

static void print_cores(const struct ticker *ticker, size_t slices)
{
    const double *on = ticker->burnt[ON], *off = ticker->burnt[OFF];
    const size_t half = slices / 2;
    double paired[SLICES_AT_MOST];
    for (size_t i = 0; i < slices; i++)
        paired[i] = on[i] - off[i];
    printf(",\"cores\":%.6g,\"on_cores\":%.6g,\"off_cores\":%.6g", median(paired, slices), median(on, slices),
           median(off, slices));
    printf(",\"off_cores_drift\":%.6g", half > 0 ? median(off + slices - half, half) - median(off, half) : 0);
    print_list("slice_on_cores", on, slices);
    print_list("slice_off_cores", off, slices);
}

static void print_lateness(const struct stage *stage, uint32_t workers)
{
    static struct histogram all;
    for (uint32_t i = 0; i < workers; i++)
        if (stage->workers[i].lateness.count > 0)
            histogram_add(&all, &stage->workers[i].lateness);
    printf(",\"lateness_p50_us\":%.4g,\"lateness_p90_us\":%.4g,\"lateness_p99_us\":%.4g,\"lateness_max_us\":%.4g",
           histogram_quantile(&all, .5) / 1e3, histogram_quantile(&all, .9) / 1e3, histogram_quantile(&all, .99) / 1e3,
           (double)all.max / 1e3);
}

static void print_interrupts(const struct ticker *ticker, int state, const char *name)
{
    printf(",\"%s\":", name);
    for (size_t k = 0; ticker->interrupts_known && k < ticker->plan.cpu_count; k++)
        printf("%s%llu", k > 0 ? "," : "[", (unsigned long long)ticker->interrupts[state][k]);
    printf(ticker->interrupts_known ? "]" : "null");
}

static void print_counters(const struct ticker *ticker)
{
    struct worker all = {0};
    uint64_t starved = 0;
    for (uint32_t i = 0; i < ticker->plan.workers; i++) {
        const struct worker *one = &ticker->stage->workers[i];
        starved += one->due - one->delivered > one->due / 10;
        all.due += one->due;
        all.delivered += one->delivered;
        all.early += one->early;
        all.wakeups += one->wakeups;
        all.empty += one->empty;
        all.armings += one->armings;
        all.work_units += one->work_units;
        all.work_cpu_us += one->work_cpu_us;
        all.cpu_us += one->cpu_us;
        all.voluntary_switches += one->voluntary_switches;
        all.involuntary_switches += one->involuntary_switches;
    }
    all.cpu_us += ticker->domains.cpu_ns / 1000;
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"failed", ticker->failed},
        {"starved", starved}, /* processes that missed more than a tenth */
        {"due", all.due},
        {"delivered", all.delivered},
        {"missed", all.due - all.delivered},
        {"early", all.early},
        {"wakeups", all.wakeups},
        {"empty_wakeups", all.empty},
        {"armings", all.armings},
        {"work_units", all.work_units}, /* of --trigger-us each, within slices */
        {"work_cpu_us", all.work_cpu_us},
        {"cpu_us", all.cpu_us},
        {"voluntary_switches", all.voluntary_switches},
        {"involuntary_switches", all.involuntary_switches},
    };
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        printf(",\"%s\":%llu", counters[i].name, (unsigned long long)counters[i].value);
}

static void print_domains(const struct domains *domains)
{
    const struct domains_totals total = domains_total(domains);
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"cpu_us", domains->cpu_ns / 1000}, /* in the sum of all, too */
        {"charged_us", total.ns / 1000},    /* by the accounts, rests included */
        {"turns", total.turns},
        {"sleeps", total.sleeps},
        {"operations", total.operations},
        {"wakes", total.wakes},
        {"bells", total.bells},
        {"restarts", domains->restarts},
    };
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        printf(",\"domain_%s\":%llu", counters[i].name, (unsigned long long)counters[i].value);
}

void ticker_report(const struct ticker *ticker, size_t slices)
{
    print_counters(ticker);
    print_interrupts(ticker, ON, "timer_interrupts");
    if (ticker->cores) {
        print_interrupts(ticker, OFF, "off_timer_interrupts");
        print_cores(ticker, slices);
    } else {
        print_lateness(ticker->stage, ticker->plan.workers);
    }
    if (ticker->domains.count > 0)
        print_domains(&ticker->domains);
}
