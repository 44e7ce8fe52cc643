#include "siphash.h"

#include <endian.h>
#include <string.h>

static inline uint64_t rotate(uint64_t x, unsigned by) { return x << by | x >> (64 - by); }

/* At most 8. */
static inline uint64_t little_endian(const uint8_t *p, size_t bytes)
{
    uint64_t value = 0;
    if (bytes == 8) {
        memcpy(&value, p, 8);
        return le64toh(value);
    }
    if (bytes == 4) { /* an address, or what a four-tuple has beyond 8 */
        uint32_t half;
        memcpy(&half, p, 4);
        return le32toh(half);
    }
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static inline void rounds(uint64_t v[4], int n)
{
    while (n-- > 0) {
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
    }
}

/* `compress` rounds a word, `finish` at the end. */
static inline __attribute__((always_inline)) uint64_t hash(const uint8_t key[16], const void *data, size_t bytes, int compress,
                                                           int finish)
{
    const uint8_t *p = data;
    uint64_t k0 = little_endian(key, 8), k1 = little_endian(key + 8, 8), last = (uint64_t)bytes << 56;
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                     k1 ^ 0x7465646279746573};
    for (; bytes >= 8; p += 8, bytes -= 8) {
        uint64_t word = little_endian(p, 8);
        v[3] ^= word;
        rounds(v, compress);
        v[0] ^= word;
    }
    last |= little_endian(p, bytes);
    v[3] ^= last;
    rounds(v, compress);
    v[0] ^= last;
    v[2] ^= 0xff;
    rounds(v, finish);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t siphash(const uint8_t key[16], const void *data, size_t bytes) { return hash(key, data, bytes, 2, 4); }

uint64_t siphash_of_table(const uint8_t key[16], const void *data, size_t bytes) { return hash(key, data, bytes, 1, 3); }
