/* service.h: what all connections of one loop share, from the start to the drain. */
#ifndef NAI_SERVICE_H
#define NAI_SERVICE_H

#include "clock.h"
#include "connection.h"
#include "files.h"
#include "bounds.h"
#include "listening.h"
#include "options.h"
#include "timeouts.h"
#include "work.h"

struct service {
    const struct options *options;
    struct loop_clock clock;
    struct timeouts timeouts;
    struct files files;
    struct work work;
    struct connection *connections; /* by descriptor */
    int max_descriptor;             /* the table's last */
    bool opens_files;               /* the design does: completion style, CONNECTION_OPENS */
    bool draining;                  /* after SIGTERM: each reply is its connection's last */
    uint64_t drained_ms;
    char input[INPUT_BYTES];    /* of the connection being served */
    char path[HTTP_MAX_TARGET]; /* of its request, decoded; not on the stack: a design may have thousands of those */
    /* For designs with threads, or NULL: how a handler works or sleeps while others are served. The connection's input
     * must hold afterwards what it held before, path need not. */
    void (*spend)(struct service *service, const struct connection *connection, uint64_t us, bool sleeps);
    void *design; /* for spend */
};

/* Returns 0, or -1 with errno. */
int service_start(struct service *service, const struct options *options);

/* At the top of every loop: read the clock; after SIGTERM stop listening and drain. False when nothing is left to do. */
bool service_goes_on(struct service *service, struct listening *listening);

/* How long getevents may sleep: to the next time-out, or the end of a pause in accepting. */
int service_wait_ms(const struct service *service, const struct listening *listening);

void service_stop(struct service *service);

#endif
