/* stackhost.c: a host that consists of the user-level stack: services for a peer to talk to, on an interface or a switch.
 *
 *     stackhost --attach WHERE --address IP[/BITS] [--connect IP:PORT --bytes N] …   (--help has all)
 *
 * Port 7 echoes, port 9 discards, port 19 sends bytes until its peer closes (RFC 862, 863, 864). With --connect it opens a
 * connection, sends so many bytes of the pattern (i × 31 mod 251), and ends when the peer has closed. It is ready when it
 * has printed a line; at SIGTERM or the end it prints its counters, one a line, and exits with 0; 1 if the connection failed.
 */
#include "arguments.h"
#include "host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ECHO = 7, DISCARD = 9, CHARGEN = 19, CALLER = 1, EVENTS = 64, BUFFER = 16384 };

static volatile sig_atomic_t ending;

static void end(int signal) { (void)signal, ending = 1; }

struct services {
    struct host host;
    struct stack *stack; /* the host's */
    int listeners[3];
    int caller; /* of --connect, or -1 */
    uint64_t to_send, sent;
    bool failed;
};

static const uint16_t ports[3] = {ECHO, DISCARD, CHARGEN};

static void fill(uint8_t *buffer, uint64_t from, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        buffer[i] = (uint8_t)((from + i) * 31 % 251);
}

/* What the caller's connection has still to send. */
static void send_pattern(struct services *h, int socket)
{
    uint8_t buffer[BUFFER];
    while (h->sent < h->to_send) {
        uint64_t left = h->to_send - h->sent;
        uint32_t part = left < sizeof buffer ? (uint32_t)left : (uint32_t)sizeof buffer;
        fill(buffer, h->sent, part);
        int taken = us_write(h->stack, socket, buffer, part, false);
        if (taken <= 0)
            return;
        h->sent += (uint64_t)taken;
        if (h->sent == h->to_send)
            us_shutdown_write(h->stack, socket);
    }
}

static void serve(struct services *h, int socket, uint64_t service)
{
    uint8_t buffer[BUFFER];
    int got = -EAGAIN;
    if (service == CALLER)
        send_pattern(h, socket);
    if (service == CHARGEN) {
        memset(buffer, 'c', sizeof buffer);
        while (us_write(h->stack, socket, buffer, sizeof buffer, false) > 0)
            ;
    }
    /* An echo reads no more than it can write: the peer's window then closes, as it should. */
    while (service != ECHO || (us_readiness(h->stack, socket) & US_WRITABLE)) {
        got = us_read(h->stack, socket, buffer, service == DISCARD || service == CALLER ? sizeof buffer : 4096);
        if (got <= 0)
            break;
        if (service == ECHO && us_write(h->stack, socket, buffer, (uint32_t)got, false) != got)
            got = -ENOBUFS; /* no chunk is left: the connection cannot be served */
        if (got < 0)
            break;
    }
    if (got == -EAGAIN || got > 0)
        return;
    if (service == CALLER) {
        h->failed = got != 0 || h->sent != h->to_send;
        ending = 1;
    }
    us_close(h->stack, socket);
}

static void accept_all(struct services *h, int listener, uint64_t service)
{
    for (int socket; (socket = us_accept(h->stack, listener, NULL)) >= 0;)
        us_interest(h->stack, socket, service == DISCARD ? US_READABLE : US_READABLE | US_WRITABLE, service);
}

/* True if there may be more. */
static bool handle_events(struct services *h)
{
    struct us_event events[EVENTS];
    int n = us_wait(h->stack, events, EVENTS);
    for (int i = 0; i < n; i++) {
        bool listens = false;
        for (int k = 0; k < 3; k++) {
            if (events[i].socket == h->listeners[k]) {
                accept_all(h, h->listeners[k], ports[k]);
                listens = true;
            }
        }
        if (!listens)
            serve(h, events[i].socket, events[i].data);
    }
    return n == EVENTS;
}

static void run(struct services *h)
{
    while (!ending) {
        host_turn(&h->host);
        bool more = handle_events(h);
        host_wait(&h->host, more ? 0 : 1000000000);
    }
}

static uint32_t address_of(const char *option, const char *text)
{
    struct in_addr ip;
    if (inet_pton(AF_INET, text, &ip) != 1)
        fail(2, "--%s %s: an IPv4 address is needed, like 10.0.0.2", option, text);
    return ntohl(ip.s_addr);
}

/* Bits of the network, after a slash. */
static uint32_t netmask_of(char *own)
{
    char *slash = strchr(own, '/'), *end = "";
    unsigned long bits = 24;
    if (slash != NULL) {
        *slash = '\0';
        bits = strtoul(slash + 1, &end, 10);
    }
    if (bits < 1 || bits > 32 || *end != '\0')
        fail(2, "--address: the network has 1 to 32 bits, like 10.0.0.2/24");
    return 0xffffffff << (32 - bits);
}

static struct us_endpoint endpoint_of(const char *option, const char *text)
{
    char ip[16] = "";
    unsigned port = 0;
    if (sscanf(text, "%15[0-9.]:%u", ip, &port) != 2 || port == 0 || port > UINT16_MAX)
        fail(2, "--%s %s: ADDRESS:PORT is needed, like 10.0.0.2:80", option, text);
    return (struct us_endpoint){address_of(option, ip), (uint16_t)port};
}

static void print_counters(const struct services *h)
{
    const char *name;
    uint64_t value, lost = attach_lost(h->host.attachment);
    for (unsigned i = 0; stack_counter(h->stack, i, &name, &value); i++)
        if (value > 0)
            printf("%s %llu\n", name, (unsigned long long)value);
    if (lost > 0)
        printf("attach_lost %llu\n", (unsigned long long)lost);
}

int main(int argc, char **argv)
{
    const char *where = NULL, *own = NULL, *gateway = NULL, *connect = NULL;
    struct stack_limits limits = stack_default_limits();
    struct services services = {.caller = -1};
    uint64_t tick_us = 100, min_rto_us = limits.min_rto_us;
    const struct argument table[] = {
        {"attach", ARGUMENT_TEXT, &where, 0, 0, "WHERE", "packet:INTERFACE, or switch:SOCKET[,ports=LOW-HIGH]"},
        {"address", ARGUMENT_TEXT, &own, 0, 0, "IP[/BITS]", "of the stack, in a network of so many bits (24); not the kernel's own"},
        {"gateway", ARGUMENT_TEXT, &gateway, 0, 0, "IP", "to other networks"},
        {"tick-us", ARGUMENT_INTEGER, &tick_us, 10, 10000, "N", "granularity of its timers"},
        {"min-rto-us", ARGUMENT_INTEGER, &min_rto_us, 10, 10000000, "N", "least retransmission time-out"},
        {"congestion", ARGUMENT_CHOICE, &limits.congestion, 0, 0, "reno|cubic", "congestion control"},
        {"connect", ARGUMENT_TEXT, &connect, 0, 0, "IP:PORT", "open a connection, and end with it"},
        {"bytes", ARGUMENT_INTEGER, &services.to_send, 0, 1e15, "N", "to be sent on that connection"},
    };
    arguments_read(argc, argv, "stackhost --attach WHERE --address IP[/BITS]", table, sizeof table / sizeof *table);
    if (where == NULL || own == NULL)
        fail(2, "--attach and --address are needed");
    char ip[32];
    snprintf(ip, sizeof ip, "%s", own);
    struct stack_address address = {.netmask = netmask_of(ip)};
    address.ip = address_of("address", ip);
    address.gateway = gateway == NULL ? 0 : address_of("gateway", gateway);
    struct us_endpoint destination = {0, 0};
    if (connect != NULL)
        destination = endpoint_of("connect", connect);
    limits.tick_ns = (uint32_t)tick_us * 1000;
    limits.min_rto_us = (uint32_t)min_rto_us;
    limits.time_wait_ms = 1000;
    char error[256];
    if (host_open(&services.host, where, &address, &limits, error, sizeof error) != 0)
        fail(attach_known(where) ? 3 : 2, "%s", error);
    services.stack = services.host.stack;
    signal(SIGTERM, end);
    signal(SIGINT, end);
    for (int k = 0; k < 3; k++) {
        services.listeners[k] = us_listen(services.stack, ports[k], 128);
        us_interest(services.stack, services.listeners[k], US_READABLE, 0);
    }
    if (destination.port != 0) {
        services.caller = us_connect(services.stack, destination, 0);
        if (services.caller < 0)
            fail(2, "--connect %s: %s", connect, strerror(-services.caller));
        us_interest(services.stack, services.caller, US_READABLE | US_WRITABLE, CALLER);
    }
    puts("ready");
    fflush(stdout);
    run(&services);
    print_counters(&services);
    host_close(&services.host);
    return services.failed;
}
