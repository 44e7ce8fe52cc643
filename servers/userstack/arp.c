/* arp.c: who has which address (RFC 826, and RFC 1122, 2.3.2: no more than a question a second, entries age, at least
 * the latest packet is kept while it waits).
 *
 * An entry is made by our question, or by another's question to us: an answer that nobody asked for makes none, so that
 * a flood of them fills nothing. */
#include "inside.h"

enum {
    OPERATION = 6, /* offsets */
    SENDER_MAC = 8,
    SENDER_IP = 14,
    TARGET_MAC = 18,
    TARGET_IP = 24,
    ARP_BYTES = 28,
    REQUEST = 1,
    REPLY = 2,
    QUESTIONS = 3,
    QUESTION_MS = 1000,
    GOOD_MS = 60000, /* after that long, a neighbour that is still written to is asked whether it is still there */
};

static const uint8_t fixed[OPERATION] = {0, 1, 8, 0, 6, 4};

static void send(struct stack *stack, uint16_t operation, const uint8_t *mac, uint32_t ip)
{
    uint8_t *p = ethernet_begin(stack, mac, ETHERNET_ARP, ARP_BYTES);
    if (p == NULL) {
        COUNT_DROP(stack, wire_full);
        return;
    }
    memcpy(p, fixed, sizeof fixed);
    put16(p + OPERATION, operation);
    memcpy(p + SENDER_MAC, stack->wire.mac, 6);
    put32(p + SENDER_IP, stack->address.ip);
    if (operation == REPLY)
        memcpy(p + TARGET_MAC, mac, 6);
    else
        memset(p + TARGET_MAC, 0, 6);
    put32(p + TARGET_IP, ip);
    ethernet_end(stack, ARP_BYTES);
}

static void ask(struct neighbour *n)
{
    COUNT(n->stack, arp_requests);
    n->questions++;
    send(n->stack, REQUEST, n->state == ARP_KNOWN ? n->mac : NULL, n->ip);
    timers_rearm(n->stack->timers, &n->timer, n->stack->now + ticks_of_ms(n->stack, QUESTION_MS));
}

static uint32_t take_waiting(struct neighbour *n)
{
    uint32_t packet = n->waiting_first;
    n->waiting_first = n->stack->packet_link[packet - 1];
    n->waiting_count--;
    return packet;
}

static void forget(struct neighbour *n)
{
    struct stack *stack = n->stack;
    while (n->waiting_count > 0) {
        COUNT_DROP(stack, arp_unanswered);
        pool_give(&stack->packets, take_waiting(n));
    }
    timers_cancel(stack->timers, &n->timer);
    n->state = ARP_FREE;
}

static void unanswered(struct timers *timers, struct timer *timer)
{
    (void)timers;
    struct neighbour *n = (struct neighbour *)(void *)timer;
    if (n->questions >= QUESTIONS)
        forget(n);
    else
        ask(n);
}

void arp_layout(struct stack *stack, struct arena *arena)
{
    const struct stack_limits *limits = &stack->limits;
    stack->neighbours = arena_take(arena, limits->arp_entries * sizeof *stack->neighbours);
    uint8_t *frames = arena_take(arena, (size_t)limits->packets * WIRE_FRAME_MAX);
    uint32_t *next = arena_take(arena, limits->packets * sizeof *next);
    stack->packet_link = arena_take(arena, limits->packets * sizeof *next);
    stack->packet_bytes = arena_take(arena, limits->packets * sizeof *next);
    pool_init(&stack->packets, frames, next, WIRE_FRAME_MAX, limits->packets);
}

void arp_open(struct stack *stack)
{
    for (uint32_t i = 0; i < stack->limits.arp_entries; i++) {
        stack->neighbours[i].stack = stack;
        stack->neighbours[i].timer.expire = unanswered;
    }
}

static struct neighbour *place(struct stack *stack, uint32_t ip, unsigned way)
{
    uint64_t hash = siphash(stack->limits.key, &ip, sizeof ip);
    return &stack->neighbours[(hash + way) & (stack->limits.arp_entries - 1)];
}

static struct neighbour *lookup(struct stack *stack, uint32_t ip)
{
    struct neighbour *latest = stack->latest;
    if (latest != NULL && latest->state != ARP_FREE && latest->ip == ip) /* mostly: without the hash */
        return latest;
    for (unsigned way = 0; way < NEIGHBOUR_WAYS; way++) {
        struct neighbour *n = place(stack, ip, way);
        if (n->state != ARP_FREE && n->ip == ip)
            return stack->latest = n;
    }
    return NULL;
}

/* A free place for the address, or that of the neighbour not heard of for longest. Not one that packets wait for: a
 * flood of questions to us must not push out what we wait for. Nor does a question of ours push out a neighbour that
 * answered lately, or take the last places: whoever makes us answer a thousand made-up neighbours cuts nobody off. */
static struct neighbour *make(struct stack *stack, uint32_t ip, bool unknown)
{
    struct neighbour *best = NULL;
    unsigned asked = 0;
    for (unsigned way = 0; way < NEIGHBOUR_WAYS; way++) {
        struct neighbour *n = place(stack, ip, way);
        if (n->state == ARP_FREE) {
            best = best != NULL && best->state == ARP_FREE ? best : n;
        } else if (n->state == ARP_ASKED) {
            asked++;
        } else if ((best == NULL || (best->state == ARP_KNOWN && n->confirmed < best->confirmed)) &&
                   !(unknown && stack->now - n->confirmed <= ticks_of_ms(stack, GOOD_MS + QUESTIONS * QUESTION_MS))) {
            best = n;
        }
    }
    if (best == NULL || (unknown && asked >= NEIGHBOUR_WAYS / 2)) {
        COUNT_DROP(stack, arp_full);
        return NULL;
    }
    forget(best);
    best->ip = ip;
    best->questions = 0;
    best->waiting_count = 0;
    return best;
}

struct neighbour *arp_find(struct stack *stack, uint32_t ip)
{
    struct neighbour *n = lookup(stack, ip);
    if (n == NULL) {
        n = make(stack, ip, true);
        if (n == NULL)
            return NULL;
        n->state = ARP_ASKED;
        ask(n);
    } else if (n->state == ARP_KNOWN && n->questions == 0 &&
               stack->now - n->confirmed > ticks_of_ms(stack, GOOD_MS)) {
        ask(n); /* of itself, first; it serves meanwhile */
    }
    return n;
}

bool arp_wait(struct stack *stack, struct neighbour *n, uint32_t packet, uint32_t bytes)
{
    if (n->waiting_count >= stack->limits.arp_queue) { /* the oldest goes: the latest must be kept (2.3.2.2) */
        COUNT_DROP(stack, arp_queue_full);
        pool_give(&stack->packets, take_waiting(n));
    }
    stack->packet_bytes[packet - 1] = bytes;
    if (n->waiting_count++ == 0)
        n->waiting_first = packet;
    else
        stack->packet_link[n->waiting_last - 1] = packet;
    n->waiting_last = packet;
    return true;
}

static void learn(struct neighbour *n, const uint8_t *mac)
{
    struct stack *stack = n->stack;
    memcpy(n->mac, mac, 6);
    n->state = ARP_KNOWN;
    n->confirmed = stack->now;
    n->questions = 0;
    timers_cancel(stack->timers, &n->timer);
    while (n->waiting_count > 0) {
        uint32_t packet = take_waiting(n), bytes = stack->packet_bytes[packet - 1];
        uint8_t *p = ethernet_begin(stack, n->mac, ETHERNET_IPV4, bytes);
        if (p == NULL) {
            COUNT_DROP(stack, wire_full);
        } else {
            memcpy(p, pool_block(&stack->packets, packet), bytes);
            ethernet_end(stack, bytes);
        }
        pool_give(&stack->packets, packet);
    }
}

void arp_input(struct stack *stack, const uint8_t *p, uint32_t bytes)
{
    COUNT(stack, arp_received);
    if (bytes < ARP_BYTES || memcmp(p, fixed, sizeof fixed) != 0) {
        COUNT_DROP(stack, arp_malformed);
        return;
    }
    uint16_t operation = get16(p + OPERATION);
    uint32_t sender = get32(p + SENDER_IP), target = get32(p + TARGET_IP);
    const uint8_t *mac = p + SENDER_MAC;
    bool beyond = (sender ^ stack->address.ip) & stack->address.netmask;
    if ((operation != REQUEST && operation != REPLY) || (mac[0] & 1) || (sender != 0 && beyond) ||
        sender == stack->address.ip) { /* a group's address is nobody's; another's claim to ours is not heeded */
        COUNT_DROP(stack, arp_malformed);
        return;
    }
    struct neighbour *n = lookup(stack, sender);
    bool to_us = operation == REQUEST && target == stack->address.ip;
    if (n == NULL && to_us && sender != 0) /* it will want an answer to what it sends next */
        n = make(stack, sender, false);
    if (n != NULL)
        learn(n, mac);
    else if (operation == REPLY)
        COUNT_DROP(stack, arp_unasked);
    if (to_us) {
        COUNT(stack, arp_replies);
        send(stack, REPLY, mac, sender);
    }
}
