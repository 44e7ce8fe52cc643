/* activation_layout.h: what the assembly of activation_switch.S knows of the structures of activation.c. */
#ifndef NAI_ACTIVATION_LAYOUT_H
#define NAI_ACTIVATION_LAYOUT_H

/* struct context: what a call must preserve (System V AMD64 ABI, section 3.2.1), and the base of thread-local storage. */
#define CONTEXT_RSP 0
#define CONTEXT_RBX 8
#define CONTEXT_RBP 16
#define CONTEXT_R12 24
#define CONTEXT_R13 32
#define CONTEXT_R14 40
#define CONTEXT_R15 48
#define CONTEXT_FS 56
#define CONTEXT_MXCSR 64
#define CONTEXT_X87 68
#define CONTEXT_BYTES 72

/* struct kernel_thread: begins with the context of the loop, as it was when its call began. */
#define THREAD_STATE 72
#define THREAD_HEAD 80
#define THREAD_PAGE 88
#define THREAD_SCRATCH 96
#define THREAD_RESULT 104

/* struct standby: begins with its context while that is not running. */
#define STANDBY_ON 72

/* struct perf_event_mmap_page (include/uapi/linux/perf_event.h). */
#define PAGE_DATA_HEAD 1024
#define PAGE_DATA_TAIL 1032

/* A state is a sequence number, a multiple of 4, plus what the thread does; or, stolen, the thief's address. */
#define STATE_IDLE 0
#define STATE_IN_CALL 1
#define STATE_STOLEN 2
#define STATE_MASK 3

/* A tail this far ahead of the head makes a ring look full: nothing is recorded, nobody woken (kernel/events/ring_buffer.c,
 * __perf_output_begin). In a call there is room for the record of a block after one preemption: 24 bytes that say what
 * was lost while it was full, and three switches of 8. More room would wake a standby for every preemption. */
#define RECORDS_MASKED 8
#define RECORDS_ROOM 56

#endif
