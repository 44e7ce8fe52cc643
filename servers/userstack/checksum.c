/* checksum.c: RFC 1071. Its section 2 shows that neither order nor width matters: so 64 bytes at a time, as words of 32 bits
 * in lanes of 64, whose carries are added at the end. Written for vectors of any machine; where the CPU has AVX2 that is
 * found out at the start. */
#include "bytes.h"

/* Sanitizers do not bear what chooses at the start: it runs before they do. */
#if defined __x86_64__ && defined __GLIBC__ && !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#define ALWAYS static inline __attribute__((always_inline))

typedef uint64_t lanes __attribute__((vector_size(32)));

/* Each takes so many bytes: copies them, if it is told to, and adds them up. */
ALWAYS void take_lanes(lanes *sum, uint8_t *to, const uint8_t *p, bool copies)
{
    lanes words;
    memcpy(&words, p, sizeof words);
    if (copies)
        memcpy(to, &words, sizeof words);
    *sum += (words & UINT32_MAX) + (words >> 32);
}

ALWAYS uint64_t take_8(uint8_t *to, const uint8_t *p, bool copies)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    if (copies)
        memcpy(to, &word, sizeof word);
    return (word & UINT32_MAX) + (word >> 32);
}

/* At most 7. */
ALWAYS uint64_t take_rest(uint8_t *to, const uint8_t *p, size_t bytes, bool copies)
{
    uint32_t four = 0;
    uint16_t two = 0, one = 0;
    size_t at = 0;
    if (bytes & 4) {
        memcpy(&four, p, 4);
        if (copies)
            memcpy(to, &four, 4);
        at = 4;
    }
    if (bytes & 2) {
        memcpy(&two, p + at, 2);
        if (copies)
            memcpy(to + at, &two, 2);
        at += 2;
    }
    if (bytes & 1) {
        memcpy(&one, p + at, 1);
        if (copies)
            to[at] = p[at];
    }
    return (uint64_t)four + two + one;
}

ALWAYS uint64_t pass(uint8_t *to, const uint8_t *p, size_t bytes, bool copies)
{
    lanes a = {0}, b = {0};
    size_t at = 0;
    for (; bytes - at >= 64; at += 64) {
        take_lanes(&a, to + at, p + at, copies);
        take_lanes(&b, to + at + 32, p + at + 32, copies);
    }
    if (bytes & 32) {
        take_lanes(&a, to + at, p + at, copies);
        at += 32;
    }
    a += b;
    uint64_t sum = a[0] + a[1] + a[2] + a[3];
    if (bytes & 16) {
        sum += take_8(to + at, p + at, copies) + take_8(to + at + 8, p + at + 8, copies);
        at += 16;
    }
    if (bytes & 8) {
        sum += take_8(to + at, p + at, copies);
        at += 8;
    }
    sum += take_rest(to + at, p + at, bytes & 7, copies);
    return (sum & UINT32_MAX) + (sum >> 32);
}

WIDE uint64_t sum_bytes(const uint8_t *p, size_t bytes)
{
    uint8_t nowhere = 0; /* nothing is written there */
    return pass(&nowhere, p, bytes, false);
}

WIDE uint64_t copy_and_sum(uint8_t *to, const uint8_t *p, size_t bytes) { return pass(to, p, bytes, true); }

void copy_bytes(uint8_t *to, const uint8_t *p, size_t bytes) { memcpy(to, p, bytes); }
