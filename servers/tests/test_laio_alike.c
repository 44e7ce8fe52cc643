/* test_laio_alike.c: where an engine could do otherwise than plain calls, and random operations do not come by. */
#include "test_laio.h"

#include "check.h"
#include "fixture.h"
#include "laio_reads.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#ifdef LAIO_WITH_URING
#include <liburing.h>
#endif

#define COMPLETE(laio, ...) complete(laio, laio_syscall(laio, __VA_ARGS__))

/* SIGPIPE comes as it does after the plain call: once, and not if it is not wanted. */

static volatile sig_atomic_t broken_pipes;

static void count_broken(int signal)
{
    (void)signal;
    broken_pipes++;
}

static void check_broken(struct laio *laio, const char *what, long number, long a, long b, long c, long d)
{
    if (!laio_supports(laio, number))
        return;
    broken_pipes = 0;
    long plain = syscall(number, a, b, c, d, 0, 0);
    int plain_error = errno, plain_signals = broken_pipes;
    broken_pipes = 0;
    long result = COMPLETE(laio, number, a, b, c, d);
    CHECK(plain == -1 && result == -plain_error, "%s: %ld, plainly %ld, %s", what, result, plain,
          strerror(plain_error));
    CHECK(broken_pipes == plain_signals, "%s: %d times SIGPIPE, plainly %d", what, (int)broken_pipes, plain_signals);
}

static void check_sigpipe(const struct settings *settings)
{
    int pipes[2], streams[2], datagrams[2], full[2];
    char bytes[] = "bytes";
    struct iovec whole = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct msghdr message = {.msg_iov = &whole, .msg_iovlen = 1};
    NEED(pipe2(pipes, O_CLOEXEC) == 0 && pipe2(full, O_CLOEXEC) == 0 && write(full[1], bytes, sizeof bytes) > 0);
    NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, streams) == 0);
    NEED(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagrams) == 0);
    NEED(close(pipes[0]) == 0 && close(streams[0]) == 0 && shutdown(datagrams[0], SHUT_RD) == 0);
    void (*before)(int) = signal(SIGPIPE, count_broken);
    struct laio *laio = open_engine(settings, (struct laio_options){0});
    long buffer = (long)bytes, n = sizeof bytes;
    check_broken(laio, "write to a pipe", SYS_write, pipes[1], buffer, n, 0);
    check_broken(laio, "writev to a socket", SYS_writev, streams[1], (long)&whole, 1, 0);
    check_broken(laio, "send", SYS_sendto, streams[1], buffer, n, 0);
    check_broken(laio, "send with MSG_NOSIGNAL", SYS_sendto, streams[1], buffer, n, MSG_NOSIGNAL);
    check_broken(laio, "sendmsg", SYS_sendmsg, streams[1], (long)&message, 0, 0);
    check_broken(laio, "sendmsg with MSG_NOSIGNAL", SYS_sendmsg, streams[1], (long)&message, MSG_NOSIGNAL, 0);
    check_broken(laio, "send of a datagram", SYS_sendto, datagrams[1], buffer, n, 0);
    check_broken(laio, "tee", SYS_tee, full[0], pipes[1], 1, 0);
    laio_close(laio);
    signal(SIGPIPE, before);
    const int all[] = {pipes[1], streams[1], datagrams[0], datagrams[1], full[0], full[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        close(all[i]);
}

/* Reads and writes at an offset of what has none move nothing, whether there is anything to move or not. */
static void check_no_offset(const struct settings *settings)
{
    struct laio *laio = open_engine(settings, (struct laio_options){0});
    char byte = 'b';
    struct iovec whole = {.iov_base = &byte, .iov_len = 1};
    for (int round = 0; round < 3 && laio_supports(laio, SYS_pread64); round++) {
        int ends[2];
        /* A number that had offsets, and is closed and made again by the library. */
        if (round == 1 && laio_supports(laio, SYS_openat) && laio_supports(laio, SYS_close)) {
            int file = (int)COMPLETE(laio, SYS_openat, AT_FDCWD, fixture_root(), O_RDONLY | O_CLOEXEC);
            CHECK(COMPLETE(laio, SYS_pread64, file, &byte, 1, 0) == -EISDIR, "it is a folder");
            CHECK(COMPLETE(laio, SYS_close, file) == 0, "it is closed");
        }
        NEED((round < 2 ? pipe2(ends, O_CLOEXEC) : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) == 0);
        NEED(write(ends[1], "b", 1) == 1);
        long read_at = COMPLETE(laio, SYS_pread64, ends[0], &byte, 1, 0);
        long vector_at = laio_supports(laio, SYS_preadv) ? COMPLETE(laio, SYS_preadv, ends[0], &whole, 1, 0) : -ESPIPE;
        long write_at = laio_supports(laio, SYS_pwrite64) ? COMPLETE(laio, SYS_pwrite64, ends[1], &byte, 1, 0) : -ESPIPE;
        CHECK(read_at == -ESPIPE && vector_at == -ESPIPE && write_at == -ESPIPE, "in round %d: %ld, %ld, %ld", round,
              read_at, vector_at, write_at);
        CHECK(readable_bytes(ends[0]) == 1, "one byte is in it still, and no other: %zu", readable_bytes(ends[0]));
        close(ends[0]);
        close(ends[1]);
    }
    laio_close(laio);
}

/* Opening a FIFO for reading while its writer waits: that one must not see its reader vanish. */

struct writer {
    pthread_t thread;
    const char *path;
    int descriptor;
    long written;
};

static void *open_and_write(void *argument)
{
    struct writer *writer = argument;
    writer->descriptor = open(writer->path, O_WRONLY | O_CLOEXEC);
    writer->written = write(writer->descriptor, "x", 1) == 1 ? 1 : -errno;
    return NULL;
}

static void check_fifo(const struct settings *settings)
{
    char path[350], byte = 0;
    snprintf(path, sizeof path, "%s/alike", fixture_root());
    NEED(mkfifo(path, 0600) == 0);
    struct writer writer = {.path = path};
    for (int round = 0; round < 50; round++) {
        NEED(pthread_create(&writer.thread, NULL, open_and_write, &writer) == 0); /* before laio_open(), as it says */
        struct laio *laio = open_engine(settings, (struct laio_options){0});
        bool supported = laio_supports(laio, SYS_openat);
        if (supported) /* the first call may make the engine open what it needs */
            COMPLETE(laio, SYS_openat, AT_FDCWD, "/nowhere", O_RDONLY | O_CLOEXEC);
        int lowest = dup(0);
        close(lowest);
        int reader = supported ? (int)COMPLETE(laio, SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC)
                               : open(path, O_RDONLY | O_CLOEXEC);
        CHECK(reader >= 0 && (fcntl(reader, F_GETFL) & O_NONBLOCK) == 0, "the reader is open, and blocks: %d", reader);
        CHECK(read(reader, &byte, 1) == 1 && byte == 'x', "it reads what was written");
        pthread_join(writer.thread, NULL);
        CHECK(writer.written == 1, "its writer wrote: %ld", writer.written);
        CHECK(reader <= lowest + 1, "it got one of the lowest numbers");
        close(writer.descriptor);
        close(reader);
        laio_close(laio);
    }
    unlink(path);
}

/* Datagrams to and from an address, by two sockets that know nothing of each other. */
static void check_addresses(const struct settings *settings)
{
    struct laio *laio = open_engine(settings, (struct laio_options){0});
    struct sockaddr_in own[2], from;
    int ends[2];
    for (int i = 0; i < 2; i++) {
        socklen_t bytes = sizeof own[i];
        own[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        ends[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        NEED(ends[i] >= 0 && bind(ends[i], (struct sockaddr *)&own[i], bytes) == 0);
        NEED(getsockname(ends[i], (struct sockaddr *)&own[i], &bytes) == 0);
    }
    if (laio_supports(laio, SYS_sendto) && laio_supports(laio, SYS_recvfrom)) {
        char got[8] = "";
        socklen_t bytes = 4; /* room for the beginning of an address: it is cut, and its length told */
        memset(&from, 0x55, sizeof from);
        long received;
        if (is_lazy(settings->engine)) {
            received = laio_syscall(laio, SYS_recvfrom, ends[1], got, sizeof got, 0, &from, &bytes);
            NEED(sendto(ends[0], "late", 5, 0, (struct sockaddr *)&own[1], sizeof own[1]) == 5);
            received = complete(laio, received);
            CHECK(received == 5 && strcmp(got, "late") == 0, "it is received: %ld", received);
            CHECK(bytes == sizeof from && memcmp(&from, &own[0], 4) == 0, "with an address of %u bytes", bytes);
            CHECK(from.sin_addr.s_addr == 0x55555555, "of which there was room for a part");
        }
        struct sockaddr_in *to = &own[1];
        CHECK(COMPLETE(laio, SYS_sendto, ends[0], "now", 4, 0, to, sizeof *to) == 4, "it is sent");
        bytes = sizeof from;
        received = COMPLETE(laio, SYS_recvfrom, ends[1], got, sizeof got, 0, &from, &bytes);
        CHECK(received == 4 && strcmp(got, "now") == 0, "and received: %ld", received);
        CHECK(bytes == sizeof from && from.sin_port == own[0].sin_port, "from whom it was sent");
        CHECK(COMPLETE(laio, SYS_sendto, ends[0], "now", 4, 0, to, 1000) == -EINVAL, "an address that is too long");
        CHECK(COMPLETE(laio, SYS_sendto, ends[0], "now", 4, 0, (void *)8, sizeof *to) == -EFAULT, "or is not there");
    }
    close(ends[0]);
    close(ends[1]);
    laio_close(laio);
}

/* A loop that does not poll for long: what has ended meanwhile is in nobody's way. */
static void check_unpolled(const struct settings *settings, struct partner *partner)
{
    enum { CALLS = 100 };
    struct laio *laio = open_engine(settings, (struct laio_options){.operations = 3, .threads = 4});
    struct reads reads;
    int empty[2];
    char byte;
    NEED(pipe2(empty, O_CLOEXEC | O_NONBLOCK) == 0);
    reads_start_all(&reads, laio, partner, 1);
    reads_write(&reads, 0);
    reads_settle();
    for (int i = 0; i < CALLS; i++) {
        guard_saw("calls without a poll");
        long result = COMPLETE(laio, SYS_read, empty[0], &byte, 1);
        CHECK(result == -EAGAIN, "read %d of a pipe that does not wait: %ld", i, result);
    }
    struct pollfd descriptor = {.fd = laio_descriptor(laio), .events = POLLIN};
    CHECK(poll(&descriptor, 1, 10000) == 1, "there is something to report");
    reads_finish(&reads);
    CHECK(reads.each[0].result == 1 && reads.each[0].endings == 1, "result %ld", reads.each[0].result);
    struct laio_completion none;
    CHECK(laio_poll(laio, &none, 1, 0) == 0 && poll(&descriptor, 1, 0) == 0, "and that is all");
    reads_stop(&reads);
    laio_close(laio);
    close(empty[0]);
    close(empty[1]);
}

#ifdef LAIO_WITH_URING
/* A call that holds the loop is made whole, even though another ring of the same thread completes meanwhile, which is as
 * a signal to its plain calls. */

#define HELD_BYTES 20000
#define ROOM 4096 /* of the pipe */

struct cut {
    int pipe[2], poke[2];
    bool poked;
    size_t drained;
};

static bool deed_cut(void *argument)
{
    struct cut *cut = argument;
    char bytes[ROOM];
    if (readable_bytes(cut->pipe[0]) < ROOM && cut->drained + readable_bytes(cut->pipe[0]) < ROOM + HELD_BYTES)
        return false; /* the call is not yet at it */
    if (cut->drained >= 2 * ROOM && !cut->poked) { /* it has moved a part, and waits */
        NEED(write(cut->poke[1], "p", 1) == 1);
        cut->poked = true;
        return false;
    }
    cut->drained += (size_t)read(cut->pipe[0], bytes, sizeof bytes);
    return cut->drained >= ROOM + HELD_BYTES;
}

static void check_held(const struct settings *settings, struct partner *partner)
{
    static char bytes[HELD_BYTES];
    struct io_uring other;
    struct cut cut = {.drained = 0};
    struct favour favour = {0};
    if (io_uring_queue_init(8, &other, 0) != 0)
        return; /* then the engine cannot be had, either */
    struct laio *laio = open_engine(settings, (struct laio_options){.operations = 1, .threads = 1});
    NEED(pipe2(cut.pipe, O_CLOEXEC) == 0 && pipe2(cut.poke, O_CLOEXEC) == 0);
    NEED(fcntl(cut.pipe[1], F_SETPIPE_SZ, ROOM) == ROOM && write(cut.pipe[1], bytes, ROOM) == ROOM);
    io_uring_prep_poll_add(io_uring_get_sqe(&other), cut.poke[0], POLLIN);
    NEED(io_uring_submit(&other) == 1);
    struct reads reads;
    reads_start_all(&reads, laio, partner, 1); /* the only operation */
    partner_ask(partner, &favour, deed_cut, &cut, 2000);
    long written = laio_syscall(laio, SYS_write, cut.pipe[1], bytes, sizeof bytes);
    CHECK(laio_gethandle(laio) == NULL && written == HELD_BYTES, "of %d bytes %ld were written", HELD_BYTES, written);
    CHECK(laio_count(laio)->paths[LAIO_PATH_held] == 1, "the caller was held");
    partner_settle(partner, &favour);
    CHECK(cut.poked && cut.drained + readable_bytes(cut.pipe[0]) == ROOM + HELD_BYTES, "%zu were drained", cut.drained);
    reads_write(&reads, 0);
    reads_finish(&reads);
    CHECK(reads.each[0].result == 1, "and the operation goes on: %ld", reads.each[0].result);
    reads_stop(&reads);
    laio_close(laio);
    io_uring_queue_exit(&other);
    for (int i = 0; i < 2; i++) {
        close(cut.pipe[i]);
        close(cut.poke[i]);
    }
}

/* And a signal ends it, as it ends a plain call. */
static bool deed_interrupt(void *loop)
{
    pthread_kill(*(pthread_t *)loop, SIGUSR1);
    return false;
}

static void check_held_interrupted(const struct settings *settings, struct partner *partner)
{
    int ends[2];
    char byte;
    pthread_t self = pthread_self();
    struct favour favour = {0};
    struct reads reads;
    struct laio *laio = open_engine(settings, (struct laio_options){.operations = 1, .threads = 1});
    NEED(pipe2(ends, O_CLOEXEC) == 0);
    reads_start_all(&reads, laio, partner, 1);
    partner_ask(partner, &favour, deed_interrupt, &self, 2000);
    long result = laio_syscall(laio, SYS_read, ends[0], &byte, 1);
    int error = errno;
    partner_settle(partner, &favour);
    CHECK(result == -1 && error == EINTR && laio_gethandle(laio) == NULL, "a held read: %ld, %s", result,
          strerror(error));
    NEED(write(ends[1], "b", 1) == 1);
    CHECK(readable_bytes(ends[0]) == 1, "and it reads nothing any more");
    reads_write(&reads, 0);
    reads_finish(&reads);
    reads_stop(&reads);
    laio_close(laio);
    close(ends[0]);
    close(ends[1]);
}
#endif

void check_alike(const struct settings *settings)
{
    struct partner *partner = partner_start();
    struct census before = census_take();
    guard_saw("SIGPIPE");
    check_sigpipe(settings);
    guard_saw("offsets of what has none");
    check_no_offset(settings);
    guard_saw("FIFOs");
    check_fifo(settings);
    guard_saw("addresses");
    check_addresses(settings);
    if (is_lazy(settings->engine) && strcmp(settings->engine, "pool") != 0) /* whose every call is to be polled for */
        check_unpolled(settings, partner);
#ifdef LAIO_WITH_URING
    guard_saw("held calls");
    if (strcmp(settings->engine, "uring") == 0) {
        check_held(settings, partner);
        check_held_interrupted(settings, partner);
    }
#endif
    census_check(&before, "after calls like plain ones");
    partner_stop(partner);
}
