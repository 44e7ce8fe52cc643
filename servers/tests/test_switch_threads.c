/* test_switch_threads.c: the switch as it runs, with real stacks, each in a thread of its own, so that the thread sanitizer
 * can follow. No check is of how long anything takes: what must come is waited for.
 */
#include "attach.h"
#include "check.h"
#include "clock.h"
#include "door.h"
#include "host.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { A = 0x0a000001, SLOTS = 64, BYTES = 3000000, PAIRS = 2, LINGER_NS = 300000000 };

int checks_failed;

static char path[108], where[128];

struct switch_thread {
    struct fabric *fabric;
    struct door *door;
    uint16_t spin_us;
    pthread_t thread;
};

static void *run_switch(void *argument)
{
    const struct switch_thread *s = argument;
    door_run(s->door, s->spin_us * UINT64_C(1000));
    return NULL;
}

static void start_switch(struct switch_thread *s, const char *rule, uint16_t spin_us)
{
    char error[512] = "";
    const struct fabric_options options = {
        .ports = 8, .slots = SLOTS, .mtu = 1500, .spin_us = spin_us, .seed = 1, .clock = monotonic_ns};
    s->spin_us = spin_us;
    s->fabric = fabric_open(&options, error, sizeof error);
    NEED(s->fabric != NULL && (rule == NULL || fabric_rule(s->fabric, rule, error, sizeof error) == 0));
    NEED(fabric_rules_open(s->fabric) == 0);
    s->door = door_open(s->fabric, path, error, sizeof error);
    CHECK(s->door != NULL, "%s", error);
    NEED(s->door != NULL && pthread_create(&s->thread, NULL, run_switch, s) == 0);
}

static void stop_switch(struct switch_thread *s)
{
    door_end(s->door);
    pthread_join(s->thread, NULL);
    door_close(s->door);
    fabric_close(s->fabric);
}

struct side {
    pthread_t thread;
    uint32_t ip, peer;
    uint16_t low, high; /* its ports, if it shares the address */
    bool opens;         /* the connection; or it listens */
    uint64_t sent, received;
    bool wrong;
};

static uint8_t byte_at(uint32_t ip, uint64_t place) { return (uint8_t)((place * 0x9e3779b97f4a7c15 + ip) >> 56); }

static void open_host(struct host *host, uint32_t ip, uint16_t low, uint16_t high)
{
    char error[256] = "", word[160];
    struct stack_limits limits = stack_default_limits();
    limits.connections = 64;
    limits.time_waits = 8;
    limits.syn_queue = 8;
    limits.chunks = 2048;
    limits.min_rto_us = 10000;
    snprintf(word, sizeof word, low == 0 ? "%s" : "%s,ports=%u-%u", where, low, high);
    const struct stack_address address = {.ip = ip, .netmask = 0xffffff00};
    int opened = host_open(host, word, &address, &limits, error, sizeof error);
    CHECK(opened == 0, "%s", error);
    NEED(opened == 0);
}

static void work(struct side *s, struct stack *stack, int socket, bool *ended)
{
    uint8_t buffer[8192];
    int got;
    while ((got = us_read(stack, socket, buffer, sizeof buffer)) > 0)
        for (int i = 0; i < got; i++, s->received++)
            s->wrong |= buffer[i] != byte_at(s->peer, s->received);
    *ended |= got != -EAGAIN;
    while (s->sent < BYTES) {
        uint32_t part = BYTES - s->sent < sizeof buffer ? (uint32_t)(BYTES - s->sent) : (uint32_t)sizeof buffer;
        for (uint32_t i = 0; i < part; i++)
            buffer[i] = byte_at(s->ip, s->sent + i);
        int taken = us_write(stack, socket, buffer, part, false);
        if (taken <= 0)
            return;
        s->sent += (uint64_t)taken;
        if (s->sent == BYTES)
            us_shutdown_write(stack, socket);
    }
}

/* Send BYTES and receive as many, at the same time. */
static void *run_side(void *argument)
{
    struct side *s = argument;
    struct host host;
    int socket = -1, listener = -1;
    bool ended = false;
    open_host(&host, s->ip, s->low, s->high);
    if (!s->opens) {
        listener = us_listen(host.stack, 80, 4);
        us_interest(host.stack, listener, US_READABLE, 0);
    } else {
        socket = us_connect(host.stack, (struct us_endpoint){s->peer, 80}, s->low);
        us_interest(host.stack, socket, US_READABLE | US_WRITABLE, 0);
    }
    while (!ended || s->sent < BYTES) {
        struct us_event events[8];
        host_turn(&host);
        int n = us_wait(host.stack, events, 8);
        if (socket < 0 && (socket = us_accept(host.stack, listener, NULL)) >= 0)
            us_interest(host.stack, socket, US_READABLE | US_WRITABLE, 0);
        if (socket >= 0)
            work(s, host.stack, socket, &ended);
        host_wait(&host, n > 0 ? 0 : 10000000);
    }
    us_close(host.stack, socket);
    struct stack_usage usage = stack_usage(host.stack);
    for (uint64_t until = monotonic_ns() + LINGER_NS; monotonic_ns() < until && usage.connections > usage.time_waits;) {
        host_turn(&host);
        host_wait(&host, 1000000);
        usage = stack_usage(host.stack);
    }
    host_close(&host);
    return NULL;
}

static void start_pair(struct side *sides, uint32_t ip, uint32_t peer, uint16_t low, uint16_t high)
{
    sides[0] = (struct side){.ip = peer, .peer = ip};
    sides[1] = (struct side){.ip = ip, .peer = peer, .low = low, .high = high, .opens = true};
    for (int i = 0; i < 2; i++) {
        NEED(pthread_create(&sides[i].thread, NULL, run_side, &sides[i]) == 0);
        usleep(20000); /* its ARP answers, and a SYN meets a listener: or it takes a second */
    }
}

static void await_pair(struct side *sides, const char *what)
{
    for (int i = 0; i < 2; i++) {
        pthread_join(sides[i].thread, NULL);
        CHECK(sides[i].received == BYTES && !sides[i].wrong, "%s: side %d received %llu of %d bytes%s", what, i,
              (unsigned long long)sides[i].received, BYTES, sides[i].wrong ? ", some of them wrong" : "");
    }
}

static int knock(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int file = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    NEED(file >= 0 && connect(file, (struct sockaddr *)&address, sizeof address) == 0);
    return file;
}

/* Stacks that come, leave frames behind in the middle of a batch, and go; and guests that talk nonsense, or not at all. */
static void disturb(unsigned times)
{
    int idle[40];
    for (unsigned i = 0; i < 40; i++)
        idle[i] = knock(); /* more than there is room for */
    for (unsigned i = 0; i < times; i++) {
        struct host host;
        uint8_t noise[100];
        open_host(&host, A + 100 + i % 3, 0, 0);
        us_connect(host.stack, (struct us_endpoint){A, 80}, 0);
        us_connect(host.stack, (struct us_endpoint){A + 1, 81}, 0);
        host_turn(&host);
        attach_flush(host.attachment);
        for (unsigned k = 0; k < i % 5; k++) {
            host_turn(&host);
            host_wait(&host, 100000);
        }
        attach_close(host.attachment);
        stack_close(host.stack);
        int guest = knock();
        memset(noise, (int)i, sizeof noise);
        (void)!send(guest, noise, i % sizeof noise, MSG_NOSIGNAL);
        close(guest);
    }
    for (unsigned i = 0; i < 40; i++)
        close(idle[i]);
}

static void test_stacks(const char *rule)
{
    struct switch_thread s;
    struct side sides[PAIRS][2];
    start_switch(&s, rule, 0);
    for (uint32_t i = 0; i < PAIRS; i++)
        start_pair(sides[i], A + 10 * i, A + 10 * i + 1, 0, 0);
    disturb(50);
    for (uint32_t i = 0; i < PAIRS; i++)
        await_pair(sides[i], rule == NULL ? "unimpaired" : rule);
    stop_switch(&s);
}

/* Two stacks with one address, each with a connection of its own; and nobody sleeps at once. */
static void test_shared(void)
{
    struct switch_thread s;
    struct side sides[2][2];
    start_switch(&s, NULL, 50);
    start_pair(sides[0], A, A + 1, 1000, 1999);
    start_pair(sides[1], A, A + 2, 2000, 2999);
    await_pair(sides[0], "ports 1000 to 1999");
    await_pair(sides[1], "ports 2000 to 2999");
    stop_switch(&s);
}

/* A port, and nothing behind it. Returns the socket. */
static int join_by_hand(int files[HELLO_DESCRIPTORS])
{
    struct hello hello = {.magic = HELLO_MAGIC, .ip = A};
    struct welcome welcome;
    char control[CMSG_SPACE(sizeof(int) * HELLO_DESCRIPTORS)];
    struct iovec part = {&welcome, sizeof welcome};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int guest = knock();
    NEED(send(guest, &hello, sizeof hello, 0) == sizeof hello && recvmsg(guest, &message, 0) == sizeof welcome);
    CHECK(welcome.error == 0, "%s", strerror(welcome.error));
    NEED(welcome.error == 0);
    memcpy(files, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int) * HELLO_DESCRIPTORS);
    return guest;
}

static void ring(int bell, int times)
{
    static const uint64_t one = 1;
    for (int i = 0; i < times; i++) {
        (void)!write(bell, &one, sizeof one);
        usleep(50);
    }
}

/* Whoever rings for nothing is not heard any more; who has left, not at all. */
static void test_vain_bells(void)
{
    struct switch_thread s;
    int files[HELLO_DESCRIPTORS], after[HELLO_DESCRIPTORS];
    start_switch(&s, NULL, 0);
    int guest = join_by_hand(files);
    uint64_t begin = monotonic_ns();
    ring(files[HELLO_SWITCH_BELL], 2000);
    uint64_t ms = (monotonic_ns() - begin) / 1000000, sleeps = door_sleeps(s.door);
    CHECK(sleeps < 200 + 3 * ms, "it was woken %llu times in %llu ms", (unsigned long long)sleeps,
          (unsigned long long)ms);
    /* It still serves: a second hello ends it. */
    struct pollfd end = {.fd = guest, .events = POLLRDHUP};
    NEED(send(guest, &end, 1, 0) == 1);
    CHECK(poll(&end, 1, 10000) == 1, "the switch does not hang up");
    close(guest);
    guest = join_by_hand(after); /* the port is free, and nothing of it is left */
    sleeps = door_sleeps(s.door);
    ring(files[HELLO_SWITCH_BELL], 500);
    sleeps = door_sleeps(s.door) - sleeps;
    CHECK(sleeps < 50, "it was woken %llu times by one that had left", (unsigned long long)sleeps);
    close(guest);
    stop_switch(&s);
    for (int i = 0; i < HELLO_DESCRIPTORS; i++) {
        close(files[i]);
        close(after[i]);
    }
}

/* The switch ends: its stacks do not hang, and lose frames. */
static void test_switch_ends(void)
{
    struct switch_thread s;
    struct host host;
    start_switch(&s, NULL, 0);
    open_host(&host, A, 0, 0);
    stop_switch(&s);
    us_connect(host.stack, (struct us_endpoint){A + 1, 80}, 0);
    for (int i = 0; i < 20; i++) {
        host_turn(&host);
        host_wait(&host, 1000000);
    }
    host_close(&host);
    const struct stack_address address = {.ip = A, .netmask = 0xffffff00};
    struct wire wire;
    char error[256] = "";
    CHECK(attach_open(where, &address, &wire, error, sizeof error) == NULL && strstr(error, "stackswitch") != NULL, "%s",
          error);
    static const char *const bad[] = {"", "switch", "switch:", "bridge:x", "switch:/x,ports=5", "switch:/x,ports=5-4",
                                      "switch:/x,ports=0-4", "switch:/x,mac=1"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        *error = '\0';
        CHECK(attach_open(bad[i], &address, &wire, error, sizeof error) == NULL && *error != '\0', "'%s'", bad[i]);
    }
}

int main(void)
{
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/nai-switch-%d", folder == NULL ? "/tmp" : folder, (int)getpid());
    snprintf(where, sizeof where, "switch:%s", path);
    test_stacks(NULL);
    test_stacks("from=*,to=*,loss=0.01,delay-us=100,duplicate=0.01,corrupt=0.01,reorder=0.01,reorder-us=300");
    test_shared();
    test_vain_bells();
    test_switch_ends();
    return checks_failed > 0;
}
