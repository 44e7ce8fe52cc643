/* test_client.c: the whole client against a server that misbehaves in one way at a time. No assertion depends on speed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "client.h"
#include "crc32.h"
#include "transport.h"

#define OK5 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
#define LARGE 3000000

enum manner { ANSWER, ANSWER_THEN_RESET, STAY_SILENT, CLOSE_AT_ONCE, RESET_AT_ONCE, IGNORE_CLOSE, DRIBBLE, ONLY_F };

static struct {
    pthread_t thread;
    int listener;
    struct sockaddr_in address;
    enum manner manner;
    const char *reply;
    size_t reply_bytes;
    unsigned requests_per_connection; /* then the server closes; 0 = as the client asks */
    atomic_bool stop;
    atomic_uint connections; /* accepted so far */
    atomic_uint serving;     /* of which not ended yet */
} server;

/* Read to the end of one request. Returns false if the client is gone. */
static bool read_request(int connection, bool *close_asked, bool *for_f)
{
    char request[1024];
    size_t bytes = 0;
    while (bytes < sizeof request - 1) {
        ssize_t n = recv(connection, request + bytes, 1, 0);
        if (n <= 0)
            return false;
        request[++bytes] = '\0';
        if (bytes >= 4 && strcmp(request + bytes - 4, "\r\n\r\n") == 0)
            break;
    }
    *close_asked = strstr(request, "Connection: close") != NULL;
    *for_f = strncmp(request, "GET /f ", 7) == 0;
    return true;
}

static void write_reply(int connection)
{
    for (size_t sent = 0; sent < server.reply_bytes;) {
        size_t piece = server.manner == DRIBBLE ? 1 : server.reply_bytes - sent;
        ssize_t n = send(connection, server.reply + sent, piece, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        sent += (size_t)n;
    }
}

static void serve(int connection)
{
    bool close_asked = false, for_f = false;
    unsigned served = 0;
    if (server.manner == RESET_AT_ONCE) {
        tp_abort(connection);
        return;
    }
    while (server.manner != CLOSE_AT_ONCE && read_request(connection, &close_asked, &for_f)) {
        if (server.manner == STAY_SILENT || (server.manner == ONLY_F && !for_f))
            continue;
        write_reply(connection);
        if (server.manner == ANSWER_THEN_RESET) {
            tp_abort(connection);
            return;
        }
        if ((close_asked && server.manner != IGNORE_CLOSE) || ++served == server.requests_per_connection)
            break;
    }
    close(connection);
}

static void *serve_connection(void *argument)
{
    serve((int)(intptr_t)argument);
    atomic_fetch_sub(&server.serving, 1);
    return NULL;
}

static void *accept_loop(void *unused)
{
    while (!atomic_load(&server.stop)) {
        int connection = accept(server.listener, NULL, NULL);
        if (connection < 0)
            continue;
        atomic_fetch_add(&server.connections, 1);
        atomic_fetch_add(&server.serving, 1);
        struct timeval patience = {.tv_sec = 5};
        setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)connection) == 0);
        pthread_detach(thread);
    }
    return unused;
}

static void server_start(enum manner manner, const char *reply, size_t reply_bytes)
{
    server.manner = manner;
    server.reply = reply;
    server.reply_bytes = reply_bytes;
    atomic_store(&server.stop, false);
    atomic_store(&server.connections, 0);
    server.listener = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval tick = {.tv_usec = 20000};
    setsockopt(server.listener, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick);
    server.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof server.address;
    CHECK(bind(server.listener, (struct sockaddr *)&server.address, bytes) == 0);
    CHECK(listen(server.listener, 1024) == 0);
    CHECK(getsockname(server.listener, (struct sockaddr *)&server.address, &bytes) == 0);
    CHECK(pthread_create(&server.thread, NULL, accept_loop, NULL) == 0);
}

static void server_stop(void)
{
    atomic_store(&server.stop, true);
    pthread_join(server.thread, NULL);
    close(server.listener);
    while (atomic_load(&server.serving) > 0) /* soon: the client has reset what was open */
        usleep(1000);
}

static struct report r;
static struct client_extra extra;

static struct client_options usual(void)
{
    return (struct client_options){
        .server = server.address,
        .rate = 200,
        .requests = 1,
        .clients = 4,
        .timeout_ns = 2000000000,
        .verify_every = 1,
        .duration_s = 0.15,
        .seed = 1,
        .connections_max = 1000,
    };
}

static int run_with(const struct client_options *o, const char *text)
{
    struct manifest m;
    char error[128];
    CHECK(manifest_parse(&m, text, strlen(text), error, sizeof error) == 0);
    manifest_prepare(&m, "h");
    report_free(&r);
    extra = (struct client_extra){0};
    int result = client_run(o, &m, &r, &extra);
    manifest_free(&m);
    /* What holds always. */
    CHECK(r.replies <= r.requests_sent + 4 && r.connections_opened <= r.connections_attempted + 4);
    CHECK(r.starts_issued <= r.starts_scheduled + 1 && r.bodies_mismatched <= r.bodies_verified);
    return result;
}

static int run(const struct client_options *o, size_t file_bytes, uint32_t crc)
{
    char text[64];
    snprintf(text, sizeof text, "/f\t%zu\t%08x\t1", file_bytes, crc);
    return run_with(o, text);
}

#define HELLO 5, crc32(0, "hello", 5)

static void good_replies(enum manner manner, const char *reply)
{
    server_start(manner, reply, strlen(reply));
    struct client_options o = usual();
    const enum close_by ways[] = {CLOSE_BY_SERVER, CLOSE_BY_RESET, CLOSE_BY_CLIENT};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        o.close_by = ways[i];
        if (ways[i] != CLOSE_BY_SERVER && strstr(reply, "HTTP/1.0") != NULL)
            continue; /* without "Connection: close" this server never ends such a body */
        CHECK(run(&o, HELLO) == 0);
        CHECK(r.replies > 0 && r.bodies_verified == r.replies && r.bodies_mismatched + r.lengths_mismatched == 0);
        CHECK(r.connections_completed == r.replies && r.latency_httperf.count == r.replies);
        CHECK(r.connections_timed_out + r.connections_reset + r.connections_failed_other == 0);
        CHECK(r.latency.count + r.latency.in_flight >= r.replies);
    }
    server_stop();
}

static void sessions_and_closed_loop(void)
{
    const char *reply = OK5 "\r\nhello";
    server_start(ANSWER, reply, strlen(reply));
    struct client_options o = usual();
    o.requests = 5;
    CHECK(run(&o, HELLO) == 0);
    CHECK(r.replies > 0 && r.connections_attempted * 3 < r.replies && r.connections_failed_other == 0);
    o.requests_mean = 3;
    o.arrivals = ARRIVALS_POISSON;
    CHECK(run(&o, HELLO) == 0);
    CHECK(r.replies > r.connections_attempted && r.connections_failed_other == 0);

    o = usual();
    o.closed = true;
    o.requests = UINT64_MAX;
    CHECK(run(&o, HELLO) == 0);
    CHECK(atomic_load(&server.connections) > 4 && r.connections_attempted <= 4 && r.replies > 10);
    CHECK(r.latency.in_flight <= 4 && extra.connections_peak == 4);
    o.think_ns = 20000000; /* 0.15 s hold at most 8 thoughts of 20 ms */
    CHECK(run(&o, HELLO) == 0);
    CHECK(r.replies >= 4 && r.replies <= 4 * 9);
    o.requests = 2; /* reconnects */
    o.think_ns = 0;
    CHECK(run(&o, HELLO) == 0);
    CHECK(r.connections_completed > 2 && r.connections_failed_other + r.connections_reset == 0);
    server_stop();
}

static void wrong_bodies(void)
{
    const char *reply = OK5 "\r\nhellO";
    server_start(ANSWER, reply, strlen(reply));
    struct client_options o = usual();
    CHECK(run(&o, HELLO) == 0 && r.replies > 0 && r.bodies_mismatched == r.replies && r.lengths_mismatched == 0);
    CHECK(run(&o, 6, crc32(0, "hellO", 5)) == 0 && r.lengths_mismatched == r.replies);
    o.verify_every = 0;
    CHECK(run(&o, HELLO) == 0 && r.replies > 0 && r.bodies_verified == 0 && r.bodies_mismatched == 0);
    o.verify_every = 3;
    CHECK(run(&o, HELLO) == 0 && r.bodies_verified > 0 && r.bodies_verified < r.replies / 2);
    server_stop();

    const char *missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello";
    server_start(ANSWER, missing, strlen(missing));
    o = usual();
    CHECK(run(&o, HELLO) == 0 && r.replies > 0 && r.replies_not_200 == r.replies && r.bodies_verified == 0);
    server_stop();
}

static void bad_servers(void)
{
    struct client_options o;
    const char *garbage[] = {"SSH-2.0\r\n", OK5 "\r\nhello, and more", OK5 "Content-Length: 6\r\n\r\nhello!"};
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        server_start(ANSWER, garbage[i], strlen(garbage[i]));
        o = usual();
        CHECK(run(&o, HELLO) == 0 && r.replies == 0 && r.connections_failed_other > 0);
        o.closed = true;
        o.requests = UINT64_MAX;
        CHECK(run(&o, HELLO) == 0 && r.replies == 0 && r.connections_failed_other > 4); /* it tries again */
        server_stop();
    }
    const char *half = OK5 "\r\nhel";
    server_start(ANSWER, half, strlen(half));
    o = usual();
    CHECK(run(&o, HELLO) == 0 && r.replies == 0 && r.connections_reset > 0);
    server_stop();

    const enum manner rude[] = {CLOSE_AT_ONCE, RESET_AT_ONCE};
    for (size_t i = 0; i < sizeof rude / sizeof *rude; i++) {
        server_start(rude[i], "", 0);
        o = usual();
        CHECK(run(&o, HELLO) == 0 && r.replies == 0 && r.connections_reset > 0 && r.connections_timed_out == 0);
        server_stop();
    }

    const char *reply = OK5 "\r\nhello";
    server_start(ANSWER_THEN_RESET, reply, strlen(reply));
    o = usual();
    CHECK(run(&o, HELLO) == 0 && r.replies + r.connections_reset > 0); /* the RST may overtake the reply */
    server_stop();

    server.requests_per_connection = 2;
    server_start(ANSWER, reply, strlen(reply));
    o = usual();
    o.requests = 4;
    CHECK(run(&o, HELLO) == 0 && r.replies > 0 && r.connections_completed == 0);
    CHECK(r.connections_failed_other + r.connections_reset > 0); /* cut short is not complete */
    o.closed = true;
    o.requests = UINT64_MAX;
    CHECK(run(&o, HELLO) == 0 && r.replies > 8 && r.connections_attempted > 4);
    server_stop();
    server.requests_per_connection = 0;
}

static void silence_times_out(void)
{
    server_start(STAY_SILENT, "", 0);
    struct client_options o = usual();
    o.timeout_ns = 50000000;
    CHECK(run(&o, HELLO) == 0 && r.replies == 0 && r.connections_timed_out > 0);
    CHECK(r.replies_timed_out == r.connections_timed_out && r.latency.censored == r.connections_timed_out);
    CHECK(histogram_quantile(&r.latency, .5) >= 49e6 && r.latency_httperf.count == 0);
    uint64_t timed_out = 0;
    for (size_t i = 0; i < r.seconds_count; i++)
        timed_out += r.seconds[i].timed_out;
    CHECK(timed_out == r.connections_timed_out);
    server_stop();
}

static void kinds_are_reported_apart(void)
{
    static const char text[] = "/f\t5\t3610a686\t1\thot\n"
                               "/g\t5\t3610a686\t1\tother\n"
                               "/h\t5\t3610a686\t0\tnever\n";
    const char *reply = OK5 "\r\nhello";
    server_start(ONLY_F, reply, strlen(reply));
    struct client_options o = usual();
    for (int closed = 0; closed < 2; closed++) {
        o.closed = closed;
        o.requests = closed ? UINT64_MAX : 1;
        o.clients = 16; /* who asks for g waits to the end: few are to ask for f often */
        o.timeout_ns = closed ? 2000000000 : 50000000;
        CHECK(run_with(&o, text) == 0 && r.kind_count == 3 && r.bodies_mismatched == 0);
        const struct histogram *hot = &r.kinds[0].latency, *other = &r.kinds[1].latency, *never = &r.kinds[2].latency;
        CHECK(hot->count == r.latency.count && hot->count > 0 && hot->sum == r.latency.sum && hot->censored == 0);
        CHECK(other->count == 0 && other->censored == r.latency.censored && (closed || other->censored > 0));
        CHECK(hot->in_flight + other->in_flight == r.latency.in_flight && (!closed || other->in_flight > 0));
        CHECK(never->count + never->censored + never->in_flight == 0);
        char *json = NULL;
        size_t bytes = 0;
        FILE *out = open_memstream(&json, &bytes);
        report_write(&r, NULL, 0, out);
        fclose(out);
        CHECK(strstr(json, "},\"kinds\":{\"hot\":{\"censored\":0,\"in_flight\":") != NULL);
        CHECK(strstr(json, "},\"other\":{\"censored\":") != NULL && strstr(json, "}},\"per_second\":[") != NULL);
        CHECK(strstr(json, "never") == NULL);
        free(json);
    }
    server_stop();
}

static void large_bodies(void)
{
    static char reply[LARGE + 128];
    int head = snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LARGE);
    for (size_t i = 0; i < LARGE; i++)
        reply[(size_t)head + i] = (char)(i * 2654435761u >> 13);
    server_start(ANSWER, reply, (size_t)head + LARGE);
    struct client_options o = usual();
    o.rate = 20;
    for (o.verify_every = 0; o.verify_every < 2; o.verify_every++) {
        CHECK(run(&o, LARGE, crc32(0, reply + head, LARGE)) == 0 && r.replies > 0);
        CHECK(r.lengths_mismatched + r.bodies_mismatched + r.connections_failed_other == 0);
        CHECK(r.bodies_verified == (o.verify_every ? r.replies : 0));
    }
    server_stop();
}

static void nobody_there(void)
{
    server_start(ANSWER, "", 0);
    server_stop(); /* its port is free now */
    struct client_options o = usual();
    CHECK(run(&o, HELLO) == 0 && r.connections_refused > 0 && r.connections_refused == r.connections_attempted);
    o.closed = true;
    CHECK(run(&o, HELLO) == 0 && r.connections_refused > 4 && r.connections_refused < 4 * 20); /* without spinning */
    struct sockaddr_in foreign = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(0xc0000201)}; /* 192.0.2.1: RFC 5737 */
    o = usual();
    o.sources = &foreign;
    o.source_count = 1;
    CHECK(run(&o, HELLO) == EADDRNOTAVAIL);
}

static void too_few_descriptors_show_as_lag(void)
{
    server_start(STAY_SILENT, "", 0);
    struct client_options o = usual();
    o.connections_max = 3;
    CHECK(run(&o, HELLO) == 0 && extra.starts_stalled > 0 && extra.connections_peak == 3);
    CHECK(r.starts_issued <= 3 && r.starts_scheduled == 30 && r.lag.max > 100000000);
    server_stop();
}

static void report_is_written(void)
{
    const char *reply = OK5 "\r\nhello";
    server_start(ANSWER, reply, strlen(reply));
    struct client_options o = usual();
    o.duration_s = 1.2;
    CHECK(run(&o, HELLO) == 0);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    report_write(&r, &(struct report_extra){"sessions_cut", 7}, 1, out);
    fclose(out);
    CHECK(strncmp(text, "{\"schema\":1,\"mode\":\"open\",", 26) == 0);
    CHECK(strstr(text, "\"sessions_cut\":7}\n") != NULL && strstr(text, "{\"t_s\":1,") != NULL);
    CHECK(strstr(text, "{\"t_s\":2,") == NULL && strstr(text, "nan") == NULL && strchr(text, '\n') == text + bytes - 1);
    CHECK(strstr(text, "kinds") == NULL);
    free(text);
    server_stop();
}

int main(void)
{
    good_replies(ANSWER, OK5 "Connection: close\r\n\r\nhello");
    good_replies(ANSWER, "HTTP/1.0 200 OK\r\n\r\nhello");
    good_replies(IGNORE_CLOSE, OK5 "\r\nhello");
    good_replies(DRIBBLE, OK5 "Connection: close\r\n\r\nhello");
    sessions_and_closed_loop();
    wrong_bodies();
    bad_servers();
    silence_times_out();
    kinds_are_reported_apart();
    large_bodies();
    nobody_there();
    too_few_descriptors_show_as_lag();
    report_is_written();
    report_free(&r);
    return 0;
}
