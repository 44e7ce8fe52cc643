/* disk.c: the disk side of the design `lazy`, the same for both network sides.
 *
 * A file is opened and read by laio_syscall(), read in chunks. A chunk that is in memory is there when the call returns,
 * and leaves in one call, the first together with the head. One that is not is in progress, and so is an open that has to
 * find its way on the disk: the loop serves others, and goes on with the reply when the completion comes. With --reads
 * begun, where the disk is faster than that, a read is only begun, and looked at again some turns later (reads.h).
 */
#include "server.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

static enum connection_wish opened(struct loop *loop, struct connection *connection, long result)
{
    return result == -EINTR ? CONNECTION_OPENS : connection_opened(&loop->service, connection, result);
}

/* Open the reply's file. False: that is in progress. */
static bool open_file(struct loop *loop, struct connection *connection, enum connection_wish *wish)
{
    struct lazy_socket *socket = &loop->sockets[connection->socket];
    long result = laio_syscall(loop->laio, SYS_openat2, loop->service.files.root, connection->file->path, &file_how,
                               sizeof file_how);
    result = result < 0 ? -errno : result;
    socket->doing = in_progress(loop, connection) ? OPENING : NOTHING;
    if (socket->doing == OPENING)
        return false;
    *wish = opened(loop, connection, result);
    return true;
}

/* Take it up again in a turn to come (disk_look_again()). Returns false. */
static bool later(struct loop *loop, struct lazy_socket *socket, enum doing doing)
{
    give_chunk_back(loop, socket);
    socket->doing = doing;
    lazy_queue_put(doing == BEGUN ? &loop->reads.begun : &loop->reads.cold, socket);
    return false;
}

/* Read what comes next of a reply's file, as far as it is in memory. What is not is begun, and looked at again; if that was
 * in vain, chunk->got is -EAGAIN. False: the connection waits. */
static bool ask_for_chunk(struct loop *loop, struct connection *connection, const struct connection_output *output,
                          size_t bytes)
{
    struct lazy_socket *socket = &loop->sockets[connection->socket];
    const bool last = socket->looks == LAZY_LOOKS;
    socket->parts[0] = (struct iovec){socket->chunk->bytes, bytes};
    long got = laio_syscall(loop->laio, SYS_preadv2, output->file, socket->parts, 1, output->offset, 0, RWF_NOWAIT);
    socket->chunk->got = got < 0 ? -errno : got;
    socket->doing = in_progress(loop, connection) ? READING : NOTHING; /* for room in the disk's queue */
    if (socket->doing == READING)
        return false;
    reads_asked(&loop->reads, socket->looks, socket->chunk->got);
    const bool look_again = socket->chunk->got == -EAGAIN && !last;
    socket->looks = look_again ? socket->looks + 1 : 0;
    return !look_again || later(loop, socket, BEGUN);
}

/* Read what comes next of a reply's file. False: the connection waits. */
static bool read_chunk(struct loop *loop, struct connection *connection, const struct connection_output *output)
{
    struct lazy_socket *socket = &loop->sockets[connection->socket];
    size_t bytes = output->file_bytes < LAZY_CHUNK_BYTES ? output->file_bytes : LAZY_CHUNK_BYTES;
    if (output->offset == 0 && socket->looks == 0 && reads_must_wait(&loop->reads, output->file, bytes))
        return later(loop, socket, COLD);
    struct chunk *chunk = socket->chunk = chunk_take(&loop->chunks);
    if (loop->reads.asking || socket->looks > 0) {
        if (!ask_for_chunk(loop, connection, output, bytes))
            return false;
        if (chunk->got >= 0)
            return true;
    }
    long got = laio_syscall(loop->laio, SYS_pread64, output->file, chunk->bytes, bytes, output->offset);
    chunk->got = got < 0 ? -errno : got;
    socket->doing = in_progress(loop, connection) ? READING : NOTHING;
    reads_made(&loop->reads, socket->doing == READING);
    return socket->doing == NOTHING;
}

/* Send what is left of the head and what is read of the file. False: the connection waits. */
static bool send_reply(struct loop *loop, struct connection *connection, enum connection_wish *wish)
{
    struct lazy_socket *socket = &loop->sockets[connection->socket];
    struct connection_output output;
    connection_output(connection, &output);
    if (output.file >= 0 && socket->chunk == NULL && !read_chunk(loop, connection, &output))
        return false;
    const struct chunk *chunk = socket->chunk;
    if (chunk != NULL && chunk->got <= 0) {
        /* Interrupted, or begun at last: it is read again. Else the disk failed, or the file was cut short. */
        const bool again = chunk->got == -EINTR || chunk->got == -EAGAIN;
        *wish = again ? CONNECTION_WRITES : connection_failed(&loop->service, connection);
        give_chunk_back(loop, socket);
        return true;
    }
    if (chunk != NULL) {
        output.parts[output.count++] = (struct iovec){socket->chunk->bytes, (size_t)chunk->got};
        output.more_follows = output.file_bytes > (size_t)chunk->got;
    }
    return loop->network->send(loop, connection, &output, wish);
}

void go_on(struct loop *loop, struct connection *connection, enum connection_wish wish)
{
    while (wish == CONNECTION_OPENS || wish == CONNECTION_WRITES)
        if (!(wish == CONNECTION_OPENS ? open_file : send_reply)(loop, connection, &wish))
            return;
    if (wish == CONNECTION_ENDED)
        connection_close(connection); /* its socket leaves an epoll set by itself */
    else
        loop->network->await_request(loop, connection);
}

void disk_completed(struct loop *loop, struct connection *connection, enum doing done, long result)
{
    if (done == READING)
        loop->sockets[connection->socket].chunk->got = result;
    go_on(loop, connection, done == OPENING ? opened(loop, connection, result) : CONNECTION_WRITES);
}

/* Take one from a queue up again, unless nobody waits for it any more. */
static void take_up(struct loop *loop, struct lazy_queue *queue)
{
    struct lazy_socket *socket = lazy_queue_take(queue);
    struct connection *connection = &loop->service.connections[socket - loop->sockets];
    socket->doing = NOTHING;
    if (connection_is_left(connection))
        connection_close(connection);
    else
        go_on(loop, connection, CONNECTION_WRITES);
}

uint64_t disk_look_again(struct loop *loop)
{
    struct reads *reads = &loop->reads;
    uint64_t served = 0;
    for (; served < LAZY_LOOKED && reads->ripe > 0; served++, reads->ripe--)
        take_up(loop, &reads->begun);
    for (int i = 0; i < LAZY_LOOKED && reads->begun.count < LAZY_BEGUN && reads->cold.count > 0; i++, served++)
        take_up(loop, &reads->cold);
    reads->ripe = reads->begun.count;
    return served;
}

void completed_too_late(struct loop *loop, struct connection *connection, enum doing done, long result)
{
    if (done == OPENING && result >= 0)
        close((int)result);
    give_chunk_back(loop, &loop->sockets[connection->socket]);
    connection_close(connection);
}
