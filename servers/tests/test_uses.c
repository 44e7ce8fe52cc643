/* test_uses.c: when the server `lazy` opens a small file anew, so that the kernel notices its use (uses.h). */
#include "bounds.h"
#include "check.h"
#include "fixture.h"
#include "uses.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 1000, MARK = 7, BYTES = 100, A_WHILE_MS = 5000, NOW_MS = 1000000 };

static int file;

/* A position is the open file's, and so of one that is opened anew it is 0. */
static bool noticed(struct uses *uses, size_t bytes, uint64_t now_ms)
{
    NEED(lseek(file, MARK, SEEK_SET) == MARK);
    uses_notice(uses, file, bytes, now_ms);
    return lseek(file, 0, SEEK_CUR) == 0;
}

static void check_when(void)
{
    struct uses uses;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t now = NOW_MS;
    uses_start(&uses);
    uses.looked_ms = now + A_WHILE_MS; /* nobody asks what this process has read */
    CHECK(!noticed(&uses, BYTES, now), "not while all is in memory");
    uses_waited(&uses, now);
    CHECK(!noticed(&uses, page + 1, now), "a file of two pages needs it not");
    CHECK(noticed(&uses, page, now), "one of a page does, where memory is short");
    int some = 0, second = 0;
    while (some < MOST && noticed(&uses, page, now))
        some++;
    CHECK(some > 10 && some < MOST, "a burst has an end: %d", some);
    CHECK(!noticed(&uses, page, now + LAZY_USES_MS - 1), "then one after the other");
    CHECK(noticed(&uses, page, now + LAZY_USES_MS), "is noticed");
    for (uint64_t ms = LAZY_USES_MS; ms < 900; ms++)
        second += noticed(&uses, page, now + ms);
    CHECK(second == 900 / LAZY_USES_MS - 2, "so many in nine tenths of a second: %d", second);
    CHECK(!noticed(&uses, page, now + A_WHILE_MS), "and not for ever after a read has waited");
}

/* It is the same file, under the same number, and no descriptor more. */
static void check_what(void)
{
    struct uses uses;
    struct stat before, after;
    char text[8] = "";
    uses_start(&uses);
    uses_waited(&uses, NOW_MS);
    NEED(fstat(file, &before) == 0);
    int free_before = dup(0);
    close(free_before);
    CHECK(noticed(&uses, BYTES, NOW_MS), "it is opened anew");
    int free_after = dup(0);
    close(free_after);
    NEED(fstat(file, &after) == 0);
    CHECK(before.st_dev == after.st_dev && before.st_ino == after.st_ino, "it is the same file, though it has no name");
    CHECK(free_before == free_after, "no descriptor is lost: %d, before %d", free_after, free_before);
    CHECK((fcntl(file, F_GETFD) & FD_CLOEXEC) != 0, "a child does not get it");
    CHECK(pread(file, text, 4, 0) == 4 && strcmp(text, "text") == 0, "and has its bytes: %s", text);
}

/* Who makes its reads itself learns from the kernel that one went to the disk. */
static void check_blocks(void)
{
    struct uses uses;
    struct rusage usage;
    char byte;
    uses_start(&uses);
    uses_notice(&uses, file, BYTES, NOW_MS);
    NEED(fsync(file) == 0 && posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0 && pread(file, &byte, 1, 0) == 1);
    NEED(getrusage(RUSAGE_SELF, &usage) == 0);
    bool from_disk = usage.ru_inblock != uses.blocks;
    CHECK(noticed(&uses, BYTES, NOW_MS + A_WHILE_MS) == from_disk, "read from a disk: %d", from_disk);
}

int main(void)
{
    char path[350];
    snprintf(path, sizeof path, "%s/use.txt", fixture_root());
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    NEED(file >= 0 && write(file, "text", 4) == 4 && ftruncate(file, BYTES) == 0);
    check_blocks();
    NEED(unlink(path) == 0);
    check_when();
    check_what();
    close(file);
    return checks_failed != 0;
}
