/* raw_simulation.c: rawload's TCP against a model server across a network that loses, repeats and reorders segments.
 * Whatever the network does, the whole reply arrives once and in order, the server receives the request once, and both
 * ends forget the connection. */
#include <string.h>

#include "check.h"
#include "raw_tcp.h"
#include "schedule.h"

enum {
    REQUEST = 90,
    MSS = 1460,
    REPLY_MAX = 40 * MSS,
    FLIGHT = 4096, /* segments on the way at most */
    SERVER_RTO_MS = 60,
    END_MS = 4 * 3600 * 1000, /* back-off makes the unlucky slow, never stuck */
};

struct flying {
    uint32_t arrives_ms;
    bool to_server;
    struct raw_segment segment;
};

/* The server's half: sends its reply when it has the request, all not yet acknowledged again after SERVER_RTO_MS. */
struct server {
    enum { LISTENING, SYN_RECEIVED, ESTABLISHED, GONE } state;
    uint32_t iss, irs, rcv_nxt;
    uint32_t acked, sent, reply_bytes; /* of the reply, without SYN and FIN */
    uint32_t retry_ms;
    bool closes, fin_sent, fin_acked, fin_received;
    unsigned requests;
};

struct world {
    struct random random;
    unsigned loss, repeat; /* per cent */
    uint32_t now_ms;
    struct flying flying[FLIGHT];
    unsigned flying_count;
    struct server server;
    struct raw_tcp client;
    uint32_t client_timer_ms; /* 0 = off */
    uint32_t delivered;
    bool complete, closed;
    const uint8_t *reply;
};

static const struct raw_profile profile = {.request_bytes = REQUEST, .mss = MSS};

static bool chance(struct world *w, unsigned per_cent)
{
    return random_bits(&w->random) % 100 < per_cent;
}

static void fly(struct world *w, bool to_server, struct raw_segment segment)
{
    for (unsigned copies = chance(w, w->repeat) ? 2 : 1; copies > 0; copies--) {
        if (chance(w, w->loss))
            continue;
        CHECK(w->flying_count < FLIGHT);
        uint32_t delay = 1 + (uint32_t)(random_bits(&w->random) % 10);
        w->flying[w->flying_count++] = (struct flying){w->now_ms + delay, to_server, segment};
    }
}

static void server_send(struct world *w, uint8_t flags, uint32_t seq, const uint8_t *payload, uint32_t bytes)
{
    fly(w, false,
        (struct raw_segment){.seq = seq,
                             .ack = w->server.rcv_nxt,
                             .window = 65535,
                             .mss = MSS,
                             .flags = flags,
                             .payload = payload,
                             .payload_bytes = bytes});
}

static void server_transmit(struct world *w)
{
    struct server *s = &w->server;
    if (s->state == SYN_RECEIVED)
        server_send(w, RAW_SYN | RAW_ACK, s->iss, w->reply, 0);
    if (s->state == ESTABLISHED && s->requests) {
        for (s->sent = s->acked; s->sent < s->reply_bytes && s->sent - s->acked < 16 * MSS;) {
            uint32_t bytes = 1 + (uint32_t)(random_bits(&w->random) % MSS); /* cut otherwise each time: overlaps */
            if (bytes > s->reply_bytes - s->sent)
                bytes = s->reply_bytes - s->sent;
            server_send(w, RAW_ACK, s->iss + 1 + s->sent, w->reply + s->sent, bytes);
            s->sent += bytes;
        }
        if (s->sent == s->reply_bytes && (s->closes || s->fin_received)) {
            server_send(w, RAW_FIN | RAW_ACK, s->iss + 1 + s->sent, w->reply, 0);
            s->fin_sent = true;
        }
    }
    s->retry_ms = w->now_ms + SERVER_RTO_MS;
}

static void server_input(struct world *w, const struct raw_segment *in)
{
    struct server *s = &w->server;
    if (s->state == GONE) { /* TIME_WAIT: the client's FIN again, our ACK of it was lost (RFC 9293, 3.10.7.4) */
        if (in->flags & RAW_FIN)
            server_send(w, RAW_ACK, s->iss + 2 + s->sent, w->reply, 0);
        return;
    }
    if (in->flags & RAW_SYN) {
        CHECK(s->state == LISTENING || in->seq == s->irs);
        if (s->state == LISTENING) {
            s->irs = in->seq;
            s->rcv_nxt = in->seq + 1;
            s->state = SYN_RECEIVED;
            server_transmit(w);
        }
        return;
    }
    if (in->flags & RAW_RST) { /* the client has forgotten all: only after its last ACK of our FIN was lost */
        CHECK(w->closed && s->fin_received);
        s->state = GONE;
        return;
    }
    CHECK(s->state != LISTENING && (in->flags & RAW_ACK));
    CHECK(in->ack - s->iss <= s->reply_bytes + 2);
    s->state = ESTABLISHED;
    uint32_t acked = in->ack - s->iss - 1;
    if (acked > s->reply_bytes && s->fin_sent)
        s->fin_acked = true;
    if (acked > s->acked)
        s->acked = acked > s->reply_bytes ? s->reply_bytes : acked;
    uint32_t fin_at = in->seq + in->payload_bytes;
    if (in->payload_bytes && in->seq == s->rcv_nxt) {
        CHECK(in->payload_bytes == REQUEST);
        s->rcv_nxt += REQUEST;
        s->requests++;
    }
    bool fin_new = (in->flags & RAW_FIN) && fin_at == s->rcv_nxt && s->requests;
    if (fin_new) {
        s->fin_received = true;
        s->rcv_nxt++;
    }
    if (in->payload_bytes || (in->flags & RAW_FIN))
        server_send(w, RAW_ACK, s->iss + 1 + s->sent + (s->fin_sent ? 1 : 0), w->reply, 0);
    if (in->payload_bytes || fin_new || (acked == s->sent && s->sent < s->reply_bytes))
        server_transmit(w);
    if (s->fin_received && s->fin_acked)
        s->state = GONE;
}

static void client_perform(struct world *w, struct raw_action *out)
{
    if (out->data_bytes) {
        CHECK(w->delivered + out->data_bytes <= w->server.reply_bytes);
        CHECK(memcmp(out->data, w->reply + w->delivered, out->data_bytes) == 0);
        w->delivered += out->data_bytes;
    }
    if (w->delivered == w->server.reply_bytes && !w->complete && w->client.state != RAW_SYN_SENT) {
        w->complete = true;
        raw_tcp_reply_complete(&w->client, out);
    }
    CHECK(!(out->events & (RAW_REFUSED | RAW_RESET)));
    if (out->events & RAW_CLOSED)
        w->closed = true;
    if (w->client.state == RAW_FREE)
        w->client_timer_ms = 0;
    else if (out->timer_ms != RAW_TIMER_KEEP)
        w->client_timer_ms = out->timer_ms == RAW_TIMER_OFF ? 0 : w->now_ms + (uint32_t)out->timer_ms;
    if (out->send != RAW_SEND_NOTHING)
        fly(w, true,
            (struct raw_segment){.seq = out->seq,
                                 .ack = out->ack,
                                 .window = 65535,
                                 .mss = MSS,
                                 .flags = out->flags,
                                 .payload_bytes = out->send == RAW_SEND_REQUEST ? REQUEST : 0});
}

static bool finished(const struct world *w)
{
    return w->client.state == RAW_FREE && w->server.state == GONE;
}

static void simulate(uint64_t seed, const uint8_t *reply)
{
    static struct world world; /* half a megabyte */
    struct world *w = &world;
    struct raw_action out;
    memset(w, 0, sizeof *w);
    random_seed(&w->random, seed, 0);
    w->loss = (unsigned)(seed % 5) * 8;
    w->repeat = (unsigned)(seed % 3) * 10;
    w->reply = reply;
    w->server = (struct server){
        .iss = (uint32_t)random_bits(&w->random),
        .reply_bytes = 1 + (uint32_t)(random_bits(&w->random) % (seed % 2 ? MSS : REPLY_MAX)),
        .closes = seed % 7 != 0,
    };
    w->now_ms = 1;
    raw_tcp_start(&w->client, (uint32_t)random_bits(&w->random), &out);
    client_perform(w, &out);
    for (; !finished(w) && w->now_ms < END_MS; w->now_ms++) {
        for (unsigned i = 0; i < w->flying_count;) {
            struct flying f = w->flying[i];
            if (f.arrives_ms > w->now_ms) {
                i++;
                continue;
            }
            w->flying[i] = w->flying[--w->flying_count];
            if (f.to_server) {
                server_input(w, &f.segment);
            } else {
                raw_tcp_input(&w->client, &profile, &f.segment, &out);
                client_perform(w, &out);
            }
        }
        if (w->client_timer_ms && w->client_timer_ms <= w->now_ms) {
            w->client_timer_ms = 0;
            raw_tcp_timer(&w->client, &out);
            client_perform(w, &out);
        }
        if (w->server.state != LISTENING && w->server.state != GONE && w->server.retry_ms <= w->now_ms)
            server_transmit(w);
    }
    if (!finished(w))
        fprintf(stderr, "seed %llu: client in state %d, server in %d\n", (unsigned long long)seed, w->client.state,
                w->server.state);
    CHECK(finished(w) && w->closed && w->complete);
    CHECK(w->delivered == w->server.reply_bytes && w->server.requests == 1);
}

int main(void)
{
    static uint8_t reply[REPLY_MAX];
    for (size_t i = 0; i < sizeof reply; i++)
        reply[i] = (uint8_t)(i * 7 ^ i >> 8);
    for (uint64_t seed = 0; seed < 3000; seed++)
        simulate(seed, reply);
    return 0;
}
