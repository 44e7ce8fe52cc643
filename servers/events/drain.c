/* drain.c: an analog of TUX, the in-kernel server of Brecht, Pariag and Gammo (2004, section 4.2), in user mode.
 *
 * A loop of accept phase → work phase, without getevents between them. The accept phase drains the accept queue up to
 * --accept-limit; the work phase drains a queue, work_pending, until it is empty, and the packets that arrive meanwhile
 * make it grow. Only when both are empty does the loop sleep. There is no fairness between the two: while clients keep
 * work_pending filled, nobody is accepted.
 *
 * As in TUX: what the loop drains is filled by the kernel as packets arrive; an accept phase needs no permission, so a
 * low limit means more phases, and a connection accepted in one can be served in the same turn.
 * Not as in TUX: there both queues were lists in the same memory, and to find one empty cost nothing. Here an accept
 * phase that finds nobody is a system call, and so is every look at work_pending. That queue is the ready list of an
 * epoll set. To take its members one by one, as TUX did, would cost a call each, so they are taken WORK_BATCH at a
 * time: the queue grows between batches, not within one. What costs nothing in TUX this loop can therefore only
 * approximate; draining io_uring's completions comes nearer.
 *
 * Its counters: getevents are the looks at work_pending (the last one of a phase finds it empty) and the sleeps;
 * getevents_ready those that found work; accept_phases all tries, accept_phases_empty the calls TUX did not pay for;
 * a work phase is one draining of work_pending with at least one connection in it, so work_items ÷ work_phases is how
 * long that queue was, growth included. The time of each is its own, and together they are all time.
 */
#include "counters.h"
#include "phases.h"
#include "process.h"
#include "service.h"

#include <errno.h>
#include <poll.h>

struct loop {
    struct options options;
    struct service service;
    struct listening listening;
    struct phases phases;
    int work_pending; /* an epoll set of the connections, not of the listener */
    struct epoll_event batch[WORK_BATCH];
};

static bool watch(struct loop *loop, int operation, int socket, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = socket};
    return tp_epoll_ctl(loop->work_pending, operation, socket, &event) == 0;
}

static uint64_t accept_phase(struct loop *loop)
{
    uint64_t accepted = 0;
    if (!listening_wanted(&loop->listening, loop->service.clock.now_ms))
        return accepted;
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
    return accepted;
}

/* The first of work_pending. Level-triggered: a connection with more to read queues up again, behind the others. */
static int take_batch(struct loop *loop)
{
    int taken = tp_epoll_wait(loop->work_pending, loop->batch, WORK_BATCH, getevents_begins(&loop->phases, 0));
    if (taken < 0 && errno != EINTR)
        process_fail(&loop->options, "take pending work");
    getevents_ends(&loop->phases, taken);
    return taken;
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

/* Time passes within a phase that may be long: late connections are ended, and SIGTERM is heeded, between batches. */
static uint64_t work_phase(struct loop *loop)
{
    uint64_t served = 0;
    int taken;
    do {
        taken = take_batch(loop);
        loop_clock_update(&loop->service.clock);
        for (int i = 0; i < taken; i++) {
            serve(loop, &loop->service.connections[loop->batch[i].data.fd]);
            served++;
        }
        struct connection *late;
        while ((late = connection_timed_out(&loop->service)) != NULL)
            connection_close(late);
        phase_ends(&loop->phases, COUNTER_work_ns);
    } while (taken > 0 && !process_stopping());
    if (served > 0)
        count(work_phases);
    count_by(work_items, served);
    return served;
}

/* Until a connection can be accepted or served: which of the two it is, the next turn finds out by trying. */
static void sleep_while_idle(struct loop *loop)
{
    bool accepting = listening_wanted(&loop->listening, loop->service.clock.now_ms);
    struct pollfd queues[2] = {
        {.fd = accepting ? loop->listening.socket : -1, .events = POLLIN}, /* a negative one is passed over */
        {.fd = loop->work_pending, .events = POLLIN},
    };
    int timeout_ms = getevents_begins(&loop->phases, service_wait_ms(&loop->service, &loop->listening));
    int ready = poll(queues, 2, timeout_ms);
    if (ready < 0 && errno != EINTR)
        process_fail(&loop->options, "wait for connections or work");
    getevents_ends(&loop->phases, 0); /* what is ready becomes an event when it is taken */
}

int main(int argc, char **argv)
{
    static struct loop loop;
    int status = options_parse(&loop.options, "drain", OPTIONS_SHARED, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (service_start(&loop.service, &loop.options) != 0)
        process_fail(&loop.options, "open the folder that --root names");
    if (listening_start(&loop.listening, &loop.options, loop.service.max_descriptor) != 0)
        process_fail(&loop.options, "listen");

    loop.work_pending = tp_epoll_create();
    if (loop.work_pending < 0)
        process_fail(&loop.options, "make the queue of work");
    process_announce(loop.listening.socket);

    phases_start(&loop.phases);
    while (service_goes_on(&loop.service, &loop.listening)) {
        uint64_t accepted = accept_phase(&loop);
        uint64_t served = work_phase(&loop);
        if (accepted == 0 && served == 0)
            sleep_while_idle(&loop);
    }
    service_stop(&loop.service);
    return 0;
}
