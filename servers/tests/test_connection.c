/* test_connection.c: one connection over loopback TCP, fed in every split, left by its client at every byte, and blocked
 * at many places of its replies; in each style of connection.h. */
#include "check.h"
#include "counters.h"
#include "fixture.h"
#include "service.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define H "Host: a\r\n"
#define OUTPUT_BYTES (4 << 20)

static struct service service;
static struct options options;

/* Who calls the transport: connection_serve(), or the test between connection_receive() and connection_sent(). EAGER
 * receives on while a reply is under way, as an armed receive of io_uring does. OPENING opens the files, too. */
static enum style { READINESS, COMPLETION, EAGER, OPENING, STYLES } style;

/* A client at the far end of a connection that the test serves itself. */
struct talk {
    int client;
    struct connection *connection;
    enum connection_wish wish;
    char *output; /* what the client received */
    size_t output_bytes;
    bool ended;  /* connection_close() was called */
    bool closed; /* the client saw the end of the replies */
};

static void begin(struct talk *talk)
{
    int server;
    memset(talk, 0, sizeof *talk);
    fixture_connection(&server, &talk->client);
    connection_open(&service, server);
    talk->connection = &service.connections[server];
    static char outputs[3][OUTPUT_BYTES]; /* no test needs more at a time */
    static unsigned begun;
    talk->output = outputs[begun++ % 3];
}

static bool server_ready(const struct talk *talk, int wait_ms)
{
    struct pollfd one = {.fd = talk->connection->socket,
                         .events = talk->wish == CONNECTION_WRITES ? POLLOUT : POLLIN};
    return poll(&one, 1, wait_ms) == 1;
}

/* Returns false if nothing had arrived. */
static bool hand_over_input(struct talk *talk)
{
    char *bytes = malloc(1000); /* freed at once: nobody may go on using it */
    NEED(bytes != NULL);
    ssize_t got = tp_recv(talk->connection->socket, bytes, 1000);
    bool arrived = got >= 0 || errno != EAGAIN;
    if (arrived)
        talk->wish = connection_receive(&service, talk->connection, bytes, got > 0 ? (size_t)got : 0);
    free(bytes);
    return arrived;
}

static ssize_t send_some(int socket, struct connection_output *output)
{
    if (output->count > 0)
        return tp_sendv(socket, output->parts, output->count, output->more_follows);
    return tp_sendfile(socket, output->file, &output->offset, output->file_bytes);
}

/* Send until nothing is left; false if the socket takes no more. */
static bool send_output(struct talk *talk)
{
    struct connection_output output;
    while (talk->wish == CONNECTION_WRITES) {
        CHECK(connection_output(talk->connection, &output), "nothing to write");
        ssize_t sent = send_some(talk->connection->socket, &output);
        if (sent < 0 && errno == EAGAIN)
            return false;
        talk->wish = connection_sent(&service, talk->connection, sent);
    }
    return true;
}

static void serve_completions(struct talk *talk)
{
    if (talk->wish == CONNECTION_READS)
        hand_over_input(talk);
    while (talk->wish == CONNECTION_WRITES || talk->wish == CONNECTION_OPENS) {
        if (talk->wish == CONNECTION_OPENS)
            talk->wish = connection_opened(&service, talk->connection,
                                           file_open(&service.files, talk->connection->file));
        if (style == EAGER)
            while (talk->wish != CONNECTION_ENDED && !talk->connection->input_ended && hand_over_input(talk)) {
            }
        if (!send_output(talk))
            break;
    }
    CHECK(talk->wish == CONNECTION_WRITES || talk->wish == CONNECTION_ENDED ||
              !connection_output(talk->connection, &(struct connection_output){0}), "reads while a reply is left");
}

static void serve(struct talk *talk)
{
    if (style == READINESS)
        talk->wish = connection_serve(&service, talk->connection);
    else
        serve_completions(talk);
    if (talk->wish == CONNECTION_ENDED) {
        connection_close(talk->connection);
        talk->ended = true;
    }
}

/* At most this many bytes into the client; 0 if there are none. */
static size_t receive(struct talk *talk, size_t most)
{
    NEED(talk->output_bytes + most <= OUTPUT_BYTES);
    ssize_t got = recv(talk->client, talk->output + talk->output_bytes, most, MSG_DONTWAIT);
    if (got == 0)
        talk->closed = true;
    if (got <= 0)
        return 0;
    talk->output_bytes += (size_t)got;
    return (size_t)got;
}

/* Serve until nothing moves any more, the client reading at most step bytes at a time. */
static void settle(struct talk *talk, size_t step)
{
    for (int quiet = 0; quiet < 2;) {
        bool moved = false;
        if (!talk->ended && server_ready(talk, quiet > 0 ? 2 : 0)) {
            serve(talk);
            moved = true;
        }
        moved |= receive(talk, step) > 0;
        quiet = moved ? 0 : quiet + 1;
    }
}

/* The same until the client saw the end; a full window may need TCP's persist timer to open again. */
static void settle_until_closed(struct talk *talk, size_t step)
{
    for (int quiet = 0; !talk->closed && quiet < 5;) {
        size_t before = talk->output_bytes;
        settle(talk, step);
        bool moved = talk->output_bytes > before || talk->closed || fixture_readable(talk->client, 1000);
        quiet = moved ? 0 : quiet + 1;
    }
}

static void say(struct talk *talk, const char *bytes, size_t length)
{
    NEED(send(talk->client, bytes, length, MSG_NOSIGNAL) == (ssize_t)length);
    if (!talk->ended)
        NEED(server_ready(talk, 5000) || talk->wish == CONNECTION_WRITES);
}

static void finish(struct talk *talk)
{
    close(talk->client);
    for (int i = 0; !talk->ended && i < 1000; i++)
        if (server_ready(talk, 100))
            serve(talk);
    CHECK(talk->ended, "the client left and the connection did not end");
    if (!talk->ended)
        connection_close(talk->connection);
}

static int occurrences(const struct talk *talk, const char *text)
{
    int found = 0;
    const char *at = talk->output, *end = at + talk->output_bytes;
    while ((at = memmem(at, (size_t)(end - at), text, strlen(text))) != NULL) {
        found++;
        at++;
    }
    return found;
}

/* Conversations: requests, the statuses of the replies, what the last body must be, whether the server then closes. */
static const struct conversation {
    const char *requests, *statuses, *tail;
    bool closes;
} conversations[] = {
    {"GET /small.txt HTTP/1.1\r\n" H "\r\n", "200", "small\n", false},
    {"GET /small.txt HTTP/1.0\r\n\r\n", "200", "small\n", true},
    {"GET /small.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200", "small\n", false},
    {"GET /small.txt HTTP/1.1\r\n" H "Connection: close\r\n\r\n", "200", "small\n", true},
    {"HEAD /small.txt HTTP/1.1\r\n" H "\r\n", "200", "GMT\r\n\r\n", false},
    {"GET /nothing HTTP/1.1\r\n" H "\r\n", "404", "404 Not Found\n", false},
    {"HEAD /nothing HTTP/1.1\r\n" H "\r\n", "404", "14\r\n\r\n", false},
    {"GET /../x HTTP/1.1\r\n" H "\r\n", "400", "400 Bad Request\n", false},
    {"GET /page/ HTTP/1.1\r\n" H "\r\nGET /slow/small.txt HTTP/1.1\r\n" H "\r\n", "200 200", "small\n", false},
    {"GET /page/ HTTP/1.1\r\n" H "\r\nHEAD / HTTP/1.1\r\n" H "\r\nGET /small.txt HTTP/1.1\r\n" H "\r\n", "200 404 200",
     "small\n", false},
    {"GET /small.txt HTTP/1.1\r\n" H "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT\r\n\r\n", "304", "GMT\r\n\r\n", false},
    {"GET /small.txt HTTP/1.1\r\n" H "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", "200", "small\n", false},
    {"GET /small.txt HTTP/1.1\r\n" H "If-Modified-Since: yesterday\r\n\r\n", "200", "small\n", false},
    {"GET /empty.txt HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nGET GET /small.txt HTTP/1.1\r\n" H "\r\n", "200 200",
     "small\n", false},
    {"GET /small.txt HTTP/1.1\r\n" H "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n", "200", "small\n", true},
    {"GET /small.txt HTTP/1.1\r\n" H "Content-Length: 4\r\nConnection: close\r\n\r\n", "200", "small\n", true},
    {"GET /small.txt HTTP/1.0\r\n\r\nGET /small.txt HTTP/1.0\r\n\r\n", "200", "small\n", true},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nbody", "405", "405 Method Not Allowed\n", true},
    {"HEAD / HTTP/1.1\r\n\r\n", "400", "16\r\n\r\n", true},
    {"BREW / HTTP/1.1\r\n" H "\r\n", "501", "501 Not Implemented\n", true},
    {"GET / HTTP/3.0\r\n" H "\r\n", "505", "505 HTTP Version Not Supported\n", true},
    {"GET /small.txt HTTP/1.1\r\n" H "\r\nnonsense\r\n\r\nGET /small.txt HTTP/1.1\r\n" H "\r\n", "200 400",
     "400 Bad Request\n", true},
};
#define CONVERSATIONS (sizeof conversations / sizeof conversations[0])

static void check_talk(const struct conversation *c, const struct talk *talk, size_t cut)
{
    const char *at = talk->output;
    char statuses[64] = "";
    while ((at = memmem(at, (size_t)(talk->output + talk->output_bytes - at), "HTTP/1.1 ", 9)) != NULL) {
        snprintf(statuses + strlen(statuses), sizeof statuses - strlen(statuses), "%s%.3s", *statuses ? " " : "", at + 9);
        at += 12;
    }
    size_t tail = strlen(c->tail);
    CHECK(strcmp(statuses, c->statuses) == 0, "%s(cut at %zu) → %s", c->requests, cut, statuses);
    CHECK(talk->output_bytes >= tail && memcmp(talk->output + talk->output_bytes - tail, c->tail, tail) == 0,
          "%s(cut at %zu) → %.*s", c->requests, cut, (int)talk->output_bytes, talk->output);
    CHECK(talk->closed == c->closes, "%s(cut at %zu): closed %d", c->requests, cut, talk->closed);
    CHECK((occurrences(talk, "\r\nConnection: close\r\n") == 1) == c->closes, "%s says whether it closes", c->requests);
}

static void check_splits(void)
{
    for (size_t i = 0; i < CONVERSATIONS; i++) {
        const struct conversation *c = &conversations[i];
        size_t length = strlen(c->requests), whole_bytes = 0;
        char *whole = NULL;
        for (size_t cut = 0; cut < length; cut++) {
            struct talk talk;
            begin(&talk);
            if (cut > 0) {
                say(&talk, c->requests, cut);
                serve(&talk);
            }
            if (!talk.ended)
                say(&talk, c->requests + cut, length - cut);
            settle(&talk, OUTPUT_BYTES / 2);
            check_talk(c, &talk, cut);
            if (whole == NULL) {
                whole = malloc(talk.output_bytes);
                NEED(whole != NULL);
                whole_bytes = talk.output_bytes;
                memcpy(whole, talk.output, whole_bytes);
            }
            CHECK(talk.output_bytes == whole_bytes && memcmp(talk.output, whole, whole_bytes) == 0,
                  "%s: other bytes when cut at %zu", c->requests, cut);
            finish(&talk);
        }
        /* One byte at a time; what was refused is not spoken to any more. */
        struct talk talk;
        begin(&talk);
        for (size_t at = 0; at < length && !talk.ended && !talk.connection->lingering; at++) {
            say(&talk, c->requests + at, 1);
            serve(&talk);
        }
        settle(&talk, OUTPUT_BYTES / 2);
        check_talk(c, &talk, 1);
        finish(&talk);
        free(whole);
    }
    CHECK(counter_value(connections_open) == 0, "all closed");
}

/* The client leaves after every byte of what it says, by FIN or by RST; and without reading the reply. */
static void check_vanishing(void)
{
    for (size_t i = 0; i < CONVERSATIONS; i++)
        for (size_t cut = 0; cut <= strlen(conversations[i].requests); cut++)
            for (int reset = 0; reset <= 1; reset++) {
                struct talk talk;
                uint64_t vanished = counter_value(vanished);
                begin(&talk);
                if (cut > 0)
                    say(&talk, conversations[i].requests, cut);
                if (reset)
                    tp_abort(talk.client);
                else
                    close(talk.client);
                for (int visit = 0; !talk.ended && visit < 10; visit++)
                    if (server_ready(&talk, 5000))
                        serve(&talk);
                CHECK(talk.ended, "%s left at %zu", conversations[i].requests, cut);
                if (i == 0 && !reset) {
                    bool midway = cut > 0 && cut < strlen(conversations[i].requests);
                    CHECK(counter_value(vanished) == vanished + midway, "counted at %zu", cut);
                }
                if (!talk.ended)
                    connection_close(talk.connection);
            }
    CHECK(counter_value(connections_open) == 0, "all closed");
}

static void shrink_buffers(const struct talk *talk)
{
    int send_bytes = 8192, receive_bytes = 32768;
    setsockopt(talk->connection->socket, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
    setsockopt(talk->client, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
}

static const struct {
    const char *path;
    size_t bytes;
} large[] = {{"/memory.bin", 30000}, {"/sendfile.bin", 300000}};

/* Pipelined requests whose replies do not fit: every byte arrives, in order. */
static void check_blocked(void)
{
    for (int which = 0; which < 2; which++)
        for (size_t step = 1000; step < 70000; step = step * 3 + 1) {
            struct talk talk;
            char requests[2000] = "";
            const int n = which == 0 ? 8 : 3;
            for (int i = 0; i < n; i++)
                sprintf(requests + strlen(requests), "GET %s HTTP/1.1\r\n" H "\r\n", large[which].path);
            strcat(requests, "GET /small.txt HTTP/1.0\r\n\r\n");
            begin(&talk);
            shrink_buffers(&talk);
            say(&talk, requests, strlen(requests));
            serve(&talk);
            CHECK(talk.wish == CONNECTION_WRITES && talk.connection->held_bytes > 0, "%s blocks", large[which].path);
            CHECK(talk.connection->timeout.class == TIMEOUT_SEND, "time-out of a blocked reply");
            settle_until_closed(&talk, step);
            CHECK(talk.closed && occurrences(&talk, "HTTP/1.1 200 OK") == n + 1, "%d replies to %s",
                  occurrences(&talk, "HTTP/1.1 200 OK"), large[which].path);
            const char *at = talk.output;
            for (int i = 0; i < n; i++) {
                at = memmem(at, (size_t)(talk.output + talk.output_bytes - at), "\r\n\r\n", 4);
                NEED(at != NULL && (size_t)(talk.output + talk.output_bytes - at) > large[which].bytes);
                at += 4;
                size_t wrong = 0;
                for (size_t b = 0; b < large[which].bytes; b++)
                    wrong += at[b] != fixture_byte(b);
                CHECK(wrong == 0, "%s: %zu wrong bytes in reply %d", large[which].path, wrong, i);
                at += large[which].bytes;
            }
            CHECK(talk.output_bytes > 6 && memcmp(talk.output + talk.output_bytes - 6, "small\n", 6) == 0, "the last");
            finish(&talk);
        }
}

/* The client leaves in the middle of a reply, after it has taken some of it. */
static void check_vanishing_midway(void)
{
    for (int which = 0; which < 2; which++)
        for (size_t taken = 0; taken < large[which].bytes; taken += large[which].bytes / 7)
            for (int reset = 0; reset <= 1; reset++) {
                struct talk talk;
                char request[200];
                begin(&talk);
                shrink_buffers(&talk);
                sprintf(request, "GET %s HTTP/1.1\r\n" H "\r\nGET / HTTP", large[which].path);
                say(&talk, request, strlen(request));
                serve(&talk);
                while (talk.output_bytes < taken && !talk.ended) {
                    if (receive(&talk, 1500) == 0 && server_ready(&talk, 5))
                        serve(&talk);
                }
                uint64_t vanished = counter_value(vanished);
                if (reset)
                    tp_abort(talk.client);
                else
                    close(talk.client); /* with unread input: a reset too */
                for (int visit = 0; !talk.ended && visit < 1000; visit++)
                    if (server_ready(&talk, 5000))
                        serve(&talk);
                CHECK(talk.ended && counter_value(vanished) == vanished + 1, "%s left at %zu", large[which].path, taken);
            }
    CHECK(counter_value(connections_open) == 0, "all closed");
}

/* A file that is cut short while it is sent ends the connection: its Content-Length cannot be kept. */
static void check_truncated(void)
{
    static char bytes[600000];
    struct talk talk;
    char path[512];
    fixture_write("shrinks.bin", bytes, sizeof bytes);
    begin(&talk);
    shrink_buffers(&talk);
    const char *request = "GET /shrinks.bin HTTP/1.1\r\n" H "\r\n";
    say(&talk, request, strlen(request));
    serve(&talk);
    snprintf(path, sizeof path, "%s/shrinks.bin", fixture_root());
    NEED(truncate(path, 1000) == 0);
    settle_until_closed(&talk, 100000);
    CHECK(talk.ended, "goes on sending a file that ended");
    if (talk.ended) {
        close(talk.client);
    } else {
        finish(&talk);
    }
}

/* After a refusal the reply survives although the client goes on sending. */
static void check_lingering(void)
{
    static char much[200000];
    struct talk talk;
    begin(&talk);
    say(&talk, "nonsense\r\n\r\n", 12);
    serve(&talk);
    CHECK(talk.connection->lingering && talk.connection->timeout.class == TIMEOUT_LINGER, "lingers");
    for (size_t sent = 0; sent < sizeof much;) {
        ssize_t got = send(talk.client, much + sent, sizeof much - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (got > 0)
            sent += (size_t)got;
        if (server_ready(&talk, 5))
            serve(&talk);
        NEED(!talk.ended);
    }
    settle(&talk, 1000);
    CHECK(talk.closed && occurrences(&talk, "HTTP/1.1 400 Bad Request") == 1, "the refusal arrived");
    finish(&talk);
}

static void check_timeouts(void)
{
    struct talk idle, slow, silent;
    const uint64_t start = service.clock.now_ms, timeouts = counter_value(timeouts);
    const char *request = "GET /small.txt HTTP/1.1\r\n" H "\r\n";
    begin(&idle);
    begin(&slow);
    begin(&silent);
    say(&idle, request, strlen(request));
    serve(&idle);
    say(&slow, request, 10);
    serve(&slow);
    CHECK(connection_timed_out(&service) == NULL, "too early");

    service.clock.now_ms = start + options.header_timeout_ms - 1;
    say(&slow, request + 10, 5); /* progress does not renew it: slowloris */
    serve(&slow);
    CHECK(connection_timed_out(&service) == NULL, "too early");
    service.clock.now_ms = start + options.header_timeout_ms;
    struct connection *late = connection_timed_out(&service);
    CHECK(late == slow.connection, "half a request");
    connection_close(slow.connection);
    settle(&(struct talk){.client = slow.client, .ended = true, .output = slow.output}, 1000);
    CHECK(connection_timed_out(&service) == silent.connection, "no request at all");
    connection_close(silent.connection);
    CHECK(memcmp(slow.output, "HTTP/1.1 408 Request Timeout\r\n", 30) == 0, "told why");
    CHECK(connection_timed_out(&service) == NULL, "idle lasts longer");

    say(&idle, request, 1); /* the first byte of the next request starts the header time-out */
    serve(&idle);
    CHECK(idle.connection->timeout.class == TIMEOUT_HEADER, "header");
    say(&idle, request + 1, strlen(request) - 1);
    serve(&idle);
    CHECK(idle.connection->timeout.class == TIMEOUT_IDLE, "idle");
    service.clock.now_ms += options.idle_timeout_ms;
    CHECK(connection_timed_out(&service) == idle.connection, "idle for too long");
    connection_close(idle.connection);
    CHECK(counter_value(timeouts) == timeouts + 3, "%llu", (unsigned long long)counter_value(timeouts));
    struct talk *all[] = {&idle, &slow, &silent};
    for (int i = 0; i < 3; i++) {
        close(all[i]->client);
    }
    service.clock.now_ms = start;
}

static void check_draining(void)
{
    struct talk idle, busy;
    const char *request = "GET /small.txt HTTP/1.1\r\n" H "\r\n";
    begin(&idle);
    begin(&busy);
    say(&idle, request, strlen(request));
    serve(&idle);
    say(&busy, request, 5);
    serve(&busy);
    service.draining = true;
    CHECK(connection_timed_out(&service) == idle.connection, "an idle one ends at once");
    connection_close(idle.connection);
    CHECK(connection_timed_out(&service) == NULL, "a busy one does not");
    say(&busy, request + 5, strlen(request) - 5);
    serve(&busy);
    settle(&busy, 1000);
    CHECK(busy.ended && occurrences(&busy, "200 OK") == 1 && occurrences(&busy, "Connection: close") == 1, "its last");
    close(idle.client);
    close(busy.client);
    service.draining = false;
}

/* Completion style: who ended only its sending side still gets all replies; and one left for long is named again. */
static void check_half_close(void)
{
    struct talk talk;
    static char requests[4000];
    *requests = '\0';
    for (int i = 0; i < 4; i++)
        strcat(requests, "GET /sendfile.bin HTTP/1.1\r\n" H "\r\n");
    begin(&talk);
    shrink_buffers(&talk);
    say(&talk, requests, strlen(requests));
    NEED(shutdown(talk.client, SHUT_WR) == 0);
    uint64_t vanished = counter_value(vanished);
    settle_until_closed(&talk, 50000);
    CHECK(talk.ended && talk.closed && occurrences(&talk, "HTTP/1.1 200 OK") == 4, "%d replies after a half-close",
          occurrences(&talk, "HTTP/1.1 200 OK"));
    CHECK(counter_value(vanished) == vanished, "it did not vanish");
    close(talk.client);

    begin(&talk);
    const uint64_t start = service.clock.now_ms;
    connection_leave(&service, talk.connection);
    CHECK(connection_timed_out(&service) == NULL, "left, and not late yet");
    service.clock.now_ms += LINGER_MS;
    CHECK(connection_timed_out(&service) == talk.connection, "late at last");
    service.clock.now_ms = start;
    connection_close(talk.connection);
    close(talk.client);
}

/* A reply whose file is still to be opened: a request is not forgotten, a failure is an error reply, and a connection
 * that ends meanwhile leaves nothing behind. */
static void check_opening(void)
{
    static const struct {
        const char *request;
        long result; /* of opening; 0 = what comes of it */
        const char *reply;
    } cases[] = {
        {"HEAD /sendfile.bin HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 0, "HTTP/1.1 200 OK"},
        {"GET /sendfile.bin HTTP/1.1\r\n" H "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n\r\n", 0,
         "HTTP/1.1 304 Not Modified"},
        {"GET /absent HTTP/1.1\r\n" H "\r\n", 0, "HTTP/1.1 404 Not Found"},
        {"GET /1k.bin HTTP/1.1\r\n" H "\r\n", -EIO, "HTTP/1.1 500 Internal Server Error"},
        {"GET /1k.bin HTTP/1.1\r\n" H "\r\n", -ENOMEM, "HTTP/1.1 503 Service Unavailable"},
    };
    struct talk talk;
    const uint64_t errors = counter_value(replies_5xx);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int status;
        file_unpin(files_open(&service.files, "memory.bin", 10, service.clock.now_ms, &status)); /* and keep no other */
        begin(&talk);
        say(&talk, cases[i].request, strlen(cases[i].request));
        NEED(server_ready(&talk, 1000) && hand_over_input(&talk));
        CHECK(talk.wish == CONNECTION_OPENS, "%s", cases[i].request);
        CHECK(talk.connection->timeout.class == TIMEOUT_SEND, "as long as without progress in a reply");
        long result = cases[i].result != 0 ? cases[i].result : file_open(&service.files, talk.connection->file);
        talk.wish = connection_opened(&service, talk.connection, result);
        CHECK(talk.wish == CONNECTION_WRITES, "%s", cases[i].request);
        send_output(&talk);
        settle(&talk, 1000);
        CHECK(strncmp(talk.output, cases[i].reply, strlen(cases[i].reply)) == 0, "%s: %.40s", cases[i].request,
              talk.output);
        finish(&talk);
    }
    CHECK(counter_value(replies_5xx) == errors + 2, "counted");

    begin(&talk);
    say(&talk, cases[0].request, strlen(cases[0].request));
    NEED(server_ready(&talk, 1000) && hand_over_input(&talk) && talk.wish == CONNECTION_OPENS);
    connection_close(talk.connection);
    close(talk.client);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as process_start() does; sendfile(2) knows no MSG_NOSIGNAL */
    options = (struct options){.root = fixture_root(), .header_timeout_ms = 1000, .idle_timeout_ms = 5000,
                               .max_connections = 200, .file_cache_bytes = 1 << 20, .max_open_files = 20};
    for (style = READINESS; style < STYLES; style++) {
        if (style == OPENING) { /* hardly anything is kept */
            options.file_cache_bytes = 0;
            options.max_open_files = 1;
        }
        NEED(service_start(&service, &options) == 0);
        service.opens_files = style == OPENING;
        check_splits();
        check_vanishing();
        check_blocked();
        check_vanishing_midway();
        check_truncated();
        check_lingering();
        check_timeouts();
        check_draining();
        if (style != READINESS)
            check_half_close();
        if (style == OPENING)
            check_opening();
        service_stop(&service);
        CHECK(counter_value(connections_open) == 0, "all closed");
    }
    return checks_failed != 0;
}
