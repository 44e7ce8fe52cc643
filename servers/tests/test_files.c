/* test_files.c: what the open-file cache finds, keeps, believes and gives up. */
#include "check.h"
#include "counters.h"
#include "files.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct files files;
static int status;

static struct file *find(const char *path, uint64_t now_ms)
{
    status = 0;
    return files_open(&files, path, strlen(path), now_ms, &status);
}

static void start(uint64_t memory_bytes)
{
    NEED(files_start(&files, fixture_root(), memory_bytes, 10) == 0);
}

static void absent(const char *path)
{
    struct file *file = find(path, 0);
    CHECK(file == NULL && status == 404, "%s → %d", path, status);
    if (file != NULL)
        file_unpin(file);
}

static void link_to(const char *target, const char *name)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", fixture_root(), name);
    NEED(symlink(target, whole) == 0);
}

static void check_found(void)
{
    start(1 << 20);
    struct file *small = find("small.txt", 0), *large = find("sendfile.bin", 0), *empty = find("empty.txt", 0);
    NEED(small != NULL && large != NULL && empty != NULL);
    CHECK(small->bytes != NULL && small->descriptor == -1 && small->size == 6 && memcmp(small->bytes, "small\n", 6) == 0,
          "in memory");
    CHECK(large->bytes == NULL && large->descriptor >= 0 && large->size == 300000, "open");
    CHECK(empty->bytes != NULL && empty->size == 0, "empty");
    CHECK(strncmp(small->fields, "Content-Type: text/plain\r\nContent-Length: 6\r\nLast-Modified: ", 60) == 0, "%s",
          small->fields);
    CHECK(strncmp(small->fields + small->modified_at, "Last-Modified: ", 15) == 0, "%s", small->fields);
    CHECK((int)strlen(small->fields) == small->fields_bytes, "length of fields");
    file_unpin(small);
    file_unpin(large);
    file_unpin(empty);
    files_stop(&files);

    CHECK(strcmp(content_type("a.html"), "text/html") == 0 && strcmp(content_type("a.b/c"), "application/octet-stream") == 0,
          "types");
    CHECK(strcmp(content_type("x.tar.svg"), "image/svg+xml") == 0 && strcmp(content_type("a."), content_type("a")) == 0,
          "types");
    CHECK(files_start(&files, "/nowhere", 0, 10) == -1, "no root");
    CHECK(files_start(&files, "/dev/null", 0, 10) == -1, "no folder");
}

/* What is outside the root, or no file, is not there. */
static void check_beneath(void)
{
    char fifo[512];
    link_to("/etc/passwd", "absolute");
    link_to("../../../../../../etc/passwd", "escape");
    link_to("../../../../../../etc", "page/etc");
    link_to("../small.txt", "page/inside");
    link_to("loop", "loop");
    snprintf(fifo, sizeof fifo, "%s/fifo", fixture_root());
    NEED(mkfifo(fifo, 0600) == 0);

    start(1 << 20);
    static const char *const paths[] = {"absolute", "escape", "page/etc/passwd", "loop", "fifo", "page", "nothing",
                                        "small.txt/x", "../etc/passwd", "page/../../etc/passwd", "/etc/passwd",
                                        "/proc/self/environ"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        absent(paths[i]);
    char endless[5000];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    absent(endless);
    struct file *inside = find("page/inside", 0);
    CHECK(inside != NULL && inside->size == 6, "a link that stays inside");
    if (inside != NULL)
        file_unpin(inside);
    files_stop(&files);
}

static void check_belief(void)
{
    start(1 << 20);
    fixture_write("news.txt", "old", 3);
    struct file *old = find("news.txt", 1000);
    NEED(old != NULL);
    uint64_t hits = counter_value(file_hits), misses = counter_value(file_misses);
    fixture_write("news.txt", "newer", 5);
    struct file *believed = find("news.txt", 1000 + FILE_RECHECK_MS - 1);
    CHECK(believed == old && counter_value(file_hits) == hits + 1, "believed for a while");
    file_unpin(believed);
    struct file *fresh = find("news.txt", 1000 + FILE_RECHECK_MS);
    CHECK(fresh != NULL && fresh != old && fresh->size == 5 && counter_value(file_misses) == misses + 1, "then not");
    CHECK(memcmp(old->bytes, "old", 3) == 0, "a reply under way keeps what it began with");
    file_unpin(old);
    struct file *same = find("news.txt", 5000);
    CHECK(same == fresh && counter_value(file_hits) == hits + 2, "unchanged: kept");
    file_unpin(same);
    file_unpin(fresh);

    char whole[512];
    snprintf(whole, sizeof whole, "%s/news.txt", fixture_root());
    NEED(unlink(whole) == 0);
    same = find("news.txt", 5500);
    CHECK(same != NULL, "still believed");
    if (same != NULL)
        file_unpin(same);
    CHECK(find("news.txt", 6500) == NULL && status == 404, "gone");
    files_stop(&files);
}

static void check_bounds(void)
{
    char name[32];
    for (int i = 0; i < FILES_MAX + 20; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        fixture_write(name, name, 6);
    }
    /* memory: room for 10 of them */
    start(60);
    struct file *first = NULL;
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        struct file *file = find(name, 0);
        NEED(file != NULL && file->bytes != NULL);
        if (i == 0)
            first = file;
        else
            file_unpin(file);
        CHECK(files.memory_bytes <= 60 && files.kept <= 10, "%llu", (unsigned long long)files.memory_bytes);
    }
    CHECK(memcmp(first->bytes, "many-0", 6) == 0, "pinned beyond its eviction");
    file_unpin(first);
    uint64_t misses = counter_value(file_misses);
    for (int i = 2; i < 12; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        file_unpin(find(name, 0));
    }
    CHECK(counter_value(file_misses) == misses, "the ten used last are kept");
    struct file *large = find("1k.bin", 0);
    CHECK(large != NULL && large->bytes == NULL && files.kept == 11, "too large for the memory: open");
    if (large != NULL)
        file_unpin(large);
    files_stop(&files);

    /* open files */
    start(0);
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        struct file *file = find(name, 0);
        NEED(file != NULL && file->descriptor >= 0);
        file_unpin(file);
        CHECK(files.kept_open == (i < 10 ? (unsigned)i + 1 : 10) && files.kept == files.kept_open, "%u", files.kept_open);
    }
    files_stop(&files);
    CHECK(files.kept_open == 0, "%u", files.kept_open);

    /* number */
    start(1 << 20);
    for (int i = 0; i < FILES_MAX + 20; i++) {
        snprintf(name, sizeof name, "many-%d", i);
        struct file *file = find(name, 0);
        NEED(file != NULL);
        file_unpin(file);
    }
    CHECK(files.kept == FILES_MAX, "%u", files.kept);
    files_stop(&files);
    CHECK(files.kept == 0 && files.memory_bytes == 0 && files.newest == NULL, "all given up");
}

static void check_exhaustion(void)
{
    struct rlimit before, tight;
    start(0); /* all by descriptor */
    NEED(getrlimit(RLIMIT_NOFILE, &before) == 0);
    tight = before;
    tight.rlim_cur = (rlim_t)files.root + 3; /* two files */
    NEED(setrlimit(RLIMIT_NOFILE, &tight) == 0);
    struct file *a = find("many-1", 0), *b = find("many-2", 0);
    NEED(a != NULL && b != NULL);
    CHECK(find("many-3", 0) == NULL && status == 503, "both are in use: %d", status);
    file_unpin(a);
    struct file *c = find("many-3", 0);
    CHECK(c != NULL, "the unused one was given up");
    CHECK(find("nothing", 0) == NULL && status == 503, "cannot tell: %d", status);
    file_unpin(b);
    if (c != NULL)
        file_unpin(c);
    CHECK(find("nothing", 0) == NULL && status == 404, "%d", status);
    NEED(setrlimit(RLIMIT_NOFILE, &before) == 0);
    files_stop(&files);
}

/* Opened by somebody else, in two steps. */
static void check_two_steps(void)
{
    uint64_t misses = counter_value(file_misses);
    start(0);
    struct file *first = files_lookup(&files, "1k.bin", 6, 0), *second = files_lookup(&files, "1k.bin", 6, 0);
    NEED(first != NULL && second != NULL && first != second && !file_is_open(first) && !file_is_open(second));
    CHECK(counter_value(file_misses) == misses + 2 && files.kept == 0, "neither is kept yet");
    const long descriptors[] = {file_open(&files, first), file_open(&files, second)};
    struct file *opened = files_opened(&files, second, descriptors[1], 0, &status);
    CHECK(opened == second && file_is_open(opened) && opened->size == 1024, "who comes first is kept");
    CHECK(files_opened(&files, first, descriptors[0], 0, &status) == opened && opened->pins == 3, "and is the other's");
    CHECK(fcntl((int)descriptors[0], F_GETFD) == -1 && files.kept_open == 1, "whose descriptor is closed");
    CHECK(files_lookup(&files, "1k.bin", 6, 0) == opened, "kept");
    for (int i = 0; i < 3; i++)
        file_unpin(opened);

    static const struct {
        long result;
        int status;
    } failures[] = {{-ENOENT, 404}, {-EACCES, 404}, {-ELOOP, 404}, {-EXDEV, 404}, {-EIO, 500}, {-EAGAIN, 500},
                    {-ENOMEM, 503}};
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        struct file *none = files_lookup(&files, "small.txt", 9, 0);
        CHECK(files_opened(&files, none, failures[i].result, 0, &status) == NULL && status == failures[i].status,
              "%s: %d", strerror((int)-failures[i].result), status);
    }
    struct file *again = files_opened(&files, files_lookup(&files, "small.txt", 9, 0), -EMFILE, 0, &status);
    CHECK(again != NULL && files.kept == 1, "the unused one was given up for it");
    CHECK(files_opened(&files, files_lookup(&files, "1k.bin", 6, 0), -EMFILE, 0, &status) == NULL && status == 503,
          "all are in use: %d", status);
    if (again != NULL)
        file_unpin(again);
    files_stop(&files);
}

int main(void)
{
    fixture_root();
    check_found();
    check_beneath();
    check_belief();
    check_bounds();
    check_exhaustion();
    check_two_steps();
    return checks_failed != 0;
}
