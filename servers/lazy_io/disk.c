/* disk.c: the disk side of the design `lazy`, the same for both network sides.
 *
 * A file is opened and read by laio_syscall(), read in chunks. A chunk that is in memory is there when the call returns,
 * and leaves in one call, the first together with the head. One that is not is in progress, and so is an open that has to
 * find its way on the disk: the loop serves others, and goes on with the reply when the completion comes.
 */
#include "server.h"

#include <errno.h>
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

/* Read what comes next of a reply's file. False: that is in progress. */
static bool read_chunk(struct loop *loop, struct connection *connection, const struct connection_output *output)
{
    struct lazy_socket *socket = &loop->sockets[connection->socket];
    struct chunk *chunk = socket->chunk = chunk_take(&loop->chunks);
    size_t bytes = output->file_bytes < LAZY_CHUNK_BYTES ? output->file_bytes : LAZY_CHUNK_BYTES;
    long got = laio_syscall(loop->laio, SYS_pread64, output->file, chunk->bytes, bytes, output->offset);
    chunk->got = got < 0 ? -errno : got;
    socket->doing = in_progress(loop, connection) ? READING : NOTHING;
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
        /* Interrupted: it is read again. Else the disk failed, or the file was cut short. */
        *wish = chunk->got == -EINTR ? CONNECTION_WRITES : connection_failed(&loop->service, connection);
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

void completed_too_late(struct loop *loop, struct connection *connection, enum doing done, long result)
{
    if (done == OPENING && result >= 0)
        close((int)result);
    give_chunk_back(loop, &loop->sockets[connection->socket]);
    connection_close(connection);
}
