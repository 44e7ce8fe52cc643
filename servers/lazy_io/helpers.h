/* helpers.h: threads that make blocking calls for a loop: a bounded pool that grows, and one queue. */
#ifndef NAI_HELPERS_H
#define NAI_HELPERS_H

#include "engine.h"

struct helpers;

/* at_first threads, which may be none, later up to options->threads. NULL: why says what is missing. */
struct helpers *helpers_open(struct laio *laio, const struct laio_options *options, unsigned at_first, char *why,
                             size_t why_bytes);
#define HELPERS_AT_FIRST 4 /* for who always needs them: as many as libuv has */

/* Loop: make operation->call and give the operation to laio_finish(). moved: what an earlier part of the call has moved
 * already, so what its result is to include. memory: to be freed after the call, or NULL. False: there is no thread, nor
 * can one be had; only where none was there at first. */
bool helpers_hand(struct helpers *helpers, struct laio_operation *operation, size_t moved, void *memory);

/* Loop: what waits in the queue ends with EINTR, and a signal goes to each thread that is inside a call. */
void helpers_interrupt(struct helpers *helpers);

/* Loop: nothing is in progress; end the threads. */
void helpers_close(struct helpers *helpers);

#endif
