/* activation_switch.S: the call that may lose its caller, and who takes the caller over. x86-64, System V AMD64 ABI.
 *
 * A call is made on the registers alone: before it the loop's context is saved in its kernel thread, and the stack
 * pointer goes to a scratch stack, which only a signal handler would use. So another thread can load that context and go
 * on with the loop, on the loop's own stack, while this one is still in the kernel. Who wins is decided by one
 * compare-and-swap on the state. */
#include "activation_layout.h"

        .macro SAVE to
        movq    %rsp, CONTEXT_RSP(\to)
        movq    %rbx, CONTEXT_RBX(\to)
        movq    %rbp, CONTEXT_RBP(\to)
        movq    %r12, CONTEXT_R12(\to)
        movq    %r13, CONTEXT_R13(\to)
        movq    %r14, CONTEXT_R14(\to)
        movq    %r15, CONTEXT_R15(\to)
        stmxcsr CONTEXT_MXCSR(\to)
        fnstcw  CONTEXT_X87(\to)
        .endm

        /* The registers alone: a thread goes on with its own context. */
        .macro RESTORE from
        movq    CONTEXT_RSP(\from), %rsp
        movq    CONTEXT_RBP(\from), %rbp
        movq    CONTEXT_R12(\from), %r12
        movq    CONTEXT_R13(\from), %r13
        movq    CONTEXT_R14(\from), %r14
        movq    CONTEXT_R15(\from), %r15
        movq    CONTEXT_RBX(\from), %rbx        /* last: it may be \from */
        .endm

        /* Become another context: its thread-local storage and floating-point modes come with it. Clobbers rax. */
        .macro BECOME from
        movq    CONTEXT_FS(\from), %rax
        wrfsbase %rax
        ldmxcsr CONTEXT_MXCSR(\from)
        fldcw   CONTEXT_X87(\from)
        RESTORE \from
        .endm

        .macro FUNCTION name
        .globl  \name
        .hidden \name
        .type   \name, @function
        .p2align 6
\name:
        .cfi_startproc
        endbr64
        .endm

        .macro END name
        .cfi_endproc
        .size   \name, . - \name
        .endm

/* struct laio_outcome activation_enter(struct kernel_thread *thread, long number, long a, long b, long c, long d, long e,
 *                                      long f);
 *
 * Make the system call. If no switch was recorded since it began, nobody can have taken the loop over, and no atomic
 * instruction is needed. \recorded 0: the timer watches, which may strike at any time.
 *
 * rbx the thread, rbp the state, r12 the page, r13 the head when the call began: kept by the kernel across the call. */
        .macro ENTER name recorded
        FUNCTION \name
        SAVE    %rdi
        movq    %rdi, %rbx
        .if \recorded
        movq    THREAD_PAGE(%rbx), %r12
        movq    PAGE_DATA_HEAD(%r12), %r13
        movq    %r13, THREAD_HEAD(%rbx)
        leaq    RECORDS_ROOM(%r13), %r14
        movq    %r14, PAGE_DATA_TAIL(%r12)      /* from here on switches are recorded */
        .endif
        movq    %rsi, %rax
        movq    %rdx, %rdi
        movq    %rcx, %rsi
        movq    %r8, %rdx
        movq    %r9, %r10
        movq    8(%rsp), %r8
        movq    16(%rsp), %r9
        .cfi_remember_state
        .cfi_undefined %rip                     /* the caller may be elsewhere */
        movq    THREAD_SCRATCH(%rbx), %rsp
        movq    THREAD_STATE(%rbx), %rbp
        incq    %rbp
        movq    %rbp, THREAD_STATE(%rbx)        /* STATE_IN_CALL, now that nothing of the loop's is needed any more */
        syscall
        .if \recorded
        leaq    RECORDS_MASKED(%r13), %r14
        movq    %r14, PAGE_DATA_TAIL(%r12)
        cmpq    %r13, PAGE_DATA_HEAD(%r12)
        jne     1f
        addq    $3, %rbp
        movq    %rbp, THREAD_STATE(%rbx)        /* STATE_IDLE, next sequence number */
        RESTORE %rbx
        xorl    %edx, %edx
        ret
        .endif
1:      movq    %rax, %r14
        movq    %rbp, %rax
        addq    $3, %rbp
        lock cmpxchgq %rbp, THREAD_STATE(%rbx)
        jne     2f
        movq    %rbx, %rdi
        movq    %r14, %rsi
        RESTORE %rbx
        jmp     activation_kept                 /* nobody came */
2:      movq    %r14, THREAD_RESULT(%rbx)       /* stolen: rax is the thief's address. Go on in its place. */
        leaq    -STATE_STOLEN(%rax), %rbx
        BECOME  %rbx
        movl    $1, %eax
        ret
        .cfi_restore_state
        END     \name
        .endm

        .text
        ENTER   activation_enter 1
        ENTER   activation_enter_timed 0

/* bool activation_take_over(struct kernel_thread *thread, uint64_t seen, struct standby *me);
 *
 * Take the loop over from a thread that is in the call whose state was seen. False: the call has returned meanwhile.
 * Otherwise this thread goes on as the loop, in activation_went_on(), and the function returns true later, on the other
 * kernel thread, when the call there has ended. */
        FUNCTION activation_take_over
        SAVE    %rdx
        rdfsbase %rax
        movq    %rax, CONTEXT_FS(%rdx)
        movq    %rsi, %rax
        movq    STANDBY_ON(%rdx), %rsi
        leaq    STATE_STOLEN(%rdx), %rcx
        .cfi_remember_state
        .cfi_undefined %rip
        movq    THREAD_SCRATCH(%rsi), %rsp      /* after the swap this stack may be in use elsewhere */
        lock cmpxchgq %rcx, THREAD_STATE(%rdi)
        jne     1f
        BECOME  %rdi
        jmp     activation_went_on              /* (the thread it was taken from, the thread it is on now) */
1:      movq    CONTEXT_RSP(%rdx), %rsp
        .cfi_restore_state
        xorl    %eax, %eax
        ret
        END     activation_take_over

/* void activation_go_home(struct context *mine, struct kernel_thread *here, uint32_t *away, struct context *native);
 *
 * Everybody calls this once: leave the own context to the thread that it began on, wait until nobody is away, and go on
 * with the context that began on this one. Nothing but registers is used while waiting. */
        FUNCTION activation_go_home
        SAVE    %rdi
        rdfsbase %rax
        movq    %rax, CONTEXT_FS(%rdi)
        movq    %rdx, %r12
        movq    %rcx, %rbx
        .cfi_undefined %rip
        movq    THREAD_SCRATCH(%rsi), %rsp
        lock decl (%r12)
1:      cmpl    $0, (%r12)
        je      2f
        movl    $24, %eax                       /* sched_yield */
        syscall
        jmp     1b
2:      BECOME  %rbx
        ret
        END     activation_go_home

        .section .note.GNU-stack, "", @progbits
