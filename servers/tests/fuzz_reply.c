/* fuzz_reply.c: any bytes, cut in any way, end the same as uncut, and no reply is longer than what was fed. */
#include "fuzz.h"
#include "reply.h"

#include <string.h>

/* Feed in pieces whose lengths follow from `pattern`; 0 = all at once. */
static size_t feed(struct reply *r, const uint8_t *data, size_t bytes, unsigned pattern)
{
    size_t used = 0;
    while (used < bytes) {
        size_t piece = pattern == 0 ? bytes : 1 + (pattern = pattern * 1103515245u + 12345u) / 65536u % 24;
        if (piece > bytes - used)
            piece = bytes - used;
        char *copy = malloc(piece);
        MUST(copy != NULL);
        memcpy(copy, data + used, piece);
        size_t taken = reply_feed(r, copy, piece);
        free(copy);
        MUST(taken <= piece);
        MUST(taken == piece || r->state >= REPLY_COMPLETE);
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
    MUST(whole.state == cut.state && whole.status == cut.status && whole.body_bytes == cut.body_bytes);
    MUST(whole.crc32 == cut.crc32 && whole.keep_alive == cut.keep_alive && whole.length == cut.length);
    MUST(whole.state == REPLY_MALFORMED || used == used_cut);
    MUST(whole.body_bytes + whole.header_bytes <= bytes || whole.state == REPLY_MALFORMED);
    if (whole.state == REPLY_COMPLETE)
        MUST(whole.status >= 200 && whole.status < 600 && (whole.body_bytes == whole.length));
    reply_end(&whole);
    MUST(whole.state >= REPLY_COMPLETE);
    return 0;
}
