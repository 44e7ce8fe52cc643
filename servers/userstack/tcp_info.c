/* tcp_info.c: how a connection fares, for tables, tests and whoever reads TCP_INFO of a kernel's. */
#include "tcp.h"

#include <errno.h>

static uint64_t us_of(const struct stack *stack, uint64_t ticks) { return ticks * stack->limits.tick_ns / 1000; }

static enum us_loss loss_of(const struct connection *c)
{
    if (c->recovering)
        return US_LOSS_FAST_RECOVERY;
    if (c->recovered_by_timeout && seq_before(c->snd_una, c->recover))
        return US_LOSS_TIMEOUT;
    return c->flight.sacked > 0 || c->duplicates > 0 ? US_LOSS_SUSPECTED : US_LOSS_NONE;
}

int us_info(struct stack *stack, int number, struct us_info *info)
{
    struct socket *socket = socket_of(stack, number);
    if (socket == NULL || socket->kind != SOCKET_CONNECTION)
        return -EBADF;
    const struct connection *c = (const struct connection *)(const void *)socket;
    bool sent = seq_before(c->snd_una, c->snd_max);
    *info = (struct us_info){
        .state = c->state,
        .loss = loss_of(c),
        .timestamps = c->timestamps,
        .sack = c->sack,
        .send_scale = c->receive_scale == UINT8_MAX ? UINT8_MAX : c->send_scale,
        .receive_scale = c->receive_scale,
        .tries = c->tries,
        .backoff = c->backoff,
        .probes = c->probes,
        .mss = c->mss,
        .offered_mss = offered_mss(c),
        .cwnd_bytes = c->cc.cwnd,
        .ssthresh_bytes = c->cc.ssthresh,
        .peer_window_bytes = c->snd_wnd,
        .unacked_bytes = sent ? c->snd_max - c->snd_una : 0,
        .unsent_bytes = seq_before(c->snd_max, fin_seq(c)) ? fin_seq(c) - c->snd_max : 0,
        .sacked_bytes = c->flight.sacked,
        .lost_bytes = c->flight.lost,
        .unread_bytes = c->receive.length,
        .rtt_us = us_of(stack, c->srtt8) / 8,
        .rttvar_us = us_of(stack, c->rttvar4) / 4,
        .rto_us = us_of(stack, c->rto),
        .data_sent_us = us_of(stack, stack->now - c->sent_at),
        .data_received_us = us_of(stack, stack->now - c->received_at),
        .heard_us = us_of(stack, stack->now - c->heard_at),
    };
    return 0;
}
