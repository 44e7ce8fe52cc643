/* kernel.c: Knot's strategy on kernel threads: what user.c does with parked fibers is done here by calls that block.
 *
 * A thread's turn is an accept phase, which takes at most --accept-limit connections off the accept queue, and a work
 * phase, which fully processes them, one after the other, each until it is closed. Only the first accept of a turn may
 * block. Threads take turns at accepting, by the lock `turn`: with all of them at it at once a phase of one thread would
 * be cut short by the others, and the limit would mean little (Apache's accept mutex avoids their stampede, too).
 *
 * A thread waits for its client inside recv, sendmsg and sendfile, and for the disk inside openat2 and sendfile, where it
 * holds nothing. All that connections share (files, time-outs, clock, counters) is used under `lock`. The main thread is
 * the janitor: it shuts late sockets down, so that the thread that waits for one wakes and closes it.
 */
#include "counters.h"
#include "phases.h"
#include "process.h"
#include "service.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pool {
    struct options options;
    pthread_mutex_t turn; /* held by the thread that accepts; first turn, then lock */
    struct phases phases; /* its */
    int interest;         /* the listener, to wait for */
    pthread_mutex_t lock; /* for what follows, and the counters */
    struct service service;
    struct listening listening;
    pthread_cond_t room; /* a connection was closed: a pause in accepting may be over */
    int *next_accepted;  /* by descriptor: the one to process after it; -1 = none */
};

static void phase_begins(struct phases *phases)
{
    if (counters_timed())
        phases->mark_ns = monotonic_ns();
}

/* Calls that may block are made between these two. */
static void unlock(struct pool *pool)
{
    pthread_mutex_unlock(&pool->lock);
}

static void lock(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    loop_clock_update(&pool->service.clock);
}

/* Accepting */

/* The accept queue is empty, or accepting has paused: block until that may have changed. */
static void wait_to_accept(struct pool *pool)
{
    if (!listening_wanted(&pool->listening, pool->service.clock.now_ms)) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += ACCEPT_PAUSE_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&pool->room, &pool->lock, &until);
        loop_clock_update(&pool->service.clock);
        phase_begins(&pool->phases);
        return;
    }
    struct epoll_event event;
    int timeout_ms = getevents_begins(&pool->phases, GETEVENTS_MS);
    unlock(pool);
    int ready = tp_epoll_wait(pool->interest, &event, 1, timeout_ms);
    if (ready < 0 && errno != EINTR)
        process_fail(&pool->options, "wait for connections");
    lock(pool);
    getevents_ends(&pool->phases, ready);
}

/* Take up to --accept-limit connections; block for the first. Returns it, or -1 when no more are wanted. */
static int accept_phase(struct pool *pool)
{
    int first = -1, *end = &first;
    pthread_mutex_lock(&pool->turn);
    lock(pool);
    phase_begins(&pool->phases);
    uint64_t accepted = 0;
    while (!pool->service.draining) {
        while (accepted < pool->options.accept_limit) {
            int socket = listening_accept(&pool->listening, pool->service.clock.now_ms);
            if (socket < 0)
                break;
            connection_open(&pool->service, socket);
            *end = socket;
            end = &pool->next_accepted[socket];
            accepted++;
        }
        if (accepted > 0)
            break;
        wait_to_accept(pool);
    }
    *end = -1;
    if (accepted > 0)
        count(accept_phases);
    phase_ends(&pool->phases, COUNTER_accept_ns);
    unlock(pool);
    pthread_mutex_unlock(&pool->turn);
    return first;
}

/* Working */

static enum connection_wish receive(struct pool *pool, struct connection *connection, char input[INPUT_BYTES])
{
    struct phases phases = {0};
    unlock(pool);
    ssize_t received = tp_blocking_recv(connection->socket, input, INPUT_BYTES);
    lock(pool);
    count(system_calls);
    if (connection_is_left(connection))
        return CONNECTION_ENDED;
    phase_begins(&phases);
    count(work_items);
    enum connection_wish wish =
        connection_receive(&pool->service, connection, input, received > 0 ? (size_t)received : 0);
    phase_ends(&phases, COUNTER_work_ns);
    return wish;
}

/* The file stays the connection's, which is this thread's. */
static enum connection_wish open_file(struct pool *pool, struct connection *connection)
{
    unlock(pool);
    long result = file_open(&pool->service.files, connection->file);
    lock(pool);
    if (!connection_is_left(connection))
        return connection_opened(&pool->service, connection, result);
    if (result >= 0)
        close((int)result);
    return CONNECTION_ENDED;
}

static enum connection_wish send_reply(struct pool *pool, struct connection *connection)
{
    struct connection_output output;
    struct phases phases = {0};
    connection_output(connection, &output);
    unlock(pool);
    phase_begins(&phases);
    ssize_t sent;
    if (output.count > 0) {
        sent = tp_blocking_sendv(connection->socket, output.parts, output.count, output.more_follows);
    } else { /* in pieces: each renews the time-out */
        size_t piece = output.file_bytes < SENDFILE_BYTES ? output.file_bytes : SENDFILE_BYTES;
        sent = tp_blocking_sendfile(connection->socket, output.file, &output.offset, piece);
    }
    lock(pool);
    count(system_calls);
    phase_ends(&phases, COUNTER_work_ns);
    return connection_is_left(connection) ? CONNECTION_ENDED : connection_sent(&pool->service, connection, sent);
}

static void process(struct pool *pool, struct connection *connection)
{
    char input[INPUT_BYTES];
    enum connection_wish wish = connection_is_left(connection) ? CONNECTION_ENDED : CONNECTION_READS;
    while (wish != CONNECTION_ENDED)
        wish = wish == CONNECTION_OPENS    ? open_file(pool, connection)
               : wish == CONNECTION_WRITES ? send_reply(pool, connection)
                                           : receive(pool, connection, input);
    connection_close(connection);
    pthread_cond_signal(&pool->room);
}

static void work_phase(struct pool *pool, int first)
{
    lock(pool);
    count(work_phases);
    for (int socket = first, next; socket >= 0; socket = next) {
        next = pool->next_accepted[socket]; /* once it is closed, its descriptor may be another's */
        process(pool, &pool->service.connections[socket]);
    }
    unlock(pool);
}

static void *serve(void *argument)
{
    int first;
    while ((first = accept_phase(argument)) >= 0)
        work_phase(argument, first);
    return NULL;
}

/* Handlers burn and sleep outside the lock: that they keep nobody else waiting is what threads are for. */
static void spend(struct service *service, const struct connection *connection, uint64_t us, bool sleeps)
{
    (void)connection;
    struct pool *pool = service->design;
    struct timespec duration = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000 * 1000)};
    unlock(pool);
    if (sleeps)
        nanosleep(&duration, NULL);
    else
        work_burn(&service->work, us);
    lock(pool);
    if (sleeps)
        count(blocked_calls); /* though it blocked its own thread only */
}

/* The janitor */

static void end_late(struct pool *pool)
{
    struct connection *late;
    while ((late = connection_timed_out(&pool->service)) != NULL) {
        tp_shutdown(late->socket);
        connection_leave(&pool->service, late);
    }
}

static void start_threads(struct pool *pool)
{
    pthread_t thread;
    pthread_attr_t small;
    pthread_condattr_t monotonic;
    sigset_t stop, before;
    pthread_mutex_init(&pool->turn, NULL);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->room, &monotonic);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, FIBER_STACK_BYTES);
    pthread_attr_setguardsize(&small, FIBER_GUARD_BYTES);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    sigemptyset(&stop); /* signals are the janitor's */
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, &before);
    for (uint64_t i = 0; i < pool->options.threads; i++)
        if ((errno = pthread_create(&thread, &small, serve, pool)) != 0)
            process_fail(&pool->options, "start as many threads as --threads says (ulimit -u, cgroup pids.max)");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&small);
}

int main(int argc, char **argv)
{
    static struct pool pool;
    int status = options_parse(&pool.options, "kernel-threads", OPTIONS_THREADS, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&pool.options);
    if (service_start(&pool.service, &pool.options) != 0)
        process_fail(&pool.options, "open the folder that --root names");
    pool.service.design = &pool;
    pool.service.spend = spend;
    pool.service.opens_files = true;
    if (listening_start(&pool.listening, &pool.options, pool.service.max_descriptor) != 0)
        process_fail(&pool.options, "listen");
    pool.listening.blocking = true;

    struct epoll_event listener = {.events = EPOLLIN};
    pool.next_accepted = calloc((size_t)pool.service.max_descriptor + 1, sizeof *pool.next_accepted);
    pool.interest = tp_epoll_create();
    if (pool.next_accepted == NULL || pool.interest < 0 ||
        tp_epoll_ctl(pool.interest, EPOLL_CTL_ADD, pool.listening.socket, &listener) != 0)
        process_fail(&pool.options, "make the interest set");
    phases_start(&pool.phases);
    start_threads(&pool);
    process_announce(pool.listening.socket);

    lock(&pool);
    while (service_goes_on(&pool.service, &pool.listening)) {
        end_late(&pool);
        unlock(&pool);
        nanosleep(&(struct timespec){.tv_nsec = JANITOR_MS * 1000000}, NULL); /* SIGTERM ends it */
        lock(&pool);
    }
    /* With the lock, so that no thread goes on while the process ends; what is still open ends with it. */
    return 0;
}
