/* residency.c: is a range of a file in memory? Flash's way: map it, and ask mincore().
 *
 * A mapping costs more than the question, so the last ones are kept (Pai, Druschel and Zwaenepoel 1999, section 5.4,
 * keep them likewise). They are found by device and inode, which cannot come to mean another file while it is mapped. A
 * file that is deleted keeps its blocks for that time.
 *
 * mincore() answers "in memory" for all of a file to whoever could not write it (mm/mincore.c, can_do_mincore(): no
 * spying on what others read). So it is asked only by the owner and by who may write. For others there is cachestat()
 * (Linux 6.5), which says the truth or nothing (EPERM, since 6.14): without an answer, nothing counts as in memory.
 */
#include "residency.h"

#include "engine.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MAPPINGS 64u
#define MAPPED_BYTES (16l << 20) /* each, from a multiple of it */
#define PAGES_ASKED 1024l        /* at a time */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

struct mapping {
    dev_t device;
    ino_t inode;
    off_t first;           /* byte of the file */
    unsigned char *memory; /* NULL: free */
    bool truthful;         /* mincore() says what is */
};

struct residency {
    long page_bytes;
    struct mapping mappings[MAPPINGS];
};

struct residency *residency_open(void)
{
    struct residency *residency = calloc(1, sizeof *residency);
    if (residency != NULL)
        residency->page_bytes = sysconf(_SC_PAGESIZE);
    return residency;
}

static void unmap(struct mapping *mapping)
{
    if (mapping->memory != NULL)
        munmap(mapping->memory, MAPPED_BYTES);
    mapping->memory = NULL;
}

void residency_close(struct residency *residency)
{
    for (unsigned i = 0; i < MAPPINGS; i++)
        unmap(&residency->mappings[i]);
    free(residency);
}

/* As can_do_mincore() has it, or stricter. */
static bool may_ask(int file, const struct stat *status)
{
    return status->st_uid == geteuid() ||
           laio_plainly(SYS_faccessat2, file, (long)"", W_OK, AT_EMPTY_PATH | AT_EACCESS, 0, 0) == 0;
}

/* The mapping of the piece that begins at byte `first`, or NULL: the file cannot be mapped. */
static const struct mapping *map(struct residency *residency, int file, const struct stat *status, off_t first)
{
    uint64_t mixed = (status->st_ino * UINT64_C(0x9e3779b97f4a7c15)) ^ ((uint64_t)(first / MAPPED_BYTES) << 32);
    struct mapping *mapping = &residency->mappings[(mixed >> 32) % MAPPINGS];
    if (mapping->memory != NULL && mapping->device == status->st_dev && mapping->inode == status->st_ino &&
        mapping->first == first)
        return mapping;
    unmap(mapping);
    void *memory = mmap(NULL, MAPPED_BYTES, PROT_READ, MAP_SHARED, file, first);
    if (memory == MAP_FAILED)
        return NULL;
    *mapping = (struct mapping){status->st_dev, status->st_ino, first, memory, may_ask(file, status)};
    return mapping;
}

/* What is asked of lies within the mapping and the file. */
static bool ask_mincore(const struct residency *residency, const struct mapping *mapping, off_t offset, off_t end)
{
    unsigned char in_memory[PAGES_ASKED];
    const long page = residency->page_bytes;
    for (off_t from = offset / page * page; from < end; from += PAGES_ASKED * page) {
        off_t bytes = end - from < PAGES_ASKED * page ? end - from : PAGES_ASKED * page;
        if (laio_plainly(SYS_mincore, (long)(mapping->memory + (from - mapping->first)), bytes, (long)in_memory, 0, 0,
                         0) != 0)
            return false;
        for (long i = 0; i < (bytes + page - 1) / page; i++)
            if ((in_memory[i] & 1) == 0)
                return false;
    }
    return true;
}

static bool ask_cachestat(const struct residency *residency, int file, off_t offset, off_t end)
{
    struct {
        uint64_t offset, bytes;
    } range = {(uint64_t)offset, (uint64_t)(end - offset)};
    struct {
        uint64_t cached, dirty, written_back, evicted, evicted_recently; /* pages */
    } answer;
    const long page = residency->page_bytes;
    uint64_t pages = (uint64_t)((end + page - 1) / page - offset / page);
    return laio_plainly(SYS_cachestat, file, (long)&range, (long)&answer, 0, 0, 0) == 0 && answer.cached >= pages;
}

bool residency_of(struct residency *residency, int file, const struct stat *status, off_t offset, size_t bytes)
{
    if (bytes == 0 || offset >= status->st_size)
        return true; /* nothing is read */
    off_t end = bytes < (size_t)(status->st_size - offset) ? offset + (off_t)bytes : status->st_size;
    while (offset < end) {
        off_t first = offset / MAPPED_BYTES * MAPPED_BYTES;
        off_t piece_end = end < first + MAPPED_BYTES ? end : first + MAPPED_BYTES;
        const struct mapping *mapping = map(residency, file, status, first);
        bool in_memory = mapping != NULL && mapping->truthful ? ask_mincore(residency, mapping, offset, piece_end)
                                                              : ask_cachestat(residency, file, offset, piece_end);
        if (!in_memory)
            return false;
        offset = piece_end;
    }
    return true;
}
