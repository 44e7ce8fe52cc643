/* uses.h: has the kernel notice that a small file is read again.
 *
 * Where memory does not suffice for all files, the kernel keeps what is used again. But of reads through one open file it
 * takes the next for the same use as the last if both touch the same page (filemap_read() in mm/filemap.c). So for it a
 * file of one page that is kept open is read once, however popular, and soon gives its memory to others; sendfile() has
 * each use counted. On a disk of 2004 that costs some percent of all replies.
 *
 * So such a file is opened anew before it is read again, under its old number: whatever is in progress with that goes on.
 * It is done while reads wait for the disk, or the process had blocks read (getrusage(2): the engine `plain` tells nobody).
 * While all is in memory it costs nothing. Where a fast disk lets thousands of replies a second through it would cost the
 * CPU more than it saves: then a sample of the uses is noticed, one in LAZY_USES_MS on average, and so the popular files.
 */
#ifndef NAI_USES_H
#define NAI_USES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uses {
    size_t page_bytes;
    uint64_t short_ms; /* until then memory is taken for short */
    uint64_t spent_ms; /* of the time that there is for it, LAZY_USES_MS a file */
    uint64_t looked_ms;
    long blocks; /* that were read when it was looked at */
};

void uses_start(struct uses *uses);
void uses_waited(struct uses *uses, uint64_t now_ms); /* a read is in progress */

/* The first `bytes` of the file are about to be read. */
void uses_notice(struct uses *uses, int file, size_t bytes, uint64_t now_ms);

#endif
