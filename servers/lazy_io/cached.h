/* cached.h: a call that takes what is in memory and does not wait for the rest.
 *
 * A read: preadv2(RWF_NOWAIT) answers EAGAIN where the page cache has not what is asked for (mm/filemap.c,
 * IOCB_NOWAIT), and a part where it has a part. Of O_DIRECT it asks the wrong thing: such a read avoids waiting for
 * locks, but not for the disk. An openat2() with O_NONBLOCK, which waits for names alone: RESOLVE_CACHED answers EAGAIN
 * where they are not in memory (since Linux 5.12). Nothing else has such a question.
 */
#ifndef NAI_CACHED_H
#define NAI_CACHED_H

#include "engine.h"

enum cached_answer {
    CACHED_HIT,      /* the data were in memory */
    CACHED_RETURNED, /* the call has returned as the plain one does, and did not have to wait: an error as a rule */
    CACHED_MISS,     /* it would wait */
    CACHED_UNKNOWN,  /* this file, or kernel, does not know the question */
    CACHED_NOT,      /* and this call has none */
};

struct cached {
    enum cached_answer answer;
    long result;  /* hit, returned: the kernel's, -errno on failure */
    size_t moved; /* miss: bytes that have been read nevertheless; the call is what is left of it */
    void *memory; /* miss: to be freed when the rest has been read, or NULL */
};

/* read, pread64, readv, preadv, preadv2. */
bool cached_is_read(long number);

/* Make the call as far as it need not wait. */
struct cached cached_call(struct laio_call *call);

/* Is the question known here, and allowed? Asked of an empty eventfd. Returns 0 or -errno. */
long cached_probe(int eventfd);

#endif
