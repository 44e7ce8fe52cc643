/* ring_paths.c: looks at a call in progress from outside, in /proc. */
#include "ring_paths.h"

#include "calls.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALLS_AT_MOST 200
#define SETTLE_NS 1000000 /* for a worker to go back to sleep, which is what is counted */

/* Context switches of the workers (io_uring/io-wq.c names them iou-wrk-PID). One that appears has switched, too. */
static uint64_t workers_moved(void)
{
    uint64_t sum = 0;
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    while (tasks != NULL && (task = readdir(tasks)) != NULL) {
        char path[300], line[128];
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *file = task->d_name[0] != '.' ? fopen(path, "re") : NULL;
        bool worker = false;
        while (file != NULL && fgets(line, sizeof line, file) != NULL) {
            if (strncmp(line, "Name:", 5) == 0)
                worker = strstr(line, "iou-wrk-") != NULL;
            const char *colon = strstr(line, "_ctxt_switches:");
            if (worker && colon != NULL)
                sum += strtoull(strchr(colon, ':') + 1, NULL, 10);
        }
        if (file != NULL)
            fclose(file);
    }
    if (tasks != NULL)
        closedir(tasks);
    return sum;
}

/* Of the first ring that this process has; the loop has no other. */
static int ring_descriptor(void)
{
    int found = -1;
    DIR *files = opendir("/proc/self/fd");
    struct dirent *file;
    while (files != NULL && found < 0 && (file = readdir(files)) != NULL) {
        char path[300], target[64];
        snprintf(path, sizeof path, "/proc/self/fd/%s", file->d_name);
        ssize_t bytes = readlink(path, target, sizeof target - 1);
        if (bytes > 0 && strncmp(target, "anon_inode:[io_uring]", (size_t)bytes) == 0)
            found = atoi(file->d_name);
    }
    if (files != NULL)
        closedir(files);
    return found;
}

/* io_uring/fdinfo.c: below "PollList:" a line "  op=OPCODE, task_works=…" for each request that is armed. */
static bool poll_armed(int ring)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", ring);
    FILE *file = fopen(path, "re");
    bool listed = false, armed = false;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        armed |= listed && strncmp(line, "  op=", 5) == 0;
        listed = strncmp(line, "PollList:", 9) == 0 || (listed && line[0] == ' ');
    }
    if (file != NULL)
        fclose(file);
    return armed;
}

enum { INLINE, POLL, WORKER, ASYNC, WAYS };

static int look_at_one(struct bench *bench, struct operation *operation, int ring)
{
    const long *a = operation->arguments;
    struct timespec settle = {.tv_nsec = SETTLE_NS};
    operation->kind->ready(operation);
    uint64_t before = workers_moved();
    if (operation->partner.started)
        partner_arm(&operation->partner);
    long result = laio_call(bench->laio, operation->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    int way = INLINE;
    if (laio_gethandle(bench->laio) != NULL) {
        way = poll_armed(ring) ? POLL : ASYNC;
        if (operation->partner.started)
            partner_tell(&operation->partner);
        result = bench_wait(bench);
    } else if (operation->partner.started) {
        partner_disarm(&operation->partner);
    }
    operation_check(operation, result, bench->options.engine);
    if (way == INLINE)
        return INLINE;
    nanosleep(&settle, NULL);
    return workers_moved() != before ? WORKER : way;
}

bool ring_paths_known(const struct bench *bench)
{
    return strcmp(bench->options.engine, "uring") == 0;
}

void ring_paths_report(struct bench *bench, struct operation *operation)
{
    static const char *const names[WAYS] = {"inline", "poll", "worker", "async"};
    int ring = ring_paths_known(bench) ? ring_descriptor() : -1;
    report_name(bench, "ring_paths");
    if (ring < 0) {
        fputs("null", bench->out);
        return;
    }
    unsigned ways[WAYS] = {0};
    uint64_t until = now_ns() + (uint64_t)(bench->options.seconds * 1e9);
    for (int i = 0; i < CALLS_AT_MOST && (i == 0 || now_ns() < until); i++)
        ways[look_at_one(bench, operation, ring)]++;
    for (int way = 0; way < WAYS; way++)
        fprintf(bench->out, "%c\"%s\":%u", way == 0 ? '{' : ',', names[way], ways[way]);
    fputc('}', bench->out);
}
