/* price_calls.c: prices of what returns at once: a loop of calls, less the same loop without them.
 *
 * timerfd_settime(2) has two, by whether the CPU's next deadline changes (kernel/time/hrtimer.c,
 * hrtimer_reprogram()): if so the hardware is told, and a virtual machine leaves for its host to do that. One timer a
 * minute ahead is behind the clock tick of a CPU that works (and behind another timer, should there be none): nothing
 * is touched. One that is a fraction of a tick ahead, and is moved before it expires, is the earliest each time.
 */
#include "arguments.h"
#include "clock.h"
#include "price.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define FAR_NS INT64_C(60000000000)
#define EARLIER_NS INT64_C(1000000000)
#define NEAR_NS INT64_C(200000) /* the tick, 1 to 10 ms, is rarely nearer */

static void open_nothing(struct costs *costs)
{
    (void)costs;
}

/* `call` so many times, or nothing; a macro, that no call of a function is in the price. */
#define LOOP(times, on, call)                                                                                          \
    do {                                                                                                               \
        const uint64_t begin_ns = monotonic_ns();                                                                      \
        if (on)                                                                                                        \
            for (uint64_t i = 0; i < (times); i++) {                                                                   \
                call;                                                                                                  \
                __asm__ volatile("" : "+r"(i) : : "memory");                                                           \
            }                                                                                                          \
        else                                                                                                           \
            for (uint64_t i = 0; i < (times); i++)                                                                     \
                __asm__ volatile("" : "+r"(i) : : "memory");                                                           \
        return (struct taken){.ns = (double)(monotonic_ns() - begin_ns)};                                              \
    } while (0)

static struct taken stamps(struct costs *costs, uint64_t times, bool on)
{
    (void)costs;
    LOOP(times, on, {
        uint64_t stamp = spinner_stamp();
        __asm__ volatile("" : : "r"(stamp));
    });
}

static struct taken clocks(struct costs *costs, uint64_t times, bool on)
{
    struct timespec now;
    (void)costs;
    LOOP(times, on, clock_gettime(CLOCK_MONOTONIC, &now));
}

static struct taken null_calls(struct costs *costs, uint64_t times, bool on)
{
    (void)costs;
    LOOP(times, on, syscall(SYS_getppid)); /* the C library keeps no copy of it, as it may of getpid() */
}

struct files {
    int file, earlier;
};

static void open_files(struct costs *costs)
{
    struct files *files = malloc(sizeof *files);
    if (files == NULL || (files->file = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) < 0 ||
        (files->earlier = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) < 0)
        fail(3, "timerfd_create: %s", strerror(errno));
    costs->its = files;
}

static void close_files(struct costs *costs)
{
    struct files *files = costs->its;
    close(files->file);
    close(files->earlier);
    free(files);
}

static void set(int file, int64_t ahead_ns)
{
    const struct itimerspec when = {.it_value = {ahead_ns / 1000000000, ahead_ns % 1000000000}};
    timerfd_settime(file, 0, &when, NULL);
}

static struct taken settimes_far(struct costs *costs, uint64_t times, bool on)
{
    const struct files *files = costs->its;
    set(files->earlier, EARLIER_NS);
    LOOP(times, on, set(files->file, FAR_NS));
}

static struct taken settimes_near(struct costs *costs, uint64_t times, bool on)
{
    const struct files *files = costs->its;
    set(files->file, FAR_NS); /* nothing is left of the slice before that could expire in one that is off */
    LOOP(times, on, set(files->file, NEAR_NS));
}

const struct price price_stamp = {
    .name = "stamp",
    .what = "a read of the time stamp counter (rdtsc)",
    .open = open_nothing,
    .slice = stamps,
};
const struct price price_clock = {
    .name = "clock",
    .what = "clock_gettime(CLOCK_MONOTONIC), by the vDSO where the clock source allows it",
    .open = open_nothing,
    .slice = clocks,
};
const struct price price_null_call = {
    .name = "null-call",
    .what = "a system call that does next to nothing: getppid",
    .open = open_nothing,
    .slice = null_calls,
};
const struct price price_timerfd_untouched = {
    .name = "timerfd-untouched",
    .what = "timerfd_settime behind timers that are earlier: the hardware's deadline stays",
    .open = open_files,
    .slice = settimes_far,
    .close = close_files,
};
const struct price price_timerfd_reprogrammed = {
    .name = "timerfd-reprogrammed",
    .what = "timerfd_settime that moves the CPU's next deadline: the hardware is told (in a virtual machine, an exit)",
    .open = open_files,
    .slice = settimes_near,
    .close = close_files,
};
