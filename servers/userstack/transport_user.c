/* transport_user.c: transport.h on the user-level stack, one for the process, opened at the first call that needs it, as
 * NAI_STACK says (stack_options.h); what that says wrongly ends the program with status 2, what refuses it with 1.
 *
 * What differs from the kernel's:
 * - The stack runs only in tp_epoll_wait() and during calls: segments that come while the program computes wait in the
 *   attachment. What calls have written leaves at the next tp_epoll_wait(), with one doorbell.
 * - A program's end is the stack's. At exit() it goes on for up to LAST_MS, until what was sent is acknowledged.
 * - There is one epoll set. A wait may report nothing before its time, after a timer of the stack or a signal.
 * - Edge-triggered EPOLLOUT is reported again only after a write has left a connection not writable.
 * - tp_options.defer_accept_s has no effect on a listener, which tells of a connection at once; on who connects it has the
 *   kernel's. tp_options.reuse_port: EOPNOTSUPP, since no two processes share a stack's port.
 * - Nothing blocks: the calls for a kernel thread a connection return ENOTSUP.
 * - Only what enters the kernel counts as a system call: doorbells, sleeps, and reads of files.
 */
#include "transport.h"

#include "../common/counters.h" /* the stack has one of that name, too */
#include "arguments.h"
#include "bounds.h"
#include "host.h"
#include "stack_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    FIRST = DESCRIPTORS_INHERITED, /* number: the program's own descriptors are mostly lower, so that mixing them up shows */
    PIECE_BYTES = 65536,           /* of a file, read at a time */
    FIRST_PORT = 32768,            /* for listeners on port 0 */
    LAST_MS = 1000,
    NONE = -1,
};

enum kind { FREE, SOCKET, LISTENER, SET };

/* What a number stands for. Those that are free form a list, the last one freed first, so numbers stay small. */
struct place {
    int socket; /* the stack's */
    uint32_t next; /* of a free one: the next, from 1 */
    uint16_t port; /* of a listener */
    uint8_t kind;
    bool watched, ended; /* in the set; tp_shutdown() was called */
};

static struct transport {
    bool open;
    struct host host;
    struct stack_options options;
    struct place *places;
    uint32_t count, used, free; /* places; of which were ever used; the first free one, from 1 */
    struct us_event *events;    /* room for as many as there are places */
    bool has_set;
    uint32_t piece_bytes;
    uint8_t piece[PIECE_BYTES];
} user;

static int failed(int error)
{
    errno = error;
    return -1;
}

/* A result of socket.h as a system call's. */
static ssize_t result_of(ssize_t result) { return result < 0 ? failed((int)-result) : result; }

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The beginning and the end */

/* What the stack has counted, for who asks for it: `key value` lines, as stackhost prints them. */
static void write_ledger(void)
{
    const char *name, *path = getenv("NAI_LEDGER");
    uint64_t value;
    FILE *file = path == NULL ? NULL : fopen(path, "w");
    if (file == NULL)
        return;
    for (unsigned i = 0; stack_counter(user.host.stack, i, &name, &value); i++)
        if (value > 0)
            fprintf(file, "%s %llu\n", name, (unsigned long long)value);
    fclose(file);
}

static void close_stack(void)
{
    uint64_t until_ns = now_ns() + LAST_MS * UINT64_C(1000000);
    for (uint32_t i = 0; i < user.used; i++)
        if (user.places[i].kind == SOCKET || user.places[i].kind == LISTENER)
            us_close(user.host.stack, user.places[i].socket);
    for (uint64_t now = now_ns(); now < until_ns; now = now_ns()) {
        struct stack_usage usage = stack_usage(user.host.stack);
        if (usage.connections == usage.time_waits)
            break;
        host_wait(&user.host, (int64_t)(until_ns - now));
        host_turn(&user.host);
    }
    write_ledger();
    host_close(&user.host);
    free(user.places);
    free(user.events);
    user = (struct transport){0};
}

static struct stack *stack(void)
{
    char error[512];
    if (user.open)
        return user.host.stack;
    if (stack_options_read(&user.options, getenv("NAI_STACK"), error, sizeof error) != 0)
        fail(2, "%s", error);
    struct stack_options *o = &user.options;
    if (host_open(&user.host, o->attach, &o->address, &o->limits, error, sizeof error) != 0)
        fail(1, "NAI_STACK: %s", error);
    user.count = o->connections + o->limits.listeners + 1;
    user.places = calloc(user.count, sizeof *user.places);
    user.events = malloc(user.count * sizeof *user.events);
    if (user.places == NULL || user.events == NULL)
        fail(1, "NAI_STACK: connections=%u: %s", o->connections, strerror(ENOMEM));
    user.piece_bytes = o->limits.send_bytes / 4 < PIECE_BYTES ? o->limits.send_bytes / 4 : PIECE_BYTES;
    user.open = true;
    atexit(close_stack);
    return user.host.stack;
}

/* Numbers */

static struct place *place_of(int number)
{
    uint32_t at = (uint32_t)number - FIRST;
    return number >= FIRST && at < user.used && user.places[at].kind != FREE ? &user.places[at] : NULL;
}

/* The stack's socket behind a number, -1 if there is none: the stack answers to that with EBADF. */
static int socket_of(int number)
{
    const struct place *place = place_of(number);
    return place == NULL || place->kind == SET ? NONE : place->socket;
}

static struct place *take(enum kind kind, int socket)
{
    struct place *place = NULL;
    if (user.free != 0)
        place = &user.places[user.free - 1];
    else if (user.used < user.count)
        place = &user.places[user.used++];
    else
        return NULL;
    user.free = place->next;
    *place = (struct place){.kind = (uint8_t)kind, .socket = socket};
    return place;
}

static int number_of(const struct place *place) { return FIRST + (int)(place - user.places); }

static void give(struct place *place)
{
    *place = (struct place){.next = user.free};
    user.free = (uint32_t)(place - user.places) + 1;
}

/* Opening */

static bool is_ours(const struct sockaddr_in *address)
{
    uint32_t ip = ntohl(address->sin_addr.s_addr);
    return ip == INADDR_ANY || ip == user.options.address.ip;
}

/* us_option's value; -1 where nothing was asked for; -2 if it is unknown. */
static int congestion_of(const struct tp_options *options)
{
    const char *name = options == NULL ? NULL : options->congestion;
    return name == NULL ? -1 : strcmp(name, "reno") == 0 ? 0 : strcmp(name, "cubic") == 0 ? 1 : -2;
}

/* TCP_NODELAY as with the kernel's, and what the options ask for. */
static void set_up(int socket, int congestion)
{
    us_set(stack(), socket, US_NODELAY, 1);
    if (congestion >= 0)
        us_set(stack(), socket, US_CONGESTION, (uint32_t)congestion);
}

int tp_listen(const struct sockaddr_in *address, const struct tp_options *options)
{
    struct stack *s = stack();
    int congestion = congestion_of(options);
    if (congestion < -1)
        return failed(ENOENT);
    if (options->reuse_port)
        return failed(EOPNOTSUPP);
    if (!is_ours(address))
        return failed(EADDRNOTAVAIL);
    uint32_t backlog = options->backlog > 0 ? (uint32_t)options->backlog : 1;
    uint32_t port = ntohs(address->sin_port), last = port;
    if (port == 0) {
        port = FIRST_PORT;
        last = UINT16_MAX;
    }
    int socket = us_listen(s, (uint16_t)port, backlog);
    while (socket == -EADDRINUSE && port < last)
        socket = us_listen(s, (uint16_t)++port, backlog);
    if (socket < 0)
        return failed(-socket);
    struct place *place = take(LISTENER, socket);
    if (place == NULL) {
        us_close(s, socket);
        return failed(EMFILE);
    }
    place->port = (uint16_t)port;
    set_up(socket, congestion);
    return number_of(place);
}

int tp_local_address(int number, struct sockaddr_in *address)
{
    const struct place *place = place_of(number);
    struct us_endpoint local = {user.options.address.ip, 0};
    if (place == NULL || place->kind == SET)
        return failed(EBADF);
    local.port = place->port;
    if (place->kind == SOCKET)
        us_local(stack(), place->socket, &local);
    *address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(local.port), .sin_addr.s_addr = htonl(local.ip)};
    return 0;
}

int tp_accept(int listener, struct sockaddr_in *peer)
{
    struct us_endpoint from;
    struct stack *s = stack();
    struct place *place = take(SOCKET, NONE); /* first: who gets no number stays in the accept queue */
    if (place == NULL)
        return failed(EMFILE);
    int socket = us_accept(s, socket_of(listener), &from);
    if (socket < 0) {
        give(place);
        return failed(-socket);
    }
    place->socket = socket;
    if (peer != NULL)
        *peer = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = htons(from.port), .sin_addr.s_addr = htonl(from.ip)};
    return number_of(place);
}

int tp_connect(const struct sockaddr_in *destination, const struct sockaddr_in *source, const struct tp_options *options)
{
    struct stack *s = stack();
    int congestion = congestion_of(options);
    if (congestion < -1)
        return failed(ENOENT);
    if (source != NULL && !is_ours(source))
        return failed(EADDRNOTAVAIL);
    struct place *place = take(SOCKET, NONE);
    if (place == NULL)
        return failed(EMFILE);
    struct us_endpoint to = {ntohl(destination->sin_addr.s_addr), ntohs(destination->sin_port)};
    place->socket = us_connect(s, to, source == NULL ? 0 : ntohs(source->sin_port));
    if (place->socket < 0) {
        int error = -place->socket;
        give(place);
        return failed(error);
    }
    set_up(place->socket, congestion);
    if (options != NULL && options->defer_accept_s > 0)
        us_set(s, place->socket, US_DEFER_ACK, 1);
    return number_of(place);
}

int tp_usable(const struct sockaddr_in *source, const struct tp_options *options)
{
    stack();
    if (congestion_of(options) < -1)
        return failed(ENOENT);
    return source == NULL || is_ours(source) ? 0 : failed(EADDRNOTAVAIL);
}

int tp_connect_result(int socket)
{
    int result = us_connect_result(stack(), socket_of(socket));
    return result == -EINPROGRESS ? 0 : -result;
}

/* Bytes */

static uint32_t at_most(size_t bytes) { return bytes < INT32_MAX ? (uint32_t)bytes : INT32_MAX; }

static ssize_t receive(int number, void *buffer, size_t bytes)
{
    const struct place *place = place_of(number);
    if (place != NULL && place->ended)
        return 0;
    return result_of(us_read(stack(), socket_of(number), buffer, at_most(bytes)));
}

ssize_t tp_recv(int socket, void *buffer, size_t bytes) { return receive(socket, buffer, bytes); }

ssize_t tp_discard(int socket, size_t bytes) { return receive(socket, NULL, bytes); }

ssize_t tp_send(int socket, const void *buffer, size_t bytes)
{
    return result_of(us_write(stack(), socket_of(socket), buffer, at_most(bytes), false));
}

ssize_t tp_sendv(int number, const struct iovec *parts, int count, bool more_follows)
{
    size_t bytes = 0;
    int fit = 0;
    while (fit < count && parts[fit].iov_len <= INT32_MAX - bytes)
        bytes += parts[fit++].iov_len;
    if (fit == 0 && count > 0)
        return tp_send(number, parts[0].iov_base, parts[0].iov_len);
    return result_of(us_writev(stack(), socket_of(number), parts, fit, more_follows || fit < count));
}

/* A piece is read when there is room for all of it, so that none is read twice: what is written at a time is a quarter of
 * what a connection buffers, which is also when it is called writable. */
ssize_t tp_sendfile(int number, int file, off_t *offset, size_t bytes)
{
    struct stack *s = stack();
    int socket = socket_of(number);
    size_t sent = 0;
    while (sent < bytes) {
        if (!(us_readiness(s, socket) & US_WRITABLE)) {
            int error = us_write(s, socket, user.piece, 0, true); /* why not? 0: for want of room */
            return sent > 0 ? (ssize_t)sent : failed(error == 0 ? EAGAIN : -error);
        }
        size_t part = bytes - sent < user.piece_bytes ? bytes - sent : user.piece_bytes;
        count(system_calls);
        ssize_t got = pread(file, user.piece, part, *offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) /* 0: the file has become shorter */
            return sent > 0 ? (ssize_t)sent : got;
        int taken = us_write(s, socket, user.piece, (uint32_t)got, sent + (size_t)got < bytes);
        if (taken < 0)
            return sent > 0 ? (ssize_t)sent : failed(-taken);
        *offset += taken;
        sent += (size_t)taken;
        if (taken < got) /* no chunk is left */
            break;
    }
    return (ssize_t)sent;
}

int tp_accept_blocking(int listener)
{
    (void)listener;
    return failed(ENOTSUP);
}

ssize_t tp_blocking_recv(int socket, void *buffer, size_t bytes)
{
    (void)socket, (void)buffer, (void)bytes;
    return failed(ENOTSUP);
}

ssize_t tp_blocking_sendv(int socket, const struct iovec *parts, int count, bool more_follows)
{
    (void)socket, (void)parts, (void)count, (void)more_follows;
    return failed(ENOTSUP);
}

ssize_t tp_blocking_sendfile(int socket, int file, off_t *offset, size_t bytes)
{
    (void)socket, (void)file, (void)offset, (void)bytes;
    return failed(ENOTSUP);
}

/* Closing */

int tp_shutdown_write(int socket) { return (int)result_of(us_shutdown_write(stack(), socket_of(socket))); }

int tp_shutdown(int number)
{
    struct place *place = place_of(number);
    if (place != NULL)
        place->ended = true;
    return tp_shutdown_write(number);
}

int tp_close(int number)
{
    struct place *place = place_of(number);
    if (place == NULL)
        return failed(EBADF);
    if (place->kind == SET)
        user.has_set = false;
    else
        us_close(stack(), place->socket);
    give(place);
    return 0;
}

int tp_abort(int number)
{
    struct place *place = place_of(number);
    if (place == NULL || place->kind != SOCKET)
        return tp_close(number);
    us_abort(stack(), place->socket);
    give(place);
    return 0;
}

/* Readiness */

int tp_epoll_create(void)
{
    stack();
    struct place *place = user.has_set ? NULL : take(SET, NONE);
    if (place == NULL)
        return failed(EMFILE);
    user.has_set = true;
    return number_of(place);
}

static bool is_set(int number)
{
    const struct place *place = place_of(number);
    return place != NULL && place->kind == SET;
}

int tp_epoll_ctl(int set, int operation, int number, struct epoll_event *event)
{
    struct place *place = place_of(number);
    if (!is_set(set) || place == NULL)
        return failed(EBADF);
    if (place->kind == SET || (operation != EPOLL_CTL_DEL && event == NULL))
        return failed(EINVAL);
    if (place->watched == (operation == EPOLL_CTL_ADD))
        return failed(place->watched ? EEXIST : ENOENT);
    place->watched = operation != EPOLL_CTL_DEL;
    if (!place->watched)
        return (int)result_of(us_interest(stack(), place->socket, 0, 0));
    unsigned interest = US_ENDED; /* EPOLLHUP and EPOLLERR need not be asked for */
    interest |= event->events & EPOLLIN ? US_READABLE : 0;
    interest |= event->events & EPOLLOUT ? US_WRITABLE : 0;
    interest |= event->events & EPOLLRDHUP ? US_PEER_CLOSED : 0;
    interest |= event->events & EPOLLET ? US_EDGE : 0;
    return (int)result_of(us_interest(stack(), place->socket, interest, event->data.u64));
}

static uint32_t events_of(const struct us_event *event)
{
    uint32_t events = event->readiness & US_READABLE ? EPOLLIN : 0;
    events |= event->readiness & US_WRITABLE ? EPOLLOUT : 0;
    events |= event->readiness & US_PEER_CLOSED ? EPOLLRDHUP : 0;
    if (event->readiness & US_ENDED)
        events |= us_connect_result(user.host.stack, event->socket) < 0 ? EPOLLHUP | EPOLLERR : EPOLLHUP;
    return events;
}

/* A time-out below 0 is for ever. */
static int wait_for(struct epoll_event *events, int capacity, int64_t timeout_ns)
{
    int most = capacity < (int)user.count ? capacity : (int)user.count, n;
    uint64_t begin_ns = 0, calls = attach_system_calls(user.host.attachment);
    attach_flush(user.host.attachment);
    for (bool slept = false;; slept = true) {
        host_turn(&user.host);
        n = us_wait(user.host.stack, user.events, most);
        bool for_nothing = slept && user.host.frames == 0; /* the time is over, a timer, or a signal */
        if (n > 0 || timeout_ns == 0 || for_nothing)
            break;
        int64_t left_ns = timeout_ns;
        if (timeout_ns > 0 && begin_ns == 0) {
            begin_ns = now_ns();
        } else if (timeout_ns > 0) {
            left_ns = (int64_t)(begin_ns + (uint64_t)timeout_ns - now_ns());
            if (left_ns <= 0)
                break;
        }
        host_wait(&user.host, left_ns);
    }
    for (int i = 0; i < n; i++)
        events[i] = (struct epoll_event){.events = events_of(&user.events[i]), .data.u64 = user.events[i].data};
    /* getevents_ends() counts one for this call: here it were wrong. */
    count_by(system_calls, attach_system_calls(user.host.attachment) - calls - 1);
    return n;
}

int tp_epoll_wait(int set, struct epoll_event *events, int capacity, int timeout_ms)
{
    if (!is_set(set))
        return failed(EBADF);
    return capacity <= 0 ? failed(EINVAL) : wait_for(events, capacity, (int64_t)timeout_ms * 1000000);
}

int tp_epoll_wait_ns(int set, struct epoll_event *events, int capacity, uint64_t timeout_ns)
{
    if (!is_set(set))
        return failed(EBADF);
    int64_t timeout = timeout_ns < INT64_MAX ? (int64_t)timeout_ns : INT64_MAX;
    return capacity <= 0 ? failed(EINVAL) : wait_for(events, capacity, timeout);
}
