/* timerbench.c: timerbench MIX --facility NAME: what an operation on one of n timers costs; prints one JSON object.
 *
 * Beside the facility runs --beside another one, in turn, a slice each: the ratio is of pairs of slices. Both do the
 * same, to timers and with deadlines that are drawn alike.
 */
#include "arguments.h"
#include "subjects.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLICES_AT_MOST 10000u
#define SLICE_OPERATIONS_AT_LEAST 4096u

uint64_t virtual_ms;
void *whose_turn;

/* In the C library's place: the clock that libev and libuv see. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    *now = (struct timespec){(time_t)(virtual_ms / 1000), (long)(virtual_ms % 1000) * 1000000};
    return 0;
}

static uint64_t real_ns(void)
{
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((state >> 32) * below >> 32);
}

static const struct subject *subject; /* whose turn it is */
static uint64_t expiries;
static bool again;
static uint32_t timer_count, least_ms, most_ms; /* from which is drawn */

static uint32_t any_ahead_ms(void)
{
    return least_ms + draw(most_ms - least_ms);
}

void expired(uint32_t i)
{
    expiries++;
    if (again)
        subject->start(whose_turn, i, any_ahead_ms());
}

/* The mixes */

struct mix {
    const char *name, *what;
    uint32_t least_ms, most_ms; /* of a deadline */
    /* Do operations, whose number it returns, until `wanted` are done or more. */
    uint64_t (*run)(uint64_t wanted);
    bool expires;
};

/* Every timer is re-armed once in 25 ms on average: what its connection receives. One in twenty is of a connection that
 * ends, and another that begins. */
static uint64_t run_tcp(uint64_t wanted)
{
    const uint32_t a_tick = timer_count / 25 + 1;
    uint64_t done = 0;
    while (done < wanted) {
        for (uint32_t i = 0; i < a_tick; i++, done++) {
            const uint32_t place = draw(timer_count), ahead_ms = any_ahead_ms();
            if (ahead_ms % 20 == 0) {
                subject->cancel(whose_turn, place);
                subject->start(whose_turn, place, ahead_ms);
            } else {
                subject->rearm(whose_turn, place, ahead_ms);
            }
        }
        virtual_ms++;
        subject->turn(whose_turn);
    }
    return done;
}

/* Whatever expires is started again: an operation is both. */
static uint64_t run_expiry(uint64_t wanted)
{
    const uint64_t before = expiries;
    again = true;
    while (expiries - before < wanted) {
        virtual_ms++;
        subject->turn(whose_turn);
    }
    again = false;
    return expiries - before;
}

/* One that was pending is cancelled, and started: an operation is both. */
static uint64_t run_cancel(uint64_t wanted)
{
    for (uint64_t done = 0; done < wanted; done++) {
        const uint32_t place = draw(timer_count);
        subject->cancel(whose_turn, place);
        subject->start(whose_turn, place, any_ahead_ms());
    }
    return wanted;
}

static uint64_t run_rearm(uint64_t wanted)
{
    for (uint64_t done = 0; done < wanted; done++)
        subject->rearm(whose_turn, draw(timer_count), any_ahead_ms());
    return wanted;
}

static const struct mix mixes[] = {
    {"tcp", "time-outs of connections: re-armed or cancelled, hardly one expires", 200, 1200, run_tcp, false},
    {"expiry", "all expire, and are started again", 1, 2000, run_expiry, true},
    {"cancel", "cancel and start, without turns of the loop", 200, 1200, run_cancel, false},
    {"rearm", "re-arm, without turns of the loop", 200, 1200, run_rearm, false},
};
#define MIXES (sizeof mixes / sizeof *mixes)

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

/* One of the two that run in turn. */
struct side {
    const char *name;
    const struct subject *subject;
    void *self;
    /* its own clock, its chance, and what it did */
    uint64_t now_ms, state, expiries, operations, steps;
    double *ns; /* an operation, by slice */
};

static void open_side(struct side *side, const struct mix *mix, uint64_t seed)
{
    char why[256] = "no memory";
    side->state = seed;
    side->subject = find(side->name);
    if (mix->expires && (side->subject->real_time || side->subject == &subject_nothing))
        fail(3, "%s: nothing expires there by a virtual clock", side->name);
    side->self = side->subject->open(side->name, timer_count, why, sizeof why);
    if (side->self == NULL)
        fail(side->subject == &subject_ours ? 2 : 3, "%s", why);
    side->ns = calloc(SLICES_AT_MOST, sizeof *side->ns);
    if (side->ns == NULL)
        fail(1, "no memory");
}

static void turn_to(const struct side *side)
{
    subject = side->subject;
    whose_turn = side->self;
    virtual_ms = side->now_ms;
    state = side->state;
    expiries = 0;
}

static void turn_from(struct side *side)
{
    side->now_ms = virtual_ms;
    side->state = state;
    side->expiries += expiries;
}

static void start_all(struct side *side)
{
    turn_to(side);
    for (uint32_t i = 0; i < timer_count; i++)
        subject->start(whose_turn, i, any_ahead_ms());
    turn_from(side);
}

static void run_slice(struct side *side, const struct mix *mix, uint64_t wanted, size_t slice)
{
    turn_to(side);
    uint64_t begin_ns = real_ns();
    uint64_t done = mix->run(wanted);
    side->ns[slice] = (double)(real_ns() - begin_ns) / (double)done;
    side->operations += done;
    turn_from(side);
}

/* What it has counted so far, less what it had when the measurement began. */
static uint64_t steps_of(const struct side *side)
{
    return side->subject->steps != NULL ? side->subject->steps(side->self) - side->steps : 0;
}

static void print_steps(const struct side *side, const char *name)
{
    if (side->subject->steps != NULL)
        printf(",\"%s\":%.4g", name, (double)steps_of(side) / (double)side->operations);
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
    for (size_t i = 0; i < MIXES; i++)
        printf("  %-8s %s\n", mixes[i].name, mixes[i].what);
    puts("\nfacilities: list heap heap4 hashed wheel lazy; nothing (the loop alone) timerfd libev libuv\n\noptions:");
    arguments_print(table, count);
    puts("\nexit status: 0 = measured; 2 = a bad option; 3 = the facility is not here. A line on stderr says why.");
}

static void pin(uint64_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((int)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        fail(1, "--cpu %llu: this process may not run there", (unsigned long long)cpu);
}

int main(int argc, char **argv)
{
    const char *facility = NULL, *beside = "wheel";
    uint64_t timers = 1000, seed = 1, cpu = UINT64_MAX;
    double seconds = .2;
    const struct argument table[] = {
        {"facility", ARGUMENT_TEXT, &facility, 0, 0, "NAME", "whose timers"},
        {"beside", ARGUMENT_TEXT, &beside, 0, 0, "NAME", "and in turn with it; default wheel"},
        {"timers", ARGUMENT_INTEGER, &timers, 1, 10000000, "N", "that are pending; default 1000"},
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
    for (size_t i = 0; i < MIXES && argc > 1; i++)
        if (strcmp(mixes[i].name, argv[1]) == 0)
            mix = &mixes[i];
    if (mix == NULL)
        fail(2, argc > 1 ? "no mix %s (see --help)" : "which mix? (see --help)", argv[1]);
    arguments_read(argc - 1, argv + 1, "", table, options);
    if (facility == NULL)
        fail(2, "--facility is needed (see --help)");
    if (cpu != UINT64_MAX)
        pin(cpu);

    timer_count = (uint32_t)timers;
    least_ms = mix->least_ms;
    most_ms = mix->most_ms;
    struct side sides[2] = {{.name = facility}, {.name = beside}};
    for (int k = 0; k < 2; k++) {
        open_side(&sides[k], mix, seed);
        start_all(&sides[k]);
    }

    /* The first slices touch everything once, and are not counted. */
    const uint64_t wanted = timers > SLICE_OPERATIONS_AT_LEAST ? timers : SLICE_OPERATIONS_AT_LEAST;
    for (int k = 0; k < 2; k++)
        run_slice(&sides[k], mix, wanted, 0);
    for (int k = 0; k < 2; k++) {
        sides[k].expiries = sides[k].operations = 0;
        sides[k].steps = steps_of(&sides[k]);
    }
    size_t slices = 0;
    const uint64_t begin_ns = real_ns();
    do {
        for (int k = 0; k < 2; k++)
            run_slice(&sides[slices % 2 == 0 ? k : 1 - k], mix, wanted, slices);
        slices++;
    } while (slices < SLICES_AT_MOST && (double)(real_ns() - begin_ns) < seconds * 1e9);

    double *ratios = calloc(slices, sizeof *ratios);
    if (ratios == NULL)
        fail(1, "no memory");
    for (size_t i = 0; i < slices; i++)
        ratios[i] = sides[0].ns[i] / sides[1].ns[i];
    printf("{\"experiment\":\"%s\",\"facility\":\"%s\",\"beside\":\"%s\",\"timers\":%llu,\"slices\":%zu,"
           "\"operations\":%llu,\"expiries\":%llu,\"beside_expiries\":%llu,\"operation_ns\":%.4g,"
           "\"beside_operation_ns\":%.4g,\"ratio_beside\":%.6g",
           mix->name, facility, beside, (unsigned long long)timers, slices, (unsigned long long)sides[0].operations,
           (unsigned long long)sides[0].expiries, (unsigned long long)sides[1].expiries, median(sides[0].ns, slices),
           median(sides[1].ns, slices), median(ratios, slices));
    print_steps(&sides[0], "steps_per_operation");
    print_steps(&sides[1], "beside_steps_per_operation");
    puts("}");
    for (int k = 0; k < 2; k++) {
        whose_turn = sides[k].self;
        sides[k].subject->close(sides[k].self);
        free(sides[k].ns);
    }
    free(ratios);
    return 0;
}
