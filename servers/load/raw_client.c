#include "raw_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime.h"

#define TICK_NS 1000000u

static uint32_t tick_of(const struct raw_client *c, uint64_t now_ns)
{
    return (uint32_t)((now_ns - c->epoch_ns) / TICK_NS);
}

static void *map_table(size_t bytes) { /* zeroed, and no memory until touched */
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

int raw_client_init(struct raw_client *c, const struct raw_options *options, const struct manifest_file *file,
                    struct raw_ring *ring, struct report *report, uint64_t now_ns, char *error, size_t error_bytes)
{
    memset(c, 0, sizeof *c);
    c->options = *options;
    c->file = file;
    c->ring = ring;
    c->report = report;
    c->epoch_ns = now_ns;
    c->address_bits = 32 - options->net_bits;
    if (c->address_bits > RAW_ADDRESSES_BITS_MAX)
        c->address_bits = RAW_ADDRESSES_BITS_MAX;
    c->serial_mask = (RAW_PORTS_LOW << c->address_bits) - 1;
    /* As initial sequence numbers do (RFC 9293, 3.4.1), the tuples start where the clock is, so that a run does not meet
     * the TIME_WAIT of the run before: 244,140 a second. */
    c->serial = (uint32_t)(now_ns >> 12) & c->serial_mask;

    double most_open = options->rate_per_s * ((double)options->timeout_ms * 1e-3 + .25) * 1.25 + 1024;
    unsigned bits = 12;
    while (bits < RAW_SLOTS_BITS_MAX && (double)(1u << bits) < most_open && (1u << bits) <= c->serial_mask >> 1)
        bits++;
    c->slots = 1u << bits;
    c->connections = map_table(c->slots * sizeof *c->connections);
    c->replies = map_table(c->slots * sizeof *c->replies);
    if (!c->connections || !c->replies || raw_wheel_init(&c->wheel, c->slots, 0)) {
        snprintf(error, error_bytes, "connection table of %u slots: %s", c->slots, strerror(errno));
        raw_client_free(c);
        return -1;
    }
    struct raw_path path = {
        .destination = options->server,
        .destination_port = options->server_port,
        .window = RAW_WINDOW,
    };
    memcpy(path.destination_mac, options->next_hop, 6);
    memcpy(path.source_mac, options->own_mac, 6);
    size_t request_bytes = file->request_bytes[REQUEST_CLOSE];
    c->profile = (struct raw_profile){.request_bytes = (uint16_t)request_bytes, .mss = RAW_MSS};
    if (raw_template_init(&c->syn, &path, RAW_MSS, NULL, 0) || raw_template_init(&c->bare, &path, 0, NULL, 0) ||
        raw_template_init(&c->request, &path, 0, file->request[REQUEST_CLOSE], request_bytes)) {
        snprintf(error, error_bytes, "the request of %zu bytes does not fit one packet: give a shorter path",
                 request_bytes);
        raw_client_free(c);
        return -1;
    }
    return 0;
}

void raw_client_free(struct raw_client *c)
{
    if (c->connections)
        munmap(c->connections, c->slots * sizeof *c->connections);
    if (c->replies)
        munmap(c->replies, c->slots * sizeof *c->replies);
    c->connections = NULL;
    c->replies = NULL;
    raw_wheel_free(&c->wheel);
}

static void send_segment(struct raw_client *c, uint32_t source, uint16_t port, const struct raw_action *action)
{
    const struct raw_template *t;
    switch (action->send) {
    case RAW_SEND_SYN:
        t = &c->syn;
        break;
    case RAW_SEND_BARE:
        t = &c->bare;
        break;
    case RAW_SEND_REQUEST:
        t = &c->request;
        break;
    default:
        return;
    }
    raw_ring_queue(c->ring, raw_build(t, raw_ring_room(c->ring), source, port, action->flags, action->seq, action->ack));
}

static void perform(struct raw_client *c, uint32_t slot, const struct raw_action *action)
{
    struct raw_connection *connection = &c->connections[slot];
    uint32_t address = c->options.net + (connection->serial & ((1u << c->address_bits) - 1));
    uint16_t port = (uint16_t)(RAW_PORTS_LOW + (connection->serial >> c->address_bits));
    if (c->options.separate_ack && (action->events & RAW_CONNECTED) && action->send == RAW_SEND_REQUEST) {
        struct raw_action alone = *action;
        alone.send = RAW_SEND_BARE;
        alone.flags = RAW_ACK;
        send_segment(c, address, port, &alone);
    }
    send_segment(c, address, port, action);
    if (connection->tcp.state == RAW_FREE) {
        raw_wheel_cancel(&c->wheel, slot);
        c->open--;
    } else if (action->timer_ms != RAW_TIMER_KEEP) {
        uint32_t due = connection->deadline;
        if (action->timer_ms != RAW_TIMER_OFF) {
            uint32_t wish = c->wheel.now + 1 + (uint32_t)action->timer_ms;
            if ((int32_t)(wish - due) < 0)
                due = wish;
        }
        raw_wheel_set(&c->wheel, slot, due);
    }
}

bool raw_client_start(struct raw_client *c, uint64_t intended_ns, uint64_t now_ns)
{
    struct report *r = c->report;
    uint32_t slot = c->serial & (c->slots - 1);
    struct raw_connection *connection = &c->connections[slot];
    if (report_in_window(r, intended_ns))
        r->starts_scheduled++;
    if (connection->tcp.state != RAW_FREE) { /* never by design; the start then counts as not issued */
        if (report_in_window(r, now_ns))
            c->table_full++;
        c->serial = (c->serial + 1) & c->serial_mask;
        return false;
    }
    connection->serial = c->serial;
    c->serial = (c->serial + 1) & c->serial_mask;
    connection->settled = connection->partial = false;
    connection->intended_ns = intended_ns;
    connection->started_ns = now_ns;
    connection->deadline = tick_of(c, now_ns) + 1 + (uint32_t)c->options.timeout_ms;
    c->open++;
    struct raw_action action;
    raw_tcp_start(&connection->tcp, (uint32_t)(now_ns / 4000), &action); /* a 4 us clock: RFC 9293, 3.4.1 */
    perform(c, slot, &action);
    if (report_in_window(r, now_ns)) {
        r->connections_attempted++;
        report_at(r, now_ns)->attempted++;
    }
    c->begun[c->begun_count++] = intended_ns;
    return true;
}

void raw_client_flush(struct raw_client *c)
{
    if (c->ring->queued)
        raw_ring_flush(c->ring);
    if (!c->begun_count)
        return;
    uint64_t now_ns = monotonic_ns();
    for (unsigned i = 0; i < c->begun_count; i++) {
        if (!report_in_window(c->report, c->begun[i]))
            continue;
        histogram_record(&c->report->lag, now_ns - c->begun[i]);
        if (report_in_window(c->report, now_ns))
            c->report->starts_issued++;
    }
    c->begun_count = 0;
}

/* The reply is complete (or will never be): compare it with what the manifest says, and count. */
static void settle(struct raw_client *c, struct raw_connection *connection, const struct reply *reply,
                   uint64_t now_ns)
{
    struct report *r = c->report;
    connection->settled = true;
    if (!report_in_window(r, now_ns))
        return;
    if (reply->state != REPLY_COMPLETE) {
        if (reply->state == REPLY_MALFORMED)
            r->connections_failed_other++;
        else
            r->connections_reset++;
        return;
    }
    r->replies++;
    r->connections_completed++;
    report_at(r, now_ns)->replies++;
    if (reply->status != 200) {
        r->replies_not_200++;
    } else {
        if (reply->body_bytes != c->file->bytes)
            r->lengths_mismatched++;
        if (reply->verify) {
            r->bodies_verified++;
            r->bodies_mismatched += reply->crc32 != c->file->crc32;
        }
    }
    if (report_in_window(r, connection->intended_ns))
        histogram_record(&r->latency, now_ns - connection->intended_ns);
    histogram_record(&r->latency_httperf, now_ns - connection->started_ns);
}

/* New bytes of the reply, and perhaps its end by the server's FIN. */
static void read_reply(struct raw_client *c, uint32_t slot, struct raw_action *action, uint64_t now_ns)
{
    struct raw_connection *connection = &c->connections[slot];
    if (report_in_window(c->report, now_ns))
        c->report->bytes_received += action->data_bytes;
    if (connection->settled)
        return; /* more than the reply: the connection is only to be closed */
    struct reply *reply = &c->scratch;
    if (connection->partial)
        reply = &c->replies[slot];
    else
        reply_begin(reply, c->options.verify_every && c->replies_seen++ % c->options.verify_every == 0);
    reply_feed(reply, (const char *)action->data, action->data_bytes);
    if (action->events & RAW_PEER_CLOSED)
        reply_end(reply);
    if (reply->state >= REPLY_COMPLETE || (action->events & RAW_PEER_CLOSED)) {
        settle(c, connection, reply, now_ns);
        raw_tcp_reply_complete(&connection->tcp, action);
    } else if (!connection->partial) {
        c->replies[slot] = *reply;
        connection->partial = true;
    }
}

static void count_events(struct raw_client *c, struct raw_connection *connection, unsigned events, uint64_t now_ns)
{
    struct report *r = c->report;
    bool first = !connection->settled;
    if (events & (RAW_REFUSED | RAW_RESET))
        connection->settled = true;
    if (!report_in_window(r, now_ns))
        return;
    if (events & RAW_CONNECTED) {
        r->connections_opened++;
        r->requests_sent++;
        histogram_record(&r->connect, now_ns - connection->started_ns);
    }
    if (first) {
        r->connections_refused += !!(events & RAW_REFUSED);
        r->connections_reset += !!(events & RAW_RESET);
    }
    c->retransmitted_syn += !!(events & RAW_RESENT_SYN);
    c->retransmitted_request += !!(events & RAW_RESENT_REQUEST);
    c->foreign += !!(events & RAW_STRAY);
}

static void input(struct raw_client *c, const struct raw_packet *packet, uint64_t now_ns)
{
    struct raw_segment segment;
    struct raw_action action;
    uint32_t offset;
    if (packet->captured < packet->length ||
        !raw_parse(packet->ip, packet->captured, !packet->checksum_known, &segment)) {
        c->malformed += report_in_window(c->report, now_ns);
        return;
    }
    if (segment.source != c->options.server || segment.source_port != c->options.server_port)
        return; /* the filter lets none through */
    offset = segment.destination - c->options.net;
    if (segment.destination_port >= RAW_PORTS_LOW && offset < 1u << c->address_bits) {
        uint32_t serial = (uint32_t)(segment.destination_port - RAW_PORTS_LOW) << c->address_bits | offset;
        uint32_t slot = serial & (c->slots - 1);
        struct raw_connection *connection = &c->connections[slot];
        if (connection->tcp.state != RAW_FREE && connection->serial == serial) {
            raw_tcp_input(&connection->tcp, &c->profile, &segment, &action);
            if (action.events)
                count_events(c, connection, action.events, now_ns);
            if (action.data_bytes || (action.events & RAW_PEER_CLOSED))
                read_reply(c, slot, &action, now_ns);
            perform(c, slot, &action);
            return;
        }
    }
    c->foreign += report_in_window(c->report, now_ns);
    raw_tcp_stray(&segment, &action);
    send_segment(c, segment.destination, segment.destination_port, &action);
}

unsigned raw_client_receive(struct raw_client *c, uint64_t now_ns)
{
    struct raw_packet packet;
    unsigned n = 0;
    for (; n < RAW_INPUT_BATCH && raw_ring_peek(c->ring, &packet); n++) {
        input(c, &packet, now_ns);
        raw_ring_release(c->ring);
    }
    return n;
}

unsigned raw_client_expire(struct raw_client *c, uint64_t now_ns)
{
    struct report *r = c->report;
    uint32_t now = tick_of(c, now_ns), slot;
    unsigned n = 0;
    for (; n < RAW_START_BATCH && (slot = raw_wheel_expire(&c->wheel, now)) != RAW_WHEEL_NONE; n++) {
        struct raw_connection *connection = &c->connections[slot];
        struct raw_action action;
        if ((int32_t)(now - connection->deadline) < 0) {
            raw_tcp_timer(&connection->tcp, &action);
        } else {
            if (!connection->settled && report_in_window(r, now_ns)) {
                r->connections_timed_out++;
                r->replies_timed_out++;
                report_at(r, now_ns)->timed_out++;
                if (report_in_window(r, connection->intended_ns))
                    histogram_censor(&r->latency, now_ns - connection->intended_ns);
            }
            connection->settled = true;
            raw_tcp_abort(&connection->tcp, &action);
        }
        if (action.events)
            count_events(c, connection, action.events, now_ns);
        perform(c, slot, &action);
    }
    return n;
}

void raw_client_censor(struct raw_client *c, uint64_t end_ns)
{
    for (uint32_t slot = 0; slot < c->slots; slot++) {
        struct raw_connection *connection = &c->connections[slot];
        if (connection->tcp.state != RAW_FREE && !connection->settled &&
            report_in_window(c->report, connection->intended_ns))
            histogram_in_flight(&c->report->latency, end_ns - connection->intended_ns);
    }
}

unsigned raw_client_abort(struct raw_client *c, uint32_t *cursor, unsigned most)
{
    unsigned n = 0;
    for (; *cursor < c->slots && n < most; ++*cursor) {
        struct raw_action action;
        if (c->connections[*cursor].tcp.state == RAW_FREE)
            continue;
        raw_tcp_abort(&c->connections[*cursor].tcp, &action);
        perform(c, *cursor, &action);
        n += action.send != RAW_SEND_NOTHING;
    }
    return n;
}

uint64_t raw_client_next_ns(const struct raw_client *c, uint64_t now_ns)
{
    uint32_t idle = raw_wheel_idle(&c->wheel, 100);
    if (idle == RAW_WHEEL_NONE)
        return now_ns + UINT64_C(100000000);
    return c->epoch_ns + (uint64_t)(c->wheel.now + idle) * TICK_NS;
}
