/* counters.c: the live counters' memory. */
#include "counters.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAMED(name) {#name, 0},

static struct counter unread[COUNTER_COUNT] = {COUNTER_LIST(NAMED)};
struct counter *counters = unread;

struct counters_file {
    char magic[8];
    uint64_t count;
    struct counter counters[COUNTER_COUNT];
};

bool counters_timed(void)
{
    return counters != unread;
}

int counters_open(const char *file)
{
    if (file == NULL)
        return 0;
    int descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor < 0)
        return -1;
    struct counters_file *shared = MAP_FAILED;
    if (ftruncate(descriptor, sizeof *shared) == 0)
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (shared == MAP_FAILED)
        return -1;
    shared->count = COUNTER_COUNT;
    memcpy(shared->counters, unread, sizeof unread);
    memcpy(shared->magic, "NAICNT01", sizeof shared->magic); /* last: a reader that sees it sees the rest */
    counters = shared->counters;
    return 0;
}
