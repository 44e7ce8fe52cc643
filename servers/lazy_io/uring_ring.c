/* uring_ring.c: one ring of io_uring.
 *
 * Where it can be had, completions wait until the loop asks for them (IORING_SETUP_DEFER_TASKRUN): no system call of
 * the program is interrupted by them. Whoever polls the ring's own descriptor is not woken by such completions
 * (io_uring.c, io_req_local_work_add()); whoever polls an eventfd registered with the ring is. Without it (Linux 5.19
 * to 6.0) a completion ends epoll_wait() with EINTR before it can be taken.
 */
#include "uring_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define SUBMISSIONS 8u /* one at a time, and those that the kernel has not taken */
#define PARTS_OF_CALL 3u /* completions: it, once more or taken back */

static int set_up(struct uring_ring *ring, unsigned operations, unsigned flags)
{
    struct io_uring_params parameters = {
        .flags = flags | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .cq_entries = operations + SUBMISSIONS,
    };
    return -io_uring_queue_init_params(SUBMISSIONS, &ring->ring, &parameters);
}

static bool probe(struct uring_ring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->ring);
    if (probe == NULL)
        return false;
    for (int opcode = 0; opcode <= UINT8_MAX; opcode++)
        ring->has[opcode] = io_uring_opcode_supported(probe, opcode);
    io_uring_free_probe(probe);
    return true;
}

bool uring_ring_open(struct uring_ring *ring, const struct laio_options *options, char *why, size_t why_bytes)
{
    /* Completions run when the loop asks (6.1), or at its next system call, without an interrupt (5.19). */
    const unsigned cooperative = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    const unsigned deferred = cooperative | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    const unsigned operations = laio_or(options->operations, LAIO_OPERATIONS);
    *ring = (struct uring_ring){.workers = options->threads, .event = -1};
    int error = set_up(ring, operations, deferred);
    if (error == EINVAL)
        error = set_up(ring, operations, cooperative);
    if (error == EINVAL) {
        laio_refuse(why, why_bytes, "io_uring: needs Linux 5.19");
        return false;
    }
    if (error != 0) {
        bool forbidden = error == EPERM || error == ENOSYS;
        laio_refuse(why, why_bytes, "io_uring: %s: %s", strerror(error),
                    forbidden ? "sudo sysctl kernel.io_uring_disabled=0, and allow it in the container"
                              : "raise ulimit -n and -l, or ask for fewer operations");
        return false;
    }
    ring->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->event < 0)
        laio_refuse(why, why_bytes, "io_uring: eventfd: %s: raise ulimit -n", strerror(errno));
    else if (!probe(ring) || io_uring_register_eventfd(&ring->ring, ring->event) != 0)
        laio_refuse(why, why_bytes, "io_uring: no io_uring_register: allow it in the container");
    else
        return true;
    uring_ring_close(ring);
    return false;
}

void uring_ring_close(struct uring_ring *ring)
{
    io_uring_queue_exit(&ring->ring);
    if (ring->event >= 0)
        close(ring->event);
}

static bool enable(struct uring_ring *ring)
{
    ring->enabled =
        laio_plainly(SYS_io_uring_register, ring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, 0, 0, 0, 0) == 0;
    unsigned bounded_and_not[2] = {ring->workers, ring->workers};
    if (ring->enabled && ring->workers > 0)
        io_uring_register_iowq_max_workers(&ring->ring, bounded_and_not);
    return ring->enabled;
}

bool uring_ring_submit(struct uring_ring *ring, const struct io_uring_sqe *entry, const void *name)
{
    if (!ring->enabled && !enable(ring))
        return false;
    struct io_uring_sqe *room = io_uring_get_sqe(&ring->ring);
    if (room == NULL) {
        io_uring_submit(&ring->ring); /* what was left */
        return false;
    }
    *room = *entry;
    io_uring_sqe_set_data(room, (void *)name);
    io_uring_submit(&ring->ring);
    if (io_uring_sq_ready(&ring->ring) == 0)
        return true;
    io_uring_prep_nop(room); /* it stays in the queue, and goes with the next one */
    io_uring_sqe_set_data(room, NULL);
    return false;
}

/* Completions that wait for the loop to ask for them, or that found no room in the queue. */
static bool kernel_has_more(const struct uring_ring *ring)
{
    return (IO_URING_READ_ONCE(*ring->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

bool uring_ring_ready(const struct uring_ring *ring)
{
    return io_uring_cq_ready(&ring->ring) > 0 || kernel_has_more(ring);
}

bool uring_ring_take(struct uring_ring *ring, void **name, long *result)
{
    struct io_uring_cqe *completion;
    if (io_uring_peek_cqe(&ring->ring, &completion) != 0)
        return false;
    *name = io_uring_cqe_get_data(completion);
    *result = completion->res;
    io_uring_cqe_seen(&ring->ring, completion);
    return true;
}

unsigned uring_ring_tail(const struct uring_ring *ring)
{
    return io_uring_smp_load_acquire(ring->ring.cq.ktail);
}

bool uring_ring_completed(struct uring_ring *ring, const void *name, unsigned tail, long *result)
{
    struct io_uring_cq *queue = &ring->ring.cq;
    if ((int)(tail - *queue->khead) < 0) /* what was there is taken */
        tail = *queue->khead;
    for (unsigned end = uring_ring_tail(ring); tail != end; tail++) {
        struct io_uring_cqe *completion = &queue->cqes[tail & queue->ring_mask];
        if (io_uring_cqe_get_data(completion) != name)
            continue;
        *result = completion->res;
        completion->user_data = 0; /* nobody's, wherever it stays and whoever looks at it again */
        if (tail == *queue->khead)
            io_uring_cq_advance(&ring->ring, 1);
        return true;
    }
    return false;
}

bool uring_ring_wait(struct uring_ring *ring, const void *name, unsigned tail, long *result)
{
    while (!uring_ring_completed(ring, name, tail, result)) {
        struct io_uring_cqe *first;
        unsigned waiting = uring_ring_tail(ring) - *ring->ring.cq.khead;
        if (io_uring_wait_cqe_nr(&ring->ring, &first, waiting + 1) == -EINTR)
            return uring_ring_completed(ring, name, tail, result);
    }
    return true;
}

bool uring_ring_crowded(const struct uring_ring *ring)
{
    return io_uring_cq_ready(&ring->ring) > SUBMISSIONS - PARTS_OF_CALL;
}

bool uring_ring_withdraw(struct uring_ring *ring, const void *name, unsigned tail, long *result)
{
    struct io_uring_sqe entry;
    io_uring_prep_cancel(&entry, (void *)name, 0);
    if (!uring_ring_submit(ring, &entry, NULL))
        return false;
    while (!uring_ring_wait(ring, name, tail, result))
        ;
    return true;
}

void uring_ring_withdraw_all(struct uring_ring *ring)
{
    struct io_uring_sqe entry;
    io_uring_prep_cancel64(&entry, 0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
    uring_ring_submit(ring, &entry, NULL);
}

/* Completions that wait for the loop to ask were announced when they came; those that wait for its next system call are
 * when they are in the queue. */
bool uring_ring_quiet(struct uring_ring *ring)
{
    bool deferred = (ring->ring.flags & IORING_SETUP_DEFER_TASKRUN) != 0;
    bool told = io_uring_cq_ready(&ring->ring) > 0 || (deferred && kernel_has_more(ring));
    io_uring_cq_eventfd_toggle(&ring->ring, false);
    return told;
}

/* The kernel shows that it has more, and then looks whether to write; here it is the other way round. So what comes in
 * between is seen by one of the two. */
void uring_ring_told(struct uring_ring *ring, bool told)
{
    io_uring_cq_eventfd_toggle(&ring->ring, true);
    atomic_thread_fence(memory_order_seq_cst);
    if (!told && uring_ring_ready(ring))
        uring_ring_tell(ring);
}

void uring_ring_tell(struct uring_ring *ring)
{
    uint64_t one = 1;
    laio_plainly(SYS_write, ring->event, (long)&one, sizeof one, 0, 0, 0);
}
