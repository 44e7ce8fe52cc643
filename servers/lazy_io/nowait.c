/* nowait.c: ask first whether a call would wait (cached.h): what is in memory comes at once, and a helper thread makes
 * the rest.
 *
 * Only reads, and opening in one way, can be asked; a helper makes all other calls. A read of O_DIRECT holds the loop.
 * There is no helper before one is needed, unless options->threads_at_first says so: while everything is in memory, the
 * process keeps a single thread, whose calls need not lock its table of descriptors.
 */
#include "cached.h"
#include "helpers.h"
#include "transfer.h"

#include <stdlib.h>
#include <string.h>

struct nowait {
    struct laio laio;
    struct helpers *helpers;
    bool optimistic;
};

/* Refuse where the question itself is not known, or not allowed. */
static bool probe(struct laio *laio, char *why, size_t why_bytes)
{
    long result = cached_probe(laio->event);
    if (result != 0)
        laio_refuse(why, why_bytes,
                    "nowait: preadv2(RWF_NOWAIT): %s: needs Linux 4.14, and allow preadv2 in the container",
                    strerror((int)-result));
    return result == 0;
}

static struct laio *nowait_open(const struct laio_options *options, char *why, size_t why_bytes)
{
    struct nowait *nowait = calloc(1, sizeof *nowait);
    if (nowait == NULL)
        return laio_refuse(why, why_bytes, "no memory");
    nowait->optimistic = options->optimistic;
    if (laio_start(&nowait->laio, &laio_nowait, options, -1, why, why_bytes) == 0) {
        if (probe(&nowait->laio, why, why_bytes))
            nowait->helpers = helpers_open(&nowait->laio, options, options->threads_at_first, why, why_bytes);
        if (nowait->helpers != NULL)
            return &nowait->laio;
        laio_stop(&nowait->laio);
    }
    free(nowait);
    return NULL;
}

static struct laio_outcome hold(struct laio *laio, const struct laio_call *call)
{
    laio_went(laio, LAIO_PATH_held);
    return (struct laio_outcome){.result = laio_plainly_call(call)};
}

/* The call, or what is left of it after what was read, by a helper. */
static struct laio_outcome hand(struct laio *laio, const struct laio_call *call, const struct cached *asked)
{
    struct laio_operation *operation = laio_take(laio);
    if (operation != NULL) {
        operation->call = *call;
        if (helpers_hand(((struct nowait *)laio)->helpers, operation, asked->moved, asked->memory)) {
            laio_went(laio, asked->answer == CACHED_MISS ? LAIO_PATH_miss : LAIO_PATH_helper);
            return (struct laio_outcome){.operation = operation};
        }
        laio_give_back(laio, operation);
    }
    struct laio_outcome outcome = hold(laio, call);
    outcome.result = transfer_joined(asked->moved, outcome.result);
    free(asked->memory);
    return outcome;
}

static struct laio_outcome nowait_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    struct laio_call call = {number, {a, b, c, d, e, f}};
    struct cached asked = cached_call(&call);
    switch (asked.answer) {
    case CACHED_HIT:
        laio_went(laio, LAIO_PATH_hit);
        return (struct laio_outcome){.result = asked.result};
    case CACHED_RETURNED:
        return (struct laio_outcome){.result = asked.result};
    case CACHED_UNKNOWN:
        if (((struct nowait *)laio)->optimistic)
            return hold(laio, &call);
        break;
    case CACHED_MISS:
    case CACHED_NOT:
        break;
    }
    return hand(laio, &call, &asked);
}

static void nowait_interrupt(struct laio *laio)
{
    helpers_interrupt(((struct nowait *)laio)->helpers);
}

static void nowait_close(struct laio *laio)
{
    helpers_close(((struct nowait *)laio)->helpers);
    laio_stop(laio);
    free(laio);
}

const struct laio_engine laio_nowait = {
    .name = "nowait",
    .open = nowait_open,
    .call = nowait_call,
    .interrupt = nowait_interrupt,
    .close = nowait_close,
};
