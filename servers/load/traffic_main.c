/* traffic_main.c: the command line of `traffic`: one connection, a job at this end of it, one JSON object. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "runtime.h"
#include "traffic.h"
#include "transport.h"

static const char usage[] = "usage: traffic --role ROLE --listen ADDR:PORT | --connect ADDR:PORT [options]\n\n"
                            "Opens or awaits one connection, does its job there, compares every byte that it receives, and\n"
                            "prints what became of it as one JSON object. Says `ready` when a peer can connect. Exits with 1\n"
                            "if the connection failed or a byte was wrong.";

static const char *const roles[] = {"source", "sink", "both", "ping", "echo"};
static const char *const outcomes[] = {"ended", "time", "stopped", "unconnected", "broken", "wrong"};

static void say_ready(void)
{
    puts("ready");
    fflush(stdout);
}

static void report(const struct traffic_options *o, const struct traffic_result *r)
{
    printf("{\"role\":\"%s\",\"outcome\":\"%s\",\"error\":\"%s\",\"sent\":%llu,\"received\":%llu,\"wrong_at\":",
           roles[o->role], outcomes[r->outcome], r->error == 0 ? "" : strerror(r->error), (unsigned long long)r->sent,
           (unsigned long long)r->received);
    if (r->outcome == TRAFFIC_WRONG)
        printf("%llu", (unsigned long long)r->wrong_at);
    else
        printf("null");
    printf(",\"connect_s\":%.6f,\"seconds\":%.6f,\"cpu_s\":%.6f", r->connect_s, r->seconds, r->cpu_s);
    if (r->rtt.count > 0)
        printf(",\"messages\":%llu,\"rtt_p50_us\":%.3f,\"rtt_p99_us\":%.3f", (unsigned long long)r->rtt.count,
               histogram_quantile(&r->rtt, .5) * 1e-3, histogram_quantile(&r->rtt, .99) * 1e-3);
    puts("}");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *role = NULL, *listen_at = NULL, *connect_to = NULL;
    struct traffic_options o = {.write_bytes = 16384, .bytes = UINT64_MAX, .patience_s = 10, .stay_s = 1};
    const struct argument table[] = {
        {"role", ARGUMENT_CHOICE, &role, 0, 0, "source|sink|both|ping|echo", "the job (required)"},
        {"listen", ARGUMENT_TEXT, &listen_at, 0, 0, "ADDR:PORT", "await the connection there"},
        {"connect", ARGUMENT_TEXT, &connect_to, 0, 0, "ADDR:PORT", "or open it"},
        {"bytes", ARGUMENT_LIMIT, &o.bytes, 0, 1e15, "N|inf", "to be sent by source, both or ping (inf)"},
        {"write-bytes", ARGUMENT_INTEGER, &o.write_bytes, 1, TRAFFIC_WRITE_MAX, "N", "of a call, or of a ping (16384)"},
        {"seconds", ARGUMENT_NUMBER, &o.seconds, 0, 1e5, "S", "for sink, both and ping, once connected; 0 = no limit (0)"},
        {"warmup-s", ARGUMENT_NUMBER, &o.warmup_s, 0, 1e5, "S", "in which pings are not recorded (0)"},
        {"patience-s", ARGUMENT_NUMBER, &o.patience_s, 0.001, 1e5, "S", "for the connection to be established (10)"},
        {"stay-s", ARGUMENT_NUMBER, &o.stay_s, 0, 1e5, "S", "afterwards, until a signal comes (1)"},
        {"congestion", ARGUMENT_TEXT, &o.congestion, 0, 0, "NAME", "TCP congestion control"},
    };
    arguments_read(argc, argv, usage, table, sizeof table / sizeof *table);
    if (role == NULL)
        fail(2, "--role is required (see --help)");
    while (strcmp(roles[o.role], role) != 0)
        o.role++;
    if ((listen_at == NULL) == (connect_to == NULL))
        fail(2, "one of --listen and --connect is required (see --help)");
    o.listens = listen_at != NULL;
    const char *text = o.listens ? listen_at : connect_to;
    if (tp_parse_address(text, &o.address) != 0 || o.address.sin_port == 0)
        fail(2, "--%s: '%s' is not ADDR:PORT", o.listens ? "listen" : "connect", text);
    if (o.role == TRAFFIC_PING && o.bytes != UINT64_MAX)
        o.bytes -= o.bytes % o.write_bytes; /* whole messages */
    if ((o.role == TRAFFIC_BOTH || o.role == TRAFFIC_PING) && o.bytes == UINT64_MAX && o.seconds == 0)
        fail(2, "--role %s needs --bytes or --seconds", role);

    runtime_catch_signals();
    runtime_precise_timers();
    static struct traffic_result result;
    int error = traffic_run(&o, &result, say_ready, report);
    if (error != 0)
        fail(1, "%s %s: %s", o.listens ? "listen at" : "connect to", text, strerror(error));
    return result.outcome >= TRAFFIC_UNCONNECTED;
}
