#include "host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>

enum { USUAL_SLACK_NS = 50000 }; /* by which the kernel may lengthen a sleep, prctl(2), PR_SET_TIMERSLACK */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t host_now(const struct host *host) { return now_ns() / host->tick_ns; }

int host_open(struct host *host, const char *where, const struct stack_address *address, struct stack_limits *limits,
              char *error, size_t error_bytes)
{
    struct wire wire;
    *host = (struct host){.tick_ns = limits->tick_ns};
    if (getrandom(limits->key, sizeof limits->key, 0) != sizeof limits->key) {
        snprintf(error, error_bytes, "random numbers: %s", strerror(errno));
        return -1;
    }
    host->attachment = attach_open(where, address, &wire, error, error_bytes);
    if (host->attachment == NULL)
        return -1;
    if (host->tick_ns < USUAL_SLACK_NS) /* or the slack would be longer than the tick */
        prctl(PR_SET_TIMERSLACK, (unsigned long)host->tick_ns, 0, 0, 0);
    host->stack = stack_open(limits, &wire, address, host_now(host));
    if (host->stack == NULL) {
        snprintf(error, error_bytes, "the stack: %s%s", strerror(errno),
                 errno == EINVAL ? "; its address must be a host's, its limits within stack.h's" : "");
        attach_close(host->attachment);
        return -1;
    }
    return 0;
}

void host_close(struct host *host)
{
    attach_flush(host->attachment);
    stack_close(host->stack);
    attach_close(host->attachment);
}

void host_turn(struct host *host)
{
    stack_advance(host->stack, host_now(host));
    host->frames = attach_input(host->attachment, host->stack, HOST_BATCH);
}

void host_wait(struct host *host, int64_t ns)
{
    uint64_t tick;
    attach_flush(host->attachment);
    if (ns == 0 || host->frames == HOST_BATCH)
        return;
    if (stack_next(host->stack, &tick)) {
        int64_t until = (int64_t)(tick * host->tick_ns - now_ns());
        if (until <= 0)
            return;
        ns = ns < 0 || until < ns ? until : ns;
    }
    attach_wait(host->attachment, ns);
}
