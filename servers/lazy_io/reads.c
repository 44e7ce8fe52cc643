/* reads.c: when the design `lazy` has a read begun first, and who waits for that. */
#include "reads.h"

#include "server.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* What is begun and not there in time was asked for in vain LAZY_LOOKS times, and costs as much as a few that are there
 * save: so it pays where four of five are. */
#define GAIN_THERE 1
#define GAIN_LATE (-4)
#define GAIN_MOST 16
#define REST_READS 256 /* with a slow disk a few are tried in vain, once in so many */
#define CALM_READS 1024

/* Linux 6.5, the same on all architectures; the C library's headers are older. */
#define CACHESTAT 451
struct file_range {
    uint64_t offset, bytes;
};
struct file_pages {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

bool reads_start(struct reads *reads, const char *engine, bool begun)
{
    static const char *const ours[] = {"activation", "uring", "nowait", "plain"};
    bool known = false;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        known = known || strcmp(engine, ours[i]) == 0;
    *reads = (struct reads){.possible = begun, .blindly = strcmp(engine, "plain") == 0};
    reads->begun.last = &reads->begun.first;
    reads->cold.last = &reads->cold.first;
    return known || !begun;
}

void lazy_queue_put(struct lazy_queue *queue, struct lazy_socket *socket)
{
    socket->next = NULL;
    *queue->last = socket;
    queue->last = &socket->next;
    queue->count++;
}

struct lazy_socket *lazy_queue_take(struct lazy_queue *queue)
{
    struct lazy_socket *socket = queue->first;
    queue->first = socket->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    queue->count--;
    return socket;
}

bool reads_must_wait(struct reads *reads, int file, size_t bytes)
{
    if (!reads->asking || reads->uncounted || reads->begun.count < LAZY_BEGUN)
        return false;
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    struct file_range range = {.offset = 0, .bytes = bytes};
    struct file_pages pages;
    if (syscall(CACHESTAT, file, &range, &pages, 0) != 0) {
        reads->uncounted = true; /* an older kernel, or a container that forbids it */
        return false;
    }
    return pages.cached < (bytes + page_bytes - 1) / page_bytes;
}

static void stop_asking(struct reads *reads, unsigned rest)
{
    reads->asking = false;
    reads->rest = rest;
}

void reads_asked(struct reads *reads, unsigned looks, long result)
{
    if (result == -EOPNOTSUPP) {
        reads->possible = false;
        stop_asking(reads, 0);
    } else if (looks > 0) {
        if (result == -EAGAIN && looks < LAZY_LOOKS)
            return;
        reads->gain += result == -EAGAIN ? GAIN_LATE : GAIN_THERE;
        if (reads->gain > GAIN_MOST)
            reads->gain = GAIN_MOST;
        else if (reads->gain <= -GAIN_MOST)
            stop_asking(reads, REST_READS);
    } else if (result == -EAGAIN) {
        reads->calm = 0;
    } else if (++reads->calm >= CALM_READS) {
        stop_asking(reads, 0);
    }
}

void reads_made(struct reads *reads, bool in_progress)
{
    if (!reads->possible || reads->asking || !(in_progress || reads->blindly))
        return;
    if (reads->rest > 0) {
        reads->rest--;
        return;
    }
    reads->asking = true;
    reads->gain = 0;
    reads->calm = 0;
}
