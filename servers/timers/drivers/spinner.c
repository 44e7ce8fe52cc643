/* spinner.c: threads of idle priority that look at the time. */
#include "spinner.h"

#include "clock.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CALIBRATION_NS 5000000

struct spinner {
    _Alignas(64) _Atomic uint64_t own; /* alone in its cache line */
    _Alignas(64) uint64_t gap; /* units of the counter */
    _Atomic bool over;
    pthread_t thread;
};

static void *spin(void *argument)
{
    struct spinner *spinner = argument;
    uint64_t last = spinner_stamp(), own = 0;
    while (!atomic_load_explicit(&spinner->over, memory_order_relaxed)) {
        const uint64_t now = spinner_stamp(), apart = now - last;
        if (apart < spinner->gap)
            own += apart;
        last = now;
        atomic_store_explicit(&spinner->own, own, memory_order_relaxed);
    }
    return NULL;
}

static double stamps_per_ns(void)
{
    const uint64_t begin_ns = monotonic_ns(), begin = spinner_stamp();
    uint64_t now_ns;
    do
        now_ns = monotonic_ns();
    while (now_ns - begin_ns < CALIBRATION_NS);
    return (double)(spinner_stamp() - begin) / (double)(now_ns - begin_ns);
}

struct spinner *spinner_start(unsigned cpu, uint64_t gap_ns)
{
    struct spinner *spinner = aligned_alloc(64, sizeof *spinner);
    if (spinner == NULL)
        return NULL;
    *spinner = (struct spinner){.gap = (uint64_t)((double)gap_ns * stamps_per_ns())};
    const struct sched_param none = {0};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_attr_t how;
    pthread_attr_init(&how);
    pthread_attr_setaffinity_np(&how, sizeof set, &set);
    int error = pthread_create(&spinner->thread, &how, spin, spinner);
    pthread_attr_destroy(&how);
    if (error == 0) {
        error = pthread_setschedparam(spinner->thread, SCHED_IDLE, &none);
        if (error == 0)
            return spinner;
        atomic_store(&spinner->over, true);
        pthread_join(spinner->thread, NULL);
    }
    free(spinner);
    errno = error;
    return NULL;
}

void spinner_stop(struct spinner *spinner)
{
    atomic_store(&spinner->over, true);
    pthread_join(spinner->thread, NULL);
    free(spinner);
}

struct spinner_reading spinner_read(const struct spinner *spinner)
{
    return (struct spinner_reading){.own = atomic_load(&spinner->own), .at = spinner_stamp()};
}

double spinner_gaps(struct spinner_reading from, struct spinner_reading to)
{
    const double all = (double)(to.at - from.at), own = (double)(to.own - from.own);
    return own < all ? 1 - own / all : 0;
}
