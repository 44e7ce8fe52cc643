/* lwip_sockets.c: sockets by number, and readiness as epoll has it: level- or edge-triggered, in time proportional to the
 * sockets that something happened to (see ../ready.c, which does the same for our stack). */
#include "lwip_sockets.h"

#include "arguments.h"
#include "clock.h"
#include "../../common/counters.h"
#include "host.h"
#include "stack_options.h"
#include "transport.h"

#include <errno.h>
#include <stdlib.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    LAST_MS = 1000,    /* after exit() */
    COUNT_EVERY = 256, /* closes: TIME-WAITs are counted by walking along all of them */
};

static struct {
    bool started;
    struct netif_attach host;
    struct stack_options options;
    struct lwip_socket *sockets;
    uint32_t count, used;     /* places; of which were ever used */
    struct lwip_socket *free; /* of those, the last one freed first: numbers stay small */
    struct lwip_socket ready; /* the list's head */
    int bell;                 /* with lwIP's thread: what wakes the program, if it is */
    bool asleep;
    uint32_t closes; /* since TIME-WAITs were counted last */
} all; /* as lwIP itself: one for the process */

/* A program's end is the stack's: it goes on until what was sent is acknowledged. */
static void stop(void)
{
    uint64_t now_ns = monotonic_ns(), until_ns = now_ns + LAST_MS * UINT64_C(1000000);
    for (uint32_t i = 0; i < all.used; i++)
        if (all.sockets[i].open)
            tp_close(socket_number(&all.sockets[i]));
#if LWIP_THREADED
    netif_attach_lock();
    for (; tcp_active_pcbs != NULL && now_ns < until_ns; now_ns = monotonic_ns()) {
        netif_attach_flush(&all.host);
        netif_attach_unlock();
        usleep(1000);
        netif_attach_lock();
    }
    netif_attach_flush(&all.host); /* the lock is kept: its threads end with the process, and nothing is taken from them */
#else
    for (; tcp_active_pcbs != NULL && now_ns < until_ns; now_ns = monotonic_ns()) {
        netif_attach_wait(&all.host, (int64_t)(until_ns - now_ns));
        netif_attach_turn(&all.host);
    }
    netif_attach_close(&all.host);
    free(all.sockets);
#endif
}

void lwip_start(void)
{
    char error[512];
    if (all.started)
        return;
    all.started = true;
    all.ready.ready_next = all.ready.ready_previous = &all.ready;
    if (stack_options_read(&all.options, getenv("NAI_STACK"), error, sizeof error) != 0)
        fail(2, "%s", error);
    all.count = all.options.connections + all.options.limits.listeners;
    all.sockets = calloc(all.count, sizeof *all.sockets);
    if (all.sockets == NULL)
        fail(1, "NAI_STACK: connections=%u: %s", all.options.connections, strerror(ENOMEM));
    all.bell = LWIP_THREADED ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (netif_attach_open(&all.host, all.options.attach, &all.options.address, error, sizeof error) != 0)
        fail(1, "NAI_STACK: %s", error);
    atexit(stop);
}

bool lwip_is_own(const struct sockaddr_in *address)
{
    uint32_t ip = ntohl(address->sin_addr.s_addr);
    return ip == INADDR_ANY || ip == all.options.address.ip;
}

void lwip_resolve(const struct sockaddr_in *destination)
{
    netif_attach_resolve(&all.host, destination->sin_addr.s_addr);
}

struct lwip_socket *socket_at(int number)
{
    uint32_t at = (uint32_t)number - LWIP_FIRST;
    return number >= LWIP_FIRST && at < all.used && all.sockets[at].open ? &all.sockets[at] : NULL;
}

int socket_number(const struct lwip_socket *socket)
{
    return LWIP_FIRST + (int)(socket - all.sockets);
}

struct lwip_socket *socket_new(void)
{
    struct lwip_socket *socket = all.free;
    if (socket != NULL)
        all.free = socket->next;
    else if (all.used < all.count)
        socket = &all.sockets[all.used++];
    else
        return NULL;
    *socket = (struct lwip_socket){.open = true};
    return socket;
}

static void unlist(struct lwip_socket *socket)
{
    if (!socket->listed)
        return;
    socket->ready_next->ready_previous = socket->ready_previous;
    socket->ready_previous->ready_next = socket->ready_next;
    socket->listed = false;
}

static void list(struct lwip_socket *socket)
{
    socket->ready_next = &all.ready;
    socket->ready_previous = all.ready.ready_previous;
    socket->ready_previous->ready_next = socket;
    all.ready.ready_previous = socket;
    socket->listed = true;
}

void socket_free(struct lwip_socket *socket)
{
    if (socket == NULL)
        return;
    unlist(socket);
    if (socket->input != NULL)
        pbuf_free(socket->input);
    socket->input = NULL;
    socket->open = false;
    socket->next = all.free;
    all.free = socket;
}

void socket_detach(struct lwip_socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;
    socket->pcb = NULL;
    if (pcb == NULL)
        return;
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_err(pcb, NULL);
}

/* As many TIME-WAITs as our stack keeps, the oldest end. lwIP's own bound is its pool of connections, which takes from
 * TIME-WAIT when it is empty (tcp_kill_timewait()); Debian's library has malloc() in place of pools, so they last for all
 * of their 2 minutes, and who comes from a port again is refused meanwhile. The latest is the list's first. */
void lwip_bound_time_waits(void)
{
    uint32_t most = all.options.limits.time_waits;
    if (++all.closes < COUNT_EVERY)
        return;
    all.closes = 0;
    struct tcp_pcb *first = tcp_tw_pcbs, *last = first;
    for (uint32_t kept = 1; last != NULL && kept < most; kept++)
        last = last->next;
    if (last == NULL)
        return;
    tcp_tw_pcbs = last->next; /* each is then the first: removing one from a list's end walks along the list */
    last->next = NULL;
    while (tcp_tw_pcbs != NULL)
        tcp_abort(tcp_tw_pcbs); /* of a TIME-WAIT: freed, no reset is sent */
    tcp_tw_pcbs = first;
}

void socket_changed(struct lwip_socket *socket)
{
    if (!socket->watched || socket->listed)
        return;
    list(socket);
    if (all.asleep) {
        all.asleep = false;
        eventfd_write(all.bell, 1);
    }
}

void socket_enqueue(struct lwip_socket *listener, struct lwip_socket *socket)
{
    socket->next = NULL;
    if (listener->waiting++ == 0)
        listener->first = socket;
    else
        listener->last->next = socket;
    listener->last = socket;
}

struct lwip_socket *socket_dequeue(struct lwip_socket *listener)
{
    if (listener->waiting == 0)
        return NULL;
    struct lwip_socket *socket = listener->first;
    listener->first = socket->next;
    listener->waiting--;
    return socket;
}

/* Room to write: as lwIP's own sockets have it (TCP_SNDLOWAT), so that a writer does not wake for every segment. */
static bool has_room(const struct tcp_pcb *pcb)
{
    return tcp_sndbuf(pcb) > TCP_SNDLOWAT && tcp_sndqueuelen(pcb) < TCP_SNDQUEUELOWAT;
}

static uint32_t readiness(const struct lwip_socket *socket)
{
    if (socket->listening)
        return socket->waiting > 0 ? socket->interest & EPOLLIN : 0;
    bool over = socket->pcb == NULL;
    uint32_t events = socket->error != 0 ? EPOLLERR : 0;
    if (over)
        events |= EPOLLHUP;
    if (over || socket->input_ended)
        events |= EPOLLRDHUP | EPOLLIN;
    if (socket->input != NULL)
        events |= EPOLLIN;
    if (over || (!socket->connecting && !socket->output_ended && has_room(socket->pcb)))
        events |= EPOLLOUT;
    return events & (socket->interest | EPOLLERR | EPOLLHUP);
}

static int collect(struct epoll_event *events, int capacity)
{
    int n = 0;
    struct lwip_socket *socket = all.ready.ready_next, *last = all.ready.ready_previous;
    while (n < capacity && socket != &all.ready) {
        struct lwip_socket *next = socket->ready_next;
        bool at_end = socket == last;
        uint32_t ready = readiness(socket);
        unlist(socket);
        if (ready != 0) {
            events[n++] = (struct epoll_event){.events = ready, .data = socket->data};
            if (!(socket->interest & EPOLLET))
                list(socket); /* behind the others: each has its turn */
        }
        if (at_end)
            break;
        socket = next;
    }
    return n;
}

int tp_epoll_create(void)
{
    lwip_start();
    return LWIP_SET;
}

int tp_epoll_ctl(int set, int operation, int number, struct epoll_event *event)
{
    LWIP_HELD;
    struct lwip_socket *socket = socket_at(number);
    errno = set != LWIP_SET || socket == NULL                       ? EBADF
            : operation != EPOLL_CTL_DEL && event == NULL           ? EINVAL
            : socket->watched == (operation != EPOLL_CTL_ADD)       ? 0
            : socket->watched                                       ? EEXIST
                                                                    : ENOENT;
    if (errno != 0)
        return -1;
    socket->watched = operation != EPOLL_CTL_DEL;
    if (socket->watched) {
        socket->interest = event->events;
        socket->data = event->data;
        socket_changed(socket);
    } else {
        unlist(socket);
    }
    return 0;
}

#if LWIP_THREADED

/* What the program has written leaves with one doorbell; then it sleeps until a callback has found a socket ready, a signal
 * has come, or the time is over. */
static int wait_for(struct epoll_event *events, int capacity, int64_t timeout_ns)
{
    LWIP_HELD;
    netif_attach_flush(&all.host);
    int n = collect(events, capacity);
    if (n > 0 || timeout_ns == 0)
        return n;
    all.asleep = true;
    netif_attach_unlock();
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    struct pollfd bell = {.fd = all.bell, .events = POLLIN};
    eventfd_t rings;
    if (ppoll(&bell, 1, timeout_ns < 0 ? NULL : &timeout, NULL) > 0 && eventfd_read(all.bell, &rings) == 0)
        count(system_calls);
    netif_attach_lock();
    all.asleep = false;
    return collect(events, capacity);
}

#else

/* What the program has written leaves with one doorbell; then frames are taken until a socket is ready. It returns early,
 * with 0, when it slept and no frame came: a timer of lwIP, or a signal. A time-out below 0 is for ever. */
static int wait_for(struct epoll_event *events, int capacity, int64_t timeout_ns)
{
    uint64_t begin_ns = 0, calls = attach_system_calls(all.host.attachment);
    int n;
    netif_attach_flush(&all.host);
    for (bool slept = false;; slept = true) {
        unsigned frames = netif_attach_turn(&all.host);
        n = collect(events, capacity);
        if (n > 0 || timeout_ns == 0 || (slept && frames == 0))
            break;
        int64_t left_ns = timeout_ns;
        if (timeout_ns > 0 && begin_ns == 0) {
            begin_ns = monotonic_ns();
        } else if (timeout_ns > 0) {
            left_ns = (int64_t)(begin_ns + (uint64_t)timeout_ns - monotonic_ns());
            if (left_ns <= 0)
                break;
        }
        netif_attach_wait(&all.host, frames == HOST_BATCH ? 0 : left_ns);
    }
    /* As with our stack: only what enters the kernel counts, and getevents_ends() counts one for this call. */
    count_by(system_calls, attach_system_calls(all.host.attachment) - calls - 1);
    return n;
}

#endif

int tp_epoll_wait(int set, struct epoll_event *events, int capacity, int timeout_ms)
{
    return tp_epoll_wait_ns(set, events, capacity, timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000000);
}

int tp_epoll_wait_ns(int set, struct epoll_event *events, int capacity, uint64_t timeout_ns)
{
    if (set == LWIP_SET && capacity > 0)
        return wait_for(events, capacity, timeout_ns < INT64_MAX ? (int64_t)timeout_ns : -1);
    errno = set == LWIP_SET ? EINVAL : EBADF;
    return -1;
}
