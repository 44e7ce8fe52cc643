/* operations.h: the calls of `held`: what each needs before, and how one knows that it did what it was to do. */
#ifndef NAI_BENCH_OPERATIONS_H
#define NAI_BENCH_OPERATIONS_H

#include "arguments.h"
#include "bench.h"
#include "data.h"
#include "partner.h"
#include "tree.h"

#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>

struct operation {
    const struct operation_kind *kind;
    struct bench *bench;
    const char *state;
    uint64_t bytes;

    long number, arguments[6]; /* the call, made by ready() */

    struct data data;
    struct slots slots;
    uint64_t offset; /* of the call in the data file */
    unsigned char *buffer;
    uint32_t *generations; /* of the writable file, a slot each; 0 = not written by this run */
    uint32_t generation;

    struct tree tree;
    uint32_t index; /* of the file or folder */
    char path[TREE_PATH_BYTES];
    struct statx status;

    int near, far; /* the loop's end of a pipe or connection, and the partner's */
    int listener;
    union {
        struct sockaddr_in internet;
        struct sockaddr_un local;
    } address;
    uint32_t address_bytes;
    loff_t position; /* of sendfile */
    struct timespec pause;
    struct partner partner;      /* if started: acts when it is told that the loop has gone on */
    pthread_t server;            /* drains or accepts all the time */
    bool server_started;
    _Atomic(uint64_t) served;    /* bytes that it has read, or connections that it is through with */
    uint64_t asked;              /* of it, so far */
    unsigned char byte;
};

struct operation_kind {
    const char *name;
    const char *what;
    const char *states[STATES]; /* the first is the default */
    const char *call;
    long number;
    uint64_t bytes;   /* the default; 1 or 0 = there is no choice */
    uint64_t minimum; /* samples */
    bool (*prepare)(struct operation *); /* once; false with why */
    void (*ready)(struct operation *);   /* before each call, untimed */
    /* After each: the call's result, or -1 with errno; false if that is wrong. Frees what the call made. */
    bool (*right)(struct operation *, long result);
    bool (*all_right)(struct operation *); /* at the end, NULL = nothing is left to be looked at */
    void (*end)(struct operation *);
};

extern const struct operation_kind operation_read, operation_write, operation_fsync, operation_sendfile,
    operation_open, operation_stat, operation_readdir, operation_connect, operation_pipe, operation_sleep;
extern const struct operation_kind *const operation_kinds[]; /* NULL after the last */

/* By the names in the options, which get the defaults where they say nothing. Unknown: exit 2. False with why if it
 * cannot be had here. */
bool operation_open_kind(struct bench *, struct operation *, const char *name);
void operation_close(struct operation *);
bool operation_is(const struct operation *, const char *state);
void operation_call(struct operation *, long number, long a, long b, long c, long d, long e);

/* One call, from ready() to right(), by the engine or plainly. Wrong results are counted. */
struct timing {
    uint64_t held_ns, total_ns;
    uint64_t cpu_ns; /* of the whole process meanwhile, the partner's too */
    bool lazy;       /* it left an operation in progress */
};
struct timing operation_lazily(struct operation *);
struct timing operation_plainly(struct operation *);
void operation_check(struct operation *, long result, const char *who); /* result -1: with errno */

void operations_help(FILE *out);

#endif
