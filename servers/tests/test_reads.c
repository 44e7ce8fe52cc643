/* test_reads.c: when the server `lazy` has reads begun first (reads.h), and who waits for that. */
#include "check.h"
#include "fixture.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { LATE_MOST = 16 }; /* in a row, from the best that was counted, until it is seen that it does not pay */

static void start_asking(struct reads *reads)
{
    reads_start(reads, "activation", true);
    reads_made(reads, true);
}

/* One that is there at the first of its second calls, or never. */
static void there(struct reads *reads)
{
    reads_asked(reads, 0, -EAGAIN);
    reads_asked(reads, 1, 4096);
}

static void late(struct reads *reads)
{
    for (unsigned looks = 0; looks <= LAZY_LOOKS; looks++)
        reads_asked(reads, looks, -EAGAIN);
}

static void check_who_asks(void)
{
    static const struct {
        const char *engine;
        bool can, tells;
    } engines[] = {{"activation", true, true}, {"uring", true, true},  {"nowait", true, true},     {"plain", true, false},
                   {"pool", false, true},      {"amped", false, true}, {"posix-aio", false, true}, {"linux-aio", false, true}};
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        const char *engine = engines[i].engine;
        struct reads reads;
        CHECK(reads_start(&reads, engine, false), "%s: reads as it does", engine);
        reads_made(&reads, true);
        CHECK(!reads.asking, "%s: not unless that is asked for", engine);
        CHECK(reads_start(&reads, engine, true) == engines[i].can, "%s", engine);
        if (!engines[i].can)
            continue;
        CHECK(!reads.asking && !reads_wait(&reads), "%s: not before a read was made", engine);
        reads_made(&reads, false);
        CHECK(reads.asking != engines[i].tells, "%s: after one that may have waited", engine);
        reads_made(&reads, true);
        CHECK(reads.asking, "%s: after one that did", engine);
    }
}

static void check_fast_disk(void)
{
    struct reads reads;
    start_asking(&reads);
    for (int i = 0; i < 1000; i++) { /* one in six is late */
        for (int of = 0; of < 5; of++)
            there(&reads);
        late(&reads);
        CHECK(reads.asking, "it pays, after %d", i);
    }
    for (int i = 0; i < 10000; i++) { /* all is in memory, but for a few */
        reads_asked(&reads, 0, 4096);
        if (i % 100 == 99)
            there(&reads);
    }
    CHECK(reads.asking, "and still may");
    for (int i = 0; i < 10000; i++)
        reads_asked(&reads, 0, 4096);
    CHECK(!reads.asking, "but not while all is in memory");
    reads_made(&reads, true);
    CHECK(reads.asking, "until a read is in progress again");
}

static void check_slow_disk(void)
{
    struct reads reads;
    start_asking(&reads);
    for (int i = 0; i < 100; i++)
        there(&reads);
    int needed = 0;
    while (reads.asking && needed < LATE_MOST) {
        late(&reads);
        needed++;
    }
    CHECK(!reads.asking && needed > 1, "seen after %d", needed);
    int rested = 0;
    while (!reads.asking && rested < 10000) {
        reads_made(&reads, true);
        rested++;
    }
    CHECK(reads.asking && rested > 100, "tried again after %d", rested);

    reads_asked(&reads, 0, -EOPNOTSUPP);
    CHECK(!reads.asking, "a file system that does not know the question");
    for (int i = 0; i < 10000; i++)
        reads_made(&reads, true);
    CHECK(!reads.asking, "is not asked again");
}

static void check_queue(void)
{
    enum { SOME = 5 };
    struct reads reads;
    start_asking(&reads);
    struct lazy_socket sockets[SOME];
    for (int round = 0; round < 3; round++) { /* empty in between: it begins anew */
        for (int i = 0; i < SOME; i++)
            lazy_queue_put(&reads.cold, &sockets[i]);
        CHECK(reads_wait(&reads) && reads.cold.count == SOME, "%u", reads.cold.count);
        for (int i = 0; i < SOME; i++)
            CHECK(lazy_queue_take(&reads.cold) == &sockets[i], "first come, first served: %d", i);
        CHECK(!reads_wait(&reads) && reads.cold.count == 0, "%u", reads.cold.count);
    }
}

/* A file that was just written is in memory. Of one that is a hole nothing is. */
static void check_must_wait(void)
{
    char path[] = "/var/tmp/test_reads-XXXXXX";
    static const char bytes[10000];
    int file = mkstemp(path);
    NEED(file >= 0 && unlink(path) == 0 && write(file, bytes, sizeof bytes) == sizeof bytes);
    NEED(ftruncate(file, 10 * sizeof bytes) == 0);
    struct reads reads;
    start_asking(&reads);
    struct lazy_socket sockets[LAZY_BEGUN];
    for (int i = 0; i < LAZY_BEGUN; i++) {
        CHECK(!reads_must_wait(&reads, file, 5 * sizeof bytes), "there is room, with %d", i);
        lazy_queue_put(&reads.begun, &sockets[i]);
    }
    bool must = reads_must_wait(&reads, file, 5 * sizeof bytes);
    CHECK(must || reads.uncounted, "there is none");
    CHECK(!reads_must_wait(&reads, file, sizeof bytes), "nor is any needed for what is in memory");
    CHECK(!reads_must_wait(&reads, -1, sizeof bytes) && reads.uncounted, "where that cannot be asked, nobody waits");
    CHECK(!reads_must_wait(&reads, file, 5 * sizeof bytes), "nor later");
    close(file);
}

int main(void)
{
    check_who_asks();
    check_fast_disk();
    check_slow_disk();
    check_queue();
    check_must_wait();
    return checks_failed > 0;
}
