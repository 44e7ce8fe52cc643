/* meters.c: reads /proc and getrusage(), never while something is timed. */
#include "meters.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* "name: value" of a file, 0 if it is not there. */
static uint64_t field_of(const char *path, const char *name)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    char line[256];
    uint64_t value = 0;
    size_t bytes = strlen(name);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, bytes) == 0 && line[bytes] == ':')
            value = strtoull(line + bytes + 1, NULL, 10);
    fclose(file);
    return value;
}

/* read_bytes and write_bytes: what a process caused at a device (Documentation/filesystems/proc.rst, section 3.3). */
static void add_process(struct reading *reading, const char *process)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/io", process);
    reading->device_read_bytes += field_of(path, "read_bytes");
    reading->device_write_bytes += field_of(path, "write_bytes");
}

/* Engines whose helpers are processes. What ended before the measured part did is not found. */
static void add_children(struct reading *reading)
{
    DIR *processes = opendir("/proc");
    if (processes == NULL)
        return;
    struct dirent *entry;
    while ((entry = readdir(processes)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        char path[300];
        snprintf(path, sizeof path, "/proc/%s/status", entry->d_name);
        if (field_of(path, "PPid") != (uint64_t)getpid())
            continue;
        add_process(reading, entry->d_name);
        snprintf(path, sizeof path, "/proc/%s/schedstat", entry->d_name);
        FILE *file = fopen(path, "re");
        unsigned long long ns = 0;
        if (file != NULL) {
            reading->children_cpu_ns += fscanf(file, "%llu", &ns) == 1 ? ns : 0;
            fclose(file);
        }
    }
    closedir(processes);
}

/* Documentation/block/stat.rst: the third and the seventh number are sectors of 512 bytes. */
static void read_disk(struct reading *reading, const char *folder)
{
    struct stat status;
    if (folder == NULL || stat(folder, &status) != 0)
        return;
    char path[80];
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/stat", major(status.st_dev), minor(status.st_dev));
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    unsigned long long reads, writes;
    if (fscanf(file, "%*u %*u %llu %*u %*u %*u %llu", &reads, &writes) == 2) {
        reading->disk_read_bytes = reads * 512;
        reading->disk_write_bytes = writes * 512;
        reading->disk_found = 1;
    }
    fclose(file);
}

static void read_all(struct reading *reading, struct laio *laio, const char *folder)
{
    *reading = (struct reading){.thread_id = syscall(SYS_gettid)};
    if (laio != NULL)
        reading->laio = *laio_count(laio);
    add_process(reading, "self");
    add_children(reading);
    read_disk(reading, folder);
}

double meters_children_ns(const struct meters *meters)
{
    uint64_t before = meters->before.children_cpu_ns, after = meters->after.children_cpu_ns;
    return after > before ? (double)(after - before) : 0;
}

unsigned meters_threads(void)
{
    return (unsigned)field_of("/proc/self/status", "Threads");
}

uint64_t meters_peak_rss_bytes(void)
{
    return field_of("/proc/self/status", "VmHWM") * 1024;
}

/* What is read last before and first after is what reading the rest would disturb. */
void meters_begin(struct meters *meters, struct laio *laio, const char *folder)
{
    meters->folder = folder;
    read_all(&meters->before, laio, folder);
    getrusage(RUSAGE_THREAD, &meters->before.thread);
    getrusage(RUSAGE_SELF, &meters->before.process);
}

void meters_end(struct meters *meters, struct laio *laio)
{
    struct rusage process, thread;
    getrusage(RUSAGE_SELF, &process);
    getrusage(RUSAGE_THREAD, &thread);
    read_all(&meters->after, laio, meters->folder);
    meters->after.process = process;
    meters->after.thread = thread;
}
