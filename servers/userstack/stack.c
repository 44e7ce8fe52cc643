#include "inside.h"
#include "poison.h"

#include <errno.h>
#include <stdlib.h>

void *arena_take(struct arena *arena, size_t bytes)
{
    uint8_t *place = arena->memory == NULL ? NULL : arena->memory + arena->used;
    size_t taken = ((bytes + 63) & ~(size_t)63) + POISON_GAP;
    if (place != NULL)
        POISON(place + bytes, taken - bytes);
    arena->used += taken;
    return place;
}

static void layout(struct stack *stack, struct arena *arena)
{
    arp_layout(stack, arena);
    fragments_layout(stack, arena);
    path_layout(stack, arena);
    udp_layout(stack, arena);
    tcp_layout(stack, arena);
}

size_t stack_memory_bytes(const struct stack_limits *limits)
{
    struct stack stack = {.limits = *limits};
    struct arena arena = {0};
    layout(&stack, &arena);
    return sizeof stack + arena.used;
}

static bool power_of_2(uint32_t n) { return n >= NEIGHBOUR_WAYS && (n & (n - 1)) == 0; }

static bool good(const struct stack_limits *l, const struct wire *wire, const struct stack_address *address)
{
    uint32_t host = ~address->netmask;
    return l->tick_ns >= 10000 && l->tick_ns <= 10000000 && l->timer_batch > 0 && power_of_2(l->arp_entries) &&
           power_of_2(l->paths) && l->arp_queue > 0 && l->packets > 0 && l->datagram_bytes <= 65515 &&
           l->udp_sockets < 65536 && l->udp_queue_bytes > 8 && l->connections > 0 && l->connections <= 1u << 24 &&
           l->listeners > 0 && l->listeners < 65536 && l->chunks >= 2 && l->send_bytes >= STACK_CHUNK_BYTES &&
           l->receive_bytes >= STACK_CHUNK_BYTES && l->send_bytes <= 1u << 28 && l->receive_bytes <= 1u << 28 &&
           l->initial_window >= 1 && l->initial_window <= 10 && l->min_rto_us >= 10 && l->max_rto_ms >= 1000 &&
           (l->mss == 0 || (l->mss >= 64 && l->mss <= UINT16_MAX)) &&
           l->first_rto_ms >= 1 && l->delayed_ack_us < 500000 && l->time_waits < l->connections &&
           l->syn_queue < l->connections && wire->mtu >= WIRE_MTU_MIN && wire->mtu <= WIRE_MTU_MAX &&
           wire->reserve != NULL && wire->commit != NULL && !(wire->mac[0] & 1) && address->ip >> 24 != 0 &&
           address->ip >> 28 < 14 && address->ip >> 24 != 127 && (host & (host + 1)) == 0;
}

struct stack *stack_open(const struct stack_limits *limits, const struct wire *wire,
                         const struct stack_address *address, uint64_t now)
{
    if (!good(limits, wire, address)) {
        errno = EINVAL;
        return NULL;
    }
    struct stack *stack = calloc(1, stack_memory_bytes(limits));
    if (stack == NULL)
        return NULL;
    stack->limits = *limits;
    stack->wire = *wire;
    stack->address = *address;
    stack->now = now;
    stack->identification = stack->next_udp_port = (uint16_t)siphash(limits->key, &now, sizeof now);
    for (uint64_t i = 0; i < PORT_COUNTS; i++) {
        uint64_t input[] = {now, i};
        stack->next_ports[i] = (uint16_t)siphash(limits->key, input, sizeof input);
    }
    stack->ready.ready_next = stack->ready.ready_previous = &stack->ready;
    struct arena arena = {.memory = (uint8_t *)(stack + 1)};
    layout(stack, &arena);
    /* Four of each connection, one of each neighbour and datagram. */
    stack->timers =
            timers_open(limits->timers, 4 * limits->connections + limits->arp_entries + limits->datagrams, now);
    if (stack->timers == NULL) {
        free(stack);
        return NULL;
    }
    arp_open(stack);
    fragments_open(stack);
    tcp_open_layer(stack);
    return stack;
}

void stack_close(struct stack *stack)
{
    timers_close(stack->timers);
    free(stack);
}

size_t stack_advance(struct stack *stack, uint64_t now)
{
    if (ticks_ahead(now, stack->now) > 0)
        stack->now = now;
    size_t expired = timers_advance(stack->timers, stack->now, stack->limits.timer_batch);
    tcp_retry_output(stack);
    return expired;
}

void stack_batch(struct stack *stack) { stack->batch = true; }

void stack_batch_end(struct stack *stack)
{
    stack->batch = false;
    tcp_acknowledge_owed(stack);
}

bool stack_next(const struct stack *stack, uint64_t *tick)
{
    if (tcp_output_waits(stack)) {
        *tick = stack->now + 1;
        return true;
    }
    return timers_next(stack->timers, tick);
}

const struct stack_counters *stack_counters(const struct stack *stack) { return &stack->counters; }

bool stack_counter(const struct stack *stack, unsigned i, const char **name, uint64_t *value)
{
#define DROP_NAME(name) "drop_" #name,
#define NAME(name) #name,
    static const char *const names[] = {STACK_DROPS(DROP_NAME) STACK_EVENTS(NAME)};
#undef NAME
#undef DROP_NAME
    if (i >= sizeof names / sizeof *names)
        return false;
    *name = names[i];
    memcpy(value, (const char *)&stack->counters + i * sizeof *value, sizeof *value);
    return true;
}
