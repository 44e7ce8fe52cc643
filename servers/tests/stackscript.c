/* stackscript.c: a stack that a script talks to, in virtual time: frames go in and come out as hexadecimal lines.
 *
 * A command is a line of words; the answer is a line "frame MICROSECONDS HEX" for each frame that was sent meanwhile, and
 * then "= NUMBER [WORDS]", or "! what is wrong with the command".
 *
 *     open [LIMIT=NUMBER…] [congestion=NAME] [timers=NAME] [mtu=N] [gateway=IP]   the stack is 10.0.0.1, its MAC 02:…:01
 *     batch 1|0           frames until then lie there together
 *     in HEX              a frame arrives                   at MICROSECONDS    time goes on until then, timer by timer
 *     wire 0|1            has the wire room                 counter NAME       usage    next    state SOCKET
 *     listen PORT BACKLOG         accept L                  connect IP PORT SOURCE_PORT         result S
 *     read S BYTES                write S HEX [more]        shutdown S    close S    abort S    set S OPTION VALUE
 *     ready S                     wait S READINESS          events
 *     udp PORT                    receive S BYTES           send S IP PORT HEX
 */
#include "socket.h"
#include "stack.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 64, LINE = 1 << 18, START_US = 1000000000 };

static struct {
    struct stack *stack;
    uint64_t now_us;
    uint32_t tick_ns;
    bool full;
    uint8_t building[WIRE_FRAME_MAX];
} script;

#define LIMIT(name) {#name, offsetof(struct stack_limits, name)}
static const struct {
    const char *name;
    size_t offset;
} limits_by_name[] = {
    LIMIT(tick_ns), LIMIT(timer_batch), LIMIT(packets), LIMIT(arp_entries), LIMIT(arp_queue), LIMIT(datagrams),
    LIMIT(datagram_bytes), LIMIT(paths), LIMIT(icmp_per_s), LIMIT(udp_sockets), LIMIT(udp_queue_bytes),
    LIMIT(connections), LIMIT(listeners), LIMIT(chunks), LIMIT(send_bytes), LIMIT(receive_bytes), LIMIT(syn_queue),
    LIMIT(time_waits), LIMIT(challenges_per_s), LIMIT(initial_window), LIMIT(min_rto_us), LIMIT(max_rto_ms),
    LIMIT(first_rto_ms), LIMIT(delayed_ack_us), LIMIT(time_wait_ms), LIMIT(fin_wait_2_ms), LIMIT(keepalive_idle_ms),
    LIMIT(keepalive_interval_ms), LIMIT(keepalive_probes), LIMIT(user_timeout_ms), LIMIT(syn_tries), LIMIT(data_tries),
    LIMIT(runs), LIMIT(tail_probes),
    LIMIT(mss), LIMIT(timestamps), LIMIT(push_segments),
};

static uint8_t *reserve(void *context, uint32_t bytes)
{
    (void)context;
    return script.full || bytes > sizeof script.building ? NULL : script.building;
}

static void print_hex(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        printf("%02x", p[i]);
}

static void commit(void *context, uint32_t bytes)
{
    (void)context;
    printf("frame %llu ", (unsigned long long)(script.now_us - START_US));
    print_hex(script.building, bytes);
    putchar('\n');
}

/* A fresh block of exactly that size: the sanitizer then sees a byte too far. */
static uint8_t *read_hex(const char *text, size_t *bytes)
{
    *bytes = strlen(text) / 2;
    uint8_t *p = malloc(*bytes > 0 ? *bytes : 1);
    for (size_t i = 0; p != NULL && i < *bytes; i++) {
        unsigned value = 0;
        sscanf(text + 2 * i, "%2x", &value);
        p[i] = (uint8_t)value;
    }
    return p;
}

static uint64_t tick(uint64_t us) { return us * 1000 / script.tick_ns; }

static long long number(char **words, int i) { return words[i] == NULL ? 0 : strtoll(words[i], NULL, 0); }

static bool set_limit(struct stack_limits *limits, const char *word, long long value)
{
    for (size_t i = 0; i < sizeof limits_by_name / sizeof *limits_by_name; i++) {
        size_t length = strlen(limits_by_name[i].name);
        if (strncmp(word, limits_by_name[i].name, length) == 0 && word[length] == '=') {
            uint32_t stored = (uint32_t)value;
            memcpy((char *)limits + limits_by_name[i].offset, &stored, sizeof stored);
            return true;
        }
    }
    return false;
}

static char congestion[16], timers[16];

static const char *open_stack(char **words)
{
    struct stack_limits limits = stack_default_limits();
    struct wire wire = {.reserve = reserve, .commit = commit, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}};
    struct stack_address address = {.ip = 0x0a000001, .netmask = 0xffffff00};
    memcpy(limits.key, "a secret of ours", sizeof limits.key);
    for (int i = 1; words[i] != NULL; i++) {
        const char *value = strchr(words[i], '=');
        if (value == NULL)
            return "a word without =";
        value++;
        if (strncmp(words[i], "congestion=", 11) == 0)
            limits.congestion = strncpy(congestion, value, sizeof congestion - 1);
        else if (strncmp(words[i], "timers=", 7) == 0)
            limits.timers = strncpy(timers, value, sizeof timers - 1);
        else if (strncmp(words[i], "mtu=", 4) == 0)
            wire.mtu = (uint32_t)strtoul(value, NULL, 0);
        else if (strncmp(words[i], "gateway=", 8) == 0)
            address.gateway = (uint32_t)strtoul(value, NULL, 0);
        else if (!set_limit(&limits, words[i], strtoll(value, NULL, 0)))
            return "no such limit";
    }
    if (script.stack != NULL)
        stack_close(script.stack);
    script.tick_ns = limits.tick_ns;
    script.now_us = START_US;
    script.full = false;
    script.stack = stack_open(&limits, &wire, &address, tick(script.now_us));
    return script.stack == NULL ? "refused" : NULL;
}

static void go_on_until(uint64_t us)
{
    uint64_t due;
    while (stack_next(script.stack, &due) && due <= tick(us)) {
        uint64_t due_us = (due * script.tick_ns + 999) / 1000;
        script.now_us = due_us > script.now_us ? due_us : script.now_us;
        stack_advance(script.stack, due);
    }
    script.now_us = us;
    stack_advance(script.stack, tick(us));
}

static uint64_t counter(const char *wanted)
{
    const char *name;
    uint64_t value;
    for (unsigned i = 0; stack_counter(script.stack, i, &name, &value); i++)
        if (strcmp(name, wanted) == 0)
            return value;
    return UINT64_MAX;
}

static int with_bytes(char **words, bool udp)
{
    size_t bytes;
    uint8_t *data = read_hex(words[udp ? 4 : 2] == NULL ? "" : words[udp ? 4 : 2], &bytes);
    struct us_endpoint to = {(uint32_t)number(words, 2), (uint16_t)number(words, 3)};
    int socket = (int)number(words, 1);
    int result = udp ? us_udp_send(script.stack, socket, data, (uint32_t)bytes, to)
                     : us_write(script.stack, socket, data, (uint32_t)bytes, words[3] != NULL);
    free(data);
    return result;
}

static void read_some(char **words, bool udp)
{
    uint32_t bytes = (uint32_t)number(words, 2);
    uint8_t *data = malloc(bytes + 1);
    struct us_endpoint from = {0, 0};
    int socket = (int)number(words, 1);
    int got = udp ? us_udp_receive(script.stack, socket, data, bytes, &from) : us_read(script.stack, socket, data, bytes);
    printf("= %d ", got);
    if (got > 0)
        print_hex(data, (uint32_t)got < bytes ? (uint32_t)got : bytes);
    if (udp)
        printf(" %u %u", from.ip, from.port);
    putchar('\n');
    free(data);
}

static void events(void)
{
    struct us_event some[8];
    int n = us_wait(script.stack, some, 8);
    printf("= %d", n);
    for (int i = 0; i < n; i++)
        printf(" %d:%u", some[i].socket, some[i].readiness);
    putchar('\n');
}

static void usage(void)
{
    struct stack_usage u = stack_usage(script.stack);
    printf("= %u %u %u %u %u %u\n", u.connections, u.time_waits, u.chunks, u.packets, u.datagrams, u.timers);
}

static void frame_arrives(const char *text)
{
    size_t bytes;
    uint8_t *frame = read_hex(text, &bytes);
    stack_input(script.stack, frame, (uint32_t)bytes, 0);
    free(frame);
}

/* True if the answer was printed. */
static bool calls(char **words, long long *result)
{
    struct stack *s = script.stack;
    const char *verb = words[0];
    int socket = (int)number(words, 1);
    uint64_t due;
    if (strcmp(verb, "listen") == 0)
        *result = us_listen(s, (uint16_t)socket, (uint32_t)number(words, 2));
    else if (strcmp(verb, "accept") == 0)
        *result = us_accept(s, socket, NULL);
    else if (strcmp(verb, "connect") == 0)
        *result = us_connect(s, (struct us_endpoint){(uint32_t)number(words, 1), (uint16_t)number(words, 2)},
                             (uint16_t)number(words, 3));
    else if (strcmp(verb, "result") == 0)
        *result = us_connect_result(s, socket);
    else if (strcmp(verb, "write") == 0)
        *result = with_bytes(words, false);
    else if (strcmp(verb, "send") == 0)
        *result = with_bytes(words, true);
    else if (strcmp(verb, "shutdown") == 0)
        *result = us_shutdown_write(s, socket);
    else if (strcmp(verb, "close") == 0)
        *result = us_close(s, socket);
    else if (strcmp(verb, "abort") == 0)
        *result = us_abort(s, socket);
    else if (strcmp(verb, "set") == 0)
        *result = us_set(s, socket, (enum us_option)number(words, 2), (uint32_t)number(words, 3));
    else if (strcmp(verb, "state") == 0)
        *result = us_state(s, socket);
    else if (strcmp(verb, "ready") == 0)
        *result = us_readiness(s, socket);
    else if (strcmp(verb, "wait") == 0)
        *result = us_interest(s, socket, (unsigned)number(words, 2), (uint64_t)socket);
    else if (strcmp(verb, "udp") == 0)
        *result = us_udp_open(s, (uint16_t)socket);
    else if (strcmp(verb, "batch") == 0)
        (number(words, 1) != 0 ? stack_batch : stack_batch_end)(s);
    else if (strcmp(verb, "counter") == 0)
        *result = (long long)counter(words[1]);
    else if (strcmp(verb, "next") == 0)
        *result = stack_next(s, &due) ? (long long)(due * script.tick_ns / 1000 - START_US) : -1;
    else
        return false;
    return true;
}

int main(void)
{
    static char line[LINE];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *words[WORDS] = {0};
        int n = 0;
        for (char *word = strtok(line, " \n"); word != NULL && n < WORDS - 1; word = strtok(NULL, " \n"))
            words[n++] = word;
        long long result = 0;
        const char *wrong = NULL;
        if (n == 0)
            continue;
        if (strcmp(words[0], "open") == 0)
            wrong = open_stack(words);
        else if (script.stack == NULL)
            wrong = "open first";
        else if (strcmp(words[0], "in") == 0 && n > 1)
            frame_arrives(words[1]);
        else if (strcmp(words[0], "at") == 0)
            go_on_until(START_US + (uint64_t)number(words, 1));
        else if (strcmp(words[0], "wire") == 0)
            script.full = number(words, 1) == 0;
        else if (!calls(words, &result)) {
            if (strcmp(words[0], "read") == 0 || strcmp(words[0], "receive") == 0)
                read_some(words, words[0][2] == 'c');
            else if (strcmp(words[0], "events") == 0)
                events();
            else if (strcmp(words[0], "usage") == 0)
                usage();
            else
                wrong = "no such command";
            if (wrong == NULL) {
                fflush(stdout);
                continue;
            }
        }
        if (wrong != NULL)
            printf("! %s\n", wrong);
        else
            printf("= %lld\n", result);
        fflush(stdout);
    }
    if (script.stack != NULL)
        stack_close(script.stack);
    return 0;
}
