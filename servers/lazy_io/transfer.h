/* transfer.h: a call that reads or writes: how much it asks for, and what is left of it when a part has been moved. */
#ifndef NAI_TRANSFER_H
#define NAI_TRANSFER_H

#include "engine.h"

#define TRANSFER_MOST 0x7ffff000l /* bytes that one call moves: the kernel's MAX_RW_COUNT with pages of 4 KiB */

/* Bytes that read, write and their relatives with p, v and v2 ask for. The vector must be known to be readable. */
size_t transfer_bytes(const struct laio_call *call);

/* Make of a call what is left of it after `moved` bytes. memory: NULL at first, then what the caller has to free when
 * the call is over. false: no memory, and nothing was changed. */
bool transfer_advance(struct laio_call *call, size_t moved, void **memory);

/* The result of a call of which `moved` bytes were moved by a first part: an error of the second leaves what the first
 * has moved, as within one call. */
static inline long transfer_joined(size_t moved, long rest)
{
    return moved == 0 ? rest : (long)moved + (rest > 0 ? rest : 0);
}

/* The same for an operation that makes the second part: said before it is made, and asked once when it has ended. Of
 * its engine_data this takes the first two. memory, or NULL, is freed then. */
void transfer_rest(struct laio_operation *operation, size_t moved, void *memory);
long transfer_whole(struct laio_operation *operation, long rest);

/* A regular file or block device, where a short transfer or a wait means something else than for streams: O_NONBLOCK
 * counts for nothing, and what a plain call moves falls short at the end of the file only. */
bool transfer_of_file(long descriptor);

/* A stream whose plain calls return EAGAIN instead of waiting. */
bool transfer_never_waits(long descriptor);

/* Opened with O_DIRECT: what is read comes from the disk. */
bool transfer_is_direct(long descriptor);

#endif
