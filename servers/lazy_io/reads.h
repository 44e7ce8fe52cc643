/* reads.h: with --reads begun, when the design `lazy` has a read begun first, and looks at it again some turns later.
 *
 * preadv2(RWF_NOWAIT) of what is not in memory answers EAGAIN, but has the kernel begin to bring it in
 * (filemap_get_pages() in mm/filemap.c reads ahead before it looks at IOCB_NOWAIT). Where the disk answers within some
 * turns of the loop, another such call then finds the data, and no thread has slept for it: to block, be taken over and
 * come back costs the CPU as much as a third of a reply. What is not there after LAZY_LOOKS turns is read lazily, as ever.
 *
 * So it is done only while it pays, which is found by counting:
 *
 *     at first, and while all is in memory         no: reads are lazy, and return at once
 *     a lazy read was in progress                  yes, from the next one on; the engine `plain`, whose reads hold the
 *                                                  loop and tell nobody, always takes the next one for such
 *     more than one in five is not there in time   no, until some lazy reads more were in progress: the disk is slow, or
 *                                                  turns are short
 *
 * What is begun takes memory that other files would be in: a thousand reads at a time would throw out what they bring in
 * before anybody looks. So only LAZY_BEGUN replies begin at a time, the others wait for that, first come, first served.
 * Who need not wait is found by cachestat(2), which begins nothing. In a turn only LAZY_LOOKED of them are taken up, behind
 * all requests that are new: so where the CPU is what everybody waits for, those wait that waited for the disk anyway.
 */
#ifndef NAI_READS_H
#define NAI_READS_H

#include <stdbool.h>
#include <stddef.h>

struct lazy_socket;

struct lazy_queue {
    struct lazy_socket *first, **last;
    unsigned count;
};

struct reads {
    bool possible;  /* it is asked for, and the file system knows such a call */
    bool blindly;   /* of a read that has ended it is not known whether it waited */
    bool asking;    /* it pays */
    bool uncounted; /* there is no cachestat */
    int gain;       /* of those that were begun */
    unsigned calm;  /* reads in a row that found all in memory */
    unsigned rest;  /* lazy reads that are to be in progress before it is tried again */
    struct lazy_queue begun, cold; /* to be looked at again; to be begun */
    unsigned ripe;                 /* of begun, the first ones: since earlier turns */
};

/* False: the engine does not make such calls itself. */
bool reads_start(struct reads *reads, const char *engine, bool begun);

void lazy_queue_put(struct lazy_queue *queue, struct lazy_socket *socket);
struct lazy_socket *lazy_queue_take(struct lazy_queue *queue); /* of one that is not empty */

static inline bool reads_wait(const struct reads *reads)
{
    return reads->begun.count + reads->cold.count > 0;
}

/* Are the first bytes of a file to wait until those of others are there? */
bool reads_must_wait(struct reads *reads, int file, size_t bytes);

/* The result of a call with RWF_NOWAIT, or minus an errno, after so many earlier looks. And: a lazy read, without one, was
 * made, and is in progress or has ended. */
void reads_asked(struct reads *reads, unsigned looks, long result);
void reads_made(struct reads *reads, bool in_progress);

#endif
