/* plainly.c: a system call without the C library, and the signal that interrupts one.
 *
 * Both may run on a thread whose thread-local storage is another thread's at the moment (activation.c), so neither errno
 * nor the library's signal wrappers, nor a sanitizer's, may be touched.
 */
#include "engine.h"
#include "system_call.h"

#include <errno.h>
#include <signal.h>

long laio_plainly(long number, long a, long b, long c, long d, long e, long f)
{
    return inlined_syscall(number, a, b, c, d, e, f);
}

void laio_send_sigpipe(void)
{
    long process = inlined_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
    inlined_syscall(SYS_tgkill, process, inlined_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0), SIGPIPE, 0, 0, 0);
}

#if defined(__x86_64__)
/* The kernel returns from a handler to sa_restorer, which has to call rt_sigreturn (15). */
void laio_interrupted(int signal);
void laio_restorer(void);
__asm__(".pushsection .text\n"
        ".globl laio_interrupted\n.hidden laio_interrupted\n.type laio_interrupted, @function\n"
        "laio_interrupted:\n"
        "ret\n"
        ".size laio_interrupted, . - laio_interrupted\n"
        ".globl laio_restorer\n.hidden laio_restorer\n.type laio_restorer, @function\n"
        "laio_restorer:\n"
        "movl $15, %eax\n"
        "syscall\n"
        ".size laio_restorer, . - laio_restorer\n"
        ".popsection\n");
#define RESTORER_FLAG 0x04000000ul /* SA_RESTORER */
#elif defined(__aarch64__)
static void laio_interrupted(int signal)
{
    (void)signal;
}
#define laio_restorer NULL /* the vDSO has one */
#define RESTORER_FLAG 0ul
#else
#error "lazy_io/plainly.c knows x86-64 and aarch64: add this processor's return from a handler"
#endif

/* struct sigaction as the kernel has it (include/linux/signal_types.h). */
struct kernel_sigaction {
    void (*handler)(int signal);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

int laio_install_interrupt(void)
{
    struct kernel_sigaction before = {0}, ours = {
        .handler = laio_interrupted,
        .flags = RESTORER_FLAG, /* and no SA_RESTART: a call is to end with EINTR */
        .restorer = laio_restorer,
    };
    long result = laio_plainly(SYS_rt_sigaction, LAIO_SIGNAL, 0, (long)&before, sizeof before.mask, 0, 0);
    bool free_to_use = before.handler == SIG_DFL || before.handler == SIG_IGN || before.handler == laio_interrupted;
    if (result == 0 && free_to_use)
        result = laio_plainly(SYS_rt_sigaction, LAIO_SIGNAL, (long)&ours, 0, sizeof ours.mask, 0, 0);
    errno = result != 0 ? (int)-result : EBUSY;
    return result == 0 && free_to_use ? 0 : -1;
}
