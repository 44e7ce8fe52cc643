/* uring_alike.h: where io_uring would do otherwise than the plain call, told by the descriptor. */
#ifndef NAI_URING_ALIKE_H
#define NAI_URING_ALIKE_H

#include "engine.h"

/* Descriptors that were seen to have offsets, since pread() of a pipe is for io_uring a read. One that is closed and made
 * again behind the library's back is not noticed. */
struct uring_offsets {
    uint64_t known[1024]; /* a bit a descriptor; higher ones are looked at every time */
};
bool uring_has_offsets(struct uring_offsets *offsets, long descriptor); /* true, too, if it is none at all */
void uring_offsets_forget(struct uring_offsets *offsets, long descriptor);
bool uring_gives_descriptor(long number);

/* After EPIPE: does the plain call send SIGPIPE, and io_uring not? It sends with MSG_NOSIGNAL (io_uring/net.c), and a
 * worker that splices gets the signal itself. */
bool uring_owes_sigpipe(const struct laio_call *call);

/* After the call was complete at once: has it opened a FIFO whose other end is to be waited for? io_uring's first
 * attempt is made with O_NONBLOCK (io_uring/openclose.c, io_openat2): a reader is opened, a writer is told ENXIO. */
bool uring_opened_early(const struct laio_call *call, long result);

#endif
