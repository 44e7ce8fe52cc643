/* drain_uring.c: an analog of TUX, the in-kernel server of Brecht, Pariag and Gammo (2004, section 4.2), that drains
 * completions of io_uring; its neighbour drain.c drains an epoll set.
 *
 * A loop of accept phase → work phase, without getevents between them. The accept phase takes the connections accepted
 * since the last one and asks for as many more as --accept-limit says. The work phase drains a queue, work_pending,
 * until it is empty; it grows meanwhile. Only when both are empty does the loop sleep. There is no fairness between the
 * two: while clients keep work_pending filled, nobody is accepted.
 *
 * As in TUX: the kernel fills both queues as packets arrive, asked or not, for completions are posted by task work that
 * runs whenever an interrupt returns to this process (so no IORING_SETUP_DEFER_TASKRUN, which would leave them until
 * asked, nor IORING_SETUP_COOP_TASKRUN, which would leave them until the next system call). Both lie in memory: to find
 * one empty costs nothing, so an accept phase is free and a low limit means more of them. Requests lie there already
 * received. A connection accepted in one turn is served in the same turn if its request has arrived.
 * Not as in TUX: to ask for anything (replies to be sent, accepts, receiving from a new connection) is a system call, one
 * for all that a batch of work_pending gave rise to. The queue therefore grows between batches, not within one. And as
 * what is to be accepted is asked for in advance, the kernel may accept during the work phase: at most N connections,
 * which wait for the next accept phase. inf is one multishot accept: whoever comes is accepted at once and waits there.
 *
 * Its counters: getevents are the entries into the kernel, to ask or to sleep, and getevents_ns the time asleep; events
 * are completions, so events ÷ getevents is what one entry brought, growth included; accept_phases are all looks at the
 * queue of the accepted, accept_phases_empty those that found nobody, free as in TUX; a work phase is one draining of
 * work_pending with a connection in it. There is no getevents whose price could be told: getevents_ready stays 0.
 */
#include "counters.h"
#include "phases.h"
#include "process.h"
#include "ring.h"

struct loop {
    struct options options;
    struct service service;
    struct listening listening;
    struct phases phases;
    struct ring ring;
};

static unsigned accept_phase(struct loop *loop)
{
    unsigned accepted = loop->ring.accepted_count;
    for (unsigned i = 0; i < accepted; i++)
        ring_open(&loop->ring, loop->ring.accepted[i]);
    loop->ring.accepted_count = 0;
    ring_listen(&loop->ring, loop->options.accept_limit);
    count(accept_phases);
    if (accepted == 0)
        count(accept_phases_empty);
    phase_ends(&loop->phases, COUNTER_accept_ns);
    return accepted;
}

/* All of work_pending that is there now. */
static unsigned take_batch(struct loop *loop)
{
    if (ring_asked(&loop->ring)) {
        ring_submit(&loop->ring);
        count(getevents);
    }
    unsigned taken = ring_reap(&loop->ring);
    count_by(events, taken);
    return taken;
}

/* Time passes within a phase that may be long: late connections are ended, and SIGTERM is heeded, between batches. */
static unsigned work_phase(struct loop *loop)
{
    unsigned served = 0, taken;
    do {
        taken = take_batch(loop);
        loop_clock_update(&loop->service.clock);
        served += ring_serve(&loop->ring);
        struct connection *late;
        while ((late = connection_timed_out(&loop->service)) != NULL)
            ring_end(&loop->ring, late);
    } while ((taken > 0 || ring_asked(&loop->ring)) && !process_stopping());
    if (served > 0)
        count(work_phases);
    count_by(work_items, served);
    phase_ends(&loop->phases, COUNTER_work_ns);
    return served;
}

/* Until something completes: the next turn drains it. */
static void sleep_while_idle(struct loop *loop)
{
    ring_wait(&loop->ring, service_wait_ms(&loop->service, &loop->listening));
    count(getevents);
    count(system_calls);
    phase_ends(&loop->phases, COUNTER_getevents_ns);
}

int main(int argc, char **argv)
{
    static struct loop loop;
    int status = options_parse(&loop.options, "drain-uring", OPTIONS_SHARED, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (service_start(&loop.service, &loop.options) != 0)
        process_fail(&loop.options, "open the folder that --root names");
    if (listening_start(&loop.listening, &loop.options, loop.service.max_descriptor) != 0)
        process_fail(&loop.options, "listen");
    ring_start(&loop.ring, &loop.service, &loop.listening, 0);
    process_announce(loop.listening.socket);

    phases_start(&loop.phases);
    while (service_goes_on(&loop.service, &loop.listening)) {
        unsigned accepted = accept_phase(&loop);
        unsigned served = work_phase(&loop);
        if (accepted == 0 && served == 0 && loop.ring.accepted_count == 0)
            sleep_while_idle(&loop);
    }
    ring_stop(&loop.ring);
    service_stop(&loop.service);
    return 0;
}
