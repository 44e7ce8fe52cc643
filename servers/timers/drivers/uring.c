/* uring.c: a time-out of io_uring, absolute: what a loop on completions sleeps by.
 *
 * A wake-up is one io_uring_enter(), which both arms and waits, and one completion to take; no slack (its hrtimer is
 * exact, io_uring/timeout.c, io_timeout()). A ring costs locked memory in every process. Source: io_uring_enter(2),
 * IORING_OP_TIMEOUT with IORING_TIMEOUT_ABS (Linux 5.4).
 */
#include "driver.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

struct uring {
    struct driver driver;
    struct io_uring ring;
};

static struct driver *open_uring(const struct driver_options *options)
{
    (void)options;
    struct uring *uring = (struct uring *)driver_allocate(sizeof *uring);
    if (uring == NULL)
        return NULL;
    const int error = -io_uring_queue_init(2, &uring->ring, 0);
    if (error == 0)
        return &uring->driver;
    free(uring);
    errno = error;
    return NULL;
}

static void close_uring(struct driver *driver)
{
    io_uring_queue_exit(&((struct uring *)driver)->ring);
    free(driver);
}

static bool sleep_until(struct driver *driver, uint64_t until_ns)
{
    struct io_uring *ring = &((struct uring *)driver)->ring;
    struct __kernel_timespec until = {(long long)(until_ns / 1000000000), (long long)(until_ns % 1000000000)};
    struct io_uring_cqe *done;
    io_uring_prep_timeout(io_uring_get_sqe(ring), &until, 0, IORING_TIMEOUT_ABS);
    driver->armings++;
    int result;
    do
        result = io_uring_submit_and_wait(ring, 1);
    while (io_uring_peek_cqe(ring, &done) != 0 && (result >= 0 || result == -EINTR)); /* a signal: sleep on */
    if (result >= 0)
        io_uring_cqe_seen(ring, done);
    return true;
}

const struct driver_kind driver_uring = {
    .name = "uring",
    .cost = "1 system call, 1 arming, 1 completion; no slack",
    .open = open_uring,
    .close = close_uring,
    .sleep = sleep_until,
};
