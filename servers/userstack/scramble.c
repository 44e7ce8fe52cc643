/* scramble.c: a count that nobody outside can read. IP identifications and UDP ports must not repeat soon, which a counter
 * sees to, and must not tell what came before or how much is sent to others (RFC 7739, 3 and 5; RFC 6056): so the counter
 * goes through a keyed permutation of its 16 bits, a Feistel network of four rounds (Luby and Rackoff 1988). */
#include "inside.h"

uint16_t scramble(const struct stack *stack, uint16_t number, uint32_t use)
{
    uint8_t left = (uint8_t)(number >> 8), right = (uint8_t)number;
    for (uint8_t round = 0; round < 4; round++) {
        uint8_t input[] = {(uint8_t)use, round, right};
        uint8_t next = left ^ (uint8_t)siphash(stack->limits.key, input, sizeof input);
        left = right;
        right = next;
    }
    return (uint16_t)(left << 8 | right);
}
