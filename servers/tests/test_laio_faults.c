/* test_laio_faults.c: the contract of laio.h, sentence by sentence, where random operations do not come by. */
#include "test_laio.h"

#include "check.h"
#include "fixture.h"
#include "laio_reads.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

static void check_ordinary(const struct settings *settings)
{
    struct laio *laio = open_engine(settings, (struct laio_options){0});
    CHECK(laio_gethandle(laio) == NULL, "before any call");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    NEED(bind(listener, (struct sockaddr *)&address, bytes) == 0 && listen(listener, 1) == 0);
    NEED(getsockname(listener, (struct sockaddr *)&address, &bytes) == 0);
    if (laio_supports(laio, SYS_connect)) {
        long result = complete(laio, laio_syscall(laio, SYS_connect, client, &address, bytes));
        CHECK(result == -EINPROGRESS, "connect without waiting: %ld", result);
        NEED(fixture_readable(listener, 10000));
        result = complete(laio, laio_syscall(laio, SYS_connect, client, &address, bytes));
        CHECK(result == 0 || result == -EISCONN, "again, when it is connected: %ld", result);
    }
    close(client);
    close(listener);

    /* A full table of descriptors. */
    if (laio_supports(laio, SYS_openat)) {
        struct rlimit limit, full;
        int lowest = dup(0);
        NEED(lowest >= 0 && close(lowest) == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
        full = (struct rlimit){(rlim_t)lowest, limit.rlim_max};
        NEED(setrlimit(RLIMIT_NOFILE, &full) == 0);
        long result = complete(laio, laio_syscall(laio, SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC));
        NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        CHECK(result == -EMFILE, "openat into a full table: %ld", result);
        result = complete(laio, laio_syscall(laio, SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC));
        CHECK(result >= 0 && close((int)result) == 0, "and when there is room again: %ld", result);
    }
    laio_close(laio);

    char why[300] = "";
    bool refused = laio_open("no-such-engine", NULL, why, sizeof why) == NULL;
    CHECK(refused && strstr(why, "plain") != NULL, "it says: %s", why);
}

/* Without anything in progress: how long laio_poll() waits, and that its descriptor is not readable for ever. */

static void drain_descriptor(struct laio *laio, int epoll)
{
    struct laio_completion completion;
    struct epoll_event event;
    int rounds = 0;
    while (rounds < 1000 && epoll_wait(epoll, &event, 1, 0) == 1) {
        CHECK(laio_poll(laio, &completion, 1, 0) == 0, "a completion of nothing");
        rounds++;
    }
    CHECK(rounds < 1000, "the descriptor stays readable");
}

static int watch_descriptor(struct laio *laio)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    NEED(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, laio_descriptor(laio), &event) == 0);
    return epoll;
}

static void wait_for_descriptor(int epoll)
{
    struct epoll_event event;
    int ready;
    while ((ready = epoll_wait(epoll, &event, 1, -1)) < 0 && errno == EINTR) /* by io_uring's work, too */
        ;
    CHECK(ready == 1, "the descriptor is readable");
}

static void check_idle(const struct settings *settings)
{
    struct laio *laio = open_engine(settings, (struct laio_options){0});
    struct laio_completion completion;
    int epoll = watch_descriptor(laio);
    CHECK(laio_poll(laio, &completion, 1, 0) == 0, "not at all");
    CHECK(laio_poll(laio, NULL, 0, -1) == 0, "room for none");
    uint64_t before_ns = partner_now_ns();
    CHECK(laio_poll(laio, &completion, 1, 20) == 0, "20 ms");
    CHECK(partner_now_ns() - before_ns >= 19 * UINT64_C(1000000), "they were %llu ns",
          (unsigned long long)(partner_now_ns() - before_ns));
    drain_descriptor(laio, epoll);
    laio_cancel(laio);
    drain_descriptor(laio, epoll);
    close(epoll);
    laio_close(laio);
}

/* Completions: in the order of ending, a few at a time, and the descriptor is readable when there are any. */

static bool deed_write_first(void *reads)
{
    reads_write(reads, 0);
    return true;
}

static void check_order(const struct settings *settings, struct partner *partner)
{
    enum { READS = 16 };
    struct laio *laio = open_engine(settings, (struct laio_options){.threads = READS + 4});
    struct reads reads;
    struct one_read *ended[READS];
    int epoll = watch_descriptor(laio), count = 0;
    reads_start_all(&reads, laio, partner, READS);
    for (size_t i = 0; i < READS; i++) {
        size_t which = i * 5 % READS;
        reads_write(&reads, which);
        reads_settle();
    }
    wait_for_descriptor(epoll);
    for (int got; (got = reads_poll(&reads, ended + count, 3, count < READS ? -1 : 0)) > 0;)
        count += got;
    CHECK(count == READS, "%d ended", count);
    for (int i = 0; i < count; i++)
        CHECK(ended[i] == &reads.each[i * 5 % READS] && ended[i]->result == 1 && ended[i]->byte == 'r', "number %d", i);
    drain_descriptor(laio, epoll);
    reads_stop(&reads);

    /* The same by epoll, for one that ends while the loop sleeps. */
    reads_start_all(&reads, laio, partner, 1);
    drain_descriptor(laio, epoll);
    struct favour favour = {0};
    partner_ask(partner, &favour, deed_write_first, &reads, 5000);
    while (reads.in_progress > 0) {
        wait_for_descriptor(epoll);
        reads_poll(&reads, ended, 1, 0);
    }
    partner_settle(partner, &favour);
    drain_descriptor(laio, epoll);
    reads_stop(&reads);
    close(epoll);
    laio_close(laio);
}

/* To each thread, since a signal to the process goes to the first that takes it. */
static void signal_all(void)
{
    DIR *tasks = opendir("/proc/self/task");
    NEED(tasks != NULL);
    for (struct dirent *task; (task = readdir(tasks)) != NULL;)
        if (task->d_name[0] != '.')
            syscall(SYS_tgkill, getpid(), atoi(task->d_name), SIGUSR1);
    closedir(tasks);
}

/* A signal: what plain calls would give, that is EINTR or a completion, and nothing is lost. */
static void check_interrupted(const struct settings *settings, struct partner *partner)
{
    enum { READS = 16 };
    struct laio *laio = open_engine(settings, (struct laio_options){.threads = READS + 4});
    struct reads reads;
    reads_start_all(&reads, laio, partner, READS);
    for (int i = 0; i < 40; i++) {
        if (i % 4 == 0)
            signal_all();
        else
            kill(getpid(), SIGUSR1);
        CHECK(reads_poll(&reads, NULL, READS, i % 3) >= 0 || errno == EINTR, "laio_poll: %s", strerror(errno));
    }
    for (size_t i = 0; i < READS; i++)
        reads_write(&reads, i);
    reads_finish(&reads);
    int interrupted = 0;
    for (size_t i = 0; i < READS; i++) {
        const struct one_read *one = &reads.each[i];
        CHECK(one->result == 1 || one->result == -EINTR, "read %zu: %ld", i, one->result);
        CHECK(readable_bytes(one->pipe[0]) == (one->result == 1 ? 0 : 1), "its byte is read, or it is not");
        interrupted += one->result == -EINTR;
    }
    printf("signals: %d of %d reads were interrupted\n", interrupted, READS);
    reads_stop(&reads);
    laio_close(laio);
}

/* The other end closes: the end of the pipe, or EPIPE. */
static void check_closed(const struct settings *settings, struct partner *partner)
{
    struct laio *laio = open_engine(settings, (struct laio_options){0});
    struct reads reads;
    reads_start_all(&reads, laio, partner, 2);
    close(reads.each[0].pipe[1]);
    reads.each[0].pipe[1] = -1;
    reads_write(&reads, 1);
    reads_finish(&reads);
    CHECK(reads.each[0].result == 0 && reads.each[1].result == 1, "results %ld, %ld", reads.each[0].result,
          reads.each[1].result);
    reads_stop(&reads);

    int full[2];
    static char bytes[1 << 20];
    NEED(pipe2(full, O_CLOEXEC) == 0);
    long written = laio_syscall(laio, SYS_write, full[1], bytes, sizeof bytes); /* the pipe has no room for all of it */
    bool waits = laio_gethandle(laio) != NULL;
    CHECK(written == -1 && waits, "a write to a pipe without room: %ld", written);
    while (readable_bytes(full[0]) == 0)
        usleep(1000);
    close(full[0]);
    if (waits) {
        struct laio_completion completion;
        NEED(laio_poll(laio, &completion, 1, -1) == 1);
        bool some = completion.result > 0 && completion.result < (long)sizeof bytes;
        CHECK(some, "result %ld, error %d", completion.result, completion.error);
    }
    close(full[1]);
    laio_close(laio);
}

void check_contract(const struct settings *settings)
{
    struct partner *partner = partner_start();
    struct census before = census_take();
    guard_saw("ordinary calls");
    check_ordinary(settings);
    guard_saw("nothing in progress");
    check_idle(settings);
    census_check(&before, "after ordinary calls");
    if (is_lazy(settings->engine)) {
        guard_saw("the order of completions");
        check_order(settings, partner);
        guard_saw("signals");
        if (may_signal(settings->engine))
            check_interrupted(settings, partner);
        guard_saw("closed pipes");
        check_closed(settings, partner);
        census_check(&before, "after lazy calls");
    }
    partner_stop(partner);
}
