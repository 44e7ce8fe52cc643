/* operations_waits.c: connect, pipe and sleep, which wait for somebody else, or for time. */
#include "operations.h"

#include "arguments.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define AFTER_TOLD_NS 200000
#define AT_LATEST_NS 2000000
#define SLEEP_NS 200000
#define BACKLOG 128

/* A connection that ends by RST leaves nothing in TIME_WAIT, so that ports do not run out. */
static void reset(int file)
{
    struct linger linger = {.l_onoff = 1};
    setsockopt(file, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(file);
}

/* connect ready: somebody accepts all the time */

static void *accept_all(void *argument)
{
    struct operation *operation = argument;
    for (;;) {
        int file = accept4(operation->listener, NULL, NULL, SOCK_CLOEXEC);
        if (file < 0 && errno != ECONNABORTED && errno != EINTR)
            return NULL; /* shut down */
        char byte;
        while (file >= 0 && read(file, &byte, 1) > 0) /* until the other side is through with it */
            ;
        if (file >= 0) {
            close(file);
            atomic_fetch_add(&operation->served, 1);
        }
    }
}

static void listen_ready(struct operation *operation)
{
    struct sockaddr_in *address = &operation->address.internet;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof *address;
    operation->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (operation->listener < 0 || bind(operation->listener, (struct sockaddr *)address, bytes) != 0 ||
        listen(operation->listener, BACKLOG) != 0 ||
        getsockname(operation->listener, (struct sockaddr *)address, &bytes) != 0)
        fail(1, "a listener on loopback: %s", strerror(errno));
    operation->address_bytes = bytes;
    bench_thread(operation->bench, &operation->server, operation->bench->options.partner_cpu, accept_all, operation);
    operation->server_started = true;
}

/* connect full: the partner makes room for one, who is then the one that fills it again */

static void accept_one(void *argument)
{
    struct operation *operation = argument;
    int file = accept4(operation->listener, NULL, NULL, SOCK_CLOEXEC);
    if (file >= 0)
        close(file);
}

static void fill_queue(struct operation *operation)
{
    int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (file < 0)
        fail(1, "a socket: %s", strerror(errno));
    while (connect(file, (struct sockaddr *)&operation->address.local, operation->address_bytes) == 0) {
        close(file);
        file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    }
    if (errno != EAGAIN)
        fail(1, "filling a listener's queue: %s", strerror(errno));
    close(file);
}

static void listen_full(struct operation *operation)
{
    struct sockaddr_un *address = &operation->address.local;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int name = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "lazybench-%d", getpid());
    operation->address_bytes = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)name);
    operation->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (operation->listener < 0 ||
        bind(operation->listener, (struct sockaddr *)address, operation->address_bytes) != 0 ||
        listen(operation->listener, 0) != 0)
        fail(1, "a listener: %s", strerror(errno));
    partner_start(operation->bench, &operation->partner, accept_one, operation, AFTER_TOLD_NS, AT_LATEST_NS);
}

static bool connect_prepare(struct operation *operation)
{
    if (operation_is(operation, "full"))
        listen_full(operation);
    else
        listen_ready(operation);
    return true;
}

static void connect_ready(struct operation *operation)
{
    bool full = operation_is(operation, "full");
    if (full)
        fill_queue(operation);
    operation->near = socket(full ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (operation->near < 0)
        fail(1, "a socket: %s", strerror(errno));
    operation_call(operation, SYS_connect, operation->near, (long)&operation->address, operation->address_bytes, 0, 0);
}

static bool connect_right(struct operation *operation, long result)
{
    struct sockaddr_storage peer;
    socklen_t bytes = sizeof peer;
    bool right = result == 0 && getpeername(operation->near, (struct sockaddr *)&peer, &bytes) == 0;
    reset(operation->near);
    /* A server that was kept from running would find its queue full, and the next SYN be dropped. */
    operation->asked += operation->server_started && result == 0;
    while (atomic_load(&operation->served) < operation->asked)
        sched_yield();
    return right;
}

static void connect_end(struct operation *operation)
{
    shutdown(operation->listener, SHUT_RDWR);
    partner_stop(&operation->partner);
    if (operation->server_started)
        pthread_join(operation->server, NULL);
    close(operation->listener);
}

const struct operation_kind operation_connect = {
    .name = "connect",
    .what = "ready: to a listener on loopback; full: to a local one with a full queue",
    .states = {"ready", "full"},
    .call = "connect",
    .number = SYS_connect,
    .minimum = 50,
    .prepare = connect_prepare,
    .ready = connect_ready,
    .right = connect_right,
    .end = connect_end,
};

/* pipe */

static void write_byte(void *argument)
{
    struct operation *operation = argument;
    if (write(operation->far, &operation->byte, 1) != 1)
        fail(1, "a pipe: %s", strerror(errno));
}

static bool pipe_prepare(struct operation *operation)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        fail(1, "a pipe: %s", strerror(errno));
    operation->near = ends[0];
    operation->far = ends[1];
    operation->buffer = bench_buffer(1);
    if (operation_is(operation, "absent"))
        partner_start(operation->bench, &operation->partner, write_byte, operation, AFTER_TOLD_NS, AT_LATEST_NS);
    return true;
}

static void pipe_ready(struct operation *operation)
{
    operation->byte++;
    operation->buffer[0] = (unsigned char)~operation->byte;
    if (operation_is(operation, "present"))
        write_byte(operation);
    operation_call(operation, SYS_read, operation->near, (long)operation->buffer, 1, 0, 0);
}

static bool pipe_right(struct operation *operation, long result)
{
    return result == 1 && operation->buffer[0] == operation->byte;
}

static void pipe_end(struct operation *operation)
{
    partner_stop(&operation->partner);
    close(operation->near);
    close(operation->far);
}

const struct operation_kind operation_pipe = {
    .name = "pipe",
    .what = "read of a byte: absent: a partner writes it later; present: it is there",
    .states = {"absent", "present"},
    .call = "read",
    .number = SYS_read,
    .bytes = 1,
    .minimum = 50,
    .prepare = pipe_prepare,
    .ready = pipe_ready,
    .right = pipe_right,
    .end = pipe_end,
};

/* sleep */

static bool sleep_prepare(struct operation *operation)
{
    operation->pause = (struct timespec){.tv_nsec = SLEEP_NS};
    return true;
}

static void sleep_ready(struct operation *operation)
{
    operation_call(operation, SYS_nanosleep, (long)&operation->pause, 0, 0, 0, 0);
}

static bool sleep_right(struct operation *operation, long result)
{
    (void)operation;
    return result == 0;
}

static void sleep_end(struct operation *operation)
{
    (void)operation;
}

const struct operation_kind operation_sleep = {
    .name = "sleep",
    .what = "nanosleep of 200 us",
    .states = {"timed"},
    .call = "nanosleep",
    .number = SYS_nanosleep,
    .minimum = 50,
    .prepare = sleep_prepare,
    .ready = sleep_ready,
    .right = sleep_right,
    .end = sleep_end,
};
