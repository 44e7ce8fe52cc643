#include "switch_fixture.h"

#include "bytes.h"
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

uint64_t fixture_ns;

uint64_t fixture_clock(void) { return fixture_ns; }

struct fabric *fixture_fabric(uint32_t ports, uint32_t slots, uint64_t seed, const char *const *rules)
{
    char error[512] = "";
    const struct fabric_options options = {
        .ports = ports, .slots = slots, .mtu = 1500, .seed = seed, .clock = fixture_clock};
    struct fabric *fabric = fabric_open(&options, error, sizeof error);
    NEED(fabric != NULL);
    for (; rules != NULL && *rules != NULL; rules++)
        CHECK(fabric_rule(fabric, *rules, error, sizeof error) == 0, "%s", error);
    NEED(fabric_rules_open(fabric) == 0);
    return fabric;
}

int fixture_ask(struct fabric *fabric, struct guest *guest, const struct hello *hello)
{
    struct welcome welcome;
    int files[HELLO_DESCRIPTORS];
    int port = fabric_join(fabric, hello, sizeof *hello, &welcome, files);
    CHECK(welcome.magic == HELLO_MAGIC && (port < 0 ? -port : 0) == welcome.error, "%d, %d", port, welcome.error);
    if (port < 0)
        return -port;
    size_t one = ring_bytes(welcome.slots);
    *guest = (struct guest){
        .bytes = 2 * one,
        .number = (uint32_t)port,
        .ip = hello->ip,
        .memory_file = files[HELLO_MEMORY],
        .bell = files[HELLO_STACK_BELL],
        .switch_bell = files[HELLO_SWITCH_BELL],
    };
    guest->memory = mmap(NULL, guest->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, guest->memory_file, 0);
    NEED(guest->memory != MAP_FAILED);
    NEED(producer_open(&guest->out, (void *)guest->memory, welcome.slots, NULL));
    guest->in = (struct consumer){.ring = (void *)(guest->memory + one), .slots = welcome.slots};
    memcpy(guest->mac, welcome.mac, 6);
    return 0;
}

void fixture_join(struct fabric *fabric, struct guest *guest, uint32_t ip)
{
    NEED(fixture_ask(fabric, guest, &(struct hello){.magic = HELLO_MAGIC, .ip = ip}) == 0);
}

void fixture_leave(struct fabric *fabric, struct guest *guest)
{
    fabric_leave(fabric, guest->number);
    producer_close(&guest->out);
    munmap(guest->memory, guest->bytes);
    close(guest->memory_file);
}

uint64_t fixture_ledger(const struct fabric *fabric, const struct guest *guest, enum ledger_index index)
{
    return fabric->ports[guest->number].ledger->entries[index].value;
}

bool fixture_send(struct guest *guest, const uint8_t *frame, uint32_t bytes)
{
    if (producer_room(&guest->out) == 0)
        return false;
    memcpy(producer_slot(&guest->out)->frame, frame, bytes);
    producer_commit(&guest->out, bytes, 0);
    producer_flush(&guest->out);
    return true;
}

uint32_t fixture_receive(struct guest *guest, uint8_t frame[WIRE_FRAME_MAX], unsigned *flags)
{
    if (consumer_ready(&guest->in) == 0)
        return 0;
    const struct ring_frame next = consumer_frame(&guest->in, 0);
    NEED(next.bytes <= WIRE_FRAME_MAX);
    memcpy(frame, next.slot->frame, next.bytes);
    if (flags != NULL)
        *flags = next.flags;
    consumer_release(&guest->in, 1);
    return next.bytes;
}

enum { ETHERNET = WIRE_ETHERNET_BYTES, IPV4 = 20, UDP = 8, MARK = 0x6e616921 };

uint32_t fixture_udp(uint8_t *frame, const struct guest *from, const struct guest *to, uint16_t source, uint16_t destination,
                     uint32_t number, uint32_t payload)
{
    uint8_t *ip = frame + ETHERNET, *udp = ip + IPV4, *data = udp + UDP;
    uint32_t length = UDP + 8 + payload;
    memset(frame, 0, ETHERNET + IPV4 + UDP);
    memcpy(frame, to->mac, 6);
    memcpy(frame + 6, from->mac, 6);
    put16(frame + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, IPV4 + length);
    put16(ip + 6, 0x4000);
    ip[8] = 64;
    ip[9] = 17;
    put32(ip + 12, from->ip);
    put32(ip + 16, to->ip);
    store_checksum(ip + 10, sum_bytes(ip, IPV4));
    put16(udp, source);
    put16(udp + 2, destination);
    put16(udp + 4, length);
    put32(data, MARK);
    put32(data + 4, number);
    for (uint32_t i = 0; i < payload; i++)
        data[8 + i] = (uint8_t)(i * 7 + number);
    store_checksum(udp + 6, sum_bytes(udp, length) + sum_pseudo(ip + 12, 17, length));
    return ETHERNET + IPV4 + length;
}

uint32_t fixture_number(const uint8_t *frame, uint32_t bytes)
{
    const uint8_t *ip = frame + ETHERNET, *udp = ip + IPV4, *data = udp + UDP;
    if (bytes < ETHERNET + IPV4 + UDP + 8 || get16(frame + 12) != 0x0800 || ip[0] != 0x45 ||
        get16(ip + 2) != bytes - ETHERNET || fold_sum(sum_bytes(ip, IPV4)) != 0)
        return UINT32_MAX;
    uint32_t length = bytes - ETHERNET - IPV4;
    if (fold_sum(sum_bytes(udp, length) + sum_pseudo(ip + 12, 17, length)) != 0 || get32(data) != MARK)
        return UINT32_MAX;
    return get32(data + 4);
}

uint32_t fixture_arp(uint8_t *frame, const struct guest *from, uint16_t operation, const uint8_t *to, uint32_t target)
{
    uint8_t *arp = frame + ETHERNET;
    memset(frame, 0, ETHERNET + 28);
    memcpy(frame, to, 6);
    memcpy(frame + 6, from->mac, 6);
    put16(frame + 12, 0x0806);
    put16(arp, 1);
    put16(arp + 2, 0x0800);
    arp[4] = 6;
    arp[5] = 4;
    put16(arp + 6, operation);
    memcpy(arp + 8, from->mac, 6);
    put32(arp + 14, from->ip);
    put32(arp + 24, target);
    return ETHERNET + 28;
}
