/* price_calls.c: prices of what returns at once: a loop of calls, less the same loop without them.
 *
 * timerfd_settime(2) has several, by whether the CPU's next deadline changes (kernel/time/hrtimer.c,
 * hrtimer_reprogram()): if so the hardware is told, and a virtual machine leaves for its host to do that.
 *
 * untouched: a timer that is a minute ahead is behind the clock tick of a CPU that works, and behind another timer,
 *   should there be none.
 * reprogrammed: one timer after another is armed, each a little earlier than the last, all within a fraction of a tick:
 *   each becomes the earliest, and the hardware is told once. They are disarmed where nobody looks at the time.
 * moved: one that is the earliest is armed again: it is cancelled first, for which the hardware is told of the deadline
 *   after it, and then started, for which it is told again (fs/timerfd.c, do_timerfd_settime()).
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
#define NEAR_NS INT64_C(250000) /* the tick, 1 to 10 ms, is rarely nearer */
#define STEP_NS INT64_C(5000)
#define NEAR 16u /* armed one after another: divides what a slice may hold */

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
    int one, earlier, near[NEAR];
};

static int open_file(void)
{
    const int file = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (file < 0)
        fail(3, "timerfd_create: %s", strerror(errno));
    return file;
}

static void open_files(struct costs *costs)
{
    struct files *files = malloc(sizeof *files);
    if (files == NULL)
        fail(1, "no memory");
    files->one = open_file();
    files->earlier = open_file();
    for (unsigned k = 0; k < NEAR; k++)
        files->near[k] = open_file();
    costs->its = files;
}

static void close_files(struct costs *costs)
{
    struct files *files = costs->its;
    close(files->one);
    close(files->earlier);
    for (unsigned k = 0; k < NEAR; k++)
        close(files->near[k]);
    free(files);
}

static void set(int file, int64_t ns, int flags)
{
    const struct itimerspec when = {.it_value = {ns / 1000000000, ns % 1000000000}};
    timerfd_settime(file, flags, &when, NULL);
}

static struct taken settimes_far(struct costs *costs, uint64_t times, bool on)
{
    const struct files *files = costs->its;
    set(files->earlier, EARLIER_NS, 0);
    LOOP(times, on, set(files->one, FAR_NS, 0));
}

static struct taken settimes_moving(struct costs *costs, uint64_t times, bool on)
{
    const struct files *files = costs->its;
    set(files->one, FAR_NS, 0); /* nothing is left of the slice before that could expire in one that is off */
    LOOP(times, on, set(files->one, NEAR_NS, 0));
}

static struct taken settimes_near(struct costs *costs, uint64_t times, bool on)
{
    const struct files *files = costs->its;
    uint64_t took_ns = 0;
    for (uint64_t done = 0; done < times; done += NEAR) {
        const uint64_t begin_ns = monotonic_ns();
        for (unsigned k = 0; on && k < NEAR; k++)
            set(files->near[k], (int64_t)begin_ns + NEAR_NS - k * STEP_NS, TFD_TIMER_ABSTIME);
        took_ns += monotonic_ns() - begin_ns;
        for (unsigned k = 0; k < NEAR; k++)
            set(files->near[k], 0, 0);
    }
    return (struct taken){.ns = (double)took_ns};
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
    .what = "timerfd_settime that becomes the CPU's next deadline: the hardware is told (a virtual machine exits)",
    .open = open_files,
    .slice = settimes_near,
    .close = close_files,
};
const struct price price_timerfd_moved = {
    .name = "timerfd-moved",
    .what = "timerfd_settime of the one that is the next deadline: the hardware is told twice",
    .open = open_files,
    .slice = settimes_moving,
    .close = close_files,
};
