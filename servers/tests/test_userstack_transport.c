/* test_userstack_transport.c: transport.h on the user-level stack, as programs use it. What carries its frames is of this
 * test: memory, to a second stack, the peer, which runs whenever the transport's would look for frames or sleep. */
#include "attach.h"
#include "check.h"
#include "counters.h"
#include "fixture.h"
#include "socket.h"
#include "stack_options.h"
#include "tcp_states.h"
#include "transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES = 512, OURS = 0x0a000001, PEERS = 0x0a000002, PORT = 80, BIG = 300000 };

/* The wire */

struct queue {
    uint8_t frames[FRAMES][WIRE_FRAME_MAX];
    uint32_t bytes[FRAMES], head, tail, carrying_data;
};

struct attachment {
    struct queue to_peer, to_us;
    struct stack *peer;
    uint64_t system_calls;
} wire;

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct queue *q = context;
    return q->tail - q->head == FRAMES || bytes > WIRE_FRAME_MAX ? NULL : q->frames[q->tail % FRAMES];
}

static void commit(void *context, uint32_t bytes)
{
    struct queue *q = context;
    q->carrying_data += bytes > 100; /* more than headers and options */
    q->bytes[q->tail++ % FRAMES] = bytes;
}

static unsigned deliver(struct queue *q, struct stack *stack, unsigned batch)
{
    unsigned n = 0;
    for (; n < batch && q->head != q->tail; n++, q->head++)
        stack_input(stack, q->frames[q->head % FRAMES], q->bytes[q->head % FRAMES], 0);
    return n;
}

static uint64_t now_ticks(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) / 100000;
}

static void peer_turn(void)
{
    stack_advance(wire.peer, now_ticks());
    deliver(&wire.to_peer, wire.peer, FRAMES);
}

static struct wire end_of(struct queue *out, uint8_t number)
{
    return (struct wire){.context = out, .reserve = reserve, .commit = commit, .mtu = 1500, .mac = {2, 0, 0, 0, 0, number}};
}

struct attachment *attach_open(const char *where, const struct stack_address *address, struct wire *out, char *error,
                               size_t error_bytes)
{
    if (strcmp(where, "test:it") != 0 || address->ip != OURS) {
        snprintf(error, error_bytes, "%s: it is not there", where);
        return NULL;
    }
    struct stack_limits limits = stack_default_limits();
    struct stack_address peers = {.ip = PEERS, .netmask = 0xffffff00};
    struct wire back = end_of(&wire.to_us, 2);
    limits.key[0] = 1;
    wire.peer = stack_open(&limits, &back, &peers, now_ticks());
    NEED(wire.peer != NULL);
    *out = end_of(&wire.to_peer, 1);
    return &wire;
}

void attach_close(struct attachment *a) { stack_close(a->peer); }

unsigned attach_input(struct attachment *a, struct stack *stack, unsigned batch)
{
    peer_turn();
    return deliver(&a->to_us, stack, batch);
}

void attach_flush(struct attachment *a) { (void)a; }

void attach_wait(struct attachment *a, int64_t ns)
{
    struct timespec nap = {.tv_nsec = ns < 0 || ns > 1000000 ? 1000000 : (long)ns};
    peer_turn();
    if (a->to_us.head == a->to_us.tail) {
        a->system_calls++;
        nanosleep(&nap, NULL);
    }
}

uint64_t attach_lost(const struct attachment *a)
{
    (void)a;
    return 0;
}

uint64_t attach_system_calls(const struct attachment *a) { return a->system_calls; }

/* What tests have in common */

static struct sockaddr_in address(uint32_t ip, uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip)};
}

static const struct tp_options usual = {.backlog = 64};
static int set, listener;

/* Events of one wait of at most 2 s, which ends before if there are any. */
static int wait_events(struct epoll_event *events, int capacity)
{
    for (int i = 0; i < 2000; i++) {
        int n = tp_epoll_wait(set, events, capacity, 1);
        if (n != 0)
            return n;
    }
    return 0;
}

static void let_pass(int turns)
{
    struct epoll_event event;
    while (turns-- > 0)
        tp_epoll_wait(set, &event, 1, 1);
}

static void watch(int socket, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = socket};
    CHECK(tp_epoll_ctl(set, EPOLL_CTL_ADD, socket, &event) == 0, "%s", strerror(errno));
}

/* A connection that the peer has opened: ours; its own in *peers. */
static int accepted(int *peers)
{
    struct sockaddr_in from;
    *peers = us_connect(wire.peer, (struct us_endpoint){OURS, PORT}, 0);
    NEED(*peers >= 0);
    for (int i = 0; i < 2000; i++) {
        let_pass(1);
        int socket = tp_accept(listener, &from);
        if (socket >= 0) {
            CHECK(ntohl(from.sin_addr.s_addr) == PEERS && from.sin_port != 0, "peer's address");
            return socket;
        }
        CHECK(errno == EAGAIN, "accept: %s", strerror(errno));
    }
    NEED(!"the peer was not accepted");
    return -1;
}

static void reads_are(int peers, const char *text)
{
    char got[256] = "";
    let_pass(3);
    int n = us_read(wire.peer, peers, got, sizeof got - 1);
    CHECK(n == (int)strlen(text) && strcmp(got, text) == 0, "'%s' came, not '%s' (%d)", got, text, n);
}

/* Tests */

static void test_bytes_travel(void)
{
    int peers, socket = accepted(&peers);
    char buffer[64];
    struct epoll_event events[8];
    CHECK(tp_recv(socket, buffer, sizeof buffer) == -1 && errno == EAGAIN, "nothing has come");
    watch(socket, EPOLLIN);
    CHECK(us_write(wire.peer, peers, "request", 7, false) == 7, "write");
    for (int again = 0; again < 3; again++) { /* level-triggered: as long as it is not read */
        CHECK(wait_events(events, 8) == 1 && events[0].data.fd == socket && events[0].events == EPOLLIN,
              "events %x", events[0].events);
    }
    CHECK(tp_recv(socket, buffer, 3) == 3 && memcmp(buffer, "req", 3) == 0, "a part");
    CHECK(tp_discard(socket, 64) == 4, "the rest, unseen");
    CHECK(tp_epoll_wait(set, events, 8, 0) == 0, "nothing is left");

    /* Two parts and what follows are one segment. */
    uint32_t before = wire.to_peer.carrying_data;
    char half[400];
    memset(half, 'x', sizeof half);
    struct iovec parts[2] = {{half, sizeof half}, {half, sizeof half}};
    CHECK(tp_sendv(socket, parts, 2, true) == 2 * sizeof half, "two parts");
    CHECK(tp_send(socket, half, sizeof half) == sizeof half, "the third");
    let_pass(2);
    CHECK(wire.to_peer.carrying_data == before + 1, "%u segments", wire.to_peer.carrying_data - before);
    CHECK(us_read(wire.peer, peers, NULL, 5000) == 3 * sizeof half, "all came");

    CHECK(tp_shutdown_write(socket) == 0, "shutdown");
    CHECK(tp_send(socket, "x", 1) == -1 && errno == EPIPE, "after the end: %s", strerror(errno));
    let_pass(3);
    CHECK(us_read(wire.peer, peers, buffer, 1) == 0, "the peer sees the end");
    us_close(wire.peer, peers);
    CHECK(wait_events(events, 8) == 1 && (events[0].events & EPOLLHUP) && !(events[0].events & EPOLLERR), "both have ended");
    CHECK(tp_recv(socket, buffer, 1) == 0, "end");
    CHECK(tp_close(socket) == 0 && tp_close(socket) == -1 && errno == EBADF, "close once");
}

static void test_edges(void)
{
    int peers, socket = accepted(&peers);
    struct epoll_event events[8];
    watch(socket, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    CHECK(wait_events(events, 8) == 1 && events[0].events == EPOLLOUT, "writable at first");
    CHECK(tp_epoll_wait(set, events, 8, 1) == 0, "and only once");
    us_write(wire.peer, peers, "a", 1, false);
    CHECK(wait_events(events, 8) == 1 && events[0].events == EPOLLIN, "events %x", events[0].events);
    CHECK(tp_epoll_wait(set, events, 8, 1) == 0, "unread, but told");
    us_write(wire.peer, peers, "b", 1, false);
    CHECK(wait_events(events, 8) == 1 && events[0].events == EPOLLIN, "more has come");
    CHECK(tp_discard(socket, 64) == 2, "both");

    /* Full, then room again. */
    static char much[BIG];
    ssize_t taken = tp_send(socket, much, sizeof much);
    CHECK(taken > 0 && (size_t)taken < sizeof much, "%zd taken at once", taken);
    CHECK(tp_send(socket, much, sizeof much) == -1 && errno == EAGAIN, "full");
    size_t got = 0;
    bool writable = false;
    for (int i = 0; i < 4000 && got < (size_t)taken; i++) {
        int n = us_read(wire.peer, peers, NULL, BIG);
        got += n > 0 ? (size_t)n : 0;
        if (tp_epoll_wait(set, events, 8, 1) > 0)
            writable |= (events[0].events & EPOLLOUT) != 0;
    }
    CHECK(got == (size_t)taken && writable, "%zu of %zd came; writable again: %d", got, taken, writable);
    us_shutdown_write(wire.peer, peers);
    CHECK(wait_events(events, 8) == 1 && (events[0].events & EPOLLRDHUP), "the peer's end: %x", events[0].events);
    us_abort(wire.peer, peers);
    CHECK(wait_events(events, 8) == 1 && (events[0].events & EPOLLERR), "reset: %x", events[0].events);
    CHECK(tp_recv(socket, much, 1) == -1 && errno == ECONNRESET, "%s", strerror(errno));
    CHECK(tp_send(socket, much, 1) == -1, "nor can it be written to");
    tp_close(socket);
}

static void test_files(void)
{
    char path[4096];
    int peers, socket = accepted(&peers);
    static char got[BIG];
    snprintf(path, sizeof path, "%s/sendfile.bin", fixture_root());
    int file = open(path, O_RDONLY);
    NEED(file >= 0);
    off_t offset = 0;
    size_t came = 0;
    uint64_t calls = counter_value(system_calls);
    bool partly = false;
    for (int i = 0; i < 4000 && came < BIG; i++) {
        off_t before = offset;
        ssize_t sent = tp_sendfile(socket, file, &offset, (size_t)(BIG - before));
        CHECK(sent > 0 ? offset == before + sent : offset == before && (errno == EAGAIN || before == BIG),
              "sent %zd, offset %lld: %s", sent, (long long)offset, strerror(errno));
        partly |= sent > 0 && offset < BIG;
        let_pass(1);
        int n = us_read(wire.peer, peers, got + came, (uint32_t)(BIG - came));
        came += n > 0 ? (size_t)n : 0;
    }
    CHECK(came == BIG && partly, "%zu came", came);
    for (size_t i = 0; i < came; i++) {
        if (got[i] != fixture_byte(i)) {
            CHECK(false, "byte %zu is wrong", i);
            break;
        }
    }
    CHECK(counter_value(system_calls) != calls, "reads of files are system calls");
    offset = BIG - 10;
    CHECK(tp_sendfile(socket, file, &offset, 1000) == 10 && offset == BIG, "what there is");
    CHECK(tp_sendfile(socket, file, &offset, 1000) == 0, "the file has become shorter");
    CHECK(tp_sendfile(socket, -1, &offset, 1000) == -1 && errno == EBADF, "no file");
    tp_shutdown_write(socket);
    CHECK(tp_sendfile(socket, file, &offset, 1000) == -1 && errno == EPIPE, "%s", strerror(errno));
    close(file);
    tp_abort(socket);
    us_abort(wire.peer, peers);
}

/* What becomes of a connection that we open. */
static void test_opening(void)
{
    struct epoll_event events[4];
    struct sockaddr_in to = address(PEERS, 7), ours = address(OURS, 0), other = address(PEERS, 0);
    int peers_listener = us_listen(wire.peer, 7, 8);
    NEED(peers_listener >= 0);
    CHECK(tp_connect(&to, &other, &usual) == -1 && errno == EADDRNOTAVAIL, "from another's address");
    int socket = tp_connect(&to, &ours, &usual);
    CHECK(socket >= 0 && tp_connect_result(socket) == 0, "under way");
    watch(socket, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    CHECK(wait_events(events, 4) == 1 && events[0].events == EPOLLOUT, "open: %x", events[0].events);
    CHECK(tp_connect_result(socket) == 0, "open");
    let_pass(2);
    int peers = us_accept(wire.peer, peers_listener, NULL);
    CHECK(peers >= 0 && tp_send(socket, "hello", 5) == 5, "send");
    reads_are(peers, "hello");
    CHECK(tp_abort(socket) == 0, "abort");
    let_pass(2);
    CHECK(us_connect_result(wire.peer, peers) == -ECONNRESET, "it was reset");
    us_close(wire.peer, peers);
    us_close(wire.peer, peers_listener);

    socket = tp_connect(&to, NULL, NULL); /* nobody listens any more */
    NEED(socket >= 0);
    watch(socket, EPOLLIN | EPOLLOUT | EPOLLET);
    CHECK(wait_events(events, 4) == 1 && (events[0].events & EPOLLERR) && (events[0].events & EPOLLHUP), "refused");
    CHECK(tp_connect_result(socket) == ECONNREFUSED, "%s", strerror(tp_connect_result(socket)));
    tp_close(socket);
}

static void test_refusals(void)
{
    struct sockaddr_in any = address(INADDR_ANY, 0), taken = address(OURS, PORT), other = address(PEERS, 81), own;
    struct tp_options strange = {.backlog = 1, .congestion = "bbr"}, shared = {.backlog = 1, .reuse_port = true},
                      reno = {.backlog = 1, .congestion = "reno"};
    struct epoll_event event = {0};
    CHECK(tp_listen(&any, &strange) == -1 && errno == ENOENT, "%s", strerror(errno));
    CHECK(tp_usable(NULL, &strange) == -1 && errno == ENOENT && tp_usable(NULL, &reno) == 0, "usable");
    CHECK(tp_listen(&any, &shared) == -1 && errno == EOPNOTSUPP, "%s", strerror(errno));
    CHECK(tp_listen(&other, &reno) == -1 && errno == EADDRNOTAVAIL, "%s", strerror(errno));
    CHECK(tp_listen(&taken, &reno) == -1 && errno == EADDRINUSE, "%s", strerror(errno));
    int first = tp_listen(&any, &reno), second = tp_listen(&any, &reno);
    CHECK(first >= 0 && second >= 0, "port 0");
    CHECK(tp_local_address(first, &own) == 0 && ntohl(own.sin_addr.s_addr) == OURS, "address");
    uint16_t port = own.sin_port;
    CHECK(tp_local_address(second, &own) == 0 && own.sin_port != port && own.sin_port != 0, "another port");
    CHECK(tp_close(first) == 0 && tp_abort(second) == 0, "close");
    CHECK(tp_epoll_create() == -1 && errno == EMFILE, "one set");
    CHECK(tp_epoll_ctl(set, EPOLL_CTL_ADD, first, &event) == -1 && errno == EBADF, "closed");
    CHECK(tp_epoll_ctl(set, EPOLL_CTL_ADD, listener, &event) == -1 && errno == EEXIST, "twice");
    CHECK(tp_epoll_ctl(listener, EPOLL_CTL_ADD, listener, &event) == -1 && errno == EBADF, "no set");
    CHECK(tp_epoll_wait(listener, &event, 1, 0) == -1 && errno == EBADF, "no set");
    CHECK(tp_recv(0, &event, 1) == -1 && errno == EBADF, "a descriptor is no socket");
    CHECK(tp_close(1) == -1 && errno == EBADF, "nor is it closed");
    CHECK(tp_accept_blocking(listener) == -1 && errno == ENOTSUP, "nothing blocks");
    CHECK(tp_blocking_recv(listener, &event, 1) == -1 && errno == ENOTSUP, "nothing blocks");
    int peers, socket = accepted(&peers);
    CHECK(tp_epoll_ctl(set, EPOLL_CTL_MOD, socket, &event) == -1 && errno == ENOENT, "not in it");
    watch(socket, EPOLLIN);
    CHECK(tp_epoll_ctl(set, EPOLL_CTL_DEL, socket, NULL) == 0, "taken out");
    us_write(wire.peer, peers, "x", 1, false);
    let_pass(3);
    CHECK(tp_epoll_wait(set, &event, 1, 1) == 0, "nobody asks");
    CHECK(tp_shutdown(socket) == 0 && tp_recv(socket, &event, 1) == 0, "shut both ways");
    tp_close(socket);
    us_abort(wire.peer, peers);
}

/* Tables are indexed by numbers: they must not grow with time, although the stack's own go round. */
static void test_numbers_stay_small(void)
{
    int highest = 0;
    for (int i = 0; i < 300; i++) {
        int peers, socket = accepted(&peers);
        highest = socket > highest ? socket : highest;
        if (i % 2 == 0)
            tp_close(socket);
        else
            tp_abort(socket);
        us_abort(wire.peer, peers);
        let_pass(1);
    }
    CHECK(highest <= listener + 3, "number %d, the listener's is %d", highest, listener);
}

static void test_waits_take_their_time(void)
{
    struct epoll_event event;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    counter_value(system_calls) = 0;
    int64_t took_ns = 0;
    while (took_ns < 30000000) { /* a timer of the stack may end one before */
        CHECK(tp_epoll_wait_ns(set, &event, 1, 30000000 - (uint64_t)took_ns) == 0, "nothing happens");
        counter_value(system_calls)++; /* as getevents_ends() does */
        clock_gettime(CLOCK_MONOTONIC, &end);
        took_ns = (end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec;
    }
    CHECK(counter_value(system_calls) > 0, "sleeps are system calls");
    uint64_t calls = counter_value(system_calls);
    for (int i = 0; i < 10; i++) {
        tp_epoll_wait(set, &event, 1, 0);
        counter_value(system_calls)++;
    }
    CHECK(counter_value(system_calls) == calls, "a look is none");
}

/* NAI_STACK */

static void wrong(const char *text, const char *says)
{
    struct stack_options options;
    char error[512] = "";
    CHECK(stack_options_read(&options, text, error, sizeof error) == -1, "'%s' is taken", text == NULL ? "" : text);
    CHECK(strstr(error, says) != NULL && strchr(error, '\n') == NULL, "'%s' does not say '%s'", error, says);
}

static void test_options(void)
{
    struct stack_options o;
    char error[512] = "";
    const char *right = "attach=switch:/s,ports=80-90,address=192.168.3.4/20,gateway=192.168.0.1,tick-us=20,"
                        "min-rto-us=1000,congestion=reno,connections=1000,timers=lazy";
    CHECK(stack_options_read(&o, right, error, sizeof error) == 0, "%s", error);
    CHECK(strcmp(o.attach, "switch:/s,ports=80-90") == 0, "%s", o.attach);
    CHECK(o.address.ip == 0xc0a80304 && o.address.netmask == 0xfffff000 && o.address.gateway == 0xc0a80001, "address");
    CHECK(o.limits.tick_ns == 20000 && o.limits.min_rto_us == 1000 && strcmp(o.limits.congestion, "reno") == 0, "limits");
    CHECK(o.connections == 1000 && o.limits.connections > 1000 && o.limits.time_waits < o.limits.connections, "derived");
    wrong(NULL, "NAI_STACK is not set");
    wrong("", "NAI_STACK is not set");
    wrong("address=10.0.0.1", "attach is missing");
    wrong("attach=switch:/s", "address is missing");
    wrong("attach=switch:/s,address=10.0.0.1,colour=red", "no key 'colour'");
    wrong("attach=switch:/s,address", "'address' is no KEY=VALUE");
    wrong("attach=switch:/s,address=", "address is empty");
    wrong("attach=switch:/s,address=10.0.0", "not '10.0.0'");
    wrong("attach=switch:/s,address=10.0.0.1/31", "not '10.0.0.1/31'");
    wrong("attach=switch:/s,address=10.0.0.1/x", "not '10.0.0.1/x'");
    wrong("attach=switch:/s,address=10.0.0.1,gateway=home", "not 'home'");
    wrong("attach=switch:/s,address=10.0.0.1,tick-us=5", "tick-us is to be a whole number from 10 to 10000");
    wrong("attach=switch:/s,address=10.0.0.1,connections=-1", "connections is to be a whole number");
    wrong("attach=switch:/s,address=10.0.0.1,congestion=vegas", "not 'vegas'");
    wrong("attach=switch:/s,address=10.0.0.1,timers=hourglass", "not 'hourglass'");
}

/* Status of a program that opens its stack as the text says. */
static int status_of(const char *text)
{
    fflush(NULL);
    pid_t child = fork();
    NEED(child >= 0);
    if (child == 0) {
        struct sockaddr_in any = address(INADDR_ANY, PORT);
        close(2);
        if (text == NULL)
            unsetenv("NAI_STACK");
        else
            setenv("NAI_STACK", text, 1);
        tp_listen(&any, &usual);
        _exit(99);
    }
    int status;
    NEED(waitpid(child, &status, 0) == child);
    return WEXITSTATUS(status);
}

int main(void)
{
    struct sockaddr_in any = address(INADDR_ANY, PORT);
    test_options();
    CHECK(status_of(NULL) == 2 && status_of("attach=test:it") == 2, "options that are wrong");
    CHECK(status_of("attach=test:other,address=10.0.0.1") == 1, "where none can be attached");
    CHECK(status_of("attach=test:it,address=10.0.0.1") == 99, "right ones");
    setenv("NAI_STACK", "attach=test:it,address=10.0.0.1/24,connections=64", 1);
    listener = tp_listen(&any, &usual);
    set = tp_epoll_create();
    NEED(listener >= 0 && set >= 0);
    watch(listener, 0);
    test_bytes_travel();
    test_edges();
    test_files();
    test_opening();
    test_refusals();
    test_numbers_stay_small();
    test_waits_take_their_time();
    CHECK(tp_close(set) == 0 && tp_close(listener) == 0, "close");
    return checks_failed != 0;
}
