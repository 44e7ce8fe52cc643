/* laio_operations.c: see laio_operations.h: what the classes of operations share. */
#include "laio_operations.h"

#include "check.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define WHOLE_EVERY 64 /* operations: then all of the area is looked at */
#define SOON_US 400    /* the partner does what it is asked within this time */

static const struct {
    unsigned weight;
    void (*prepare)(struct operation *operation);
} classes[OPERATION_CLASS_COUNT] = {
#define X(name, weight) {weight, prepare_##name},
    OPERATION_CLASSES(X)
#undef X
};
const char *const operation_class_names[OPERATION_CLASS_COUNT] = {
#define X(name, weight) #name,
    OPERATION_CLASSES(X)
#undef X
};

/* Random numbers: xorshift64, begun by splitmix64 so that neighbouring ids have nothing in common. */

static uint64_t mixed(uint64_t seed, uint64_t id)
{
    uint64_t z = seed * UINT64_C(0x9E3779B97F4A7C15) + id * UINT64_C(0xD1B54A32D192ED03) + 1;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return z != 0 ? z : 1;
}

uint64_t operation_draw(struct operation *operation, uint64_t below)
{
    operation->random ^= operation->random << 13;
    operation->random ^= operation->random >> 7;
    operation->random ^= operation->random << 17;
    return (operation->random >> 16) % below;
}

/* Buffers */

char operation_untouched(const struct operation *operation)
{
    return (char)(0xA5 ^ operation->index);
}

char *operation_buffer(struct operation *operation, size_t bytes)
{
    size_t most = AREA_BYTES - CANARY_BYTES - bytes;
    operation->bytes = bytes;
    operation->at = operation_draw(operation, most < 512 ? most : 512);
    return operation->area + operation->at;
}

char *operation_filled(struct operation *operation, const void *content, size_t bytes)
{
    char *buffer = operation_buffer(operation, bytes);
    operation->content = content;
    operation->filled = bytes;
    memcpy(buffer, content, bytes);
    return buffer;
}

const char *operation_content(struct operation *operation, size_t bytes)
{
    return operation->all->content + operation_draw(operation, operation->all->content_bytes - bytes);
}

void operation_holds(struct operation *operation, const char *at, const char *content, size_t bytes)
{
    if (bytes > 0 && memcmp(at, content, bytes) != 0)
        operation_print(operation, "wrong bytes");
    memset((char *)at, operation_untouched(operation), bytes);
}

void operation_holds_content(struct operation *operation, long result)
{
    operation_holds(operation, operation->area + operation->at, operation->content, (size_t)result);
}

static bool all_are(const char *from, size_t bytes, char value)
{
    return from[0] == value && memcmp(from, from + 1, bytes - 1) == 0;
}

static void check_area(struct operation *operation)
{
    if (operation->filled > 0)
        operation_holds(operation, operation->area + operation->at, operation->content, operation->filled);
    size_t look = operation->at + operation->bytes + CANARY_BYTES;
    if (operation->id % WHOLE_EVERY == 0 || look > AREA_BYTES)
        look = AREA_BYTES;
    if (!all_are(operation->area - CANARY_BYTES, CANARY_BYTES + look, operation_untouched(operation))) {
        operation_print(operation, "bytes that are not its own have changed");
        memset(operation->area - CANARY_BYTES, operation_untouched(operation), CANARY_BYTES + AREA_BYTES);
    }
}

/* Deeds */

void operation_ask_soon(struct operation *operation, bool (*deed)(void *operation))
{
    operation->waits = true;
    unsigned after_us = (unsigned)operation_draw(operation, SOON_US);
    partner_ask(operation->all->partner, &operation->favour, deed, operation, after_us);
}

void operation_now_or_soon(struct operation *operation, bool (*deed)(void *operation))
{
    if (operation_draw(operation, 2) == 0 && deed(operation))
        return;
    operation_ask_soon(operation, deed);
}

size_t readable_bytes(int descriptor)
{
    int bytes = 0;
    return ioctl(descriptor, FIONREAD, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

/* Done when the filler and all that the call sends were taken out. */
bool deed_drain(void *argument)
{
    struct operation *operation = argument;
    size_t bytes = readable_bytes(operation->drain_from), room = DRAINED_BYTES - operation->drained_bytes;
    if (bytes > 0) {
        char *to = operation->drained + operation->drained_bytes;
        ssize_t got = read(operation->drain_from, to, bytes < room ? bytes : room);
        operation->drained_bytes += got > 0 ? (size_t)got : 0;
    }
    return operation->expected < 0 || operation->drained_bytes >= operation->filler_bytes + (size_t)operation->expected;
}

void operation_drained(struct operation *operation, long result)
{
    deed_drain(operation);
    bool all = operation->drained_bytes == operation->filler_bytes + (size_t)result;
    if (!all || memcmp(operation->drained, operation->all->content, operation->filler_bytes) != 0 ||
        memcmp(operation->drained + operation->filler_bytes, operation->content, (size_t)result) != 0)
        operation_print(operation, "other bytes arrived than were sent");
}

void operation_open(struct operation *operation, int slot, int descriptor)
{
    NEED(descriptor >= 0);
    operation->opened[slot] = descriptor;
}

/* One operation */

void operation_set(struct operation *operation, long number, long a, long b, long c, long d, long e, long f)
{
    operation->number = number;
    memcpy(operation->arguments, (const long[]){a, b, c, d, e, f}, sizeof operation->arguments);
}

void operation_prepare(struct operation *operation, uint64_t id)
{
    operation->id = id;
    operation->random = mixed(operation->all->seed, id);
    operation->expected = 0;
    operation->gives_descriptor = operation->waits = operation->partly = false;
    operation->verify = NULL;
    operation->content = NULL;
    operation->at = operation->bytes = operation->filled = 0;
    operation->vector_count = 0;
    operation->drained_bytes = operation->filler_bytes = operation->left_bytes = 0;
    operation->uses = 0;
    for (int i = 0; i < 3; i++)
        operation->opened[i] = -1;

    unsigned sum = 0;
    for (int i = 0; i < OPERATION_CLASS_COUNT; i++)
        sum += classes[i].weight;
    unsigned drawn = (unsigned)operation_draw(operation, sum), class = 0;
    for (; drawn >= classes[class].weight; class++)
        drawn -= classes[class].weight;
    operation->class = class;
    classes[class].prepare(operation);
}

long operation_plainly(struct operation *operation)
{
    const long *a = operation->arguments;
    long result = syscall(operation->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    return result == -1 ? -errno : result;
}

static size_t empty(int descriptor, char *into)
{
    size_t all = 0;
    for (size_t bytes; (bytes = readable_bytes(descriptor)) > 0;) {
        ssize_t got = read(descriptor, into, bytes < DRAINED_BYTES ? bytes : DRAINED_BYTES);
        NEED(got > 0);
        all += (size_t)got;
    }
    return all;
}

/* Connections that nobody accepted; with linger 0, so that they leave no TIME_WAIT behind. */
static void close_waiting(int listener, int wait_ms)
{
    struct pollfd one = {.fd = listener, .events = POLLIN};
    for (; poll(&one, 1, wait_ms) == 1; wait_ms = 0) {
        int connection = accept(listener, NULL, NULL);
        NEED(connection >= 0);
        setsockopt(connection, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        close(connection);
    }
}

static bool is_connecting(int descriptor)
{
    struct tcp_info information;
    socklen_t bytes = sizeof information;
    return descriptor >= 0 && getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &information, &bytes) == 0 &&
           information.tcpi_state != TCP_CLOSE;
}

static size_t clear(struct operation *operation, bool interrupted)
{
    size_t left = 0;
    /* The listener may learn of an interrupted connection a moment later. */
    int late_ms = interrupted && (operation->uses & USES_LISTENERS) && is_connecting(operation->opened[0]) ? 1000 : 0;
    for (int i = 0; i < 3; i++)
        if (operation->opened[i] >= 0)
            close(operation->opened[i]);
    if (operation->uses & USES_PIPE)
        left += empty(operation->pipe[0], operation->drained);
    if (operation->uses & USES_PAIR)
        left += empty(operation->pair[0], operation->drained) + empty(operation->pair[1], operation->drained);
    if (operation->uses & USES_LISTENERS)
        for (int i = 0; i < 2; i++)
            close_waiting(operation->listeners[i], i == 1 ? late_ms : 0);
    return left;
}

void operation_check(struct operation *operation, long result)
{
    partner_settle(operation->all->partner, &operation->favour);
    bool interruptible = operation->all->interrupted && operation->waits;
    bool interrupted = interruptible && result == -EINTR;
    bool cut = interruptible && operation->partly && result > 0 && result < operation->expected;
    bool right = operation->gives_descriptor ? result >= 0 : result == operation->expected;
    if (!right && !interrupted && !cut) {
        char why[64];
        snprintf(why, sizeof why, "its result is %ld", result);
        operation_print(operation, why);
    } else if (result >= 0 && operation->verify != NULL) {
        operation->verify(operation, result);
    }
    check_area(operation);
    size_t left = clear(operation, interrupted);
    if (right && !interrupted && left != operation->left_bytes)
        operation_print(operation, "too much or too little is left to be read");
}

void operation_forget(struct operation *operation)
{
    partner_settle(operation->all->partner, &operation->favour);
    check_area(operation);
    clear(operation, true);
}

void operation_print(const struct operation *operation, const char *why)
{
    const long *a = operation->arguments;
    checks_failed++;
    fprintf(stderr, "operation %llu of seed %llu, %s: call %ld(%#lx, %#lx, %#lx, %#lx) is to give %ld: %s\n",
            (unsigned long long)operation->id, (unsigned long long)operation->all->seed,
            operation_class_names[operation->class], operation->number, a[0], a[1], a[2], a[3], operation->expected,
            why);
}
