/* rawload: an open-loop client of hand-made TCP segments, one request a connection.
 *
 * Overload of a one-CPU server must come from a client that is several times cheaper than it, or the generator saturates
 * first and the trial is worthless. Kernel sockets cost both ends about the same; here a connection is 60 bytes of state
 * and three small frames. Its addresses (--source-net) belong to nobody on this end, so the kernel, being no router,
 * drops the server's segments unanswered, and only the ring sees them. It drops them sooner, before looking for a route
 * (ip_rcv_core(), PACKET_OTHERHOST), if the server sends them to a link-layer address that is nobody's either.
 *
 * The loop: take what arrived, fire what is due, begin what is due, send all of it in one call. If nothing is due within
 * SPIN_NS it sleeps, else it looks again at once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "manifest.h"
#include "raw_client.h"
#include "raw_ring.h"
#include "runtime.h"
#include "schedule.h"
#include "transport.h"

enum {
    SPIN_NS = 50000,          /* a sleep's end is late by up to this much: what is due sooner is waited for awake */
    IDLE_TURN_NS = 1000,      /* a turn without work that lasts longer was interrupted by the kernel's work for us */
    GRACE_NS = 100000000,     /* after the window: time for replies under way, before the rest is aborted */
    ABORT_PACE_NS = 500000,   /* RSTs in small groups: more than net.core.netdev_max_backlog at once would be lost */
    ABORT_GROUP = 64,
    QUIET_NS = 20000000,      /* the end: nothing has arrived for so long */
};

struct settings {
    struct sockaddr_in server;
    const char *interface;
    enum arrivals arrivals;
    double warmup_s, duration_s;
    uint64_t seed, cpu;
};

enum phase { WARM_UP, MEASURE, GRACE, ABORT, FINISHED };

struct run {
    struct raw_client *client;
    struct raw_ring *ring;
    struct report *report;
    struct schedule schedule;
    enum phase phase;
    uint64_t phase_ends_ns, last_input_ns;
    uint64_t spun_ns;                /* in turns without work, in the window */
    double cpu_before_s;
    uint64_t rx_drops, tx_drops; /* in the window */
    uint32_t cursor;
};

static void end_window(struct run *run, uint64_t now_ns)
{
    struct report *report = run->report;
    if (now_ns < report->end_ns)
        report->end_ns = now_ns > report->begin_ns ? now_ns : report->begin_ns;
    raw_client_censor(run->client, report->end_ns);
    while (run->schedule.next_ns < report->end_ns) { /* scheduled, and not even begun */
        report->starts_scheduled += report_in_window(report, run->schedule.next_ns);
        schedule_take(&run->schedule);
    }
    run->rx_drops = raw_ring_drops(run->ring);
    run->tx_drops = run->ring->tx_drops - run->tx_drops;
    /* Waiting awake is no work: without it, cpu_share says how near this client is to its limit. */
    report->cpu_s = runtime_cpu_s() - run->cpu_before_s - (double)run->spun_ns * 1e-9;
    if (report->cpu_s < 0)
        report->cpu_s = 0;
}

static void advance_phase(struct run *run, uint64_t now_ns)
{
    if (runtime_stop && run->phase < GRACE)
        run->phase_ends_ns = now_ns;
    if (now_ns < run->phase_ends_ns && !(run->phase == GRACE && run->client->open == 0))
        return;
    switch (run->phase) {
    case WARM_UP:
        run->cpu_before_s = runtime_cpu_s();
        run->tx_drops = run->ring->tx_drops;
        raw_ring_drops(run->ring);
        run->phase = MEASURE;
        run->phase_ends_ns = run->report->end_ns;
        break;
    case MEASURE:
        end_window(run, now_ns);
        run->phase = GRACE;
        run->phase_ends_ns = now_ns + GRACE_NS;
        break;
    case GRACE:
        run->phase = ABORT;
        /* fall through */
    case ABORT:
        run->phase_ends_ns = now_ns + ABORT_PACE_NS;
        if (raw_client_abort(run->client, &run->cursor, ABORT_GROUP) == 0 && run->client->open == 0 &&
            now_ns - run->last_input_ns > QUIET_NS)
            run->phase = FINISHED;
        break;
    case FINISHED:
        break;
    }
}

static unsigned begin_due(struct run *run, uint64_t now_ns)
{
    unsigned n = 0;
    if (run->phase > MEASURE)
        return 0;
    for (; n < RAW_START_BATCH && run->schedule.next_ns <= now_ns; n++)
        raw_client_start(run->client, schedule_take(&run->schedule), now_ns);
    return n;
}

static void drive(struct run *run)
{
    uint64_t now = monotonic_ns();
    while (run->phase != FINISHED) {
        advance_phase(run, now);
        unsigned received = raw_client_receive(run->client, now);
        unsigned work = received + raw_client_expire(run->client, now) + begin_due(run, now);
        if (received)
            run->last_input_ns = now;
        raw_client_flush(run->client);
        uint64_t turn_began = now;
        now = monotonic_ns();
        if (work)
            continue;
        if (run->phase == MEASURE && now - turn_began < IDLE_TURN_NS)
            run->spun_ns += now - turn_began;
        uint64_t next = raw_client_next_ns(run->client, now);
        if (run->phase <= MEASURE && run->schedule.next_ns < next)
            next = run->schedule.next_ns;
        if (run->phase_ends_ns < next)
            next = run->phase_ends_ns;
        if (next > now + SPIN_NS) {
            raw_ring_sleep(run->ring, next - now - SPIN_NS / 2);
            now = monotonic_ns();
        }
    }
}

static int parse_net(const char *text, uint32_t *net, unsigned *bits)
{
    char address[INET_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    struct in_addr parsed;
    char *end;
    if (!slash || (size_t)(slash - text) >= sizeof address)
        return -1;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    unsigned long length = strtoul(slash + 1, &end, 10);
    if (slash[1] < '0' || slash[1] > '9' || *end || length < 1 || length > 32 || !inet_aton(address, &parsed))
        return -1;
    *bits = (unsigned)length;
    *net = ntohl(parsed.s_addr);
    return *net & (uint32_t)(UINT64_C(0xffffffff) >> length) ? -1 : 0;
}

static int parse_mac(const char *text, uint8_t mac[6])
{
    unsigned b[6];
    int used = 0;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &used) != 6 || text[used])
        return -1;
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)b[i];
    return 0;
}

static void read_options(int argc, char **argv, struct settings *s, struct raw_options *raw, struct manifest *manifest,
                         const char **next_hop)
{
    const char *connect = NULL, *files = NULL, *net = "10.128.0.0/10", *arrivals = "uniform", *ack = "with-request";
    const struct argument table[] = {
        {"connect", ARGUMENT_TEXT, &connect, 0, 0, "ADDR:PORT", "the server (required)"},
        {"rate", ARGUMENT_NUMBER, &raw->rate_per_s, 1, 1e7, "CONN/S", "connections begun per second (required)"},
        {"files", ARGUMENT_TEXT, &files, 0, 0, "MANIFEST", "its first file is asked for (required)"},
        {"interface", ARGUMENT_TEXT, &s->interface, 0, 0, "IFACE", "Ethernet interface towards the server [lab0]"},
        {"source-net", ARGUMENT_TEXT, &net, 0, 0, "ADDR/BITS",
         "addresses to come from; nobody's here, routed here by the server [10.128.0.0/10]"},
        {"next-hop-mac", ARGUMENT_TEXT, next_hop, 0, 0, "MAC", "link-layer address to send to [asked by ARP]"},
        {"arrivals", ARGUMENT_TEXT, &arrivals, 0, 0, "uniform|poisson", "spacing of the starts [uniform]"},
        {"handshake-ack", ARGUMENT_TEXT, &ack, 0, 0, "with-request|alone", "how it goes out [with-request]"},
        {"timeout-ms", ARGUMENT_INTEGER, &raw->timeout_ms, 1, 3600000, "MS",
         "a connection without its reply is aborted by RST [2000]"},
        {"warmup-s", ARGUMENT_NUMBER, &s->warmup_s, 0, 3600, "S", "load before the measuring window [0.5]"},
        {"duration-s", ARGUMENT_NUMBER, &s->duration_s, .001, 86400, "S", "length of the measuring window [2]"},
        {"seed", ARGUMENT_INTEGER, &s->seed, 0, 1e18, "N", "of the random arrivals [1]"},
        {"verify-every", ARGUMENT_INTEGER, &raw->verify_every, 0, 1e18, "N",
         "compare the CRC-32 of every N-th body; 0 = none [1]"},
        {"cpu", ARGUMENT_INTEGER, &s->cpu, 0, 1023, "N", "run on this CPU only [any]"},
    };
    arguments_read(argc, argv,
                   "usage: rawload --connect ADDR:PORT --rate CONN/S --files MANIFEST [options]\n"
                   "Open-loop load of one GET a connection, by hand-made TCP segments; prints one JSON object.",
                   table, sizeof table / sizeof *table);
    char error[256];
    if (!connect || !files || raw->rate_per_s == 0)
        fail(2, "--connect, --rate and --files are required (see --help)");
    if (tp_parse_address(connect, &s->server) || s->server.sin_port == 0)
        fail(2, "--connect: '%s' is not ADDR:PORT", connect);
    if (parse_net(net, &raw->net, &raw->net_bits))
        fail(2, "--source-net: '%s' is not a network such as 10.128.0.0/10", net);
    if (strcmp(arrivals, "uniform") != 0 && strcmp(arrivals, "poisson") != 0)
        fail(2, "--arrivals: '%s' is neither uniform nor poisson", arrivals);
    s->arrivals = arrivals[0] == 'p' ? ARRIVALS_POISSON : ARRIVALS_UNIFORM;
    if (strcmp(ack, "with-request") != 0 && strcmp(ack, "alone") != 0)
        fail(2, "--handshake-ack: '%s' is neither with-request nor alone", ack);
    raw->separate_ack = ack[0] == 'a';
    if (*next_hop && parse_mac(*next_hop, raw->next_hop))
        fail(2, "--next-hop-mac: '%s' is not six hexadecimal bytes with colons", *next_hop);
    raw->server = ntohl(s->server.sin_addr.s_addr);
    raw->server_port = ntohs(s->server.sin_port);
    if (manifest_read(manifest, files, error, sizeof error))
        fail(2, "--files: %s", error);
    if (manifest->count == 0)
        fail(2, "--files: %s names no file", files);
    manifest_prepare(manifest, connect);
}

int main(int argc, char **argv)
{
    static struct raw_ring ring; /* 400 KB of outgoing frames */
    static struct raw_client client;
    static struct report report;
    struct settings settings = {.interface = "lab0", .warmup_s = .5, .duration_s = 2, .seed = 1, .cpu = UINT64_MAX};
    struct raw_options options = {.timeout_ms = 2000, .verify_every = 1};
    struct manifest manifest;
    const char *next_hop = NULL;
    char error[256];

    read_options(argc, argv, &settings, &options, &manifest, &next_hop);
    const struct manifest_file *file = &manifest.files[0];
    runtime_catch_signals();
    runtime_precise_timers();
    if (settings.cpu != UINT64_MAX && runtime_pin(settings.cpu))
        fail(1, "--cpu %llu: %s", (unsigned long long)settings.cpu, strerror(errno));

    struct raw_ring_flow flow = {
        .server = options.server,
        .server_port = options.server_port,
        .net = options.net,
        .mask = ~(uint32_t)(UINT64_C(0xffffffff) >> options.net_bits),
    };
    /* A reply of one segment is an MTU at most; of a longer one up to a window may come in one piece, not yet cut. */
    uint64_t reply_bytes = file->bytes + 512;
    size_t packet_bytes = reply_bytes <= RAW_MSS ? 1500 : (reply_bytes < RAW_WINDOW ? reply_bytes : RAW_WINDOW) + 120;
    if (raw_ring_open(&ring, settings.interface, &flow, packet_bytes, error, sizeof error))
        fail(1, "%s", error);
    memcpy(options.own_mac, ring.mac, 6);
    if (!next_hop && raw_ring_neighbour(settings.interface, options.server, options.next_hop))
        fail(1, "no answer to ARP for the server on %s: is it on this link? else give --next-hop-mac",
             settings.interface);

    uint64_t start_ns = monotonic_ns() + 1000000;
    struct run run = {.client = &client, .ring = &ring, .report = &report};
    report_begin(&report, "raw", options.rate_per_s, start_ns, settings.warmup_s, settings.duration_s);
    if (raw_client_init(&client, &options, file, &ring, &report, start_ns - 1000000, error, sizeof error))
        fail(1, "%s", error);
    schedule_begin(&run.schedule, settings.arrivals, options.rate_per_s, start_ns, settings.seed);
    run.phase_ends_ns = report.begin_ns;
    drive(&run);

    const struct report_extra extra[] = {
        {"rx_ring_drops", run.rx_drops},
        {"malformed", client.malformed},
        {"foreign", client.foreign},
        {"retransmitted_syn", client.retransmitted_syn},
        {"retransmitted_request", client.retransmitted_request},
        {"tx_drops", run.tx_drops},
        {"table_full", client.table_full},
        {"spun_us", run.spun_ns / 1000},
    };
    report_write(&report, extra, sizeof extra / sizeof *extra, stdout);
    raw_client_free(&client);
    raw_ring_close(&ring);
    report_free(&report);
    manifest_free(&manifest);
    return 0;
}
