/* counters.c: the live counters' memory. */
#include "counters.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAMED(name) {#name, 0},

static const struct counter names[COUNTER_COUNT] = {COUNTER_LIST(NAMED)};
static struct counter unread[COUNTER_COUNT] = {COUNTER_LIST(NAMED)};
struct counter *counters = unread;

struct block {
    char magic[8];
    uint64_t count;
    struct counter counters[COUNTER_COUNT];
};

static struct block *blocks; /* in the file; NULL without */

bool counters_timed(void)
{
    return blocks != NULL;
}

void counters_belong_to(uint64_t process)
{
    if (blocks != NULL)
        counters = blocks[process].counters;
}

int counters_open(const char *file, uint64_t processes)
{
    if (file == NULL)
        return 0;
    int descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor < 0)
        return -1;
    size_t bytes = processes * sizeof *blocks;
    void *shared = MAP_FAILED;
    if (ftruncate(descriptor, (off_t)bytes) == 0)
        shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (shared == MAP_FAILED)
        return -1;
    blocks = shared;
    for (uint64_t i = 0; i < processes; i++) {
        blocks[i].count = COUNTER_COUNT;
        memcpy(blocks[i].counters, i == 0 ? unread : names, sizeof unread);
        memcpy(blocks[i].magic, "NAICNT01", sizeof blocks[i].magic); /* last: a reader that sees it sees the rest */
    }
    counters_belong_to(0);
    return 0;
}
