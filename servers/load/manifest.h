/* manifest.h: which files are asked for, how often, and what their bodies must be.
 *
 * One line a file, tab-separated: PATH BYTES CRC32_HEX8 WEIGHT [KIND]. PATH begins with '/' and goes into the request
 * line as it is. WEIGHT is relative (any positive scale; 0 = never asked for). KIND is a name, a-z 0-9 - _, whose
 * latencies are reported apart; all lines have one, or none.
 */
#ifndef NAI_MANIFEST_H
#define NAI_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "schedule.h"

#define MANIFEST_PATH_MAX 1024                 /* bytes of a PATH */
#define MANIFEST_BYTES_MAX (UINT64_C(1) << 40) /* of a file */
#define MANIFEST_TEXT_MAX (64u << 20)          /* of the manifest itself */
#define MANIFEST_KINDS_MAX 4                   /* different KINDs */
#define MANIFEST_KIND_MAX 15                   /* bytes of a KIND */

enum request_kind { REQUEST_KEEP_ALIVE, REQUEST_CLOSE, REQUEST_KINDS };

struct manifest_file {
    char *path;
    uint64_t bytes;
    uint32_t crc32;
    double weight;
    uint8_t kind; /* index into the manifest's kinds; 0 if it has none */
    char *request[REQUEST_KINDS]; /* prepared by manifest_prepare() */
    size_t request_bytes[REQUEST_KINDS];
    /* Walker and Vose's alias method: one random number draws a file in constant time. */
    double alias_threshold;
    uint32_t alias;
};

struct manifest {
    struct manifest_file *files;
    size_t count;
    char kinds[MANIFEST_KINDS_MAX][MANIFEST_KIND_MAX + 1];
    size_t kind_count; /* 0: the lines have no KIND */
};

/* Parse text (need not end in NUL), or read and parse a file. Returns 0, or -1 with one clear line in *error. */
int manifest_parse(struct manifest *, const char *text, size_t bytes, char *error, size_t error_bytes);
int manifest_read(struct manifest *, const char *file_name, char *error, size_t error_bytes);
/* Build every file's request text: "GET PATH HTTP/1.1", Host, and "Connection: close" in the closing kind. */
void manifest_prepare(struct manifest *, const char *host);
const struct manifest_file *manifest_draw(const struct manifest *, struct random *);
void manifest_free(struct manifest *);

#endif
