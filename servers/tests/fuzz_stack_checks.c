#include "fuzz_stack_checks.h"

/* What is on its way, in runs without gaps, and their sums. */
static void flight_must_be_sound(const struct connection *c)
{
    uint32_t at = c->snd_una, sacked = 0, lost = 0, runs = 0;
    const struct tcp_sent *last = NULL;
    for (const struct tcp_sent *run = c->flight.first; run != NULL; last = run, run = run->next) {
        MUST(run->left == at && seq_before(run->left, run->right) && !(run->sacked && run->lost));
        at = run->right;
        sacked += run->sacked ? run->right - run->left : 0;
        lost += run->lost ? run->right - run->left : 0;
        runs++;
    }
    MUST(last == c->flight.last && runs == c->flight.runs);
    MUST(sacked == c->flight.sacked && lost == c->flight.lost);
    MUST(runs == 0 || at == c->snd_nxt);
}

static void connection_must_be_sound(const struct connection *c)
{
    MUST(c->send.length <= c->send.limit && c->receive.length <= c->receive.limit);
    MUST(c->hole_count <= TCP_HOLES);
    MUST(c->challenges <= c->stack->limits.challenges_per_s);
    if (c->state == TCP_CLOSED)
        return;
    MUST(c->hashed && c->state != TCP_LISTEN && tcp_find(c->stack, &c->tuple) == c);
    MUST(seq_upto(c->snd_una, c->snd_nxt) && seq_upto(c->snd_nxt, c->snd_max));
    if (c->state < TCP_ESTABLISHED)
        return;
    MUST(seq_upto(c->snd_max, fin_seq(c) + c->fin_queued) || c->state == TCP_TIME_WAIT);
    MUST(c->cc.cwnd >= c->mss && c->mss >= TCP_MIN_MSS - 12);
    flight_must_be_sound(c);
    for (unsigned i = 0; i < c->hole_count; i++) {
        MUST(seq_before(c->rcv_nxt, c->holes[i].left) && seq_before(c->holes[i].left, c->holes[i].right));
        MUST(c->receive.length + (c->holes[i].right - c->rcv_nxt) <= c->receive.slot_count * STACK_CHUNK_BYTES);
    }
    /* Data that may not be acknowledged must not be forgotten: somebody will wake. */
    bool outstanding = c->snd_una != c->snd_max;
    MUST(!outstanding || c->state == TCP_TIME_WAIT || timer_pending(&c->retransmit) || c->blocked);
}

static void pool_must_be_whole(const struct pool *pool)
{
    uint32_t free_blocks = 0;
    for (uint32_t block = pool->free; block != 0; block = pool->next[block - 1])
        MUST(block <= pool->touched && ++free_blocks <= pool->touched);
    MUST(pool->touched <= pool->count && pool->used + free_blocks == pool->touched);
}

static void tcp_must_be_sound(const struct stack *stack, uint32_t *timers)
{
    const struct tcp_layer *layer = stack->tcp;
    uint32_t used = 0, chunks = 0, runs = 0, half_open = 0, waiting = 0, time_waits = 0, owing = 0;
    for (uint32_t i = 0; i < stack->limits.connections; i++) {
        const struct connection *c = &layer->connections[i];
        if (c->socket.kind != SOCKET_CONNECTION)
            continue;
        used++;
        half_open += c->listener != NULL && c->state == TCP_SYN_RECEIVED;
        waiting += c->listener != NULL && c->state != TCP_SYN_RECEIVED;
        time_waits += c->state == TCP_TIME_WAIT && c->in_link && c->listener == NULL;
        owing += c->owing;
        connection_must_be_sound(c);
        for (uint32_t s = 0; s < c->send.slot_count; s++)
            chunks += c->send.slots[s] != 0;
        for (uint32_t s = 0; s < c->receive.slot_count; s++)
            chunks += c->receive.slots[s] != 0;
        runs += c->flight.runs - c->flight.own_used;
        *timers += timer_pending(&c->retransmit) + timer_pending(&c->delayed_ack) + timer_pending(&c->slow) +
                   timer_pending(&c->loss);
    }
    MUST(used == layer->used && chunks == layer->chunks.used && runs == layer->runs.used);
    for (const struct connection *c = layer->owing; c != NULL; c = c->owing_next, owing--)
        MUST(c->owing && c->socket.kind == SOCKET_CONNECTION && owing > 0);
    MUST(owing == 0);
    MUST(time_waits == layer->time_waits && time_waits <= stack->limits.time_waits);
    for (uint32_t i = 0; i < stack->limits.listeners; i++) {
        const struct tcp_listener *l = &layer->listeners[i];
        if (l->socket.kind == SOCKET_FREE)
            continue;
        MUST(l->half_open <= stack->limits.syn_queue && l->waiting_count <= l->backlog);
        half_open -= l->half_open;
        waiting -= l->waiting_count;
    }
    MUST(half_open == 0 && waiting == 0);
    pool_must_be_whole(&layer->chunks);
    pool_must_be_whole(&layer->runs);
}

static void below_tcp_must_be_sound(const struct stack *stack, uint32_t *timers)
{
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < stack->limits.arp_entries; i++) {
        const struct neighbour *n = &stack->neighbours[i];
        waiting += n->state == ARP_FREE ? 0 : n->waiting_count;
        *timers += timer_pending(&n->timer);
        MUST(n->state == ARP_FREE || n->waiting_count <= stack->limits.arp_queue);
    }
    MUST(waiting == stack->packets.used);
    pool_must_be_whole(&stack->packets);
    for (uint32_t i = 0; i < stack->limits.datagrams; i++) {
        const struct datagram *d = &stack->datagrams[i];
        *timers += timer_pending(&d->timer);
        MUST(!d->used || (d->piece_count > 0 && d->piece_count <= DATAGRAM_PIECES));
        for (unsigned k = 0; d->used && k < d->piece_count; k++) {
            MUST(d->pieces[k].left < d->pieces[k].right && d->pieces[k].right <= stack->limits.datagram_bytes);
            MUST(k == 0 || d->pieces[k - 1].right < d->pieces[k].left);
        }
    }
    for (uint32_t i = 0; i < stack->limits.udp_sockets; i++)
        MUST(stack->udp[i].length <= stack->limits.udp_queue_bytes && stack->udp[i].begin < stack->limits.udp_queue_bytes);
}

/* Received = delivered + dropped by cause, at each protocol's door. */
static void ledger_must_close(const struct stack_counters *c)
{
    const struct stack_drops *d = &c->drops;
    MUST(c->frames_received ==
         d->ethernet_short + d->ethernet_address + d->ethernet_type + c->arp_received + c->ip_received);
    MUST(c->ip_received + c->datagrams_reassembled ==
         d->ip_malformed + d->ip_checksum + d->ip_address + c->fragments_received + d->ip_protocol + c->icmp_received +
             d->udp_malformed + d->udp_checksum + d->udp_port + d->udp_queue_full + c->udp_received + d->tcp_malformed +
             d->tcp_checksum + c->tcp_received);
}

void stack_must_be_sound(const struct stack *stack)
{
    uint32_t timers = 0;
    tcp_must_be_sound(stack, &timers);
    below_tcp_must_be_sound(stack, &timers);
    MUST(timers == stack_usage(stack).timers);
    ledger_must_close(&stack->counters);
}

void stack_must_be_empty(const struct stack *stack)
{
    struct stack_usage usage = stack_usage(stack);
    MUST(usage.connections == 0 && usage.chunks == 0 && usage.packets == 0 && usage.datagrams == 0 && usage.timers == 0);
}

void sent_frame_must_be_right(const uint8_t *frame, uint32_t bytes)
{
    const uint8_t *ip = frame + WIRE_ETHERNET_BYTES, *tcp = ip + IPV4_BYTES;
    MUST(bytes > WIRE_ETHERNET_BYTES && bytes <= WIRE_ETHERNET_BYTES + 1500);
    if (get16(frame + 12) != ETHERNET_IPV4)
        return;
    MUST(get16(ip + IPV4_LENGTH) == bytes - WIRE_ETHERNET_BYTES && fold_sum(sum_bytes(ip, IPV4_BYTES)) == 0);
    if (ip[IPV4_PROTOCOL] != PROTOCOL_TCP)
        return;
    uint32_t length = bytes - WIRE_ETHERNET_BYTES - IPV4_BYTES, header = (tcp[TCP_OFFSET] >> 4) * 4u;
    MUST(length >= TCP_BYTES && header >= TCP_BYTES && header <= length);
    MUST(fold_sum(sum_bytes(tcp, length) + sum_pseudo(ip + IPV4_SOURCE, PROTOCOL_TCP, length)) == 0);
    MUST(length == header || !(tcp[TCP_FLAGS] & (TCP_SYN | TCP_RST)));
    for (uint32_t i = header; i < length; i++)
        MUST(tcp[i] == text_at(get32(tcp + TCP_SEQ) + i - header));
}

bool fill_text(uint8_t *frame, uint32_t bytes)
{
    uint8_t *ip = frame + WIRE_ETHERNET_BYTES;
    if (bytes < WIRE_ETHERNET_BYTES + IPV4_BYTES || ip[IPV4_PROTOCOL] != PROTOCOL_TCP)
        return true;
    uint32_t header = (ip[0] & 15) * 4u, end = bytes - WIRE_ETHERNET_BYTES;
    if (get16(ip + IPV4_FRAGMENT) & 0x3fff)
        return false;
    if (header < IPV4_BYTES || end < header + TCP_BYTES)
        return true;
    uint8_t *tcp = ip + header;
    uint32_t seq = get32(tcp + TCP_SEQ) + !!(tcp[TCP_FLAGS] & TCP_SYN);
    for (uint32_t i = (tcp[TCP_OFFSET] >> 4) * 4u; i >= TCP_BYTES && header + i < end; i++)
        tcp[i] = text_at(seq++);
    return true;
}

uint32_t unread_seq(const struct connection *c) { return c->rcv_nxt - c->fin_received - c->receive.length; }

struct stack *open_small_stack(const struct wire *wire, bool reno, uint64_t now)
{
    struct stack_limits limits = stack_default_limits();
    limits.connections = 6;
    limits.time_waits = 2;
    limits.syn_queue = 3;
    limits.listeners = 1;
    limits.chunks = 12;
    limits.runs = 8;
    limits.send_bytes = 8192;
    limits.receive_bytes = 4096;
    limits.packets = 8;
    limits.arp_entries = limits.paths = 8;
    limits.datagrams = 2;
    limits.datagram_bytes = 2048;
    limits.udp_sockets = 1;
    limits.udp_queue_bytes = 512;
    limits.congestion = reno ? "reno" : "cubic";
    limits.keepalive_idle_ms = 500;
    limits.keepalive_interval_ms = 100;
    limits.timers = "list"; /* the smallest to open */
    struct stack_address address = {.ip = FUZZ_OWN, .netmask = 0xffffff00};
    struct stack *stack = stack_open(&limits, wire, &address, now);
    MUST(stack != NULL);
    static const uint8_t question[] = {0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1};
    uint8_t frame[WIRE_ETHERNET_BYTES + IPV4_BYTES + sizeof question];
    write_ip_header(frame, 0, 0);
    put16(frame + 12, ETHERNET_ARP);
    memcpy(frame + WIRE_ETHERNET_BYTES, question, sizeof question);
    stack_input(stack, frame, WIRE_ETHERNET_BYTES + sizeof question, 0);
    return stack;
}

uint32_t write_ip_header(uint8_t *frame, uint8_t protocol, uint32_t bytes)
{
    static const uint8_t start[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64};
    memset(frame, 0, WIRE_ETHERNET_BYTES + IPV4_BYTES);
    memcpy(frame, start, sizeof start);
    uint8_t *ip = frame + WIRE_ETHERNET_BYTES;
    put16(ip + IPV4_LENGTH, IPV4_BYTES + bytes);
    ip[IPV4_PROTOCOL] = protocol;
    put32(ip + IPV4_SOURCE, FUZZ_PEER);
    put32(ip + IPV4_DESTINATION, FUZZ_OWN);
    return WIRE_ETHERNET_BYTES + IPV4_BYTES;
}
