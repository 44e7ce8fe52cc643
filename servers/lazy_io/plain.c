/* plain.c: the call itself, which may hold the loop: what every engine is compared with. */
#include "engine.h"

#include <stdlib.h>

static struct laio *plain_open(const struct laio_options *options, char *why, size_t why_bytes)
{
    struct laio *laio = calloc(1, sizeof *laio);
    if (laio == NULL)
        return laio_refuse(why, why_bytes, "no memory");
    if (laio_start(laio, &laio_plain, options, -1, why, why_bytes) != 0) {
        free(laio);
        return NULL;
    }
    return laio;
}

static struct laio_outcome plain_call(struct laio *laio, long number, long a, long b, long c, long d, long e, long f)
{
    (void)laio;
    return (struct laio_outcome){.result = laio_plainly(number, a, b, c, d, e, f)};
}

static void plain_close(struct laio *laio)
{
    laio_stop(laio);
    free(laio);
}

const struct laio_engine laio_plain = {
    .name = "plain",
    .open = plain_open,
    .call = plain_call,
    .close = plain_close,
};
