/* fuzz_reply.c: any bytes, cut in any way, end the same as uncut, and no reply is longer than what was fed. */
#include <string.h>

#include "check.h"
#include "fuzz.h"
#include "reply.h"

const char *const fuzz_seeds[] = {
    "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive, x\r\n\r\nuntil the close",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nno!HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
    NULL,
};

/* Feed in pieces whose lengths follow from `pattern`; 0 = all at once. */
static size_t feed(struct reply *r, const uint8_t *data, size_t bytes, unsigned pattern)
{
    size_t used = 0;
    while (used < bytes) {
        size_t piece = pattern == 0 ? bytes : 1 + (pattern = pattern * 1103515245u + 12345u) / 65536u % 24;
        if (piece > bytes - used)
            piece = bytes - used;
        char *copy = malloc(piece);
        CHECK(copy != NULL);
        memcpy(copy, data + used, piece);
        size_t taken = reply_feed(r, copy, piece);
        free(copy);
        CHECK(taken <= piece);
        CHECK(taken == piece || r->state >= REPLY_COMPLETE);
        used += taken;
        if (taken < piece)
            break;
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    struct reply whole, cut;
    reply_begin(&whole, true);
    reply_begin(&cut, true);
    size_t used = feed(&whole, data, bytes, 0);
    size_t used_cut = feed(&cut, data, bytes, 1u + data[bytes - 1]);
    CHECK(whole.state == cut.state && whole.status == cut.status && whole.body_bytes == cut.body_bytes);
    CHECK(whole.crc32 == cut.crc32 && whole.keep_alive == cut.keep_alive && whole.length == cut.length);
    CHECK(whole.state == REPLY_MALFORMED || used == used_cut);
    CHECK(whole.body_bytes + whole.header_bytes <= bytes || whole.state == REPLY_MALFORMED);
    if (whole.state == REPLY_COMPLETE)
        CHECK(whole.status >= 200 && whole.status < 600 && (whole.body_bytes == whole.length));
    reply_end(&whole);
    CHECK(whole.state >= REPLY_COMPLETE);
    return 0;
}
