/* test_fiber.c: thousands of stacks, switched at random; what a switch preserves; where a stack ends.
 * test_fiber [FIBERS] takes another number of them than FIBERS, for slow machines. */
#include "fiber.h"

#include "bounds.h"
#include "check.h"

#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int checks_failed;

#ifdef __SANITIZE_THREAD__ /* a fiber costs it milliseconds */
static size_t fibers = 400;
#else
static size_t fibers = 4000;
#endif

/* Registers: patterns in all that a call must preserve, a switch to a fiber that does the same with others, and a look.
 * One asm statement around the call, so that no compiler can have moved them meanwhile. */

struct patterns {
    uint64_t in[16], out[16];
};

#if defined(__x86_64__)
enum { PRESERVED = 5 };

static void with_patterns(struct patterns *patterns, void (*call)(void))
{
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\t" /* the red zone */
                     "pushq %%rbp\n\tmovq %%rsp, %%rbp\n\tandq $-16, %%rsp\n\tpushq %%rbp\n\tpushq %%rdi\n\t"
                     "movq 0(%%rdi), %%rbx\n\tmovq 8(%%rdi), %%r12\n\tmovq 16(%%rdi), %%r13\n\t"
                     "movq 24(%%rdi), %%r14\n\tmovq 32(%%rdi), %%r15\n\t"
                     "call *%%rax\n\t"
                     "popq %%rdi\n\tpopq %%rbp\n\t"
                     "movq %%rbx, 128(%%rdi)\n\tmovq %%r12, 136(%%rdi)\n\tmovq %%r13, 144(%%rdi)\n\t"
                     "movq %%r14, 152(%%rdi)\n\tmovq %%r15, 160(%%rdi)\n\t"
                     "movq %%rbp, %%rsp\n\tpopq %%rbp\n\tleaq 128(%%rsp), %%rsp"
                     : "+D"(patterns), "+a"(call)
                     :
                     : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc",
                       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}
#elif defined(__aarch64__)
enum { PRESERVED = 16 };

static void with_patterns(struct patterns *patterns, void (*call)(void))
{
    register struct patterns *x0 __asm__("x0") = patterns;
    register void (*x1)(void) __asm__("x1") = call;
    __asm__ volatile("stp x0, x29, [sp, #-16]!\n\t"
                     "ldp x19, x20, [x0, #0]\n\tldp x21, x22, [x0, #16]\n\tldp x23, x24, [x0, #32]\n\t"
                     "ldp x25, x26, [x0, #48]\n\t"
                     "ldp d8, d9, [x0, #64]\n\tldp d10, d11, [x0, #80]\n\tldp d12, d13, [x0, #96]\n\t"
                     "ldp d14, d15, [x0, #112]\n\t"
                     "blr x1\n\t"
                     "ldp x0, x29, [sp], #16\n\t"
                     "stp x19, x20, [x0, #128]\n\tstp x21, x22, [x0, #144]\n\tstp x23, x24, [x0, #160]\n\t"
                     "stp x25, x26, [x0, #176]\n\t"
                     "stp d8, d9, [x0, #192]\n\tstp d10, d11, [x0, #208]\n\tstp d12, d13, [x0, #224]\n\t"
                     "stp d14, d15, [x0, #240]"
                     : "+r"(x0), "+r"(x1)
                     :
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
                       "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "d0", "d1",
                       "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11", "d12", "d13", "d14", "d15", "d16",
                       "d17", "d18", "d19", "d20", "d21", "d22", "d23", "d24", "d25", "d26", "d27", "d28", "d29",
                       "d30", "d31", "memory", "cc");
}
#endif

static void across(uint64_t seed, void (*call)(void), const char *who)
{
    struct patterns patterns = {{0}, {0}};
    for (int i = 0; i < PRESERVED; i++)
        patterns.in[i] = seed * 0x9E3779B97F4A7C15u + (uint64_t)i;
    with_patterns(&patterns, call);
    CHECK(memcmp(patterns.in, patterns.out, PRESERVED * sizeof patterns.in[0]) == 0, "%s: a register changed", who);
}

static void park_with_patterns(void *argument)
{
    for (uint64_t turn = 0; turn < 100; turn++)
        across(1000 + turn + (uint64_t)(uintptr_t)argument, fiber_park, "fiber");
}

static struct fiber registers_fiber;
static void resume_registers_fiber(void)
{
    fiber_resume(&registers_fiber);
}

static void check_registers(void)
{
    NEED(fiber_create(&registers_fiber, park_with_patterns, NULL) == 0);
    for (uint64_t turn = 0; !registers_fiber.finished; turn++)
        across(turn, resume_registers_fiber, "resumer");
    fiber_destroy(&registers_fiber);
}

/* Each side keeps its rounding mode, a new fiber begins with that of its maker. */

static void round_downward(void *argument)
{
    int *begins_with = argument;
    *begins_with = fegetround();
    fesetround(FE_DOWNWARD);
    fiber_park();
    CHECK(fegetround() == FE_DOWNWARD, "the fiber's rounding mode");
    volatile double one = 1, three = 3, third = one / three;
    volatile long double long_third = (long double)one / (long double)three;
    CHECK(third * three <= 1 && long_third * three < 1, "both units round down");
}

static void check_floating_point(void)
{
    struct fiber fiber;
    int begins_with = -1;
    fesetround(FE_UPWARD);
    NEED(fiber_create(&fiber, round_downward, &begins_with) == 0);
    fesetround(FE_TOWARDZERO);
    fiber_resume(&fiber);
    CHECK(begins_with == FE_UPWARD, "a new fiber's rounding mode: %d", begins_with);
    CHECK(fegetround() == FE_TOWARDZERO, "the resumer's: %d", fegetround());
    fesetround(FE_TONEAREST);
    fiber_resume(&fiber);
    CHECK(fegetround() == FE_TONEAREST && fiber.finished, "the resumer's rounding mode");
    fiber_destroy(&fiber);
}

/* Thousands, resumed in random order; each holds what it will recognise, at a depth of its own. */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

struct worker {
    struct fiber fiber;
    uint64_t seed, parks, steps; /* parks to come; those done, by its own count */
};

static void hold(struct worker *worker, int depth)
{
    volatile uint64_t kept[24];
    uint64_t random = worker->seed + (uint64_t)depth;
    for (int i = 0; i < 24; i++)
        kept[i] = next_random(&random);
    if (depth > 0)
        hold(worker, depth - 1);
    else
        for (; worker->parks > 0; worker->parks--) {
            fiber_park();
            worker->steps++;
        }
    random = worker->seed + (uint64_t)depth;
    for (int i = 0; i < 24; i++)
        CHECK(kept[i] == next_random(&random), "a stack changed while its fiber was parked");
}

static void work(void *argument)
{
    struct worker *worker = argument;
    hold(worker, (int)(worker->seed % 20));
}

static void stress(size_t count, uint64_t seed)
{
    struct worker *workers = calloc(count, sizeof *workers);
    uint64_t resumes = count * 40, finished = 0;
    NEED(workers != NULL);
    for (uint64_t i = 0; i < resumes; i++) {
        struct worker *worker = &workers[next_random(&seed) % count];
        if (worker->fiber.memory == NULL) {
            uint64_t parks = next_random(&seed) % 30;
            *worker = (struct worker){.seed = next_random(&seed), .parks = parks};
            NEED(fiber_create(&worker->fiber, work, worker) == 0);
        }
        uint64_t steps = worker->steps, parks = worker->parks;
        fiber_resume(&worker->fiber);
        bool counted = worker->steps + worker->parks == steps + parks;
        CHECK(counted && (!worker->fiber.finished || worker->parks == 0), "it went on where it was");
        if (worker->fiber.finished) {
            finished++;
            fiber_destroy(&worker->fiber);
        }
    }
    CHECK(finished > count / 2, "%llu finished", (unsigned long long)finished);
    for (size_t i = 0; i < count; i++)
        fiber_destroy(&workers[i].fiber);
    free(workers);
}

/* Two kernel threads, each with its own fibers, and one that they hand to each other. */

static struct worker shared;
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;

static void *stress_in_a_thread(void *seed)
{
    NEED(fibers_start() == 0);
    stress(fibers / 20, *(uint64_t *)seed);
    for (bool done = false; !done;) {
        pthread_mutex_lock(&shared_lock);
        if (!shared.fiber.finished)
            fiber_resume(&shared.fiber);
        done = shared.fiber.finished;
        pthread_mutex_unlock(&shared_lock);
    }
    return NULL;
}

static void check_kernel_threads(void)
{
    pthread_t thread[2];
    uint64_t seed[2] = {1, 2};
    shared = (struct worker){.seed = 7, .parks = 2000};
    NEED(fiber_create(&shared.fiber, work, &shared) == 0);
    for (int i = 0; i < 2; i++)
        NEED(pthread_create(&thread[i], NULL, stress_in_a_thread, &seed[i]) == 0);
    for (int i = 0; i < 2; i++)
        NEED(pthread_join(thread[i], NULL) == 0);
    CHECK(shared.steps == 2000 && shared.fiber.finished, "the shared one ran to its end");
    fiber_destroy(&shared.fiber);
}

/* A fiber that resumes fibers. */

static void nest(void *argument)
{
    int *depth = argument;
    struct fiber inner;
    if (++*depth < 50) {
        NEED(fiber_create(&inner, nest, depth) == 0);
        fiber_resume(&inner);
        fiber_park();
        fiber_resume(&inner);
        CHECK(inner.finished, "the inner one finished");
        fiber_destroy(&inner);
    } else {
        fiber_park();
    }
}

static void check_nesting(void)
{
    struct fiber outer;
    int depth = 0;
    NEED(fiber_create(&outer, nest, &depth) == 0);
    fiber_resume(&outer);
    CHECK(depth == 50 && !outer.finished, "fifty deep");
    fiber_resume(&outer);
    CHECK(outer.finished, "and back");
    fiber_destroy(&outer);
}

/* Where a stack ends. */

static struct fiber deep;

/* Use the stack down to this many bytes above the guard. */
__attribute__((noinline)) static int descend(const char *lowest)
{
    volatile char frame[256];
    memset((char *)frame, 1, sizeof frame);
    if ((const char *)frame > lowest + 1024)
        return descend(lowest) + frame[17];
    return frame[0];
}

static void use_it_all(void *argument)
{
    *(int *)argument = descend(deep.memory + FIBER_GUARD_BYTES + 2048);
}

static void use_too_much(void *argument)
{
    *(int *)argument = descend(deep.memory);
}

static void fault_elsewhere(void *argument)
{
    **(volatile int **)argument = 1;
}

/* How a child ends that runs this body, and what it says. */
static int ends_by(void (*body)(void *), void *argument, char *said, size_t bytes)
{
    int out[2], status;
    NEED(pipe(out) == 0);
    pid_t child = fork();
    NEED(child >= 0);
    if (child == 0) {
        dup2(out[1], 2);
        NEED(fiber_create(&deep, body, argument) == 0);
        fiber_resume(&deep);
        _exit(0);
    }
    close(out[1]);
    ssize_t have = 0, got;
    while ((size_t)have < bytes - 1 && (got = read(out[0], said + have, bytes - 1 - (size_t)have)) > 0)
        have += got;
    said[have] = '\0';
    close(out[0]);
    NEED(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void check_guard(void)
{
    static char said[20000];
    int result = 0;
    NEED(fiber_create(&deep, use_it_all, &result) == 0);
    fiber_resume(&deep);
    CHECK(deep.finished && result > 100, "all but the last bytes can be used");
    fiber_destroy(&deep);

    int status = ends_by(use_too_much, &result, said, sizeof said);
    CHECK(status == -SIGSEGV, "an overflow ends with %d", status);
    CHECK(strstr(said, "stack overflow") != NULL && strstr(said, "guard") != NULL, "it says: %s", said);

    /* Another fault is not mistaken for one, and not swallowed: the default action, or the sanitizer's report. */
    int *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(nowhere != MAP_FAILED);
    status = ends_by(fault_elsewhere, &nowhere, said, sizeof said);
    CHECK(status != 0 && strstr(said, "guard below") == NULL, "another fault ends with %d: %s", status, said);
}

#ifndef __SANITIZE_THREAD__ /* it knows at most some 8,000 threads, and ends the process at the next */
static void check_no_room(void)
{
    struct fiber fiber;
    /* Address space is plenty, mappings are not: what cannot be made is said, and what was made can be given back. */
    enum { MANY = 100000 };
    struct fiber *many = calloc(MANY, sizeof *many);
    NEED(many != NULL);
    size_t made = 0;
    while (made < MANY && fiber_create(&many[made], work, NULL) == 0)
        made++;
    CHECK(made == MANY || errno == ENOMEM, "after %zu: %s", made, strerror(errno));
    for (size_t i = 0; i < made; i++)
        fiber_destroy(&many[i]);
    free(many);
    CHECK(fiber_create(&fiber, work, NULL) == 0, "there is room again");
    fiber_destroy(&fiber);
}
#endif

int main(int argc, char **argv)
{
    if (argc > 1)
        fibers = (size_t)strtoul(argv[1], NULL, 10);
    NEED(fibers_start() == 0);
    check_registers();
    check_floating_point();
    stress(fibers, 2004);
    check_nesting();
    check_guard();
    check_kernel_threads();
#ifndef __SANITIZE_THREAD__
    check_no_room();
#endif
    return checks_failed != 0;
}
