/* siphash.h: SipHash-2-4 (Aumasson and Bernstein 2012), a keyed hash that an attacker who sees its use cannot foresee. */
#ifndef NAI_SIPHASH_H
#define NAI_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint8_t key[16], const void *data, size_t bytes);
/* SipHash-1-3, in three fifths of the time: for a place in a table, which nobody is shown (as Linux's hsiphash(),
 * Documentation/security/siphash.rst). */
uint64_t siphash_of_table(const uint8_t key[16], const void *data, size_t bytes);

#endif
