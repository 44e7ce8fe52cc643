/* fiber.c: stacks, and the switch between them. */
#include "fiber.h"

#include "bounds.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __has_feature /* Clang's way to say what GCC says by macros */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

/* The switch. A call clobbers all registers but the callee-saved ones, so only these and the control words of the
 * floating-point units belong to a context (System V AMD64 ABI, section 3.2.1; AAPCS64, section 6.1). They lie on its
 * stack, lowest address last saved, as one frame that is the same on both sides: the CFI holds before and after, and a
 * debugger can unwind a parked fiber from fiber_switch(). fiber_begin() is where a new fiber returns to; it is the
 * outermost frame and says so.
 *
 *     void fiber_switch(void **save_stack_pointer, void *load_stack_pointer);
 */
void fiber_switch(void **save_stack_pointer, void *load_stack_pointer);
void fiber_begin(void);
void fiber_main(struct fiber *fiber);

#if defined(__x86_64__)
enum { FRAME_WORDS = 8, SLOT_CONTROL = 0, SLOT_FIBER = 4 /* r12 */, SLOT_RETURN = 7 };
__asm__(".pushsection .text\n"
        ".globl fiber_switch\n.hidden fiber_switch\n.type fiber_switch, @function\n"
        "fiber_switch:\n"
        ".cfi_startproc\n"
        "pushq %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbp, 0\n"
        "pushq %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbx, 0\n"
        "pushq %r12\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %r12, 0\n"
        "pushq %r13\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %r13, 0\n"
        "pushq %r14\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %r14, 0\n"
        "pushq %r15\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %r15, 0\n"
        "subq $8, %rsp\n.cfi_adjust_cfa_offset 8\n"
        "stmxcsr (%rsp)\n"
        "fnstcw 4(%rsp)\n"
        "movq %rsp, (%rdi)\n"
        "movq %rsi, %rsp\n"
        "ldmxcsr (%rsp)\n"
        "fldcw 4(%rsp)\n"
        "addq $8, %rsp\n.cfi_adjust_cfa_offset -8\n"
        "popq %r15\n.cfi_adjust_cfa_offset -8\n.cfi_restore %r15\n"
        "popq %r14\n.cfi_adjust_cfa_offset -8\n.cfi_restore %r14\n"
        "popq %r13\n.cfi_adjust_cfa_offset -8\n.cfi_restore %r13\n"
        "popq %r12\n.cfi_adjust_cfa_offset -8\n.cfi_restore %r12\n"
        "popq %rbx\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbx\n"
        "popq %rbp\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbp\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size fiber_switch, . - fiber_switch\n"
        ".globl fiber_begin\n.hidden fiber_begin\n.type fiber_begin, @function\n"
        "fiber_begin:\n"
        ".cfi_startproc\n"
        ".cfi_undefined %rip\n"
        "movq %r12, %rdi\n"
        "call fiber_main\n"
        "ud2\n"
        ".cfi_endproc\n"
        ".size fiber_begin, . - fiber_begin\n"
        ".popsection\n");

static uint64_t control_words(void)
{
    uint32_t words[2] = {0};
    uint64_t both;
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(words[0]), "=m"(words[1]));
    memcpy(&both, words, sizeof both);
    return both;
}
#elif defined(__aarch64__)
enum { FRAME_WORDS = 22, SLOT_FIBER = 0 /* x19 */, SLOT_RETURN = 11 /* x30 */, SLOT_CONTROL = 20 };
__asm__(".pushsection .text\n"
        ".globl fiber_switch\n.hidden fiber_switch\n.type fiber_switch, %function\n"
        "fiber_switch:\n"
        ".cfi_startproc\n"
        "sub sp, sp, #176\n.cfi_adjust_cfa_offset 176\n"
        "stp x19, x20, [sp, #0]\n.cfi_rel_offset x19, 0\n.cfi_rel_offset x20, 8\n"
        "stp x21, x22, [sp, #16]\n.cfi_rel_offset x21, 16\n.cfi_rel_offset x22, 24\n"
        "stp x23, x24, [sp, #32]\n.cfi_rel_offset x23, 32\n.cfi_rel_offset x24, 40\n"
        "stp x25, x26, [sp, #48]\n.cfi_rel_offset x25, 48\n.cfi_rel_offset x26, 56\n"
        "stp x27, x28, [sp, #64]\n.cfi_rel_offset x27, 64\n.cfi_rel_offset x28, 72\n"
        "stp x29, x30, [sp, #80]\n.cfi_rel_offset x29, 80\n.cfi_rel_offset x30, 88\n"
        "stp d8, d9, [sp, #96]\n"
        "stp d10, d11, [sp, #112]\n"
        "stp d12, d13, [sp, #128]\n"
        "stp d14, d15, [sp, #144]\n"
        "mrs x9, fpcr\n"
        "str x9, [sp, #160]\n"
        "mov x9, sp\n"
        "str x9, [x0]\n"
        "mov sp, x1\n"
        "ldr x9, [sp, #160]\n"
        "msr fpcr, x9\n"
        "ldp d14, d15, [sp, #144]\n"
        "ldp d12, d13, [sp, #128]\n"
        "ldp d10, d11, [sp, #112]\n"
        "ldp d8, d9, [sp, #96]\n"
        "ldp x29, x30, [sp, #80]\n"
        "ldp x27, x28, [sp, #64]\n"
        "ldp x25, x26, [sp, #48]\n"
        "ldp x23, x24, [sp, #32]\n"
        "ldp x21, x22, [sp, #16]\n"
        "ldp x19, x20, [sp, #0]\n"
        "add sp, sp, #176\n.cfi_adjust_cfa_offset -176\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size fiber_switch, . - fiber_switch\n"
        ".globl fiber_begin\n.hidden fiber_begin\n.type fiber_begin, %function\n"
        "fiber_begin:\n"
        ".cfi_startproc\n"
        ".cfi_undefined x30\n"
        "mov x0, x19\n"
        "bl fiber_main\n"
        "brk #1\n"
        ".cfi_endproc\n"
        ".size fiber_begin, . - fiber_begin\n"
        ".popsection\n");

static uint64_t control_words(void)
{
    uint64_t word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
}
#else
#error "threads/fiber.c knows x86-64 and aarch64: add the switch of this processor"
#endif

/* The fiber that this kernel thread runs, NULL outside; the signal handler has no other way to know. */
static _Thread_local struct fiber *running;

/* Just arrived in a context; *from is told whose stack was left. */
static void arrive(struct fiber_context *at, struct fiber_context *from)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(at->fake_stack, &from->stack, &from->stack_bytes);
#endif
    (void)at, (void)from;
}

static void switch_context(struct fiber_context *from, struct fiber_context *to, bool for_good)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->fake_stack, to->stack, to->stack_bytes);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(to->thread, 0); /* 0: what happened before the switch happened before what follows */
#endif
    (void)for_good;
    fiber_switch(&from->stack_pointer, to->stack_pointer);
    arrive(from, to);
}

void fiber_main(struct fiber *fiber)
{
    arrive(&fiber->own, &fiber->resumer);
    fiber->body(fiber->argument);
    fiber->finished = true;
    switch_context(&fiber->own, &fiber->resumer, true);
}

int fiber_create(struct fiber *fiber, void (*body)(void *argument), void *argument)
{
    /* MAP_STACK also keeps huge pages away (Linux 6.7): a shallow fiber is to cost one small page. */
    char *memory = mmap(NULL, FIBER_GUARD_BYTES + FIBER_STACK_BYTES, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED)
        return -1;
    if (mprotect(memory + FIBER_GUARD_BYTES, FIBER_STACK_BYTES, PROT_READ | PROT_WRITE) != 0) {
        munmap(memory, FIBER_GUARD_BYTES + FIBER_STACK_BYTES);
        return -1;
    }
    *fiber = (struct fiber){.body = body, .argument = argument, .memory = memory};
    fiber->own.stack = memory + FIBER_GUARD_BYTES;
    fiber->own.stack_bytes = FIBER_STACK_BYTES;
#ifdef __SANITIZE_THREAD__
    fiber->own.thread = __tsan_create_fiber(0);
#endif
    /* As if it had switched away in fiber_begin(), its stack aligned to 16 bytes there. All other registers are 0. */
    uint64_t *frame = (uint64_t *)(void *)(memory + FIBER_GUARD_BYTES + FIBER_STACK_BYTES) - FRAME_WORDS;
    frame[SLOT_CONTROL] = control_words();
    frame[SLOT_FIBER] = (uint64_t)(uintptr_t)fiber;
    frame[SLOT_RETURN] = (uint64_t)(uintptr_t)fiber_begin;
    fiber->own.stack_pointer = frame;
    return 0;
}

void fiber_resume(struct fiber *fiber)
{
    struct fiber *outer = running;
    running = fiber;
#ifdef __SANITIZE_THREAD__
    /* The thread sanitizer delivers a signal later, to the context that it came to. If that is a fiber which parks, later
     * is when it is resumed: perhaps never. */
    sigset_t stop, mask;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, &mask);
    fiber->resumer.thread = __tsan_get_current_fiber();
#endif
    switch_context(&fiber->resumer, &fiber->own, false);
#ifdef __SANITIZE_THREAD__
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
#endif
    running = outer;
}

void fiber_park(void)
{
    struct fiber *fiber = running;
    switch_context(&fiber->own, &fiber->resumer, false);
}

void fiber_destroy(struct fiber *fiber)
{
    if (fiber->memory == NULL)
        return;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(fiber->own.stack, FIBER_STACK_BYTES); /* left by frames that never returned */
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(fiber->own.thread);
#endif
    munmap(fiber->memory, FIBER_GUARD_BYTES + FIBER_STACK_BYTES);
    fiber->memory = NULL;
}

/* The guard */

static struct sigaction before; /* what SIGSEGV did */

static void fault(int signal, siginfo_t *info, void *context)
{
    (void)context;
    static const char text[] = "stack overflow: a user-level thread ran into the guard below its stack "
                               "(FIBER_STACK_BYTES in common/bounds.h)\n";
    const char *at = info->si_addr;
    const struct fiber *fiber = running;
    if (fiber != NULL && at >= fiber->memory && at < fiber->memory + FIBER_GUARD_BYTES) {
        struct sigaction die = {.sa_handler = SIG_DFL};
        ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
        (void)written;
        sigaction(signal, &die, NULL);
    } else {
        sigaction(signal, &before, NULL);
    }
    /* To return is to fault once more, and now without this handler. */
}

static void catch_faults(void)
{
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, &before);
}

int fibers_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* the signal's action is the process's, the stack the thread's */
    stack_t stack = {.ss_size = SIGNAL_STACK_BYTES};
    stack.ss_sp = mmap(NULL, SIGNAL_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL) != 0)
        return -1;
    return pthread_once(&once, catch_faults);
}
