#include "stack_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXAMPLE "attach=switch:/tmp/switch,address=10.0.0.2/24"

enum { TEXT_BYTES = 64, DEFAULT_CONNECTIONS = 16384, MOST_CONNECTIONS = 1 << 20 };

struct number {
    const char *name;
    uint32_t *value;
    uint32_t low, high, times; /* stored is the number times that */
};

struct words { /* the values that are no numbers */
    char attach[192], ports[24], address[TEXT_BYTES], gateway[TEXT_BYTES], congestion[TEXT_BYTES], timers[TEXT_BYTES];
};

static const char *const congestions[] = {"reno", "cubic", NULL};
static const char *const facilities[] = {"wheel", "lazy", "list", "heap", "heap4", "hashed", NULL}; /* timers.h */

/* What a limit keeps of a word that names it: a constant, not the caller's memory. */
static const char *known(const char *word, const char *const *names)
{
    while (*names != NULL && strcmp(*names, word) != 0)
        names++;
    return *names;
}

static bool read_ip(const char *text, uint32_t *ip)
{
    struct in_addr address;
    if (inet_pton(AF_INET, text, &address) != 1)
        return false;
    *ip = ntohl(address.s_addr);
    return true;
}

/* "10.0.0.2/24"; without the bits, 24. */
static bool read_network(const char *text, struct stack_address *address)
{
    char ip[TEXT_BYTES];
    const char *slash = strchr(text, '/');
    size_t bytes = slash == NULL ? strlen(text) : (size_t)(slash - text);
    unsigned long bits = 24;
    if (bytes >= sizeof ip)
        return false;
    memcpy(ip, text, bytes);
    ip[bytes] = '\0';
    if (slash != NULL) {
        char *end;
        bits = strtoul(slash + 1, &end, 10);
        if (slash[1] < '0' || slash[1] > '9' || *end != '\0')
            return false;
    }
    if (bits < 1 || bits > 30)
        return false;
    address->netmask = UINT32_MAX << (32 - bits);
    return read_ip(ip, &address->ip);
}

static void derive(struct stack_options *o)
{
    struct stack_limits *l = &o->limits;
    uint32_t n = o->connections;
    l->time_waits = n / 4 < 64 ? 64 : n / 4;
    l->syn_queue = n / 4 < 64 ? 64 : n / 4 > 1024 ? 1024 : n / 4;
    l->connections = n + l->time_waits + l->syn_queue;
    /* A chunk is memory only once it was used: that is one each way of a connection with a small request and reply, and
     * 64 MiB beyond for those that have more to say. */
    l->chunks = 2 * n + 32768;
}

static int complain(char *error, size_t error_bytes, const char *format, const char *a, const char *b)
{
    int bytes = snprintf(error, error_bytes, "NAI_STACK: ");
    snprintf(error + bytes, error_bytes - (size_t)bytes, format, a, b);
    return -1;
}

/* One of the words. 1 if it is, 0 if it is none, -1 if it is too long. */
static int take_word(struct words *words, const char *key, const char *value)
{
    const struct word {
        const char *name;
        char *at;
        size_t room;
    } table[] = {
        {"attach", words->attach, sizeof words->attach},    {"ports", words->ports, sizeof words->ports},
        {"address", words->address, sizeof words->address}, {"gateway", words->gateway, sizeof words->gateway},
        {"timers", words->timers, sizeof words->timers},    {"congestion", words->congestion, sizeof words->congestion},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, key) != 0)
            continue;
        if (*value == '\0' || strlen(value) >= table[i].room)
            return -1;
        memcpy(table[i].at, value, strlen(value) + 1);
        return 1;
    }
    return 0;
}

static int take_number(const struct number *n, const char *text, char *error, size_t error_bytes)
{
    char range[64], *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value < n->low || value > n->high) {
        snprintf(range, sizeof range, "a whole number from %u to %u", n->low, n->high);
        return complain(error, error_bytes, "%s is to be %s", n->name, range);
    }
    *n->value = (uint32_t)value * n->times;
    return 0;
}

static int use_words(struct stack_options *o, const struct words *w, char *error, size_t error_bytes)
{
    if (*w->attach == '\0' || *w->address == '\0')
        return complain(error, error_bytes, "%s is missing, as in %s", *w->attach == '\0' ? "attach" : "address", EXAMPLE);
    snprintf(o->attach, sizeof o->attach, "%s%s%s", w->attach, *w->ports == '\0' ? "" : ",ports=", w->ports);
    if (!read_network(w->address, &o->address))
        return complain(error, error_bytes, "address is to be an IPv4 address and its network's bits%s, not '%s'",
                        ", as in 10.0.0.2/24", w->address);
    if (*w->gateway != '\0' && !read_ip(w->gateway, &o->address.gateway))
        return complain(error, error_bytes, "gateway is to be an IPv4 address%s, not '%s'", "", w->gateway);
    if (*w->congestion != '\0' && (o->limits.congestion = known(w->congestion, congestions)) == NULL)
        return complain(error, error_bytes, "congestion is to be reno or cubic%s, not '%s'", "", w->congestion);
    if (*w->timers != '\0' && (o->limits.timers = known(w->timers, facilities)) == NULL)
        return complain(error, error_bytes, "timers is to be one of wheel, lazy, list, heap, heap4 and hashed%s, not '%s'",
                        "", w->timers);
    return 0;
}

int stack_options_read(struct stack_options *o, const char *text, char *error, size_t error_bytes)
{
    *o = (struct stack_options){.connections = DEFAULT_CONNECTIONS, .limits = stack_default_limits()};
    struct stack_limits *l = &o->limits;
    const struct number numbers[] = {
        {"connections", &o->connections, 1, MOST_CONNECTIONS, 1},
        {"tick-us", &l->tick_ns, 10, 10000, 1000},
        {"min-rto-us", &l->min_rto_us, 10, 10000000, 1},
        {"first-rto-ms", &l->first_rto_ms, 1, 60000, 1},
        {"max-rto-ms", &l->max_rto_ms, 1000, 600000, 1},
        {"delayed-ack-us", &l->delayed_ack_us, 0, 499999, 1},
        {"time-wait-ms", &l->time_wait_ms, 0, 600000, 1},
        {"send-bytes", &l->send_bytes, STACK_CHUNK_BYTES, 1u << 28, 1},
        {"receive-bytes", &l->receive_bytes, STACK_CHUNK_BYTES, 1u << 28, 1},
        {"initial-window", &l->initial_window, 1, 10, 1},
    };
    struct words words = {0};
    if (text == NULL || *text == '\0') {
        snprintf(error, error_bytes, "NAI_STACK is not set: it is to say where the stack is attached, as NAI_STACK=%s",
                 EXAMPLE);
        return -1;
    }
    while (*text != '\0') {
        char item[256], *value;
        size_t bytes = strcspn(text, ",");
        snprintf(item, sizeof item, "%.*s", (int)bytes, text);
        text += bytes + (text[bytes] == ',');
        value = strchr(item, '=');
        if (value == NULL || bytes >= sizeof item)
            return complain(error, error_bytes, "'%s' is no KEY=VALUE, as in %s", item, EXAMPLE);
        *value++ = '\0';
        int taken = take_word(&words, item, value);
        if (taken < 0)
            return complain(error, error_bytes, "%s is empty or too long%s", item, "");
        const struct number *number = NULL;
        for (size_t i = 0; taken == 0 && i < sizeof numbers / sizeof *numbers; i++)
            if (strcmp(numbers[i].name, item) == 0)
                number = &numbers[i];
        if (number != NULL && take_number(number, value, error, error_bytes) != 0)
            return -1;
        if (number == NULL && taken == 0)
            return complain(error, error_bytes,
                            "no key '%s': there are attach, ports, address, gateway, congestion, timers, connections, "
                            "tick-us, min-rto-us, first-rto-ms, max-rto-ms, delayed-ack-us, time-wait-ms, send-bytes, "
                            "receive-bytes and initial-window%s",
                            item, "");
    }
    derive(o);
    return use_words(o, &words, error, error_bytes);
}
