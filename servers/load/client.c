/* client.c: the event loop of the kernel-socket client: when connections start, sleep, and are given up.
 *
 * No timer is armed: waits of one kind are all equally long, so that those who wait stand in the order in which they
 * are due (Varghese and Lauck 1987, scheme 2, whose insertions here always come at the end), and both ends are O(1).
 *
 * The loop sleeps by tp_epoll_wait_ns(), whose time-out counts nanoseconds, instead of polling all the time, and what it
 * does poll in vain is not counted as work: only so does cpu_share tell how near to its own limit the client is. Starts
 * that fall due while a batch of events is handled go out between them.
 */
#include <errno.h>
#include <stdlib.h>

#include "runtime.h"
#include "session.h"

#define EVENTS_PER_WAIT 64
#define STARTS_PER_TURN 32 /* then events get their turn: a burst of starts must not delay replies */
#define EVENTS_PER_START 4 /* a connection brings three; past saturation the open ones come first */
#define RETRY_NS 10000000  /* closed loop: pause after a failed connection, or refusals would spin */
#define STALL_NS 1000000   /* pause when descriptors, ports or memory ran out */
/* Stay awake this long after an event, about what falling asleep and being woken costs. It is the server that pays for
 * the waking (an interprocessor interrupt inside its send): without this, 16 closed-loop clients measured about a tenth
 * fewer replies/s than wrk, whose own work keeps it awake. */
#define STAY_AWAKE_NS 10000
#define LONGEST_SLEEP_NS 100000000 /* bounds the reaction to a signal that just missed the call */
#define CLOSED_STARTS_PER_S 10000  /* a closed loop opens its connections at this pace, not as one SYN burst */

static bool resource_exhausted(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM || error == EADDRNOTAVAIL ||
           error == EADDRINUSE || error == EAGAIN;
}

static struct session *take_free(struct client *c)
{
    struct session *k = c->free;
    if (k != NULL) {
        c->free = k->next;
    } else if (c->pool_used < c->options->connections_max) {
        k = &c->pool[c->pool_used++];
        k->socket = -1;
        k->line = NULL;
    }
    return k;
}

/* Issue the start that is due. Returns false if it must wait for a resource: that shows as lag. */
static bool issue_start(struct client *c, uint64_t now)
{
    struct session *k = take_free(c);
    int error = k == NULL ? EMFILE : session_begin(c, k, c->schedule.next_ns, now);
    if (error != 0 && k != NULL && !c->options->closed) {
        k->next = c->free;
        c->free = k;
    }
    if (error != 0 && c->options->closed && k != NULL) {
        k->state = RETRYING;
        line_join(&c->retrying, k, now);
    } else if (resource_exhausted(error)) {
        c->extra->starts_stalled++;
        c->stalled_until_ns = now + STALL_NS;
        return false;
    } else if (error != 0) { /* no route and the like */
        COUNT(c, now, connections_attempted);
        COUNT(c, now, connections_failed_other);
    }
    uint64_t intended = schedule_take(&c->schedule);
    c->starts_left -= c->starts_left != UINT64_MAX;
    struct report *r = c->report;
    if (!c->options->closed) {
        r->starts_scheduled += report_in_window(r, intended);
        if (report_in_window(r, now)) {
            r->starts_issued++;
            histogram_record(&r->lag, now - intended);
        }
    }
    return true;
}

static uint64_t next_start_due(const struct client *c)
{
    if (c->starts_left == 0)
        return NEVER;
    return c->schedule.next_ns > c->stalled_until_ns ? c->schedule.next_ns : c->stalled_until_ns;
}

/* Returns the time after at most starts_allowed starts. */
static uint64_t run_timers(struct client *c, int starts_allowed, uint64_t now)
{
    while (line_due(&c->deadlines) <= now)
        session_time_out(c, c->deadlines.head, now);
    while (line_due(&c->retrying) <= now) {
        struct session *k = c->retrying.head;
        if (session_begin(c, k, now, now) != 0)
            line_join(&c->retrying, k, now);
    }
    for (int i = 0; i < starts_allowed && next_start_due(c) <= now; i++) {
        issue_start(c, now);
        now = monotonic_ns();
    }
    return now;
}

static int wait_for_events(struct client *c, struct epoll_event *events, uint64_t until_ns, uint64_t now)
{
    int n = tp_epoll_wait_ns(c->set, events, EVENTS_PER_WAIT, until_ns <= now ? 0 : until_ns - now);
    return n > 0 ? n : 0;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void run(struct client *c)
{
    struct report *r = c->report;
    struct epoll_event events[EVENTS_PER_WAIT];
    double cpu_s = 0;
    bool measuring = false;
    int n = 0;
    uint64_t now = monotonic_ns(), awake_until = 0;
    while (now < r->end_ns && !runtime_stop) {
        if (!measuring && now >= r->begin_ns) {
            measuring = true;
            cpu_s = runtime_cpu_s();
        }
        /* A full batch says that more events wait. Starts would win against them for ever, and every connection time
         * out: a client past its limit must fall behind its schedule (and report so), not lose what it has begun. */
        now = run_timers(c, n < EVENTS_PER_WAIT ? STARTS_PER_TURN : 1, now);
        uint64_t until = earliest(now + LONGEST_SLEEP_NS, measuring ? r->end_ns : r->begin_ns);
        until = earliest(until, earliest(next_start_due(c), line_due(&c->deadlines)));
        until = earliest(until, earliest(line_due(&c->thinking), line_due(&c->retrying)));
        bool awake = now < awake_until;
        n = wait_for_events(c, events, awake ? now : until, now);
        /* Closed loop: who has thought enough asks now, one turn after the reply at the earliest, as in wrk's loop, so
         * that requests reach the server in turns and not each in the middle of its work for another. */
        if (c->thinking.head != NULL)
            now = monotonic_ns();
        while (line_due(&c->thinking) <= now)
            session_next_request(c, c->thinking.head, monotonic_ns());
        if (n > 0)
            awake_until = monotonic_ns() + STAY_AWAKE_NS;
        else if (awake && measuring)
            c->idle_polling_ns += monotonic_ns() - now;
        for (int i = 0; i < n; i++) {
            now = session_handle(c, events[i].data.ptr, events[i].events);
            if (i % EVENTS_PER_START == 0 && next_start_due(c) <= now)
                issue_start(c, now);
        }
        now = monotonic_ns();
    }
    if (now < r->end_ns) { /* ended early: the window is what was seen of it */
        r->end_ns = now;
        r->begin_ns = earliest(r->begin_ns, now);
    }
    r->cpu_s = measuring ? runtime_cpu_s() - cpu_s - (double)c->idle_polling_ns * 1e-9 : 0;
    r->cpu_s = r->cpu_s > 0 ? r->cpu_s : 0; /* idle polling is measured by the wall clock: preemption counts too */
}

/* What the end of the window leaves undecided. */
static void settle(struct client *c)
{
    struct report *r = c->report;
    for (const struct session *k = c->deadlines.head; k != NULL; k = k->next)
        if (k->state != WAITING_FOR_FIN && k->intended_ns >= r->begin_ns && k->intended_ns < r->end_ns)
            report_unanswered(r, k->file, r->end_ns - k->intended_ns);
    while (!c->options->closed && c->schedule.next_ns < r->end_ns) { /* due, but never issued */
        uint64_t intended = schedule_take(&c->schedule);
        r->starts_scheduled += report_in_window(r, intended);
        histogram_record(&r->lag, r->end_ns - intended);
    }
    for (uint64_t i = 0; i < c->pool_used; i++)
        if (c->pool[i].socket >= 0)
            tp_abort(c->pool[i].socket); /* the server need not answer requests that nobody awaits */
}

int client_run(const struct client_options *options, const struct manifest *manifest, struct report *report,
               struct client_extra *extra)
{
    struct client c = {
        .options = options,
        .manifest = manifest,
        .report = report,
        .extra = extra,
        .transport = {.congestion = options->congestion, .defer_accept_s = options->separate_ack ? 0 : 1},
        .starts_left = options->closed ? options->clients : UINT64_MAX,
        .deadlines.delay_ns = options->timeout_ns,
        .thinking.delay_ns = options->think_ns,
        .retrying.delay_ns = RETRY_NS,
    };
    random_seed(&c.files, options->seed, RANDOM_FILES);
    random_seed(&c.sessions, options->seed, RANDOM_SESSIONS);
    /* calloc of this size is mmap: memory that no connection uses is never touched. */
    c.pool = calloc(options->connections_max, sizeof *c.pool);
    c.buffer = malloc(RECEIVE_BYTES);
    c.set = tp_epoll_create();
    int error = c.pool == NULL || c.buffer == NULL ? ENOMEM : c.set < 0 ? errno : 0;
    if (error == 0) {
        double per_connection = options->requests_mean > 0 ? options->requests_mean : (double)options->requests;
        double starts_per_s = options->closed ? CLOSED_STARTS_PER_S : options->rate / per_connection;
        uint64_t start = monotonic_ns();
        report_begin(report, options->closed ? "closed" : "open", options->closed ? 0 : options->rate, start,
                     options->warmup_s, options->duration_s);
        report_kinds(report, manifest);
        schedule_begin(&c.schedule, options->arrivals, starts_per_s, start, options->seed);
        run(&c);
        settle(&c);
        error = c.begun == 0 ? c.first_error : 0;
    }
    if (c.set >= 0)
        tp_close(c.set);
    free(c.buffer);
    free(c.pool);
    return error;
}
