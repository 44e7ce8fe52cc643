/* fiber.h: user-level threads: create, resume, park, finish.
 *
 * A fiber runs its body on a stack of its own, FIBER_STACK_BYTES above a guard. Whoever calls fiber_resume() lends it
 * the processor until it parks or its body returns; there is no scheduler here: a design's event loop is one. Fibers
 * may resume fibers, several kernel threads may each run theirs, and a parked fiber may be resumed by another kernel
 * thread if a lock hands it over. Memory is touched page by page: a fiber that stays shallow costs one page.
 *
 * A stack that overflows runs into its guard: the process says so and dies by SIGSEGV.
 */
#ifndef NAI_FIBER_H
#define NAI_FIBER_H

#include <stdbool.h>
#include <stddef.h>

/* One side of a switch. What follows the stack pointer is what the sanitizers want to know, and unused without them. */
struct fiber_context {
    void *stack_pointer;
    const void *stack;
    size_t stack_bytes;
    void *fake_stack;
    void *thread;
};

struct fiber {
    struct fiber_context own, resumer;
    void (*body)(void *argument);
    void *argument;
    char *memory; /* the guard, then the stack */
    bool finished;
};

/* Once in every kernel thread that resumes fibers: so that an overflow is named. Returns 0, or -1 with errno. */
int fibers_start(void);

/* Make a parked fiber; its body begins with the first resume. Returns 0, or -1 with errno, which is ENOMEM for too many
 * mappings, too (vm.max_map_count; a fiber has two). */
int fiber_create(struct fiber *fiber, void (*body)(void *argument), void *argument);

/* Run it until it parks or finishes. */
void fiber_resume(struct fiber *fiber);

/* In a fiber: go back to whoever resumed it; returns with the next resume. */
void fiber_park(void);

/* Give its stack back. It is parked for good or finished; what its body holds elsewhere is not freed. */
void fiber_destroy(struct fiber *fiber);

#endif
