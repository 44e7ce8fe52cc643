/* The parts of rawload that need no network: segments, the timing wheel, and the TCP against tables and against a lossy
 * network with a model server at its other end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "raw_segment.h"
#include "raw_tcp.h"
#include "raw_wheel.h"
#include "schedule.h"

static unsigned failures, checks;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        checks++;                                                                                                      \
        if (!(condition)) {                                                                                            \
            failures++;                                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
        }                                                                                                              \
    } while (0)

/* ---- segments ---- */

static const struct raw_path path = {
    .destination_mac = {2, 0, 0, 0, 0, 1},
    .source_mac = {2, 0, 0, 0, 0, 2},
    .destination = 0x0a000001,
    .destination_port = 80,
    .window = 65535,
};

static void test_round_trip(void)
{
    static const char text[] = "GET / HTTP/1.1\r\n\r\n";
    static const uint32_t numbers[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    static const uint8_t flags[] = {RAW_SYN, RAW_ACK, RAW_PSH | RAW_ACK, RAW_FIN | RAW_ACK, RAW_RST};
    for (size_t bytes = 0; bytes < sizeof text; bytes++) {
        struct raw_template t;
        uint16_t mss = bytes % 2 ? 1460 : 0;
        CHECK(raw_template_init(&t, &path, mss, text, bytes) == 0);
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers * sizeof flags; i++) {
            uint32_t seq = numbers[i % 6], ack = numbers[5 - i % 6];
            uint8_t flag = flags[i / 6], frame[RAW_FRAME_BYTES];
            struct raw_segment s;
            size_t length = raw_build(&t, frame, 0x0a80ffff - (uint32_t)i, (uint16_t)(65535 - i), flag, seq, ack);
            CHECK(length == RAW_HEADERS_BYTES + (mss ? 4 : 0) + bytes);
            uint8_t *packet = frame + RAW_ETHERNET_BYTES;
            size_t packet_bytes = length - RAW_ETHERNET_BYTES;
            CHECK(raw_parse(packet, packet_bytes, true, &s));
            CHECK(s.source == 0x0a80ffff - i && s.destination == path.destination);
            CHECK(s.source_port == 65535 - i && s.destination_port == 80);
            CHECK(s.seq == seq && s.ack == ack && s.flags == flag && s.window == 65535);
            CHECK(s.mss == (mss && (flag & RAW_SYN) ? mss : RAW_DEFAULT_MSS));
            CHECK(s.payload_bytes == bytes && memcmp(s.payload, text, bytes) == 0);
            CHECK(!raw_parse(packet, packet_bytes - 1, true, &s)); /* cut off */
            for (size_t k = 0; k < packet_bytes; k++) {            /* every single wrong byte is noticed */
                packet[k] ^= 0x11;
                CHECK(!raw_parse(packet, packet_bytes, true, &s));
                packet[k] ^= 0x11;
            }
        }
    }
    struct raw_template t;
    static uint8_t large[RAW_FRAME_BYTES];
    CHECK(raw_template_init(&t, &path, 0, large, RAW_FRAME_BYTES - RAW_HEADERS_BYTES) == 0);
    CHECK(raw_template_init(&t, &path, 0, large, RAW_FRAME_BYTES - RAW_HEADERS_BYTES + 1) == -1);
}

/* A SYN-ACK with Linux's options, 10.0.0.1:80 to 10.0.0.2:45000; the checksums were computed by a Python program. */
static const uint8_t syn_ack[] = {
    0x45, 0x00, 0x00, 0x3c, 0x00, 0x00, 0x40, 0x00, 0x40, 0x06, 0x26, 0xba, 0x0a, 0x00, 0x00,
    0x01, 0x0a, 0x00, 0x00, 0x02, 0x00, 0x50, 0xaf, 0xc8, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc,
    0xde, 0xf0, 0xa0, 0x12, 0xfe, 0x88, 0x92, 0xde, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4, 0x04,
    0x02, 0x08, 0x0a, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x01, 0x03, 0x03, 0x07,
};

static void test_parse_table(void)
{
    struct raw_segment whole;
    CHECK(raw_parse(syn_ack, sizeof syn_ack, true, &whole));
    CHECK(whole.source == 0x0a000001 && whole.destination_port == 45000 && whole.seq == 0x12345678 &&
          whole.mss == 1460);
    static const struct {
        const char *what;
        int offset; /* this byte is replaced */
        uint8_t value;
        size_t captured;
        bool good;
        uint16_t mss;
    } table[] = {
        {"as it came", 0, 0x45, 60, true, 1460},
        {"padded by the link", 0, 0x45, 64, true, 1460},
        {"version 6", 0, 0x65, 60, false, 0},
        {"header of 16 bytes", 0, 0x44, 60, false, 0},
        {"header longer than the packet", 0, 0x4f, 60, false, 0},
        {"header over the TCP header", 0, 0x4b, 60, false, 0},
        {"total length 0 (BIG TCP)", 3, 0, 60, false, 0},
        {"total length 39", 3, 39, 60, false, 0},
        {"total length beyond the capture", 3, 61, 60, false, 0},
        {"options cut off", 3, 50, 60, false, 0},
        {"UDP", 9, 17, 60, false, 0},
        {"more fragments", 6, 0x20, 60, false, 0},
        {"later fragment", 7, 1, 60, false, 0},
        {"data offset 4", 32, 0x40, 60, false, 0},
        {"data offset 5: options are payload", 32, 0x50, 60, true, RAW_DEFAULT_MSS},
        {"data offset 15", 32, 0xf0, 60, false, 0},
        {"option of length 0", 41, 0, 60, false, 0},
        {"option of length 1", 41, 1, 60, false, 0},
        {"MSS of length 3", 41, 3, 60, false, 0},
        {"option beyond the header", 41, 21, 60, false, 0},
        {"scale option beyond the header", 58, 4, 60, false, 0},
        {"other option to the end", 40, 77, 60, true, RAW_DEFAULT_MSS},
        {"no options after the end mark", 40, 0, 60, true, RAW_DEFAULT_MSS},
        {"kind at the very end", 58, 2, 60, false, 0},
        {"MSS without SYN", 33, RAW_ACK, 60, true, RAW_DEFAULT_MSS},
        {"nothing", 0, 0x45, 0, false, 0},
        {"19 bytes", 0, 0x45, 19, false, 0},
        {"59 bytes", 0, 0x45, 59, false, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint8_t *packet = calloc(1, table[i].captured + 1); /* exactly as long as captured: the sanitizer looks on */
        uint8_t *end = calloc(1, sizeof syn_ack);
        memcpy(end, syn_ack, sizeof syn_ack);
        end[table[i].offset] = table[i].value;
        memcpy(packet, end, table[i].captured < sizeof syn_ack ? table[i].captured : sizeof syn_ack);
        packet = realloc(packet, table[i].captured ? table[i].captured : 1);
        struct raw_segment s;
        bool good = raw_parse(packet, table[i].captured, false, &s);
        CHECK(good == table[i].good);
        if (good != table[i].good)
            fprintf(stderr, "  (%s)\n", table[i].what);
        if (good)
            CHECK(s.mss == table[i].mss);
        free(packet);
        free(end);
    }
}

/* ---- wheel ---- */

enum { WHEEL_IDS = 200 };

static void test_wheel(uint32_t start)
{
    struct raw_wheel w;
    struct random random;
    uint32_t due[WHEEL_IDS], now = start;
    bool set[WHEEL_IDS] = {false};
    random_seed(&random, start, 0);
    CHECK(raw_wheel_init(&w, WHEEL_IDS, start) == 0);
    for (int step = 0; step < 20000; step++) {
        uint64_t bits = random_bits(&random);
        uint32_t id = bits % WHEEL_IDS;
        bits >>= 16;
        if (bits % 4 == 0) {
            raw_wheel_cancel(&w, id);
            set[id] = false;
        } else {
            due[id] = now + (uint32_t)((bits >> 8) % (3 * RAW_WHEEL_SLOTS));
            raw_wheel_set(&w, id, due[id]);
            set[id] = true;
        }
        if (step % 5)
            continue;
        uint32_t idle = raw_wheel_idle(&w, 50), before = w.now;
        now += (uint32_t)((bits >> 40) % 40);
        uint32_t fired;
        while ((fired = raw_wheel_expire(&w, now)) != RAW_WHEEL_NONE) {
            CHECK(fired < WHEEL_IDS && set[fired] && (int32_t)(due[fired] - now) <= 0);
            CHECK((int32_t)(w.now - now) <= 0 && w.now - before >= idle);
            set[fired] = false;
        }
        unsigned pending = 0;
        for (id = 0; id < WHEEL_IDS; id++) {
            pending += set[id];
            /* one set into the past fires a tick later */
            CHECK(!set[id] || (int32_t)(due[id] - now) > 0 || (due[id] == now && w.now == now));
        }
        CHECK(pending == w.pending);
    }
    raw_wheel_free(&w);
    CHECK(raw_wheel_init(&w, 3, start) == 0);
    CHECK(raw_wheel_idle(&w, 100) == RAW_WHEEL_NONE);
    raw_wheel_set(&w, 1, start + 10);
    CHECK(raw_wheel_idle(&w, 100) == 10 && raw_wheel_idle(&w, 5) == 5);
    CHECK(raw_wheel_expire(&w, start + 9) == RAW_WHEEL_NONE && raw_wheel_expire(&w, start + 10) == 1);
    raw_wheel_free(&w);
}

/* ---- TCP, step by step ---- */

enum { ISS = 0xfffffff0, IRS = 0xffffffa0, REQUEST = 100, MSS = 1460 };
enum { TIMER = 1000, COMPLETE = 1001 }; /* instead of flags: a time-out; the last data completed the reply */

struct step {
    int flags;
    uint32_t seq, ack, bytes; /* relative to IRS and ISS */
    struct {
        enum raw_state state;
        enum raw_frame send;
        int flags;
        uint32_t seq, ack; /* relative to ISS and IRS */
        unsigned events;
        uint32_t data_bytes;
        int timer_ms;
    } expect;
};

#define SYN_ACKED                                                                                                      \
    {                                                                                                                  \
        RAW_SYN | RAW_ACK, 0, 1, 0,                                                                                    \
        {                                                                                                              \
            RAW_REQUESTED, RAW_SEND_REQUEST, RAW_PSH | RAW_ACK, 1, 1, RAW_CONNECTED, 0, RAW_RTO_MS                     \
        }                                                                                                              \
    }
#define DONE                                                                                                           \
    {                                                                                                                  \
        0, 0, 0, 0,                                                                                                    \
        {                                                                                                              \
            0, 0, 0, 0, 0, 0, 0, -2                                                                                    \
        }                                                                                                              \
    }

static const struct tcp_case {
    const char *what;
    struct step steps[8];
} tcp_cases[] = {
    {"the shortest way: three segments sent",
     {SYN_ACKED,
      {RAW_ACK, 1, 101, 0, {RAW_REQUESTED, 0, 0, 0, 0, 0, 0, RAW_TIMER_OFF}},
      {RAW_FIN | RAW_ACK,
       1,
       101,
       1000,
       {RAW_LAST_ACK, RAW_SEND_BARE, RAW_FIN | RAW_ACK, 101, 1002, RAW_PEER_CLOSED, 1000, RAW_RTO_MS}},
      {RAW_ACK, 1002, 102, 0, {RAW_FREE, 0, 0, 0, 0, RAW_CLOSED, 0, RAW_TIMER_OFF}},
      DONE}},
    {"FIN in a segment of its own",
     {SYN_ACKED,
      {RAW_ACK, 1, 101, 1000, {RAW_REQUESTED, 0, 0, 0, 0, 0, 1000, RAW_DELAYED_ACK_MS}},
      {COMPLETE, 0, 0, 0, {RAW_REPLIED, 0, 0, 0, 0, 0, 0, RAW_TIMER_KEEP}},
      {RAW_FIN | RAW_ACK,
       1001,
       101,
       0,
       {RAW_LAST_ACK, RAW_SEND_BARE, RAW_FIN | RAW_ACK, 101, 1002, RAW_PEER_CLOSED, 0, RAW_RTO_MS}},
      {TIMER, 0, 0, 0, {RAW_LAST_ACK, RAW_SEND_BARE, RAW_FIN | RAW_ACK, 101, 1002, 0, 0, 2 * RAW_RTO_MS}},
      {RAW_ACK, 1002, 102, 0, {RAW_FREE, 0, 0, 0, 0, RAW_CLOSED, 0, RAW_TIMER_OFF}},
      DONE}},
    {"the server does not close: we do",
     {SYN_ACKED,
      {RAW_ACK, 1, 101, 1000, {RAW_REQUESTED, 0, 0, 0, 0, 0, 1000, RAW_DELAYED_ACK_MS}},
      {COMPLETE, 0, 0, 0, {RAW_REPLIED, 0, 0, 0, 0, 0, 0, RAW_TIMER_KEEP}},
      {TIMER, 0, 0, 0, {RAW_FIN_WAIT, RAW_SEND_BARE, RAW_FIN | RAW_ACK, 101, 1001, 0, 0, RAW_RTO_MS}},
      {RAW_ACK, 1001, 102, 0, {RAW_FIN_WAIT, 0, 0, 0, 0, 0, 0, RAW_TIMER_OFF}},
      {RAW_FIN | RAW_ACK,
       1001,
       102,
       0,
       {RAW_FREE, RAW_SEND_BARE, RAW_ACK, 102, 1002, RAW_PEER_CLOSED | RAW_CLOSED, 0, RAW_TIMER_OFF}},
      DONE}},
    {"both close at once",
     {SYN_ACKED,
      {RAW_ACK, 1, 101, 1000, {RAW_REQUESTED, 0, 0, 0, 0, 0, 1000, RAW_DELAYED_ACK_MS}},
      {COMPLETE, 0, 0, 0, {RAW_REPLIED, 0, 0, 0, 0, 0, 0, RAW_TIMER_KEEP}},
      {TIMER, 0, 0, 0, {RAW_FIN_WAIT, RAW_SEND_BARE, RAW_FIN | RAW_ACK, 101, 1001, 0, 0, RAW_RTO_MS}},
      {RAW_FIN | RAW_ACK,
       1001,
       101,
       0,
       {RAW_LAST_ACK, RAW_SEND_BARE, RAW_FIN | RAW_ACK, 101, 1002, RAW_PEER_CLOSED, 0, RAW_RTO_MS}},
      {RAW_ACK, 1002, 102, 0, {RAW_FREE, 0, 0, 0, 0, RAW_CLOSED, 0, RAW_TIMER_OFF}},
      DONE}},
    {"every second segment is acknowledged, a single one after a while",
     {SYN_ACKED,
      {RAW_ACK, 1, 101, MSS, {RAW_REQUESTED, 0, 0, 0, 0, 0, MSS, RAW_DELAYED_ACK_MS}},
      {RAW_ACK, 1 + MSS, 101, MSS, {RAW_REQUESTED, RAW_SEND_BARE, RAW_ACK, 101, 1 + 2 * MSS, 0, MSS, RAW_TIMER_OFF}},
      {RAW_ACK, 1 + 2 * MSS, 101, MSS, {RAW_REQUESTED, 0, 0, 0, 0, 0, MSS, RAW_DELAYED_ACK_MS}},
      {TIMER, 0, 0, 0, {RAW_REQUESTED, RAW_SEND_BARE, RAW_ACK, 101, 1 + 3 * MSS, 0, 0, RAW_TIMER_OFF}},
      DONE}},
    {"a hole, the missing, an overlap, an old one",
     {SYN_ACKED,
      {RAW_ACK, 1001, 101, 500, {RAW_REQUESTED, RAW_SEND_BARE, RAW_ACK, 101, 1, 0, 0, RAW_TIMER_OFF}},
      {RAW_ACK, 1, 101, 1000, {RAW_REQUESTED, 0, 0, 0, 0, 0, 1000, RAW_DELAYED_ACK_MS}},
      {RAW_ACK, 501, 101, 1000, {RAW_REQUESTED, 0, 0, 0, 0, 0, 500, RAW_TIMER_KEEP}},
      {RAW_ACK, 1, 101, 1000, {RAW_REQUESTED, RAW_SEND_BARE, RAW_ACK, 101, 1501, 0, 0, RAW_TIMER_KEEP}},
      {RAW_FIN | RAW_ACK,
       501,
       101,
       1000,
       {RAW_LAST_ACK, RAW_SEND_BARE, RAW_FIN | RAW_ACK, 101, 1502, RAW_PEER_CLOSED, 0, RAW_RTO_MS}},
      {RAW_FIN | RAW_ACK, 501, 101, 1000, {RAW_LAST_ACK, RAW_SEND_BARE, RAW_ACK, 102, 1502, 0, 0, RAW_TIMER_KEEP}},
      DONE}},
    {"SYN-ACK again: our ACK was refused by a full accept queue; then the request again",
     {SYN_ACKED,
      {RAW_SYN | RAW_ACK, 0, 1, 0, {RAW_REQUESTED, RAW_SEND_BARE, RAW_ACK, 101, 1, 0, 0, RAW_TIMER_KEEP}},
      {TIMER,
       0,
       0,
       0,
       {RAW_REQUESTED, RAW_SEND_REQUEST, RAW_PSH | RAW_ACK, 1, 1, RAW_RESENT_REQUEST, 0, 2 * RAW_RTO_MS}},
      {RAW_ACK, 1, 101, 0, {RAW_REQUESTED, 0, 0, 0, 0, 0, 0, RAW_TIMER_OFF}},
      DONE}},
    {"SYN lost twice",
     {{TIMER, 0, 0, 0, {RAW_SYN_SENT, RAW_SEND_SYN, RAW_SYN, 0, 0, RAW_RESENT_SYN, 0, 2000}},
      {TIMER, 0, 0, 0, {RAW_SYN_SENT, RAW_SEND_SYN, RAW_SYN, 0, 0, RAW_RESENT_SYN, 0, 4000}},
      SYN_ACKED,
      DONE}},
    {"refused", {{RAW_RST | RAW_ACK, 0, 1, 0, {RAW_FREE, 0, 0, 0, 0, RAW_REFUSED, 0, RAW_TIMER_OFF}}, DONE}},
    {"an old incarnation answers the SYN: it is reset, the SYN sent again",
     {{RAW_ACK, 777, 555, 0, {RAW_SYN_SENT, RAW_SEND_BARE, RAW_RST, 555, 0, RAW_STRAY, 0, RAW_TIMER_KEEP}},
      {RAW_RST | RAW_ACK, 777, 555, 0, {RAW_SYN_SENT, 0, 0, 0, 0, RAW_STRAY, 0, RAW_TIMER_KEEP}},
      {RAW_RST, 0, 0, 0, {RAW_SYN_SENT, 0, 0, 0, 0, 0, 0, RAW_TIMER_KEEP}},
      {RAW_SYN, 0, 0, 0, {RAW_SYN_SENT, 0, 0, 0, 0, 0, 0, RAW_TIMER_KEEP}},
      DONE}},
    {"RST: only the exact number is believed",
     {SYN_ACKED,
      {RAW_RST, 2, 0, 0, {RAW_REQUESTED, RAW_SEND_BARE, RAW_ACK, 101, 1, 0, 0, RAW_TIMER_KEEP}},
      {RAW_RST, 0, 0, 0, {RAW_REQUESTED, 0, 0, 0, 0, 0, 0, RAW_TIMER_KEEP}},
      {RAW_RST, 1, 0, 0, {RAW_FREE, 0, 0, 0, 0, RAW_RESET, 0, RAW_TIMER_OFF}},
      DONE}},
    {"an ACK of what was never sent, and a part of the request acknowledged",
     {SYN_ACKED,
      {RAW_ACK, 1, 102, 10, {RAW_REQUESTED, RAW_SEND_BARE, RAW_ACK, 101, 1, 0, 0, RAW_TIMER_KEEP}},
      {RAW_ACK, 1, 51, 0, {RAW_REQUESTED, 0, 0, 0, 0, 0, 0, RAW_TIMER_KEEP}},
      {TIMER,
       0,
       0,
       0,
       {RAW_REQUESTED, RAW_SEND_REQUEST, RAW_PSH | RAW_ACK, 1, 1, RAW_RESENT_REQUEST, 0, 2 * RAW_RTO_MS}},
      DONE}},
    {"close before the reply",
     {SYN_ACKED,
      {RAW_FIN | RAW_ACK,
       1,
       1,
       0,
       {RAW_LAST_ACK, RAW_SEND_BARE, RAW_FIN | RAW_ACK, 101, 2, RAW_PEER_CLOSED, 0, RAW_RTO_MS}},
      DONE}},
};

static void test_tcp_table(void)
{
    static const uint8_t text[2 * MSS];
    const struct raw_profile profile = {.request_bytes = REQUEST, .mss = MSS};
    for (size_t i = 0; i < sizeof tcp_cases / sizeof *tcp_cases; i++) {
        struct raw_tcp c;
        struct raw_action out;
        unsigned before = failures;
        raw_tcp_start(&c, ISS, &out);
        CHECK(out.send == RAW_SEND_SYN && out.flags == RAW_SYN && out.seq == ISS && out.timer_ms == RAW_SYN_RTO_MS);
        const struct step *s = tcp_cases[i].steps;
        for (; s->expect.timer_ms != -2; s++) {
            if (s->flags == TIMER) {
                raw_tcp_timer(&c, &out);
            } else if (s->flags == COMPLETE) {
                memset(&out, 0, sizeof out);
                out.timer_ms = RAW_TIMER_KEEP;
                raw_tcp_reply_complete(&c, &out);
            } else {
                struct raw_segment in = {
                    .seq = IRS + s->seq,
                    .ack = ISS + s->ack,
                    .window = 65535,
                    .mss = MSS,
                    .flags = (uint8_t)s->flags,
                    .payload = text,
                    .payload_bytes = s->bytes,
                };
                raw_tcp_input(&c, &profile, &in, &out);
            }
            CHECK(c.state == s->expect.state);
            CHECK(out.send == s->expect.send);
            if (out.send) {
                CHECK(out.flags == s->expect.flags && out.seq == ISS + s->expect.seq);
                CHECK(out.ack == (out.flags & RAW_ACK ? IRS + s->expect.ack : 0));
            }
            CHECK(out.events == s->expect.events);
            CHECK(out.data_bytes == s->expect.data_bytes);
            CHECK(out.timer_ms == s->expect.timer_ms);
            if (failures != before) {
                fprintf(stderr, "  (%s, step %d)\n", tcp_cases[i].what, (int)(s - tcp_cases[i].steps) + 1);
                break;
            }
        }
    }
}

static void test_tcp_small_window(void)
{
    const struct raw_profile profile = {.request_bytes = REQUEST, .mss = MSS};
    struct raw_tcp c;
    struct raw_action out;
    raw_tcp_start(&c, ISS, &out);
    struct raw_segment in = {.seq = IRS, .ack = ISS + 1, .window = REQUEST - 1, .mss = MSS, .flags = RAW_SYN | RAW_ACK};
    raw_tcp_input(&c, &profile, &in, &out);
    CHECK(out.send == RAW_SEND_BARE && out.flags == RAW_ACK && out.seq == ISS + 1 && out.timer_ms == RAW_RTO_MS);
    raw_tcp_timer(&c, &out);
    CHECK(out.send == RAW_SEND_REQUEST && out.seq == ISS + 1);
}

static void test_tcp_abort_and_strays(void)
{
    const struct raw_profile profile = {.request_bytes = REQUEST, .mss = MSS};
    struct raw_tcp c;
    struct raw_action out;
    raw_tcp_start(&c, ISS, &out);
    raw_tcp_abort(&c, &out);
    CHECK(out.send == RAW_SEND_NOTHING && c.state == RAW_FREE); /* the server knows of nothing */
    struct raw_segment in = {.seq = IRS, .ack = ISS + 1, .window = 65535, .mss = MSS, .flags = RAW_SYN | RAW_ACK};
    raw_tcp_input(&c, &profile, &in, &out); /* or it does, late */
    CHECK(out.send == RAW_SEND_BARE && out.flags == RAW_RST && out.seq == ISS + 1 && out.events == RAW_STRAY);
    raw_tcp_start(&c, ISS, &out);
    raw_tcp_input(&c, &profile, &in, &out);
    raw_tcp_abort(&c, &out);
    CHECK(out.send == RAW_SEND_BARE && out.flags == (RAW_RST | RAW_ACK) && out.seq == ISS + 1 + REQUEST);
    CHECK(out.ack == IRS + 1 && c.state == RAW_FREE);
    in = (struct raw_segment){.seq = 5, .flags = RAW_SYN | RAW_FIN, .payload_bytes = 7};
    raw_tcp_stray(&in, &out);
    CHECK(out.flags == (RAW_RST | RAW_ACK) && out.seq == 0 && out.ack == 14);
    in.flags = RAW_RST;
    raw_tcp_stray(&in, &out);
    CHECK(out.send == RAW_SEND_NOTHING);
}

int main(void)
{
    test_round_trip();
    test_parse_table();
    test_wheel(0);
    test_wheel(UINT32_MAX - 5000); /* the ticks wrap */
    test_tcp_table();
    test_tcp_small_window();
    test_tcp_abort_and_strays();
    printf("raw_test: %u checks, %u failed\n", checks, failures);
    return failures != 0;
}
