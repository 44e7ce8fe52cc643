/* meters.h: what the kernel and the library counted during the measured part. */
#ifndef NAI_BENCH_METERS_H
#define NAI_BENCH_METERS_H

#include "laio.h"

#include <sys/resource.h>

struct reading {
    struct laio_counters laio;
    struct rusage process, thread;
    long thread_id;                                   /* of the kernel: `activation` moves the loop */
    uint64_t device_read_bytes, device_write_bytes;   /* by this process and its children */
    uint64_t disk_read_bytes, disk_write_bytes;       /* by anybody, of the folder's disk */
    uint64_t children_cpu_ns;
    int disk_found;
};

struct meters {
    const char *folder;
    struct reading before, after;
};

/* CPU time of helpers that are processes, in the measured part: others are in getrusage(RUSAGE_SELF). */
double meters_children_ns(const struct meters *);

/* Of this process: its threads at this moment, and the most memory that it has had (ru_maxrss would have that of who
 * started it, too). */
unsigned meters_threads(void);
uint64_t meters_peak_rss_bytes(void);

/* Both in the loop's thread. laio may be NULL. */
void meters_begin(struct meters *, struct laio *laio, const char *folder);
void meters_end(struct meters *, struct laio *laio);

#endif
