/* test_designs.c: a design from outside: test_designs NAME PROGRAM [OPTION…], the options for each start. What the kernel
 * does with it is made certain by stopping it (SIGSTOP) while connections and requests queue up; nothing here depends on
 * how quick the machine is. */
#include "bounds.h"
#include "check.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIPPED 77    /* exit status, as Meson understands it */
#define WAIT_MS 10000 /* for what must happen */

static const char *design, *program;
static char **given; /* options */
static bool threads; /* each serves one connection at a time, until it is closed */
static char counters_path[300];

static bool on_ring(void)
{
    return strcmp(design, "uring") == 0 || strcmp(design, "drain-uring") == 0;
}

static bool on_engine_ring(void)
{
    for (char **option = given; *option != NULL; option++)
        if (strcmp(*option, "uring") == 0)
            return true;
    return false;
}

struct server {
    pid_t pid;
    struct sockaddr_in address;
};

/* Start the design with these options (at most 12 words); descriptors 0 = the usual limit. */
static struct server start(rlim_t descriptors, const char *const *options)
{
    struct server server;
    int out[2];
    NEED(pipe2(out, O_CLOEXEC) == 0);
    unlink(counters_path);
    server.pid = fork();
    NEED(server.pid >= 0);
    if (server.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that gives up leaves no server, and does not hang on its pipes */
        const char *argv[32] = {program, "--listen", "127.0.0.1:0", "--root", fixture_root(), "--counters", counters_path};
        int words = 7;
        if (threads)
            argv[words++] = "--threads=100"; /* a thousand take the thread sanitizer seconds */
        for (char **option = given; *option != NULL && words < 16; option++)
            argv[words++] = *option;
        while (*options != NULL)
            argv[words++] = *options++;
        if (descriptors > 0)
            setrlimit(RLIMIT_NOFILE, &(struct rlimit){descriptors, descriptors});
        dup2(out[1], 1);
        execv(program, (char **)argv);
        _exit(127);
    }
    close(out[1]);
    char line[100] = "";
    size_t have = 0;
    while (have < sizeof line - 1 && strchr(line, '\n') == NULL) {
        ssize_t got = read(out[0], line + have, sizeof line - 1 - have);
        NEED(got > 0);
        have += (size_t)got;
    }
    close(out[0]);
    NEED(strncmp(line, "listening ", 10) == 0);
    *strchr(line, '\n') = '\0';
    NEED(tp_parse_address(line + 10, &server.address) == 0);
    return server;
}
#define START(descriptors, ...) start(descriptors, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static int wait_for_exit(const struct server *server)
{
    int status = -1;
    for (int ms = 0; ms < WAIT_MS; ms += 10) {
        if (waitpid(server->pid, &status, WNOHANG) == server->pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        usleep(10000);
    }
    kill(server->pid, SIGKILL);
    waitpid(server->pid, &status, 0);
    return -1000;
}

static void stop(const struct server *server)
{
    kill(server->pid, SIGTERM);
    int status = wait_for_exit(server);
    CHECK(status == 0, "%s ended with %d", design, status);
}

static uint64_t counter(const char *name)
{
    char bytes[4096];
    int file = open(counters_path, O_RDONLY | O_CLOEXEC);
    NEED(file >= 0);
    ssize_t got = read(file, bytes, sizeof bytes);
    close(file);
    for (ssize_t at = 16; at + 32 <= got; at += 32)
        if (strncmp(bytes + at, name, 24) == 0) {
            uint64_t value;
            memcpy(&value, bytes + at + 24, sizeof value);
            return value;
        }
    CHECK(false, "no counter %s", name);
    return 0;
}

/* Wait until a counter has at least this value. */
static bool reaches(const char *name, uint64_t value)
{
    for (int ms = 0; ms < WAIT_MS; ms += 2) {
        if (counter(name) >= value)
            return true;
        usleep(2000);
    }
    fprintf(stderr, "%s: %s is %llu\n", design, name, (unsigned long long)counter(name));
    return false;
}

static int dial(const struct server *server)
{
    int client = tp_connect(&server->address, NULL, NULL);
    NEED(client >= 0);
    fcntl(client, F_SETFL, 0);
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){WAIT_MS / 1000, 0}, sizeof(struct timeval));
    struct pollfd one = {.fd = client, .events = POLLOUT};
    NEED(poll(&one, 1, WAIT_MS) == 1);
    return client;
}

static void say(int client, const char *text)
{
    NEED(send(client, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

#define REQUEST "GET /1k.bin HTTP/1.1\r\nHost: a\r\n\r\n"

/* Receive n replies of 1,024 bytes each. */
static bool replies(int client, int n)
{
    char bytes[4096];
    for (; n > 0; n--) {
        size_t have = 0, want = sizeof bytes - 1;
        const char *body = NULL;
        while (have < want) {
            ssize_t got = recv(client, bytes + have, body == NULL ? 1 : want - have, 0);
            if (got <= 0)
                return false;
            have += (size_t)got;
            bytes[have] = '\0';
            if (body == NULL && (body = strstr(bytes, "\r\n\r\n")) != NULL) {
                want = (size_t)(body + 4 - bytes) + 1024;
                if (strncmp(bytes, "HTTP/1.1 200 OK\r\n", 17) != 0 || strstr(bytes, "Content-Length: 1024\r\n") == NULL)
                    return false;
            }
        }
    }
    return true;
}

static bool ended(int client) /* by FIN or RST */
{
    char bytes[4096];
    ssize_t got;
    while ((got = recv(client, bytes, sizeof bytes, 0)) > 0) {
    }
    return got == 0 || errno == ECONNRESET;
}

static void check_replies(void)
{
    struct server server = START(0);
    int client = dial(&server);
    say(client, REQUEST);
    CHECK(replies(client, 1), "%s: one", design);
    say(client, REQUEST REQUEST REQUEST);
    CHECK(replies(client, 3), "%s: pipelined", design);
    for (const char *at = REQUEST; *at != '\0'; at++) {
        say(client, (char[]){*at, '\0'});
        usleep(300);
    }
    CHECK(replies(client, 1), "%s: byte by byte", design);
    CHECK(reaches("replies", 5) && counter("requests") == 5 && counter("accepts") == 1, "%s: counted", design);
    CHECK(counter("connections_open") == 1 && counter("getevents_ns") > 0, "%s: counted", design);
    close(client);
    CHECK(reaches("closes", 1) && counter("connections_open") == 0, "%s: closed", design);
    stop(&server);
}

/* Clients leave at every byte; the server serves on. */
static void check_vanishing(void)
{
    struct server server = START(0);
    for (size_t cut = 0; cut <= strlen(REQUEST); cut++)
        for (int reset = 0; reset <= 1; reset++) {
            int client = dial(&server);
            send(client, REQUEST, cut, MSG_NOSIGNAL);
            if (reset)
                tp_abort(client);
            else
                close(client);
        }
    int client = dial(&server);
    say(client, REQUEST);
    CHECK(replies(client, 1), "%s survives", design);
    CHECK(reaches("closes", counter("accepts") - 1) && counter("connections_open") == 1, "%s closed the others", design);
    close(client);
    stop(&server);
}

/* The strategies of the paper. 20 connections, each with a request, wait while the server sleeps. */
static void check_accept_limit(const char *limit, uint64_t phases)
{
    struct server server = START(0, "--accept-limit", limit);
    int client[20];
    CHECK(reaches("getevents", 1), "%s is up", design);
    kill(server.pid, SIGSTOP);
    waitpid(server.pid, NULL, WUNTRACED);
    for (int i = 0; i < 20; i++) {
        client[i] = dial(&server);
        say(client[i], REQUEST);
    }
    kill(server.pid, SIGCONT);
    for (int i = 0; i < 20; i++) {
        CHECK(replies(client[i], 1), "%s: reply %d", design, i);
        if (threads)
            close(client[i]); /* or the next one that its thread accepted would wait for ever */
    }
    CHECK(reaches("work_items", 20) && counter("accepts") == 20, "%s: all served", design);
    CHECK(counter("accept_phases") - counter("accept_phases_empty") == phases, "%s, limit %s: %llu accept phases", design,
          limit, (unsigned long long)counter("accept_phases"));
    /* All accepted in one phase were reported together by the next getevents. Were one served in the loop that
     * accepted it, there would be one phase less. A read that the loop did not wait for ends in a phase of its own. */
    uint64_t work_phases = counter("work_phases");
    CHECK(work_phases == phases || (work_phases > phases && counter("lazy_in_progress") > 0),
          "%s, limit %s: %llu work phases", design, limit, (unsigned long long)work_phases);
    for (int i = 0; i < 20 && !threads; i++)
        close(client[i]);
    stop(&server);
}

/* More input than one visit reads: the connection queues up again while the queue is drained, within one work phase. */
static void check_growing_work(void)
{
    enum { REQUESTS = 8, REQUEST_BYTES = 4000 };
    char request[REQUEST_BYTES + 1];
    snprintf(request, sizeof request, "GET /1k.bin HTTP/1.1\r\nHost: a\r\nX: %0*d\r\n\r\n", REQUEST_BYTES - 38, 0);
    NEED(strlen(request) == REQUEST_BYTES && REQUESTS * REQUEST_BYTES > INPUT_BYTES);
    struct server server = START(0);
    CHECK(reaches("getevents", 1), "%s is up", design);
    kill(server.pid, SIGSTOP);
    waitpid(server.pid, NULL, WUNTRACED);
    int client = dial(&server), unread = 1;
    for (int i = 0; i < REQUESTS; i++)
        say(client, request);
    for (int ms = 0; ms < WAIT_MS && unread > 0; ms++) { /* until all has arrived */
        NEED(ioctl(client, SIOCOUTQ, &unread) == 0);
        usleep(1000);
    }
    kill(server.pid, SIGCONT);
    CHECK(replies(client, REQUESTS), "%s: all answered", design);
    CHECK(reaches("work_phases", 1) && counter("work_phases") == 1, "%s: in one phase", design);
    CHECK(counter("work_items") >= 2, "%s: %llu visits", design, (unsigned long long)counter("work_items"));
    close(client);
    stop(&server);
}

/* A thread fully processes one of its connections before it turns to the next. */
static void check_turns(void)
{
    struct server server = START(0, "--accept-limit=2");
    int client[4];
    CHECK(reaches("getevents", 1), "%s is up", design);
    kill(server.pid, SIGSTOP);
    waitpid(server.pid, NULL, WUNTRACED);
    for (int i = 0; i < 4; i++) {
        client[i] = dial(&server);
        say(client[i], REQUEST);
    }
    kill(server.pid, SIGCONT);
    for (int i = 0; i < 4; i += 2)
        CHECK(replies(client[i], 1), "%s: the first of two, %d", design, i);
    usleep(50000);
    CHECK(counter("accepts") == 4 && counter("requests") == 2, "%s: the second ones wait", design);
    for (int i = 0; i < 4; i += 2) {
        close(client[i]);
        CHECK(replies(client[i + 1], 1), "%s: the second of two, %d", design, i);
        close(client[i + 1]);
    }
    CHECK(reaches("closes", 4) && counter("accept_phases") - counter("accept_phases_empty") == 2, "%s", design);
    stop(&server);
}

/* A connection that waits for its thread is ended when its time is up, all the same. */
static void check_waiting_timeout(void)
{
    struct server server = START(0, "--accept-limit=inf", "--header-timeout-ms=150");
    int client[3];
    CHECK(reaches("getevents", 1), "%s is up", design);
    kill(server.pid, SIGSTOP);
    waitpid(server.pid, NULL, WUNTRACED);
    for (int i = 0; i < 3; i++)
        client[i] = dial(&server);
    say(client[0], REQUEST);
    kill(server.pid, SIGCONT);
    CHECK(replies(client[0], 1), "%s: first", design);
    CHECK(ended(client[1]) && ended(client[2]), "%s ends those that wait", design);
    CHECK(reaches("timeouts", 2) && counter("vanished") == 0, "%s counts them", design);
    close(client[0]);
    CHECK(reaches("closes", 3) && counter("connections_open") == 0, "%s: closed", design);
    for (int i = 1; i < 3; i++)
        close(client[i]);
    stop(&server);
}

/* Fewer threads than connections: the others stay in the accept queue, and nobody spins because of them. */
static void check_few_threads(void)
{
    struct server server = START(0, "--threads=2");
    int client[6];
    for (int i = 0; i < 6; i++) {
        client[i] = dial(&server);
        say(client[i], REQUEST);
    }
    CHECK(replies(client[0], 1) && replies(client[1], 1), "%s: two are served", design);
    uint64_t calls = counter("getevents");
    usleep(300000);
    CHECK(counter("getevents") - calls < 100, "%s spins: %llu getevents in 0.3 s", design,
          (unsigned long long)(counter("getevents") - calls));
    CHECK(counter("accepts") == 2 && counter("requests") == 2, "%s: four wait", design);
    for (int i = 0; i < 6; i++) {
        if (i > 1)
            CHECK(replies(client[i], 1), "%s: client %d", design, i);
        close(client[i]);
    }
    CHECK(reaches("closes", 6), "%s: all served in the end", design);
    stop(&server);
}

/* What threads are for: a handler that sleeps keeps nobody else waiting. */
static void check_sleepers(void)
{
    struct server server = START(0, "--slow-sleeps", "--slow-us=10000000"); /* longer than this test may take */
    int slow[3], quick = dial(&server);
    for (int i = 0; i < 3; i++) {
        slow[i] = dial(&server);
        say(slow[i], "GET /slow/1k.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    CHECK(reaches("requests", 3), "%s: three sleep", design);
    say(slow[1], REQUEST); /* must not wake it */
    for (int i = 0; i < 5; i++) {
        say(quick, REQUEST);
        CHECK(replies(quick, 1), "%s: another is served", design);
    }
    CHECK(reaches("replies", 5) && counter("replies") == 5 && counter("requests") == 8, "%s: they sleep on", design);
    for (int i = 0; i < 3; i++)
        close(slow[i]);
    close(quick);
    stop(&server);
}

/* What a sleeper has read is not lost meanwhile, though the others use the same buffers. */
static void check_waking(void)
{
    struct server server = START(0, "--slow-sleeps", "--slow-us=100000");
    int slow[3], quick = dial(&server);
    for (int i = 0; i < 3; i++) {
        slow[i] = dial(&server);
        say(slow[i], "GET /slow/1k.bin HTTP/1.1\r\nHost: a\r\n\r\n" REQUEST);
    }
    CHECK(reaches("requests", 3), "%s: three sleep", design);
    say(slow[1], REQUEST);
    say(quick, "GET /absent/but/long/enough/to/overwrite/what/the/others/sent HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(reaches("replies_4xx", 1), "%s: another is served", design);
    for (int i = 0; i < 3; i++)
        CHECK(replies(slow[i], i == 1 ? 3 : 2), "%s: sleeper %d", design, i);
    for (int i = 0; i < 3; i++)
        close(slow[i]);
    close(quick);
    stop(&server);
}

/* Descriptors beyond 1,024, where FD_SET ends. */
static void check_many(void)
{
    enum { MANY = 1200 };
    static int client[MANY];
    /* Under the thread sanitizer it takes seconds to make so many threads: nobody is late meanwhile. */
    struct server server = threads ? START(0, "--backlog=1000", "--threads=1200", "--header-timeout-ms=600000")
                                   : START(0, "--backlog=1000");
    for (int i = 0; i < MANY; i++)
        client[i] = dial(&server);
    CHECK(reaches("accepts", MANY), "%s accepts %d", design, MANY);
    CHECK(counter("connections_peak") == MANY, "%s: peak", design);
    for (int i = MANY - 1; i >= 0; i -= 50) {
        say(client[i], REQUEST);
        CHECK(replies(client[i], 1), "%s: connection %d", design, i);
    }
    /* All at once: more than a design has buffers, or takes in one turn. */
    kill(server.pid, SIGSTOP);
    waitpid(server.pid, NULL, WUNTRACED);
    for (int i = 0; i < MANY; i++)
        say(client[i], REQUEST);
    kill(server.pid, SIGCONT);
    for (int i = 0; i < MANY; i++)
        CHECK(replies(client[i], 1), "%s: connection %d of all at once", design, i);
    for (int i = 0; i < MANY; i++)
        close(client[i]);
    CHECK(reaches("closes", MANY) && counter("connections_open") == 0, "%s: closed", design);
    stop(&server);
}

/* A client that sends requests and takes no reply: the server stops reading, so that the client cannot go on, and resumes
 * when it reads. */
static void check_flood(void)
{
    enum { MOST = 64 << 20, QUIET_MS = 300 };
    struct server server = START(0);
    int client = dial(&server), small = 32768;
    setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(client, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    char requests[100 * (sizeof REQUEST - 1)];
    for (size_t i = 0; i < 100; i++)
        memcpy(requests + i * (sizeof REQUEST - 1), REQUEST, sizeof REQUEST - 1);
    size_t sent = 0;
    for (int quiet = 0; quiet < QUIET_MS && sent < MOST;) {
        size_t at = sent % sizeof requests;
        ssize_t got = send(client, requests + at, sizeof requests - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        NEED(got > 0 || errno == EAGAIN);
        sent += got > 0 ? (size_t)got : 0;
        quiet = got > 0 ? 0 : quiet + 1;
        if (got < 0)
            usleep(1000);
    }
    CHECK(sent < MOST, "%s reads on while its replies are not taken", design);
    int whole = (int)(sent / (sizeof REQUEST - 1));
    CHECK(replies(client, whole), "%s: %d replies", design, whole);
    CHECK(reaches("replies", (uint64_t)whole), "%s: counted", design);
    close(client);
    stop(&server);
}

/* Too many connections for --max-connections, or for the descriptor limit at the start, or for a limit that shrinks later
 * (as ENFILE and ENOMEM do): accepting pauses, does not spin, and resumes. */
static void check_exhaustion(rlim_t at_start, const char *most, rlim_t later)
{
    /* An accept asked of io_uring obeys the descriptor limit of when it was asked for (io_accept_prep), and inf asks once for
     * all. So that a lower limit is seen, ask for ten at a time. */
    const char *limit = on_ring() && later > 0 ? "10" : "inf";
    struct server server = START(at_start, "--max-connections", most, "--accept-limit", limit);
    int client[60], first = dial(&server);
    say(first, REQUEST);
    CHECK(replies(first, 1), "%s: first", design); /* from now on the file is in memory */
    close(first);
    CHECK(reaches("closes", 1), "%s: first", design);
    if (later > 0)
        NEED(prlimit(server.pid, RLIMIT_NOFILE, &(struct rlimit){later, later}, NULL) == 0);
    for (int i = 0; i < 60; i++) {
        client[i] = dial(&server); /* the kernel completes it; the server need not have accepted it */
        say(client[i], REQUEST);
    }
    CHECK(reaches("accept_pauses", 1), "%s pauses", design);
    uint64_t accepted = counter("accepts");
    CHECK(accepted < 60, "%s accepted %llu", design, (unsigned long long)accepted);
    uint64_t calls = counter("getevents");
    usleep(300000);
    CHECK(counter("getevents") - calls < 100, "%s spins: %llu getevents in 0.3 s", design,
          (unsigned long long)(counter("getevents") - calls));
    for (int i = 0; i < 60; i++) { /* in the order of the queue: each makes room for another */
        CHECK(replies(client[i], 1), "%s: client %d", design, i);
        close(client[i]);
    }
    CHECK(reaches("accepts", 61) && reaches("closes", 61), "%s: all served in the end", design);
    stop(&server);
}

static void check_timeouts(void)
{
    struct server server = START(0, "--header-timeout-ms=150", "--idle-timeout-ms=400");
    int silent = dial(&server), slow = dial(&server), idle = dial(&server);
    char told[200] = "";
    say(idle, REQUEST);
    CHECK(replies(idle, 1), "%s", design);
    say(slow, "GET / HT");
    CHECK(recv(slow, told, sizeof told - 1, 0) > 0 && strncmp(told, "HTTP/1.1 408 ", 13) == 0, "%s: %s", design, told);
    CHECK(ended(slow) && ended(silent) && ended(idle), "%s ends the late ones", design);
    CHECK(reaches("timeouts", 3), "%s counts them", design);
    close(silent);
    close(slow);
    close(idle);
    stop(&server);
}

/* SIGTERM: an idle client is let go at once, a reply under way is finished, and nobody can connect any more. */
static void check_drain(void)
{
    struct server server = START(0);
    int idle = dial(&server), busy = dial(&server);
    static char body[400000];
    say(idle, REQUEST);
    CHECK(replies(idle, 1), "%s", design);
    int small = 32768;
    setsockopt(busy, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    say(busy, "GET /sendfile.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(recv(busy, body, 1, 0) == 1, "%s: begun", design);
    kill(server.pid, SIGTERM);
    CHECK(ended(idle), "%s lets the idle one go", design);
    size_t have = 1 + fixture_read_all(busy, body + 1, sizeof body - 1);
    const char *start = strstr(body, "\r\n\r\n");
    CHECK(start != NULL && have - (size_t)(start + 4 - body) == 300000, "%s finishes: %zu bytes", design, have);
    CHECK(wait_for_exit(&server) == 0, "%s exits with 0", design);
    int late = tp_connect(&server.address, NULL, NULL);
    struct pollfd one = {.fd = late, .events = POLLOUT};
    CHECK(late < 0 || (poll(&one, 1, WAIT_MS) == 1 && tp_connect_result(late) == ECONNREFUSED), "%s: closed", design);
    close(late);
    close(idle);
    close(busy);
}

/* A client that never reads does not keep it from exiting. */
static void check_drain_ends(void)
{
    struct server server = START(0);
    int client = dial(&server);
    for (int i = 0; i < 50; i++)
        say(client, "GET /sendfile.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(reaches("accepts", 1), "%s", design);
    stop(&server);
    close(client);
}

static int run(char *const *words)
{
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        dup2(null, 2);
        execv(program, words);
        _exit(127);
    }
    int status;
    NEED(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
#define RUN(...) run((char *const[]){(char *)program, __VA_ARGS__, NULL})

static void check_exit_status(void)
{
    struct server server = START(0);
    char taken[64];
    snprintf(taken, sizeof taken, "--listen=127.0.0.1:%u", ntohs(server.address.sin_port));
    CHECK(RUN("--help") == 0, "%s --help", design);
    CHECK(RUN("--nonsense") == 2, "%s --nonsense", design);
    CHECK(RUN("--root", "/") == 2, "%s without --listen", design);
    CHECK(RUN(taken, "--root", "/") == 1, "%s: port taken", design);
    CHECK(RUN("--listen", "127.0.0.1:0", "--root", "/", "--counters", "/nowhere/x") == 1, "%s: counters", design);
    CHECK(RUN("--listen", "127.0.0.1:0", "--root", "/", "--cpu", "4000") == 1, "%s: CPU", design);
    stop(&server);
}

static void check_floor(void)
{
    struct server server = START(0, "--close-after-reply");
    int client = dial(&server);
    say(client, REQUEST);
    CHECK(replies(client, 1) && ended(client), "floor closes");
    close(client);
    stop(&server);
}

/* The kernel, an administrator or a container may forbid it: then nothing can be tested. */
static bool ring_refused(void)
{
    char params[256] = {0}; /* struct io_uring_params, all defaults */
    long ring = syscall(SYS_io_uring_setup, 1, params);
    if (ring < 0)
        return true;
    close((int)ring);
    return false;
}

int main(int argc, char **argv)
{
    NEED(argc >= 3);
    design = argv[1];
    program = argv[2];
    given = argv + 3;
    if ((on_ring() || on_engine_ring()) && ring_refused()) {
        printf("skipped: io_uring: %s\n", strerror(errno));
        return SKIPPED;
    }
    snprintf(counters_path, sizeof counters_path, "%s/counters", fixture_root());
    const bool floor = strcmp(design, "floor") == 0;
    threads = strstr(design, "-threads") != NULL;
    struct rlimit limit; /* 1,024 for most users, and check_many() is about what lies beyond */
    NEED(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);

    check_exit_status();
    check_replies();
    check_vanishing();
    check_accept_limit("inf", 1);
    check_accept_limit("10", 2);
    check_accept_limit("1", 20);
    if (strcmp(design, "drain") == 0)
        check_growing_work();
    if (threads) {
        check_turns();
        check_waiting_timeout();
        check_few_threads();
        check_sleepers();
        check_waking();
    }
    check_many();
    check_exhaustion(0, "20", 0);
    check_exhaustion(40, "1000", 0);
    check_exhaustion(0, "1000", 20);
    if (floor) {
        check_floor();
    } else {
        check_flood();
        check_timeouts();
        check_drain();
        check_drain_ends();
    }
    return checks_failed != 0;
}
