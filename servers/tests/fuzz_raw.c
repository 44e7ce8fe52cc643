/* fuzz_raw.c: any packet is read without going astray, and no sequence of segments and time-outs brings a connection
 * into a state that could not be.
 *
 * The input is a script of steps of four bytes: what, flags, seq, ack; see step(). In the corpus the flags
 * are P = ACK, Q = ACK FIN, R = ACK SYN, T = ACK RST, X = ACK PSH, and @ is the number that is expected. */
#include "fuzz.h"
#include "raw_segment.h"
#include "raw_tcp.h"

#include <string.h>

enum { REQUEST_BYTES = 100, SEGMENT_BYTES = 1460 };

static const struct raw_profile profile = {.request_bytes = REQUEST_BYTES, .mss = SEGMENT_BYTES};

static void check_segment(const uint8_t *packet, size_t bytes, const struct raw_segment *s)
{
    MUST(s->payload >= packet + 40 && s->payload <= packet + bytes);
    MUST(s->payload_bytes <= (size_t)(packet + bytes - s->payload));
}

static void parse(const uint8_t *data, size_t bytes)
{
    uint8_t *packet = malloc(bytes + 1); /* of exactly the given length, for the sanitizer */
    MUST(packet != NULL);
    packet = realloc(packet, bytes ? bytes : 1);
    memcpy(packet, data, bytes);
    struct raw_segment s;
    for (int verify = 0; verify <= 1; verify++)
        if (raw_parse(packet, bytes, verify, &s))
            check_segment(packet, bytes, &s);
    free(packet);
}

/* A good packet with one to three bytes replaced and perhaps its end cut off. */
static void parse_damaged(const uint8_t *bytes)
{
    static const struct raw_path path = {.destination = 0x0a000001, .destination_port = 80, .window = 1000};
    struct raw_template t;
    uint8_t frame[RAW_FRAME_BYTES];
    MUST(raw_template_init(&t, &path, bytes[0] & 64 ? 1460 : 0, "request of bytes", bytes[3] % 16) == 0);
    size_t length = raw_build(&t, frame, 0x0a000002, 40000, bytes[1] & 31, bytes[2], bytes[3]) - RAW_ETHERNET_BYTES;
    uint8_t *packet = frame + RAW_ETHERNET_BYTES;
    struct raw_segment s;
    MUST(raw_parse(packet, length, true, &s));
    uint32_t pattern = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    for (unsigned i = 0; i <= bytes[2] % 3u; i++) {
        pattern = pattern * 1664525u + 1013904223u;
        packet[(pattern >> 16) % length] = (uint8_t)(pattern >> 24);
    }
    parse(packet, length - (bytes[1] & 32 ? (pattern >> 8) % length : 0));
}

static void check_action(const struct raw_tcp *c, const struct raw_action *out)
{
    MUST(c->state <= RAW_FIN_WAIT && out->send <= RAW_SEND_REQUEST);
    MUST(out->timer_ms >= RAW_TIMER_KEEP && out->timer_ms <= 64000);
    MUST(c->snd_nxt - c->snd_una <= REQUEST_BYTES + 1u);
    if (out->events & (RAW_REFUSED | RAW_RESET | RAW_CLOSED))
        MUST(c->state == RAW_FREE && out->timer_ms == RAW_TIMER_OFF);
    if (out->send == RAW_SEND_REQUEST)
        MUST(c->state == RAW_REQUESTED && out->flags == (RAW_PSH | RAW_ACK));
    if (out->send != RAW_SEND_NOTHING && !(out->flags & RAW_RST)) {
        MUST(out->seq - (c->snd_nxt - REQUEST_BYTES - 2) <= REQUEST_BYTES + 2u);
        MUST(out->ack == (out->flags & RAW_ACK ? c->rcv_nxt : 0));
    }
}

static void step(struct raw_tcp *c, const uint8_t *bytes)
{
    static const uint8_t text[SEGMENT_BYTES];
    struct raw_action out;
    struct raw_tcp before = *c;
    switch (bytes[0] & 7) {
    case 1: /* a */
        raw_tcp_timer(c, &out);
        break;
    case 2: /* b */
        memset(&out, 0, sizeof out);
        out.timer_ms = RAW_TIMER_KEEP;
        raw_tcp_reply_complete(c, &out);
        break;
    case 3: /* c */
        raw_tcp_abort(c, &out);
        MUST(c->state == RAW_FREE);
        check_action(c, &out);
        raw_tcp_start(c, (uint32_t)bytes[1] << 24 | bytes[2], &out);
        break;
    case 7: /* g */
        parse_damaged(bytes);
        return;
    default: { /* d, e, f: without, with some, with most payload */
        struct raw_segment in = {
            .seq = c->rcv_nxt + (uint32_t)(bytes[2] - '@') * (bytes[1] & 128 ? 0x1000003u : 1),
            .ack = c->snd_nxt + (uint32_t)(bytes[3] - '@') * (bytes[1] & 32 ? 0x1000003u : 1),
            .window = bytes[1] & 64 ? 65535 : 10,
            .mss = SEGMENT_BYTES,
            .flags = bytes[1] & 31,
            .payload = text,
            .payload_bytes = (bytes[0] & 7) == 5   ? 100
                             : (bytes[0] & 7) == 6 ? SEGMENT_BYTES
                                                   : 0,
        };
        raw_tcp_input(c, &profile, &in, &out);
        MUST(out.data_bytes <= in.payload_bytes);
        if (out.data_bytes) {
            MUST(out.data >= text && out.data + out.data_bytes <= text + in.payload_bytes);
            MUST(in.seq + (uint32_t)(out.data - text) == before.rcv_nxt); /* in order, nothing twice */
        }
        if (before.state != RAW_SYN_SENT)
            MUST(c->rcv_nxt == before.rcv_nxt + out.data_bytes + !!(out.events & RAW_PEER_CLOSED));
    }
    }
    check_action(c, &out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct raw_tcp c;
    struct raw_action out;
    parse(data, bytes);
    raw_tcp_start(&c, bytes ? 0u - data[0] : 0, &out);
    check_action(&c, &out);
    for (; bytes >= 4; data += 4, bytes -= 4)
        step(&c, data);
    return 0;
}
