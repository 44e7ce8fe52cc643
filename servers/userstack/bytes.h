/* bytes.h: numbers in packets, sequence numbers, and the Internet checksum (RFC 1071). */
#ifndef NAI_STACK_BYTES_H
#define NAI_STACK_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

static inline void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void put32(uint8_t *p, uint32_t value)
{
    put16(p, value >> 16);
    put16(p + 2, value);
}

/* Sequence numbers wrap around (RFC 9293, 3.4). */
static inline bool seq_before(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }

static inline bool seq_upto(uint32_t a, uint32_t b) { return (int32_t)(a - b) <= 0; }

static inline uint32_t seq_max(uint32_t a, uint32_t b) { return seq_before(a, b) ? b : a; }

static inline uint32_t seq_min(uint32_t a, uint32_t b) { return seq_before(a, b) ? a : b; }

static inline uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static inline uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* One's complement sum in the machine's byte order, below 2^34, to be added to others: each but the last of an even
 * number of bytes. */
uint64_t sum_bytes(const uint8_t *p, size_t bytes);
/* The same, and a copy: each byte passes through the CPU once. */
uint64_t copy_and_sum(uint8_t *to, const uint8_t *p, size_t bytes);
/* memcpy() by the library: where gcc sees that bytes are few it makes of it `rep movs`, which takes longer to begin than
 * the library takes to end. */
void copy_bytes(uint8_t *to, const uint8_t *p, size_t bytes);

/* The checksum as it is stored, by store_checksum(); over bytes that include a right one it is 0. */
static inline uint16_t fold_sum(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~((sum & 0xffff) + (sum >> 16));
}

/* That of bytes which come after an odd number of others (RFC 1071, 2, (B)). */
static inline uint64_t sum_swapped(uint64_t sum) { return __builtin_bswap16((uint16_t)~fold_sum(sum)); }

static inline void store_checksum(uint8_t *p, uint64_t sum)
{
    uint16_t checksum = fold_sum(sum);
    memcpy(p, &checksum, sizeof checksum);
}

/* That of numbers of 16 or 32 bits, of which a header is about to be made: not read back while they are on their way to
 * memory. */
static inline uint64_t sum_numbers(uint64_t numbers)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? sum_swapped(numbers) : numbers;
}

/* The pseudo-header of TCP and UDP (RFC 9293, 3.1): `addresses` are source and destination as in the IP header. */
static inline uint64_t sum_pseudo(const uint8_t *addresses, uint8_t protocol, size_t bytes)
{
    const uint8_t rest[4] = {0, protocol, (uint8_t)(bytes >> 8), (uint8_t)bytes};
    uint32_t words[3];
    memcpy(words, addresses, 8);
    memcpy(words + 2, rest, 4);
    return (uint64_t)words[0] + words[1] + words[2];
}

#endif
