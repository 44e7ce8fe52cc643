/* options.h: the command line that all designs share. */
#ifndef NAI_OPTIONS_H
#define NAI_OPTIONS_H

#include "transport.h"

#include <stdio.h>

#define NO_LIMIT UINT64_MAX /* --accept-limit inf */

/* Which designs an option belongs to, besides those that belong to all. */
enum options_extra { OPTIONS_SHARED, OPTIONS_FLOOR, OPTIONS_RING, OPTIONS_THREADS, OPTIONS_WORKERS, OPTIONS_LAZY };

/* --sharing: how several processes share one port. */
enum sharing { SHARING_SHARED, SHARING_EXCLUSIVE, SHARING_REUSEPORT };

/* --network */
enum network_side { NETWORK_NONBLOCKING, NETWORK_LAZY };
/* --reads */
enum reads_side { READS_LAZY, READS_BEGUN };

struct options {
    const char *design; /* program name, for messages */
    struct sockaddr_in listen;
    const char *root;
    uint64_t accept_limit; /* the most consecutive accepts in one accept phase */
    struct tp_options transport;
    uint64_t backlog, defer_accept_s; /* as given; copied to transport */
    uint64_t work_us, slow_us;
    bool slow_sleeps; /* /slow/ sleeps instead of burning CPU */
    uint64_t cpu; /* NO_LIMIT = not pinned */
    const char *counters;
    uint64_t header_timeout_ms, idle_timeout_ms;
    uint64_t max_connections;
    uint64_t file_cache_bytes;
    uint64_t max_open_files; /* not an option: process_start() derives it from the descriptor limit */
    /* floor only */
    uint64_t floor_bytes;
    bool close_after_reply;
    uint64_t no_defer_taskrun; /* ring designs only: 1 = off */
    uint64_t threads;          /* threads only */
    uint64_t workers, sharing; /* workers only; enum sharing */
    /* lazy only */
    const char *engine, *watch; /* as laio_open() has them (laio.h) */
    uint64_t lazy_threads, lazy_processes, network, reads; /* enum network_side, reads_side */
};

/* Fill *options from the command line. Returns -1 to go on; otherwise the exit status: 0 after --help (written to
 * out), 2 after a bad option (one line, written to errors). */
int options_parse(struct options *options, const char *design, enum options_extra extra, int argc, char **argv,
                  FILE *out, FILE *errors);

#endif
