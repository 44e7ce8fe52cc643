/* uring.c: every call through io_uring: submitted at once, and if it is complete then, an ordinary call.
 *
 * What a call does not wait for, the kernel completes within its submission. For the rest it keeps the call and wakes
 * it by poll or by the page's arrival, or gives it to a worker thread of its own (path, sync and splice calls always).
 *
 * io_uring differs from the plain calls in ways that this file makes good as far as the kernel lets it:
 *
 * - On an O_NONBLOCK stream it waits instead of returning EAGAIN. So when a call was not complete at once, the flags
 *   are looked up and such a call is withdrawn.
 * - A write to a blocking pipe or socket returns what found room. It is asked for the rest.
 * - Reads and writes with O_DIRECT at the file's position leave it alone if they wait for the disk. So it is moved when
 *   they complete; of one that has completed before it was seen to wait, nobody knows.
 * - pread() ignores the offset on what has none. It is withdrawn if it waits, for ESPIPE; if it is complete at once
 *   that is not looked at (every read would cost one more system call), and so it may take data from a pipe.
 * - SIGPIPE is not sent, and the time-outs SO_RCVTIMEO and SO_SNDTIMEO are not kept. That remains.
 * - To open a FIFO does not wait for its other end: for writing it fails with ENXIO. That remains.
 * - A plain call of the ring's thread (path held) that has moved a part of its bytes may return early when something in
 *   the ring completes, as after a signal. That remains.
 *
 * The ring belongs to the thread that makes the first call (IORING_SETUP_SINGLE_ISSUER): only that one may call and
 * poll.
 */
#include "transfer.h"
#include "uring_calls.h"
#include "uring_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct uring {
    struct laio laio;
    struct uring_ring ring;
    struct laio_operation *spare; /* for the next call; most give it back */
};

/* engine_data of an operation in the ring */
enum {
    MOVED,    /* bytes that earlier parts have moved */
    MEMORY,   /* the vector of the part in the ring, if it is ours */
    POSITION, /* plus 1: where the file stands and io_uring will leave it; NULL: it will be moved */
};

static struct laio *uring_open(const struct laio_options *options, char *why, size_t why_bytes)
{
    struct uring *uring = calloc(1, sizeof *uring);
    if (uring == NULL)
        return laio_refuse(why, why_bytes, "no memory");
    if (uring_ring_open(&uring->ring, options, why, why_bytes)) {
        if (laio_start(&uring->laio, &laio_uring, options, uring->ring.event, why, why_bytes) == 0)
            return &uring->laio;
        uring_ring_close(&uring->ring);
    }
    free(uring);
    return NULL;
}

static bool uring_supports(const struct laio *laio, long number)
{
    int opcode = uring_opcode(number);
    return opcode >= 0 && ((const struct uring *)laio)->ring.has[opcode];
}

/* What the ring says of a part is not yet what the plain call would have said of the whole */

static bool falls_short(const struct laio_operation *operation, long result)
{
    const struct laio_call *call = &operation->call;
    if (result <= 0 || uring_kind(call) != URING_STREAM)
        return false;
    bool writes = uring_opcode(call->number) == IORING_OP_WRITE || uring_opcode(call->number) == IORING_OP_WRITEV;
    return writes && (size_t)result < transfer_bytes(call) && !transfer_of_file(call->arguments[0]) &&
           !transfer_never_waits(call->arguments[0]);
}

/* Ask for the rest. false: that cannot be, so what has been moved is all. */
static bool go_on(struct uring *uring, struct laio_operation *operation, long moved)
{
    struct io_uring_sqe entry;
    long before = (long)(uintptr_t)operation->engine_data[MOVED];
    if (!transfer_advance(&operation->call, (size_t)moved, &operation->engine_data[MEMORY]) ||
        uring_put(&entry, &operation->call) != URING_PUT || !uring_ring_submit(&uring->ring, &entry, operation))
        return false;
    operation->engine_data[MOVED] = (void *)(uintptr_t)(before + moved);
    return true;
}

static void move_position(const struct laio_operation *operation, long moved)
{
    long position = (long)(uintptr_t)operation->engine_data[POSITION] - 1, file = operation->call.arguments[0];
    if (moved > 0 && laio_plainly(SYS_lseek, file, 0, SEEK_CUR, 0, 0, 0) == position)
        laio_plainly(SYS_lseek, file, position + moved, SEEK_SET, 0, 0, 0);
}

static void move_offsets(const struct laio_call *call, long moved)
{
    int64_t *in = (int64_t *)call->arguments[1], *out = (int64_t *)call->arguments[3];
    if (in != NULL && moved > 0)
        *in += moved;
    if (out != NULL && moved > 0)
        *out += moved;
}

/* All of the call is over. Returns its result. */
static long settle(struct laio_operation *operation, long result)
{
    long moved = (long)(uintptr_t)operation->engine_data[MOVED];
    if (operation->engine_data[POSITION] != NULL)
        move_position(operation, result);
    if (operation->call.number == SYS_splice)
        move_offsets(&operation->call, result);
    free(operation->engine_data[MEMORY]);
    return moved > 0 ? moved + (result > 0 ? result : 0) : result;
}

/* The call was not complete at once. true: it is now, since the plain call would not have waited like that. */
static bool must_not_wait(struct uring *uring, struct laio_operation *operation, unsigned tail, long *result)
{
    const struct laio_call *call = &operation->call;
    const long file = call->arguments[0];
    switch (uring_kind(call)) {
    case URING_AT_OFFSET:
        if (laio_plainly(SYS_lseek, file, 0, SEEK_CUR, 0, 0, 0) != -ESPIPE ||
            !uring_ring_withdraw(&uring->ring, operation, tail, result))
            return false;
        if (*result == -ECANCELED || *result == -EINTR)
            *result = laio_plainly_call(call);
        return true;
    case URING_STREAM:
    case URING_SOCKET: {
        long flags = laio_plainly(SYS_fcntl, file, F_GETFL, 0, 0, 0, 0);
        if (flags < 0 || (flags & (O_NONBLOCK | O_DIRECT)) == 0)
            return false;
        if (transfer_of_file(file)) {
            if ((flags & O_DIRECT) != 0)
                operation->engine_data[POSITION] = (void *)(laio_plainly(SYS_lseek, file, 0, SEEK_CUR, 0, 0, 0) + 1);
            return false;
        }
        if ((flags & O_NONBLOCK) == 0 || !uring_ring_withdraw(&uring->ring, operation, tail, result))
            return false;
        if (*result == -ECANCELED || *result == -EINTR)
            *result = -EAGAIN;
        return true;
    }
    default:
        return false;
    }
}

/* The engine */

enum made { DONE, WAITS, NOT_TAKEN };

static enum made make(struct uring *uring, const struct io_uring_sqe *entry, struct laio_operation *operation,
                      long *result)
{
    const unsigned tail = uring_ring_tail(&uring->ring);
    if (!uring_ring_submit(&uring->ring, entry, operation))
        return NOT_TAKEN;
    bool done = uring_ring_completed(&uring->ring, operation, tail, result);
    while (done && falls_short(operation, *result) && go_on(uring, operation, *result))
        done = uring_ring_completed(&uring->ring, operation, tail, result);
    return done || must_not_wait(uring, operation, tail, result) ? DONE : WAITS;
}

static struct laio_outcome held(struct laio *laio, const struct laio_call *call)
{
    laio_went(laio, LAIO_PATH_held);
    return (struct laio_outcome){.result = laio_plainly_call(call)};
}

static struct laio_outcome uring_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    struct uring *uring = (struct uring *)laio;
    struct io_uring_sqe entry;
    struct laio_call call = {number, {a, b, c, d, e, f}};
    enum uring_put put = uring_supports(laio, number) ? uring_put(&entry, &call) : URING_REFUSED;
    if (put == URING_REFUSED) {
        laio_went(laio, LAIO_PATH_refused);
        return (struct laio_outcome){.result = -ENOSYS};
    }
    if (put == URING_PLAIN)
        return (struct laio_outcome){.result = laio_plainly_call(&call)};
    struct laio_operation *operation = uring->spare != NULL ? uring->spare : laio_reserve(laio);
    uring->spare = operation;
    if (put == URING_HELD || operation == NULL)
        return held(laio, &call);
    operation->call = call;
    operation->engine_data[MOVED] = operation->engine_data[MEMORY] = operation->engine_data[POSITION] = NULL;

    long result;
    const bool told = uring_ring_quiet(&uring->ring);
    const enum made made = make(uring, &entry, operation, &result);
    uring_ring_told(&uring->ring, told);
    if (made == NOT_TAKEN)
        return held(laio, &call);
    if (made == DONE)
        return (struct laio_outcome){.result = settle(operation, result)};
    laio_went(laio, LAIO_PATH_ring);
    laio_begin(laio, operation);
    uring->spare = NULL;
    return (struct laio_outcome){.operation = operation};
}

static void uring_reap(struct laio *laio)
{
    struct uring *uring = (struct uring *)laio;
    void *name;
    long result;
    uint64_t written;
    if (!uring->ring.enabled || !uring_ring_ready(&uring->ring))
        return;
    uring_ring_quiet(&uring->ring);
    laio_plainly(SYS_read, uring->ring.event, (long)&written, sizeof written, 0, 0, 0);
    while (uring_ring_take(&uring->ring, &name, &result)) {
        struct laio_operation *operation = name;
        if (operation != NULL && !(falls_short(operation, result) && go_on(uring, operation, result)))
            laio_finish(laio, operation, settle(operation, result));
    }
    uring_ring_told(&uring->ring, false);
}

/* What the disk has begun ends by itself; what waits to be woken or for a worker ends with ECANCELED, what a worker is
 * inside of with EINTR. */
static void uring_interrupt(struct laio *laio)
{
    uring_ring_withdraw_all(&((struct uring *)laio)->ring);
}

static void uring_close(struct laio *laio)
{
    uring_ring_close(&((struct uring *)laio)->ring);
    laio_stop(laio);
    free(laio);
}

const struct laio_engine laio_uring = {
    .name = "uring",
    .open = uring_open,
    .supports = uring_supports,
    .call = uring_call,
    .reap = uring_reap,
    .interrupt = uring_interrupt,
    .close = uring_close,
};
