/* test_userstack_bytes.c: sums and copies of every length and alignment against RFC 1071 as it is written, and the keyed
 * hashes against what others have computed. */
#include "bytes.h"
#include "check.h"
#include "siphash.h"

#include <stdlib.h>

enum { LONGEST = 300, ALIGNMENTS = 9, GUARD = 0xa5 };

/* Section 1: 16 bits at a time, as they lie on the wire. */
static uint16_t as_written(const uint8_t *p, size_t bytes)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
    while (sum >> 16 != 0)
        sum = (sum & UINT16_MAX) + (sum >> 16);
    return (uint16_t)~sum;
}

static uint16_t on_the_wire(uint64_t sum)
{
    uint8_t stored[2];
    store_checksum(stored, sum);
    return get16(stored);
}

static void one(const uint8_t *p, size_t bytes, size_t alignment)
{
    uint8_t to[LONGEST + 2 * ALIGNMENTS];
    uint64_t sum = sum_bytes(p, bytes);
    uint16_t expected = as_written(p, bytes);
    CHECK(on_the_wire(sum) == expected && sum >> 34 == 0, "sum of %zu bytes at %zu", bytes, alignment);
    for (size_t at = 0; at < ALIGNMENTS; at++) {
        memset(to, GUARD, sizeof to);
        CHECK(on_the_wire(copy_and_sum(to + at, p, bytes)) == expected, "copied sum of %zu bytes, %zu to %zu", bytes,
              alignment, at);
        CHECK(memcmp(to + at, p, bytes) == 0, "copy of %zu bytes, %zu to %zu", bytes, alignment, at);
        CHECK((at == 0 || to[at - 1] == GUARD) && to[at + bytes] == GUARD, "beyond %zu bytes, %zu to %zu", bytes, alignment, at);
    }
}

/* Of 15 bytes by SipHash-2-4: appendix A of Aumasson and Bernstein 2012. All others by their definition in Python. */
static void test_hashes(void)
{
    static const struct {
        size_t bytes;
        uint64_t of_secrets, of_tables;
    } known[] = {
        {0, 0x726fdb47dd0e0e31, 0xabac0158050fc4dc},
        {4, 0xcf2794e0277187b7, 0xcf75576088d38328},
        {12, 0x751e8fbc860ee5fb, 0x78a384b157b4d9a2},
        {15, 0xa129ca6149be45e5, 0xd320d86d2a519956},
    };
    uint8_t key[16], text[16];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = text[i] = i;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t bytes = known[i].bytes;
        CHECK(siphash(key, text, bytes) == known[i].of_secrets, "SipHash-2-4 of %zu bytes", bytes);
        CHECK(siphash_of_table(key, text, bytes) == known[i].of_tables, "SipHash-1-3 of %zu bytes", bytes);
    }
}

int main(void)
{
    test_hashes();
    static uint8_t text[LONGEST + ALIGNMENTS];
    for (int ones = 0; ones < 2; ones++) { /* the second time as much carry as can be */
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = ones ? UINT8_MAX : (uint8_t)(i * 2654435761u >> 13);
        for (size_t alignment = 0; alignment < ALIGNMENTS; alignment++)
            for (size_t bytes = 0; bytes <= LONGEST; bytes++)
                one(text + alignment, bytes, alignment);
    }
    uint8_t number[10];
    put16(number, 0x4500);
    put32(number + 2, 0xfedcba98);
    put32(number + 6, UINT32_MAX);
    CHECK(on_the_wire(sum_numbers(UINT64_C(0x4500) + 0xfedcba98 + UINT32_MAX)) == as_written(number, sizeof number),
          "numbers as such, and as they lie in a packet");
    return checks_failed != 0;
}
