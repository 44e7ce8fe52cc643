/* uses.h: has the kernel notice that a small file is read again.
 *
 * Where memory does not suffice for all files, the kernel keeps what is used again. But of reads through one open file it
 * takes the next for the same use as the last if both touch the same page (filemap_read() in mm/filemap.c). So for it a
 * file of one page that is kept open is read once, however popular, and soon gives its memory to others; sendfile() has
 * each use counted. On a disk of 2004 that costs some percent of all replies.
 *
 * So such a file is opened anew before it is read again, under its old number: whatever is in progress with that goes on.
 * It is done while reads wait for the disk, or the process had blocks read (getrusage(2): the engine `plain` tells nobody),
 * for a file every LAZY_USES_MS at most. While all is in memory it costs nothing.
 */
#ifndef NAI_USES_H
#define NAI_USES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uses {
    int max_descriptor;
    size_t page_bytes;
    uint64_t *noticed_ms; /* by descriptor: when it was opened, the first time or anew */
    uint64_t short_ms;    /* until then memory is taken for short */
    uint64_t looked_ms;
    long blocks; /* that were read when it was looked at */
};

/* False with errno. */
bool uses_start(struct uses *uses, int max_descriptor);
void uses_stop(struct uses *uses);

void uses_opened(struct uses *uses, int file, uint64_t now_ms);
void uses_waited(struct uses *uses, uint64_t now_ms); /* a read is in progress */

/* The first `bytes` of the file are about to be read. */
void uses_notice(struct uses *uses, int file, size_t bytes, uint64_t now_ms);

#endif
