/* fuzz_stack_peer.h: who the fuzzed stack talks to, and the frames that come from there. */
#ifndef NAI_FUZZ_STACK_PEER_H
#define NAI_FUZZ_STACK_PEER_H

#include "fuzz_stack_checks.h"

enum { SOCKETS = 4, TICK_US = 100, HEADERS = WIRE_ETHERNET_BYTES + IPV4_BYTES + TCP_BYTES };

struct peer {
    struct stack *stack;
    uint64_t now;
    int listener, udp, sockets[SOCKETS];
    bool has_read[SOCKETS];
    uint32_t next_read[SOCKETS]; /* sequence number of what comes next */
    bool no_room;
    bool foreign; /* text came whose numbers nobody knows */
    uint8_t frame[WIRE_FRAME_MAX];
    uint8_t last[HEADERS];                       /* of the IP packet that was sent last */
    uint8_t syn_ack[HEADERS + TCP_OPTIONS_MAX]; /* the last of those: of a cookie nobody else knows the number */
};

void peer_arrive(struct peer *peer, const uint8_t *frame, uint32_t bytes); /* as it is */
void peer_segment(struct peer *peer, const uint8_t *a);                    /* six arguments: see there */
void peer_answer(struct peer *peer, uint8_t length);                       /* to the last SYN-ACK */
void peer_complain(struct peer *peer, uint8_t code, uint8_t mtu);          /* ICMP */
void peer_resolve(struct peer *peer, uint8_t who);                         /* ARP */

#endif
