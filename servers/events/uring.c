/* uring.c: the µserver of Brecht, Pariag and Gammo (2004, section 4.1) on io_uring.
 *
 * A loop of getevents → accept phase → work phase, as in epoll.c. But what select and epoll only announce, io_uring has
 * done: getevents is the one system call of a turn. It hands over what the turn before asked for (replies to send, new
 * connections to receive from, accepts) and returns what was completed: sockets accepted, requests received.
 *
 * --accept-limit. The kernel accepts, within getevents; the accept phase opens connections on what it accepted. N: at
 * most N accepts are armed when getevents is called, each for one connection, so no turn accepts more than N. inf: one
 * multishot accept, which takes the accept queue empty. In both the kernel accepts only inside the call: with
 * IORING_SETUP_DEFER_TASKRUN it does nothing for the ring elsewhere. With --defer-taskrun off (IORING_SETUP_COOP_TASKRUN)
 * it may do so whenever this process is in the kernel; N still holds, for N accepts are armed once a turn. Beyond 1,024
 * armed accepts N has no effect, and near --max-connections inf arms as many as there is room for.
 *
 * The price of getevents is therefore another quantity than select's or epoll's: it holds the accepting, receiving and
 * sending of the turn. getevents_ready_ns ÷ getevents_ready is the price of such a call; it cannot be told apart within.
 * events ÷ getevents is the batch size; getevents are io_uring_enter calls; a reply that went out at once is no event.
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

static void getevents(struct loop *loop)
{
    ring_wait(&loop->ring, getevents_begins(&loop->phases, service_wait_ms(&loop->service, &loop->listening)));
    getevents_ends(&loop->phases, (int)ring_reap(&loop->ring));
}

static void accept_phase(struct loop *loop)
{
    for (unsigned i = 0; i < loop->ring.accepted_count; i++)
        ring_open(&loop->ring, loop->ring.accepted[i]);
    loop->ring.accepted_count = 0;
    count(accept_phases);
    phase_ends(&loop->phases, COUNTER_accept_ns);
}

static void work_phase(struct loop *loop)
{
    unsigned served = ring_serve(&loop->ring);
    if (served > 0)
        count(work_phases);
    count_by(work_items, served);

    struct connection *late;
    while ((late = connection_timed_out(&loop->service)) != NULL)
        ring_end(&loop->ring, late);
    phase_ends(&loop->phases, COUNTER_work_ns);
}

int main(int argc, char **argv)
{
    static struct loop loop;
    int status = options_parse(&loop.options, "uring", OPTIONS_RING, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (service_start(&loop.service, &loop.options) != 0)
        process_fail(&loop.options, "open the folder that --root names");
    if (listening_start(&loop.listening, &loop.options, loop.service.max_descriptor) != 0)
        process_fail(&loop.options, "listen");
    ring_start(&loop.ring, &loop.service, &loop.listening,
               loop.options.no_defer_taskrun ? IORING_SETUP_COOP_TASKRUN : IORING_SETUP_DEFER_TASKRUN);
    process_announce(loop.listening.socket);

    phases_start(&loop.phases);
    while (service_goes_on(&loop.service, &loop.listening)) {
        ring_listen(&loop.ring, loop.options.accept_limit);
        getevents(&loop);
        if (loop.ring.accepted_count > 0)
            accept_phase(&loop);
        work_phase(&loop);
    }
    ring_stop(&loop.ring);
    service_stop(&loop.service);
    return 0;
}
