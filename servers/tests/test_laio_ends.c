/* test_laio_ends.c: too little of everything, cancelling, abandoning, closing, and what is left then. */
#include "test_laio.h"

#include "check.h"
#include "fixture.h"
#include "laio_reads.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>

#define MANY 1000            /* in progress at a time; opened and closed */
#define DESCRIPTORS_KEPT 100 /* not for pipes: standbys have some */

/* Few operations, few threads: the caller is held, and all is as right as with many. */
static void check_scarce(const struct settings *settings)
{
    static const struct laio_options scarce[] = {
        {.operations = 8},
        {.threads = 2, .threads_at_first = 1},
        {.operations = 1, .threads = 1, .threads_at_first = 1},
    };
    struct operations *operations = calloc(1, sizeof *operations);
    NEED(operations != NULL);
    operations_start(operations, "scarce", settings->in_progress, settings->seed + 1);
    for (size_t i = 0; i < sizeof scarce / sizeof scarce[0]; i++) {
        struct laio *laio = open_engine(settings, scarce[i]);
        uint64_t count = settings->operations / 20;
        run_random(settings->engine, laio, operations, i * count, count, "with few operations or threads");
        if (scarce[i].operations > 0)
            CHECK(laio_count(laio)->in_progress_peak <= scarce[i].operations, "no more than there are");
        laio_close(laio);
    }
    operations_stop(operations);
    free(operations);
}

/* Cancelled while they wait */

static size_t most_reads(void)
{
    struct rlimit limit;
    NEED(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 2 * DESCRIPTORS_KEPT);
    size_t most = (limit.rlim_cur - DESCRIPTORS_KEPT) / 2;
    return most < MANY ? most : MANY;
}

static void check_cancelled(const struct settings *settings, struct partner *partner, unsigned threads)
{
    struct laio *laio = open_engine(settings, (struct laio_options){.threads = threads, .operations = MANY + 10});
    struct reads reads;
    reads_start(&reads, laio, partner, most_reads());
    size_t begun = reads.in_progress;
    CHECK(begun > 1, "%zu reads are in progress", begun);
    size_t written = begun / 2; /* one of them has something to read after all */
    reads_write(&reads, written);
    uint64_t began_ns = partner_now_ns();
    while (reads.in_progress > 0) {
        laio_cancel(laio);
        reads_poll(&reads, NULL, 64, 20);
        guard_saw("cancelled reads");
    }
    printf("%zu reads with %u threads: cancelled in %llu ms, ", begun, threads,
           (unsigned long long)(partner_now_ns() - began_ns) / 1000000);
    size_t cancelled = 0;
    for (size_t i = 0; i < begun; i++) {
        const struct one_read *one = &reads.each[i];
        bool is_cancelled = one->result == -ECANCELED;
        cancelled += is_cancelled;
        size_t bytes = (i == written) + one->released;
        CHECK(is_cancelled || (bytes > 0 && one->result == 1), "read %zu: %ld", i, one->result);
        CHECK(readable_bytes(one->pipe[0]) == bytes - !is_cancelled, "its byte is read, or it is not");
    }
    CHECK(cancelled > 0, "%zu were cancelled", cancelled);
    CHECK(laio_count(laio)->in_progress == 0 && laio_poll(laio, NULL, 0, 0) == 0, "and nothing is left");
    reads_stop(&reads);

    /* It goes on as before; and then it is closed with all in progress. */
    reads_start(&reads, laio, partner, most_reads());
    CHECK(reads.in_progress > 1, "%zu reads are in progress", reads.in_progress);
    size_t writes = reads.in_progress < 4 ? reads.in_progress : 4;
    for (size_t i = 0; i < writes; i++)
        reads_write(&reads, i);
    for (bool all = false; !all;) {
        reads_poll(&reads, NULL, 4, -1);
        all = true;
        for (size_t i = 0; i < writes; i++)
            all = all && reads.each[i].endings == 1;
    }
    for (size_t i = 0; i < writes; i++)
        CHECK(reads.each[i].result == 1, "read %zu after the others were cancelled: %ld", i, reads.each[i].result);
    began_ns = partner_now_ns();
    laio_close(laio);
    printf("closed in %llu ms\n", (unsigned long long)(partner_now_ns() - began_ns) / 1000000);
    for (size_t i = 0; i < reads.count; i++)
        reads.each[i].endings = 1; /* those of laio_close() are not said */
    reads_stop(&reads);
}

/* Abandoned */

struct abandoned {
    int releases;
    bool opens; /* its result is a descriptor */
    long result;
    char path[350];
};

static void release(void *argument, long result)
{
    struct abandoned *abandoned = argument;
    abandoned->releases++;
    abandoned->result = result;
    if (abandoned->opens && result >= 0)
        close((int)result);
}

enum { ABANDONED_READS = 30, ABANDONED_OPENS = 6 };

/* Opens FIFOs that nobody writes to. Where there is no such call, there are none. */
static void abandon_opens(struct laio *laio, struct abandoned *opens)
{
    for (int i = 0; i < ABANDONED_OPENS && laio_supports(laio, SYS_openat); i++) {
        snprintf(opens[i].path, sizeof opens[i].path, "%s/abandoned-%d", fixture_root(), i);
        NEED(mkfifo(opens[i].path, 0600) == 0);
        long result = laio_syscall(laio, SYS_openat, AT_FDCWD, opens[i].path, O_RDONLY | O_CLOEXEC);
        opens[i].opens = laio_gethandle(laio) != NULL;
        if (opens[i].opens)
            laio_abandon(laio, laio_gethandle(laio), release, &opens[i]);
        else if (result >= 0)
            close((int)result);
    }
}

static void check_abandoned(const struct settings *settings, struct partner *partner)
{
    struct laio *laio = open_engine(settings, (struct laio_options){.threads = ABANDONED_READS + ABANDONED_OPENS + 4});
    struct abandoned abandoned[ABANDONED_READS] = {{.releases = 0}}, opens[ABANDONED_OPENS] = {{.releases = 0}};
    struct reads reads;
    reads_start_all(&reads, laio, partner, ABANDONED_READS);
    for (int i = 0; i < ABANDONED_READS; i += 3)
        laio_abandon(laio, reads.each[i].handle, release, &abandoned[i]);
    abandon_opens(laio, opens);

    /* Half of each ends now, and the other half when the library is closed. */
    int writers[ABANDONED_OPENS];
    for (size_t i = 0; i < ABANDONED_READS / 2; i++)
        reads_write(&reads, i);
    for (int i = 0; i < ABANDONED_OPENS / 2; i++)
        writers[i] = opens[i].opens ? open(opens[i].path, O_RDWR | O_CLOEXEC) : -1;
    for (bool all = false; !all; guard_saw("abandoned operations")) {
        reads_poll(&reads, NULL, 8, 1);
        all = true;
        for (int i = 0; i < ABANDONED_READS / 2; i++)
            all = all && (i % 3 == 0 ? abandoned[i].releases : reads.each[i].endings) > 0;
        for (int i = 0; i < ABANDONED_OPENS / 2; i++)
            all = all && (!opens[i].opens || opens[i].releases > 0);
    }
    laio_close(laio);
    for (int i = 0; i < ABANDONED_READS; i++) {
        bool given = i % 3 == 0, first_half = i < ABANDONED_READS / 2;
        CHECK(abandoned[i].releases == given, "read %d was released %d times", i, abandoned[i].releases);
        CHECK(reads.each[i].endings == (!given && first_half), "read %d was reported %d times", i,
              reads.each[i].endings);
        if (given)
            CHECK(abandoned[i].result == (first_half ? 1 : -ECANCELED), "read %d: %ld", i, abandoned[i].result);
        reads.each[i].endings = 1;
    }
    for (int i = 0; i < ABANDONED_OPENS; i++) {
        bool first_half = i < ABANDONED_OPENS / 2;
        if (first_half && writers[i] >= 0)
            close(writers[i]);
        CHECK(opens[i].releases == opens[i].opens, "opening %d was released %d times", i, opens[i].releases);
        if (opens[i].opens)
            CHECK(first_half ? opens[i].result >= 0 : opens[i].result == -ECANCELED, "opening %d: %ld", i,
                  opens[i].result);
        unlink(opens[i].path);
    }
    reads_stop(&reads);
}

/* Reads from the disk cannot be made to wait: but many that were evicted are in progress when the library is closed. */
static void check_abandoned_files(const struct settings *settings)
{
    enum { READS = 200, BYTES = 8192, FILE_BYTES = READS * BYTES };
    static char bytes[FILE_BYTES], got[FILE_BYTES];
    static struct abandoned abandoned[READS];
    bool lazily[READS];
    memset(abandoned, 0, sizeof abandoned);
    memset(got, 0, sizeof got);
    for (size_t i = 0; i < FILE_BYTES; i++)
        bytes[i] = fixture_byte(i * 3 + i / 8192);
    char path[350];
    fixture_write("abandoned.bin", bytes, sizeof bytes);
    snprintf(path, sizeof path, "%s/abandoned.bin", fixture_root());
    int file = open(path, O_RDONLY | O_CLOEXEC);
    NEED(file >= 0 && fsync(file) == 0);
    posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    struct laio *laio = open_engine(settings, (struct laio_options){0});
    for (size_t i = 0; i < READS; i++) {
        char *buffer = got + i * BYTES;
        abandoned[i].result = laio_syscall(laio, SYS_pread64, file, buffer, BYTES, i * BYTES);
        lazily[i] = laio_gethandle(laio) != NULL;
        if (lazily[i])
            laio_abandon(laio, laio_gethandle(laio), release, &abandoned[i]);
    }
    laio_close(laio);
    for (size_t i = 0; i < READS; i++) {
        CHECK(abandoned[i].releases == lazily[i], "read %zu was released %d times", i, abandoned[i].releases);
        bool is_read = abandoned[i].result == BYTES && memcmp(got + i * BYTES, bytes + i * BYTES, BYTES) == 0;
        CHECK(is_read || (lazily[i] && abandoned[i].result == -ECANCELED), "read %zu: %ld", i, abandoned[i].result);
    }
    close(file);
}

/* What belongs to the thread stays right across calls that block. */

static _Thread_local long of_thread;

static void check_thread(const struct settings *settings, struct partner *partner)
{
    struct laio *laio = open_engine(settings, (struct laio_options){0});
    pthread_mutexattr_t checking;
    pthread_mutex_t mutex;
    pthread_mutexattr_init(&checking);
    pthread_mutexattr_settype(&checking, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&mutex, &checking);
    pthread_t self = pthread_self();
    long *address = &of_thread;
    int *address_of_errno = &errno;
    struct reads reads;
    for (long i = 0; i < 200; i++) {
        of_thread = i;
        NEED(pthread_mutex_lock(&mutex) == 0);
        reads_start_all(&reads, laio, partner, 1);
        int locked_again = pthread_mutex_lock(&mutex), unlocked = pthread_mutex_unlock(&mutex);
        CHECK(locked_again == EDEADLK && unlocked == 0, "the mutex is its own: %d, %d", locked_again, unlocked);
        CHECK(of_thread == i && &of_thread == address && &errno == address_of_errno, "thread-local variables");
        CHECK(pthread_equal(self, pthread_self()), "pthread_self()");
        reads_write(&reads, 0);
        reads_finish(&reads);
        CHECK(of_thread == i && &errno == address_of_errno, "thread-local variables");
        reads_stop(&reads);
    }
    pthread_mutex_destroy(&mutex);
    pthread_mutexattr_destroy(&checking);
    laio_close(laio);
}

/* Opened and closed often */

static size_t mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    NEED(maps != NULL);
    size_t lines = 0;
    for (int byte; (byte = getc(maps)) != EOF;)
        lines += byte == '\n';
    fclose(maps);
    return lines;
}

static void check_cycles(const struct settings *settings)
{
    size_t before = 0;
    uint64_t began_ns = partner_now_ns(), cycles = 0;
    for (; cycles < MANY && partner_now_ns() - began_ns < UINT64_C(3000000000); cycles++) {
        struct laio *laio = open_engine(settings, (struct laio_options){0});
        struct timespec moment = {.tv_nsec = 1000};
        if (laio_supports(laio, SYS_nanosleep))
            laio_syscall(laio, SYS_nanosleep, &moment, NULL);
        laio_close(laio);
        guard_saw("opening and closing");
        if (cycles == 20)
            before = mappings();
    }
    printf("opened and closed %llu times\n", (unsigned long long)cycles);
    if (cycles > 100) /* stacks of threads are kept for the next ones, but not ever more */
        CHECK(mappings() < before + 60, "%zu mappings, before %zu", mappings(), before);
}

/* Two loops in two threads */

struct loop_thread {
    const struct settings *settings;
    pthread_t thread;
    pthread_barrier_t *open;
    uint64_t seed;
    char name[16];
};

static void *run_loop(void *argument)
{
    struct loop_thread *loop = argument;
    pid_t before = (pid_t)syscall(SYS_gettid);
    struct operations *operations = calloc(1, sizeof *operations);
    NEED(operations != NULL);
    operations_start(operations, loop->name, loop->settings->in_progress, loop->seed);
    /* glibc announces what ended by a signal to the process, which may well interrupt the other loop (posix_aio.c). */
    operations->interrupted = strcmp(loop->settings->engine, "posix-aio") == 0;
    struct laio *laio = open_engine(loop->settings, (struct laio_options){0});
    /* Both are open before either begins. So neither gets the memory of the other's ring, which liburing unmaps behind
     * the thread sanitizer's back. */
    pthread_barrier_wait(loop->open);
    run_random(loop->settings->engine, laio, operations, 0, loop->settings->operations / 10, loop->name);
    laio_close(laio);
    operations_stop(operations);
    free(operations);
    CHECK((pid_t)syscall(SYS_gettid) == before, "the loop is on another kernel thread");
    return NULL;
}

static void check_two_loops(const struct settings *settings)
{
    struct loop_thread loops[2];
    pthread_barrier_t open;
    pthread_barrier_init(&open, NULL, 2);
    for (uint64_t i = 0; i < 2; i++) {
        loops[i] = (struct loop_thread){.settings = settings, .open = &open, .seed = settings->seed + 10 + i};
        snprintf(loops[i].name, sizeof loops[i].name, "loop %d of two", (int)i + 1);
        NEED(pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]) == 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(loops[i].thread, NULL);
    pthread_barrier_destroy(&open);
}

void check_ends(const struct settings *settings)
{
    struct partner *partner = partner_start();
    struct census before = census_take();
    check_scarce(settings);
    census_check(&before, "after scarcity");
    if (is_lazy(settings->engine)) {
        check_cancelled(settings, partner, 0);
        census_check(&before, "after cancelling");
        check_cancelled(settings, partner, MANY);
        census_check(&before, "after cancelling with many threads");
        guard_saw("abandoned operations");
        check_abandoned(settings, partner);
        census_check(&before, "after abandoning");
        guard_saw("thread-local variables");
        check_thread(settings, partner);
    }
    guard_saw("abandoned reads of a file");
    check_abandoned_files(settings);
    census_check(&before, "after abandoning reads of a file");
    check_cycles(settings);
    census_check(&before, "after opening and closing");
    check_two_loops(settings);
    census_check(&before, "after two loops");
    partner_stop(partner);
}
