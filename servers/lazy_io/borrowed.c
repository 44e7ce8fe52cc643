/* borrowed.c: memory that may not be there, copied by the kernel, which then fails instead of the program.
 *
 * Where process_vm_readv() is forbidden, it is taken for granted.
 */
#include "borrowed.h"

#include "engine.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>

/* Of each part all or nothing is copied, and nothing after a part that is not there. Returns the bytes, or -errno. */
static long copy(void *to, const struct iovec *parts, int count)
{
    struct iovec here = {to, 0};
    for (int i = 0; i < count; i++)
        here.iov_len += parts[i].iov_len;
    long process = laio_plainly(SYS_getpid, 0, 0, 0, 0, 0, 0);
    return laio_plainly(SYS_process_vm_readv, process, (long)&here, 1, (long)parts, count, 0);
}

static bool forbidden(long result)
{
    return result == -EPERM || result == -ENOSYS;
}

bool borrowed_copy(void *to, const void *from, size_t bytes)
{
    const struct iovec whole = {(void *)from, bytes};
    long copied = copy(to, &whole, 1);
    if (!forbidden(copied))
        return copied == (long)bytes;
    if (from != NULL)
        memcpy(to, from, bytes);
    return from != NULL;
}

size_t borrowed_path(char *to, const char *from)
{
    enum { SMALLEST_PAGE = 4096 }; /* the string may end before a page that is not there */
    const size_t first = SMALLEST_PAGE - (uintptr_t)from % SMALLEST_PAGE;
    const struct iovec parts[] = {{(void *)from, first}, {(char *)from + first, PATH_MAX - first}};
    _Static_assert(PATH_MAX == SMALLEST_PAGE, "a path lies in two pages at most");
    long copied = copy(to, parts, 2);
    if (forbidden(copied)) {
        copied = from != NULL ? (long)strnlen(from, PATH_MAX - 1) + 1 : 0;
        memcpy(to, from, (size_t)copied);
    }
    const char *end = copied > 0 ? memchr(to, '\0', (size_t)copied) : NULL;
    return end != NULL ? (size_t)(end - to) + 1 : 0;
}
