/* attach_switch.c: a wire that is a port of the switch: two rings in memory shared with it (switch/ring.h). A frame is
 * written where the switch reads it, and read where the switch has written it; as long as both are busy there is no system
 * call. */
#include "attachment.h"
#include "switch/hello.h"
#include "switch/patience.h"
#include "switch/ring.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct attached_switch {
    struct attachment attachment; /* first */
    struct producer out;
    struct consumer in;
    void *memory;
    size_t bytes;
    int socket, bell, switch_bell;
    int sleep; /* an epoll set of the bell, by its edge, so that it need not be read, and the socket */
    bool gone; /* the switch */
    uint64_t lost;
    struct patience patience;
    struct ring_slot aside;
};

static struct attached_switch *of(struct attachment *a) { return (struct attached_switch *)a; }

static void ring_bell(struct attached_switch *a)
{
    static const uint64_t one = 1;
    a->attachment.system_calls++;
    if (write(a->switch_bell, &one, sizeof one) != sizeof one)
        a->gone = a->gone || errno != EAGAIN; /* it has been rung 2^64 - 2 times: it rings */
}

static void flush(struct attachment *attachment)
{
    struct attached_switch *a = of(attachment);
    if (producer_flush(&a->out))
        ring_bell(a);
}

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct attached_switch *a = context;
    if (producer_room(&a->out) == 0) {
        flush(&a->attachment);
        if (producer_room(&a->out) == 0) {
            a->lost++;
            return NULL;
        }
    }
    return bytes > WIRE_FRAME_MAX ? NULL : producer_slot(&a->out)->frame;
}

static void commit(void *context, uint32_t bytes)
{
    producer_commit(&((struct attached_switch *)context)->out, bytes, 0);
}

/* PATH[,ports=LOW-HIGH] */
static const char *parse(const char *where, struct sockaddr_un *address, struct hello *hello)
{
    const char *comma = strchr(where, ',');
    size_t bytes = comma == NULL ? strlen(where) : (size_t)(comma - where);
    if (bytes == 0 || bytes >= sizeof address->sun_path)
        return "the path of a Unix socket has 1 to 107 bytes";
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, where, bytes);
    if (comma == NULL)
        return NULL;
    char rest;
    unsigned low, high;
    if (sscanf(comma, ",ports=%u-%u%c", &low, &high, &rest) != 2 || low == 0 || low > high || high > UINT16_MAX)
        return "after the socket comes nothing, or ,ports=LOW-HIGH";
    hello->low = (uint16_t)low;
    hello->high = (uint16_t)high;
    return NULL;
}

static const char *remedy(int error)
{
    return error == EADDRINUSE ? ": another stack has that address, or some of these ports"
           : error == EUSERS   ? ": the switch has no port left; give it more with --ports"
           : error == EINVAL   ? ": it does not like that address; it must be a host's"
                               : "";
}

/* Send the hello, receive the welcome and its descriptors. 0 or an errno. */
static int meet(int socket, const struct hello *hello, struct welcome *welcome, int files[HELLO_DESCRIPTORS])
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * HELLO_DESCRIPTORS)];
    } control;
    struct iovec part = {.iov_base = welcome, .iov_len = sizeof *welcome};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (send(socket, hello, sizeof *hello, MSG_NOSIGNAL) != sizeof *hello)
        return errno;
    ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (got < 0)
        return errno;
    if (got != sizeof *welcome || welcome->magic != HELLO_MAGIC)
        return EPROTO; /* 0 bytes: it has closed */
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int) * HELLO_DESCRIPTORS))
        memcpy(files, CMSG_DATA(header), sizeof(int) * HELLO_DESCRIPTORS);
    if (welcome->error != 0)
        return welcome->error;
    if (files[HELLO_MEMORY] < 0 || welcome->slots < RING_LEAST || welcome->slots > RING_MOST ||
        (welcome->slots & (welcome->slots - 1)) != 0)
        return EPROTO;
    return 0;
}

static void close_switch(struct attachment *attachment)
{
    struct attached_switch *a = of(attachment);
    producer_close(&a->out);
    if (a->memory != NULL)
        munmap(a->memory, a->bytes);
    for (int i = 0; i < 4; i++) {
        int file = (int[]){a->socket, a->bell, a->switch_bell, a->sleep}[i];
        if (file >= 0)
            close(file);
    }
    free(a);
}

/* 0 or an errno. */
static int map(struct attached_switch *a, const struct welcome *welcome, const int files[HELLO_DESCRIPTORS])
{
    size_t one = ring_bytes(welcome->slots);
    a->switch_bell = files[HELLO_SWITCH_BELL];
    a->bell = files[HELLO_STACK_BELL];
    a->memory = mmap(NULL, 2 * one, PROT_READ | PROT_WRITE, MAP_SHARED, files[HELLO_MEMORY], 0);
    close(files[HELLO_MEMORY]);
    if (a->memory == MAP_FAILED) {
        a->memory = NULL;
        return errno;
    }
    a->bytes = 2 * one;
    if (!producer_open(&a->out, a->memory, welcome->slots, &a->aside))
        return ENOMEM;
    a->in = (struct consumer){.ring = (void *)((uint8_t *)a->memory + one), .slots = welcome->slots};
    consumer_wakes(&a->in);
    a->patience.most_ns = welcome->spin_us * UINT64_C(1000);
    a->sleep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event bell = {.events = EPOLLIN | EPOLLET}, end = {.events = EPOLLRDHUP | EPOLLET, .data.u32 = 1};
    if (a->sleep < 0 || epoll_ctl(a->sleep, EPOLL_CTL_ADD, a->bell, &bell) != 0 ||
        epoll_ctl(a->sleep, EPOLL_CTL_ADD, a->socket, &end) != 0)
        return errno;
    return 0;
}

static struct attachment *open_switch(const char *where, const struct stack_address *address, struct wire *wire,
                                      char *error, size_t error_bytes)
{
    struct sockaddr_un path = {0};
    struct hello hello = {.magic = HELLO_MAGIC, .ip = address->ip};
    struct welcome welcome = {0};
    const char *wrong = parse(where, &path, &hello);
    if (wrong != NULL) {
        snprintf(error, error_bytes, "switch:%s: %s", where, wrong);
        return NULL;
    }
    struct attached_switch *a = aligned_alloc(_Alignof(struct attached_switch), sizeof *a);
    if (a == NULL) {
        snprintf(error, error_bytes, "no memory");
        return NULL;
    }
    memset(a, 0, sizeof *a);
    a->attachment.kind = &attach_switch;
    a->bell = a->switch_bell = a->sleep = -1;
    a->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (a->socket < 0 || connect(a->socket, (struct sockaddr *)&path, sizeof path) != 0) {
        snprintf(error, error_bytes, "%s: %s; is `stackswitch --socket` running there?", path.sun_path, strerror(errno));
        close_switch(&a->attachment);
        return NULL;
    }
    int files[HELLO_DESCRIPTORS] = {-1, -1, -1};
    int failed = meet(a->socket, &hello, &welcome, files);
    if (failed == 0)
        failed = map(a, &welcome, files);
    else
        for (int i = 0; i < HELLO_DESCRIPTORS; i++)
            if (files[i] >= 0)
                close(files[i]);
    if (failed != 0) {
        snprintf(error, error_bytes, "%s: %s%s", path.sun_path, strerror(failed), remedy(failed));
        close_switch(&a->attachment);
        return NULL;
    }
    memcpy(wire->mac, welcome.mac, sizeof wire->mac);
    wire->mtu = welcome.mtu;
    wire->context = a;
    wire->reserve = reserve;
    wire->commit = commit;
    return &a->attachment;
}

static unsigned receive(struct attachment *attachment, attach_take *take, void *receiver, unsigned batch)
{
    struct consumer *c = &of(attachment)->in;
    unsigned n = 0;
    for (uint32_t i = 0; i < RING_AHEAD && consumer_ready(c) > 0; i++)
        consumer_fetch(c, i);
    while (n < batch) {
        uint32_t ready = consumer_ready(c);
        if (ready == 0)
            break;
        ready = ready < batch - n ? ready : batch - n;
        ready = ready < RING_EARLY ? ready : RING_EARLY; /* so that the switch sees room soon */
        for (uint32_t i = 0; i < ready; i++) {
            const struct ring_frame frame = consumer_frame(c, i);
            consumer_fetch(c, i + RING_AHEAD);
            if (frame.bytes <= WIRE_FRAME_MAX)
                take(receiver, frame.slot->frame, frame.bytes, frame.flags & FRAME_CHECKED);
        }
        consumer_release(c, ready);
        n += ready;
    }
    return n;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void relax(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#endif
}

/* True: a frame has come, or the time is over. Not for a switch on this CPU, which could not run meanwhile. */
static bool look_for_frames(struct attached_switch *a, int64_t ns)
{
    enum { LOOKS = 64 }; /* between two yields, a microsecond or two */
    if (a->patience.most_ns == 0 || !a->out.far || ns == 0)
        return false;
    uint64_t now = now_ns(), until = ns < 0 ? UINT64_MAX : now + (uint64_t)ns;
    for (; patience_holds(&a->patience, now); now = now_ns()) {
        for (unsigned i = 0; i < LOOKS && consumer_ready(&a->in) == 0; i++)
            relax();
        if (consumer_ready(&a->in) > 0) {
            patience_ends(&a->patience, now_ns());
            return true;
        }
        if (now >= until) {
            a->patience.awake = false; /* neither in vain nor not */
            return true;
        }
        a->attachment.system_calls++;
        sched_yield();
    }
    return false;
}

static void wait_switch(struct attachment *attachment, int64_t ns, bool alone)
{
    struct attached_switch *a = of(attachment);
    struct epoll_event events[2];
    struct timespec room;
    if (a->gone) { /* time goes on: connections end by their timers */
        ppoll(NULL, 0, duration(&room, ns), NULL);
        return;
    }
    if (alone && look_for_frames(a, ns))
        return;
    if (consumer_sleeps(&a->in)) {
        attachment->system_calls++;
        int n = epoll_pwait2(a->sleep, events, 2, duration(&room, ns), NULL);
        for (int i = 0; i < n; i++)
            a->gone |= events[i].data.u32 == 1;
    }
    consumer_wakes(&a->in);
}

static uint64_t lost(const struct attachment *a) { return ((const struct attached_switch *)a)->lost; }

static int bell(const struct attachment *a) { return ((const struct attached_switch *)a)->bell; }

static bool rests(struct attachment *a) { return consumer_sleeps(&of(a)->in); }

static void rouses(struct attachment *a) { consumer_wakes(&of(a)->in); }

const struct attachment_kind attach_switch = {"switch",    open_switch, close_switch, receive, flush,
                                              wait_switch, lost,        bell,         rests,   rouses};
