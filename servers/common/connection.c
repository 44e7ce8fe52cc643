/* connection.c: read, parse, reply; across partial reads and writes. */
#include "connection.h"

#include "counters.h"
#include "http.h"
#include "service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum progress { DONE, BLOCKED, BROKEN, OPENING };
enum sending { AT_ONCE, BY_DESIGN }; /* readiness or completion style */

static void start_timeout(struct service *service, struct connection *connection, enum timeout_class class)
{
    timeout_start(&service->timeouts, &connection->timeout, class, service->clock.now_ms);
}

void connection_open(struct service *service, int socket)
{
    struct connection *connection = &service->connections[socket];
    *connection = (struct connection){.socket = socket};
    start_timeout(service, connection, TIMEOUT_HEADER);
    if (++counter_value(connections_open) > counter_value(connections_peak))
        counter_value(connections_peak) = counter_value(connections_open);
}

bool connection_is_open(const struct connection *connection)
{
    return connection->timeout.next != NULL;
}

static void end_reply(struct connection *connection)
{
    if (connection->file != NULL)
        file_unpin(connection->file);
    free(connection->head);
    connection->file = NULL;
    connection->head = NULL;
    connection->head_bytes = connection->head_sent = 0;
    connection->replying = false;
}

void connection_close(struct connection *connection)
{
    timeout_stop(&connection->timeout);
    end_reply(connection);
    free(connection->held);
    connection->held = NULL;
    tp_close(connection->socket);
    count(closes);
    counter_value(connections_open)--;
}

static enum connection_wish vanished(void)
{
    count(vanished);
    return CONNECTION_ENDED;
}

/* Sending */

bool connection_output(const struct connection *connection, struct connection_output *output)
{
    const struct file *file = connection->file;
    size_t head_left = connection->head_bytes - connection->head_sent;
    size_t file_left = file == NULL ? 0 : file->size - (size_t)connection->file_sent;
    *output = (struct connection_output){.file = -1};
    if (head_left > 0)
        output->parts[output->count++] = (struct iovec){connection->head + connection->head_sent, head_left};
    if (file_left > 0 && file->bytes != NULL) {
        output->parts[output->count++] = (struct iovec){file->bytes + connection->file_sent, file_left};
    } else if (file_left > 0) {
        output->more_follows = true;
        output->file = file->descriptor;
        output->offset = connection->file_sent;
        output->file_bytes = file_left;
    }
    return head_left + file_left > 0;
}

static void advance(struct connection *connection, size_t sent)
{
    size_t head_left = connection->head_bytes - connection->head_sent;
    size_t of_head = sent < head_left ? sent : head_left;
    connection->head_sent += of_head;
    connection->file_sent += (off_t)(sent - of_head);
    count_by(bytes_sent, sent);
}

/* Send what is left of the head and the file, a small file in one call with its head, so in one packet. */
static enum progress send_reply(struct connection *connection)
{
    struct connection_output output;
    while (connection_output(connection, &output)) {
        ssize_t sent;
        if (output.count > 0) {
            sent = tp_sendv(connection->socket, output.parts, output.count, output.more_follows);
        } else {
            sent = tp_sendfile(connection->socket, output.file, &output.offset, output.file_bytes);
            if (sent == 0)
                return BROKEN; /* the file was cut short: its Content-Length cannot be kept */
        }
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? BLOCKED : BROKEN;
        advance(connection, (size_t)sent);
    }
    return DONE;
}

/* Send a new reply. Its head is the caller's, and is copied if it does not go out at once. */
static enum progress start_reply(struct connection *connection, char *head, size_t head_bytes, enum sending sending)
{
    connection->head = head;
    connection->head_bytes = head_bytes;
    connection->head_sent = 0;
    connection->file_sent = 0;
    enum progress progress = sending == AT_ONCE ? send_reply(connection) : BLOCKED;
    connection->head = NULL;
    if (progress == BLOCKED) {
        connection->replying = true;
        connection->head = malloc(head_bytes);
        if (connection->head == NULL)
            return BROKEN;
        memcpy(connection->head, head, head_bytes);
        return BLOCKED;
    }
    if (progress == DONE)
        count(replies);
    end_reply(connection);
    return progress;
}

/* Composing */

static char *put(char *to, const char *bytes, size_t length)
{
    memcpy(to, bytes, length);
    return to + length;
}
#define PUT(to, text) put(to, text, sizeof(text) - 1)

static char *put_head(char *to, const struct service *service, const struct connection *connection, int status,
                      const struct http_request *request)
{
    if (status == 200) {
        to = PUT(to, "HTTP/1.1 200 OK\r\nServer: nai\r\nDate: ");
    } else {
        to = PUT(to, "HTTP/1.1 ");
        to = put(to, http_reason(status), strlen(http_reason(status)));
        to = PUT(to, "\r\nServer: nai\r\nDate: ");
    }
    to = put(to, service->clock.date, HTTP_DATE_BYTES);
    if (connection->close_after)
        to = PUT(to, "\r\nConnection: close\r\n");
    else if (request->minor_version == 0)
        to = PUT(to, "\r\nConnection: keep-alive\r\n"); /* HTTP/1.0 needs to be told */
    else
        to = PUT(to, "\r\n");
    return to;
}

/* The head, and the body of what is no file. */
static size_t compose(char *head, const struct service *service, const struct connection *connection, int status,
                      const struct http_request *request, const struct file *file)
{
    char *to = put_head(head, service, connection, status, request);
    if (status == 200)
        to = put(to, file->fields, (size_t)file->fields_bytes);
    else if (status == 304)
        to = put(to, file->fields + file->modified_at, (size_t)(file->fields_bytes - file->modified_at));
    if (status < 400) {
        to = PUT(to, "\r\n");
        return (size_t)(to - head);
    }
    const char *reason = http_reason(status);
    if (status == 405)
        to = PUT(to, "Allow: GET, HEAD\r\n");
    to += sprintf(to, "Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", strlen(reason) + 1);
    if (request->method != HTTP_HEAD)
        to += sprintf(to, "%s\n", reason);
    return (size_t)(to - head);
}

/* A handler works, or waits for something else than the CPU. Where others are served meanwhile (threads), its time is
 * the reply's, and no longer a part of the request's or an idle client's. */
static void spend(struct service *service, struct connection *connection, uint64_t us, bool sleeps)
{
    if (us == 0)
        return;
    if (service->spend != NULL) {
        start_timeout(service, connection, TIMEOUT_SEND);
        service->spend(service, connection, us, sleeps);
    } else if (sleeps) {
        work_sleep(us);
    } else {
        work_burn(&service->work, us);
    }
}

/* The status for a well-formed request, and its file for 200. */
static int resolve(struct service *service, struct connection *connection, const struct http_request *request,
                   struct file **file)
{
    spend(service, connection, service->options->work_us, false);
    const char *path = service->path;
    int bytes = http_path(request->target, request->target_bytes, service->path);
    if (bytes < 0)
        return -bytes;
    if (bytes > 5 && memcmp(path, "slow/", 5) == 0) {
        spend(service, connection, service->options->slow_us, service->options->slow_sleeps);
        http_path(request->target, request->target_bytes, service->path); /* others may have used it meanwhile */
        path += 5;
        bytes -= 5;
    }
    int status = 200;
    if (service->opens_files) {
        *file = files_lookup(&service->files, path, (size_t)bytes, service->clock.now_ms);
        return *file != NULL ? 200 : 503;
    }
    *file = files_open(&service->files, path, (size_t)bytes, service->clock.now_ms, &status);
    return status;
}

/* Begin the reply to a request; its file, for 200, is given up with it. */
static enum progress reply(struct service *service, struct connection *connection, int status,
                           const struct http_request *request, struct file *file, enum sending sending)
{
    if (file != NULL && request->if_modified_since >= file->modified)
        status = 304;
    if (status >= 500)
        count(replies_5xx);
    else if (status >= 400)
        count(replies_4xx);

    char head[REPLY_HEAD_BYTES];
    size_t head_bytes = compose(head, service, connection, status, request, file);
    if (file != NULL && (status != 200 || request->method == HTTP_HEAD)) {
        file_unpin(file);
        file = NULL;
    }
    connection->file = file;
    return start_reply(connection, head, head_bytes, sending);
}

/* Answer one request; parsed is what http_parse() returned for it. */
static enum progress answer(struct service *service, struct connection *connection, int parsed,
                            const struct http_request *request, enum sending sending)
{
    struct file *file = NULL;
    int status = request->status;
    if (parsed > 0) {
        count(requests);
        status = resolve(service, connection, request, &file);
    }
    bool has_body = parsed > 0 && request->body_bytes > 0;
    connection->body_bytes = has_body ? request->body_bytes : 0;
    /* After a refusal, or without the 100 it waits for (RFC 9110, section 10.1.1), what the client sends next may or may
     * not be a request. */
    bool lost = parsed < 0 || (has_body && request->expects_continue);
    connection->close_after = lost || !request->keep_alive || service->draining;
    connection->linger_after = lost || has_body;
    if (file == NULL || file_is_open(file))
        return reply(service, connection, status, request, file, sending);
    connection->file = file;
    connection->request = *request;
    connection->replying = true;
    return OPENING;
}

/* Visiting */

/* Keep the input that is not used yet: all of held, the last bytes of it, or bytes that lie elsewhere. */
static bool hold(struct connection *connection, const char *bytes, size_t length, bool from_held)
{
    if (length == 0) {
        free(connection->held);
        connection->held = NULL;
    } else if (from_held) { /* left where they are, for there may be many requests, and moving them all for each is dear */
        connection->held_used += connection->held_bytes - length;
        connection->held_bytes = length;
        return true;
    } else {
        char *held = realloc(connection->held, length);
        if (held == NULL)
            return false;
        connection->held = memcpy(held, bytes, length);
    }
    connection->held_used = 0;
    connection->held_bytes = length;
    return true;
}

/* After the last reply. To close while input is unread, or yet to come, would reset the connection and might destroy the
 * reply on its way; so only the sending side is closed first (RFC 9112, section 9.6). */
static enum connection_wish last_reply_sent(struct service *service, struct connection *connection)
{
    if (connection->input_ended || !connection->linger_after)
        return CONNECTION_ENDED;
    hold(connection, NULL, 0, false);
    tp_shutdown_write(connection->socket);
    connection->lingering = true;
    start_timeout(service, connection, TIMEOUT_LINGER);
    return CONNECTION_READS;
}

static enum connection_wish linger(const struct connection *connection)
{
    ssize_t discarded = tp_discard(connection->socket, DISCARD_BYTES);
    return discarded > 0 || (discarded < 0 && (errno == EAGAIN || errno == EINTR)) ? CONNECTION_READS
                                                                                   : CONNECTION_ENDED;
}

static enum connection_wish client_ended(const struct connection *connection)
{
    return connection->held_bytes > 0 || connection->body_bytes > 0 ? vanished() : CONNECTION_ENDED;
}

/* Answer the requests in these bytes, one after another. */
static enum connection_wish use_input(struct service *service, struct connection *connection, const char *at,
                                      size_t length, enum sending sending)
{
    const char *end = at + length;
    const bool from_held = connection->held != NULL && at == connection->held + connection->held_used;
    bool answered = false;
    while (at < end) {
        if (connection->body_bytes > 0) {
            size_t ignored = (size_t)(end - at) < connection->body_bytes ? (size_t)(end - at) : connection->body_bytes;
            connection->body_bytes -= ignored;
            at += ignored;
            continue;
        }
        struct http_request request;
        int parsed = http_parse(at, (size_t)(end - at), &request);
        if (parsed == HTTP_PARTIAL)
            break;
        at = parsed > 0 ? at + parsed : end;
        answered = true;
        enum progress progress = answer(service, connection, parsed, &request, sending);
        connection->linger_after |= at < end;
        if (progress == BROKEN || (progress != DONE && !hold(connection, at, (size_t)(end - at), from_held)))
            return vanished();
        if (progress != DONE) {
            start_timeout(service, connection, TIMEOUT_SEND);
            return progress == OPENING ? CONNECTION_OPENS : CONNECTION_WRITES;
        }
        if (connection->close_after)
            return last_reply_sent(service, connection);
    }
    if (!hold(connection, at, (size_t)(end - at), from_held))
        return vanished();
    if (connection->input_ended)
        return client_ended(connection);
    if (at == end && connection->body_bytes == 0)
        start_timeout(service, connection, TIMEOUT_IDLE);
    else if (answered || connection->timeout.class != TIMEOUT_HEADER)
        start_timeout(service, connection, TIMEOUT_HEADER); /* from the first byte; the next ones do not renew it */
    return CONNECTION_READS;
}

static enum connection_wish use_held(struct service *service, struct connection *connection, enum sending sending)
{
    const char *held = connection->held_bytes > 0 ? connection->held + connection->held_used : "";
    return use_input(service, connection, held, connection->held_bytes, sending);
}

/* The requests that came behind a reply; only when they are answered is more read. */
static enum connection_wish reply_sent(struct service *service, struct connection *connection, enum sending sending)
{
    count(replies);
    end_reply(connection);
    connection->linger_after |= connection->held_bytes > 0;
    return connection->close_after ? last_reply_sent(service, connection) : use_held(service, connection, sending);
}

static enum connection_wish go_on_replying(struct service *service, struct connection *connection)
{
    uint64_t sent_before = counter_value(bytes_sent);
    switch (send_reply(connection)) {
    case BROKEN:
        return vanished();
    case BLOCKED:
        if (counter_value(bytes_sent) != sent_before)
            start_timeout(service, connection, TIMEOUT_SEND);
        return CONNECTION_WRITES;
    case OPENING: /* which is over by now */
    case DONE:
        break;
    }
    return reply_sent(service, connection, AT_ONCE);
}

enum connection_wish connection_serve(struct service *service, struct connection *connection)
{
    if (connection->lingering)
        return linger(connection);
    if (connection->replying)
        return go_on_replying(service, connection);

    size_t held = connection->held_bytes;
    ssize_t received = tp_recv(connection->socket, service->input + held, sizeof service->input - held);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return CONNECTION_READS;
    if (received <= 0)
        return client_ended(connection);
    count_by(bytes_received, received);
    if (held > 0)
        memcpy(service->input, connection->held + connection->held_used, held);
    return use_input(service, connection, service->input, held + (size_t)received, AT_ONCE);
}

/* Completion style */

static bool append(struct connection *connection, const char *bytes, size_t length)
{
    if (length == 0)
        return true;
    if (connection->held_used > 0)
        memmove(connection->held, connection->held + connection->held_used, connection->held_bytes);
    connection->held_used = 0;
    char *held = realloc(connection->held, connection->held_bytes + length);
    if (held == NULL)
        return false;
    memcpy(held + connection->held_bytes, bytes, length);
    connection->held = held;
    connection->held_bytes += length;
    return true;
}

enum connection_wish connection_receive(struct service *service, struct connection *connection, const char *bytes,
                                        size_t length)
{
    if (connection->lingering)
        return length > 0 ? CONNECTION_READS : CONNECTION_ENDED;
    count_by(bytes_received, length);
    if (connection->replying) { /* who ended the sending side alone still gets the reply */
        connection->input_ended |= length == 0;
        return append(connection, bytes, length) ? CONNECTION_WRITES : vanished();
    }
    if (length == 0)
        return client_ended(connection);
    if (connection->held_bytes == 0)
        return use_input(service, connection, bytes, length, BY_DESIGN);
    return append(connection, bytes, length) ? use_held(service, connection, BY_DESIGN) : vanished();
}

enum connection_wish connection_opened(struct service *service, struct connection *connection, long result)
{
    int status = 200;
    struct file *file = files_opened(&service->files, connection->file, result, service->clock.now_ms, &status);
    connection->close_after |= service->draining;
    start_timeout(service, connection, TIMEOUT_SEND);
    return reply(service, connection, status, &connection->request, file, BY_DESIGN) == BLOCKED ? CONNECTION_WRITES
                                                                                                : vanished();
}

enum connection_wish connection_sent(struct service *service, struct connection *connection, ssize_t sent)
{
    struct connection_output output;
    if (sent <= 0)
        return vanished();
    advance(connection, (size_t)sent);
    if (!connection_output(connection, &output))
        return reply_sent(service, connection, BY_DESIGN);
    start_timeout(service, connection, TIMEOUT_SEND);
    return CONNECTION_WRITES;
}

enum connection_wish connection_failed(struct service *service, struct connection *connection)
{
    if (connection->head_sent > 0)
        return vanished();
    char head[REPLY_HEAD_BYTES];
    struct http_request request = {.method = HTTP_GET};
    connection->close_after = true;
    size_t head_bytes = compose(head, service, connection, 500, &request, NULL);
    file_unpin(connection->file);
    free(connection->head);
    connection->file = NULL;
    connection->head = malloc(head_bytes);
    if (connection->head == NULL)
        return vanished();
    memcpy(connection->head, head, head_bytes);
    connection->head_bytes = head_bytes;
    count(replies_5xx);
    return CONNECTION_WRITES;
}

void connection_leave(struct service *service, struct connection *connection)
{
    start_timeout(service, connection, TIMEOUT_LINGER);
}

bool connection_is_left(const struct connection *connection)
{
    return connection->timeout.class == TIMEOUT_LINGER && !connection->lingering;
}

/* Time-outs */

/* Tell a client that sent half a request why it is left; if the reply does not go out at once, it does not. */
static void send_request_timeout(struct service *service, struct connection *connection)
{
    char head[REPLY_HEAD_BYTES];
    struct http_request request = {.method = HTTP_OTHER};
    connection->close_after = true;
    tp_send(connection->socket, head, compose(head, service, connection, 408, &request, NULL));
    count(replies_4xx);
}

struct connection *connection_timed_out(struct service *service)
{
    struct timeout *timeout = timeouts_expired(&service->timeouts, service->clock.now_ms);
    if (timeout != NULL) {
        struct connection *connection = (struct connection *)timeout;
        if (timeout->class != TIMEOUT_LINGER)
            count(timeouts);
        if (timeout->class == TIMEOUT_HEADER && connection->held_bytes > 0)
            send_request_timeout(service, connection);
        return connection;
    }
    return service->draining ? (struct connection *)timeouts_first(&service->timeouts, TIMEOUT_IDLE) : NULL;
}
