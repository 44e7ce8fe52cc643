/* impair.c: what befalls frames between one port and another: loss, duplication, damage; a wire of limited rate with a
 * queue before it; delay, jitter, and frames that others overtake.
 *
 * Every draw is a hash of the seed, the rule, the sender, the frame's number among those of that sender, and what is drawn
 * for. So the same frames in the same order meet the same fate, whatever the time, and whatever else befalls them.
 *
 * A frame that arrives later lies in its rule's pool until a timer has it delivered: a heap, since what is due in one order
 * has to arrive in that order (a wheel would round).
 */
#include "../packet_ring.h"
#include "fabric.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct held {
    struct timer timer; /* first */
    struct fabric *fabric;
    struct rule *rule;
    uint32_t block, generation, bytes;
    uint16_t to;
    bool in_order;
    unsigned flags;
    uint8_t frame[WIRE_FRAME_MAX];
};

enum draw { DRAW_LOSS, DRAW_DUPLICATE, DRAW_CORRUPT, DRAW_PLACE, DRAW_REORDER, DRAW_JITTER, DRAWS = 16 };
enum { COPIES = 2 };

static uint64_t mix(uint64_t x) /* the finalizer of SplitMix64 (Steele, Lea and Flood 2014) */
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static uint64_t draw(uint64_t key, enum draw what) { return mix(key + (uint64_t)what * 0x9e3779b97f4a7c15); }

static bool chance(uint64_t key, enum draw what, double probability)
{
    return probability > 0 && (double)(draw(key, what) >> 11) < probability * (double)(UINT64_C(1) << 53);
}

int fabric_rule(struct fabric *f, const char *text, char *error, size_t error_bytes)
{
    if (f->rule_count == FABRIC_RULES_MOST) {
        snprintf(error, error_bytes, "--impair: there are %d at most", FABRIC_RULES_MOST);
        return -1;
    }
    struct rule *rule = &f->rules[f->rule_count];
    if (rule_parse(rule, text, error, error_bytes) != 0)
        return -1;
    rule->key = mix(f->seed * 0x9e3779b97f4a7c15 + ++f->rule_count);
    return 0;
}

int fabric_rules_open(struct fabric *f)
{
    uint32_t most = 1;
    for (uint32_t i = 0; i < f->rule_count; i++) {
        struct rule *rule = &f->rules[i];
        rule->departures = calloc(rule->queue_frames, sizeof *rule->departures);
        rule->held = calloc(rule->pool_frames, sizeof(struct held)); /* pages that are never used are never there */
        uint32_t *links = calloc(rule->pool_frames, sizeof *links);
        if (rule->departures == NULL || rule->held == NULL || links == NULL) {
            free(links);
            return -1;
        }
        pool_init(&rule->pool, rule->held, links, sizeof(struct held), rule->pool_frames);
        most += rule->pool_frames;
    }
    f->timers = timers_open("heap", most, f->now_ns / 1000);
    return f->timers == NULL ? -1 : 0;
}

void fabric_rules_close(struct fabric *f)
{
    for (uint32_t i = 0; i < f->rule_count; i++) {
        free(f->rules[i].departures);
        free(f->rules[i].held);
        free(f->rules[i].pool.next);
    }
    if (f->timers != NULL)
        timers_close(f->timers);
}

static bool matches(const struct rule_end *end, const struct port *port)
{
    return end->kind == END_ANY || (end->kind == END_UPLINK && port->uplink && port->number == end->which) ||
           (end->kind == END_ADDRESS && !port->uplink && port->ip == end->which);
}

void rules_of_port(const struct fabric *f, struct port *port)
{
    port->from_rules = port->to_rules = 0;
    for (uint32_t i = 0; i < f->rule_count; i++) {
        port->from_rules |= (uint32_t)matches(&f->rules[i].from, port) << i;
        port->to_rules |= (uint32_t)matches(&f->rules[i].to, port) << i;
    }
}

static void arrive(struct timers *timers, struct timer *timer)
{
    (void)timers;
    struct held *held = (struct held *)timer;
    struct fabric *f = held->fabric;
    struct rule *rule = held->rule;
    struct port *to = &f->ports[held->to];
    struct frame frame = {.bytes = held->bytes, .flags = held->flags};
    frame.head_bytes = held->bytes < HEAD_BYTES ? held->bytes : HEAD_BYTES;
    memcpy(frame.head, held->frame, frame.head_bytes);
    frame.rest = held->frame + frame.head_bytes;
    if (to->generation == held->generation)
        port_put(f, to, &frame);
    else
        rule->counts.drop_gone++;
    rule->in_order -= held->in_order;
    pool_give(&rule->pool, held->block);
}

void impair_advance(struct fabric *f)
{
    if (f->timers != NULL)
        timers_advance(f->timers, f->now_ns / 1000, RULE_BATCH);
}

/* When it has left the sender's side; UINT64_MAX: there is no room before the wire. */
static uint64_t depart(struct rule *rule, uint32_t bytes, uint64_t now_ns)
{
    if (rule->rate_bps == 0)
        return now_ns;
    while (rule->departures_head != rule->departures_tail &&
           rule->departures[rule->departures_head % rule->queue_frames] <= now_ns)
        rule->departures_head++;
    uint64_t begin = rule->free_ns > now_ns ? rule->free_ns : now_ns;
    double waiting = (double)(begin - now_ns) * (double)rule->rate_bps / 8e9;
    if (rule->departures_tail - rule->departures_head == rule->queue_frames ||
        (rule->queue_bytes > 0 && waiting + bytes > (double)rule->queue_bytes))
        return UINT64_MAX;
    rule->free_ns = begin + (uint64_t)((double)bytes * 8e9 / (double)rule->rate_bps);
    rule->departures[rule->departures_tail++ % rule->queue_frames] = rule->free_ns;
    return rule->free_ns;
}

/* A bit is wrong. All protocols above IPv4 have a checksum that finds it; in other frames, and in the Ethernet header, it
 * would be the frame check sequence, which an interface drops by: then it is lost. True: it is. */
static bool corrupt(uint8_t *bytes, uint32_t length, unsigned *flags, uint64_t place)
{
    if (length <= WIRE_ETHERNET_BYTES || bytes[12] != 0x08 || bytes[13] != 0x00)
        return true;
    if (*flags & PACKET_UNFINISHED)
        headers_finish(bytes, length);
    *flags = 0;
    place %= (length - WIRE_ETHERNET_BYTES) * 8u;
    bytes[WIRE_ETHERNET_BYTES + place / 8] ^= (uint8_t)(1 << place % 8);
    return false;
}

#define COUNT_BOTH(rule, port, what) ((void)(rule)->counts.what++, CHARGE(port, what))

/* One of the copies of a frame, on its way. */
static void send(struct fabric *f, struct rule *rule, struct port *from, struct port *to, const struct frame *frame,
                 uint64_t key)
{
    uint64_t left = depart(rule, frame->bytes, f->now_ns);
    if (left == UINT64_MAX) {
        COUNT_BOTH(rule, from, drop_queue);
        return;
    }
    bool damaged = chance(key, DRAW_CORRUPT, rule->corrupt), overtaken = chance(key, DRAW_REORDER, rule->reorder);
    uint64_t due = left + rule->delay_ns;
    if (rule->jitter_ns > 0)
        due += draw(key, DRAW_JITTER) % (2 * rule->jitter_ns + 1) - rule->jitter_ns;
    due = due > rule->last_ns ? due : rule->last_ns;
    if (overtaken)
        due += rule->reorder_ns;
    else
        rule->last_ns = due;
    if (due <= f->now_ns && rule->in_order == 0 && !damaged) {
        port_put(f, to, frame);
        return;
    }
    uint32_t block = pool_take(&rule->pool);
    if (block == 0) {
        COUNT_BOTH(rule, from, drop_pool);
        return;
    }
    struct held *held = (struct held *)(void *)pool_block(&rule->pool, block);
    held->timer.expire = arrive;
    held->fabric = f;
    held->rule = rule;
    held->block = block;
    held->generation = to->generation;
    held->to = to->number;
    held->bytes = frame->bytes;
    held->flags = frame->flags;
    held->in_order = !overtaken;
    frame_copy(frame, held->frame);
    rule->in_order += held->in_order;
    if (overtaken)
        COUNT_BOTH(rule, from, reordered);
    if (due > f->now_ns)
        COUNT_BOTH(rule, from, delayed);
    if (damaged)
        COUNT_BOTH(rule, from, corrupted);
    if (damaged && corrupt(held->frame, held->bytes, &held->flags, draw(key, DRAW_PLACE))) {
        rule->in_order -= held->in_order;
        pool_give(&rule->pool, block);
    } else if (due <= f->now_ns && rule->in_order == held->in_order) {
        arrive(f->timers, &held->timer); /* none is before it */
    } else {
        timers_start(f->timers, &held->timer, (due + 999) / 1000);
    }
}

void impair_pass(struct fabric *f, struct rule *rule, struct port *from, struct port *to, const struct frame *frame)
{
    const uint64_t sender = from->uplink ? from->number : (uint64_t)from->ip << 16 | from->low;
    uint64_t number = from->draws[rule - f->rules]++;
    uint64_t key = mix(rule->key ^ mix(sender + 1)) + number * DRAWS * COPIES * 0x9e3779b97f4a7c15;
    rule->counts.frames++;
    rule->counts.bytes += frame->bytes;
    if (chance(key, DRAW_LOSS, rule->loss)) {
        COUNT_BOTH(rule, from, drop_loss);
        return;
    }
    send(f, rule, from, to, frame, key);
    if (chance(key, DRAW_DUPLICATE, rule->duplicate)) {
        COUNT_BOTH(rule, from, duplicated);
        send(f, rule, from, to, frame, key + DRAWS * 0x9e3779b97f4a7c15);
    }
}

uint64_t fabric_next_ns(const struct fabric *f)
{
    uint64_t tick;
    return f->timers != NULL && timers_next(f->timers, &tick) ? tick * 1000 : UINT64_MAX;
}
