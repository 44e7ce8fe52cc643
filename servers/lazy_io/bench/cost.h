/* cost.h: an operation whose cost is compared: by the engine, by a plain system call, by the C library's function. */
#ifndef NAI_BENCH_COST_H
#define NAI_BENCH_COST_H

#include "arguments.h"
#include "bench.h"
#include "data.h"
#include "tree.h"

#include <stdatomic.h>

enum { LAZY, READY };

/* The last one only where it is what the engine asks, and can be answered. */
enum { BY_ENGINE, BY_PLAIN, BY_GLIBC, BY_RAW_NOWAIT, WAYS_TO_CALL };

#define BLOCK_AT_MOST 4096 /* operations; a power of two */

struct cost {
    const struct cost_kind *kind;
    struct bench *bench;
    struct laio *laio; /* the engine's, where the loops find it */
    const char *state;
    uint64_t bytes;
    unsigned block_at_most;
    unsigned ways;

    struct data data;
    struct slots slots;
    int file;
    unsigned char *buffer;
    uint64_t offsets[BLOCK_AT_MOST];
    unsigned char **buffers; /* of those in flight */

    struct tree tree;
    uint32_t indexes[BLOCK_AT_MOST];
    char (*paths)[TREE_PATH_BYTES];
    struct statx *status;

    int near[2], far[2]; /* the ends of two pipes, LAZY and READY, whose reading end does not block */
    unsigned char *source;
    uint64_t generation; /* of what is in it */
    pthread_t rescuer;
    bool rescuer_started;
    atomic_bool quit;
    _Atomic(uint64_t) begun; /* operations */
    atomic_int in_call;
    uint64_t rescued;
};

/* n operations, the sum of their results. Nothing else is in it: it is what is timed. */
typedef long cost_block(struct cost *cost, unsigned n);

struct cost_kind {
    const char *name;
    const char *what;
    const char *states[STATES];
    const char *twin; /* of `held`, in the same state: for ring_paths */
    uint64_t bytes;
    const struct {
        const char *name;
        long number;
    } calls[2]; /* that the engine has to have */
    bool (*prepare)(struct cost *);              /* false with why */
    bool (*probe)(struct cost *);                /* NULL, or a first operation by the engine: false with why */
    bool (*asked)(struct cost *);                /* NULL, or is preadv2(RWF_NOWAIT) answered here? */
    void (*ready)(struct cost *, unsigned n);    /* before each block, untimed */
    bool (*right)(struct cost *, unsigned n, long sum); /* after it */
    void (*end)(struct cost *);
    cost_block *blocks[WAYS_TO_CALL];
};

/* A system call without the C library, but in a function, as all that it is compared with: on some machines the first
 * return after a system call costs a quarter of a cached read (a kernel's safe RET leaves nothing to predict it by). */
long plain_syscall(long number, long a, long b, long c, long d, long e, long f);

extern const struct cost_kind cost_pipe, cost_read, cost_openstat;

static inline bool cost_is(const struct cost *cost, const char *state)
{
    return __builtin_strcmp(cost->state, state) == 0;
}

#endif
