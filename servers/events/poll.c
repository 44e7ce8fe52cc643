/* poll.c: the µserver of Brecht, Pariag and Gammo (2004, section 4.1) on poll(2).
 *
 * A loop of getevents → accept phase → work phase. The accept phase takes at most --accept-limit connections off the
 * accept queue in a row. The work phase serves the connections that getevents reported, never those just accepted.
 * Its neighbours differ in how the interest is kept. Here the loop keeps it in an array without gaps and shows all of it
 * in every call: the call's price is that of the open connections, not of the highest descriptor as in select.c. The
 * kernel keeps nothing from one call to the next, as it does in epoll.c.
 */
#include "counters.h"
#include "phases.h"
#include "process.h"
#include "service.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define LISTENER 0 /* its place in the array; poll(2) passes over it while its descriptor is negative */

struct loop {
    struct options options;
    struct service service;
    struct listening listening;
    struct phases phases;
    struct pollfd *interest; /* the listener, then the open connections */
    nfds_t watched;          /* entries of interest */
    nfds_t *place;           /* descriptor → its entry */
};

static void watch(struct loop *loop, int socket)
{
    loop->place[socket] = loop->watched;
    loop->interest[loop->watched++] = (struct pollfd){.fd = socket, .events = POLLIN}; /* no revents: not served yet */
}

/* The last entry moves into the gap. */
static void forget(struct loop *loop, int socket)
{
    nfds_t gap = loop->place[socket];
    loop->interest[gap] = loop->interest[--loop->watched];
    loop->place[loop->interest[gap].fd] = gap;
}

static void watch_listener(struct loop *loop)
{
    bool wanted = listening_wanted(&loop->listening, loop->service.clock.now_ms);
    loop->interest[LISTENER].fd = wanted ? loop->listening.socket : -1;
}

static int getevents(struct loop *loop)
{
    int timeout_ms = getevents_begins(&loop->phases, service_wait_ms(&loop->service, &loop->listening));
    int ready = poll(loop->interest, loop->watched, timeout_ms);
    if (ready < 0 && errno != EINTR)
        process_fail(&loop->options, "wait for events");
    getevents_ends(&loop->phases, ready);
    return ready;
}

static void accept_phase(struct loop *loop)
{
    uint64_t accepted = 0;
    while (accepted < loop->options.accept_limit) {
        int socket = listening_accept(&loop->listening, loop->service.clock.now_ms);
        if (socket < 0)
            break;
        connection_open(&loop->service, socket);
        watch(loop, socket);
        accepted++;
    }
    count(accept_phases);
    if (accepted == 0)
        count(accept_phases_empty);
    phase_ends(&loop->phases, COUNTER_accept_ns);
}

static void end(struct loop *loop, struct connection *connection)
{
    forget(loop, connection->socket);
    connection_close(connection);
}

static void serve(struct loop *loop, struct connection *connection)
{
    enum connection_wish wish = connection_serve(&loop->service, connection);
    if (wish == CONNECTION_ENDED)
        end(loop, connection);
    else
        loop->interest[loop->place[connection->socket]].events = wish == CONNECTION_WRITES ? POLLOUT : POLLIN;
}

static void work_phase(struct loop *loop, int ready)
{
    uint64_t served = 0;
    if (ready > 0 && loop->interest[LISTENER].revents != 0)
        ready--;
    /* From the end, newest first, so that what moves into a gap has been visited. */
    for (nfds_t i = loop->watched - 1; ready > 0 && i > LISTENER; i--) {
        if (loop->interest[i].revents == 0)
            continue;
        ready--;
        serve(loop, &loop->service.connections[loop->interest[i].fd]);
        served++;
    }
    if (served > 0)
        count(work_phases);
    count_by(work_items, served);

    struct connection *late;
    while ((late = connection_timed_out(&loop->service)) != NULL)
        end(loop, late);
    phase_ends(&loop->phases, COUNTER_work_ns);
}

int main(int argc, char **argv)
{
    static struct loop loop;
    int status = options_parse(&loop.options, "poll", OPTIONS_SHARED, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (service_start(&loop.service, &loop.options) != 0)
        process_fail(&loop.options, "open the folder that --root names");
    if (listening_start(&loop.listening, &loop.options, loop.service.max_descriptor) != 0)
        process_fail(&loop.options, "listen");

    size_t descriptors = (size_t)loop.service.max_descriptor + 1;
    loop.interest = calloc(descriptors, sizeof *loop.interest);
    loop.place = calloc(descriptors, sizeof *loop.place);
    if (loop.interest == NULL || loop.place == NULL)
        process_fail(&loop.options, "make the interest set");
    loop.interest[LISTENER] = (struct pollfd){.fd = -1, .events = POLLIN};
    loop.watched = 1;
    process_announce(loop.listening.socket);

    phases_start(&loop.phases);
    while (service_goes_on(&loop.service, &loop.listening)) {
        watch_listener(&loop);
        int ready = getevents(&loop);
        if (ready > 0 && loop.interest[LISTENER].revents != 0)
            accept_phase(&loop);
        work_phase(&loop, ready);
    }
    service_stop(&loop.service);
    free(loop.interest);
    free(loop.place);
    return 0;
}
