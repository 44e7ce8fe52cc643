/* ring.c: what is in flight of each socket, and what becomes of it. */
#include "ring.h"

#include "counters.h"
#include "process.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum operation { ACCEPT, RECEIVE, SEND, POLL, CANCEL };

#define BUFFER_GROUP 0

static uint64_t tag(enum operation operation, int socket)
{
    return (uint64_t)operation << 32 | (uint32_t)socket;
}

static enum operation operation_of(const struct io_uring_cqe *completion)
{
    return (enum operation)(completion->user_data >> 32);
}

static int socket_of(const struct io_uring_cqe *completion)
{
    return (int)(uint32_t)completion->user_data;
}

/* Entering the kernel */

static void check_entry(const struct ring *ring, int result)
{
    if (result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN || result == -EBUSY)
        return;
    errno = -result;
    process_fail(ring->service->options, "enter io_uring");
}

bool ring_asked(const struct ring *ring)
{
    return io_uring_sq_ready(&ring->uring) > 0;
}

void ring_submit(struct ring *ring)
{
    count(system_calls);
    check_entry(ring, io_uring_submit(&ring->uring));
}

void ring_wait(struct ring *ring, int timeout_ms)
{
    struct io_uring_cqe *first;
    struct __kernel_timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000ll};
    check_entry(ring, timeout_ms == 0 ? io_uring_submit_and_get_events(&ring->uring)
                                      : io_uring_submit_and_wait_timeout(&ring->uring, &first, 1, &timeout, NULL));
}

/* Room in the submission queue. */
static struct io_uring_sqe *ask(struct ring *ring)
{
    struct io_uring_sqe *entry;
    while ((entry = io_uring_get_sqe(&ring->uring)) == NULL)
        ring_submit(ring);
    return entry;
}

/* Asking */

static void ask_cancel(struct ring *ring, enum operation operation, int socket, int flags)
{
    struct io_uring_sqe *entry = ask(ring);
    io_uring_prep_cancel64(entry, tag(operation, socket), flags);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = tag(CANCEL, socket);
}

static void ask_receive(struct ring *ring, int socket)
{
    struct io_uring_sqe *entry = ask(ring);
    io_uring_prep_recv_multishot(entry, socket, NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = BUFFER_GROUP;
    entry->user_data = tag(RECEIVE, socket);
    ring->sockets[socket].receiving = true;
    ring->sockets[socket].receive_cancelled = false;
}

static void ask_poll(struct ring *ring, int socket)
{
    struct io_uring_sqe *entry = ask(ring);
    io_uring_prep_poll_add(entry, socket, POLLOUT);
    entry->user_data = tag(POLL, socket);
    ring->sockets[socket].polling = true;
}

static void ask_send(struct ring *ring, const struct connection *connection, const struct connection_output *output)
{
    struct io_uring_sqe *entry = ask(ring);
    struct ring_send *send = &ring->asked.list[ring->asked.count++];
    send->socket = connection->socket;
    send->bytes = 0;
    for (int i = 0; i < output->count; i++) {
        send->parts[i] = output->parts[i];
        send->bytes += output->parts[i].iov_len;
    }
    /* MSG_WAITALL: to send a part counts as failure. */
    if (output->count == 1) {
        io_uring_prep_send(entry, send->socket, send->parts[0].iov_base, send->bytes, MSG_DONTWAIT | MSG_WAITALL);
    } else {
        send->message = (struct msghdr){.msg_iov = send->parts, .msg_iovlen = (size_t)output->count};
        io_uring_prep_sendmsg(entry, send->socket, &send->message, MSG_DONTWAIT | MSG_WAITALL);
    }
    /* Where something waits for the reply to have gone out, its completion ends a ring_wait(). */
    if (!connection->close_after && connection->held_bytes == 0)
        entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = tag(SEND, send->socket);
    ring->sockets[send->socket].send = send;
}

/* Accepting */

static void ask_accept(struct ring *ring, bool multishot)
{
    struct io_uring_sqe *entry = ask(ring);
    if (multishot)
        io_uring_prep_multishot_accept(entry, ring->listening->socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    else
        io_uring_prep_accept(entry, ring->listening->socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    entry->user_data = tag(ACCEPT, 0);
    ring->multishot = multishot;
    ring->accepts_armed++;
}

void ring_listen(struct ring *ring, uint64_t limit)
{
    const uint64_t now_ms = ring->service->clock.now_ms, most = ring->listening->max_connections;
    uint64_t open = counter_value(connections_open) + ring->accepted_count, room = open < most ? most - open : 0;
    bool wanted = listening_wanted(ring->listening, now_ms);
    if (wanted && room == 0) {
        listening_pause(ring->listening, now_ms);
        wanted = false;
    }
    /* A multishot accept knows no number: only where the whole accept queue fits is it armed. */
    bool multishot = limit == NO_LIMIT && room > ring->service->options->backlog;
    uint64_t arm = multishot ? 1 : limit < RING_ACCEPTS ? limit : RING_ACCEPTS;
    if (arm > room)
        arm = room;
    if (!wanted)
        arm = 0;

    if (ring->accepts_armed == 0)
        ring->disarming = false;
    if (!ring->disarming && ring->accepts_armed > 0 && (ring->accepts_armed > arm || multishot != ring->multishot)) {
        ask_cancel(ring, ACCEPT, 0, IORING_ASYNC_CANCEL_ALL);
        ring->disarming = true;
    }
    while (!ring->disarming && ring->accepts_armed < arm)
        ask_accept(ring, multishot);
}

static void accept_completed(struct ring *ring, const struct io_uring_cqe *completion)
{
    if (!(completion->flags & IORING_CQE_F_MORE))
        ring->accepts_armed--;
    int socket = listening_accepted(ring->listening, completion->res, ring->service->clock.now_ms);
    if (socket >= 0)
        ring->accepted[ring->accepted_count++] = socket;
}

void ring_open(struct ring *ring, int socket)
{
    ring->sockets[socket] = (struct ring_socket){0};
    connection_open(ring->service, socket);
    ask_receive(ring, socket);
}

/* Ending */

static bool close_if_let_go(struct ring *ring, struct connection *connection)
{
    const struct ring_socket *state = &ring->sockets[connection->socket];
    if (state->receiving || state->polling || state->send != NULL)
        return false;
    connection_close(connection);
    return true;
}

void ring_end(struct ring *ring, struct connection *connection)
{
    struct ring_socket *state = &ring->sockets[connection->socket];
    if (close_if_let_go(ring, connection))
        return;
    if (state->receiving)
        ask_cancel(ring, RECEIVE, connection->socket, 0);
    if (state->polling)
        ask_cancel(ring, POLL, connection->socket, 0);
    state->leaving = true;
    connection_leave(ring->service, connection);
}

/* Serving */

static void follow(struct ring *ring, struct connection *connection, enum connection_wish wish)
{
    struct ring_socket *state = &ring->sockets[connection->socket];
    if (state->leaving) {
        close_if_let_go(ring, connection);
        return;
    }
    if (wish == CONNECTION_WRITES && state->send == NULL && !state->polling) {
        struct connection_output output;
        connection_output(connection, &output);
        if (output.file < 0)
            ask_send(ring, connection, &output);
        else if ((wish = connection_serve(ring->service, connection)) == CONNECTION_WRITES)
            ask_poll(ring, connection->socket);
    }
    if (wish == CONNECTION_ENDED) {
        ring_end(ring, connection);
    } else if (wish == CONNECTION_READS) {
        if (!state->receiving)
            ask_receive(ring, connection->socket);
    } else if (state->receiving && !state->receive_cancelled && connection->held_bytes > INPUT_BYTES) {
        /* The client sends requests faster than it takes the replies. Input waits in the socket until it has them. */
        ask_cancel(ring, RECEIVE, connection->socket, 0);
        state->receive_cancelled = true;
    }
}

/* A send that did not go out as a whole. */
static void send_failed(struct ring *ring, struct connection *connection, int result)
{
    struct ring_socket *state = &ring->sockets[connection->socket];
    enum connection_wish wish = CONNECTION_WRITES;
    state->send = NULL;
    if (result != -EAGAIN && result != -EINTR && !state->leaving)
        wish = connection_sent(ring->service, connection, result);
    if (wish == CONNECTION_WRITES && !state->leaving)
        ask_poll(ring, connection->socket);
    else
        follow(ring, connection, wish);
}

/* The others did. */
static void sends_completed(struct ring *ring)
{
    for (unsigned i = 0; i < ring->submitted.count; i++) {
        struct ring_send *send = &ring->submitted.list[i];
        struct ring_socket *state = &ring->sockets[send->socket];
        struct connection *connection = &ring->service->connections[send->socket];
        if (state->send != send)
            continue;
        state->send = NULL;
        enum connection_wish wish = CONNECTION_ENDED;
        if (!state->leaving)
            wish = connection_sent(ring->service, connection, (ssize_t)send->bytes);
        follow(ring, connection, wish);
    }
    ring->submitted.count = 0;
}

static void recycle(struct ring *ring, unsigned buffer)
{
    io_uring_buf_ring_add(ring->buffers, ring->buffer_bytes + (size_t)buffer * RING_BUFFER_BYTES, RING_BUFFER_BYTES,
                          (unsigned short)buffer, io_uring_buf_ring_mask(RING_BUFFERS), 0);
    io_uring_buf_ring_advance(ring->buffers, 1);
}

static void receive_completed(struct ring *ring, struct connection *connection, const struct io_uring_cqe *completion)
{
    struct ring_socket *state = &ring->sockets[connection->socket];
    enum connection_wish wish = connection->replying ? CONNECTION_WRITES : CONNECTION_READS;
    unsigned buffer = completion->flags >> IORING_CQE_BUFFER_SHIFT;
    if (!(completion->flags & IORING_CQE_F_MORE))
        state->receiving = false;
    /* ENOBUFS: all buffers are waiting in this batch, and are free again when it is done. Then, or when the queue was too
     * full for another completion, the receive has ended without the client: follow() asks anew. */
    bool interrupted = completion->res == -ENOBUFS || completion->res == -ECANCELED || completion->res == -EINTR ||
                       completion->res == -EAGAIN;
    if (!interrupted && !state->leaving)
        wish = connection_receive(ring->service, connection,
                                  ring->buffer_bytes + (size_t)buffer * RING_BUFFER_BYTES,
                                  completion->res > 0 ? (size_t)completion->res : 0);
    if (completion->flags & IORING_CQE_F_BUFFER)
        recycle(ring, buffer);
    follow(ring, connection, wish);
}

static void poll_completed(struct ring *ring, struct connection *connection)
{
    struct ring_socket *state = &ring->sockets[connection->socket];
    state->polling = false;
    enum connection_wish wish = state->leaving ? CONNECTION_ENDED : connection_serve(ring->service, connection);
    if (wish == CONNECTION_WRITES)
        ask_poll(ring, connection->socket);
    follow(ring, connection, wish);
}

unsigned ring_reap(struct ring *ring)
{
    const bool all_submitted = !ring_asked(ring); /* before a failure asks for a poll: it must not delay the others */
    ring->ready = io_uring_peek_batch_cqe(&ring->uring, ring->completions, RING_COMPLETIONS);
    for (unsigned i = 0; i < ring->ready; i++) {
        const struct io_uring_cqe *completion = ring->completions[i];
        int socket = socket_of(completion);
        if (operation_of(completion) == ACCEPT)
            accept_completed(ring, completion);
        else if (operation_of(completion) == SEND && completion->res < (ssize_t)ring->sockets[socket].send->bytes)
            send_failed(ring, &ring->service->connections[socket], completion->res);
    }
    /* All failures are seen, so the other sends are done; unless some are not submitted, or completions did not fit. */
    if (all_submitted && !io_uring_cq_has_overflow(&ring->uring)) {
        struct ring_sends submitted = ring->asked;
        ring->asked = ring->submitted;
        ring->submitted = submitted;
    }
    return ring->ready;
}

unsigned ring_serve(struct ring *ring)
{
    unsigned served = 0;
    sends_completed(ring);
    for (unsigned i = 0; i < ring->ready; i++) {
        const struct io_uring_cqe *completion = ring->completions[i];
        enum operation operation = operation_of(completion);
        if (operation != RECEIVE && operation != POLL)
            continue;
        struct connection *connection = &ring->service->connections[socket_of(completion)];
        served += !ring->sockets[connection->socket].leaving;
        if (operation == RECEIVE)
            receive_completed(ring, connection, completion);
        else
            poll_completed(ring, connection);
    }
    io_uring_cq_advance(&ring->uring, ring->ready);
    ring->ready = 0;
    return served;
}

/* Beginning and end */

static void *memory(const struct options *options, size_t bytes)
{
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        process_fail(options, "get memory for io_uring");
    return start;
}

static void start_buffers(struct ring *ring)
{
    const struct options *options = ring->service->options;
    ring->buffers = memory(options, RING_BUFFERS * sizeof(struct io_uring_buf));
    ring->buffer_bytes = memory(options, (size_t)RING_BUFFERS * RING_BUFFER_BYTES);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)ring->buffers, .ring_entries = RING_BUFFERS, .bgid = BUFFER_GROUP};
    int result = io_uring_register_buf_ring(&ring->uring, &registration, 0);
    if (result < 0) {
        errno = -result;
        process_fail(options, "register buffers with io_uring (Linux 6.1 can)");
    }
    io_uring_buf_ring_init(ring->buffers);
    for (unsigned buffer = 0; buffer < RING_BUFFERS; buffer++)
        recycle(ring, buffer);
}

void ring_start(struct ring *ring, struct service *service, struct listening *listening, unsigned flags)
{
    *ring = (struct ring){.service = service, .listening = listening};
    struct io_uring_params params = {
        .flags = flags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = RING_COMPLETIONS};
    int result = io_uring_queue_init_params(RING_SUBMISSIONS, &ring->uring, &params);
    if (result < 0) {
        errno = -result;
        process_fail(service->options, "set up io_uring (it needs Linux 6.1, and no word against it from "
                                       "kernel.io_uring_disabled or a container's seccomp)");
    }
    io_uring_register_ring_fd(&ring->uring); /* saves looking the descriptor up; does without if refused */
    start_buffers(ring);
    size_t descriptors = (size_t)service->max_descriptor + 1;
    ring->sockets = memory(service->options, descriptors * sizeof *ring->sockets);
    ring->accepted = memory(service->options, descriptors * sizeof *ring->accepted);
    ring->asked.list = memory(service->options, descriptors * sizeof *ring->asked.list);
    ring->submitted.list = memory(service->options, descriptors * sizeof *ring->submitted.list);
}

void ring_stop(struct ring *ring)
{
    io_uring_queue_exit(&ring->uring);
    for (unsigned i = 0; i < ring->accepted_count; i++)
        tp_close(ring->accepted[i]);
}
