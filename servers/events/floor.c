/* floor.c: the least that these system calls allow.
 *
 * The loop of epoll.c, but a request is whatever ends in an empty line and the reply is always the same bytes: no
 * parsing, no files, no time-outs. What another design costs beyond this is what it does for its users.
 */
#include "counters.h"
#include "bounds.h"
#include "listening.h"
#include "phases.h"
#include "process.h"
#include "work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct connection {
    bool wants_write;
    uint8_t matched; /* bytes of "\r\n\r\n" seen at the end of the input so far */
    size_t owed;     /* bytes of replies not yet sent */
};

struct loop {
    struct options options;
    struct listening listening;
    struct phases phases;
    struct loop_clock clock;
    struct work work;
    int set;
    bool accepting; /* the listener is in the set */
    struct epoll_event *events;
    int capacity;
    struct connection *connections; /* by descriptor */
    char *reply;
    size_t reply_bytes;
    char input[INPUT_BYTES];
};

static bool watch(struct loop *loop, int operation, int socket, uint32_t interest)
{
    struct epoll_event event = {.events = interest, .data.fd = socket};
    return tp_epoll_ctl(loop->set, operation, socket, &event) == 0;
}

static int getevents(struct loop *loop, int timeout_ms)
{
    timeout_ms = getevents_begins(&loop->phases, timeout_ms);
    int ready = tp_epoll_wait(loop->set, loop->events, loop->capacity, timeout_ms);
    if (ready < 0 && errno != EINTR)
        process_fail(&loop->options, "wait for events");
    getevents_ends(&loop->phases, ready);
    return ready;
}

static void end(int socket)
{
    tp_close(socket); /* leaves the set by itself */
    count(closes);
    counter_value(connections_open)--;
}

static void accept_phase(struct loop *loop)
{
    uint64_t accepted = 0;
    while (accepted < loop->options.accept_limit) {
        int socket = listening_accept(&loop->listening, loop->clock.now_ms);
        if (socket < 0)
            break;
        loop->connections[socket] = (struct connection){0};
        if (++counter_value(connections_open) > counter_value(connections_peak))
            counter_value(connections_peak) = counter_value(connections_open);
        accepted++;
        if (!watch(loop, EPOLL_CTL_ADD, socket, EPOLLIN)) {
            end(socket);
            listening_pause(&loop->listening, loop->clock.now_ms);
        }
    }
    count(accept_phases);
    if (accepted == 0)
        count(accept_phases_empty);
    phase_ends(&loop->phases, COUNTER_accept_ns);
}

/* How many requests end in these bytes. */
static size_t requests_in(struct connection *connection, const char *bytes, size_t length)
{
    static const char end_of_request[] = "\r\n\r\n";
    size_t requests = 0;
    if (connection->matched == 0 && length >= 4 && memcmp(bytes + length - 4, end_of_request, 4) == 0 &&
        memchr(bytes, '\n', length - 4) != NULL && memmem(bytes, length - 1, end_of_request, 4) == NULL)
        return 1; /* the usual case: exactly one request, whole */
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == end_of_request[connection->matched])
            connection->matched++;
        else
            connection->matched = bytes[i] == '\r';
        if (connection->matched == 4) {
            requests++;
            connection->matched = 0;
        }
    }
    return requests;
}

/* Send what is owed; false if the connection is over. */
static bool reply(struct loop *loop, int socket, struct connection *connection)
{
    while (connection->owed > 0) {
        size_t left = (connection->owed - 1) % loop->reply_bytes + 1; /* of the reply in progress */
        ssize_t sent = tp_send(socket, loop->reply + loop->reply_bytes - left, left);
        if (sent < 0) {
            if (errno != EAGAIN)
                return false;
            if (!connection->wants_write)
                watch(loop, EPOLL_CTL_MOD, socket, EPOLLOUT);
            connection->wants_write = true;
            return true;
        }
        count_by(bytes_sent, sent);
        connection->owed -= (size_t)sent;
        if ((size_t)sent == left)
            count(replies);
    }
    if (connection->wants_write)
        watch(loop, EPOLL_CTL_MOD, socket, EPOLLIN);
    connection->wants_write = false;
    return !loop->options.close_after_reply;
}

static void serve(struct loop *loop, int socket)
{
    struct connection *connection = &loop->connections[socket];
    if (connection->owed == 0) {
        ssize_t received = tp_recv(socket, loop->input, sizeof loop->input);
        if (received < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (received <= 0) {
            end(socket);
            return;
        }
        count_by(bytes_received, received);
        size_t requests = requests_in(connection, loop->input, (size_t)received);
        if (requests == 0)
            return;
        if (loop->options.close_after_reply)
            requests = 1;
        count_by(requests, requests);
        work_burn(&loop->work, loop->options.work_us * requests);
        connection->owed = requests * loop->reply_bytes;
    }
    if (!reply(loop, socket, connection))
        end(socket);
}

static void work_phase(struct loop *loop, int ready)
{
    int served = 0;
    for (int i = 0; i < ready; i++) {
        int socket = loop->events[i].data.fd;
        if (socket == loop->listening.socket)
            continue;
        serve(loop, socket);
        served++;
    }
    if (served > 0)
        count(work_phases);
    count_by(work_items, served);
    phase_ends(&loop->phases, COUNTER_work_ns);
}

static bool listener_ready(const struct loop *loop, int ready)
{
    for (int i = 0; i < ready; i++)
        if (loop->events[i].data.fd == loop->listening.socket)
            return true;
    return false;
}

static void watch_listener(struct loop *loop)
{
    bool wanted = listening_wanted(&loop->listening, loop->clock.now_ms);
    if (wanted != loop->accepting)
        watch(loop, EPOLL_CTL_MOD, loop->listening.socket, wanted ? EPOLLIN : 0);
    loop->accepting = wanted;
}

static void can_reply(struct loop *loop)
{
    char head[256];
    loop_clock_update(&loop->clock);
    int bytes = snprintf(head, sizeof head,
                         "HTTP/1.1 200 OK\r\nServer: nai\r\nDate: %s\r\nContent-Type: application/octet-stream\r\n"
                         "Content-Length: %llu\r\nLast-Modified: %s\r\nConnection: %s\r\n\r\n",
                         loop->clock.date, (unsigned long long)loop->options.floor_bytes, loop->clock.date,
                         loop->options.close_after_reply ? "close" : "keep-alive");
    loop->reply_bytes = (size_t)bytes + loop->options.floor_bytes;
    loop->reply = malloc(loop->reply_bytes);
    if (loop->reply == NULL)
        process_fail(&loop->options, "make the reply");
    memcpy(loop->reply, head, (size_t)bytes);
    memset(loop->reply + bytes, 'x', loop->options.floor_bytes);
}

int main(int argc, char **argv)
{
    static struct loop loop;
    int status = options_parse(&loop.options, "floor", OPTIONS_FLOOR, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (loop.options.work_us > 0)
        work_calibrate(&loop.work);
    can_reply(&loop);

    uint64_t descriptors = loop.options.max_connections + DESCRIPTORS_OWN + DESCRIPTORS_INHERITED;
    loop.capacity = (int)descriptors;
    loop.events = calloc(descriptors, sizeof *loop.events);
    loop.connections = calloc(descriptors, sizeof *loop.connections);
    loop.set = tp_epoll_create();
    if (listening_start(&loop.listening, &loop.options, descriptors - 1) != 0)
        process_fail(&loop.options, "listen");
    if (loop.events == NULL || loop.connections == NULL || loop.set < 0 ||
        !watch(&loop, EPOLL_CTL_ADD, loop.listening.socket, 0))
        process_fail(&loop.options, "make the interest set");
    process_announce(loop.listening.socket);

    phases_start(&loop.phases);
    while (!process_stopping()) {
        loop_clock_update(&loop.clock);
        watch_listener(&loop);
        int ready = getevents(&loop, loop.accepting ? GETEVENTS_MS : ACCEPT_PAUSE_MS);
        if (listener_ready(&loop, ready))
            accept_phase(&loop);
        work_phase(&loop, ready);
    }
    return 0;
}
