/* amped_process.h: a process that makes calls for their effect on memory: data and directory entries come in. */
#ifndef NAI_AMPED_PROCESS_H
#define NAI_AMPED_PROCESS_H

#include "engine.h"

#include <limits.h>

enum amped_request_kind { AMPED_READ, AMPED_OPEN, AMPED_STATX, AMPED_STAT };

/* One message, together with a descriptor: the file to read, or the directory that the path is relative to. */
struct amped_request {
    enum amped_request_kind kind;
    int flags;
    uint64_t resolve; /* of openat2 */
    unsigned mask;
    int64_t offset;
    uint64_t bytes;
    char path[PATH_MAX]; /* the message ends with it */
};

struct amped_process {
    int process; /* a pidfd, or -1 */
    int socket;  /* requests go there; one byte comes back for each */
};

/* Returns 0 or -errno. */
long amped_process_start(struct amped_process *process);

/* descriptor: -1 = none. path_bytes: of the path with its end. Returns 0 or -errno. */
long amped_process_ask(const struct amped_process *process, const struct amped_request *request, size_t path_bytes,
                       int descriptor);

/* Has it answered? 1 = yes, 0 = not yet, -1 = it is dead. */
int amped_process_answered(const struct amped_process *process);

/* Whatever it does. */
void amped_process_end(struct amped_process *process);

#endif
