/* switch_fixture.h: a switch without a process, by a clock that is not real, and stacks that are the test itself: what they
 * send is built byte by byte, and what they write into their memory is whatever the test likes. */
#ifndef NAI_SWITCH_FIXTURE_H
#define NAI_SWITCH_FIXTURE_H

#include "fabric.h"

struct guest {
    struct producer out;
    struct consumer in;
    uint8_t *memory;
    size_t bytes;
    int memory_file, bell, switch_bell;
    uint32_t ip, number;
    uint8_t mac[6];
};

extern uint64_t fixture_ns; /* now */
uint64_t fixture_clock(void);

/* With impairments, NULL ends them. */
struct fabric *fixture_fabric(uint32_t ports, uint32_t slots, uint64_t seed, const char *const *rules);
/* 0 or an errno. */
int fixture_ask(struct fabric *fabric, struct guest *guest, const struct hello *hello);
void fixture_join(struct fabric *fabric, struct guest *guest, uint32_t ip); /* must succeed */
void fixture_leave(struct fabric *fabric, struct guest *guest);
uint64_t fixture_ledger(const struct fabric *fabric, const struct guest *guest, enum ledger_index index);

/* Put a frame into the guest's ring; false: it is full. */
bool fixture_send(struct guest *guest, const uint8_t *frame, uint32_t bytes);
/* The next frame that it has received; 0: none. */
uint32_t fixture_receive(struct guest *guest, uint8_t frame[WIRE_FRAME_MAX], unsigned *flags);

/* A UDP datagram with right checksums, with a number in its payload. Returns the frame's length. */
uint32_t fixture_udp(uint8_t *frame, const struct guest *from, const struct guest *to, uint16_t source, uint16_t destination,
                     uint32_t number, uint32_t payload);
/* Its number; UINT32_MAX: it is not one whose checksums are right. */
uint32_t fixture_number(const uint8_t *frame, uint32_t bytes);
uint32_t fixture_arp(uint8_t *frame, const struct guest *from, uint16_t operation, const uint8_t *to, uint32_t target);

#endif
