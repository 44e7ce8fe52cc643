/* load.c: the command line of the load generator on sockets: the kernel's, or, as load-user, a user-level stack's. The loop
 * is in client.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "client.h"
#include "runtime.h"
#include "sampler.h"
#include "transport.h"

#define SOURCES_MAX 65536
#define CONNECTIONS_MAX 262144 /* open at once, if the descriptor limit allows */
#define DESCRIPTORS_SPARE 16   /* standard streams, epoll, what was inherited */

static const char usage[] = "usage: load --connect ADDR:PORT --files MANIFEST [options]\n\n"
                            "Offers HTTP/1.1 requests to a server and prints what became of them as one JSON object.\n"
                            "Manifest lines: PATH<tab>BYTES<tab>CRC32_HEX8<tab>WEIGHT[<tab>KIND].";

static size_t choose(const char *option, const char *text, const char *const names[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    fail(2, "--%s: unknown '%s' (see --help)", option, text);
}

/* "A" or "A-B" of IPv4 addresses. */
static void read_sources(const char *text, struct client_options *o)
{
    char low_text[INET_ADDRSTRLEN] = "";
    const char *dash = strchr(text, '-');
    size_t low_bytes = dash ? (size_t)(dash - text) : strlen(text);
    struct in_addr low = {0}, high = {0};
    if (low_bytes < sizeof low_text)
        memcpy(low_text, text, low_bytes);
    if (inet_pton(AF_INET, low_text, &low) != 1 || inet_pton(AF_INET, dash ? dash + 1 : low_text, &high) != 1)
        fail(2, "--sources: '%s' is not ADDR or ADDR-ADDR", text);
    uint64_t first = ntohl(low.s_addr), last = ntohl(high.s_addr);
    if (last < first || last - first >= SOURCES_MAX)
        fail(2, "--sources: '%s' must ascend and hold at most %d addresses", text, SOURCES_MAX);
    o->source_count = (size_t)(last - first + 1);
    o->sources = calloc(o->source_count, sizeof *o->sources);
    if (o->sources == NULL)
        fail(1, "%s", strerror(ENOMEM));
    for (size_t i = 0; i < o->source_count; i++) {
        o->sources[i].sin_family = AF_INET;
        o->sources[i].sin_addr.s_addr = htonl((uint32_t)(first + i));
    }
}

/* Find out before the trial what would fail every single connection of it. */
static void check_environment(const struct client_options *o)
{
    const struct tp_options options = {.congestion = o->congestion};
    if (tp_usable(NULL, &(struct tp_options){0}) != 0)
        fail(1, "cannot make a socket: %s", strerror(errno));
    if (tp_usable(NULL, &options) != 0)
        fail(1, "--congestion %s: %s", o->congestion, strerror(errno));
    for (size_t i = 0; i < o->source_count; i++) {
        if (tp_usable(&o->sources[i], NULL) != 0) {
            char text[INET_ADDRSTRLEN];
            inet_ntop(AF_INET, &o->sources[i].sin_addr, text, sizeof text);
            fail(1, "--sources: cannot use %s: %s", text, strerror(errno));
        }
    }
}

int main(int argc, char **argv)
{
    const char *connect_to = NULL, *files = NULL, *mode = "open", *arrivals = "uniform", *close_by = "server",
               *ack = "with-request";
    const char *sources = NULL;
    double timeout_ms = 2000, think_us = 0;
    uint64_t requests = 0, cpu = UINT64_MAX;
    struct client_options o = {.clients = 16, .warmup_s = 0.5, .duration_s = 2, .seed = 1, .verify_every = 1};
    const struct argument table[] = {
        {"connect", ARGUMENT_TEXT, &connect_to, 0, 0, "ADDR:PORT", "the server (required)"},
        {"files", ARGUMENT_TEXT, &files, 0, 0, "MANIFEST", "which files to ask for (required)"},
        {"mode", ARGUMENT_TEXT, &mode, 0, 0, "open|closed", "open: by schedule; closed: by reply (default open)"},
        {"rate", ARGUMENT_NUMBER, &o.rate, 0.001, 1e7, "REQ/S", "open: requests offered a second (required)"},
        {"arrivals", ARGUMENT_TEXT, &arrivals, 0, 0, "uniform|poisson", "open: of connections (default uniform)"},
        {"requests-per-connection", ARGUMENT_LIMIT, &requests, 1, 1e9, "N|inf", "default 1 (open), inf (closed)"},
        {"requests-mean", ARGUMENT_NUMBER, &o.requests_mean, 1, 1e6, "X", "geometric number of this mean instead"},
        {"close", ARGUMENT_TEXT, &close_by, 0, 0, "server|reset|client", "who ends a connection (default server)"},
        {"handshake-ack", ARGUMENT_TEXT, &ack, 0, 0, "with-request|alone", "how it goes out (default with-request)"},
        {"timeout-ms", ARGUMENT_NUMBER, &timeout_ms, 0.1, 1e7, "MS", "for connection and reply; RST then (2000)"},
        {"clients", ARGUMENT_INTEGER, &o.clients, 1, CONNECTIONS_MAX, "N", "closed: connections (default 16)"},
        {"think-us", ARGUMENT_NUMBER, &think_us, 0, 1e9, "US", "closed: between reply and request (default 0)"},
        {"warmup-s", ARGUMENT_NUMBER, &o.warmup_s, 0, 1e5, "S", "load before the window (default 0.5)"},
        {"duration-s", ARGUMENT_NUMBER, &o.duration_s, 0.001, 1e5, "S", "the measuring window (default 2)"},
        {"seed", ARGUMENT_INTEGER, &o.seed, 0, 9e15, "N", "of arrivals, files and sessions (default 1)"},
        {"sources", ARGUMENT_TEXT, &sources, 0, 0, "ADDR[-ADDR]", "local addresses, used in turn"},
        {"verify-every", ARGUMENT_INTEGER, &o.verify_every, 0, 9e15, "N", "CRC-32 of every N-th body, 0 = none (1)"},
        {"cpu", ARGUMENT_INTEGER, &cpu, 0, 1023, "N", "run on this CPU only"},
        {"congestion", ARGUMENT_TEXT, &o.congestion, 0, 0, "NAME", "TCP congestion control"},
    };
    arguments_read(argc, argv, usage, table, sizeof table / sizeof *table);

    if (connect_to == NULL || files == NULL)
        fail(2, "--%s is required (see --help)", connect_to == NULL ? "connect" : "files");
    if (tp_parse_address(connect_to, &o.server) != 0 || o.server.sin_port == 0)
        fail(2, "--connect: '%s' is not ADDR:PORT", connect_to);
    o.closed = choose("mode", mode, (const char *[]){"open", "closed"}, 2) == 1;
    o.arrivals =
        choose("arrivals", arrivals, (const char *[]){"uniform", "poisson"}, 2) ? ARRIVALS_POISSON : ARRIVALS_UNIFORM;
    o.close_by = (enum close_by)choose("close", close_by, (const char *[]){"server", "reset", "client"}, 3);
    o.separate_ack = choose("handshake-ack", ack, (const char *[]){"with-request", "alone"}, 2) == 1;
    o.requests = requests != 0 ? requests : o.closed ? UINT64_MAX : 1;
    if (requests != 0 && o.requests_mean > 0)
        fail(2, "--requests-per-connection and --requests-mean exclude each other");
    if (!o.closed && o.rate == 0)
        fail(2, "--rate is required in an open loop");
    if (!o.closed && o.requests == UINT64_MAX && o.requests_mean == 0)
        fail(2, "--requests-per-connection inf needs --mode closed: an open loop schedules connections");
    o.timeout_ns = (uint64_t)(timeout_ms * 1e6);
    o.think_ns = (uint64_t)(think_us * 1e3);
    if (sources != NULL)
        read_sources(sources, &o);

    struct manifest manifest;
    char error[256];
    if (manifest_read(&manifest, files, error, sizeof error) != 0)
        fail(2, "--files %s: %s", files, error);
    manifest_prepare(&manifest, connect_to);

    uint64_t descriptors = runtime_raise_descriptor_limit();
    uint64_t room = descriptors > DESCRIPTORS_SPARE ? descriptors - DESCRIPTORS_SPARE : 1;
    o.connections_max = room < CONNECTIONS_MAX ? room : CONNECTIONS_MAX;
    if (o.closed && o.clients > o.connections_max)
        fail(1, "--clients %llu: the descriptor limit leaves room for %llu (ulimit -n)",
             (unsigned long long)o.clients, (unsigned long long)o.connections_max);
    if (cpu != UINT64_MAX && runtime_pin(cpu) != 0)
        fail(1, "--cpu %llu: %s", (unsigned long long)cpu, strerror(errno));
    check_environment(&o);
    runtime_catch_signals();
    runtime_precise_timers();
    sampler_start();

    static struct report report; /* too large for a stack frame */
    struct client_extra extra = {0};
    int failure = client_run(&o, &manifest, &report, &extra);
    if (failure != 0)
        fail(1, "no connection to %s could be begun: %s", connect_to, strerror(failure));
    const struct report_extra more[] = {
        {"starts_stalled", extra.starts_stalled},
        {"sessions_cut", extra.sessions_cut},
        {"connections_peak", extra.connections_peak},
    };
    report_write(&report, more, sizeof more / sizeof *more, stdout);
    report_free(&report);
    manifest_free(&manifest);
    free(o.sources);
    return fflush(stdout) == 0 ? 0 : 1;
}
