/* fabric.c: ports come and go, and turns in which their frames move. */
#include "fabric.h"

#include "../packet_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

struct fabric *fabric_open(const struct fabric_options *options, char *error, size_t error_bytes)
{
    struct fabric *f = aligned_alloc(_Alignof(struct fabric), sizeof *f);
    if (f == NULL) {
        snprintf(error, error_bytes, "no memory");
        return NULL;
    }
    memset(f, 0, sizeof *f);
    f->port_count = options->ports + FABRIC_UPLINKS_MOST;
    f->slots = options->slots;
    f->mtu = options->mtu;
    f->spin_us = options->spin_us;
    f->verify = options->verify;
    f->seed = options->seed;
    f->clock = options->clock;
    f->now_ns = f->clock();
    f->ports = calloc(f->port_count, sizeof *f->ports);
    f->active = calloc(f->port_count, sizeof *f->active);
    f->filled = calloc(f->port_count, sizeof *f->filled);
    f->rules = calloc(FABRIC_RULES_MOST, sizeof *f->rules);
    uint64_t key;
    if (f->ports == NULL || f->active == NULL || f->filled == NULL || f->rules == NULL ||
        getrandom(&key, sizeof key, 0) != sizeof key || demux_open(&f->demux, options->ports, key) != 0) {
        snprintf(error, error_bytes, "no memory for %u ports", options->ports);
        return NULL; /* and the process ends */
    }
    /* As many again as there are ports keep what they had when they left. */
    if (ledgers_open(&f->ledgers, options->counters, 2 * f->port_count + 1) != 0) {
        snprintf(error, error_bytes, "counters: %s", strerror(errno));
        return NULL;
    }
    for (uint32_t i = 0; i < f->port_count; i++)
        f->ports[i].number = (uint16_t)i;
    return f;
}

void fabric_close(struct fabric *f)
{
    while (f->active_count > f->uplinks)
        fabric_leave(f, f->active[f->active_count - 1]);
    for (uint32_t i = 0; i < f->uplinks; i++)
        packet_ring_close(f->ports[i].packets);
    fabric_rules_close(f);
    demux_close(&f->demux);
    ledgers_close(&f->ledgers);
    free(f->ports);
    free(f->active);
    free(f->filled);
    free(f->rules);
    free(f);
}

static void activate(struct fabric *f, struct port *port, const struct ledger_owner *owner)
{
    port->used = true;
    port->generation++;
    port->listed = port->muted = port->condemned = false;
    port->vain = 0;
    port->heard = 0;
    port->floods_at_ns = 0;
    memset(port->draws, 0, sizeof port->draws); /* the same frames in the same order meet the same fate */
    port->ledger = ledgers_take(&f->ledgers, owner);
    rules_of_port(f, port);
    f->active[f->active_count++] = port->number;
}

int fabric_uplink(struct fabric *f, const char *interface, char *error, size_t error_bytes)
{
    struct port *port = &f->ports[f->uplinks];
    uint32_t mtu;
    if (f->uplinks == FABRIC_UPLINKS_MOST) {
        snprintf(error, error_bytes, "%s: there are %d uplinks at most", interface, FABRIC_UPLINKS_MOST);
        return -1;
    }
    port->packets = packet_ring_open(interface, port->mac, &mtu, error, error_bytes);
    if (port->packets == NULL)
        return -1;
    port->uplink = true;
    f->mtu = mtu < f->mtu ? mtu : f->mtu;
    activate(f, port, &(struct ledger_owner){.low = (uint16_t)f->uplinks});
    f->uplinks++;
    return 0;
}

static struct port *unused(struct fabric *f)
{
    for (uint32_t i = FABRIC_UPLINKS_MOST; i < f->port_count; i++)
        if (!f->ports[i].used)
            return &f->ports[i];
    return NULL;
}

/* 0 or an errno. */
static int check(const void *message, size_t bytes, struct hello *hello)
{
    if (bytes != sizeof *hello)
        return EINVAL;
    memcpy(hello, message, sizeof *hello);
    bool host = hello->ip >> 24 != 0 && hello->ip >> 24 != 127 && hello->ip >> 28 < 14; /* RFC 1122, 3.2.1.3 */
    bool ports = hello->low <= hello->high && (hello->low > 0) == (hello->high > 0);
    return hello->magic == HELLO_MAGIC && host && ports ? 0 : EINVAL;
}

int fabric_join(struct fabric *f, const void *message, size_t bytes, struct welcome *welcome,
                int files[HELLO_DESCRIPTORS])
{
    struct hello hello;
    int failed = check(message, bytes, &hello);
    struct port *port = failed == 0 ? unused(f) : NULL;
    *welcome = (struct welcome){.magic = HELLO_MAGIC, .slots = f->slots, .mtu = f->mtu, .spin_us = f->spin_us};
    if (failed == 0 && port == NULL)
        failed = EUSERS;
    if (failed == 0) {
        port->ip = hello.ip;
        port->low = hello.low;
        port->high = hello.high;
        memcpy(port->mac, hello.mac, sizeof port->mac);
        failed = port_open_stack(port, f->slots, &f->aside, &files[HELLO_MEMORY]);
    }
    if (failed == 0) {
        failed = demux_join(f, port);
        if (failed != 0) {
            port_close_stack(port);
            close(files[HELLO_MEMORY]);
        }
    }
    welcome->error = failed;
    if (failed != 0)
        return -failed;
    memcpy(welcome->mac, port->mac, sizeof welcome->mac);
    files[HELLO_SWITCH_BELL] = port->switch_bell;
    files[HELLO_STACK_BELL] = port->bell;
    activate(f, port, &(struct ledger_owner){.ip = port->ip, .low = port->low, .high = port->high});
    return port->number;
}

/* What it sent before it left is on its way, resets above all: a ring full at most. */
static void take_the_last(struct fabric *f, struct port *port)
{
    for (uint32_t taken = 0; taken < f->slots && !port->condemned;) {
        uint32_t n = port_take(f, port);
        if (n == 0)
            return;
        taken += n;
    }
}

static uint32_t without(uint16_t *numbers, uint32_t count, uint32_t number)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (numbers[i] != number)
            numbers[kept++] = numbers[i];
    return kept;
}

void fabric_leave(struct fabric *f, uint32_t number)
{
    struct port *port = &f->ports[number];
    take_the_last(f, port);
    f->condemned -= port->condemned;
    demux_leave(f, port);
    port_close_stack(port);
    ledgers_leave(&f->ledgers, port->ledger);
    port->used = false;
    port->generation++; /* what is on its way to it now finds nobody */
    f->active_count = without(f->active, f->active_count, number);
    f->filled_count = without(f->filled, f->filled_count, number); /* others may have left before their last was flushed */
}

static void pass(struct fabric *f, struct port *from, struct port *to, const struct frame *frame)
{
    uint32_t rules = from->from_rules & to->to_rules;
    if (rules == 0)
        port_put(f, to, frame);
    else
        impair_pass(f, &f->rules[__builtin_ctz(rules)], from, to, frame);
}

/* A bucket of FLOODS_AT_ONCE tokens, filled with FLOODS_PER_S. */
static bool may_flood(struct fabric *f, struct port *port)
{
    const uint64_t one = 1000000000 / FLOODS_PER_S, room = one * FLOODS_AT_ONCE;
    if (port->floods_at_ns + room < f->now_ns)
        port->floods_at_ns = f->now_ns - room;
    if (port->floods_at_ns + one > f->now_ns)
        return false;
    port->floods_at_ns += one;
    return true;
}

static void flood(struct fabric *f, struct port *from, const struct verdict *v, const struct frame *frame)
{
    if (!may_flood(f, from)) {
        CHARGE(from, drop_flood);
        return;
    }
    CHARGE(from, flooded);
    for (uint32_t i = 0; i < f->active_count; i++) {
        struct port *to = &f->ports[f->active[i]];
        bool wanted = v->kind == DEMUX_ALL || (v->kind == DEMUX_UPLINKS && to->uplink) ||
                      (v->kind == DEMUX_STATION && !to->uplink && to->ip == f->demux.stations[v->which].ip);
        if (to != from && wanted)
            pass(f, from, to, frame);
    }
}

void fabric_pass(struct fabric *f, struct port *from, const struct frame *frame)
{
    struct verdict v = demux_frame(f, from, frame);
    if (v.kind == DEMUX_PORT)
        pass(f, from, &f->ports[v.which], frame);
    else if (v.kind == DEMUX_DROP)
        from->ledger->entries[v.which].value++;
    else
        flood(f, from, &v, frame);
}

/* Indices that make no sense: nothing is moved any more, until it is thrown out. */
static void judge(struct fabric *f, struct port *port)
{
    if (port->uplink || port->condemned || !(port->in.broken || port->out.broken))
        return;
    port->condemned = true;
    f->condemned++;
    CHARGE(port, violations);
}

unsigned fabric_turn(struct fabric *f)
{
    unsigned frames = 0;
    uint64_t now = f->clock();
    f->now_ns = now;
    f->turns++;
    impair_advance(f);
    f->begin = f->begin + 1 < f->active_count ? f->begin + 1 : 0;
    for (uint32_t i = 0; i < f->active_count; i++) {
        uint32_t at = f->begin + i < f->active_count ? f->begin + i : f->begin + i - f->active_count;
        struct port *port = &f->ports[f->active[at]];
        unsigned n = port->condemned ? 0 : port_take(f, port);
        judge(f, port);
        if (n == 0)
            continue;
        frames += n;
        now = f->clock();
        LEDGER_ADD(port->ledger, cpu_ns, now - f->now_ns);
        CHARGE(port, batches);
        f->now_ns = now;
    }
    for (uint32_t i = 0; i < f->filled_count; i++)
        port_flush(&f->ports[f->filled[i]]);
    if (f->filled_count > 0) {
        uint64_t each = (f->clock() - now) / f->filled_count;
        for (uint32_t i = 0; i < f->filled_count; i++)
            LEDGER_ADD(f->ports[f->filled[i]].ledger, cpu_ns, each);
    }
    f->filled_count = 0;
    return frames;
}

bool fabric_sleeps(struct fabric *f)
{
    for (uint32_t i = f->uplinks; i < f->active_count; i++) {
        if (!consumer_sleeps(&f->ports[f->active[i]].in)) {
            fabric_wakes(f);
            return false;
        }
    }
    return true;
}

void fabric_wakes(struct fabric *f)
{
    for (uint32_t i = f->uplinks; i < f->active_count; i++)
        consumer_wakes(&f->ports[f->active[i]].in);
}

void fabric_print(const struct fabric *f, FILE *out)
{
    fprintf(out, "switch.turns %llu\n", (unsigned long long)f->turns);
    rules_print(f, out);
    ledgers_print(&f->ledgers, out);
}
