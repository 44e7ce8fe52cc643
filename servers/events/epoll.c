/* epoll.c: the µserver of Brecht, Pariag and Gammo (2004, section 4.1) on epoll.
 *
 * A loop of getevents → accept phase → work phase. The accept phase takes at most --accept-limit connections off the
 * accept queue in a row. The work phase serves the connections that getevents reported, never those just accepted.
 * Its neighbours select.c and poll.c differ in how the interest is kept: here the kernel keeps it, and is told of
 * every change.
 */
#include "counters.h"
#include "phases.h"
#include "process.h"
#include "service.h"

#include <errno.h>
#include <stdlib.h>

struct loop {
    struct options options;
    struct service service;
    struct listening listening;
    struct phases phases;
    bool accepting; /* the listener's readiness is asked for */
    int interest;   /* the epoll set */
    struct epoll_event *ready;
    int capacity; /* of ready: all connections at once, as select reports them */
};

static bool watch(struct loop *loop, int operation, int socket, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = socket};
    return tp_epoll_ctl(loop->interest, operation, socket, &event) == 0;
}

static void watch_listener(struct loop *loop)
{
    bool wanted = listening_wanted(&loop->listening, loop->service.clock.now_ms);
    if (wanted != loop->accepting && loop->listening.socket >= 0)
        watch(loop, EPOLL_CTL_MOD, loop->listening.socket, wanted ? EPOLLIN : 0);
    loop->accepting = wanted;
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

static bool listener_ready(const struct loop *loop, int ready)
{
    for (int i = 0; i < ready; i++)
        if (loop->ready[i].data.fd == loop->listening.socket)
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
        accepted++;
        if (!watch(loop, EPOLL_CTL_ADD, socket, EPOLLIN)) { /* no memory, or fs.epoll.max_user_watches */
            connection_close(&loop->service.connections[socket]);
            listening_pause(&loop->listening, loop->service.clock.now_ms);
        }
    }
    count(accept_phases);
    if (accepted == 0)
        count(accept_phases_empty);
    phase_ends(&loop->phases, COUNTER_accept_ns);
}

static void serve(struct loop *loop, struct connection *connection)
{
    enum connection_wish wish = connection_serve(&loop->service, connection);
    if (wish == CONNECTION_ENDED) {
        connection_close(connection); /* its socket leaves the epoll set by itself */
        return;
    }
    bool wants_write = wish == CONNECTION_WRITES;
    if (wants_write != connection->wants_write)
        watch(loop, EPOLL_CTL_MOD, connection->socket, wants_write ? EPOLLOUT : EPOLLIN);
    connection->wants_write = wants_write;
}

static void work_phase(struct loop *loop, int ready)
{
    uint64_t served = 0;
    for (int i = 0; i < ready; i++) {
        if (loop->ready[i].data.fd == loop->listening.socket)
            continue;
        serve(loop, &loop->service.connections[loop->ready[i].data.fd]);
        served++;
    }
    if (served > 0)
        count(work_phases);
    count_by(work_items, served);

    struct connection *late;
    while ((late = connection_timed_out(&loop->service)) != NULL)
        connection_close(late);
    phase_ends(&loop->phases, COUNTER_work_ns);
}

int main(int argc, char **argv)
{
    static struct loop loop;
    int status = options_parse(&loop.options, "epoll", OPTIONS_SHARED, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (service_start(&loop.service, &loop.options) != 0)
        process_fail(&loop.options, "open the folder that --root names");
    if (listening_start(&loop.listening, &loop.options, loop.service.max_descriptor) != 0)
        process_fail(&loop.options, "listen");

    loop.capacity = loop.service.max_descriptor;
    loop.ready = calloc((size_t)loop.capacity, sizeof *loop.ready);
    loop.interest = tp_epoll_create();
    if (loop.ready == NULL || loop.interest < 0 || !watch(&loop, EPOLL_CTL_ADD, loop.listening.socket, 0))
        process_fail(&loop.options, "make the interest set");
    process_announce(loop.listening.socket);

    phases_start(&loop.phases);
    while (service_goes_on(&loop.service, &loop.listening)) {
        watch_listener(&loop);
        int ready = getevents(&loop);
        if (listener_ready(&loop, ready))
            accept_phase(&loop);
        work_phase(&loop, ready);
    }
    service_stop(&loop.service);
    free(loop.ready);
    return 0;
}
