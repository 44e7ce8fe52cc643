/* server.c: an event-driven server whose files are read by lazy asynchronous I/O.
 *
 * The network is epoll.c's: getevents → accept phase → work phase, and no call blocks. The file of a reply, which
 * epoll.c has in memory or sends by sendfile, is here read by laio_syscall(), in chunks. A chunk that is in memory is
 * there when the call returns, and leaves in one call, the first together with the head. One that is not is in
 * progress: the loop serves others, and goes on with the reply when laio_poll() reports it.
 *
 * --engine says which server of Elmeleegy, Chanda, Cox and Zwaenepoel (2004) this is: with `plain` their NB-B, which is
 * held altogether by a read that waits for the disk; with `activation` their NB-LAIO. Only reading is lazy: files are
 * opened, and believed for a second, as by all designs (files.h).
 *
 * A chunk is its read's until that is complete, and so are the file and the socket, whose number is the connection's
 * name: a connection that is late meanwhile is closed afterwards. What a full socket does not take is read once more
 * when it has room, so that slow clients hold no memory.
 */
#include "chunks.h"
#include "counters.h"
#include "laio.h"
#include "phases.h"
#include "process.h"
#include "service.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>

struct lazy_socket {
    uint32_t interest;     /* what the epoll set says; 0 = it is not in it */
    struct chunk *reading; /* the read in progress, or NULL */
};

struct loop {
    struct options options;
    struct service service;
    struct listening listening;
    struct phases phases;
    bool accepting; /* the listener's readiness is asked for */
    int interest;   /* the epoll set */
    struct epoll_event *ready;
    int capacity; /* of ready: all connections at once, as select reports them */
    struct lazy_socket *sockets; /* by descriptor */
    struct chunks chunks;
    struct laio *laio;
    sigset_t stop_signals;
    int signals; /* readable when one of them came */
};

static bool watch(struct loop *loop, int operation, int descriptor, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = descriptor};
    return tp_epoll_ctl(loop->interest, operation, descriptor, &event) == 0;
}

static void watch_listener(struct loop *loop)
{
    bool wanted = listening_wanted(&loop->listening, loop->service.clock.now_ms);
    if (wanted != loop->accepting && loop->listening.socket >= 0)
        watch(loop, EPOLL_CTL_MOD, loop->listening.socket, wanted ? EPOLLIN : 0);
    loop->accepting = wanted;
}

/* With no events it leaves the set, which would report errors and hang-ups unasked. */
static bool watch_connection(struct loop *loop, int socket, uint32_t events)
{
    uint32_t before = loop->sockets[socket].interest;
    loop->sockets[socket].interest = events;
    return before == events ||
           watch(loop, before == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, socket, events);
}

static int getevents(struct loop *loop)
{
    int timeout_ms = getevents_begins(&loop->phases, service_wait_ms(&loop->service, &loop->listening));
    int ready = tp_epoll_wait(loop->interest, loop->ready, loop->capacity, timeout_ms);
    if (ready < 0 && errno != EINTR)
        process_fail(&loop->options, "wait for events");
    getevents_ends(&loop->phases, ready);
    return ready;
}

static bool is_ready(const struct loop *loop, int ready, int descriptor)
{
    for (int i = 0; i < ready; i++)
        if (loop->ready[i].data.fd == descriptor)
            return true;
    return false;
}

static void accept_phase(struct loop *loop)
{
    uint64_t accepted = 0;
    while (accepted < loop->options.accept_limit) {
        int socket = listening_accept(&loop->listening, loop->service.clock.now_ms);
        if (socket < 0)
            break;
        connection_open(&loop->service, socket);
        loop->sockets[socket] = (struct lazy_socket){0};
        accepted++;
        if (!watch_connection(loop, socket, EPOLLIN)) { /* no memory, or fs.epoll.max_user_watches */
            connection_close(&loop->service.connections[socket]);
            listening_pause(&loop->listening, loop->service.clock.now_ms);
        }
    }
    count(accept_phases);
    if (accepted == 0)
        count(accept_phases_empty);
    phase_ends(&loop->phases, COUNTER_accept_ns);
}

/* Working */

/* Read what comes next of a reply's file. False if that is in progress. */
static bool read_chunk(struct loop *loop, struct connection *connection, struct chunk *chunk,
                       const struct connection_output *output)
{
    size_t bytes = output->file_bytes < LAZY_CHUNK_BYTES ? output->file_bytes : LAZY_CHUNK_BYTES;
    long got = laio_syscall(loop->laio, SYS_pread64, output->file, chunk->bytes, bytes, output->offset);
    struct laio_operation *operation = laio_gethandle(loop->laio);
    count(system_calls);
    count(lazy_calls);
    if (operation == NULL) {
        chunk->got = got < 0 ? -errno : got;
        return true;
    }
    count(lazy_in_progress);
    loop->sockets[connection->socket].reading = chunk;
    laio_set_data(operation, connection);
    return false;
}

/* Send what is left of the head and, unless it is NULL, the chunk. */
static enum connection_wish send_chunk(struct loop *loop, struct connection *connection, struct chunk *chunk,
                                       struct connection_output *output, bool *full)
{
    if (chunk != NULL) {
        if (chunk->got == -EINTR)
            return CONNECTION_WRITES; /* so it is read again */
        if (chunk->got <= 0) /* the disk failed, or the file was cut short: its Content-Length cannot be kept */
            return connection_sent(&loop->service, connection, -1);
        output->parts[output->count++] = (struct iovec){chunk->bytes, (size_t)chunk->got};
        output->more_follows = output->file_bytes > (size_t)chunk->got;
    }
    size_t bytes = 0;
    for (int i = 0; i < output->count; i++)
        bytes += output->parts[i].iov_len;
    ssize_t sent = tp_sendv(connection->socket, output->parts, output->count, output->more_follows);
    *full = sent < (ssize_t)bytes;
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return CONNECTION_WRITES;
    return connection_sent(&loop->service, connection, sent);
}

/* Send replies until none is left, the socket is full, or a read is in progress. chunk: what was read, or NULL. */
static enum connection_wish reply(struct loop *loop, struct connection *connection, struct chunk *chunk)
{
    enum connection_wish wish = CONNECTION_WRITES;
    bool full = false;
    while (wish == CONNECTION_WRITES && !full) {
        struct connection_output output;
        connection_output(connection, &output);
        if (output.file >= 0 && chunk == NULL) {
            chunk = chunk_take(&loop->chunks);
            if (!read_chunk(loop, connection, chunk, &output))
                return CONNECTION_WRITES;
        }
        wish = send_chunk(loop, connection, chunk, &output, &full);
        if (chunk != NULL)
            chunk_give_back(&loop->chunks, chunk);
        chunk = NULL;
    }
    return wish;
}

static enum connection_wish receive(struct service *service, struct connection *connection)
{
    ssize_t received = tp_recv(connection->socket, service->input, sizeof service->input);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return CONNECTION_READS;
    return connection_receive(service, connection, service->input, received > 0 ? (size_t)received : 0);
}

static void follow(struct loop *loop, struct connection *connection, enum connection_wish wish)
{
    const int socket = connection->socket;
    if (loop->sockets[socket].reading != NULL)
        return;
    if (wish == CONNECTION_ENDED || !watch_connection(loop, socket, wish == CONNECTION_WRITES ? EPOLLOUT : EPOLLIN))
        connection_close(connection); /* its socket leaves the epoll set by itself */
}

static void serve(struct loop *loop, struct connection *connection)
{
    if (loop->sockets[connection->socket].reading != NULL) {
        watch_connection(loop, connection->socket, 0); /* it sent more, or has gone: that can wait */
        return;
    }
    enum connection_wish wish = connection->replying ? CONNECTION_WRITES : receive(&loop->service, connection);
    follow(loop, connection, wish == CONNECTION_WRITES ? reply(loop, connection, NULL) : wish);
}

static void read_completed(struct loop *loop, const struct laio_completion *completion)
{
    struct connection *connection = completion->data;
    struct lazy_socket *socket = &loop->sockets[connection->socket];
    struct chunk *chunk = socket->reading;
    socket->reading = NULL;
    chunk->got = completion->result < 0 ? -completion->error : completion->result;
    if (connection_is_left(connection)) {
        chunk_give_back(&loop->chunks, chunk);
        connection_close(connection);
    } else {
        follow(loop, connection, reply(loop, connection, chunk));
    }
}

static void end_late(struct loop *loop)
{
    struct connection *late;
    while ((late = connection_timed_out(&loop->service)) != NULL) {
        if (loop->sockets[late->socket].reading == NULL) {
            connection_close(late);
        } else { /* its client need not wait for the disk to learn it */
            tp_shutdown(late->socket);
            connection_leave(&loop->service, late);
        }
    }
}

static void work_phase(struct loop *loop, int ready)
{
    const int completions = laio_descriptor(loop->laio);
    uint64_t served = 0;
    for (int i = 0; i < ready; i++) {
        int descriptor = loop->ready[i].data.fd;
        if (descriptor == loop->listening.socket || descriptor == completions || descriptor == loop->signals)
            continue;
        serve(loop, &loop->service.connections[descriptor]);
        served++;
    }
    /* Behind those, since it may close one of them. The descriptor tells of more only when all are taken. */
    struct laio_completion completed[WORK_BATCH];
    for (int n = is_ready(loop, ready, completions) ? WORK_BATCH : 0; n == WORK_BATCH;) {
        n = laio_poll(loop->laio, completed, WORK_BATCH, 0);
        for (int i = 0; i < n; i++, served++)
            read_completed(loop, &completed[i]);
    }
    if (served > 0)
        count(work_phases);
    count_by(work_items, served);
    end_late(loop);

    const uint64_t *paths = laio_count(loop->laio)->paths;
    count_by(blocked_calls, paths[LAIO_PATH_held] - counter_value(lazy_held));
#define X(name) counter_value(lazy_##name) = paths[LAIO_PATH_##name];
    LAIO_PATHS(X)
#undef X
    phase_ends(&loop->phases, COUNTER_work_ns);
}

/* A signal that the kernel gives to the thread of a blocked call is handled when that call ends. So all threads block
 * them, and the one that the loop is on takes them. */
static int block_signals(sigset_t *stop_signals)
{
    sigemptyset(stop_signals);
    sigaddset(stop_signals, SIGTERM);
    sigaddset(stop_signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, stop_signals, NULL);
    return signalfd(-1, stop_signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

static struct laio *open_laio(const struct options *options)
{
    const struct laio_options wanted = {
        .operations = LAZY_OPERATIONS, .threads = (unsigned)options->lazy_threads, .watch = options->watch};
    char why[256];
    struct laio *laio = laio_open(options->engine, &wanted, why, sizeof why);
    if (laio == NULL) {
        fprintf(stderr, "%s: %s\n", options->design, why);
        exit(1);
    }
    return laio;
}

int main(int argc, char **argv)
{
    static struct loop loop;
    int status = options_parse(&loop.options, "lazy", OPTIONS_LAZY, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (service_start(&loop.service, &loop.options) != 0)
        process_fail(&loop.options, "open the folder that --root names");
    if (listening_start(&loop.listening, &loop.options, loop.service.max_descriptor) != 0)
        process_fail(&loop.options, "listen");
    loop.signals = block_signals(&loop.stop_signals);
    loop.laio = open_laio(&loop.options);

    loop.capacity = loop.service.max_descriptor + 1;
    loop.ready = calloc((size_t)loop.capacity, sizeof *loop.ready);
    loop.sockets = calloc((size_t)loop.service.max_descriptor + 1, sizeof *loop.sockets);
    loop.interest = tp_epoll_create();
    if (!chunks_start(&loop.chunks) || loop.ready == NULL || loop.sockets == NULL || loop.interest < 0 ||
        !watch(&loop, EPOLL_CTL_ADD, loop.listening.socket, 0) ||
        !watch(&loop, EPOLL_CTL_ADD, laio_descriptor(loop.laio), EPOLLIN) ||
        !watch(&loop, EPOLL_CTL_ADD, loop.signals, EPOLLIN))
        process_fail(&loop.options, "get memory, or make the interest set");
    process_announce(loop.listening.socket);

    phases_start(&loop.phases);
    while (service_goes_on(&loop.service, &loop.listening)) {
        watch_listener(&loop);
        int ready = getevents(&loop);
        if (is_ready(&loop, ready, loop.signals))
            pthread_sigmask(SIG_UNBLOCK, &loop.stop_signals, NULL);
        if (is_ready(&loop, ready, loop.listening.socket))
            accept_phase(&loop);
        work_phase(&loop, ready);
    }
    laio_close(loop.laio); /* first: the reads in progress use chunks and files */
    service_stop(&loop.service);
    chunks_stop(&loop.chunks);
    free(loop.sockets);
    free(loop.ready);
    return 0;
}
