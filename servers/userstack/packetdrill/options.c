/* options.c: socket options, and TCP_INFO as far as the stack keeps what it tells. */
#include "world.h"

#include "tcp_states.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>

void options_apply(struct world *w, const struct descriptor *d)
{
    us_set(w->stack, d->us, US_NODELAY, d->nodelay != 0);
    us_set(w->stack, d->us, US_CORK, d->cork != 0);
    us_set(w->stack, d->us, US_KEEPALIVE, d->keepalive != 0);
    us_set(w->stack, d->us, US_USER_TIMEOUT_MS, (uint32_t)d->user_timeout_ms);
    if (d->listening)
        us_set(w->stack, d->us, US_MSS, (uint32_t)d->mss);
}

/* Where the value of an option that only is a number is kept; NULL: it is none of those. */
static int *place_of(struct descriptor *d, int level, int name, enum us_option *option, bool *stacks)
{
    *stacks = true;
    switch (level == IPPROTO_TCP ? name : -name) {
    case TCP_NODELAY:
        *option = US_NODELAY;
        return &d->nodelay;
    case TCP_CORK:
        *option = US_CORK;
        return &d->cork;
    case TCP_USER_TIMEOUT:
        *option = US_USER_TIMEOUT_MS;
        return &d->user_timeout_ms;
    case TCP_MAXSEG:
        *option = US_MSS;
        return &d->mss;
    }
    if (level == SOL_SOCKET && name == SO_KEEPALIVE) {
        *option = US_KEEPALIVE;
        return &d->keepalive;
    }
    *stacks = false;
    /* The stack's buffers have one size, stack_limits': these are only remembered. */
    if (level == SOL_SOCKET && name == SO_SNDBUF)
        return &d->send_buffer;
    return level == SOL_SOCKET && name == SO_RCVBUF ? &d->receive_buffer : NULL;
}

int option_set(struct world *w, struct descriptor *d, int level, int name, const void *value, uint32_t bytes)
{
    enum us_option option = US_NODELAY;
    bool stacks;
    int *place = place_of(d, level, name, &option, &stacks), number;
    if (level == SOL_SOCKET && name == SO_REUSEADDR)
        return 0; /* no port is held by what has ended */
    if (level == SOL_SOCKET && name == SO_LINGER && bytes >= sizeof(struct linger)) {
        const struct linger *linger = value;
        d->abortive = linger->l_onoff && linger->l_linger == 0;
        return 0;
    }
    if (place == NULL)
        return -ENOPROTOOPT;
    if (bytes < sizeof number)
        return -EINVAL;
    memcpy(&number, value, sizeof number);
    *place = number;
    if (stacks && d->us >= 0 && !(option == US_MSS && !d->listening))
        return us_set(w->stack, d->us, option, (uint32_t)number);
    return 0;
}

static uint8_t linux_state(int state)
{
    static const uint8_t states[] = {
        [TCP_CLOSED] = 7,     [TCP_LISTEN] = 10,    [TCP_SYN_SENT] = 2,   [TCP_SYN_RECEIVED] = 3,
        [TCP_ESTABLISHED] = 1, [TCP_FIN_WAIT_1] = 4, [TCP_FIN_WAIT_2] = 5, [TCP_CLOSE_WAIT] = 8,
        [TCP_CLOSING] = 11,   [TCP_LAST_ACK] = 9,   [TCP_TIME_WAIT] = 6,
    };
    return states[state];
}

static uint8_t linux_ca_state(enum us_loss loss)
{
    static const uint8_t states[] = {[US_LOSS_NONE] = TCP_CA_Open,
                                     [US_LOSS_SUSPECTED] = TCP_CA_Disorder,
                                     [US_LOSS_FAST_RECOVERY] = TCP_CA_Recovery,
                                     [US_LOSS_TIMEOUT] = TCP_CA_Loss};
    return states[loss];
}

static int tcp_info(struct world *w, const struct descriptor *d, void *value, uint32_t bytes)
{
    struct us_info of;
    if (d->us < 0 || us_info(w->stack, d->us, &of) < 0)
        return -EINVAL;
    uint32_t mss = of.mss > 0 ? of.mss : 1;
    bool scaled = of.receive_scale != UINT8_MAX;
    struct tcp_info info = {
        .tcpi_state = linux_state(of.state),
        .tcpi_ca_state = linux_ca_state(of.loss),
        .tcpi_retransmits = of.tries,
        .tcpi_probes = of.probes,
        .tcpi_backoff = of.backoff,
        .tcpi_options = (uint8_t)((of.timestamps ? TCPI_OPT_TIMESTAMPS : 0) | (of.sack ? TCPI_OPT_SACK : 0) |
                                  (scaled ? TCPI_OPT_WSCALE : 0)),
        .tcpi_snd_wscale = scaled ? of.send_scale & 15u : 0,
        .tcpi_rcv_wscale = scaled ? of.receive_scale & 15u : 0,
        .tcpi_rto = (uint32_t)of.rto_us,
        .tcpi_snd_mss = of.mss,
        .tcpi_advmss = of.offered_mss,
        .tcpi_unacked = (of.unacked_bytes + mss - 1) / mss,
        .tcpi_sacked = (of.sacked_bytes + mss - 1) / mss,
        .tcpi_lost = (of.lost_bytes + mss - 1) / mss,
        .tcpi_last_data_sent = (uint32_t)(of.data_sent_us / 1000),
        .tcpi_last_data_recv = (uint32_t)(of.data_received_us / 1000),
        .tcpi_last_ack_recv = (uint32_t)(of.heard_us / 1000),
        .tcpi_rtt = (uint32_t)of.rtt_us,
        .tcpi_rttvar = (uint32_t)of.rttvar_us,
        .tcpi_snd_cwnd = of.cwnd_bytes / mss,
        .tcpi_snd_ssthresh = of.ssthresh_bytes == UINT32_MAX ? INT32_MAX : of.ssthresh_bytes / mss,
    };
    memset(value, 0, bytes); /* what we do not keep reads as 0 */
    memcpy(value, &info, bytes < sizeof info ? bytes : sizeof info);
    return 0;
}

static int number_of(struct world *w, struct descriptor *d, int level, int name, int *number)
{
    enum us_option option;
    bool stacks;
    const int *place = place_of(d, level, name, &option, &stacks);
    struct us_info info;
    if (level == SOL_SOCKET && name == SO_ERROR) {
        int result = d->us < 0 || d->listening || d->told ? 0 : us_connect_result(w->stack, d->us);
        *number = result == -EINPROGRESS ? 0 : -result;
        d->told = *number != 0 || d->told;
        return 0;
    }
    if (place == NULL)
        return -ENOPROTOOPT;
    *number = *place;
    if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF))
        *number *= 2; /* socket(7) */
    if (level == IPPROTO_TCP && name == TCP_MAXSEG && d->us >= 0 && us_info(w->stack, d->us, &info) == 0)
        *number = (int)info.mss;
    return 0;
}

int option_get(struct world *w, struct descriptor *d, int level, int name, void *value, uint32_t *bytes)
{
    enum { SO_MEMINFO_ = 55 };
    if (level == IPPROTO_TCP && name == TCP_INFO)
        return tcp_info(w, d, value, *bytes);
    if (level == IPPROTO_TCP && name == TCP_CC_INFO) { /* of algorithms that have none */
        *bytes = 0;
        return 0;
    }
    if (level == SOL_SOCKET && name == SO_MEMINFO_) {
        memset(value, 0, *bytes);
        return 0;
    }
    int number, result = number_of(w, d, level, name, &number);
    if (result < 0)
        return result;
    *bytes = *bytes < sizeof number ? *bytes : sizeof number;
    memcpy(value, &number, *bytes);
    return 0;
}
