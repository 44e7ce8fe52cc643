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
 * - It reads and writes at an offset what has none. So it is looked at, once a descriptor: one that was closed, and
 *   made again as a pipe, without this library's calls, is not noticed. Of that one pread() takes data.
 * - Its first attempt to open a FIFO does not wait. Then a worker opens it again, and waits.
 * - It sends without SIGPIPE. That is sent here, when the completion is taken.
 * - A plain call of the ring's thread that has moved a part of its bytes may return early, as after a signal, when the
 *   kernel makes a worker or another ring completes. So a call that holds the caller goes through the ring as well. A
 *   signal ends it with EINTR even if its handler was set with SA_RESTART. More bytes than an entry has room for are a
 *   plain call after all; and the program's own plain calls are its own.
 * - The time-outs SO_RCVTIMEO and SO_SNDTIMEO are not kept. That remains.
 *
 * The ring belongs to the thread that makes the first call (IORING_SETUP_SINGLE_ISSUER): only that one may call and
 * poll.
 */
#include "transfer.h"
#include "uring_alike.h"
#include "uring_calls.h"
#include "uring_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct uring {
    struct laio laio;
    struct uring_ring ring;
    struct uring_offsets offsets;
    bool taken; /* completions were, outside of laio_poll() */
    struct laio_operation *spare; /* for the next call; most give it back */
};

/* What the kernel never tells a plain call, but does tell of an open that was interrupted in a worker
 * (include/linux/errno.h). */
#define ERESTARTSYS 512

/* engine_data of an operation in the ring */
enum {
    MOVED,    /* bytes that earlier parts have moved */
    MEMORY,   /* the vector of the part in the ring, or its message, if it is ours */
    POSITION, /* plus 1: where the file stands and io_uring will leave it; NULL: it will be moved */
    OPENED,   /* plus 1: what was opened at once and must be waited for, or -ENXIO; NULL: nothing */
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

static enum uring_put put(struct uring *uring, struct laio_operation *operation, struct io_uring_sqe *entry)
{
    return uring_put(entry, &uring->offsets, &operation->call, &operation->engine_data[MEMORY]);
}

/* Ask for the rest. false: that cannot be, so what has been moved is all. */
static bool go_on(struct uring *uring, struct laio_operation *operation, long moved)
{
    struct io_uring_sqe entry;
    long before = (long)(uintptr_t)operation->engine_data[MOVED];
    if (!transfer_advance(&operation->call, (size_t)moved, &operation->engine_data[MEMORY]) ||
        put(uring, operation, &entry) != URING_PUT || !uring_ring_submit(&uring->ring, &entry, operation))
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

/* Open it by a worker, which waits. What is open already stays so, for whoever opens the other end meanwhile. */
static bool open_again(struct uring *uring, struct laio_operation *operation, long opened)
{
    struct io_uring_sqe entry;
    if (put(uring, operation, &entry) != URING_PUT)
        return false;
    entry.flags |= IOSQE_ASYNC;
    if (!uring_ring_submit(&uring->ring, &entry, operation))
        return false;
    operation->engine_data[OPENED] = (void *)(opened + 1);
    return true;
}

/* Of the two descriptors of a FIFO the first is the call's, since it is the lower one. */
static long opened_twice(long first, long result)
{
    if (first < 0)
        return result;
    close((int)(result < 0 ? first : result));
    return result < 0 ? result : first;
}

/* All of the call is over. Returns its result. */
static long settle(struct uring *uring, struct laio_operation *operation, long result)
{
    if (result == -ERESTARTSYS)
        result = -EINTR;
    if (operation->engine_data[OPENED] != NULL)
        result = opened_twice((long)operation->engine_data[OPENED] - 1, result);
    if (result == -EPIPE && uring_owes_sigpipe(&operation->call))
        laio_send_sigpipe();
    if (result >= 0 && uring_gives_descriptor(operation->call.number))
        uring_offsets_forget(&uring->offsets, result);
    if (operation->engine_data[MEMORY] != NULL)
        uring_message_end(&operation->call, operation->engine_data[MEMORY], result);
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

/* Give what has ended to the loop. */
static void take_all(struct uring *uring)
{
    void *name;
    long result;
    while (uring_ring_take(&uring->ring, &name, &result)) {
        struct laio_operation *operation = name;
        if (operation != NULL && !(falls_short(operation, result) && go_on(uring, operation, result)))
            laio_finish(&uring->laio, operation, settle(uring, operation, result));
    }
}

/* What a call takes from behind others leaves a hole. Before those leave no room, the others are taken, too. */
static void make_room(struct uring *uring)
{
    if (!uring_ring_crowded(&uring->ring))
        return;
    take_all(uring);
    uring->taken = true;
    uring_ring_tell(&uring->ring);
}

/* A part is complete: ask for the rest, if there is any. */
static bool ask_on(struct uring *uring, struct laio_operation *operation, long result)
{
    if (!falls_short(operation, result))
        return false;
    make_room(uring);
    return go_on(uring, operation, result);
}

static enum made make(struct uring *uring, const struct io_uring_sqe *entry, struct laio_operation *operation,
                      unsigned tail, long *result)
{
    if (!uring_ring_submit(&uring->ring, entry, operation))
        return NOT_TAKEN;
    bool done = uring_ring_completed(&uring->ring, operation, tail, result);
    while (done && ask_on(uring, operation, *result))
        done = uring_ring_completed(&uring->ring, operation, tail, result);
    if (done && uring_opened_early(&operation->call, *result) && open_again(uring, operation, *result))
        return WAITS;
    return done || must_not_wait(uring, operation, tail, result) ? DONE : WAITS;
}

/* The caller waits until it is complete, or a signal comes. */
static long wait_for(struct uring *uring, struct laio_operation *operation, unsigned tail)
{
    long result;
    do {
        while (!uring_ring_wait(&uring->ring, operation, tail, &result))
            if (uring_ring_withdraw(&uring->ring, operation, tail, &result))
                return result == -ECANCELED ? -EINTR : result;
    } while (ask_on(uring, operation, result));
    return result;
}

static struct laio_outcome plainly(struct laio *laio, struct laio_operation *operation)
{
    free(operation->engine_data[MEMORY]);
    laio_went(laio, LAIO_PATH_held);
    return (struct laio_outcome){.result = laio_plainly_call(&operation->call)};
}

static struct laio_outcome uring_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    struct uring *uring = (struct uring *)laio;
    struct io_uring_sqe entry;
    struct laio_operation own, *operation = uring->spare != NULL ? uring->spare : laio_reserve(laio);
    uring->spare = operation;
    const bool holds = operation == NULL;
    if (holds)
        operation = &own;
    operation->call = (struct laio_call){number, {a, b, c, d, e, f}};
    memset(operation->engine_data, 0, sizeof operation->engine_data);
    switch (uring_supports(laio, number) ? put(uring, operation, &entry) : URING_REFUSED) {
    case URING_REFUSED:
        laio_went(laio, LAIO_PATH_refused);
        return (struct laio_outcome){.result = -ENOSYS};
    case URING_PLAIN:
        return (struct laio_outcome){.result = laio_plainly_call(&operation->call)};
    case URING_HELD:
        return plainly(laio, operation);
    case URING_PUT:
        break;
    }

    long result;
    const bool told = uring_ring_quiet(&uring->ring);
    make_room(uring);
    const unsigned tail = uring_ring_tail(&uring->ring);
    enum made made = make(uring, &entry, operation, tail, &result);
    if (made == WAITS && holds) {
        laio_went(laio, LAIO_PATH_held);
        result = wait_for(uring, operation, tail);
        made = DONE;
    }
    uring_ring_told(&uring->ring, told);
    if (made == NOT_TAKEN)
        return plainly(laio, operation);
    if (made == DONE)
        return (struct laio_outcome){.result = settle(uring, operation, result)};
    laio_went(laio, LAIO_PATH_ring);
    laio_begin(laio, operation);
    uring->spare = NULL;
    return (struct laio_outcome){.operation = operation};
}

static void uring_reap(struct laio *laio)
{
    struct uring *uring = (struct uring *)laio;
    uint64_t written;
    if (!uring->ring.enabled || !(uring->taken || uring_ring_ready(&uring->ring)))
        return;
    uring->taken = false;
    uring_ring_quiet(&uring->ring);
    laio_plainly(SYS_read, uring->ring.event, (long)&written, sizeof written, 0, 0, 0);
    take_all(uring);
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
