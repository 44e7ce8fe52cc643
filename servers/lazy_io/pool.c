/* pool.c: every call by a helper thread, without asking whether it would block: libuv's way with files. */
#include "helpers.h"

#include <stdlib.h>

struct pool {
    struct laio laio;
    struct helpers *helpers;
};

static struct laio *pool_open(const struct laio_options *options, char *why, size_t why_bytes)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return laio_refuse(why, why_bytes, "no memory");
    if (laio_start(&pool->laio, &laio_pool, options, -1, why, why_bytes) == 0) {
        pool->helpers = helpers_open(&pool->laio, options, laio_or(options->threads_at_first, HELPERS_AT_FIRST),
                                     why, why_bytes);
        if (pool->helpers != NULL)
            return &pool->laio;
        laio_stop(&pool->laio);
    }
    free(pool);
    return NULL;
}

static struct laio_outcome pool_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    struct pool *pool = (struct pool *)laio;
    struct laio_operation *operation = laio_take(laio);
    if (operation == NULL) {
        laio_went(laio, LAIO_PATH_held);
        return (struct laio_outcome){.result = laio_plainly(number, a, b, c, d, e, f)};
    }
    laio_went(laio, LAIO_PATH_helper);
    operation->call = (struct laio_call){number, {a, b, c, d, e, f}};
    helpers_hand(pool->helpers, operation, 0, NULL); /* there have been some since it was opened */
    return (struct laio_outcome){.operation = operation};
}

static void pool_interrupt(struct laio *laio)
{
    helpers_interrupt(((struct pool *)laio)->helpers);
}

static void pool_close(struct laio *laio)
{
    helpers_close(((struct pool *)laio)->helpers);
    laio_stop(laio);
    free(laio);
}

const struct laio_engine laio_pool = {
    .name = "pool",
    .open = pool_open,
    .call = pool_call,
    .interrupt = pool_interrupt,
    .close = pool_close,
};
