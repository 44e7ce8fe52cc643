/* test_laio_watch.c: `activation` with its watch put aside (adaptive.c): when, and that nothing is missed then; and who
 * else has no thread before one is needed. */
#include "activation.h"
#include "check.h"
#include "fixture.h"
#include "laio_reads.h"
#include "watch_policy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define SKIPPED 77 /* exit status, as Meson understands it */

/* The policy. A loop of so many calls, in which it slept and computed so much; looked at whenever that is due. */

struct imagined {
    struct watch_policy policy;
    struct watch_seen seen;
    bool watched;
};

static struct imagined imagine(void)
{
    struct imagined loop = {.seen = {.calls = 5, .sleeps = 1000000, .cpu_us = 1000000}};
    watch_policy_start(&loop.policy, &loop.seen);
    return loop;
}

/* Returns after how many calls the state changed, or `calls`. */
static uint64_t imagine_calls(struct imagined *loop, uint64_t calls, uint64_t calls_a_sleep, uint64_t cpu_us_a_call)
{
    for (uint64_t i = 1; i <= calls; i++) {
        loop->seen.calls++;
        loop->seen.sleeps += calls_a_sleep > 0 && i % calls_a_sleep == 0;
        loop->seen.cpu_us += cpu_us_a_call;
        if (loop->seen.calls < loop->policy.look_at)
            continue;
        bool watched = watch_policy_look(&loop->policy, loop->watched, &loop->seen);
        if (watched == loop->watched)
            continue;
        loop->watched = watched;
        if (watched)
            watch_policy_up(&loop->policy, loop->seen.calls, false);
        else
            watch_policy_aside(&loop->policy, loop->seen.calls);
        return i;
    }
    return calls;
}

static void imagine_block(struct imagined *loop)
{
    loop->seen.calls++;
    loop->seen.blocks++;
    if (!loop->watched)
        watch_policy_up(&loop->policy, loop->seen.calls, true);
    loop->watched = true;
}

enum { LONG = 10000000, SERVER_US = 13, BETWEEN_US = 6, READ_US = 1, PATIENCE = 4096 };

static void check_policy(void)
{
    struct imagined loop = imagine();
    imagine_calls(&loop, LONG, 1, SERVER_US);
    CHECK(!loop.watched, "a server that sleeps is not watched");
    imagine_calls(&loop, LONG, 0, SERVER_US);
    CHECK(!loop.watched, "nor a busy one, whose calls are the least of its work");
    imagine_calls(&loop, LONG, 32, READ_US);
    CHECK(!loop.watched, "a loop of calls that sleeps sometimes");
    uint64_t after = imagine_calls(&loop, LONG, 0, READ_US);
    CHECK(loop.watched && after <= 2048, "a loop of calls alone is, after %llu", (unsigned long long)after);
    imagine_calls(&loop, LONG, 32, READ_US);
    CHECK(loop.watched, "and stays it, though it sleeps sometimes");
    after = imagine_calls(&loop, LONG, 1, SERVER_US);
    CHECK(!loop.watched && after <= 2048, "but not when it sleeps often: %llu", (unsigned long long)after);
    imagine_block(&loop);
    imagine_calls(&loop, LONG, 0, BETWEEN_US);
    CHECK(loop.watched, "it stays with one that has a little to do beside its calls");
    after = imagine_calls(&loop, LONG, 0, SERVER_US);
    CHECK(!loop.watched && after <= 2048, "but not with a busy server that blocks no more: %llu",
          (unsigned long long)after);
}

static void check_patience(void)
{
    struct imagined loop = imagine();
    uint64_t patience = PATIENCE, most = UINT64_C(256) * PATIENCE, after;
    for (int i = 0; i < 12; i++) { /* it blocks as soon as it is not watched */
        imagine_block(&loop);
        after = imagine_calls(&loop, LONG, 1, SERVER_US);
        CHECK(!loop.watched && after >= patience && after <= patience + 2048, "put aside after %llu, not %llu",
              (unsigned long long)after, (unsigned long long)patience);
        patience = patience < most ? 2 * patience : most;
    }
    imagine_calls(&loop, LONG, 1, SERVER_US); /* aside for long: that is forgotten */
    imagine_block(&loop);
    after = imagine_calls(&loop, PATIENCE / 2, 1, SERVER_US);
    imagine_block(&loop); /* and it counts from the last block */
    after = imagine_calls(&loop, LONG, 1, SERVER_US);
    CHECK(!loop.watched && after >= PATIENCE && after <= PATIENCE + 2048, "after %llu", (unsigned long long)after);
    imagine_block(&loop);
    for (int i = 0; i < 1000 && loop.watched; i++) {
        imagine_calls(&loop, 2 * PATIENCE, 1, SERVER_US);
        imagine_block(&loop);
    }
    CHECK(loop.watched, "a loop that blocks again and again stays watched");
}

/* The engine */

static struct laio *open_or_null(const char *engine, const char *watch, struct laio_options options)
{
    char why[300] = "";
    options.watch = watch;
    struct laio *laio = laio_open(engine, &options, why, sizeof why);
    if (laio == NULL)
        puts(why);
    return laio;
}

static struct laio *open_watch(const char *watch, struct laio_options options)
{
    struct laio *laio = open_or_null("activation", watch, options);
    NEED(laio != NULL);
    return laio;
}

static uint64_t went(struct laio *laio, enum laio_path path)
{
    return laio_count(laio)->paths[path];
}

static int entries(const char *folder, const char *target)
{
    DIR *directory = opendir(folder);
    NEED(directory != NULL);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char name[300];
        ssize_t bytes = target != NULL ? readlinkat(dirfd(directory), entry->d_name, name, sizeof name - 1) : 0;
        name[bytes > 0 ? bytes : 0] = '\0';
        count += entry->d_name[0] != '.' && (target == NULL || strcmp(name, target) == 0);
    }
    closedir(directory);
    return count;
}

static int threads(void)
{
    return entries("/proc/self/task", NULL);
}

static int events(void)
{
    return entries("/proc/self/fd", "anon_inode:[perf_event]");
}

static int open_file(const char *name, int flags)
{
    char path[350];
    snprintf(path, sizeof path, "%s/%s", fixture_root(), name);
    return open(path, flags | O_CLOEXEC);
}

/* A read of what is in memory; returns the path it went. */
static enum laio_path read_cached(struct laio *laio, int file)
{
    char bytes[1024];
    struct laio_counters before = *laio_count(laio);
    long got = laio_syscall(laio, SYS_pread64, file, bytes, sizeof bytes, 512);
    CHECK(laio_gethandle(laio) == NULL && got == sizeof bytes && bytes[0] == fixture_byte(512), "a cached read: %ld",
          got);
    return went(laio, LAIO_PATH_hit) > before.paths[LAIO_PATH_hit] ? LAIO_PATH_hit : LAIO_PATH_inline;
}

static void check_beginning(const struct laio_options *options)
{
    int file = open_file("memory.bin", O_RDONLY), threads_before = threads(), events_before = events();
    struct laio *laio = open_watch(NULL, *options);
    CHECK(strcmp(laio_watch(laio), "adaptive") == 0, "the watch is %s", laio_watch(laio));
    int alone = options->threads_at_first == 0;
    CHECK(laio_count(laio)->threads == options->threads_at_first, "%u threads", laio_count(laio)->threads);
    for (int i = 0; i < 10; i++)
        CHECK(read_cached(laio, file) == LAIO_PATH_hit, "it is asked for");
    int threads_now = threads(), events_now = events();
    CHECK(threads_now == threads_before + (int)options->threads_at_first, "%d threads", threads_now);
    CHECK(events_now == events_before + (alone ? 0 : (int)options->threads_at_first), "%d events", events_now);
    CHECK(laio_count(laio)->watch_again == 0 && laio_count(laio)->watch_aside == 0, "the watch was not touched");
    long got = laio_syscall(laio, SYS_getppid);
    CHECK(got == getppid() && laio_count(laio)->watch_again == 1, "another call takes it up");
    unsigned at_work = laio_count(laio)->threads;
    CHECK(at_work == (alone ? 4 : options->threads_at_first), "%u threads", at_work);
    CHECK(read_cached(laio, file) == LAIO_PATH_inline, "and then reads are plain calls");
    laio_close(laio);
    CHECK(events() == events_before, "all events are closed");
    close(file);
}

/* Each in turn, with the watch aside before: none is missed. */
static void check_blocks(struct partner *partner)
{
    struct laio *laio = open_watch("adaptive", (struct laio_options){0});
    for (unsigned i = 1; i <= 50; i++) {
        struct reads reads;
        int events_before = events();
        reads_start(&reads, laio, partner, 1);
        CHECK(reads.in_progress == 1, "a read of an empty pipe held the loop");
        CHECK(laio_count(laio)->watch_again == i, "it took the watch up");
        if (i > 1)
            CHECK(events() == events_before + 1, "the event is there again");
        bool aside = activation_put_aside((struct activation *)laio);
        for (int tries = 0; !aside && tries < 1000; tries++) {
            usleep(1000);
            aside = activation_put_aside((struct activation *)laio);
        }
        CHECK(aside, "put aside with an operation in progress");
        reads_write(&reads, 0);
        reads_finish(&reads);
        reads_stop(&reads);
        guard_saw("reads of empty pipes");
    }
    CHECK(went(laio, LAIO_PATH_held) == 0, "%llu calls were held", (unsigned long long)went(laio, LAIO_PATH_held));
    laio_close(laio);
}

/* The end while the watch is aside, and very many are in progress. */
static void check_many(struct partner *partner, bool cancels)
{
    struct rlimit limit;
    NEED(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    size_t many = limit.rlim_max > 4000 ? 1000 : limit.rlim_max / 4;
    struct laio *laio = open_watch(NULL, (struct laio_options){.threads = 1000, .operations = 1010});
    struct reads reads;
    reads_start(&reads, laio, partner, many);
    CHECK(reads.in_progress > many / 100, "%zu are in progress", reads.in_progress);
    activation_put_aside((struct activation *)laio);
    while (cancels && reads.in_progress > 0) {
        laio_cancel(laio);
        reads_poll(&reads, NULL, 64, 20);
        guard_saw("cancelled reads");
    }
    laio_close(laio);
    for (size_t i = 0; i < reads.count; i++)
        reads.each[i].endings = 1; /* those of laio_close() are not said */
    reads_stop(&reads);
}

/* Half a file is in memory: what was read at once and what was waited for are one result. Where pages cannot be evicted
 * (tmpfs), it is a hit. */
static void check_half_cached(long number, bool vector)
{
    enum { BYTES = 262144, FIRST = 4096 };
    static char bytes[300000], got[BYTES];
    int file = open_file("sendfile.bin", O_RDONLY);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = fixture_byte(i);
    NEED(file >= 0 && fsync(file) == 0);
    posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM); /* no reading ahead */
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    NEED(pread(file, got, FIRST, 0) == FIRST);
    memset(got, 0, sizeof got);
    struct laio *laio = open_watch(NULL, (struct laio_options){0});
    struct iovec parts[] = {{got, 1000}, {got + 1000, 50000}, {got + 51000, BYTES - 51000}};
    long result = vector ? laio_syscall(laio, number, file, parts, 3, 0)
                         : laio_syscall(laio, number, file, got, BYTES, 0);
    result = complete(laio, result);
    CHECK(result == BYTES && memcmp(got, bytes, BYTES) == 0, "call %ld of a file half in memory: %ld", number, result);
    bool moves = number == SYS_read || number == SYS_readv;
    CHECK(lseek(file, 0, SEEK_CUR) == (moves ? BYTES : 0), "the file's position");
    printf("a file half in memory, call %ld: the watch was taken up %llu times\n", number,
           (unsigned long long)laio_count(laio)->watch_again);
    laio_close(laio);
    close(file);
}

/* What RWF_NOWAIT would wait for is not asked. */
static void check_direct(void)
{
    int file = open_file("sendfile.bin", O_RDONLY | O_DIRECT);
    if (file < 0)
        return; /* the file system has no O_DIRECT */
    void *page = aligned_alloc(4096, 4096);
    struct laio *laio = open_watch(NULL, (struct laio_options){0});
    long result = complete(laio, laio_syscall(laio, SYS_pread64, file, page, 4096, 0));
    CHECK(result == 4096 && laio_count(laio)->watch_again == 1 && went(laio, LAIO_PATH_hit) == 0,
          "a direct read is watched: %ld", result);
    laio_close(laio);
    free(page);
    close(file);
}

/* Opening what is known by name, in the one way that never waits for anything else. */
static void check_open(const char *engine)
{
    struct laio *laio = open_or_null(engine, NULL, (struct laio_options){0});
    NEED(laio != NULL);
    int folder = open(fixture_root(), O_PATH | O_DIRECTORY | O_CLOEXEC), file = open_file("small.txt", O_RDONLY);
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    NEED(folder >= 0 && file >= 0);
    long opened = laio_syscall(laio, SYS_openat2, folder, "small.txt", &how, sizeof how);
    if (laio_gethandle(laio) == NULL && opened >= 0 && went(laio, LAIO_PATH_hit) == 1) { /* from Linux 5.12 on */
        CHECK(laio_count(laio)->threads == 0, "%s: %u threads", engine, laio_count(laio)->threads);
        CHECK(fcntl((int)opened, F_GETFL) == (fcntl(file, F_GETFL) | O_NONBLOCK), "%s: opened as asked", engine);
        close((int)opened);
        struct open_how wrong = {.flags = how.flags | UINT64_C(1) << 60};
        const struct {
            const char *path;
            const void *how;
            size_t bytes;
            int error;
        } failing[] = {
            {"missing", &how, sizeof how, ENOENT}, {"small.txt", &wrong, sizeof wrong, EINVAL},
            {"small.txt", &how, 4, EINVAL},        {"small.txt", NULL, sizeof how, EFAULT},
            {NULL, &how, sizeof how, EFAULT},      {"small.txt", (void *)8, sizeof how, EFAULT},
        };
        for (size_t i = 0; i < sizeof failing / sizeof failing[0]; i++) {
            opened = laio_syscall(laio, SYS_openat2, folder, failing[i].path, failing[i].how, failing[i].bytes);
            CHECK(complete(laio, opened) == -failing[i].error, "%s: failure %zu", engine, i);
        }
    } else {
        printf("%s: RESOLVE_CACHED is not known here: %ld\n", engine, opened);
    }
    laio_close(laio);
    close(folder);
    close(file);
}

/* The whole cycle as the policy has it, in a loop that sleeps, and then does nothing but read. */
static void check_cycle(void)
{
    struct laio *laio = open_watch("adaptive", (struct laio_options){0});
    int file = open_file("memory.bin", O_RDONLY);
    laio_syscall(laio, SYS_getppid);
    int events_before = events();
    for (int i = 0; i < 20000 && laio_count(laio)->watch_aside == 0; i++) {
        read_cached(laio, file);
        if (i % 8 == 0)
            usleep(1);
        guard_saw("a loop that sleeps");
    }
    CHECK(laio_count(laio)->watch_aside == 1, "the watch was put aside");
    CHECK(events() == events_before - 1, "its event is closed");
    CHECK(read_cached(laio, file) == LAIO_PATH_hit, "and reads are asked for");
    for (int i = 0; i < 500000 && laio_count(laio)->watch_again == 1; i++) {
        char byte;
        CHECK(laio_syscall(laio, SYS_pread64, file, &byte, 1, 0) == 1, "a byte");
        guard_saw("a loop of reads");
    }
    CHECK(laio_count(laio)->watch_again == 2, "taken up by a loop that does nothing but read");
    CHECK(read_cached(laio, file) == LAIO_PATH_inline, "reads are plain calls again");
    laio_close(laio);
    close(file);
}

/* No descriptor for the loop's event, and then none for the standby's: the call is made nevertheless, and the next one
 * tries again. */
static void check_failing(void)
{
    struct rlimit limit, full;
    NEED(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (rlim_t more = 0; more < 2; more++) {
        struct laio *laio = open_watch(NULL, (struct laio_options){0});
        int lowest = dup(0), threads_before = threads();
        NEED(lowest >= 0 && close(lowest) == 0);
        full = (struct rlimit){(rlim_t)lowest + more, limit.rlim_max};
        NEED(setrlimit(RLIMIT_NOFILE, &full) == 0);
        errno = 0;
        for (int i = 0; i < 3; i++) {
            CHECK(laio_syscall(laio, SYS_getppid) == getppid() && errno == 0, "a call that cannot be watched");
            CHECK(laio_gethandle(laio) == NULL, "is held");
        }
        NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        const struct laio_counters *counters = laio_count(laio);
        CHECK(counters->watch_failed == 3 && counters->watch_again == 0 && counters->paths[LAIO_PATH_held] == 3,
              "that is counted: %llu, held %llu", (unsigned long long)counters->watch_failed,
              (unsigned long long)counters->paths[LAIO_PATH_held]);
        CHECK(counters->threads == 0 && threads() == threads_before, "and leaves no thread");
        CHECK(laio_syscall(laio, SYS_getppid) == getppid(), "again");
        counters = laio_count(laio);
        CHECK(counters->watch_failed == 3 && counters->watch_again == 1 && counters->threads == 4, "and it is watched");
        laio_close(laio);
    }
}

/* Helpers */

static void check_helpers(void)
{
    int file = open_file("memory.bin", O_RDONLY), threads_before = threads();
    for (unsigned at_first = 0; at_first < 3; at_first += 2) {
        struct laio *laio = open_or_null("nowait", NULL, (struct laio_options){.threads_at_first = at_first});
        NEED(laio != NULL);
        CHECK(read_cached(laio, file) == LAIO_PATH_hit, "nowait asks");
        CHECK(threads() == threads_before + (int)at_first && laio_count(laio)->threads == at_first, "%u threads",
              laio_count(laio)->threads);
        CHECK(complete(laio, laio_syscall(laio, SYS_getppid)) == getppid(), "a helper's call");
        CHECK(laio_count(laio)->threads == (at_first > 0 ? at_first : 1), "%u threads", laio_count(laio)->threads);
        laio_close(laio);
    }
    close(file);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* No memory for the stack of a thread. Before any has left its stack to the next one. */
static void check_no_thread(const char *engine)
{
    int ends[2];
    char bytes[2] = "";
    struct laio *laio = open_or_null(engine, NULL, (struct laio_options){0});
    if (laio == NULL)
        return;
    struct rlimit limit, full;
    NEED(pipe2(ends, O_CLOEXEC) == 0 && getrlimit(RLIMIT_AS, &limit) == 0);
    full = (struct rlimit){1 << 20, limit.rlim_max};
    NEED(setrlimit(RLIMIT_AS, &full) == 0);
    long parent = laio_syscall(laio, SYS_getppid), handle = laio_gethandle(laio) != NULL;
    NEED(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(parent == getppid() && !handle && went(laio, LAIO_PATH_held) == 1, "%s, no thread: %ld", engine, parent);
    laio_syscall(laio, SYS_read, ends[0], bytes, 1);
    CHECK(laio_gethandle(laio) != NULL, "%s: but then there is one", engine);
    NEED(write(ends[1], "x", 1) == 1);
    struct laio_completion completion;
    NEED(laio_poll(laio, &completion, 1, -1) == 1);
    CHECK(completion.result == 1 && bytes[0] == 'x', "%s: %ld", engine, completion.result);
    laio_close(laio);
    close(ends[0]);
    close(ends[1]);
}
#endif

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    check_policy();
    check_patience();
    struct laio *laio = open_or_null("activation", "adaptive", (struct laio_options){0});
    bool can = laio != NULL;
    if (can)
        laio_close(laio);
    fixture_root();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    check_no_thread("nowait");
    if (can)
        check_no_thread("activation");
#endif
    guard_start();
    check_helpers();
    check_open("nowait");
    if (!can)
        return checks_failed != 0 ? 1 : SKIPPED;
    struct partner *partner = partner_start();
    check_beginning(&(struct laio_options){0});
    check_beginning(&(struct laio_options){.threads_at_first = 2});
    check_failing();
    check_blocks(partner);
    check_half_cached(SYS_read, false);
    check_half_cached(SYS_pread64, false);
    check_half_cached(SYS_readv, true);
    check_half_cached(SYS_preadv, true);
    check_open("activation");
    check_direct();
    check_cycle();
    check_many(partner, true);
    check_many(partner, false);
    partner_stop(partner);
    return checks_failed != 0;
}
