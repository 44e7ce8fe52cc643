/* partner.h: a thread that does something once the loop has gone on, and late if the loop cannot go on. */
#ifndef NAI_BENCH_PARTNER_H
#define NAI_BENCH_PARTNER_H

#include "bench.h"

#include <stdatomic.h>

/* The partner sleeps in a futex: one that looks would take a CPU from whoever is measured. */
struct partner {
    pthread_t thread;
    bool started;
    _Atomic(uint32_t) word;
    _Atomic(uint64_t) armed_ns;
    uint64_t after_told_ns, at_latest_ns;
    void (*act)(void *argument);
    void *argument;
    _Atomic(uint64_t) late; /* it acted without being told */
};

/* act() comes after_told_ns after partner_tell(), or at_latest_ns after partner_arm(): a held caller cannot tell. */
void partner_start(struct bench *, struct partner *, void (*act)(void *argument), void *argument,
                   uint64_t after_told_ns, uint64_t at_latest_ns);
void partner_stop(struct partner *);

/* Before the call. No system call, unless the partner is not back yet from the last one. */
void partner_arm(struct partner *);
/* After it. False: too late, it has acted already. */
bool partner_tell(struct partner *);
/* The call has returned. False: because the partner acted. */
bool partner_disarm(struct partner *);

#endif
