/* path.c: the MTU of the way to a destination (RFC 1191). Only what is lower than the wire's is remembered, and for ten
 * minutes (6.3). Below the floor an answer is not believed: a forged one would make every segment tiny (RFC 5927, 7). */
#include "inside.h"

enum { FLOOR = 552, LIFE_MS = 600000 }; /* the floor is Linux's min_pmtu */

void path_layout(struct stack *stack, struct arena *arena)
{
    stack->paths = arena_take(arena, stack->limits.paths * sizeof *stack->paths);
}

static struct path *place(const struct stack *stack, uint32_t ip, unsigned way)
{
    uint64_t hash = siphash(stack->limits.key, &ip, sizeof ip);
    return &stack->paths[(hash + way) & (stack->limits.paths - 1)];
}

uint32_t path_mtu(const struct stack *stack, uint32_t ip)
{
    for (unsigned way = 0; way < NEIGHBOUR_WAYS; way++) {
        const struct path *path = place(stack, ip, way);
        if (path->mtu != 0 && path->ip == ip && path->until > stack->now)
            return min_u32(path->mtu, stack->wire.mtu);
    }
    return stack->wire.mtu;
}

bool path_lower(struct stack *stack, uint32_t ip, uint32_t mtu)
{
    mtu = max_u32(mtu, FLOOR);
    if (mtu >= path_mtu(stack, ip))
        return false;
    struct path *best = NULL;
    for (unsigned way = 0; way < NEIGHBOUR_WAYS; way++) {
        struct path *path = place(stack, ip, way);
        if (path->mtu != 0 && path->ip == ip) {
            best = path;
            break;
        }
        if (best == NULL || path->mtu == 0 || (best->mtu != 0 && path->until < best->until))
            best = path;
    }
    *best = (struct path){.ip = ip, .mtu = mtu, .until = stack->now + ticks_of_ms(stack, LIFE_MS)};
    COUNT(stack, pmtu_lowered);
    return true;
}
