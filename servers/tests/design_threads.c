/* design_threads.c: a thread serves one connection at a time, until it is closed. */
#include "check.h"
#include "design_test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

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

void check_threads(void)
{
    check_turns();
    check_waiting_timeout();
    check_few_threads();
    check_sleepers();
    check_waking();
}
