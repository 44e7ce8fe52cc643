/* checksum.c: RFC 1071. Eight bytes at a time, the carry added at the end around, in two sums that do not wait for each
 * other: its section 2 shows that neither order nor width matters. */
#include "bytes.h"

static inline uint64_t add(uint64_t sum, const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    sum += word;
    return sum + (sum < word);
}

uint64_t sum_bytes(const uint8_t *p, size_t bytes)
{
    uint64_t a = 0, b = 0;
    for (; bytes >= 32; p += 32, bytes -= 32) {
        a = add(add(a, p), p + 8);
        b = add(add(b, p + 16), p + 24);
    }
    for (; bytes >= 8; p += 8, bytes -= 8)
        a = add(a, p);
    uint8_t rest[8] = {0};
    memcpy(rest, p, bytes);
    a = add(a, rest);
    return (a & UINT32_MAX) + (a >> 32) + (b & UINT32_MAX) + (b >> 32);
}
