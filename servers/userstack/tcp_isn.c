/* tcp_isn.c: initial sequence numbers (RFC 6528): a clock of 4 µs, and a keyed hash of the four-tuple, so that one
 * connection's numbers tell nothing of another's, yet those of one four-tuple grow. */
#include "tcp.h"

static uint64_t hash(const struct stack *stack, const struct tcp_tuple *tuple, uint32_t use)
{
    struct {
        struct tcp_tuple tuple;
        uint32_t use;
    } input = {*tuple, use};
    return siphash(stack->limits.key, &input, sizeof input);
}

uint32_t tcp_isn(const struct stack *stack, const struct tcp_tuple *tuple)
{
    return (uint32_t)hash(stack, tuple, 1) + (uint32_t)(now_us(stack) / 4);
}

/* The same for all connections of a four-tuple, so that a peer in TIME-WAIT sees a greater timestamp (RFC 7323, 7.1, and
 * RFC 6191), and can still not read our uptime. */
uint32_t tcp_timestamp_offset(const struct stack *stack, const struct tcp_tuple *tuple)
{
    return (uint32_t)hash(stack, tuple, 2);
}
