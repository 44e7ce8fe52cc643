/* tree.h: folders with a file each, to be opened and looked up, and folders with many entries, to be listed. */
#ifndef NAI_BENCH_TREE_H
#define NAI_BENCH_TREE_H

#include "bench.h"

#define LISTED_ENTRIES 100 /* in a folder that is listed, beside . and .. */
#define LISTED_FOLDERS 64
#define TREE_PATH_BYTES 64

/* A file a folder, since a folder's block is what a cold look-up certainly reads: inodes are read by the dozen. */
struct tree {
    int root;
    uint32_t count; /* of files, or of listed folders */
    bool listed;
    uint32_t *order; /* of visits; every one is visited before any is visited again */
    uint32_t next;
    int *folders; /* listed: opened, not read */
    int drop;     /* /proc/sys/vm/drop_caches, or -1: all is warm */
};

/* Makes it in --folder if it is not there. cold: false with why if caches may not be dropped. */
bool tree_open(struct bench *, struct tree *, bool listed, bool cold);
void tree_close(struct tree *);

/* The next one to visit; before the first of a round everything is dropped (cold) or visited once (warm). */
uint32_t tree_next(struct bench *, struct tree *);
void tree_path(uint32_t index, char path[TREE_PATH_BYTES]); /* of a file, below root */
uint64_t tree_file_bytes(uint32_t index);

#endif
