/* test_ground.c: options, counters, time-outs, addresses, the listening socket, CPU work. */
#include "check.h"
#include "counters.h"
#include "fixture.h"
#include "bounds.h"
#include "listening.h"
#include "options.h"
#include "timeouts.h"
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Parse a command line given as one string. Returns the status; what was printed is in *text. */
static int parse(struct options *options, enum options_extra extra, const char *line, char *text, size_t capacity)
{
    static char words[1024];
    char *argv[64] = {"design"};
    int argc = 1;
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    memset(text, 0, capacity);
    FILE *out = fmemopen(text, capacity - 1, "w");
    NEED(out != NULL);
    int status = options_parse(options, "design", extra, argc, argv, out, out);
    fclose(out);
    return status;
}

static void check_options(void)
{
    struct options o;
    char text[8192];
#define GOOD "--listen 127.0.0.1:0 --root . "
    CHECK(parse(&o, 0, GOOD, text, sizeof text) == -1 && text[0] == '\0', "%s", text);
    CHECK(o.accept_limit == NO_LIMIT && o.transport.backlog == 128 && o.cpu == NO_LIMIT && o.max_connections == 15000 &&
              o.header_timeout_ms == 10000 && o.idle_timeout_ms == 60000 && o.slow_us == 1000 && o.work_us == 0 &&
              o.counters == NULL && o.transport.congestion == NULL && o.transport.defer_accept_s == 0,
          "defaults");
    CHECK(parse(&o, 0, GOOD "--accept-limit=10 --backlog=7 --cpu 1 --counters=f --congestion cubic --work-us 5", text,
                sizeof text) == -1,
          "%s", text);
    CHECK(o.accept_limit == 10 && o.transport.backlog == 7 && o.cpu == 1 && strcmp(o.counters, "f") == 0 &&
              strcmp(o.transport.congestion, "cubic") == 0 && o.work_us == 5,
          "given");
    CHECK(parse(&o, 0, GOOD "--accept-limit inf", text, sizeof text) == -1 && o.accept_limit == NO_LIMIT, "inf");
    CHECK(parse(&o, OPTIONS_FLOOR, "--listen 127.0.0.1:0 --close-after-reply --floor-bytes 9", text, sizeof text) == -1 &&
              o.close_after_reply && o.floor_bytes == 9,
          "%s", text);

    static const char *const bad[] = {
        "--root .", "--listen 127.0.0.1:0", "--listen", GOOD "--nonsense 1", GOOD "x", GOOD "--backlog", GOOD "--backlog=",
        GOOD "--backlog 0", GOOD "--backlog -1", GOOD "--backlog 1x", GOOD "--backlog 99999999999999999999",
        GOOD "--accept-limit 0", GOOD "--accept-limit infinite", GOOD "--floor-bytes 1", GOOD "--close-after-reply",
        GOOD "--work-us 1.5", GOOD "--cpu 9999", GOOD "--root=", "--listen localhost:1 --root .",
        "--listen 127.0.0.1:65536 --root .", "--listen 127.0.0.1 --root .", "--listen 127.0.0.1:1x --root .",
        "--listen :80 --root .", "--listen 127.0.0.1: --root .", "--listen 1.2.3.4.5.6.7.8.9.10.11:1 --root .",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK(parse(&o, 0, bad[i], text, sizeof text) == 2, "%s", bad[i]);
        CHECK(strncmp(text, "design: ", 8) == 0 && strchr(text, '\n') == text + strlen(text) - 1, "one line: %s", text);
    }
    CHECK(parse(&o, OPTIONS_FLOOR, "--listen 1.2.3.4:5 --close-after-reply=1", text, sizeof text) == 2, "flag");
    CHECK(parse(&o, 0, "--help", text, sizeof text) == 0, "help");
    static const char *const named[] = {"--listen", "--root", "--backlog", "--accept-limit", "--work-us", "--slow-us",
                                        "--cpu", "--congestion", "--counters", "--header-timeout-ms",
                                        "--idle-timeout-ms", "--max-connections", "--defer-accept-s",
                                        "--file-cache-bytes", "--help"};
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        CHECK(strstr(text, named[i]) != NULL, "%s is not in the help", named[i]);
    CHECK(strstr(text, "--floor-bytes") == NULL, "floor's option in another design's help");
}

static void check_counters(void)
{
    char path[300];
    snprintf(path, sizeof path, "%s/counters", fixture_root());
    CHECK(!counters_timed(), "not yet");
    count(accepts);
    uint64_t before = counter_value(accepts);
    CHECK(counters_open("/nowhere/x", 1) == -1 && errno == ENOENT && !counters_timed(), "refused");
    CHECK(counters_open(path, 2) == 0 && counters_timed(), "opened");
    count(accepts);
    count_by(bytes_sent, 1000);

    struct {
        char magic[8];
        uint64_t n;
        struct counter counters[COUNTER_COUNT];
    } seen, second;
    int file = open(path, O_RDONLY);
    NEED(file >= 0);
    counters_belong_to(1);
    count(replies);
    counters_belong_to(0);
    NEED(read(file, &seen, sizeof seen) == sizeof seen);
    CHECK(read(file, &second, sizeof second) == sizeof second && read(file, &second, 1) == 0, "size");
    CHECK(memcmp(second.magic, "NAICNT01", 8) == 0 && second.n == COUNTER_COUNT, "second header");
    CHECK(second.counters[COUNTER_replies].value == 1 && second.counters[COUNTER_accepts].value == 0, "a block each");
    close(file);
    CHECK(memcmp(seen.magic, "NAICNT01", 8) == 0 && seen.n == COUNTER_COUNT, "header");
    CHECK(strcmp(seen.counters[COUNTER_accepts].name, "accepts") == 0 && seen.counters[COUNTER_accepts].value == before + 1,
          "what was counted before is kept");
    CHECK(seen.counters[COUNTER_bytes_sent].value == 1000, "bytes");
    for (int i = 0; i < COUNTER_COUNT; i++)
        CHECK(memchr(seen.counters[i].name, '\0', 24) != NULL && seen.counters[i].name[0] != '\0', "name %d", i);
}

static void check_timeouts(void)
{
    struct timeouts t;
    struct timeout a = {0}, b = {0}, c = {0};
    timeouts_init(&t);
    t.duration_ms[TIMEOUT_HEADER] = 10;
    t.duration_ms[TIMEOUT_IDLE] = 100;
    CHECK(timeouts_wait_ms(&t, 0, 500) == 500 && timeouts_expired(&t, 1000) == NULL, "none");
    timeout_start(&t, &a, TIMEOUT_IDLE, 0);
    timeout_start(&t, &b, TIMEOUT_HEADER, 50);
    timeout_start(&t, &c, TIMEOUT_IDLE, 50);
    CHECK(timeouts_wait_ms(&t, 50, 500) == 10 && timeouts_expired(&t, 59) == NULL, "b at 60");
    CHECK(timeouts_expired(&t, 60) == &b && timeouts_wait_ms(&t, 70, 500) == 0, "b is due");
    timeout_stop(&b);
    timeout_stop(&b);
    CHECK(timeouts_wait_ms(&t, 60, 500) == 40, "a at 100");
    timeout_start(&t, &a, TIMEOUT_IDLE, 60); /* renewed: now behind c */
    CHECK(timeouts_first(&t, TIMEOUT_IDLE) == &c && timeouts_expired(&t, 150) == &c, "c at 150");
    timeout_start(&t, &c, TIMEOUT_HEADER, 155); /* changes class */
    CHECK(timeouts_expired(&t, 160) == &a, "a at 160");
    timeout_stop(&a);
    CHECK(timeouts_expired(&t, 160) == NULL && timeouts_expired(&t, 165) == &c, "c at 165");
    timeout_stop(&c);
    CHECK(timeouts_first(&t, TIMEOUT_HEADER) == NULL && timeouts_first(&t, TIMEOUT_IDLE) == NULL, "empty");
}

static int connect_to(int listener)
{
    struct sockaddr_in address;
    socklen_t bytes = sizeof address;
    NEED(getsockname(listener, (struct sockaddr *)&address, &bytes) == 0);
    int client = tp_connect(&address, NULL, NULL);
    NEED(client >= 0);
    return client;
}

static void check_listening(void)
{
    struct options options = {.max_connections = 3, .transport = {.backlog = 16}};
    struct listening l, second;
    int client[8], server[8];
    NEED(tp_parse_address("127.0.0.1:0", &options.listen) == 0);
    NEED(listening_start(&l, &options, 1000) == 0);
    CHECK(listening_accept(&l, 0) == -1 && !l.paused, "nothing there: no pause");
    for (int i = 0; i < 5; i++)
        client[i] = connect_to(l.socket);
    NEED(fixture_readable(l.socket, 5000));

    /* max-connections */
    for (int i = 0; i < 3; i++) {
        NEED((server[i] = listening_accept(&l, 0)) >= 0);
        counter_value(connections_open)++;
    }
    int nodelay = 0;
    socklen_t bytes = sizeof nodelay;
    getsockopt(server[0], IPPROTO_TCP, TCP_NODELAY, &nodelay, &bytes);
    CHECK(nodelay != 0, "TCP_NODELAY is inherited");
    CHECK((fcntl(server[0], F_GETFL) & O_NONBLOCK) != 0 && (fcntl(server[0], F_GETFD) & FD_CLOEXEC) != 0, "flags");
    CHECK(listening_accept(&l, 0) == -1 && l.paused && counter_value(accept_pauses) == 1, "full");
    CHECK(!listening_wanted(&l, ACCEPT_PAUSE_MS - 1), "pausing");
    CHECK(listening_accept(&l, 0) == -1 && counter_value(accept_pauses) == 1, "a pause is counted once");
    close(server[2]);
    counter_value(connections_open)--;
    count(closes);
    CHECK(listening_wanted(&l, 1), "a close ends the pause");

    /* descriptors */
    struct rlimit before, tight;
    NEED(getrlimit(RLIMIT_NOFILE, &before) == 0);
    tight = before;
    tight.rlim_cur = (rlim_t)dup(0); /* the lowest free one */
    close((int)tight.rlim_cur);
    NEED(setrlimit(RLIMIT_NOFILE, &tight) == 0);
    CHECK(listening_accept(&l, 10) == -1 && l.paused && counter_value(accept_errors) == 1, "EMFILE");
    NEED(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(!listening_wanted(&l, 10) && listening_wanted(&l, 10 + ACCEPT_PAUSE_MS), "time ends the pause");
    NEED((server[2] = listening_accept(&l, 200)) >= 0);

    /* descriptors beyond the table */
    l.max_descriptor = 2;
    CHECK(listening_accept(&l, 300) == -1 && l.paused, "beyond the table");

    CHECK(listening_start(&second, &options, 1000) == 0, "another free port");
    listening_stop(&second);
    CHECK(!listening_wanted(&second, 1000) && listening_accept(&second, 1000) == -1, "stopped");
    bytes = sizeof options.listen;
    NEED(getsockname(l.socket, (struct sockaddr *)&options.listen, &bytes) == 0);
    CHECK(listening_start(&second, &options, 1000) == -1 && errno == EADDRINUSE, "taken");
    options.listen.sin_port = 0;
    options.transport.congestion = "nonesuch";
    CHECK(listening_start(&second, &options, 1000) == -1 && errno == ENOENT, "unknown congestion control");
    for (int i = 0; i < 5; i++)
        tp_abort(client[i]);
    for (int i = 0; i < 3; i++)
        close(server[i]);
    listening_stop(&l);
    counter_value(connections_open) = 0;
}

static void check_work(void)
{
    struct work work;
    struct timespec start, end;
    work_calibrate(&work);
    CHECK(work.rounds_per_ms > 1000, "%llu", (unsigned long long)work.rounds_per_ms);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    work_burn(&work, 20000);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    double ms = (double)(end.tv_sec - start.tv_sec) * 1e3 + (double)(end.tv_nsec - start.tv_nsec) / 1e6;
    CHECK(ms > 2, "20 ms of work took %.1f ms", ms); /* only the order of magnitude: machines are shared */
}

int main(void)
{
    fixture_root();
    check_options();
    check_timeouts();
    check_listening();
    check_counters();
    check_work();
    return checks_failed != 0;
}
