/* uses.c: see uses.h. */
#include "uses.h"

#include "bounds.h"
#include "counters.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define SHORT_MS 1000 /* memory stays short for so long after a read has waited */
#define LOOK_MS 100   /* how often it is asked whether blocks were read */
#define BURST_MS 192  /* of unspent time is kept: hits come in bursts, between misses */

/* 512 bytes each, by all threads of the process. */
static long blocks_read(void)
{
    struct rusage usage;
    count(system_calls);
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_inblock : 0;
}

void uses_start(struct uses *uses)
{
    *uses = (struct uses){.page_bytes = (size_t)sysconf(_SC_PAGESIZE), .blocks = blocks_read()};
}

void uses_waited(struct uses *uses, uint64_t now_ms)
{
    uses->short_ms = now_ms + SHORT_MS;
}

static void look(struct uses *uses, uint64_t now_ms)
{
    long blocks = blocks_read();
    if (blocks != uses->blocks)
        uses_waited(uses, now_ms);
    uses->blocks = blocks;
    uses->looked_ms = now_ms;
}

/* The same file, by a number that nobody else has seen; without a free one, or /proc, all stays as it is. */
static void open_anew(int file)
{
    char name[sizeof "/proc/self/fd/" + 10];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    int fresh = open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    count(system_calls);
    if (fresh < 0)
        return;
    dup3(fresh, file, O_CLOEXEC);
    close(fresh);
    count_by(system_calls, 2);
}

void uses_notice(struct uses *uses, int file, size_t bytes, uint64_t now_ms)
{
    if (bytes > uses->page_bytes)
        return;
    if (now_ms - uses->looked_ms >= LOOK_MS)
        look(uses, now_ms);
    if (now_ms >= uses->short_ms)
        return;
    if (uses->spent_ms + BURST_MS < now_ms)
        uses->spent_ms = now_ms - BURST_MS;
    if (uses->spent_ms + LAZY_USES_MS > now_ms)
        return;
    uses->spent_ms += LAZY_USES_MS;
    open_anew(file);
}
