/* ring_paths.h: by which of its ways the kernel carried out what was given to an io_uring. */
#ifndef NAI_BENCH_RING_PATHS_H
#define NAI_BENCH_RING_PATHS_H

#include "operations.h"

/* A pass of its own, never timed, of at most 200 calls: how many were complete at once (inline), waited for by a poll
 * in the kernel (poll), made by a worker thread (worker), or none of these (async: a device's or page's completion).
 * Writes the field ring_paths, which is null for engines other than uring: for those, operation may be NULL. */
bool ring_paths_known(const struct bench *);
void ring_paths_report(struct bench *, struct operation *);

#endif
