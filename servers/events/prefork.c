/* prefork.c: the loop of epoll.c in several processes on one port.
 *
 * Each worker is an epoll.c of its own, getevents → accept phase → work phase, with its own interest set, open files and
 * counters; --accept-limit and --max-connections hold for each. The parent is a worker too, its children are the others.
 * How they share the port is up to --sharing:
 *   shared     one listener in every worker's set. A new connection wakes all that sleep; the first to accept has it,
 *              and a worker that is busy or sleeps in a request misses nothing: another takes its place.
 *   exclusive  the same, but it wakes one sleeper only (EPOLLEXCLUSIVE): the one that has been in the listener's wait
 *              queue for longest, so the same again and again as long as it keeps up.
 *   reuseport  a listener and an accept queue each (SO_REUSEPORT). The kernel deals connections out by a hash of their
 *              addresses, whatever the worker is doing: they wait for that worker.
 */
#include "counters.h"
#include "phases.h"
#include "process.h"
#include "service.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct loop {
    struct options options;
    struct service service;
    struct listening listening;
    struct phases phases;
    bool accepting; /* the listener is in the epoll set */
    int interest;   /* the epoll set */
    struct epoll_event *ready;
    int capacity;                /* of ready: all connections at once, as select reports them */
    pid_t children[WORKERS_MAX]; /* workers 1, 2, ... */
    uint64_t children_count;     /* 0 in a child */
    bool told;                   /* the children: to drain */
};

/* The processes */

static volatile sig_atomic_t a_child_ended;

static void child_ended(int signal)
{
    (void)signal;
    a_child_ended = 1;
}

static void report(const struct loop *loop, pid_t child, int status)
{
    fprintf(stderr, "%s: the worker with process id %d %s %d\n", loop->options.design, (int)child,
            WIFSIGNALED(status) ? "was ended by signal" : "ended with status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* Returns in every worker, with its number. */
static uint64_t fork_workers(struct loop *loop)
{
    struct sigaction action = {.sa_handler = child_ended, .sa_flags = SA_NOCLDSTOP}; /* interrupts getevents */
    sigaction(SIGCHLD, &action, NULL);
    const pid_t parent = getpid();
    for (uint64_t worker = 1; worker < loop->options.workers; worker++) {
        pid_t child = fork();
        if (child < 0)
            process_fail(&loop->options, "start all workers"); /* those that run end with the parent */
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent) /* it ended before the line above */
                _exit(1);
            loop->children_count = 0;
            counters_belong_to(worker);
            return worker;
        }
        loop->children[loop->children_count++] = child;
    }
    return 0;
}

/* A server that has lost a worker ends: with fewer, its numbers would mean something else. */
static _Noreturn void fail_with(const struct loop *loop, pid_t child, int status)
{
    report(loop, child, status);
    for (uint64_t i = 0; i < loop->children_count; i++)
        if (loop->children[i] != child && kill(loop->children[i], SIGKILL) == 0)
            waitpid(loop->children[i], NULL, 0);
    exit(1);
}

/* Once a loop, in the parent: children that ended unasked; SIGTERM, to be passed on. */
static void mind_children(struct loop *loop)
{
    int status;
    if (process_stopping()) {
        for (uint64_t i = 0; i < loop->children_count && !loop->told; i++)
            kill(loop->children[i], SIGTERM);
        loop->told = true;
    } else if (a_child_ended) {
        pid_t child = waitpid(-1, &status, WNOHANG);
        if (child > 0)
            fail_with(loop, child, status);
    }
}

static int await_children(struct loop *loop)
{
    int status, failures = 0;
    for (uint64_t i = 0; i < loop->children_count; i++) {
        while (waitpid(loop->children[i], &status, 0) < 0 && errno == EINTR)
            continue;
        if (status != 0) {
            report(loop, loop->children[i], status);
            failures++;
        }
    }
    return failures > 0;
}

/* The port */

/* Listen with one socket, or one for each worker, before any worker runs; returns how many. */
static uint64_t listen_all(struct loop *loop, struct listening *listeners)
{
    struct options *options = &loop->options;
    if (listening_start(&listeners[0], options, loop->service.max_descriptor) != 0)
        process_fail(options, "listen");
    if (options->sharing != SHARING_REUSEPORT)
        return 1;
    /* The first one was alone on the port, so no other server is there that SO_REUSEPORT would silently join. */
    socklen_t bytes = sizeof options->listen;
    getsockname(listeners[0].socket, (struct sockaddr *)&options->listen, &bytes); /* port 0 has become a real one */
    listening_stop(&listeners[0]);
    options->transport.reuse_port = true;
    for (uint64_t i = 0; i < options->workers; i++)
        if (listening_start(&listeners[i], options, loop->service.max_descriptor) != 0)
            process_fail(options, "listen");
    return options->workers;
}

/* The loop */

static bool watch(struct loop *loop, int operation, int socket, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = socket};
    return tp_epoll_ctl(loop->interest, operation, socket, &event) == 0;
}

/* Added and deleted, because what is in the set with EPOLLEXCLUSIVE cannot be modified. */
static void watch_listener(struct loop *loop)
{
    bool wanted = listening_wanted(&loop->listening, loop->service.clock.now_ms);
    uint32_t alone = loop->options.sharing == SHARING_EXCLUSIVE ? EPOLLEXCLUSIVE : 0;
    if (wanted != loop->accepting && loop->listening.socket >= 0)
        watch(loop, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, loop->listening.socket, EPOLLIN | alone);
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
    int status = options_parse(&loop.options, "prefork", OPTIONS_WORKERS, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (service_start(&loop.service, &loop.options) != 0)
        process_fail(&loop.options, "open the folder that --root names");
    static struct listening listeners[WORKERS_MAX];
    const uint64_t listeners_count = listen_all(&loop, listeners);

    const uint64_t worker = fork_workers(&loop);
    const uint64_t own = worker % listeners_count;
    for (uint64_t i = 0; i < listeners_count; i++)
        if (i != own)
            listening_stop(&listeners[i]); /* it is another's, and lasts as long as anybody holds it */
    loop.listening = listeners[own];
    loop.capacity = loop.service.max_descriptor;
    loop.ready = calloc((size_t)loop.capacity, sizeof *loop.ready);
    loop.interest = loop.listening.interest = tp_epoll_create();
    if (loop.ready == NULL || loop.interest < 0)
        process_fail(&loop.options, "make the interest set");
    if (worker == 0)
        process_announce(loop.listening.socket);

    phases_start(&loop.phases);
    while (service_goes_on(&loop.service, &loop.listening)) {
        watch_listener(&loop);
        int ready = getevents(&loop);
        if (listener_ready(&loop, ready))
            accept_phase(&loop);
        work_phase(&loop, ready);
        mind_children(&loop);
    }
    mind_children(&loop); /* SIGTERM may have come after the last look */
    service_stop(&loop.service);
    free(loop.ready);
    return await_children(&loop);
}
