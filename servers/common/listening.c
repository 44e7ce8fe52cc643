/* listening.c: accept with a pause instead of a spin. */
#include "listening.h"

#include "counters.h"
#include "bounds.h"

#include <errno.h>

int listening_start(struct listening *listening, const struct options *options, uint64_t max_descriptor)
{
    *listening = (struct listening){
        .socket = tp_listen(&options->listen, &options->transport),
        .interest = -1,
        .max_connections = options->max_connections,
        .max_descriptor = max_descriptor,
    };
    return listening->socket < 0 ? -1 : 0;
}

int listening_pause(struct listening *listening, uint64_t now_ms)
{
    listening->paused = true;
    listening->pause_ends_ms = now_ms + ACCEPT_PAUSE_MS;
    listening->closes_when_paused = counter_value(closes);
    count(accept_pauses);
    return -1;
}

int listening_accepted(struct listening *listening, int result, uint64_t now_ms)
{
    if (result >= 0 && (uint64_t)result <= listening->max_descriptor) {
        count(accepts);
        return result;
    }
    if (result >= 0) /* a descriptor beyond the design's tables: as good as none */
        tp_abort(result);
    switch (-result) {
    case EAGAIN:
    case EINTR:
    case ECANCELED:
        return -1;
    /* Errors of the one connection that was about to be returned; accept(2) says to try again. */
    case ECONNABORTED:
    case EPERM:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        count(accept_errors);
        return -1;
    default: /* EMFILE, ENFILE, ENOBUFS, ENOMEM; and nothing unforeseen may spin either */
        count(accept_errors);
        return listening->paused ? -1 : listening_pause(listening, now_ms);
    }
}

int listening_accept(struct listening *listening, uint64_t now_ms)
{
    if (listening->paused || listening->socket < 0)
        return -1;
    if (counter_value(connections_open) >= listening->max_connections)
        return listening_pause(listening, now_ms);
    for (;;) {
        int result = listening->blocking ? tp_accept_blocking(listening->socket) : tp_accept(listening->socket, NULL);
        bool empty = result < 0 && errno == EAGAIN;
        int socket = listening_accepted(listening, result < 0 ? -errno : result, now_ms);
        if (socket >= 0 || empty || listening->paused)
            return socket;
    }
}

bool listening_wanted(struct listening *listening, uint64_t now_ms)
{
    if (listening->paused &&
        (now_ms >= listening->pause_ends_ms || counter_value(closes) != listening->closes_when_paused))
        listening->paused = false;
    return !listening->paused && listening->socket >= 0;
}

void listening_stop(struct listening *listening)
{
    if (listening->socket >= 0 && listening->interest >= 0)
        tp_epoll_ctl(listening->interest, EPOLL_CTL_DEL, listening->socket, NULL);
    if (listening->socket >= 0)
        tp_close(listening->socket);
    listening->socket = -1;
}
