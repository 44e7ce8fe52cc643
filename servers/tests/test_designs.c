/* test_designs.c: a design from outside: test_designs NAME PROGRAM [OPTION…], the options for each start. What the kernel
 * does with it is made certain by stopping it (SIGSTOP) while connections and requests queue up; nothing here depends on
 * how quick the machine is. */
#include "bounds.h"
#include "check.h"
#include "design_test.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIPPED 77 /* exit status, as Meson understands it */

static bool on_engine_ring(void)
{
    for (char **option = given; *option != NULL; option++)
        if (strcmp(*option, "uring") == 0)
            return true;
    return false;
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
    if (threads)
        check_threads();
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
