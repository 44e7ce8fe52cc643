/* laio_reads.c: see laio_reads.h. */
#include "laio_reads.h"

#include "check.h"
#include "laio_operations.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HELD_US 100000 /* a call that takes longer than once or twice that holds the loop */

long complete(struct laio *laio, long result)
{
    int error = errno;
    struct laio_completion completion;
    if (laio_gethandle(laio) == NULL)
        return result < 0 ? -(long)error : result;
    CHECK(result == -1 && error == EINPROGRESS, "result %ld, %s, and a handle", result, strerror(error));
    while (laio_poll(laio, &completion, 1, -1) != 1)
        NEED(errno == EINTR);
    return completion.result < 0 ? -(long)completion.error : completion.result;
}

static bool deed_release(void *argument) /* goes on until it is settled */
{
    struct reads *reads = argument;
    int calling = atomic_load(&reads->calling);
    if (calling >= 0 && calling == atomic_load(&reads->called_before) && !reads->each[calling].released) {
        reads->each[calling].released = true;
        NEED(write(reads->each[calling].pipe[1], "r", 1) == 1);
    }
    atomic_store(&reads->called_before, calling);
    return false;
}

void reads_start(struct reads *reads, struct laio *laio, struct partner *partner, size_t count)
{
    *reads = (struct reads){.laio = laio, .partner = partner, .calling = -1, .called_before = -1};
    reads->each = calloc(count, sizeof *reads->each);
    NEED(reads->each != NULL);
    partner_ask(partner, &reads->favour, deed_release, reads, HELD_US);
    for (bool held = false; reads->count < count && !held;) {
        struct one_read *one = &reads->each[reads->count];
        NEED(pipe2(one->pipe, O_CLOEXEC) == 0);
        atomic_store(&reads->calling, (int)reads->count++);
        long result = laio_syscall(laio, SYS_read, one->pipe[0], &one->byte, 1);
        int error = errno;
        atomic_store(&reads->calling, -1);
        one->handle = laio_gethandle(laio);
        held = one->handle == NULL;
        if (held) {
            one->result = result < 0 ? -error : result;
            one->endings = 1;
            CHECK(one->result == 1 && one->byte == 'r', "a read that held the loop: %ld", one->result);
        } else {
            CHECK(result == -1 && error == EINPROGRESS, "a read that is in progress: %ld", result);
            laio_set_data(one->handle, one);
            reads->in_progress++;
        }
        guard_saw("making reads");
    }
    partner_settle(partner, &reads->favour);
}

void reads_start_all(struct reads *reads, struct laio *laio, struct partner *partner, size_t count)
{
    for (int tries = 0;; tries++) {
        bool untouched = true;
        reads_start(reads, laio, partner, count);
        for (size_t i = 0; i < reads->count; i++)
            untouched = untouched && !reads->each[i].released;
        if (untouched && reads->in_progress == count)
            return;
        NEED(tries < 100); /* so slow is no machine: they hold the loop */
        for (size_t i = 0; i < reads->count; i++)
            if (reads->each[i].handle != NULL && !reads->each[i].released)
                reads_write(reads, i);
        reads_finish(reads);
        reads_stop(reads);
    }
}

void reads_write(struct reads *reads, size_t which)
{
    NEED(write(reads->each[which].pipe[1], "r", 1) == 1);
}

/* Threads of this process, the caller not counted, that are not asleep. */
static int running(void)
{
    DIR *tasks = opendir("/proc/self/task");
    NEED(tasks != NULL);
    int count = -1;
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], line[400];
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
        int file = task->d_name[0] != '.' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t got = file >= 0 ? read(file, line, sizeof line - 1) : -1;
        if (file >= 0)
            close(file);
        if (got <= 0)
            continue;
        line[got] = '\0';
        const char *state = strrchr(line, ')');
        count += state == NULL || state[2] != 'S';
    }
    closedir(tasks);
    return count;
}

void reads_settle(void)
{
    for (int asleep = 0; asleep < 2; asleep = running() == 0 ? asleep + 1 : 0)
        usleep(200);
}

int reads_poll(struct reads *reads, struct one_read **ended, int n, int timeout_ms)
{
    struct laio_completion completions[64];
    n = n > 64 ? 64 : n;
    int count = laio_poll(reads->laio, completions, n, timeout_ms);
    CHECK(count <= n, "%d completions in room for %d", count, n);
    for (int i = 0; i < count; i++) {
        struct one_read *one = completions[i].data;
        NEED(one != NULL && one >= reads->each && one < reads->each + reads->count);
        CHECK(completions[i].operation == one->handle, "a completion of another operation");
        one->result = completions[i].result < 0 ? -(long)completions[i].error : completions[i].result;
        one->endings++;
        one->handle = NULL;
        reads->in_progress--;
        if (ended != NULL)
            ended[i] = one;
    }
    return count;
}

void reads_finish(struct reads *reads)
{
    while (reads->in_progress > 0) {
        reads_poll(reads, NULL, 64, -1);
        guard_saw("finishing reads");
    }
    CHECK(reads_poll(reads, NULL, 64, 0) == 0, "a completion of nothing");
}

void reads_stop(struct reads *reads)
{
    for (size_t i = 0; i < reads->count; i++) {
        CHECK(reads->each[i].endings == 1, "read %zu ended %d times", i, reads->each[i].endings);
        for (int end = 0; end < 2; end++)
            if (reads->each[i].pipe[end] >= 0)
                close(reads->each[i].pipe[end]);
    }
    free(reads->each);
}
