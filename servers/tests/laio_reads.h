/* laio_reads.h: a call waited for, and many reads from pipes in which there is nothing yet. */
#ifndef NAI_LAIO_READS_H
#define NAI_LAIO_READS_H

#include "laio.h"
#include "laio_partner.h"

#include <stdatomic.h>
#include <stddef.h>

/* The call that has just been made, waited for if it is lazy: the kernel's result. */
long complete(struct laio *laio, long result);

struct one_read {
    int pipe[2]; /* -1: closed */
    char byte;   /* what was read */
    bool released; /* the partner wrote to it, since the call took long: it may end at any time */
    struct laio_operation *handle; /* while it is in progress */
    long result;                   /* as the kernel has it, once it ended */
    int endings;                   /* how often that was said */
};

struct reads {
    struct laio *laio;
    struct partner *partner;
    size_t count, in_progress;
    struct one_read *each;
    struct favour favour;
    atomic_int calling, called_before; /* the read that the loop is in, or -1 */
};

/* Makes up to count reads. One that holds the loop, because no more can be in progress, gets its byte from the partner
 * and is the last: reads->count says how many there are. */
void reads_start(struct reads *reads, struct laio *laio, struct partner *partner, size_t count);
/* So many reads that wait, and that the partner has not touched. */
void reads_start_all(struct reads *reads, struct laio *laio, struct partner *partner, size_t count);
void reads_write(struct reads *reads, size_t which); /* its byte */
/* Until all other threads sleep: who was woken by a write has read, and given that back. */
void reads_settle(void);
/* laio_poll() for reads: notes the results; those that it was told of, in order, in ended (of n). */
int reads_poll(struct reads *reads, struct one_read **ended, int n, int timeout_ms);
void reads_finish(struct reads *reads); /* wait for all that are in progress */
void reads_stop(struct reads *reads);   /* close the pipes */

#endif
