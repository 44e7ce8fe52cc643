/* transport.h: the one interface between designs, HTTP and load generators on one side and a TCP on the other.
 *
 * A program is linked with exactly one transport: transport_kernel.c is the operating system's sockets,
 * userstack/transport_user.c a stack in the program itself. So no caller changes and no call pays for an indirection.
 * A socket is a small number, the lowest that is free or near it: tables are indexed by it. With the kernel it is a
 * descriptor; with a stack it is none, although it may equal one: it is used, and closed, by these calls alone.
 * All sockets are non-blocking but those of tp_accept_blocking(). Unless said otherwise a call returns -1 with errno
 * set, as the system call would.
 */
#ifndef NAI_TRANSPORT_H
#define NAI_TRANSPORT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include <sys/uio.h>

struct tp_options {
    int backlog;            /* length of the accept queue, passed to listen(2) as it is */
    const char *congestion; /* TCP_CONGESTION, or NULL for the machine's default */
    bool reuse_port;        /* SO_REUSEPORT: several listeners share one port */
    int defer_accept_s;     /* TCP_DEFER_ACCEPT in seconds, 0 = off */
};

/* Parse "ADDR:PORT" (IPv4 dotted quad, port 0..65535) into *out. Returns 0, or -1 if malformed. */
int tp_parse_address(const char *text, struct sockaddr_in *out);

/* Bind and listen. Returns the listening socket. */
int tp_listen(const struct sockaddr_in *address, const struct tp_options *options);

/* Accept one connection, TCP_NODELAY set (a reply goes out when it is complete, as in nginx). Returns the socket;
 * EAGAIN when the accept queue is empty, EMFILE/ENFILE/ENOBUFS/ENOMEM when a resource is exhausted. *peer may be NULL. */
int tp_accept(int listener, struct sockaddr_in *peer);

/* Begin a connection from *source (port 0 = any; NULL = the system's choice). EINPROGRESS is the usual outcome and is
 * returned as success; writability then announces the end, tp_connect_result() tells which. */
int tp_connect(const struct sockaddr_in *destination, const struct sockaddr_in *source, const struct tp_options *options);
int tp_connect_result(int socket); /* 0, or the errno of the failed connection */

/* Whether connections could begin from that source (NULL = the system's choice) with these options: 0, or -1. */
int tp_usable(const struct sockaddr_in *source, const struct tp_options *options);

int tp_local_address(int socket, struct sockaddr_in *address); /* of a listener: with the port it was given for port 0 */

ssize_t tp_recv(int socket, void *buffer, size_t bytes);
ssize_t tp_discard(int socket, size_t bytes); /* consume up to bytes without copying them out (MSG_TRUNC, tcp(7)) */
ssize_t tp_send(int socket, const void *buffer, size_t bytes); /* never blocks */
ssize_t tp_sendv(int socket, const struct iovec *parts, int count, bool more_follows); /* MSG_MORE if more_follows */
ssize_t tp_sendfile(int socket, int file, off_t *offset, size_t bytes);

/* For a kernel thread a connection: a socket that blocks, and calls that do. They do not count as system calls, since
 * several threads may be in them at a time: the caller does it under its lock. */
int tp_accept_blocking(int listener);
ssize_t tp_blocking_recv(int socket, void *buffer, size_t bytes);
ssize_t tp_blocking_sendv(int socket, const struct iovec *parts, int count, bool more_follows);
ssize_t tp_blocking_sendfile(int socket, int file, off_t *offset, size_t bytes);

int tp_shutdown_write(int socket); /* FIN after what is queued */
int tp_shutdown(int socket);       /* and nothing more is received: who waits for the socket wakes */
int tp_close(int socket);
int tp_abort(int socket); /* RST: SO_LINGER 0, then close */

/* Readiness, in epoll's terms; for the kernel these are the epoll system calls themselves. tp_close() ends a set.
 * getevents_ends() of phases.h counts a wait as one system call. A transport that makes more or fewer corrects that. */
int tp_epoll_create(void);
int tp_epoll_ctl(int set, int operation, int socket, struct epoll_event *event);
int tp_epoll_wait(int set, struct epoll_event *events, int capacity, int timeout_ms);
/* The same in nanoseconds. Where the kernel cannot do that, in milliseconds, rounded down: a schedule is kept. */
int tp_epoll_wait_ns(int set, struct epoll_event *events, int capacity, uint64_t timeout_ns);

#endif
