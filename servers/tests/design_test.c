/* design_test.c: start and stop a design, ask it, read its counters. */
#include "design_test.h"

#include "check.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

const char *design, *program;
char **given;
bool threads;

bool on_ring(void)
{
    return strcmp(design, "uring") == 0 || strcmp(design, "drain-uring") == 0;
}

static const char *counters_path(void)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/counters", fixture_root());
    return path;
}

struct server start(rlim_t descriptors, const char *const *options)
{
    struct server server;
    int out[2];
    NEED(pipe2(out, O_CLOEXEC) == 0);
    unlink(counters_path());
    server.pid = fork();
    NEED(server.pid >= 0);
    if (server.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that gives up leaves no server, and does not hang on its pipes */
        const char *argv[32] = {program, "--listen", "127.0.0.1:0", "--root", fixture_root(), "--counters", counters_path()};
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

int wait_for_exit(const struct server *server)
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

void stop(const struct server *server)
{
    kill(server->pid, SIGTERM);
    int status = wait_for_exit(server);
    CHECK(status == 0, "%s ended with %d", design, status);
}

uint64_t counter(const char *name)
{
    char bytes[4096];
    int file = open(counters_path(), O_RDONLY | O_CLOEXEC);
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

bool reaches(const char *name, uint64_t value)
{
    for (int ms = 0; ms < WAIT_MS; ms += 2) {
        if (counter(name) >= value)
            return true;
        usleep(2000);
    }
    fprintf(stderr, "%s: %s is %llu\n", design, name, (unsigned long long)counter(name));
    return false;
}

int dial(const struct server *server)
{
    int client = tp_connect(&server->address, NULL, NULL);
    NEED(client >= 0);
    fcntl(client, F_SETFL, 0);
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){WAIT_MS / 1000, 0}, sizeof(struct timeval));
    struct pollfd one = {.fd = client, .events = POLLOUT};
    NEED(poll(&one, 1, WAIT_MS) == 1);
    return client;
}

void say(int client, const char *text)
{
    NEED(send(client, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

bool replies(int client, int n)
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

bool ended(int client)
{
    char bytes[4096];
    ssize_t got;
    while ((got = recv(client, bytes, sizeof bytes, 0)) > 0) {
    }
    return got == 0 || errno == ECONNRESET;
}
