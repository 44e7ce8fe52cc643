/* operations_data.c: read, write, fsync and sendfile of the data files. */
#include "operations.h"

#include "arguments.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WINDOW_BYTES (UINT64_C(1) << 20) /* of what is in memory: small, so that the processor's caches are as warm */

static uint64_t window(const struct operation *operation, uint64_t least)
{
    uint64_t bytes = 4 * operation->bytes > least ? 4 * operation->bytes : least;
    return bytes < operation->data.bytes ? bytes : operation->data.bytes;
}

static bool open_data(struct operation *operation, bool writable, const char *state)
{
    struct bench *bench = operation->bench;
    data_open(bench, &operation->data, writable);
    operation->buffer = bench_buffer(operation->bytes);
    if (operation_is(operation, "direct")) {
        if (operation->bytes % PAGE_BYTES != 0)
            fail(2, "--bytes: O_DIRECT needs a multiple of %u", PAGE_BYTES);
        if (operation->data.direct < 0)
            return bench_unsupported(bench, "the file system of %s has no O_DIRECT", bench->options.folder);
    }
    if (operation_is(operation, "cold") && !data_evictable(bench, &operation->data))
        return false;
    bool whole = operation_is(operation, "cold") || operation_is(operation, "direct");
    uint64_t bytes = whole ? operation->data.bytes : window(operation, writable ? 16 * WINDOW_BYTES : WINDOW_BYTES);
    slots_make(bench, &operation->slots, bytes, operation->bytes);
    if (operation_is(operation, state))
        data_warm(&operation->data, 0, bytes);
    else
        data_evict(&operation->data);
    return true;
}

static void close_data(struct operation *operation)
{
    data_close(&operation->data);
    slots_free(&operation->slots);
}

/* The next place, as warm or as cold as it is to be. */
static void choose_place(struct operation *operation)
{
    operation->offset = slots_next(operation->bench, &operation->slots);
    if (operation_is(operation, "cold"))
        data_chill(operation->bench, &operation->data, operation->offset, operation->bytes);
    else if (!operation_is(operation, "direct"))
        data_look(operation->bench, &operation->data, operation->offset, operation->bytes);
}

/* read */

static bool read_prepare(struct operation *operation)
{
    return open_data(operation, false, "cached");
}

static void read_ready(struct operation *operation)
{
    choose_place(operation);
    data_spoil(operation->buffer, operation->bytes);
    int file = operation_is(operation, "direct") ? operation->data.direct : operation->data.file;
    operation_call(operation, SYS_pread64, file, (long)operation->buffer, (long)operation->bytes,
                   (long)operation->offset, 0);
}

static bool read_right(struct operation *operation, long result)
{
    return result == (long)operation->bytes && data_right(operation->buffer, operation->offset, operation->bytes, 0);
}

const struct operation_kind operation_read = {
    .name = "read",
    .what = "pread64 at a random page",
    .states = {"cached", "cold", "direct"},
    .call = "pread64",
    .number = SYS_pread64,
    .bytes = 4096,
    .minimum = 50,
    .prepare = read_prepare,
    .ready = read_ready,
    .right = read_right,
    .end = close_data,
};

/* write: each place holds the newest generation that was written to it, which is looked at when all is over. */

static bool write_prepare(struct operation *operation)
{
    if (!open_data(operation, true, "warm"))
        return false;
    operation->generations = calloc(operation->slots.count, sizeof *operation->generations);
    if (operation->generations == NULL)
        fail(1, "no memory for %u generations", operation->slots.count);
    return true;
}

static void fill(struct operation *operation)
{
    operation->generations[operation->offset / operation->slots.stride] = ++operation->generation;
    data_fill(operation->buffer, operation->offset, operation->bytes, operation->generation);
}

static void write_ready(struct operation *operation)
{
    choose_place(operation);
    fill(operation);
    int file = operation_is(operation, "direct") ? operation->data.direct : operation->data.file;
    operation_call(operation, SYS_pwrite64, file, (long)operation->buffer, (long)operation->bytes,
                   (long)operation->offset, 0);
}

static bool write_right(struct operation *operation, long result)
{
    return result == (long)operation->bytes;
}

static bool writes_right(struct operation *operation)
{
    bool right = true;
    for (uint32_t slot = 0; slot < operation->slots.count && right; slot++) {
        uint64_t offset = slot * operation->slots.stride;
        if (operation->generations[slot] == 0)
            continue;
        right = pread(operation->data.file, operation->buffer, operation->bytes, (off_t)offset) ==
                    (ssize_t)operation->bytes &&
                data_right(operation->buffer, offset, operation->bytes, operation->generations[slot]);
    }
    return right;
}

const struct operation_kind operation_write = {
    .name = "write",
    .what = "pwrite64 over what is there",
    .states = {"warm", "direct"},
    .call = "pwrite64",
    .number = SYS_pwrite64,
    .bytes = 4096,
    .minimum = 50,
    .prepare = write_prepare,
    .ready = write_ready,
    .right = write_right,
    .all_right = writes_right,
    .end = close_data,
};

/* fsync */

static void fsync_ready(struct operation *operation)
{
    operation->offset = slots_next(operation->bench, &operation->slots);
    fill(operation);
    if (pwrite(operation->data.file, operation->buffer, operation->bytes, (off_t)operation->offset) !=
        (ssize_t)operation->bytes)
        fail(1, "writing what fsync is to write: %s", strerror(errno));
    operation_call(operation, SYS_fsync, operation->data.file, 0, 0, 0, 0);
}

static bool fsync_right(struct operation *operation, long result)
{
    (void)operation;
    return result == 0;
}

const struct operation_kind operation_fsync = {
    .name = "fsync",
    .what = "fsync after a pwrite64",
    .states = {"dirty"},
    .call = "fsync",
    .number = SYS_fsync,
    .bytes = 4096,
    .minimum = 20,
    .prepare = write_prepare,
    .ready = fsync_ready,
    .right = fsync_right,
    .all_right = writes_right,
    .end = close_data,
};

/* sendfile, into a socket that somebody drains */

static void *drain(void *argument)
{
    struct operation *operation = argument;
    size_t at = 0;
    for (;;) {
        ssize_t got = read(operation->far, operation->buffer + at, operation->bytes - at);
        if (got <= 0)
            return NULL;
        at = (at + (size_t)got) % operation->bytes;
        atomic_fetch_add(&operation->served, (uint64_t)got);
    }
}

static bool sendfile_prepare(struct operation *operation)
{
    if (!open_data(operation, false, "cached"))
        return false;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        fail(1, "a pair of sockets: %s", strerror(errno));
    operation->near = ends[0];
    operation->far = ends[1];
    bench_thread(operation->bench, &operation->server, operation->bench->options.partner_cpu, drain, operation);
    operation->server_started = true;
    return true;
}

static void sendfile_ready(struct operation *operation)
{
    choose_place(operation);
    data_spoil(operation->buffer, operation->bytes);
    operation->position = (loff_t)operation->offset;
    operation_call(operation, SYS_sendfile, operation->near, operation->data.file, (long)&operation->position,
                   (long)operation->bytes, 0);
}

static bool sendfile_right(struct operation *operation, long result)
{
    if (result <= 0)
        return false;
    operation->asked += (uint64_t)result;
    while (atomic_load(&operation->served) < operation->asked)
        sched_yield();
    return result == (long)operation->bytes && operation->position == (loff_t)(operation->offset + operation->bytes) &&
           data_right(operation->buffer, operation->offset, operation->bytes, 0);
}

static void sendfile_end(struct operation *operation)
{
    if (operation->server_started) {
        shutdown(operation->near, SHUT_RDWR);
        pthread_join(operation->server, NULL);
        close(operation->near);
        close(operation->far);
    }
    close_data(operation);
}

const struct operation_kind operation_sendfile = {
    .name = "sendfile",
    .what = "from a file into a socket pair that a partner drains",
    .states = {"cached", "cold"},
    .call = "sendfile",
    .number = SYS_sendfile,
    .bytes = 65536,
    .minimum = 50,
    .prepare = sendfile_prepare,
    .ready = sendfile_ready,
    .right = sendfile_right,
    .end = sendfile_end,
};
