/* laio_operations.h: random system calls whose results are known beforehand, from a model or from a plain call.
 *
 * An operation owns everything its call is given, and objects of its own (pipes, sockets, a region of a file), so that
 * any number of them may be in progress. What it waits for is done by the partner, never by whoever makes the calls: so
 * the result is the same whether the caller is held or goes on. All is decided by seed and id.
 */
#ifndef NAI_LAIO_OPERATIONS_H
#define NAI_LAIO_OPERATIONS_H

#include "laio_partner.h"

#include <poll.h>
#include <stddef.h>
#include <stdlib.h> /* of NEED() */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define AREA_BYTES 65536  /* of an operation's buffers */
#define REGION_BYTES 65536 /* of the scratch file, for each operation */
#define LIST_BYTES 4096
#define VECTORS 5

struct operations;

struct operation {
    struct operations *all;
    unsigned index;
    uint64_t id, random; /* random: the state of its own generator */
    unsigned class;

    /* The call, and what it is to give: the kernel's result, -errno on failure. */
    long number, arguments[6];
    long expected;
    bool gives_descriptor; /* any that verify() finds to be right */
    bool waits;            /* for the partner or for time, so that a signal may interrupt it */
    bool partly;           /* a signal may leave it with a part of its bytes */
    void (*verify)(struct operation *operation, long result); /* the bytes, after the expected result; may be NULL */

    /* What the call is given. */
    char *area; /* AREA_BYTES, all of them of one value but where the call reads; below a canary, above no memory */
    size_t at, bytes;    /* its buffer */
    const char *content; /* the bytes that it is to receive or send */
    size_t filled;       /* these many of the buffer hold the content from the beginning */
    struct iovec vectors[VECTORS];
    int vector_count;
    struct timespec time;
    struct stat status;
    struct pollfd poll;
    struct sockaddr_storage address;
    socklen_t address_bytes;
    off_t offset;
    uint32_t word;
    uint64_t began_ns;
    char path[64];

    /* Objects of its own. */
    int pipe[2], pair[2], listeners[2]; /* listeners: Unix, TCP */
    int reader, direct, writer, folder;         /* direct: by O_DIRECT, or -1 */
    int opened[3];    /* for this operation only: those that are not -1 are closed after it */
    char *drained;    /* what was taken out of a full pipe or socket */
    size_t drained_bytes, filler_bytes, left_bytes; /* left: in its pipe or pair, after all */
    int drain_from;
    char list[LIST_BYTES]; /* what folder has; where the kernel leaves gaps, as in the area */
    size_t list_bytes;
    unsigned uses; /* what is to be emptied after it */
    struct favour favour;

    /* For whoever makes the calls. */
    struct operation *next_free;
    void *handle, *data;
    bool in_progress;
};

struct operations {
    char folder[300];
    int folder_descriptor;
    uint64_t seed;
    unsigned count;
    struct operation *each;
    struct partner *partner;
    bool interrupted; /* signals come: EINTR, and less than all, are right as well */
    /* content.bin, and what is in it; scratch.bin, and what is to be in it at the end */
    int content_file, scratch_file;
    char *content, *scratch;
    size_t content_bytes;
    struct stat status; /* of content.bin */
    /* What fails: each is always in the same state. */
    int write_only, empty_pipe[2], full_pipe[2], broken_pipe[2], broken_pair[2], silent_pair[2], datagram, stream,
        quiet_listener, full_device, full_file; /* full_file: on a file system without room, or -1 */
    int reserved;
    char endless[5000];             /* a name */
    struct sockaddr_storage nobody; /* where reserved is, which does not listen */
    socklen_t nobody_bytes;
};
#define USES_PIPE 1u
#define USES_PAIR 2u
#define USES_LISTENERS 4u
#define DRAINED_BYTES (1u << 18)
#define CANARY_BYTES 64 /* around a buffer */
#define PAGE_BYTES 4096

/* A folder of that name below fixture_root(), with what count operations at a time need. */
void operations_start(struct operations *operations, const char *name, unsigned count, uint64_t seed);
/* Compares the scratch file, closes and frees everything. */
void operations_stop(struct operations *operations);

void operation_prepare(struct operation *operation, uint64_t id);
/* The call plainly, by syscall(): the kernel's result. */
long operation_plainly(struct operation *operation);
/* Is the result right, and are the bytes, and did nothing else change? Then it is ready for another operation. */
void operation_check(struct operation *operation, long result);
/* It is not made after all. */
void operation_forget(struct operation *operation);
void operation_print(const struct operation *operation, const char *why);

/* Within laio_operations*.c */

#define OPERATION_CALL(operation, ...) OPERATION_PADDED(operation, __VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define OPERATION_PADDED(operation, number, a, b, c, d, e, f, ...)                                                     \
    operation_set(operation, number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
void operation_set(struct operation *operation, long number, long a, long b, long c, long d, long e, long f);
uint64_t operation_draw(struct operation *operation, uint64_t below);
char operation_untouched(const struct operation *operation); /* what its area holds where nobody has written */
/* A buffer of these many bytes at a random place of its area. */
char *operation_buffer(struct operation *operation, size_t bytes);
/* A buffer that holds these bytes, for the call to read. */
char *operation_filled(struct operation *operation, const void *content, size_t bytes);
/* So many bytes of content.bin, at random. */
const char *operation_content(struct operation *operation, size_t bytes);
/* Verify: the area holds these bytes here, which then count as untouched again. */
void operation_holds(struct operation *operation, const char *at, const char *content, size_t bytes);
void operation_holds_content(struct operation *operation, long result);
/* The same for what was drained: the filler, and then the content. */
void operation_drained(struct operation *operation, long result);
bool deed_drain(void *operation);
void operation_open(struct operation *operation, int slot, int descriptor);
/* The partner is asked for it; or, at random, it is done now. */
void operation_ask_soon(struct operation *operation, bool (*deed)(void *operation));
void operation_now_or_soon(struct operation *operation, bool (*deed)(void *operation));
size_t readable_bytes(int descriptor);

/* The classes and their weights, by file: laio_operations_files.c, _waits.c, _time.c, _fails.c. */
#define OPERATION_CLASSES(X)                                                                                           \
    X(open, 6) X(status, 8) X(read, 26) X(write, 8) X(sync, 1) X(list, 2) X(seek, 3)                                   \
    X(pipe_read, 10) X(pipe_write, 4) X(connect, 3) X(accept, 3) X(receive, 4) X(send, 3) X(send_file, 4)              \
    X(sleep, 4) X(futex, 2) X(poll, 3) X(open_fifo, 1)                                                                 \
    X(fail, 12)
enum {
#define X(name, weight) OPERATION_##name,
    OPERATION_CLASSES(X)
#undef X
        OPERATION_CLASS_COUNT
};
extern const char *const operation_class_names[OPERATION_CLASS_COUNT];
#define X(name, weight) void prepare_##name(struct operation *operation);
OPERATION_CLASSES(X)
#undef X

#endif
