/* report.h: what a load generator found, and its one JSON object.
 *
 * Only what happens in the measuring window [begin, end) counts. Counters and `httperf` count events by the time they
 * happen. `latency` is a cohort: the requests *intended* in the window, observed if their reply came in it, censored if
 * they timed out in it (histogram_censor) or were unanswered at its end (histogram_in_flight). Where the manifest tells
 * kinds of files apart, `kinds` is the same cohort, split by them.
 */
#ifndef NAI_REPORT_H
#define NAI_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "histogram.h"
#include "manifest.h"

#define REPORT_SCHEMA 1

/* The plain counters, in the order of the JSON object; a counter is added here and nowhere else. */
#define REPORT_COUNTERS(X)                                                                                             \
    X(connections_attempted)    /* connect() called, or first SYN sent */                                              \
    X(connections_opened)       /* handshake complete */                                                               \
    X(connections_completed)    /* every reply of the connection received */                                           \
    X(connections_timed_out)    /* aborted by RST because connection or reply took longer than the time-out */         \
    X(connections_refused)      /* RST in answer to SYN */                                                             \
    X(connections_reset)        /* RST, or close before a complete reply, later */                                     \
    X(connections_failed_other) /* malformed reply, session cut short, other errors */                                 \
    X(requests_sent)                                                                                                   \
    X(replies) /* complete and well-formed, of any status */                                                           \
    X(replies_not_200)                                                                                                 \
    X(replies_timed_out)  /* requests, whether or not already sent, that a time-out ended */                           \
    X(bytes_received)     /* headers and bodies */                                                                     \
    X(bodies_verified)    /* CRC-32 computed and compared */                                                           \
    X(bodies_mismatched)  /* of which wrong */                                                                         \
    X(lengths_mismatched) /* replies of status 200 whose body is not as long as the file */

struct report_second {
    uint64_t attempted; /* connections (open, raw) or requests (closed) begun */
    uint64_t replies;
    uint64_t timed_out;
};

struct report_kind {
    char name[MANIFEST_KIND_MAX + 1];
    struct histogram latency;
};

struct report {
    const char *mode;    /* "open", "closed", "raw" */
    double target_per_s; /* as asked for; 0 in a closed loop */
    double warmup_s;
    uint64_t begin_ns, end_ns; /* the measuring window, CLOCK_MONOTONIC; end may be moved forward when ended early */
    uint64_t starts_scheduled; /* starts whose intended time lies in the window */
    uint64_t starts_issued;    /* starts issued in the window, late or not: the share of the target really offered */
#define X(name) uint64_t name;
    REPORT_COUNTERS(X)
#undef X
    double cpu_s; /* of this process in the window, without polling in vain: what it needed */
    struct histogram latency, latency_httperf, connect, lag;
    struct report_kind kinds[MANIFEST_KINDS_MAX];
    size_t kind_count;
    struct report_second *seconds;
    size_t seconds_count;
};

/* A generator's own counters, written after the common ones. */
struct report_extra {
    const char *name;
    uint64_t value;
};

void report_begin(struct report *, const char *mode, double target_per_s, uint64_t start_ns, double warmup_s,
                  double duration_s);
/* Tell the kinds of these files apart. After report_begin(); without it the report has no kinds. */
void report_kinds(struct report *, const struct manifest *);
/* Record a request of the cohort for file: answered, timed out, or unanswered at the end, ns after it was intended. */
void report_answered(struct report *, const struct manifest_file *, uint64_t ns);
void report_timed_out(struct report *, const struct manifest_file *, uint64_t ns);
void report_unanswered(struct report *, const struct manifest_file *, uint64_t ns);
static inline bool report_in_window(const struct report *r, uint64_t now_ns)
{
    return now_ns >= r->begin_ns && now_ns < r->end_ns;
}
/* The second in which now_ns lies; only for times in the window. */
static inline struct report_second *report_at(struct report *r, uint64_t now_ns)
{
    return &r->seconds[(now_ns - r->begin_ns) / 1000000000u];
}
void report_write(const struct report *, const struct report_extra *extra, size_t extra_count, FILE *out);
void report_free(struct report *);

#endif
