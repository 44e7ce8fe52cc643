/* data.c: the data files, and whether their pages are in memory. */
#include "data.h"

#include "arguments.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define WRITE_MIB 64
#define SAMPLED 8 /* words of a buffer */

void data_fill(void *buffer, uint64_t offset, size_t bytes, uint64_t generation)
{
    unsigned char *at = buffer;
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = data_word(offset + i, generation);
        memcpy(at + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
}

static size_t sampled_word(size_t bytes, unsigned i)
{
    size_t words = (bytes + 7) / 8;
    return (words - 1) * i / (SAMPLED - 1) * 8;
}

bool data_right(const void *buffer, uint64_t offset, size_t bytes, uint64_t generation)
{
    for (unsigned i = 0; i < SAMPLED; i++) {
        size_t at = sampled_word(bytes, i);
        uint64_t word = data_word(offset + at, generation);
        if (memcmp((const unsigned char *)buffer + at, &word, bytes - at < 8 ? bytes - at : 8) != 0)
            return false;
    }
    return true;
}

void data_spoil(void *buffer, size_t bytes)
{
    for (unsigned i = 0; i < SAMPLED; i++)
        ((unsigned char *)buffer)[sampled_word(bytes, i)] = 0;
}

/* Under another name until it is complete: what was interrupted is not taken for whole. */
static void make(const char *path, uint64_t bytes)
{
    char part[600];
    snprintf(part, sizeof part, "%s.part", path);
    int file = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        fail(1, "%s: %s", part, strerror(errno));
    void *buffer = bench_buffer(MIB);
    for (uint64_t offset = 0; offset < bytes; offset += MIB) {
        data_fill(buffer, offset, MIB, 0);
        if (pwrite(file, buffer, MIB, (off_t)offset) != (ssize_t)MIB)
            fail(1, "%s: %s", part, errno != 0 ? strerror(errno) : "a short write");
    }
    free(buffer);
    if (fsync(file) != 0 || close(file) != 0 || rename(part, path) != 0)
        fail(1, "%s: %s", path, strerror(errno));
}

void data_open(struct bench *bench, struct data *data, bool writable)
{
    const char *folder = bench->options.folder;
    uint64_t mib = bench->options.file_mib;
    if (writable && mib > WRITE_MIB)
        mib = WRITE_MIB;
    *data = (struct data){.bytes = mib * MIB};
    if (bench->options.bytes > data->bytes / 4)
        fail(2, "--bytes: at most a quarter of the file, %llu", (unsigned long long)data->bytes / 4);
    char path[512];
    int length = snprintf(path, sizeof path, "%s/lazybench-%s.bin", folder, writable ? "write" : "data");
    if (length < 0 || (size_t)length >= sizeof path)
        fail(2, "--folder: the name is too long");
    if (mkdir(folder, 0755) != 0 && errno != EEXIST)
        fail(1, "%s: %s", folder, strerror(errno));
    struct stat status;
    if (stat(path, &status) != 0 || (uint64_t)status.st_size != data->bytes)
        make(path, data->bytes);
    int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC;
    data->file = open(path, flags);
    data->direct = open(path, flags | O_DIRECT);
    if (data->file < 0)
        fail(1, "%s: %s", path, strerror(errno));
    posix_fadvise(data->file, 0, 0, POSIX_FADV_RANDOM);
    data->mapped = mmap(NULL, data->bytes, PROT_READ, MAP_SHARED, data->file, 0);
    if (data->mapped == MAP_FAILED)
        fail(1, "%s: mmap: %s", path, strerror(errno));
}

void data_close(struct data *data)
{
    if (data->mapped == NULL)
        return;
    munmap(data->mapped, data->bytes);
    close(data->file);
    if (data->direct >= 0)
        close(data->direct);
    data->mapped = NULL;
}

void data_warm(const struct data *data, uint64_t offset, size_t bytes)
{
    char buffer[65536];
    for (size_t at = 0; at < bytes; at += sizeof buffer)
        if (pread(data->file, buffer, bytes - at < sizeof buffer ? bytes - at : sizeof buffer,
                  (off_t)(offset + at)) < 0)
            fail(1, "reading the data file: %s", strerror(errno));
}

/* A folio that the range would cut is not dropped. */
void data_evict_from(const struct data *data, uint64_t offset)
{
    posix_fadvise(data->file, (off_t)offset, 0, POSIX_FADV_DONTNEED);
}

void data_evict(const struct data *data)
{
    data_evict_from(data, 0);
}

uint64_t data_absent(const struct data *data, uint64_t offset, size_t bytes, uint64_t *pages)
{
    uint64_t from = offset / PAGE_BYTES * PAGE_BYTES;
    *pages = (offset + bytes - from + PAGE_BYTES - 1) / PAGE_BYTES;
    uint64_t count = 0;
    unsigned char resident[256];
    for (uint64_t done = 0; done < *pages; done += sizeof resident) {
        uint64_t now = *pages - done < sizeof resident ? *pages - done : sizeof resident;
        if (mincore(data->mapped + from + done * PAGE_BYTES, now * PAGE_BYTES, resident) != 0)
            fail(1, "mincore: %s", strerror(errno));
        for (uint64_t i = 0; i < now; i++)
            count += (resident[i] & 1) == 0;
    }
    return count;
}

void data_look(struct bench *bench, const struct data *data, uint64_t offset, size_t bytes)
{
    uint64_t pages, missing = data_absent(data, offset, bytes, &pages);
    bench->pages_seen += pages;
    bench->pages_absent += missing;
}

void data_chill(struct bench *bench, const struct data *data, uint64_t offset, size_t bytes)
{
    uint64_t pages;
    if (data_absent(data, offset, bytes, &pages) < pages)
        data_evict(data);
    data_look(bench, data, offset, bytes);
}

bool data_evictable(struct bench *bench, const struct data *data)
{
    uint64_t pages;
    data_warm(data, 0, 16 * PAGE_BYTES);
    data_evict(data);
    return data_absent(data, 0, 16 * PAGE_BYTES, &pages) > 0 ||
           bench_unsupported(bench, "pages of files in %s cannot be evicted: a file system in memory?",
                             bench->options.folder);
}

void slots_make(struct bench *bench, struct slots *slots, uint64_t window_bytes, size_t bytes)
{
    *slots = (struct slots){.stride = (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES};
    slots->count = (uint32_t)(window_bytes / slots->stride);
    slots->next = slots->count;
    slots->order = calloc(slots->count, sizeof *slots->order);
    if (slots->order == NULL)
        fail(1, "no memory for %u places in a file", slots->count);
    for (uint32_t i = 0; i < slots->count; i++)
        slots->order[i] = i;
    bench_shuffle(bench, slots->order, slots->count);
}

uint64_t slots_next(struct bench *bench, struct slots *slots)
{
    if (slots->next == slots->count) {
        bench_shuffle(bench, slots->order, slots->count);
        slots->next = 0;
    }
    return slots->order[slots->next++] * slots->stride;
}

void slots_free(struct slots *slots)
{
    free(slots->order);
    slots->order = NULL;
}
