/* helpers.h: threads that make blocking calls for a loop: a bounded pool that grows, and one queue. */
#ifndef NAI_HELPERS_H
#define NAI_HELPERS_H

#include "engine.h"

struct helpers;

/* options->threads_at_first threads, later up to options->threads. NULL: why says what is missing. */
struct helpers *helpers_open(struct laio *laio, const struct laio_options *options, char *why, size_t why_bytes);

/* Loop: make operation->call and give the operation to laio_finish(). bytes_before: what an earlier part of the call
 * has moved already, so what its result is to include. memory: to be freed after the call, or NULL. */
void helpers_hand(struct helpers *helpers, struct laio_operation *operation, size_t bytes_before, void *memory);

/* Loop: what waits in the queue ends with EINTR, and a signal goes to each thread that is inside a call. */
void helpers_interrupt(struct helpers *helpers);

/* Loop: nothing is in progress; end the threads. */
void helpers_close(struct helpers *helpers);

#endif
