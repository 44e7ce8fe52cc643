/* network_lazy.c: --network lazy: LAIO-LAIO. Every call is lazy: accept, recv and send, too.
 *
 * Sockets block. A call that waits for a client is an operation in progress, like one that waits for the disk, and all
 * that the loop waits for is laio_poll(): no readiness, no interest set, nothing tried twice. Its neighbour is
 * network_nonblocking.c.
 *
 * The price: who is silent holds an operation, and with the engines of threads a thread. So no more connections are taken
 * than there are of those (LAZY_OPERATIONS, --lazy-threads), or a recv from an idle client would hold the loop. What is
 * sent stays in its chunk until the client has taken it.
 */
#include "process.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define OTHERS 3 /* operations that are no connection's: the accept, the signals; and one to spare */

static _Noreturn void refuse(const struct loop *loop, const char *why)
{
    fprintf(stderr, "%s: --network lazy: the engine %s %s\n", loop->options.design, loop->options.engine, why);
    exit(1);
}

/* As many connections as may all be silent at once without holding the loop. */
static void bound_connections(struct loop *loop)
{
    const uint64_t threads = laio_count(loop->laio)->threads; /* 0: the kernel keeps what is in progress */
    const uint64_t most = threads > 0 && threads < LAZY_OPERATIONS ? threads : LAZY_OPERATIONS;
    if (threads > 0 && threads < loop->options.lazy_threads)
        fprintf(stderr, "%s: %llu threads, not %llu, and so fewer connections (ulimit -l, ulimit -u)\n",
                loop->options.design, (unsigned long long)threads, (unsigned long long)loop->options.lazy_threads);
    if (most <= OTHERS)
        refuse(loop, "has no thread left for a connection: raise --lazy-threads (ulimit -l, ulimit -u)");
    if (loop->listening.max_connections > most - OTHERS)
        loop->listening.max_connections = most - OTHERS;
}

/* To be told of a signal is a call that blocks, too. */
static void await_signal(struct loop *loop)
{
    laio_syscall(loop->laio, SYS_read, loop->signals, &loop->signal, sizeof loop->signal);
    if (laio_gethandle(loop->laio) != NULL)
        laio_set_data(laio_gethandle(loop->laio), &loop->signals);
    else
        process_stop(); /* it had come already */
}

static bool start(struct loop *loop)
{
    if (strcmp(loop->options.engine, "plain") == 0)
        refuse(loop, "would wait for one client and serve no other");
    if (!laio_supports(loop->laio, SYS_accept4) || !laio_supports(loop->laio, SYS_recvfrom) ||
        !laio_supports(loop->laio, SYS_sendmsg))
        refuse(loop, "has no accept, recv and send (activation, uring, nowait and pool have)");
    bound_connections(loop);
    loop->first_received = NULL;
    loop->last_received = &loop->first_received;
    loop->input = calloc((size_t)loop->service.max_descriptor + 1, sizeof *loop->input);
    loop->listener = fcntl(loop->listening.socket, F_DUPFD_CLOEXEC, 0);
    if (loop->input == NULL || loop->listener < 0 || fcntl(loop->listener, F_SETFL, 0) != 0 ||
        fcntl(loop->signals, F_SETFL, 0) != 0)
        return false;
    await_signal(loop);
    return true;
}

static bool wants_to_accept(struct loop *loop)
{
    return !loop->accepting && listening_wanted(&loop->listening, loop->service.clock.now_ms);
}

static int getevents(struct loop *loop)
{
    if (loop->service.draining && !loop->refusing) /* whoever is in an accept returns */
        tp_shutdown(loop->listener);
    loop->refusing = loop->service.draining;
    bool busy = loop->first_received != NULL || wants_to_accept(loop);
    int wanted_ms = busy ? 0 : wait_ms(loop);
    int timeout_ms = getevents_begins(&loop->phases, wanted_ms);
    int ready = laio_poll(loop->laio, loop->completions, LAZY_OPERATIONS, timeout_ms);
    if (ready < 0 && errno != EINTR)
        process_fail(&loop->options, "wait for completions");
    getevents_ends(&loop->phases, ready);
    return ready;
}

static void await_request(struct loop *loop, struct connection *connection);

static void open_accepted(struct loop *loop, long result)
{
    int socket = listening_accepted(&loop->listening, (int)result, loop->service.clock.now_ms);
    if (socket < 0)
        return;
    connection_open(&loop->service, socket);
    loop->sockets[socket] = (struct lazy_socket){0};
    await_request(loop, &loop->service.connections[socket]);
}

static void accept_phase(struct loop *loop, int ready)
{
    uint64_t looks = 0, accepts_before = counter_value(accepts);
    for (int i = 0; i < ready; i++)
        if (loop->completions[i].data == &loop->listening) {
            const struct laio_completion *accepted = &loop->completions[i];
            loop->accepting = false;
            open_accepted(loop, accepted->result < 0 ? -accepted->error : accepted->result);
            looks++;
        }
    while (looks < loop->options.accept_limit && wants_to_accept(loop)) {
        if (counter_value(connections_open) >= loop->listening.max_connections) {
            listening_pause(&loop->listening, loop->service.clock.now_ms);
            break;
        }
        long result = laio_syscall(loop->laio, SYS_accept4, loop->listener, NULL, NULL, SOCK_CLOEXEC);
        result = result < 0 ? -errno : result;
        loop->accepting = in_progress(loop, &loop->listening);
        if (!loop->accepting)
            open_accepted(loop, result);
        looks++;
    }
    if (looks == 0)
        return;
    count(accept_phases);
    if (counter_value(accepts) == accepts_before)
        count(accept_phases_empty);
    phase_ends(&loop->phases, COUNTER_accept_ns);
}

/* Receiving goes on with the next turn, even if it returned at once: a client that never pauses must not hold the loop. */
static void await_request(struct loop *loop, struct connection *connection)
{
    struct lazy_socket *socket = &loop->sockets[connection->socket];
    long result = laio_syscall(loop->laio, SYS_recvfrom, connection->socket, loop->input[connection->socket],
                               LAZY_INPUT_BYTES, 0, NULL, NULL);
    result = result < 0 ? -errno : result;
    socket->doing = RECEIVING;
    if (in_progress(loop, connection))
        return;
    socket->received = result;
    socket->next = NULL;
    *loop->last_received = socket;
    loop->last_received = &socket->next;
}

static void received(struct loop *loop, struct connection *connection, long result)
{
    if (result == -EINTR && !connection_is_left(connection)) {
        await_request(loop, connection);
        return;
    }
    go_on(loop, connection,
          connection_receive(&loop->service, connection, loop->input[connection->socket],
                             result > 0 ? (size_t)result : 0));
}

static enum connection_wish sent(struct loop *loop, struct connection *connection, long result)
{
    give_chunk_back(loop, &loop->sockets[connection->socket]);
    return result == -EINTR ? CONNECTION_WRITES : connection_sent(&loop->service, connection, result);
}

static bool send_output(struct loop *loop, struct connection *connection, struct connection_output *output,
                        enum connection_wish *wish)
{
    struct lazy_socket *socket = &loop->sockets[connection->socket];
    memcpy(socket->parts, output->parts, sizeof socket->parts); /* until the completion */
    socket->message = (struct msghdr){.msg_iov = socket->parts, .msg_iovlen = (size_t)output->count};
    long result = laio_syscall(loop->laio, SYS_sendmsg, connection->socket, &socket->message,
                               MSG_NOSIGNAL | (output->more_follows ? MSG_MORE : 0));
    result = result < 0 ? -errno : result;
    socket->doing = SENDING;
    if (in_progress(loop, connection))
        return false;
    socket->doing = NOTHING;
    *wish = sent(loop, connection, result);
    return true;
}

static void completed(struct loop *loop, const struct laio_completion *completion)
{
    struct connection *connection = completion->data;
    struct lazy_socket *socket = &loop->sockets[connection->socket];
    const enum doing done = socket->doing;
    const long result = completion->result < 0 ? -completion->error : completion->result;
    socket->doing = NOTHING;
    if (connection_is_left(connection))
        completed_too_late(loop, connection, done, result);
    else if (done == RECEIVING)
        received(loop, connection, result);
    else if (done == SENDING)
        go_on(loop, connection, sent(loop, connection, result));
    else
        disk_completed(loop, connection, done, result);
}

static uint64_t serve(struct loop *loop, int ready)
{
    uint64_t served = 0;
    struct lazy_socket *socket = loop->first_received; /* those of earlier turns: what comes now waits for the next */
    loop->first_received = NULL;
    loop->last_received = &loop->first_received;
    for (struct lazy_socket *next; socket != NULL; socket = next, served++) {
        struct connection *connection = &loop->service.connections[socket - loop->sockets];
        next = socket->next;
        socket->doing = NOTHING;
        if (connection_is_left(connection))
            connection_close(connection);
        else
            received(loop, connection, socket->received);
    }
    for (int i = 0; i < ready; i++) {
        const void *data = loop->completions[i].data;
        if (data == &loop->signals)
            process_stop();
        else if (data != &loop->listening) {
            completed(loop, &loop->completions[i]);
            served++;
        }
    }
    return served;
}

static void stop(struct loop *loop)
{
    tp_close(loop->listener);
    free(loop->input);
}

const struct network network_lazy = {
    .start = start,
    .getevents = getevents,
    .accept_phase = accept_phase,
    .serve = serve,
    .send = send_output,
    .await_request = await_request,
    .stop = stop,
};
