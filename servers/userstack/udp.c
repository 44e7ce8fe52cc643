/* udp.c: RFC 768. A socket has a queue of bounded size; what does not fit is dropped before it has cost more than its
 * headers. */
#include "inside.h"

#include <errno.h>

enum {
    SOURCE = 0, /* offsets */
    DESTINATION = 2,
    LENGTH = 4,
    CHECKSUM = 6,
    UDP_BYTES = 8,
    RECORD_BYTES = 8, /* address, port, length: before each queued payload */
};

void udp_layout(struct stack *stack, struct arena *arena)
{
    const struct stack_limits *limits = &stack->limits;
    stack->udp = arena_take(arena, limits->udp_sockets * sizeof *stack->udp);
    uint8_t *queues = arena_take(arena, (size_t)limits->udp_sockets * limits->udp_queue_bytes);
    stack->udp_ports = arena_take(arena, 65536 * sizeof *stack->udp_ports);
    if (queues != NULL)
        for (uint32_t i = 0; i < limits->udp_sockets; i++)
            stack->udp[i].queue = queues + (size_t)i * limits->udp_queue_bytes;
}

static struct udp_socket *by_port(struct stack *stack, uint16_t port)
{
    uint16_t place = stack->udp_ports[port];
    return place == 0 ? NULL : &stack->udp[place - 1];
}

/* Copy into the ring, or out of it, from a place counted from the oldest byte. */
static void put(struct stack *stack, struct udp_socket *u, uint32_t at, const void *data, uint32_t bytes)
{
    uint32_t size = stack->limits.udp_queue_bytes, place = (u->begin + at) % size, first = min_u32(bytes, size - place);
    memcpy(u->queue + place, data, first);
    if (bytes > first)
        memcpy(u->queue, (const uint8_t *)data + first, bytes - first);
}

static void get(struct stack *stack, const struct udp_socket *u, uint32_t at, void *data, uint32_t bytes)
{
    uint32_t size = stack->limits.udp_queue_bytes, place = (u->begin + at) % size, first = min_u32(bytes, size - place);
    memcpy(data, u->queue + place, first);
    if (bytes > first)
        memcpy((uint8_t *)data + first, u->queue, bytes - first);
}

void udp_input(struct stack *stack, const struct packet *packet)
{
    const uint8_t *p = packet->data;
    uint32_t length = packet->bytes < UDP_BYTES ? 0 : get16(p + LENGTH);
    if (length < UDP_BYTES || length > packet->bytes || get16(p + SOURCE) == 0) {
        COUNT_DROP(stack, udp_malformed);
        return;
    }
    if (!packet->checked && get16(p + CHECKSUM) != 0 &&
        fold_sum(sum_bytes(p, length) + sum_pseudo(packet->addresses, PROTOCOL_UDP, length)) != 0) {
        COUNT_DROP(stack, udp_checksum);
        return;
    }
    struct udp_socket *u = by_port(stack, get16(p + DESTINATION));
    if (u == NULL) {
        COUNT_DROP(stack, udp_port);
        icmp_unreachable(stack, packet, ICMP_PORT_UNREACHABLE);
        return;
    }
    uint32_t bytes = length - UDP_BYTES;
    if (RECORD_BYTES + bytes > stack->limits.udp_queue_bytes - u->length) {
        COUNT_DROP(stack, udp_queue_full);
        return;
    }
    uint8_t record[RECORD_BYTES];
    put32(record, packet->source);
    put16(record + 4, get16(p + SOURCE));
    put16(record + 6, bytes);
    put(stack, u, u->length, record, RECORD_BYTES);
    put(stack, u, u->length + RECORD_BYTES, p + UDP_BYTES, bytes);
    u->length += RECORD_BYTES + bytes;
    COUNT(stack, udp_received);
    ready_changed(stack, &u->socket);
}

struct udp_socket *udp_of(struct stack *stack, int socket)
{
    uint32_t first = stack->limits.connections + stack->limits.listeners;
    if (socket < 0 || (uint32_t)socket < first || (uint32_t)socket - first >= stack->limits.udp_sockets)
        return NULL;
    struct udp_socket *u = &stack->udp[(uint32_t)socket - first];
    return u->socket.kind == SOCKET_UDP ? u : NULL;
}

int us_udp_open(struct stack *stack, uint16_t port)
{
    for (unsigned tries = 0; port == 0 && tries <= UINT16_MAX; tries++) {
        uint16_t candidate = (uint16_t)(49152 + (scramble(stack, stack->next_udp_port++, SCRAMBLE_UDP_PORT) & 16383));
        if (by_port(stack, candidate) == NULL)
            port = candidate;
    }
    if (port == 0 || by_port(stack, port) != NULL)
        return -EADDRINUSE;
    for (uint32_t i = 0; i < stack->limits.udp_sockets; i++) {
        struct udp_socket *u = &stack->udp[i];
        if (u->socket.kind == SOCKET_FREE) {
            u->socket = (struct socket){.kind = SOCKET_UDP, .open = true};
            u->port = port;
            u->begin = u->length = 0;
            stack->udp_ports[port] = (uint16_t)(i + 1);
            return (int)(stack->limits.connections + stack->limits.listeners + i);
        }
    }
    return -ENFILE;
}

void udp_close(struct stack *stack, struct udp_socket *u)
{
    stack->udp_ports[u->port] = 0;
    ready_forget(&u->socket);
    u->socket.kind = SOCKET_FREE;
}

int us_udp_receive(struct stack *stack, int socket, void *buffer, uint32_t bytes, struct us_endpoint *from)
{
    struct udp_socket *u = udp_of(stack, socket);
    if (u == NULL)
        return -EBADF;
    if (u->length == 0)
        return -EAGAIN;
    uint8_t record[RECORD_BYTES];
    get(stack, u, 0, record, RECORD_BYTES);
    uint32_t length = get16(record + 6);
    if (from != NULL)
        *from = (struct us_endpoint){.ip = get32(record), .port = get16(record + 4)};
    get(stack, u, RECORD_BYTES, buffer, min_u32(bytes, length));
    u->begin = (u->begin + RECORD_BYTES + length) % stack->limits.udp_queue_bytes;
    u->length -= RECORD_BYTES + length;
    return (int)length;
}

int us_udp_send(struct stack *stack, int socket, const void *buffer, uint32_t bytes, struct us_endpoint to)
{
    struct udp_socket *u = udp_of(stack, socket);
    if (u == NULL)
        return -EBADF;
    uint8_t message[UDP_BYTES + 8192]; /* more in one datagram is not sent */
    if (bytes > sizeof message - UDP_BYTES)
        return -EMSGSIZE;
    uint8_t addresses[8];
    put32(addresses, stack->address.ip);
    put32(addresses + 4, to.ip);
    put16(message + SOURCE, u->port);
    put16(message + DESTINATION, to.port);
    put16(message + LENGTH, UDP_BYTES + bytes);
    put16(message + CHECKSUM, 0);
    if (bytes > 0)
        memcpy(message + UDP_BYTES, buffer, bytes);
    uint16_t checksum =
            fold_sum(sum_bytes(message, UDP_BYTES + bytes) + sum_pseudo(addresses, PROTOCOL_UDP, UDP_BYTES + bytes));
    if (checksum == 0) /* 0 would say that there is none */
        checksum = 0xffff;
    memcpy(message + CHECKSUM, &checksum, sizeof checksum);
    switch (ipv4_send(stack, PROTOCOL_UDP, to.ip, message, UDP_BYTES + bytes)) {
    case IP_OK:
        COUNT(stack, udp_sent);
        return (int)bytes;
    case IP_WIRE_FULL:
        return -EAGAIN;
    default:
        return -ENETUNREACH;
    }
}
