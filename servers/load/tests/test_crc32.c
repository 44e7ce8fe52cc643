/* test_crc32.c: known vectors; every length and alignment against the definition, bit by bit. */
#include "check.h"
#include "crc32.h"
#include "schedule.h"

static uint32_t by_definition(const unsigned char *p, size_t bytes)
{
    uint32_t crc = UINT32_MAX;
    while (bytes-- > 0) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xEDB88320) : 0);
    }
    return ~crc;
}

int main(void)
{
    CHECK(crc32(0, "", 0) == 0);
    CHECK(crc32(0, "a", 1) == 0xe8b7be43);
    CHECK(crc32(0, "123456789", 9) == 0xcbf43926); /* the check value of every CRC catalogue */
    CHECK(crc32(0, "The quick brown fox jumps over the lazy dog", 43) == 0x414fa339);

    unsigned char data[1100];
    struct random r;
    random_seed(&r, 7, 0);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)random_bits(&r);
    for (size_t offset = 0; offset < 17; offset++)
        for (size_t bytes = 0; bytes < 300; bytes++)
            CHECK(crc32(0, data + offset, bytes) == by_definition(data + offset, bytes));
    uint32_t whole = by_definition(data, sizeof data);
    for (size_t cut = 0; cut <= sizeof data; cut++)
        CHECK(crc32(crc32(0, data, cut), data + cut, sizeof data - cut) == whole);
    return 0;
}
