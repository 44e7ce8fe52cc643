/* session.c: what connections, their sockets' events and their time-outs do.
 *
 * Built to be cheap, for the client shares the machine with the server: a connection costs one epoll_ctl
 * (edge-triggered for both directions), its request is one send, a reply that fits the buffer is one recv. The clock is
 * read once an event.
 */
#include "session.h"

#include <errno.h>

#include "runtime.h"

#define DISCARD_BYTES (1u << 20)

static void line_leave(struct session *k)
{
    struct line *line = k->line;
    if (line == NULL)
        return;
    *(k->previous ? &k->previous->next : &line->head) = k->next;
    *(k->next ? &k->next->previous : &line->tail) = k->previous;
    k->line = NULL;
}

void line_join(struct line *line, struct session *k, uint64_t now)
{
    line_leave(k);
    k->line = line;
    k->lined_up_ns = now;
    k->next = NULL;
    k->previous = line->tail;
    *(line->tail ? &line->tail->next : &line->head) = k;
    line->tail = k;
}

static int connect_from_next_source(struct client *c)
{
    const struct client_options *o = c->options;
    size_t tries = o->source_count ? o->source_count : 1;
    int socket = -1;
    do {
        const struct sockaddr_in *source = NULL;
        if (o->source_count > 0) {
            source = &o->sources[c->next_source];
            c->next_source = c->next_source + 1 == o->source_count ? 0 : c->next_source + 1;
        }
        socket = tp_connect(&o->server, source, &c->transport);
    } while (socket < 0 && errno == EADDRNOTAVAIL && --tries > 0); /* that source has no port left: the next one */
    return socket;
}

static void choose_request(struct client *c, struct session *k)
{
    bool last = k->requests_left == 0 && c->options->close_by == CLOSE_BY_SERVER;
    k->file = manifest_draw(c->manifest, &c->files);
    k->kind = last ? REQUEST_CLOSE : REQUEST_KEEP_ALIVE;
    k->sent = 0;
    c->replies_seen++;
    reply_begin(&k->reply, c->options->verify_every > 0 && c->replies_seen % c->options->verify_every == 0);
}

static uint64_t requests_of_session(struct client *c)
{
    if (c->options->requests_mean > 0)
        return random_geometric(&c->sessions, c->options->requests_mean);
    return c->options->requests;
}

/* Begin connection k, whose first request was intended for intended_ns. Returns 0, or errno with k untouched. */
int session_begin(struct client *c, struct session *k, uint64_t intended_ns, uint64_t now)
{
    int socket = connect_from_next_source(c);
    if (socket < 0) {
        if (c->first_error == 0)
            c->first_error = errno;
        return errno;
    }
    struct epoll_event interest = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = k};
    if (tp_epoll_ctl(c->set, EPOLL_CTL_ADD, socket, &interest) != 0) {
        int error = errno;
        tp_abort(socket);
        return error;
    }
    c->begun++;
    if (++c->open > c->extra->connections_peak)
        c->extra->connections_peak = c->open;
    k->socket = socket;
    k->state = CONNECTING;
    k->intended_ns = intended_ns;
    k->actual_ns = now;
    k->requests_left = requests_of_session(c);
    if (k->requests_left != UINT64_MAX)
        k->requests_left--;
    choose_request(c, k);
    line_join(&c->deadlines, k, now);
    if (report_in_window(c->report, now)) {
        c->report->connections_attempted++;
        report_at(c->report, now)->attempted++;
    }
    return 0;
}

/* The connection of k is closed. A closed loop's client connects again: at once, or after a failure a little later. */
static void after_close(struct client *c, struct session *k, bool failed, uint64_t now)
{
    line_leave(k);
    c->open--;
    k->socket = -1;
    if (!c->options->closed) {
        k->next = c->free;
        c->free = k;
        return;
    }
    if (failed || session_begin(c, k, now, now) != 0) {
        k->state = RETRYING;
        line_join(&c->retrying, k, now);
    }
}

static void end_orderly(struct client *c, struct session *k, uint64_t now)
{
    tp_close(k->socket);
    after_close(c, k, false, now);
}

static void end_by_reset(struct client *c, struct session *k, bool failed, uint64_t now)
{
    tp_abort(k->socket);
    after_close(c, k, failed, now);
}

static void fail(struct client *c, struct session *k, int error, uint64_t now)
{
    if (k->state == CONNECTING && error == ECONNREFUSED)
        COUNT(c, now, connections_refused);
    else if (error == ECONNRESET || error == EPIPE || error == ECONNREFUSED)
        COUNT(c, now, connections_reset);
    else
        COUNT(c, now, connections_failed_other);
    end_by_reset(c, k, true, now);
}

/* Send what remains of the request; false if the connection failed. */
static bool send_request(struct client *c, struct session *k, uint64_t now)
{
    size_t bytes = k->file->request_bytes[k->kind];
    if (k->sent == 0)
        COUNT(c, now, requests_sent);
    while (k->sent < bytes) {
        ssize_t n = tp_send(k->socket, k->file->request[k->kind] + k->sent, bytes - k->sent);
        if (n >= 0) {
            k->sent += (uint32_t)n;
        } else if (errno == EAGAIN) {
            return true; /* EPOLLOUT will come */
        } else if (errno != EINTR) {
            fail(c, k, errno, now);
            return false;
        }
    }
    return true;
}

void session_next_request(struct client *c, struct session *k, uint64_t now)
{
    if (k->requests_left != UINT64_MAX)
        k->requests_left--;
    choose_request(c, k);
    k->state = AWAITING;
    k->intended_ns = k->actual_ns = now;
    line_join(&c->deadlines, k, now);
    if (c->options->closed && report_in_window(c->report, now))
        report_at(c->report, now)->attempted++;
    send_request(c, k, now);
}

static void count_reply(struct client *c, const struct session *k, uint64_t now)
{
    struct report *r = c->report;
    const struct reply *reply = &k->reply;
    if (!report_in_window(r, now))
        return;
    r->replies++;
    report_at(r, now)->replies++;
    histogram_record(&r->latency_httperf, now - k->actual_ns);
    if (k->intended_ns >= r->begin_ns)
        report_answered(r, k->file, now - k->intended_ns);
    if (reply->status != 200) {
        r->replies_not_200++;
        return;
    }
    bool short_or_long = reply->body_bytes != k->file->bytes;
    r->lengths_mismatched += short_or_long;
    if (reply->verify) {
        r->bodies_verified++;
        r->bodies_mismatched += short_or_long || reply->crc32 != k->file->crc32;
    }
}

/* The reply is complete. server_closed: the server's FIN has come, too. */
static void reply_complete(struct client *c, struct session *k, bool server_closed, uint64_t now)
{
    count_reply(c, k, now);
    server_closed |= !k->reply.keep_alive && k->requests_left > 0; /* it said that it is going to */
    if (k->requests_left == 0) {
        COUNT(c, now, connections_completed);
        if (server_closed || c->options->close_by == CLOSE_BY_CLIENT)
            end_orderly(c, k, now);
        else if (c->options->close_by == CLOSE_BY_SERVER && !k->reply.keep_alive)
            k->state = WAITING_FOR_FIN; /* still in line: bounded by the request's time-out */
        else
            end_by_reset(c, k, false, now);
    } else if (server_closed) {
        if (c->options->closed) { /* the server's right (keepalive_requests and the like): connect anew */
            COUNT(c, now, connections_completed);
        } else { /* the schedule counted on the requests that now are not made */
            COUNT(c, now, connections_failed_other);
            if (report_in_window(c->report, now))
                c->extra->sessions_cut++;
        }
        end_by_reset(c, k, false, now);
    } else if (c->options->closed) {
        k->state = THINKING; /* for --think-us, or until the next turn of the loop */
        line_join(&c->thinking, k, now);
    } else {
        session_next_request(c, k, now);
    }
}

/* Read until the socket is empty, as edge-triggered readiness demands; a short read says that it is (epoll(7)).
 * Returns the time. */
static uint64_t receive(struct client *c, struct session *k, bool server_closing)
{
    for (;;) {
        uint64_t remaining = k->reply.verify ? 0 : reply_remaining(&k->reply);
        bool discard = remaining > 0; /* unverified bodies are not worth a copy */
        size_t wanted = !discard ? RECEIVE_BYTES : remaining < DISCARD_BYTES ? (size_t)remaining : DISCARD_BYTES;
        ssize_t n = discard ? tp_discard(k->socket, wanted) : tp_recv(k->socket, c->buffer, wanted);
        uint64_t now = monotonic_ns();
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN)
                fail(c, k, errno, now);
            return now;
        }
        if (n == 0) {
            reply_end(&k->reply);
            if (k->reply.state == REPLY_COMPLETE)
                reply_complete(c, k, true, now);
            else
                fail(c, k, ECONNRESET, now); /* closed before the reply was complete */
            return now;
        }
        if (report_in_window(c->report, now))
            c->report->bytes_received += (uint64_t)n;
        size_t used = (size_t)n;
        if (discard)
            reply_skip(&k->reply, (uint64_t)n);
        else
            used = reply_feed(&k->reply, c->buffer, (size_t)n);
        bool drained = (size_t)n < wanted;
        if (k->reply.state == REPLY_MALFORMED || used < (size_t)n) { /* or more than one reply to one request */
            fail(c, k, EPROTO, now);
            return now;
        }
        if (k->reply.state == REPLY_COMPLETE) {
            /* With the socket drained, a FIN announced in the same event is all that is left. */
            reply_complete(c, k, server_closing && drained, now);
            return now;
        }
        if (drained && !server_closing)
            return now;
    }
}

/* Returns the time of the event: the clock is read after a recv, whose cost belongs to the latency, else at once. */
uint64_t session_handle(struct client *c, struct session *k, uint32_t events)
{
    bool gone = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (k->state == AWAITING && k->sent == k->file->request_bytes[k->kind]) /* the usual case first */
        return gone || (events & EPOLLIN) ? receive(c, k, gone) : monotonic_ns();

    uint64_t now = monotonic_ns();
    switch ((enum session_state)k->state) {
    case CONNECTING:
        if (events & (EPOLLERR | EPOLLHUP)) {
            int error = tp_connect_result(k->socket);
            fail(c, k, error ? error : ECONNRESET, now);
            return now;
        }
        if (!(events & EPOLLOUT))
            return now;
        if (report_in_window(c->report, now)) {
            c->report->connections_opened++;
            histogram_record(&c->report->connect, now - k->actual_ns);
        }
        k->state = AWAITING;
        /* fall through */
    case AWAITING:
        if ((events & EPOLLOUT) && !send_request(c, k, now))
            return now;
        if (gone || (events & EPOLLIN)) /* an edge already reported will not come again */
            return receive(c, k, gone);
        break;
    case WAITING_FOR_FIN:
        if (gone)
            end_orderly(c, k, now);
        break;
    case THINKING:
        if (gone) { /* closed between two requests: the server's right */
            COUNT(c, now, connections_completed);
            end_orderly(c, k, now);
        }
        break;
    case RETRYING: /* has no socket, hence no events */
        break;
    }
    return now;
}

void session_time_out(struct client *c, struct session *k, uint64_t now)
{
    struct report *r = c->report;
    if (k->state == WAITING_FOR_FIN) { /* everything came but the FIN */
        end_by_reset(c, k, false, now);
        return;
    }
    if (report_in_window(r, now)) {
        r->connections_timed_out++;
        r->replies_timed_out++;
        report_at(r, now)->timed_out++;
        if (k->intended_ns >= r->begin_ns)
            report_timed_out(r, k->file, now - k->intended_ns);
    }
    end_by_reset(c, k, false, now);
}
