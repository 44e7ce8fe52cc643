/* files.h: the files under --root, kept open or in memory.
 *
 * Small files are kept in memory, larger ones open for sendfile. As in nginx's open_file_cache a kept file is believed
 * for FILE_RECHECK_MS and then compared with the file system, so that a hit costs no system call.
 */
#ifndef NAI_FILES_H
#define NAI_FILES_H

#include "bounds.h"

#include <linux/openat2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct file {
    /* What a reply needs. */
    char *bytes;    /* the contents, or NULL: send from the descriptor */
    int descriptor; /* -1 if the contents are in memory, or it is not open yet */
    uint64_t size;
    time_t modified;
    int fields_bytes, modified_at; /* of fields; where Last-Modified begins in them */
    char fields[FILE_FIELDS_BYTES]; /* Content-Type, Content-Length, Last-Modified, ready to send */
    /* The cache's own. */
    unsigned pins; /* replies that use it, plus one while it is in the cache */
    uint64_t checked_ms;
    struct stat identity;
    struct file *newer, *older; /* in order of use */
    struct file *next;          /* in its bucket */
    uint32_t hash;
    uint32_t path_bytes;
    char path[];
};

#define FILES_BUCKETS 4096

struct files {
    int root;
    uint64_t memory_bytes, max_memory_bytes;
    unsigned kept, kept_open, max_open;
    struct file *newest, *oldest;
    struct file *buckets[FILES_BUCKETS];
};

/* Returns 0, or -1 with errno. */
int files_start(struct files *files, const char *root, uint64_t max_memory_bytes, unsigned max_open);

/* The file at this path (relative, as http_path() makes it), pinned; NULL and *status if there is none: 404, 500, or 503
 * without descriptors or memory. What lies outside the root, links there included, does not exist. */
struct file *files_open(struct files *files, const char *path, size_t path_bytes, uint64_t now_ms, int *status);
void file_unpin(struct file *file);

/* The same in two steps, for a design that does not wait for the file system in between. The first returns a file that
 * is kept; or one that is not open yet, which is to be opened, in whatever way, as file_open() does:
 * openat2(files->root, file->path, &file_how, sizeof file_how); or NULL without memory. The second takes that file and
 * what came of it, a descriptor or minus an errno, and returns what files_open() does. Only what opens can wait for long:
 * it brings in the inode that fstat() looks at, and a kept file's is not given up while it is open. */
struct file *files_lookup(struct files *files, const char *path, size_t path_bytes, uint64_t now_ms);
struct file *files_opened(struct files *files, struct file *file, long result, uint64_t now_ms, int *status);
long file_open(const struct files *files, const struct file *file);
extern const struct open_how file_how;
static inline bool file_is_open(const struct file *file)
{
    return file->bytes != NULL || file->descriptor >= 0;
}

void files_stop(struct files *files);

/* "text/html" for "a/b.html" */
const char *content_type(const char *path);

#endif
