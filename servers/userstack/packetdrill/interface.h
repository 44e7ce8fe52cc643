/* interface.h: the table that packetdrill has a shared object fill in, in its order. Written down from the public
 * interface; only layout and meaning are packetdrill's. Results and errno are those of the system calls. */
#ifndef NAI_PACKETDRILL_INTERFACE_H
#define NAI_PACKETDRILL_INTERFACE_H

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>

struct epoll_event;

struct packetdrill_interface {
    void *world; /* the first argument of all that follow */
    void (*free)(void *world);
    int (*socket)(void *world, int domain, int type, int protocol);
    int (*bind)(void *world, int fd, const struct sockaddr *address, socklen_t bytes);
    int (*listen)(void *world, int fd, int backlog);
    int (*accept)(void *world, int fd, struct sockaddr *address, socklen_t *bytes);
    int (*connect)(void *world, int fd, const struct sockaddr *address, socklen_t bytes);
    ssize_t (*read)(void *world, int fd, void *buffer, size_t bytes);
    ssize_t (*readv)(void *world, int fd, const struct iovec *parts, int count);
    ssize_t (*recv)(void *world, int fd, void *buffer, size_t bytes, int flags);
    ssize_t (*recvfrom)(void *world, int fd, void *buffer, size_t bytes, int flags, struct sockaddr *from,
                        socklen_t *from_bytes);
    ssize_t (*recvmsg)(void *world, int fd, struct msghdr *message, int flags);
    ssize_t (*write)(void *world, int fd, const void *buffer, size_t bytes);
    ssize_t (*writev)(void *world, int fd, const struct iovec *parts, int count);
    ssize_t (*send)(void *world, int fd, const void *buffer, size_t bytes, int flags);
    ssize_t (*sendto)(void *world, int fd, const void *buffer, size_t bytes, int flags, const struct sockaddr *to,
                      socklen_t to_bytes);
    ssize_t (*sendmsg)(void *world, int fd, const struct msghdr *message, int flags);
    int (*fcntl)(void *world, int fd, int command, ...);
    int (*ioctl)(void *world, int fd, unsigned long request, ...);
    int (*close)(void *world, int fd);
    int (*shutdown)(void *world, int fd, int how);
    int (*getsockopt)(void *world, int fd, int level, int name, void *value, socklen_t *bytes);
    int (*setsockopt)(void *world, int fd, int level, int name, const void *value, socklen_t bytes);
    int (*poll)(void *world, struct pollfd *fds, nfds_t count, int timeout_ms);
    int (*netdev_send)(void *world, const void *packet, size_t bytes); /* to the stack: an IP packet */
    int (*netdev_receive)(void *world, void *packet, size_t *bytes, long long *at_us); /* what it sends next; bytes: in, out */
    int (*usleep)(void *world, useconds_t us);
    int (*gettimeofday)(void *world, struct timeval *now, struct timezone *zone);
    int (*epoll_create)(void *world, int size);
    int (*epoll_ctl)(void *world, int epoll, int operation, int fd, struct epoll_event *event);
    int (*epoll_wait)(void *world, int epoll, struct epoll_event *events, int capacity, int timeout_ms);
    int (*pipe)(void *world, int fds[2]);
    int (*splice)(void *world, int from, loff_t *from_at, int to, loff_t *to_at, size_t bytes, unsigned flags);
};

void packetdrill_interface_init(const char *flags, struct packetdrill_interface *table);

#endif
