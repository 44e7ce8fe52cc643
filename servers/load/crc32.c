/* crc32.c: by carry-less multiplication where the processor has it, else by tables. A body is checked at several bytes
 * a nanosecond, so that verifying does not decide what the generator can offer. */
#include "crc32.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "crc32 reads words in little-endian order");

static uint32_t table[8][256];

/* Computed before main, and never written again. */
__attribute__((constructor)) static void fill_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xEDB88320) : 0);
        table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t previous = table[slice - 1][byte];
            table[slice][byte] = previous >> 8 ^ table[0][previous & 0xff];
        }
    }
}

/* Slicing-by-8 (Kounavis and Berry 2005): eight look-ups advance eight bytes. crc is the bare register, not inverted.
 */
static uint32_t by_tables(uint32_t crc, const unsigned char *p, size_t bytes)
{
    for (; bytes >= 8; bytes -= 8, p += 8) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + 4, 4);
        low ^= crc;
        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^
              table[3][high & 0xff] ^ table[2][high >> 8 & 0xff] ^ table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
    }
    while (bytes-- > 0)
        crc = crc >> 8 ^ table[0][(crc ^ *p++) & 0xff];
    return crc;
}

#if defined(__x86_64__)
/* Move a 128-bit remainder `by` bits further down the message and add what stands there (Gopal et al., "Fast CRC
 * Computation for Generic Polynomials Using PCLMULQDQ", Intel 2009; the constants are x^by mod P, reflected). */
__attribute__((target("pclmul,sse4.1"))) static inline __m128i fold(__m128i remainder, __m128i next, __m128i by)
{
    __m128i low = _mm_clmulepi64_si128(remainder, by, 0x00), high = _mm_clmulepi64_si128(remainder, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/* bytes >= 64. Four remainders in flight hide the multiplier's latency; the last 16 bytes' worth and the tail go to the
 * tables. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t by_folding(uint32_t crc, const unsigned char *p, size_t bytes)
{
    const __m128i by_512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
    const __m128i by_128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    const __m128i *block = (const __m128i *)p;
    __m128i a = _mm_loadu_si128(block), b = _mm_loadu_si128(block + 1);
    __m128i c = _mm_loadu_si128(block + 2), d = _mm_loadu_si128(block + 3);
    a = _mm_xor_si128(a, _mm_cvtsi32_si128((int)crc));
    for (p += 64, bytes -= 64; bytes >= 64; p += 64, bytes -= 64) {
        block = (const __m128i *)p;
        a = fold(a, _mm_loadu_si128(block), by_512);
        b = fold(b, _mm_loadu_si128(block + 1), by_512);
        c = fold(c, _mm_loadu_si128(block + 2), by_512);
        d = fold(d, _mm_loadu_si128(block + 3), by_512);
    }
    unsigned char rest[16];
    _mm_storeu_si128((__m128i *)rest, fold(fold(fold(a, b, by_128), c, by_128), d, by_128));
    return by_tables(by_tables(0, rest, sizeof rest), p, bytes);
}
#endif

uint32_t crc32(uint32_t crc, const void *data, size_t bytes)
{
#if defined(__x86_64__)
    if (bytes >= 64 && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"))
        return ~by_folding(~crc, data, bytes);
#endif
    return ~by_tables(~crc, data, bytes);
}
