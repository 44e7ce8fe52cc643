/* inside.h: what the files of the stack share below TCP: the stack itself, and one prototype table grouped by file. */
#ifndef NAI_STACK_INSIDE_H
#define NAI_STACK_INSIDE_H

#include "bytes.h"
#include "pool.h"
#include "siphash.h"
#include "socket.h"
#include "stack.h"
#include "timers.h"

enum {
    IPV4_BYTES = 20, /* of the header we send */
    IPV4_LENGTH = 2, /* offsets, RFC 791, 3.1 */
    IPV4_IDENTIFICATION = 4,
    IPV4_FRAGMENT = 6,
    IPV4_HOPS = 8,
    IPV4_PROTOCOL = 9,
    IPV4_CHECKSUM = 10,
    IPV4_SOURCE = 12,
    IPV4_DESTINATION = 16,
    IPV4_DONT_FRAGMENT = 0x4000,
    IPV4_MORE_FRAGMENTS = 0x2000,
    PROTOCOL_ICMP = 1,
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,
    DATAGRAM_PIECES = 16, /* runs of bytes with gaps between them, of one datagram */
    NEIGHBOUR_WAYS = 4,   /* places in which an entry of a table by address may lie */
    PORT_COUNTS = 256,    /* RFC 6056, 3.3.4 */
};

enum arp_state { ARP_FREE, ARP_ASKED, ARP_KNOWN };

struct neighbour {
    struct timer timer; /* first: of the next question */
    struct stack *stack;
    uint64_t confirmed; /* tick of the last answer */
    uint32_t ip, waiting_first, waiting_last, waiting_count; /* frames, by their numbers in `packets` */
    uint8_t mac[6], state, questions; /* unanswered ones */
};

struct datagram { /* in pieces */
    struct timer timer; /* first: when it is given up */
    struct stack *stack;
    uint8_t *data;
    uint64_t began;
    uint32_t source;
    uint16_t identification;
    uint8_t protocol, piece_count;
    bool used;
    uint32_t total; /* bytes, once the last piece has come; 0 before */
    struct piece {
        uint32_t left, right;
    } pieces[DATAGRAM_PIECES];
};

struct path {
    uint32_t ip, mtu; /* mtu 0 = free */
    uint64_t until;
};

/* What every kind of socket begins with. */
enum socket_kind { SOCKET_FREE, SOCKET_CONNECTION, SOCKET_LISTENER, SOCKET_UDP };

struct socket {
    struct socket *ready_next, *ready_previous; /* in the list that us_wait() looks through */
    uint64_t data;                              /* the caller's */
    uint8_t kind, interest;
    uint8_t told; /* with US_EDGE: what is not to be reported again */
    bool open;    /* the caller holds it */
    bool listed;
};

struct udp_socket {
    struct socket socket; /* first */
    uint16_t port;
    uint8_t *queue; /* ring of records: header, payload */
    uint32_t begin, length;
};

struct packet { /* a received IP packet, whole */
    uint32_t source, destination;
    const uint8_t *addresses; /* the two as they lay in the header, for pseudo-headers */
    const uint8_t *original;  /* the packet from its IP header on, to be quoted; NULL if it came in pieces */
    const uint8_t *data;
    uint32_t bytes;
    bool checked;   /* no checksum need be verified */
    bool broadcast; /* came to everybody: never answered by an error, RFC 1122, 3.2.2 */
};

struct tcp_layer; /* tcp.h */

struct stack {
    struct wire wire;
    struct stack_limits limits;
    struct stack_address address;
    uint64_t now;
    struct timers *timers;
    struct stack_counters counters;
    struct socket ready; /* ring of sockets whose readiness may have changed */

    struct neighbour *neighbours, *latest; /* latest: that was looked up last, or NULL */
    struct pool packets;
    uint32_t *packet_link, *packet_bytes;
    struct datagram *datagrams;
    struct path *paths;
    uint64_t icmp_second;
    uint32_t icmp_sent, icmp_limit; /* in that second */
    uint16_t identification, next_udp_port;
    uint16_t next_ports[PORT_COUNTS];
    struct udp_socket *udp;
    uint16_t *udp_ports; /* by port: the socket's place in `udp`, from 1 */
    bool batch; /* between stack_batch() and stack_batch_end() */
    struct tcp_layer *tcp;
};

#define COUNT_DROP(stack, cause) ((void)(stack)->counters.drops.cause++)
#define COUNT(stack, event) ((void)(stack)->counters.event++)

/* Ticks of a duration, rounded up: no timer is early. */
static inline uint64_t ticks_of_us(const struct stack *stack, uint64_t us)
{
    return (us * 1000 + stack->limits.tick_ns - 1) / stack->limits.tick_ns;
}

static inline uint64_t ticks_of_ms(const struct stack *stack, uint64_t ms) { return ticks_of_us(stack, ms * 1000); }

static inline uint64_t now_us(const struct stack *stack) { return stack->now * stack->limits.tick_ns / 1000; }

/* stack_open() walks through all allocations twice, first to count, then to place. */
struct arena {
    uint8_t *memory; /* NULL: only count */
    size_t used;
};
void *arena_take(struct arena *arena, size_t bytes); /* aligned to 64; NULL while counting */

/* ethernet.c */
enum { ETHERNET_ARP = 0x0806, ETHERNET_IPV4 = 0x0800 };
uint8_t *ethernet_begin(struct stack *stack, const uint8_t mac[6], uint16_t type, uint32_t bytes); /* NULL: wire full */
void ethernet_end(struct stack *stack, uint32_t bytes);                                            /* of the payload */

/* arp.c */
void arp_layout(struct stack *stack, struct arena *arena);
void arp_open(struct stack *stack);
void arp_input(struct stack *stack, const uint8_t *packet, uint32_t bytes);
struct neighbour *arp_find(struct stack *stack, uint32_t ip); /* known or asked for; NULL: no place */
bool arp_wait(struct stack *stack, struct neighbour *neighbour, uint32_t packet, uint32_t bytes); /* takes the packet */

/* ipv4.c */
struct ip_output {
    uint8_t *data; /* where the payload goes */
    uint8_t *header;
    struct neighbour *waits_for; /* or NULL: lies in the wire */
    uint32_t packet, bytes;
};
enum ip_result { IP_DROPPED, IP_WIRE_FULL, IP_OK };
void ipv4_input(struct stack *stack, const uint8_t *packet, uint32_t bytes, unsigned flags);
void ipv4_deliver(struct stack *stack, uint8_t protocol, const struct packet *packet);
/* Room for a packet of so many bytes of payload, then its header and off. Not to be fragmented. */
enum ip_result ipv4_begin(struct stack *stack, struct ip_output *out, uint32_t destination, uint32_t bytes);
void ipv4_end(struct stack *stack, struct ip_output *out, uint8_t protocol, uint32_t destination);
/* A whole payload from memory, in fragments if need be. */
enum ip_result ipv4_send(struct stack *stack, uint8_t protocol, uint32_t destination, const uint8_t *data, uint32_t bytes);

/* fragments.c */
void fragments_layout(struct stack *stack, struct arena *arena);
void fragments_open(struct stack *stack);
void fragments_input(struct stack *stack, const uint8_t *header, const uint8_t *data, uint32_t bytes, bool checked);

/* icmp.c */
enum { ICMP_PORT_UNREACHABLE = 3, ICMP_FRAGMENTATION_NEEDED = 4, ICMP_PROTOCOL_UNREACHABLE = 2 };
void icmp_input(struct stack *stack, const struct packet *packet);
void icmp_unreachable(struct stack *stack, const struct packet *about, uint8_t code);

/* path.c: PMTU, RFC 1191 */
void path_layout(struct stack *stack, struct arena *arena);
uint32_t path_mtu(const struct stack *stack, uint32_t ip);
bool path_lower(struct stack *stack, uint32_t ip, uint32_t mtu); /* true if it is lower now */

/* udp.c */
void udp_layout(struct stack *stack, struct arena *arena);
void udp_input(struct stack *stack, const struct packet *packet);
struct udp_socket *udp_of(struct stack *stack, int socket); /* NULL: it is none */
void udp_close(struct stack *stack, struct udp_socket *udp);

/* ready.c */
void ready_changed(struct stack *stack, struct socket *socket);
struct socket *socket_of(struct stack *stack, int number); /* one that the caller holds, or NULL */
void ready_forget(struct socket *socket);
int us_number(const struct stack *stack, const struct socket *socket);
unsigned socket_readiness(const struct socket *socket, unsigned asked); /* what was not asked for may be missing */

/* scramble.c */
enum { SCRAMBLE_IDENTIFICATION, SCRAMBLE_UDP_PORT };
uint16_t scramble(const struct stack *stack, uint16_t number, uint32_t use);

/* the layer above: tcp_connection.c, tcp_input.c, tcp_icmp.c, tcp_output.c, tcp_buffers.c, tcp_batch.c */
void tcp_layout(struct stack *stack, struct arena *arena);
void tcp_open_layer(struct stack *stack);
void tcp_input(struct stack *stack, const struct packet *packet);
void tcp_icmp(struct stack *stack, uint32_t destination, const uint8_t *quoted, uint8_t code, uint32_t mtu);
void tcp_retry_output(struct stack *stack);
bool tcp_output_waits(const struct stack *stack);
void tcp_feed_starving(struct stack *stack);
void tcp_acknowledge_owed(struct stack *stack);
void tcp_wait_for_chunks(struct stack *stack, struct socket *socket);

#endif
