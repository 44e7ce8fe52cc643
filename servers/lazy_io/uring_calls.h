/* uring_calls.h: which system calls io_uring has, and how they are put. */
#ifndef NAI_URING_CALLS_H
#define NAI_URING_CALLS_H

#include "engine.h"

#include <liburing.h>

enum uring_put {
    URING_PUT,     /* the entry asks for it */
    URING_PLAIN,   /* the plain call returns at once, and says something else than io_uring would */
    URING_HELD,    /* io_uring cannot be asked for so much: the plain call, which may wait */
    URING_REFUSED, /* io_uring has no such call */
};

/* What becomes of a call that has to wait, where io_uring would wait otherwise than the plain call does. */
enum uring_kind {
    URING_ALIKE,
    URING_AT_OFFSET, /* reads or writes at an offset, which a pipe or socket has not */
    URING_STREAM,    /* reads or writes at the file's position */
    URING_SOCKET,
};

/* The opcode of a system call, or -1. */
int uring_opcode(long number);
/* memory: what the entry needs until the call is over; NULL if nothing, else for uring_message_end() or free(). */
struct uring_offsets;
enum uring_put uring_put(struct io_uring_sqe *entry, struct uring_offsets *offsets, const struct laio_call *call,
                         void **memory);
enum uring_kind uring_kind(const struct laio_call *call);

/* sendto() or recvfrom() with an address, which the entry has as a message, is over: where recvfrom() is told the
 * address's length, and nobody else. */
void uring_message_end(const struct laio_call *call, const void *memory, long result);

#endif
