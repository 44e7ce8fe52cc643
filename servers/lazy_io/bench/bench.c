/* bench.c: what every experiment has. */
#include "bench.h"

#include "arguments.h"
#include "calls.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define COMPLETION_MS 10000
#define PATIENCE_NS UINT64_C(2000000000)

static bool compiled_in(const char *engine)
{
    for (int i = 0; laio_engines[i] != NULL; i++)
        if (strcmp(laio_engine_name(laio_engines[i]), engine) == 0)
            return true;
    return false;
}

void bench_open(struct bench *bench)
{
    const struct bench_options *asked = &bench->options;
    struct laio_options options = {
        .threads = (unsigned)asked->threads,
        .threads_at_first = asked->threads > 0 && asked->threads < 4 ? (unsigned)asked->threads : 0,
        .optimistic = asked->optimistic,
        .watch = asked->watch,
        .tick_us = (unsigned)asked->tick_us,
    };
    char why[256] = "no reason given";
    bench->laio = laio_open(asked->engine, &options, why, sizeof why);
    if (bench->laio == NULL)
        fail(compiled_in(asked->engine) ? 3 : 2, "%s", why);
    snprintf(bench->watch, sizeof bench->watch, "%s", laio_watch(bench->laio));
}

void bench_close(struct bench *bench)
{
    if (bench->laio != NULL)
        laio_close(bench->laio);
    bench->laio = NULL;
}

long bench_wait(struct bench *bench)
{
    struct laio_operation *expected = laio_gethandle(bench->laio);
    struct laio_completion completion;
    int count;
    do
        count = laio_poll(bench->laio, &completion, 1, COMPLETION_MS);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        fail(1, "engine %s: laio_poll: %s", bench->options.engine, strerror(errno));
    if (count == 0)
        fail(1, "engine %s: no completion within %d s", bench->options.engine, COMPLETION_MS / 1000);
    if (completion.operation != expected)
        fail(1, "engine %s: a completion of another operation", bench->options.engine);
    errno = completion.error;
    return completion.result;
}

bool bench_unsupported(struct bench *bench, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(bench->why, sizeof bench->why, format, arguments);
    va_end(arguments);
    bench->supported = false;
    return false;
}

void bench_wrong(struct bench *bench, const char *format, ...)
{
    if (bench->errors++ > 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(bench->wrong, sizeof bench->wrong, format, arguments);
    va_end(arguments);
}

bool bench_supports(struct bench *bench, long number, const char *name)
{
    return laio_supports(bench->laio, number) ||
           bench_unsupported(bench, "engine %s has no %s", bench->options.engine, name);
}

bool bench_refused(struct bench *bench, const char *name)
{
    if (laio_count(bench->laio)->paths[LAIO_PATH_refused] == 0)
        return false;
    bench->errors = 0; /* ENOSYS is not a wrong result then */
    bench_unsupported(bench, "engine %s refuses this %s (ENOSYS)", bench->options.engine, name);
    return true;
}

void bench_begins(struct bench *bench)
{
    bench->begin_ns = now_ns();
}

static uint64_t passed_ns(const struct bench *bench)
{
    return now_ns() - bench->begin_ns;
}

static uint64_t budget_ns(const struct bench *bench)
{
    return (uint64_t)(bench->options.seconds * 1e9);
}

bool bench_is_patient(const struct bench *bench)
{
    uint64_t patience_ns = 10 * budget_ns(bench);
    return passed_ns(bench) < (patience_ns > PATIENCE_NS ? patience_ns : PATIENCE_NS);
}

bool bench_goes_on(const struct bench *bench, uint64_t minimum)
{
    return bench->samples == 0 || passed_ns(bench) < budget_ns(bench) ||
           (bench->samples < minimum && bench_is_patient(bench));
}

uint64_t bench_random(struct bench *bench)
{
    uint64_t x = bench->random += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t bench_below(struct bench *bench, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)bench_random(bench) * bound) >> 64);
}

void bench_shuffle(struct bench *bench, uint32_t *order, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = bench_below(bench, i);
        uint32_t value = order[i - 1];
        order[i - 1] = order[other];
        order[other] = value;
    }
}

void bench_thread(struct bench *bench, pthread_t *thread, uint64_t cpu, void *(*body)(void *argument), void *argument)
{
    cpu_set_t set = bench->home;
    if (cpu != NO_CPU) {
        CPU_ZERO(&set);
        CPU_SET((int)cpu, &set);
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    int error = pthread_create(thread, &attributes, body, argument);
    pthread_attr_destroy(&attributes);
    if (error != 0)
        fail(1, "a thread beside the loop: %s", strerror(error));
}

void bench_pin(struct bench *bench)
{
    sched_getaffinity(0, sizeof bench->home, &bench->home);
    const struct {
        uint64_t cpu;
        const char *option;
    } pins[] = {{bench->options.cpu, "--cpu"}, {bench->options.partner_cpu, "--partner-cpu"}};
    for (int i = 0; i < 2; i++)
        if (pins[i].cpu != NO_CPU && (pins[i].cpu >= CPU_SETSIZE || !CPU_ISSET((int)pins[i].cpu, &bench->home)))
            fail(2, "%s: this process may not run on CPU %llu", pins[i].option, (unsigned long long)pins[i].cpu);
    if (bench->options.cpu == NO_CPU)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((int)bench->options.cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        fail(1, "--cpu: %s", strerror(errno));
}

void print_operation(FILE *out, const char *name, const char *const states[], const char *what)
{
    char all[64] = "";
    for (int i = 0; i < STATES && states[i] != NULL; i++) {
        strncat(all, i > 0 ? "|" : "", sizeof all - strlen(all) - 1);
        strncat(all, states[i], sizeof all - strlen(all) - 1);
    }
    fprintf(out, "      %-10s %-20s %s\n", name, all, what);
}

void *bench_buffer(size_t bytes)
{
    size_t pages = (bytes + PAGE_BYTES - 1) / PAGE_BYTES;
    void *buffer = aligned_alloc(PAGE_BYTES, (pages > 0 ? pages : 1) * PAGE_BYTES);
    if (buffer == NULL)
        fail(1, "no memory for a buffer of %zu bytes", bytes);
    memset(buffer, 0, pages * PAGE_BYTES);
    return buffer;
}
