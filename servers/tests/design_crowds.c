/* design_crowds.c: many connections, or more than are allowed, and clients that do not read. */
#include "check.h"
#include "design_test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Descriptors beyond 1,024, where FD_SET ends. */
void check_many(void)
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
void check_flood(void)
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
void check_exhaustion(rlim_t at_start, const char *most, rlim_t later)
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
