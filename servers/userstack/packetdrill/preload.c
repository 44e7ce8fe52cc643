/* preload.c: three functions of the C library that packetdrill calls past its table, for when this shared object is also
 * preloaded (LD_PRELOAD). Code blocks of scripts read TCP_INFO by getsockopt(2) itself, whatever stack is under test;
 * memory is locked, which not everybody may; and of the kernel's stack, for its column, the congestion control is to be
 * cubic, which a network namespace cannot make its default. */
#include "world.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct world *world_of_process;

/* The C library declares them with attributes of its own. */
int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict bytes)
{
    struct world *w = world_of_process;
    struct descriptor *d = NULL;
    int result = 0;
    if (w != NULL) {
        pthread_mutex_lock(&w->lock);
        d = descriptor_of(w, fd);
        if (d != NULL)
            result = option_get(w, d, level, name, value, bytes);
        pthread_mutex_unlock(&w->lock);
    }
    if (d == NULL)
        return (int)syscall(SYS_getsockopt, fd, level, name, value, bytes);
    if (result == 0)
        return 0;
    errno = -result;
    return -1;
}

int socket(int domain, int type, int protocol)
{
    int fd = (int)syscall(SYS_socket, domain, type, protocol);
    const char *name = getenv("NAI_CONGESTION");
    if (fd >= 0 && name != NULL && domain == AF_INET && (type & 15) == SOCK_STREAM)
        syscall(SYS_setsockopt, fd, IPPROTO_TCP, 13 /* TCP_CONGESTION */, name, strlen(name));
    return fd;
}

int mlockall(int flags)
{
    (void)flags;
    return 0;
}
