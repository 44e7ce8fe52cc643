/* fixture.c: see fixture.h. */
#include "fixture.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int checks_failed;

static char root[256];
static pid_t owner;

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *position)
{
    (void)status, (void)type, (void)position;
    return remove(path);
}

static void remove_root(void)
{
    if (getpid() == owner) /* not in a forked child */
        nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

char fixture_byte(size_t offset)
{
    return (char)(offset * 7 + (offset >> 8) * 13);
}

void fixture_write(const char *path, const char *bytes, size_t length)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    int file = open(whole, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    NEED(file >= 0);
    NEED(write(file, bytes, length) == (ssize_t)length);
    close(file);
}

const char *fixture_root(void)
{
    if (root[0] != '\0')
        return root;
    const char *temporary = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/nai-test-XXXXXX", temporary != NULL ? temporary : "/tmp");
    NEED(mkdtemp(root) != NULL);
    owner = getpid();
    atexit(remove_root);

    static char bytes[300000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = fixture_byte(i);
    char folder[300];
    snprintf(folder, sizeof folder, "%s/page", root);
    NEED(mkdir(folder, 0755) == 0);
    fixture_write("small.txt", "small\n", 6);
    fixture_write("page/index.html", "<p>page", 7);
    fixture_write("empty.txt", "", 0);
    fixture_write("1k.bin", bytes, 1024);
    fixture_write("memory.bin", bytes, 30000);
    fixture_write("sendfile.bin", bytes, 300000);
    return root;
}

void fixture_connection(int *server, int *client)
{
    static int listener = -1;
    static struct sockaddr_in address;
    if (listener < 0) {
        struct tp_options options = {.backlog = 128};
        NEED(tp_parse_address("127.0.0.1:0", &address) == 0);
        listener = tp_listen(&address, &options);
        socklen_t bytes = sizeof address;
        NEED(listener >= 0 && getsockname(listener, (struct sockaddr *)&address, &bytes) == 0);
    }
    *client = tp_connect(&address, NULL, NULL);
    NEED(*client >= 0 && fixture_readable(listener, 5000));
    *server = tp_accept(listener, NULL);
    NEED(*server >= 0);
    NEED(fcntl(*client, F_SETFL, 0) == 0);
}

bool fixture_readable(int socket, int wait_ms)
{
    struct pollfd one = {.fd = socket, .events = POLLIN};
    return poll(&one, 1, wait_ms) == 1;
}

size_t fixture_read_all(int socket, char *out, size_t capacity)
{
    size_t have = 0;
    while (have < capacity) {
        ssize_t got = recv(socket, out + have, capacity - have, 0);
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    return have;
}
