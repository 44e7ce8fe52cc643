/* network_nonblocking.c: --network nonblocking: NB-B, NB-AMPED, NB-LAIO. The network is epoll.c's.
 *
 * No call of the network blocks: a socket says EAGAIN and is watched. The completions of the disk side come through the
 * same epoll set. What a full socket does not take of a chunk is read once more when it has room, so that slow clients
 * hold no memory.
 *
 * A turn serves LAZY_EVENTS of the sockets that are ready, those first that have waited longest: epoll_wait() goes round.
 * Were it all of them, a turn would be the longer the more clients there are, and what ends meanwhile would wait for that.
 */
#include "process.h"
#include "server.h"

#include <errno.h>
#include <stdlib.h>

static bool watch(struct loop *loop, int operation, int descriptor, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = descriptor};
    return tp_epoll_ctl(loop->interest, operation, descriptor, &event) == 0;
}

static bool start(struct loop *loop)
{
    loop->ready = calloc(LAZY_EVENTS, sizeof *loop->ready);
    loop->interest = tp_epoll_create();
    return loop->ready != NULL && loop->interest >= 0 && watch(loop, EPOLL_CTL_ADD, loop->listening.socket, 0) &&
           watch(loop, EPOLL_CTL_ADD, laio_descriptor(loop->laio), EPOLLIN) &&
           watch(loop, EPOLL_CTL_ADD, loop->signals, EPOLLIN);
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

static bool is_ready(const struct loop *loop, int ready, int descriptor)
{
    for (int i = 0; i < ready; i++)
        if (loop->ready[i].data.fd == descriptor)
            return true;
    return false;
}

static int getevents(struct loop *loop)
{
    watch_listener(loop);
    int timeout_ms = getevents_begins(&loop->phases, wait_ms(loop));
    int ready = tp_epoll_wait(loop->interest, loop->ready, LAZY_EVENTS, timeout_ms);
    if (ready < 0 && errno != EINTR)
        process_fail(&loop->options, "wait for events");
    getevents_ends(&loop->phases, ready);
    if (is_ready(loop, ready, loop->signals))
        process_stop();
    return ready;
}

static void accept_phase(struct loop *loop, int ready)
{
    uint64_t accepted = 0;
    if (!is_ready(loop, ready, loop->listening.socket))
        return;
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

static void receive(struct loop *loop, struct connection *connection)
{
    struct service *service = &loop->service;
    ssize_t received = tp_recv(connection->socket, service->input, sizeof service->input);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    go_on(loop, connection, connection_receive(service, connection, service->input, received > 0 ? (size_t)received : 0));
}

static bool send_output(struct loop *loop, struct connection *connection, struct connection_output *output,
                        enum connection_wish *wish)
{
    size_t bytes = 0;
    for (int i = 0; i < output->count; i++)
        bytes += output->parts[i].iov_len;
    ssize_t sent = tp_sendv(connection->socket, output->parts, output->count, output->more_follows);
    bool later = sent < 0 && (errno == EAGAIN || errno == EINTR);
    give_chunk_back(loop, &loop->sockets[connection->socket]);
    if (!later)
        *wish = connection_sent(&loop->service, connection, sent);
    if (*wish != CONNECTION_WRITES || sent == (ssize_t)bytes)
        return true;
    if (watch_connection(loop, connection->socket, EPOLLOUT))
        return false;
    *wish = CONNECTION_ENDED;
    return true;
}

static void await_request(struct loop *loop, struct connection *connection)
{
    if (!watch_connection(loop, connection->socket, EPOLLIN))
        connection_close(connection);
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
    else
        disk_completed(loop, connection, done, result);
}

static uint64_t serve(struct loop *loop, int ready)
{
    const int completions = laio_descriptor(loop->laio);
    uint64_t served = 0;
    for (int i = 0; i < ready; i++) {
        int descriptor = loop->ready[i].data.fd;
        if (descriptor == loop->listening.socket || descriptor == completions || descriptor == loop->signals)
            continue;
        struct connection *connection = &loop->service.connections[descriptor];
        if (loop->sockets[descriptor].doing != NOTHING)
            watch_connection(loop, descriptor, 0); /* it sent more, or has gone: that can wait */
        else if (connection->replying)
            go_on(loop, connection, CONNECTION_WRITES);
        else
            receive(loop, connection);
        served++;
    }
    /* Behind those, since it may close one of them. Of many descriptors that are ready this may be told late, and it
     * tells of more only when all are taken. */
    const bool some = laio_count(loop->laio)->in_progress > 0 || is_ready(loop, ready, completions);
    for (int n = some ? LAZY_OPERATIONS : 0; n == LAZY_OPERATIONS;) {
        n = laio_poll(loop->laio, loop->completions, LAZY_OPERATIONS, 0);
        for (int i = 0; i < n; i++, served++)
            completed(loop, &loop->completions[i]);
    }
    return served;
}

static void stop(struct loop *loop)
{
    free(loop->ready);
}

const struct network network_nonblocking = {
    .start = start,
    .getevents = getevents,
    .accept_phase = accept_phase,
    .serve = serve,
    .send = send_output,
    .await_request = await_request,
    .stop = stop,
};
