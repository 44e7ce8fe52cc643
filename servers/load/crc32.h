/* crc32.h: the CRC-32 of zlib, PNG and Ethernet (reflected polynomial 0xEDB88320). */
#ifndef NAI_CRC32_H
#define NAI_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Continue from crc (0 at the start), like zlib's crc32(): crc32(crc32(0, a), b) is that of a followed by b. */
uint32_t crc32(uint32_t crc, const void *data, size_t bytes);

#endif
