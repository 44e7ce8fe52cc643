/* laio_operations_time.c: operations that wait for time, a word in memory, readiness, or another opener. */
#include "laio_operations.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>

/* nanosleep: not a moment too short. */

static void verify_slept(struct operation *operation, long result)
{
    (void)result;
    uint64_t slept_ns = partner_now_ns() - operation->began_ns;
    if (slept_ns < (uint64_t)operation->time.tv_nsec)
        operation_print(operation, "it ended early");
}

void prepare_sleep(struct operation *operation)
{
    static const long most_us[] = {0, 1, 40, 40, 40, 40, 40, 2000};
    unsigned how = (unsigned)operation_draw(operation, 8);
    long us = how == 7 ? most_us[how] : (long)operation_draw(operation, (uint64_t)most_us[how] + 1);
    operation->time = (struct timespec){.tv_nsec = us * 1000};
    operation->waits = true;
    operation->verify = verify_slept;
    operation->began_ns = partner_now_ns();
    OPERATION_CALL(operation, SYS_nanosleep, &operation->time, NULL);
}

/* futex: the partner wakes, the time is over, or the word is another. */

static bool deed_wake(void *argument) /* again, until somebody was waiting */
{
    struct operation *operation = argument;
    return syscall(SYS_futex, &operation->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) == 1;
}

void prepare_futex(struct operation *operation)
{
    unsigned how = (unsigned)operation_draw(operation, 3);
    operation->word = 7;
    operation->time = (struct timespec){.tv_nsec = (long)operation_draw(operation, 1000000)};
    operation->waits = true;
    operation->expected = (const long[]){0, -ETIMEDOUT, -EAGAIN}[how];
    OPERATION_CALL(operation, SYS_futex, &operation->word, FUTEX_WAIT_PRIVATE, how == 2 ? 8 : 7,
                   how == 0 ? NULL : &operation->time);
    if (how == 0)
        operation_ask_soon(operation, deed_wake);
}

/* poll */

static bool deed_write_one(void *argument)
{
    struct operation *operation = argument;
    return write(operation->pipe[1], "x", 1) == 1;
}

static void verify_polled(struct operation *operation, long result)
{
    struct pollfd expected = {.fd = operation->pipe[0], .events = POLLIN, .revents = result == 1 ? POLLIN : 0};
    if (memcmp(&operation->poll, &expected, sizeof expected) != 0)
        operation_print(operation, "it says that something else happened");
}

void prepare_poll(struct operation *operation)
{
    static const int timeouts_ms[] = {0, 1, -1, 10000};
    unsigned how = (unsigned)operation_draw(operation, 4);
    operation->uses = USES_PIPE;
    operation->poll = (struct pollfd){.fd = operation->pipe[0], .events = POLLIN, .revents = 0x55};
    operation->expected = operation->left_bytes = how >= 2;
    operation->waits = true;
    operation->verify = verify_polled;
#ifdef SYS_poll
    OPERATION_CALL(operation, SYS_poll, &operation->poll, 1, timeouts_ms[how]);
#else
    operation->time = (struct timespec){timeouts_ms[how] / 1000, timeouts_ms[how] % 1000 * 1000000L};
    OPERATION_CALL(operation, SYS_ppoll, &operation->poll, 1, how == 2 ? NULL : &operation->time, NULL, 0);
#endif
    if (how >= 2)
        operation_now_or_soon(operation, deed_write_one);
}

/* openat of a FIFO waits for the other end: which can be opened without waiting once the first is there (fifo(7)). */

static bool deed_open_fifo(void *argument)
{
    struct operation *operation = argument;
    int flags = (operation->arguments[2] & O_ACCMODE) == O_RDONLY ? O_WRONLY : O_RDONLY;
    /* A reader is opened at once, and stays until the operation is checked. */
    if (operation->opened[1] < 0)
        operation->opened[1] =
            openat(operation->all->folder_descriptor, operation->path, flags | O_NONBLOCK | O_CLOEXEC);
    return operation->opened[1] >= 0;
}

static void verify_fifo(struct operation *operation, long result)
{
    int flags = fcntl((int)result, F_GETFL);
    if (flags < 0 || ((flags ^ operation->arguments[2]) & O_ACCMODE) != 0)
        operation_print(operation, "the FIFO was opened in another mode");
    close((int)result);
}

void prepare_open_fifo(struct operation *operation)
{
    int mode = operation_draw(operation, 2) == 0 ? O_RDONLY : O_WRONLY;
    snprintf(operation->path, sizeof operation->path, "fifo-%u", operation->index);
    operation->gives_descriptor = true;
    operation->verify = verify_fifo;
    OPERATION_CALL(operation, SYS_openat, operation->all->folder_descriptor, operation->path, mode | O_CLOEXEC);
    operation_ask_soon(operation, deed_open_fifo);
}
