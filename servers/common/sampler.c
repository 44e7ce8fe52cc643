#include "sampler.h"

#include "arguments.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { PLACES = 1 << 16, TRIES = 64, INTERVAL_US = 1000 };

/* Threads may be interrupted at the same time: each word is written by one atomic operation. */
static struct sampler {
    struct place {
        uint64_t key; /* program counter × 2, + 1 behind a system call; 0 = free */
        uint64_t count;
    } places[PLACES];
    uint64_t lost;
    uint64_t begin_us;
    const char *file;
    pid_t owner; /* a forked child has no timer, and must not write */
} *sampler;

static uint64_t cpu_us(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

/* Where it was interrupted, 0 where unknown; and whether that is behind the instruction that enters the kernel, or at it:
 * the kernel steps back to a system call that it will begin anew. */
static uintptr_t interrupted_at(const ucontext_t *context, bool *kernel)
{
#if defined __x86_64__
    static const char enter[] = "\x0f\x05"; /* syscall */
    uintptr_t at = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined __aarch64__
    static const char enter[] = "\x01\x00\x00\xd4"; /* svc #0 */
    uintptr_t at = (uintptr_t)context->uc_mcontext.pc;
#else
    static const char enter[] = "";
    uintptr_t at = 0;
    (void)context;
#endif
    size_t bytes = sizeof enter - 1;
    *kernel = bytes > 0 && (memcmp((const void *)(at - bytes), enter, bytes) == 0 || memcmp((const void *)at, enter, bytes) == 0);
    return at;
}

static void take(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
    bool kernel;
    uint64_t key = interrupted_at(context, &kernel);
    key = key << 1 | kernel;
    for (uint32_t i = 0, at = (uint32_t)(key * 0x9e3779b97f4a7c15 >> 48); i < TRIES; i++, at = (at + 1) % PLACES) {
        struct place *place = &sampler->places[at];
        uint64_t found = 0;
        if (__atomic_compare_exchange_n(&place->key, &found, key, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
            found == key) {
            __atomic_fetch_add(&place->count, 1, __ATOMIC_RELAXED);
            return;
        }
    }
    __atomic_fetch_add(&sampler->lost, 1, __ATOMIC_RELAXED);
}

static void write_maps(FILE *out)
{
    char line[4400];
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        uint64_t begin, end, offset;
        char rights[5], path[4100] = "";
        int n = sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %4099[^\n]", &begin, &end, rights, &offset, path);
        if (n >= 4 && rights[2] == 'x')
            fprintf(out, "map %" PRIx64 " %" PRIx64 " %" PRIx64 " %s\n", begin, end, offset, n > 4 ? path : "-");
    }
    if (maps != NULL)
        fclose(maps);
}

/* A C library chooses among variants of these at the start of a program, and its symbol table does not name them. */
static void write_codes(FILE *out)
{
#define CODE(name) fprintf(out, "code %" PRIxPTR " " #name "\n", (uintptr_t)(void *)(name))
    CODE(memcpy);
    CODE(memmove);
    CODE(memset);
    CODE(memcmp);
    CODE(strlen);
    CODE(strncasecmp);
    CODE(strcmp);
#undef CODE
    void *(*find)(const void *, int, size_t) = memchr; /* memchr() may be a macro for two types */
    fprintf(out, "code %" PRIxPTR " memchr\n", (uintptr_t)(void *)find);
}

static void finish(void)
{
    const struct itimerval off = {0};
    if (getpid() != sampler->owner)
        return;
    setitimer(ITIMER_PROF, &off, NULL);
    uint64_t used_us = cpu_us() - sampler->begin_us;
    FILE *out = fopen(sampler->file, "we");
    if (out == NULL) {
        fprintf(stderr, "NAI_SAMPLES=%s: %s\n", sampler->file, strerror(errno));
        return;
    }
    fprintf(out, "nai-samples 1\ncpu_us %" PRIu64 "\ninterval_us %d\nlost %" PRIu64 "\n", used_us, INTERVAL_US, sampler->lost);
    write_maps(out);
    write_codes(out);
    for (uint32_t i = 0; i < PLACES; i++) {
        const struct place *place = &sampler->places[i];
        if (place->key != 0)
            fprintf(out, "at %" PRIx64 " %d %" PRIu64 "\n", place->key >> 1, (int)(place->key & 1), place->count);
    }
    if (fclose(out) != 0)
        fprintf(stderr, "NAI_SAMPLES=%s: %s\n", sampler->file, strerror(errno));
}

void sampler_start(void)
{
    const char *file = getenv("NAI_SAMPLES");
    if (file == NULL || *file == '\0' || sampler != NULL)
        return;
    struct sigaction action = {.sa_sigaction = take, .sa_flags = SA_SIGINFO | SA_RESTART};
    const struct itimerval every = {.it_interval.tv_usec = INTERVAL_US, .it_value.tv_usec = INTERVAL_US};
    sampler = calloc(1, sizeof *sampler);
    if (sampler == NULL)
        fail(1, "NAI_SAMPLES: %s", strerror(ENOMEM));
    sampler->file = file;
    sampler->owner = getpid();
    sampler->begin_us = cpu_us();
    for (size_t i = 0; i < sizeof *sampler; i += 4096) /* mapped now, not under way */
        ((volatile uint8_t *)sampler)[i] = 0;
    if (atexit(finish) != 0 || sigaction(SIGPROF, &action, NULL) != 0 || setitimer(ITIMER_PROF, &every, NULL) != 0)
        fail(1, "NAI_SAMPLES: %s", strerror(errno));
}
