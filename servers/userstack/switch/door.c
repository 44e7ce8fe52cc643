#include "door.h"

#include "../packet_ring.h"
#include "patience.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    GUESTS_SPARE = 16, /* that have not said yet what they want, beyond one a port */
    EVENTS = 16,        /* heard between two turns: a guest that comes costs some tens of microseconds */
    BACKLOG = 64,
    LOOK_NS = 1000000,  /* a busy switch looks at its door so often */
    VAIN_BELLS = 64,    /* with nothing behind them, before they are not heard */
    MUTE_NS = 1000000,
    NO_PORT = UINT32_MAX,
};

enum source { SOURCE_KNOCK, SOURCE_SIGNAL, SOURCE_END, SOURCE_GUEST, SOURCE_BELL, SOURCE_UPLINK };

struct guest {
    int socket; /* -1: none */
    uint32_t port;
    uint64_t came;
};

struct door {
    struct fabric *fabric;
    struct sockaddr_un path;
    int set, knock, signals, end;
    struct guest *guests;
    uint32_t guest_count;
    uint64_t came;
    _Atomic uint64_t sleeps;
    uint32_t muted;
    uint64_t unmute_ns;
    bool ending;
};

static int watch(struct door *d, int file, uint32_t events, enum source source, uint32_t which)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)source << 32 | which};
    return epoll_ctl(d->set, EPOLL_CTL_ADD, file, &event);
}

/* A socket file that a dead switch has left is in nobody's way. */
static int bind_path(int socket_file, const struct sockaddr_un *path)
{
    if (bind(socket_file, (const struct sockaddr *)path, sizeof *path) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return -1;
    int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    bool dead = probe >= 0 && connect(probe, (const struct sockaddr *)path, sizeof *path) != 0 && errno == ECONNREFUSED;
    if (probe >= 0)
        close(probe);
    errno = EADDRINUSE;
    return dead && unlink(path->sun_path) == 0 ? bind(socket_file, (const struct sockaddr *)path, sizeof *path) : -1;
}

static int listen_at(struct door *d)
{
    mode_t before = umask(0177); /* whoever may write to the socket may have a port */
    int bound = bind_path(d->knock, &d->path);
    umask(before);
    return bound != 0 ? -1 : listen(d->knock, BACKLOG);
}

struct door *door_open(struct fabric *fabric, const char *path, char *error, size_t error_bytes)
{
    struct door *d = calloc(1, sizeof *d);
    sigset_t ends;
    if (d == NULL || strlen(path) == 0 || strlen(path) >= sizeof d->path.sun_path) {
        snprintf(error, error_bytes, "--socket: the path of a Unix socket has 1 to 107 bytes");
        free(d);
        return NULL;
    }
    d->fabric = fabric;
    d->path.sun_family = AF_UNIX;
    strcpy(d->path.sun_path, path);
    d->guest_count = fabric->port_count + GUESTS_SPARE;
    d->guests = calloc(d->guest_count, sizeof *d->guests);
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    d->set = epoll_create1(EPOLL_CLOEXEC);
    d->signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    d->end = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d->knock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool good = d->guests != NULL && d->knock >= 0 && listen_at(d) == 0 &&
                watch(d, d->knock, EPOLLIN, SOURCE_KNOCK, 0) == 0 && watch(d, d->end, EPOLLIN, SOURCE_END, 0) == 0 &&
                watch(d, d->signals, EPOLLIN, SOURCE_SIGNAL, 0) == 0;
    for (uint32_t i = 0; i < fabric->uplinks && good; i++)
        good = watch(d, packet_ring_descriptor(fabric->ports[i].packets), EPOLLIN, SOURCE_UPLINK, i) == 0;
    if (!good) {
        snprintf(error, error_bytes, "%s: %s%s", path, strerror(errno),
                 errno == EADDRINUSE ? "; another switch listens there, or it is another file" : "");
        return NULL; /* and the process ends */
    }
    for (uint32_t i = 0; i < d->guest_count; i++)
        d->guests[i].socket = -1;
    return d;
}

static void unmute(struct door *d, struct port *port)
{
    if (!port->muted)
        return;
    port->muted = false;
    port->vain = VAIN_BELLS - 1; /* the next one, if it is vain again, is the last */
    d->muted--;
    watch(d, port->switch_bell, EPOLLIN | EPOLLET, SOURCE_BELL, port->number);
}

static void dismiss(struct door *d, struct guest *guest)
{
    if (guest->port != NO_PORT) {
        struct port *port = &d->fabric->ports[guest->port];
        unmute(d, port);
        /* The stack holds the bell, too: closing it here would not take it out of the set. */
        epoll_ctl(d->set, EPOLL_CTL_DEL, port->switch_bell, NULL);
        fabric_leave(d->fabric, guest->port);
    }
    close(guest->socket);
    guest->socket = -1;
}

void door_close(struct door *d)
{
    for (uint32_t i = 0; i < d->guest_count; i++)
        if (d->guests[i].socket >= 0)
            dismiss(d, &d->guests[i]);
    unlink(d->path.sun_path);
    close(d->knock);
    close(d->signals);
    close(d->end);
    close(d->set);
    free(d->guests);
    free(d);
}

/* Whoever has waited longest without saying a word makes room. */
static void open_door(struct door *d)
{
    struct guest *place = NULL;
    int file = accept4(d->knock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (file < 0)
        return;
    for (uint32_t i = 0; i < d->guest_count && (place == NULL || place->socket >= 0); i++) {
        struct guest *guest = &d->guests[i];
        if (guest->socket < 0 || (guest->port == NO_PORT && (place == NULL || guest->came < place->came)))
            place = guest;
    }
    if (place == NULL) {
        close(file);
        return;
    }
    if (place->socket >= 0)
        dismiss(d, place);
    *place = (struct guest){.socket = file, .port = NO_PORT, .came = ++d->came};
    if (watch(d, file, EPOLLIN | EPOLLRDHUP, SOURCE_GUEST, (uint32_t)(place - d->guests)) != 0)
        dismiss(d, place);
}

/* False: it has hung up. */
static bool welcome_guest(const struct guest *guest, struct welcome *welcome, const int *files)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * HELLO_DESCRIPTORS)];
    } control = {0};
    struct iovec part = {.iov_base = welcome, .iov_len = sizeof *welcome};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (welcome->error == 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                          .cmsg_type = SCM_RIGHTS,
                                          .cmsg_len = CMSG_LEN(sizeof(int) * HELLO_DESCRIPTORS)};
        memcpy(CMSG_DATA(&control.header), files, sizeof(int) * HELLO_DESCRIPTORS);
    }
    return sendmsg(guest->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof *welcome;
}

static void hear_guest(struct door *d, struct guest *guest)
{
    uint8_t message[64];
    struct welcome welcome;
    int files[HELLO_DESCRIPTORS];
    /* Descriptors that come along are not taken, and the kernel closes them. */
    ssize_t got = guest->socket < 0 ? -1 : recv(guest->socket, message, sizeof message, MSG_DONTWAIT);
    if (guest->socket < 0 || (got < 0 && errno == EAGAIN))
        return;
    if (got <= 0 || guest->port != NO_PORT) { /* it has one port, and nothing more to say */
        dismiss(d, guest);
        return;
    }
    int port = fabric_join(d->fabric, message, (size_t)got, &welcome, files);
    bool there = welcome_guest(guest, &welcome, files);
    if (port >= 0) {
        close(files[HELLO_MEMORY]);
        guest->port = (uint32_t)port;
        there = there && watch(d, files[HELLO_SWITCH_BELL], EPOLLIN | EPOLLET, SOURCE_BELL, guest->port) == 0;
    }
    if (!there || port < 0)
        dismiss(d, guest);
}

/* A bell with nothing behind it costs the switch a turn. Whoever does that again and again is looked at every MUTE_NS. */
static void hear_bell(struct door *d, struct port *port)
{
    if (!port->used || port->muted)
        return;
    CHARGE(port, bells_in);
    bool vain = consumer_ready(&port->in) == 0 && port->in.head == port->heard; /* nothing has come since the last bell */
    port->heard = port->in.head;
    port->vain = vain ? port->vain + 1 : 0;
    if (port->vain < VAIN_BELLS)
        return;
    CHARGE(port, bells_muted);
    port->muted = true;
    d->unmute_ns = d->muted++ > 0 ? d->unmute_ns : d->fabric->clock() + MUTE_NS;
    epoll_ctl(d->set, EPOLL_CTL_DEL, port->switch_bell, NULL);
}

static void look(struct door *d, int64_t ns)
{
    struct epoll_event events[EVENTS];
    struct timespec time = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    int n = epoll_pwait2(d->set, events, EVENTS, ns < 0 ? NULL : &time, NULL);
    for (int i = 0; i < n; i++) {
        uint32_t which = (uint32_t)events[i].data.u64;
        switch ((enum source)(events[i].data.u64 >> 32)) {
        case SOURCE_KNOCK:
            open_door(d);
            break;
        case SOURCE_SIGNAL:
        case SOURCE_END:
            d->ending = true;
            break;
        case SOURCE_GUEST:
            hear_guest(d, &d->guests[which]);
            break;
        case SOURCE_BELL:
            hear_bell(d, &d->fabric->ports[which]);
            break;
        case SOURCE_UPLINK: /* the next turn will find it */
            break;
        }
    }
}

/* What is not told by an event. */
static void keep_order(struct door *d)
{
    struct fabric *f = d->fabric;
    for (uint32_t i = 0; i < d->guest_count; i++)
        if (d->guests[i].socket >= 0 && d->guests[i].port != NO_PORT && f->ports[d->guests[i].port].condemned)
            dismiss(d, &d->guests[i]);
    if (d->muted > 0 && f->now_ns >= d->unmute_ns)
        for (uint32_t i = f->uplinks; i < f->active_count; i++)
            unmute(d, &f->ports[f->active[i]]);
}

void door_run(struct door *d, uint64_t spin_ns)
{
    struct fabric *f = d->fabric;
    struct patience patience = {.most_ns = spin_ns};
    uint64_t looked_ns = 0;
    while (!d->ending) {
        bool busy = fabric_turn(f) > 0;
        uint64_t due_ns = fabric_next_ns(f);
        if (d->muted > 0 && d->unmute_ns < due_ns)
            due_ns = d->unmute_ns;
        if (busy)
            patience_ends(&patience, f->now_ns);
        bool idle = !busy && due_ns > f->now_ns && f->condemned == 0, waits = idle && patience_holds(&patience, f->now_ns);
        if (waits)
            sched_yield();
        if (idle && !waits && fabric_sleeps(f)) {
            d->sleeps++;
            look(d, due_ns == UINT64_MAX ? -1 : (int64_t)(due_ns - f->now_ns));
            fabric_wakes(f);
        } else if (f->now_ns - looked_ns >= LOOK_NS || f->condemned > 0) {
            look(d, 0);
        } else {
            continue;
        }
        looked_ns = f->clock();
        keep_order(d);
    }
}

void door_end(struct door *d)
{
    static const uint64_t one = 1;
    (void)!write(d->end, &one, sizeof one);
}

uint64_t door_sleeps(const struct door *d) { return d->sleeps; }
