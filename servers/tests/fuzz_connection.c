/* fuzz_connection.c: whatever a client says and however it is cut, both styles of connection.h and all waits within
 * them send the same bytes, keep no more input than they must, and leave nothing behind.
 *
 * The input is three bytes that say how the conversation goes (see converse()), then what the client says. The target
 * is its own transport: no socket is used. Files are served from FUZZ_ROOT, by memory and by descriptor.
 */
#include "bounds.h"
#include "counters.h"
#include "fuzz.h"
#include "service.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#ifndef FUZZ_ROOT
#define FUZZ_ROOT "."
#endif
#define VISITS_MAX (1u << 20) /* more for one conversation is one without an end */

enum { DRAINING = 1, SILENT_END = 2, VANISHES = 4 }; /* the first byte */
/* EAGER receives while a reply is under way, as an armed io_uring does; OPENING opens the files, too. */
enum style { READINESS, COMPLETION, EAGER, OPENING };

/* The other end: what it still has to say, and what it has heard. */
static struct {
    const uint8_t *says;
    size_t left;
    uint32_t pattern; /* decides every cut; 0: everything at once */
    bool silent;      /* it does not close when it has said everything */
    uint64_t vanishes_at, heard, sum;
    bool shut;
} client;

static uint32_t cut(uint32_t most) /* 1..most */
{
    client.pattern = client.pattern * 1103515245u + 12345u;
    return 1 + (client.pattern >> 16) % most;
}

static size_t next_piece(size_t capacity)
{
    size_t piece = client.pattern == 0 ? client.left : cut(cut(8) == 1 ? 4000 : 40);
    piece = piece < client.left ? piece : client.left;
    return piece < capacity ? piece : capacity;
}

/* How many of so many bytes the socket takes: -1 with EPIPE after the client has gone, with EAGAIN now and then. */
static ssize_t room(size_t bytes, bool may_block)
{
    if (client.heard >= client.vanishes_at) {
        errno = EPIPE;
        return -1;
    }
    uint64_t before_it_goes = client.vanishes_at - client.heard;
    if (client.pattern != 0 && may_block) {
        if (cut(4) == 1) {
            errno = EAGAIN;
            return -1;
        }
        size_t taken = cut(300);
        bytes = taken < bytes ? taken : bytes;
    }
    return (ssize_t)(bytes < before_it_goes ? bytes : before_it_goes);
}

/* A sum in which every byte counts by its place. */
static void hear(const char *bytes, size_t n)
{
    MUST(!client.shut);
    for (size_t i = 0; i < n; i++)
        client.sum += ((uint8_t)bytes[i] + 1u) * (++client.heard * 0x9E3779B97F4A7C15u | 1);
}

/* The transport */

ssize_t tp_recv(int socket, void *buffer, size_t bytes)
{
    (void)socket;
    MUST(bytes > 0);
    if ((client.left == 0 && client.silent) || (client.pattern != 0 && cut(8) == 1)) {
        errno = EAGAIN;
        return -1;
    }
    size_t piece = next_piece(bytes);
    memcpy(buffer, client.says, piece);
    client.says += piece;
    client.left -= piece;
    return (ssize_t)piece;
}

ssize_t tp_discard(int socket, size_t bytes)
{
    static char nobody_wants[DISCARD_BYTES];
    MUST(bytes <= sizeof nobody_wants);
    return tp_recv(socket, nobody_wants, bytes);
}

ssize_t tp_sendv(int socket, const struct iovec *parts, int count, bool more_follows)
{
    (void)socket, (void)more_follows;
    MUST(count > 0);
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    MUST(bytes > 0);
    ssize_t sent = room(bytes, true);
    size_t left = sent < 0 ? 0 : (size_t)sent;
    for (int i = 0; left > 0; i++) {
        size_t part = left < parts[i].iov_len ? left : parts[i].iov_len;
        hear(parts[i].iov_base, part);
        left -= part;
    }
    return sent;
}

ssize_t tp_send(int socket, const void *buffer, size_t bytes)
{
    (void)socket;
    ssize_t sent = room(bytes, false);
    hear(buffer, sent < 0 ? 0 : (size_t)sent);
    return sent;
}

ssize_t tp_sendfile(int socket, int file, off_t *offset, size_t bytes)
{
    char piece[4096];
    (void)socket;
    MUST(bytes > 0);
    ssize_t sent = room(bytes < sizeof piece ? bytes : sizeof piece, true);
    if (sent > 0) {
        MUST(pread(file, piece, (size_t)sent, *offset) == sent);
        hear(piece, (size_t)sent);
        *offset += sent;
    }
    return sent;
}

int tp_shutdown_write(int socket)
{
    (void)socket;
    client.shut = true;
    return 0;
}

int tp_close(int socket)
{
    (void)socket;
    return 0;
}

/* Conversations */

static void check_wish(const struct connection *connection, enum connection_wish wish)
{
    struct connection_output output;
    bool any = wish != CONNECTION_OPENS && connection_output(connection, &output);
    MUST(connection_is_open(connection));
    if (wish == CONNECTION_READS) {
        MUST(!any && !connection->replying && !connection->input_ended && connection->held_bytes < HTTP_MAX_HEAD);
        MUST(connection->timeout.class != TIMEOUT_SEND && connection->lingering == client.shut);
    } else if (wish == CONNECTION_OPENS) {
        MUST(!file_is_open(connection->file) && connection->replying && connection->timeout.class == TIMEOUT_SEND);
    } else if (wish == CONNECTION_WRITES) {
        MUST(any && connection->replying && connection->timeout.class == TIMEOUT_SEND);
        MUST(output.count > 0 || (output.file >= 0 && output.file_bytes > 0));
    }
}

static ssize_t send_output(const struct connection *connection)
{
    struct connection_output output;
    MUST(connection_output(connection, &output));
    if (output.count > 0)
        return tp_sendv(connection->socket, output.parts, output.count, output.more_follows);
    return tp_sendfile(connection->socket, output.file, &output.offset, output.file_bytes);
}

static enum connection_wish receive(struct service *service, struct connection *connection, enum connection_wish wish)
{
    char *buffer = malloc(INPUT_BYTES);
    MUST(buffer != NULL);
    ssize_t got = tp_recv(connection->socket, buffer, INPUT_BYTES);
    if (got >= 0) { /* exactly as long as what arrived: a sanitizer guards its end */
        buffer = realloc(buffer, (size_t)got + (got == 0));
        wish = connection_receive(service, connection, buffer, (size_t)got);
    }
    free(buffer);
    return wish;
}

static enum connection_wish visit(struct service *service, struct connection *connection, enum style style,
                                  enum connection_wish wish)
{
    if (style == READINESS)
        return connection_serve(service, connection);
    if (wish == CONNECTION_READS || (style == EAGER && !connection->input_ended && cut(2) == 1))
        return receive(service, connection, wish);
    if (wish == CONNECTION_OPENS)
        return connection_opened(service, connection, file_open(&service->files, connection->file));
    ssize_t sent = send_output(connection);
    return sent < 0 && errno == EAGAIN ? wish : connection_sent(service, connection, sent);
}

/* What must be the same in all styles. */
struct outcome {
    uint64_t heard, sum, requests, replies, replies_4xx, replies_5xx, vanished, timeouts;
};

static struct outcome converse(struct service *service, enum style style, const uint8_t *data, size_t size,
                               uint32_t pattern)
{
    struct connection *connection = service->connections;
    memset(counters, 0, COUNTER_COUNT * sizeof *counters);
    memset(&client, 0, sizeof client);
    client.says = data + 3;
    client.left = size - 3;
    client.pattern = pattern;
    client.silent = data[0] & SILENT_END;
    client.vanishes_at = data[0] & VANISHES ? data[2] * 16u : UINT64_MAX;
    service->draining = data[0] & DRAINING;

    enum connection_wish wish = CONNECTION_READS;
    connection_open(service, 0);
    for (unsigned visits = 0; wish != CONNECTION_ENDED; visits++) {
        if (wish == CONNECTION_READS && client.left == 0 && client.silent)
            break;
        MUST(visits < VISITS_MAX);
        wish = visit(service, connection, style, wish);
        check_wish(connection, wish);
        MUST(style == EAGER || connection->held_bytes < INPUT_BYTES);
    }
    if (wish != CONNECTION_ENDED) { /* silence does not last */
        service->clock.now_ms += 60000;
        MUST(connection_timed_out(service) == connection);
        service->clock.now_ms -= 60000;
    }
    connection_close(connection);
    MUST(counter_value(connections_open) == 0 && counter_value(closes) == 1);
    MUST(!connection_is_open(connection) && counter_value(bytes_sent) <= client.heard);
    for (const struct file *file = service->files.newest; file != NULL; file = file->older)
        MUST(file->pins == 1);
    return (struct outcome){
        client.heard, client.sum, counter_value(requests), counter_value(replies), counter_value(replies_4xx),
        counter_value(replies_5xx), counter_value(vanished), counter_value(timeouts),
    };
}

static void start(struct service *service, const struct options *options, unsigned most_open)
{
    service->options = options;
    timeouts_init(&service->timeouts);
    for (int class = 0; class < TIMEOUT_CLASSES; class++)
        service->timeouts.duration_ms[class] = 5000;
    service->connections = calloc(1, sizeof *service->connections);
    MUST(service->connections != NULL);
    MUST(files_start(&service->files, options->root, options->file_cache_bytes, most_open) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct options in_memory = {.root = FUZZ_ROOT, .file_cache_bytes = 1 << 20};
    static const struct options by_descriptor = {.root = FUZZ_ROOT};
    static struct service memory, descriptor, opening;
    if (memory.options == NULL) {
        start(&memory, &in_memory, 100);
        start(&descriptor, &by_descriptor, 100);
        start(&opening, &by_descriptor, 1); /* hardly anything is kept */
        opening.opens_files = true;
        loop_clock_update(&memory.clock); /* once: the Date fields must be the same */
        descriptor.clock = opening.clock = memory.clock;
    }
    if (size < 3)
        return 0;
    struct outcome whole = converse(&memory, READINESS, data, size, 0), cut_up[] = {
        converse(&descriptor, READINESS, data, size, 1u + data[1]),
        converse(&memory, COMPLETION, data, size, 257u + data[1]),
        converse(&descriptor, EAGER, data, size, 513u + data[1]),
        converse(&opening, OPENING, data, size, 769u + data[1]),
    };
    for (int i = 0; i < 4; i++)
        MUST(memcmp(&whole, &cut_up[i], sizeof whole) == 0);
    return 0;
}
