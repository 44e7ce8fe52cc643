/* reply.h: reads HTTP/1.x replies to GET as they arrive, in pieces of any size.
 *
 *     reply_begin(&r, verify);
 *     used = reply_feed(&r, data, n);     consumes n, or less when the reply ends (or is malformed) before
 *     r.state                             REPLY_LINE.. REPLY_BODY: more is needed; REPLY_COMPLETE; REPLY_MALFORMED
 *     reply_end(&r);                      the peer closed: completes a body that only the close delimits
 *
 * How data is cut into pieces never changes the outcome. Understood: 1xx interim replies (skipped), replies without
 * body (204, 304), Content-Length, close-delimited bodies (RFC 9112 section 6.3), Connection: close and keep-alive. A
 * transfer coding is refused as malformed: what is measured serves files, whose length is known.
 */
#ifndef NAI_REPLY_H
#define NAI_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLY_LINE_MAX 256           /* bytes of a header line that are looked at; longer ones are passed over */
#define REPLY_HEADER_MAX (64u << 10) /* bytes of all header lines; more is malformed */

enum reply_state { REPLY_STATUS_LINE, REPLY_HEADERS, REPLY_BODY, REPLY_COMPLETE, REPLY_MALFORMED };

struct reply {
    uint8_t state;   /* enum reply_state */
    bool verify;     /* compute the body's CRC-32 */
    bool keep_alive; /* the connection stays open after this reply */
    bool has_length; /* Content-Length was given */
    uint16_t status;
    uint16_t line_bytes; /* of the incomplete line kept in line[] */
    uint32_t header_bytes;
    uint32_t crc32;      /* of the body so far, if verify */
    uint64_t length;     /* Content-Length; UINT64_MAX: until the peer closes */
    uint64_t body_bytes; /* received so far */
    char line[REPLY_LINE_MAX];
};

void reply_begin(struct reply *, bool verify);
size_t reply_feed(struct reply *, const char *data, size_t bytes);
void reply_end(struct reply *);

/* Body bytes still to come, 0 unless in REPLY_BODY (UINT64_MAX: until the close): so many may be discarded unread ...
 */
uint64_t reply_remaining(const struct reply *);
/* ... and then accounted for here, bytes <= reply_remaining(). Only without verify. */
void reply_skip(struct reply *, uint64_t bytes);
/* Some byte of the reply has come. */
bool reply_begun(const struct reply *);

#endif
