/* traffic.c: see traffic.h. One loop, one socket. */
#include "traffic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"
#include "transport.h"

enum {
    BUFFER = 65536,
    TURN_BYTES = 262144, /* read, or written, before the loop looks around: a user-level stack sends and receives there */
    WAIT_MS = 100,       /* at most, so that no limit of time is missed by more */
    EVENTS = 4,
};

struct flow {
    const struct traffic_options *options;
    struct traffic_result *result;
    int set, listener, socket; /* -1 = none */
    uint32_t interest;         /* as the set knows it */
    bool connected, shut, peer_shut, done;
    uint64_t begun_ns, connected_ns, message_ns, done_ns;
    double cpu_s; /* when the connection was established */
    uint32_t held, held_at; /* of an echo: received and not yet sent back */
    uint8_t pattern[TRAFFIC_PERIOD + TRAFFIC_WRITE_MAX];
    uint8_t buffer[BUFFER];
};

static void make_pattern(uint8_t *pattern)
{
    uint64_t x = UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t i = 0; i < TRAFFIC_PERIOD; i++) { /* xorshift64 of Marsaglia (2003) */
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        pattern[i] = (uint8_t)(x >> 32);
    }
    memcpy(pattern + TRAFFIC_PERIOD, pattern, TRAFFIC_WRITE_MAX);
}

static double seconds_between(uint64_t from_ns, uint64_t to_ns) { return (double)(to_ns - from_ns) * 1e-9; }

static bool sends(const struct flow *f)
{
    enum traffic_role role = f->options->role;
    return role == TRAFFIC_SOURCE || role == TRAFFIC_BOTH || role == TRAFFIC_PING;
}

/* How far the pattern may be sent by now: a ping is answered before the next one goes. */
static uint64_t may_send(const struct flow *f)
{
    if (!sends(f))
        return 0;
    if (f->options->role != TRAFFIC_PING)
        return f->options->bytes;
    uint64_t message = f->result->received / f->options->write_bytes * f->options->write_bytes;
    message += f->options->write_bytes;
    return message < f->options->bytes ? message : f->options->bytes;
}

static bool watch(struct flow *f, int operation, int socket, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = socket};
    return tp_epoll_ctl(f->set, operation, socket, &event) == 0;
}

static void finish(struct flow *f, enum traffic_outcome outcome, int error)
{
    if (f->done)
        return;
    f->done = true;
    f->done_ns = monotonic_ns();
    f->result->outcome = outcome;
    f->result->error = error;
    if (f->connected) {
        f->result->seconds = seconds_between(f->connected_ns, f->done_ns);
        f->result->cpu_s = runtime_cpu_s() - f->cpu_s;
    }
    if (f->socket < 0)
        return;
    watch(f, EPOLL_CTL_DEL, f->socket, 0);
    bool whole = outcome == TRAFFIC_ENDED || f->options->role == TRAFFIC_PING;
    if (!whole) {
        tp_abort(f->socket);
        f->socket = -1;
    } else if (!f->shut) {
        tp_shutdown_write(f->socket);
    }
}

static void established(struct flow *f)
{
    f->connected = true;
    f->connected_ns = f->message_ns = monotonic_ns();
    f->cpu_s = runtime_cpu_s();
    f->result->connect_s = seconds_between(f->begun_ns, f->connected_ns);
}

/* These return 0, also if no more can be done now, or an errno that ends the connection. */

static int send_pattern(struct flow *f)
{
    uint64_t end = may_send(f), before = f->result->sent;
    while (f->result->sent < end && f->result->sent - before < TURN_BYTES) {
        uint64_t rest = f->options->write_bytes - f->result->sent % f->options->write_bytes;
        uint64_t part = rest < end - f->result->sent ? rest : end - f->result->sent;
        ssize_t taken = tp_send(f->socket, f->pattern + f->result->sent % TRAFFIC_PERIOD, part);
        if (taken < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : errno;
        f->result->sent += (uint64_t)taken;
    }
    if (!f->shut && f->result->sent == f->options->bytes && f->options->role != TRAFFIC_PING && sends(f)) {
        f->shut = true;
        return tp_shutdown_write(f->socket) == 0 ? 0 : errno;
    }
    return 0;
}

/* Compare what has come with what was to come; EBADMSG. */
static int compare(struct flow *f, uint32_t bytes)
{
    const uint8_t *wanted = f->pattern + f->result->received % TRAFFIC_PERIOD;
    if (memcmp(f->buffer, wanted, bytes) != 0) {
        uint32_t i = 0;
        while (f->buffer[i] == wanted[i])
            i++;
        f->result->wrong_at = f->result->received + i;
        return EBADMSG;
    }
    f->result->received += bytes;
    return 0;
}

/* Until nothing is there, or so much has been received in all. */
static int receive_pattern(struct flow *f, uint64_t most)
{
    uint64_t turn = f->result->received + TURN_BYTES;
    while (!f->peer_shut && f->result->received < (most < turn ? most : turn)) {
        ssize_t got = tp_recv(f->socket, f->buffer, BUFFER);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : errno;
        f->peer_shut = got == 0;
        int error = compare(f, (uint32_t)got);
        if (error != 0)
            return error;
    }
    return 0;
}

static int echo(struct flow *f)
{
    for (uint64_t turn = 0; turn < TURN_BYTES;) {
        if (f->held == 0) {
            ssize_t got = tp_recv(f->socket, f->buffer, BUFFER);
            if (got < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : errno;
            f->peer_shut = got == 0;
            int error = compare(f, (uint32_t)got);
            if (error != 0 || got == 0)
                return error;
            f->held = (uint32_t)got, f->held_at = 0;
        }
        ssize_t taken = tp_send(f->socket, f->buffer + f->held_at, f->held);
        if (taken < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : errno;
        f->held -= (uint32_t)taken, f->held_at += (uint32_t)taken;
        f->result->sent += (uint64_t)taken, turn += (uint64_t)taken;
    }
    return 0;
}

static int ping(struct flow *f)
{
    uint64_t awaited = may_send(f);
    int error = receive_pattern(f, awaited); /* what is awaited has come: no call more to learn that nothing follows */
    if (error == 0 && f->result->received == awaited && awaited > 0) {
        uint64_t now_ns = monotonic_ns();
        if (seconds_between(f->connected_ns, now_ns) >= f->options->warmup_s)
            histogram_record(&f->result->rtt, now_ns - f->message_ns);
        f->message_ns = now_ns;
    }
    if (error == 0 && f->peer_shut)
        error = ECONNRESET; /* before the last echo */
    return error != 0 ? error : send_pattern(f);
}

static int serve(struct flow *f)
{
    switch (f->options->role) {
    case TRAFFIC_PING: return ping(f);
    case TRAFFIC_ECHO: return echo(f);
    default: break;
    }
    int error = receive_pattern(f, UINT64_MAX);
    return error != 0 ? error : send_pattern(f);
}

static bool all_done(const struct flow *f)
{
    if (f->options->role == TRAFFIC_PING)
        return f->result->received == f->options->bytes;
    return f->peer_shut && (!sends(f) || f->shut);
}

static void connection_event(struct flow *f)
{
    if (!f->connected) {
        int error = tp_connect_result(f->socket);
        if (error == EINPROGRESS)
            return;
        if (error != 0) {
            finish(f, TRAFFIC_UNCONNECTED, error);
            return;
        }
        established(f);
    }
    int error = serve(f);
    if (error != 0)
        finish(f, error == EBADMSG ? TRAFFIC_WRONG : TRAFFIC_BROKEN, error);
    else if (all_done(f))
        finish(f, TRAFFIC_ENDED, 0);
    if (f->done)
        return;
    uint32_t wanted = f->peer_shut || (f->options->role == TRAFFIC_ECHO && f->held > 0) ? 0 : EPOLLIN;
    if (f->result->sent < may_send(f) || f->held > 0)
        wanted |= EPOLLOUT;
    if (wanted != f->interest && watch(f, EPOLL_CTL_MOD, f->socket, wanted))
        f->interest = wanted;
}

static void accept_one(struct flow *f)
{
    int socket = tp_accept(f->listener, NULL);
    if (socket < 0)
        return;
    watch(f, EPOLL_CTL_DEL, f->listener, 0); /* one is enough; the others wait in the queue */
    f->socket = socket;
    f->interest = EPOLLIN | EPOLLOUT;
    watch(f, EPOLL_CTL_ADD, socket, f->interest);
    established(f);
}

static void look_at_time(struct flow *f, uint64_t now_ns)
{
    const struct traffic_options *o = f->options;
    if (!f->connected) {
        if (seconds_between(f->begun_ns, now_ns) > o->patience_s)
            finish(f, TRAFFIC_UNCONNECTED, ETIMEDOUT);
    } else if (o->seconds > 0 && o->role != TRAFFIC_SOURCE && o->role != TRAFFIC_ECHO &&
               seconds_between(f->connected_ns, now_ns) >= o->seconds) {
        finish(f, TRAFFIC_TIME, 0);
    }
}

/* In milliseconds, until there is something to be done besides events. */
static int wait_ms(const struct flow *f, uint64_t now_ns)
{
    if (!f->connected || f->done || f->options->seconds <= 0)
        return WAIT_MS;
    double left = f->options->seconds - seconds_between(f->connected_ns, now_ns);
    return left <= 0 ? 0 : left * 1e3 + 1 < WAIT_MS ? (int)(left * 1e3) + 1 : WAIT_MS;
}

static int begin(struct flow *f)
{
    const struct traffic_options *o = f->options;
    struct tp_options options = {.backlog = 16, .congestion = o->congestion};
    f->set = tp_epoll_create();
    if (f->set < 0)
        return errno;
    f->begun_ns = monotonic_ns();
    if (o->listens) {
        f->listener = tp_listen(&o->address, &options);
        return f->listener >= 0 && watch(f, EPOLL_CTL_ADD, f->listener, EPOLLIN) ? 0 : errno;
    }
    f->socket = tp_connect(&o->address, NULL, &options);
    f->interest = EPOLLIN | EPOLLOUT;
    return f->socket >= 0 && watch(f, EPOLL_CTL_ADD, f->socket, f->interest) ? 0 : errno;
}

int traffic_run(const struct traffic_options *options, struct traffic_result *result, void (*listening)(void),
                void (*done)(const struct traffic_options *, const struct traffic_result *))
{
    memset(result, 0, sizeof *result);
    struct flow *f = calloc(1, sizeof *f);
    if (f == NULL)
        return ENOMEM;
    f->options = options, f->result = result;
    f->set = f->listener = f->socket = -1;
    make_pattern(f->pattern);
    int error = begin(f);
    if (error == 0)
        listening();
    for (bool told = false; error == 0;) {
        uint64_t now_ns = monotonic_ns();
        if (runtime_stop)
            finish(f, TRAFFIC_STOPPED, 0);
        look_at_time(f, now_ns);
        if (f->done && !told) {
            told = true;
            done(options, result);
        }
        if (f->done && (runtime_stop || seconds_between(f->done_ns, now_ns) >= options->stay_s))
            break;
        struct epoll_event events[EVENTS];
        int ready = tp_epoll_wait(f->set, events, EVENTS, wait_ms(f, now_ns));
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == f->listener)
                accept_one(f);
            else if (events[i].data.fd == f->socket && !f->done)
                connection_event(f);
        }
    }
    if (f->socket >= 0)
        tp_close(f->socket);
    if (f->listener >= 0)
        tp_close(f->listener);
    if (f->set >= 0)
        tp_close(f->set);
    free(f);
    return error;
}
