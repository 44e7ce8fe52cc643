/* timerbench.c: timerbench MIX --facility NAME: what an operation on one of n timers costs; prints one JSON object.
 *
 * Beside the facility runs --beside another one, in turn, a slice each: the ratio is of pairs of slices. Both do the
 * same, to timers and with deadlines that are drawn alike; and so does a loop that has none, for its own price.
 */
#include "arguments.h"
#include "mixes.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HUGE_PAGE (UINT64_C(2) << 20)
#define SLICES_AT_MOST 10000u
#define SLICE_OPERATIONS_AT_LEAST 4096u

/* In the C library's place: the clock that libev and libuv see. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    *now = (struct timespec){(time_t)(virtual_ms / 1000), (long)(virtual_ms % 1000) * 1000000};
    return 0;
}

/* CLOCK_MONOTONIC; or CLOCK_THREAD_CPUTIME_ID, which stands still while somebody else has the CPU. */
static uint64_t real_ns(clockid_t clock)
{
    struct timespec now;
    syscall(SYS_clock_gettime, clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool huge_pages;

/* Of a million timers an operation finds its own and two others anywhere: on small pages a tenth to a quarter of what it
 * takes is the walk from page to page, of which a caller's memory may have less. */
void *table_for(size_t bytes)
{
    const size_t page = huge_pages ? HUGE_PAGE : sizeof(max_align_t), whole = (bytes + page - 1) / page * page;
    void *table = aligned_alloc(page, whole);
    if (table == NULL)
        return NULL;
    if (huge_pages && madvise(table, whole, MADV_HUGEPAGE) != 0)
        fail(3, "--pages huge: %s", strerror(errno));
    return memset(table, 0, whole);
}

static const struct subject *const others[] = {
    &subject_nothing, &subject_timerfd,
#ifdef BENCH_WITH_LIBEV
    &subject_libev,
#endif
#ifdef BENCH_WITH_LIBUV
    &subject_libuv,
#endif
};

static const struct subject *find(const char *name)
{
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i]->name, name) == 0)
            return others[i];
    if (strcmp(name, "libev") == 0 || strcmp(name, "libuv") == 0)
        fail(3, "%s: not built in; as root: make system", name);
    return &subject_ours;
}

/* One of those that run in turn. */
struct side {
    const char *name;
    const struct subject *subject;
    void *self;
    /* its own clock, its chance, and what it did */
    uint64_t now_ms, chance, expiries, operations, steps;
    double *ns; /* an operation, by slice */
};

static void turn_to(const struct side *side)
{
    whose_turn = side->self;
    virtual_ms = side->now_ms;
    turn.subject = side->subject;
    turn.chance = side->chance;
    turn.expiries = 0;
}

static void turn_from(struct side *side)
{
    side->now_ms = virtual_ms;
    side->chance = turn.chance;
    side->expiries += turn.expiries;
}

static void open_side(struct side *side, const char *name, uint64_t seed)
{
    char why[256] = "no memory";
    *side = (struct side){.name = name, .subject = find(name), .chance = seed};
    if (turn.mix->expires && (side->subject->real_time || side->subject == &subject_nothing))
        fail(3, "%s: nothing expires there by a virtual clock", name);
    side->self = side->subject->open(name, turn.timers, why, sizeof why);
    if (side->self == NULL)
        fail(side->subject == &subject_ours ? 2 : 3, "%s", why);
    side->ns = calloc(SLICES_AT_MOST, sizeof *side->ns);
    if (side->ns == NULL)
        fail(1, "no memory");
    turn_to(side);
    start_all();
    turn_from(side);
}

/* What it has counted so far. */
static uint64_t steps_of(const struct side *side)
{
    return side->subject->steps != NULL ? side->subject->steps(side->self) : 0;
}

static void run_slice(struct side *side, uint64_t wanted, size_t slice)
{
    uint64_t done = 0, took_ns = 0;
    turn_to(side);
    while (done < wanted) {
        if (turn.mix->prepare != NULL)
            turn.mix->prepare();
        const uint64_t steps = steps_of(side), begin_ns = real_ns(CLOCK_THREAD_CPUTIME_ID);
        done += turn.mix->run(wanted);
        took_ns += real_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns;
        side->steps += steps_of(side) - steps;
    }
    side->ns[slice] = (double)took_ns / (double)done;
    side->operations += done;
    turn_from(side);
}

static double steps_per_operation(const struct side *side)
{
    return (double)side->steps / (double)side->operations;
}

static void print_level(const char *name, bool known, double level)
{
    if (known)
        printf(",\"%s\":%.4g", name, level);
    else
        printf(",\"%s\":null", name);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void print_help(const struct argument *table, size_t count)
{
    puts("timerbench MIX --facility NAME [option …]: what an operation on timers costs, one JSON object\n\nmixes:");
    for (size_t i = 0; i < mix_count; i++)
        printf("  %-12s %s\n", mixes[i].name, mixes[i].what);
    puts("\nfacilities: list heap heap4 hashed wheel lazy; nothing (the loop alone) timerfd libev libuv\n\noptions:");
    arguments_print(table, count);
    puts("\nloop_ns is what the mix takes if there are no timers to be touched: it is in operation_ns.\n\n"
         "exit status: 0 = measured; 2 = a bad option; 3 = it is not here, or refused. A line on stderr says why.");
}

static void pin(uint64_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((int)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        fail(3, "--cpu %llu: this process may not run there", (unsigned long long)cpu);
}

int main(int argc, char **argv)
{
    const char *facility = NULL, *beside = "wheel", *pages = "small";
    uint64_t timers = 1000, seed = 1, cpu = UINT64_MAX;
    double seconds = .2;
    const struct argument table[] = {
        {"facility", ARGUMENT_TEXT, &facility, 0, 0, "NAME", "whose timers"},
        {"beside", ARGUMENT_TEXT, &beside, 0, 0, "NAME", "and in turn with it; default wheel"},
        {"timers", ARGUMENT_INTEGER, &timers, 1, 10000000, "N", "that are pending; default 1000"},
        {"pages", ARGUMENT_CHOICE, &pages, 0, 0, "small|huge", "that the timers lie on; default small"},
        {"seconds", ARGUMENT_NUMBER, &seconds, .001, 3600, "S", "to measure for; default 0.2"},
        {"seed", ARGUMENT_INTEGER, &seed, 0, 1e18, "N", "of places and deadlines; default 1"},
        {"cpu", ARGUMENT_INTEGER, &cpu, 0, CPU_SETSIZE - 1, "N", "run on this CPU only"},
    };
    const size_t options = sizeof table / sizeof *table;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0) {
            print_help(table, options);
            return 0;
        }
    const struct mix *mix = NULL;
    for (size_t i = 0; i < mix_count && argc > 1; i++)
        if (strcmp(mixes[i].name, argv[1]) == 0)
            mix = &mixes[i];
    if (mix == NULL)
        fail(2, argc > 1 ? "no mix %s (see --help)" : "which mix? (see --help)", argv[1]);
    arguments_read(argc - 1, argv + 1, "", table, options);
    if (facility == NULL)
        fail(2, "--facility is needed (see --help)");
    if (cpu != UINT64_MAX)
        pin(cpu);

    huge_pages = strcmp(pages, "huge") == 0;
    turn.mix = mix;
    turn.timers = (uint32_t)timers;
    const int count = mix->expires ? 2 : 3; /* the third is the loop alone */
    struct side sides[3];
    const char *const names[] = {facility, beside, subject_nothing.name};
    for (int k = 0; k < count; k++)
        open_side(&sides[k], names[k], seed);

    /* The first slices touch everything once, and are not counted. */
    const uint64_t wanted = timers > SLICE_OPERATIONS_AT_LEAST ? timers : SLICE_OPERATIONS_AT_LEAST;
    for (int k = 0; k < count; k++) {
        run_slice(&sides[k], wanted, 0);
        sides[k].expiries = sides[k].operations = sides[k].steps = 0;
    }
    size_t slices = 0;
    const uint64_t begin_ns = real_ns(CLOCK_MONOTONIC);
    do {
        for (int k = 0; k < 2; k++)
            run_slice(&sides[slices % 2 == 0 ? k : 1 - k], wanted, slices);
        if (count > 2)
            run_slice(&sides[2], wanted, slices);
        slices++;
    } while (slices < SLICES_AT_MOST && (double)(real_ns(CLOCK_MONOTONIC) - begin_ns) < seconds * 1e9);

    double *ratios = calloc(slices, sizeof *ratios);
    if (ratios == NULL)
        fail(1, "no memory");
    for (size_t i = 0; i < slices; i++)
        ratios[i] = sides[0].ns[i] / sides[1].ns[i];
    printf("{\"experiment\":\"%s\",\"facility\":\"%s\",\"beside\":\"%s\",\"pages\":\"%s\",\"timers\":%llu,\"slices\":%zu,"
           "\"operations\":%llu,\"expiries\":%llu,\"beside_expiries\":%llu,\"operation_ns\":%.4g,"
           "\"beside_operation_ns\":%.4g,\"ratio_beside\":%.6g",
           mix->name, facility, beside, pages, (unsigned long long)timers, slices,
           (unsigned long long)sides[0].operations, (unsigned long long)sides[0].expiries,
           (unsigned long long)sides[1].expiries, median(sides[0].ns, slices), median(sides[1].ns, slices),
           median(ratios, slices));
    print_level("loop_ns", count > 2, count > 2 ? median(sides[2].ns, slices) : 0);
    print_level("steps_per_operation", sides[0].subject->steps != NULL, steps_per_operation(&sides[0]));
    print_level("beside_steps_per_operation", sides[1].subject->steps != NULL, steps_per_operation(&sides[1]));
    puts("}");
    for (int k = 0; k < count; k++) {
        whose_turn = sides[k].self;
        sides[k].subject->close(sides[k].self);
        free(sides[k].ns);
    }
    free(ratios);
    return 0;
}
