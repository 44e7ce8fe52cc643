/* demux.c: whose a frame is, before anything else is done for it (early demultiplexing, as of Druschel and Banga 1996).
 *
 * By address, which one probe of a hash table finds, and the MAC that belongs to it; then, where several stacks share the
 * address, by TCP or UDP port, in a table of all. What is for no stack goes by its MAC to the uplink behind which that was
 * last seen, or to all. An ARP question goes to whom it is about, not to everybody.
 */
#include "bytes.h"
#include "fabric.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    TYPE = 12, /* offsets in a frame */
    PAYLOAD = WIRE_ETHERNET_BYTES,
    IP_SOURCE = PAYLOAD + 12,
    IP_DESTINATION = PAYLOAD + 16,
    ARP_OPERATION = PAYLOAD + 6, /* RFC 826 */
    ARP_SENDER_MAC = PAYLOAD + 8,
    ARP_SENDER = PAYLOAD + 14,
    ARP_TARGET = PAYLOAD + 24,
    ARP_END = PAYLOAD + 28,
    TYPE_IPV4 = 0x0800,
    TYPE_ARP = 0x0806,
    ARP_REQUEST = 1,
    LEARNED_BITS = 10,
    NOWHERE = UINT16_MAX,
};

static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, nobody[6] = {0};

int demux_open(struct demux *d, uint32_t stations, uint64_t seed)
{
    *d = (struct demux){.most = stations, .key = seed | 1};
    for (d->bits = 4; 1u << d->bits < stations * 4; d->bits++)
        ;
    d->stations = calloc(stations, sizeof *d->stations);
    d->table = calloc((size_t)1 << d->bits, sizeof *d->table);
    d->learned = calloc((size_t)1 << LEARNED_BITS, sizeof *d->learned);
    return d->stations == NULL || d->table == NULL || d->learned == NULL ? ENOMEM : 0;
}

void demux_close(struct demux *d)
{
    for (uint32_t i = 0; i < d->count; i++)
        free(d->stations[i].by_port);
    free(d->stations);
    free(d->table);
    free(d->learned);
}

/* Multiplied by a number that nobody knows (Dietzfelbinger et al. 1997). */
static uint32_t hash(const struct demux *d, uint64_t what, uint32_t bits)
{
    return (uint32_t)(what * d->key >> (64 - bits));
}

/* Its place in the table: where it is, or where it would be. */
static uint32_t place(const struct demux *d, uint32_t ip)
{
    uint32_t at = hash(d, ip, d->bits);
    while (d->table[at] != 0 && d->stations[d->table[at] - 1].ip != ip)
        at = (at + 1) & ((1u << d->bits) - 1);
    return at;
}

static uint32_t find(const struct demux *d, uint32_t ip)
{
    uint16_t station = d->table[place(d, ip)];
    return station == 0 ? NOWHERE : station - 1u;
}

static void fill_table(struct demux *d)
{
    memset(d->table, 0, sizeof *d->table << d->bits);
    for (uint32_t i = 0; i < d->count; i++)
        d->table[place(d, d->stations[i].ip)] = (uint16_t)(i + 1);
}

/* Locally administered, and the address's own. */
static void assign_mac(uint8_t mac[6], uint32_t ip)
{
    put16(mac, 0x0253);
    put32(mac + 2, ip);
}

static int join_shared(struct station *s, const struct port *port)
{
    if (s->by_port == NULL || port->low == 0)
        return EADDRINUSE;
    for (uint32_t p = port->low; p <= port->high; p++)
        if (s->by_port[p] != 0)
            return EADDRINUSE;
    for (uint32_t p = port->low; p <= port->high; p++)
        s->by_port[p] = (uint16_t)(port->number + 1);
    s->members++;
    return 0;
}

int demux_join(struct fabric *f, struct port *port)
{
    struct demux *d = &f->demux;
    uint32_t known = find(d, port->ip);
    struct station *s = known == NOWHERE ? &d->stations[d->count] : &d->stations[known];
    const uint8_t *mac = port->mac;
    uint8_t own[6];
    assign_mac(own, port->ip);
    if (memcmp(mac, nobody, 6) == 0)
        mac = known == NOWHERE ? own : s->mac;
    if (mac[0] & 1)
        return EINVAL;
    if (known != NOWHERE && memcmp(mac, s->mac, 6) != 0)
        return EADDRINUSE;
    memmove(port->mac, mac, 6);
    if (known != NOWHERE)
        return join_shared(s, port);
    if (d->count == d->most)
        return EUSERS;
    *s = (struct station){.ip = port->ip, .first = port->number};
    memcpy(s->mac, port->mac, 6);
    if (port->low != 0) {
        s->by_port = calloc(1u << 16, sizeof *s->by_port);
        if (s->by_port == NULL)
            return ENOMEM;
        join_shared(s, port);
    } else {
        s->members = 1;
    }
    d->count++;
    fill_table(d);
    return 0;
}

void demux_leave(struct fabric *f, const struct port *port)
{
    struct demux *d = &f->demux;
    struct station *s = &d->stations[find(d, port->ip)];
    if (--s->members == 0) {
        free(s->by_port);
        *s = d->stations[--d->count];
        fill_table(d);
        return;
    }
    for (uint32_t p = port->low; p <= port->high; p++)
        s->by_port[p] = 0;
    for (uint32_t p = 0; s->first == port->number && p < 1u << 16; p++)
        if (s->by_port[p] != 0)
            s->first = (uint16_t)(s->by_port[p] - 1);
}

static struct verdict verdict(enum demux_kind kind, uint32_t which)
{
    return (struct verdict){.kind = kind, .which = which};
}

static struct verdict drop(enum ledger_index cause) { return verdict(DEMUX_DROP, cause); }

/* Two stations by chance at one place would forget each other with every frame, and each be flooded: there are two places. */
static struct learned *learned(const struct demux *d, const uint8_t mac[6])
{
    uint64_t number = (uint64_t)get16(mac) << 32 | get32(mac + 2);
    struct learned *ways = &d->learned[hash(d, number, LEARNED_BITS) & ~UINT32_C(1)];
    bool first = ways[0].port == 0 || memcmp(ways[0].mac, mac, 6) == 0;
    return &ways[!first && (ways[1].port == 0 || memcmp(ways[1].mac, mac, 6) == 0)];
}

/* To an uplink, but not back to where it came from. */
static struct verdict by_mac(const struct fabric *f, const struct port *from, const uint8_t mac[6])
{
    if (f->uplinks == 0 || (f->uplinks == 1 && from->uplink))
        return drop(LEDGER_drop_unknown);
    if (f->uplinks == 1)
        return verdict(DEMUX_PORT, 0);
    const struct learned *l = learned(&f->demux, mac);
    if ((mac[0] & 1) || l->port == 0 || memcmp(l->mac, mac, 6) != 0)
        return verdict(DEMUX_UPLINKS, 0);
    return l->port - 1u == from->number ? drop(LEDGER_drop_unknown) : verdict(DEMUX_PORT, l->port - 1u);
}

/* One of several stacks on an address: what it sends is from its own ports. */
static enum ledger_index check_ports(const struct port *from, const struct frame *frame)
{
    struct transport t = headers_transport(frame);
    bool own = t.source >= from->low && t.source <= from->high;
    if (t.kind == TRANSPORT_FRAGMENT)
        return LEDGER_drop_fragment;
    if (t.kind == TRANSPORT_ERROR) /* about a packet that had come to it */
        own = t.destination >= from->low && t.destination <= from->high;
    return own || t.kind == TRANSPORT_ECHO ? LEDGER_COUNT : LEDGER_drop_spoofed;
}

static struct verdict to_station(const struct demux *d, uint32_t station, const struct frame *frame)
{
    const struct station *s = &d->stations[station];
    if (s->by_port == NULL)
        return verdict(DEMUX_PORT, s->first);
    struct transport t = headers_transport(frame);
    if (t.kind == TRANSPORT_FRAGMENT)
        return drop(LEDGER_drop_fragment);
    if (t.kind == TRANSPORT_ECHO)
        return verdict(DEMUX_PORT, s->first);
    uint16_t member = t.kind == TRANSPORT_NONE ? 0 : s->by_port[t.kind == TRANSPORT_ERROR ? t.source : t.destination];
    return member == 0 ? drop(LEDGER_drop_no_port) : verdict(DEMUX_PORT, member - 1u);
}

static struct verdict ipv4(const struct fabric *f, const struct port *from, const struct frame *frame)
{
    const uint8_t *head = frame->head;
    if (!headers_ipv4(frame))
        return drop(LEDGER_drop_malformed);
    if (!from->uplink) {
        enum ledger_index wrong = from->low == 0 ? LEDGER_COUNT : check_ports(from, frame);
        if (get32(head + IP_SOURCE) != from->ip)
            wrong = LEDGER_drop_spoofed;
        if (wrong != LEDGER_COUNT)
            return drop(wrong);
    }
    uint32_t station = find(&f->demux, get32(head + IP_DESTINATION));
    if (station != NOWHERE && memcmp(f->demux.stations[station].mac, head, 6) == 0)
        return to_station(&f->demux, station, frame);
    if (memcmp(head, everybody, 6) == 0)
        return verdict(DEMUX_ALL, 0);
    return by_mac(f, from, head);
}

static struct verdict arp(const struct fabric *f, const struct port *from, const struct frame *frame)
{
    const uint8_t *head = frame->head;
    if (frame->head_bytes < ARP_END)
        return drop(LEDGER_drop_malformed);
    uint32_t sender = get32(head + ARP_SENDER), target = get32(head + ARP_TARGET);
    if (!from->uplink && (memcmp(head + ARP_SENDER_MAC, from->mac, 6) != 0 || (sender != from->ip && sender != 0)))
        return drop(LEDGER_drop_spoofed);
    if (sender == target) /* an announcement, RFC 5227, 3 */
        return head[0] & 1 ? verdict(DEMUX_ALL, 0) : by_mac(f, from, head);
    uint32_t station = find(&f->demux, target);
    if (station == NOWHERE)
        return by_mac(f, from, head);
    const struct station *s = &f->demux.stations[station];
    if (memcmp(head, everybody, 6) != 0 && memcmp(head, s->mac, 6) != 0)
        return by_mac(f, from, head);
    /* One of those that share an address answers for all, and all want an answer. */
    return get16(head + ARP_OPERATION) == ARP_REQUEST || s->by_port == NULL ? verdict(DEMUX_PORT, s->first)
                                                                            : verdict(DEMUX_STATION, station);
}

struct verdict demux_frame(struct fabric *f, const struct port *from, const struct frame *frame)
{
    const uint8_t *head = frame->head, *source = head + 6;
    if (frame->bytes < PAYLOAD)
        return drop(LEDGER_drop_malformed);
    if (!from->uplink && memcmp(source, from->mac, 6) != 0)
        return drop(LEDGER_drop_spoofed);
    if (from->uplink && f->uplinks > 1 && !(source[0] & 1)) {
        struct learned *l = learned(&f->demux, source);
        memcpy(l->mac, source, 6);
        l->port = (uint16_t)(from->number + 1);
    }
    switch (get16(head + TYPE)) {
    case TYPE_IPV4:
        return ipv4(f, from, frame);
    case TYPE_ARP:
        return arp(f, from, frame);
    default: /* between kernels */
        return from->uplink ? by_mac(f, from, head) : drop(LEDGER_drop_type);
    }
}
