/* user.c: Knot on Capriccio as Brecht, Pariag and Gammo (2004) changed it: user-level threads on one kernel thread.
 *
 * A thread's turn is an accept phase, which takes at most --accept-limit connections off the accept queue without
 * blocking, and a work phase, which fully processes them, one after the other, each until it is closed. Limit 1, the
 * default, is the original; with more, all but the first wait, long if its client keeps the connection open.
 *
 * Where a thread would block it parks, and the event loop resumes the thread of each descriptor that getevents reports.
 * A connection is watched from the first time that its thread must wait until it is closed: no epoll_ctl a request.
 *
 * A ready listener wakes one thread, the one that ended its turn last. One is enough for one accept phase, which as in
 * select.c and epoll.c is all there is to a getevents; and the last one's stack is the most likely to be in the caches,
 * so no more stacks are ever touched than there were connections at one time. When all threads have a connection,
 * others wait in the accept queue.
 */
#include "fiber.h"

#include "counters.h"
#include "phases.h"
#include "process.h"
#include "service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct thread {
    struct fiber fiber;
    struct loop *loop;
    int accepted;         /* the first connection of this turn, -1 = none */
    uint32_t watched;     /* what the interest set knows of the one in process; 0 = nothing */
    struct thread *next;  /* among those that wait to accept, or that nap */
    uint64_t nap_ends_ms; /* its handler sleeps until then */
    char *kept;           /* meanwhile, what it has read */
};

struct loop {
    struct options options;
    struct service service;
    struct listening listening;
    struct phases phases;
    bool accepting; /* the listener's readiness is asked for */
    int interest;   /* the epoll set */
    struct epoll_event *ready;
    int capacity;
    struct thread *threads; /* so many of --threads were made as were needed at one time */
    uint64_t made;
    struct thread *running;
    struct thread *waiting_to_accept;     /* last in, first out */
    struct thread *napping, **nap_behind; /* all naps are equally long: first in, first out */
    int *next_accepted;                   /* by descriptor: the one to process after it; -1 = none */
};

/* The threads' side: what follows runs on their stacks. */

static void accept_phase(struct thread *thread)
{
    struct loop *loop = thread->loop;
    uint64_t accepted = 0;
    int *end = &thread->accepted;
    while (accepted < loop->options.accept_limit) {
        int socket = listening_accept(&loop->listening, loop->service.clock.now_ms);
        if (socket < 0)
            break;
        connection_open(&loop->service, socket);
        *end = socket;
        end = &loop->next_accepted[socket];
        accepted++;
    }
    *end = -1;
    count(accept_phases);
    if (accepted == 0)
        count(accept_phases_empty);
    phase_ends(&loop->phases, COUNTER_accept_ns);
}

/* Park until the connection is ready for what it wishes. */
static bool wait_for(struct thread *thread, int socket, enum connection_wish wish)
{
    struct loop *loop = thread->loop;
    struct epoll_event event = {.events = wish == CONNECTION_WRITES ? EPOLLOUT : EPOLLIN, .data.ptr = thread};
    if (event.events != thread->watched &&
        tp_epoll_ctl(loop->interest, thread->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event) != 0) {
        listening_pause(&loop->listening, loop->service.clock.now_ms); /* no memory, or fs.epoll.max_user_watches */
        return false;
    }
    thread->watched = event.events;
    fiber_park();
    return true;
}

static void process(struct thread *thread, struct connection *connection)
{
    thread->watched = 0;
    while (!connection_is_left(connection)) {
        count(work_items);
        enum connection_wish wish = connection_serve(&thread->loop->service, connection);
        if (wish == CONNECTION_ENDED || !wait_for(thread, connection->socket, wish))
            break;
    }
    connection_close(connection); /* its socket leaves the epoll set by itself */
}

static void work_phase(struct thread *thread)
{
    if (thread->accepted >= 0)
        count(work_phases);
    for (int socket = thread->accepted, next; socket >= 0; socket = next) {
        next = thread->loop->next_accepted[socket];
        process(thread, &thread->loop->service.connections[socket]);
    }
}

static void serve(void *argument)
{
    struct thread *thread = argument;
    for (;;) {
        accept_phase(thread);
        work_phase(thread);
        thread->next = thread->loop->waiting_to_accept;
        thread->loop->waiting_to_accept = thread;
        fiber_park();
    }
}

/* A handler sleeps, and the others go on. They read into the same buffer, so what it holds for this one is kept aside;
 * and what the client does meanwhile must not wake it. */
static void nap(struct loop *loop, const struct connection *connection, uint64_t us)
{
    struct service *service = &loop->service;
    struct thread *thread = loop->running;
    thread->kept = malloc(sizeof service->input);
    if (thread->kept == NULL) {
        work_sleep(us);
        return;
    }
    memcpy(thread->kept, service->input, sizeof service->input);
    if (thread->watched != 0)
        tp_epoll_ctl(loop->interest, EPOLL_CTL_DEL, connection->socket, NULL);
    thread->watched = 0;
    thread->nap_ends_ms = service->clock.now_ms + (us + 999) / 1000;
    thread->next = NULL;
    *loop->nap_behind = thread;
    loop->nap_behind = &thread->next;
    fiber_park();
    memcpy(service->input, thread->kept, sizeof service->input);
    free(thread->kept);
    thread->kept = NULL;
}

static void spend(struct service *service, const struct connection *connection, uint64_t us, bool sleeps)
{
    if (sleeps)
        nap(service->design, connection, us);
    else
        work_burn(&service->work, us);
}

/* The loop's side */

static void resume(struct loop *loop, struct thread *thread)
{
    loop->running = thread;
    fiber_resume(&thread->fiber);
}

static void watch_listener(struct loop *loop)
{
    bool free_thread = loop->waiting_to_accept != NULL || loop->made < loop->options.threads;
    bool wanted = listening_wanted(&loop->listening, loop->service.clock.now_ms) && free_thread;
    struct epoll_event event = {.events = wanted ? EPOLLIN : 0};
    if (wanted != loop->accepting && loop->listening.socket >= 0)
        tp_epoll_ctl(loop->interest, EPOLL_CTL_MOD, loop->listening.socket, &event);
    loop->accepting = wanted;
}

static int wait_ms(const struct loop *loop)
{
    int limit_ms = service_wait_ms(&loop->service, &loop->listening);
    uint64_t now_ms = loop->service.clock.now_ms;
    if (loop->napping == NULL || loop->napping->nap_ends_ms >= now_ms + (uint64_t)limit_ms)
        return limit_ms;
    return loop->napping->nap_ends_ms > now_ms ? (int)(loop->napping->nap_ends_ms - now_ms) : 0;
}

static int getevents(struct loop *loop)
{
    int timeout_ms = getevents_begins(&loop->phases, wait_ms(loop));
    int ready = tp_epoll_wait(loop->interest, loop->ready, loop->capacity, timeout_ms);
    if (ready < 0 && errno != EINTR)
        process_fail(&loop->options, "wait for events");
    getevents_ends(&loop->phases, ready);
    return ready;
}

static bool listener_ready(const struct loop *loop, int ready)
{
    for (int i = 0; i < ready; i++)
        if (loop->ready[i].data.ptr == NULL)
            return true;
    return false;
}

/* One thread begins its turn; it is made if there is none. */
static void wake_to_accept(struct loop *loop)
{
    struct thread *thread = loop->waiting_to_accept;
    if (thread != NULL) {
        loop->waiting_to_accept = thread->next;
    } else {
        thread = &loop->threads[loop->made];
        thread->loop = loop;
        if (fiber_create(&thread->fiber, serve, thread) != 0) { /* no memory, or vm.max_map_count */
            listening_pause(&loop->listening, loop->service.clock.now_ms);
            return;
        }
        loop->made++;
    }
    resume(loop, thread);
}

static void resume_ready(struct loop *loop, int ready)
{
    for (int i = 0; i < ready; i++)
        if (loop->ready[i].data.ptr != NULL)
            resume(loop, loop->ready[i].data.ptr);
    struct thread *thread;
    while ((thread = loop->napping) != NULL && thread->nap_ends_ms <= loop->service.clock.now_ms) {
        loop->napping = thread->next;
        if (loop->napping == NULL)
            loop->nap_behind = &loop->napping;
        resume(loop, thread);
    }
    /* Only its thread closes a connection. It learns of this by the next getevents, or when it comes to it. */
    struct connection *late;
    while ((late = connection_timed_out(&loop->service)) != NULL) {
        tp_shutdown(late->socket);
        connection_leave(&loop->service, late);
    }
    phase_ends(&loop->phases, COUNTER_work_ns);
}

int main(int argc, char **argv)
{
    static struct loop loop;
    int status = options_parse(&loop.options, "user-threads", OPTIONS_THREADS, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (service_start(&loop.service, &loop.options) != 0)
        process_fail(&loop.options, "open the folder that --root names");
    loop.service.design = &loop;
    loop.service.spend = spend;
    if (listening_start(&loop.listening, &loop.options, loop.service.max_descriptor) != 0)
        process_fail(&loop.options, "listen");

    loop.capacity = loop.service.max_descriptor;
    loop.ready = calloc((size_t)loop.capacity, sizeof *loop.ready);
    loop.threads = calloc(loop.options.threads, sizeof *loop.threads);
    loop.next_accepted = calloc((size_t)loop.service.max_descriptor + 1, sizeof *loop.next_accepted);
    loop.nap_behind = &loop.napping;
    loop.interest = tp_epoll_create();
    struct epoll_event listener = {.events = 0};
    if (loop.ready == NULL || loop.threads == NULL || loop.next_accepted == NULL || loop.interest < 0 ||
        tp_epoll_ctl(loop.interest, EPOLL_CTL_ADD, loop.listening.socket, &listener) != 0 || fibers_start() != 0)
        process_fail(&loop.options, "make the interest set and the threads");
    process_announce(loop.listening.socket);

    phases_start(&loop.phases);
    while (service_goes_on(&loop.service, &loop.listening)) {
        watch_listener(&loop);
        int ready = getevents(&loop);
        if (listener_ready(&loop, ready))
            wake_to_accept(&loop);
        resume_ready(&loop, ready);
    }
    service_stop(&loop.service);
    for (uint64_t i = 0; i < loop.made; i++) {
        fiber_destroy(&loop.threads[i].fiber);
        free(loop.threads[i].kept);
    }
    free(loop.threads);
    free(loop.next_accepted);
    free(loop.ready);
    return 0;
}
