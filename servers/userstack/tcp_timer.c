/* tcp_timer.c: what happens when time is up. A connection has four timers: retransmission or persist, delayed ACK, a
 * slow one, whose meaning is its state's, and one of loss: what is late is lost, or the end of a flight is probed. */
#include "tcp.h"

#include <errno.h>

static bool user_timed_out(const struct connection *c)
{
    return c->user_timeout_ms != 0 &&
           c->stack->now - c->unacked_since >= ticks_of_ms(c->stack, c->user_timeout_ms);
}

static void give_up(struct connection *c)
{
    COUNT(c->stack, tcp_timed_out);
    tcp_abort(c, ETIMEDOUT);
}

static void persist_expired(struct connection *c)
{
    const struct stack_limits *l = &c->stack->limits;
    /* Whoever answers probes with a closed window may do so for ever, unless nobody is left here who waits. */
    if (c->tries >= l->data_tries || user_timed_out(c) || (!c->socket.open && c->backoff >= l->data_tries)) {
        give_up(c);
        return;
    }
    bool closed = c->snd_wnd == 0;
    if (closed) {
        c->tries++;
        c->backoff++;
    }
    tcp_probe_window(c);
    if (closed)
        tcp_arm_persist(c);
    else
        tcp_arm_retransmit(c);
}

static void retransmit_expired(struct timers *timers, struct timer *timer)
{
    struct connection *c = (struct connection *)(void *)((char *)timer - offsetof(struct connection, retransmit));
    const struct stack_limits *l = &c->stack->limits;
    if (c->persisting) {
        persist_expired(c);
        return;
    }
    bool late = timer_pending(&c->loss) && c->tail_due && ticks_ahead(c->loss.deadline, c->stack->now) <= 0;
    if (c->tail.instead || late) {
        if (late)
            timers_cancel(timers, &c->loss); /* it was to come first */
        tcp_tail_expired(c);
        if (timer_pending(timer))
            return;
    }
    bool opening = c->state == TCP_SYN_SENT || c->state == TCP_SYN_RECEIVED;
    if (c->tries >= (opening ? l->syn_tries : l->data_tries) || user_timed_out(c)) {
        give_up(c);
        return;
    }
    c->tries++;
    c->backoff++;
    if (opening) {
        c->retransmitted = true;
        c->timing = false;
        tcp_send_syn(c);
        tcp_arm_retransmit(c);
        return;
    }
    tcp_timed_out(c);
    tcp_output(c);
    if (!timer_pending(&c->retransmit)) /* the wire was full, or the window closed meanwhile */
        tcp_arm_retransmit(c);
}

static void loss_expired(struct timers *timers, struct timer *timer)
{
    (void)timers;
    struct connection *c = (struct connection *)(void *)((char *)timer - offsetof(struct connection, loss));
    if (c->tail_due) {
        tcp_tail_expired(c);
    } else {
        tcp_losses_found(c);
        tcp_output(c);
    }
}

static void delayed_ack_expired(struct timers *timers, struct timer *timer)
{
    struct connection *c = (struct connection *)(void *)((char *)timer - offsetof(struct connection, delayed_ack));
    if (c->ack_later && ticks_ahead(c->ack_due, c->stack->now) > 0)
        timers_start(timers, timer, c->ack_due);
    else if (c->ack_later)
        tcp_send_ack(c);
}

static void keepalive_expired(struct connection *c)
{
    const struct stack_limits *l = &c->stack->limits;
    uint64_t due = c->heard_at + ticks_of_ms(c->stack, l->keepalive_idle_ms);
    if (ticks_ahead(due, c->stack->now) > 0 || c->snd_una != c->snd_max) { /* it lives, or retransmission will tell */
        c->probes = 0;
        tcp_arm_slow(c);
        return;
    }
    if (c->probes >= l->keepalive_probes) {
        give_up(c);
        return;
    }
    c->probes++;
    COUNT(c->stack, tcp_keepalives);
    tcp_send_segment(c, c->snd_nxt - 1, 0, TCP_ACK); /* nothing, of the last byte: to be answered (RFC 9293, 3.8.4) */
    timers_rearm(c->stack->timers, &c->slow, c->stack->now + ticks_of_ms(c->stack, l->keepalive_interval_ms));
}

static void slow_expired(struct timers *timers, struct timer *timer)
{
    (void)timers;
    struct connection *c = (struct connection *)(void *)((char *)timer - offsetof(struct connection, slow));
    if (c->state == TCP_TIME_WAIT)
        tcp_end(c, 0);
    else if (c->state == TCP_FIN_WAIT_2 && !c->socket.open)
        tcp_end(c, ETIMEDOUT);
    else if (c->keepalive)
        keepalive_expired(c);
}

/* Again, after the state, the option or the holder has changed. */
void tcp_arm_slow(struct connection *c)
{
    struct stack *stack = c->stack;
    const struct stack_limits *l = &stack->limits;
    uint64_t due;
    if (c->state == TCP_TIME_WAIT)
        return;
    if (c->state == TCP_FIN_WAIT_2 && !c->socket.open) {
        due = stack->now + ticks_of_ms(stack, l->fin_wait_2_ms);
    } else if (c->keepalive && synchronized(c->state)) {
        due = c->heard_at + ticks_of_ms(stack, l->keepalive_idle_ms);
        if (ticks_ahead(due, stack->now) <= 0)
            due = stack->now + ticks_of_ms(stack, l->keepalive_interval_ms);
    } else {
        timers_cancel(stack->timers, &c->slow);
        return;
    }
    timers_rearm(stack->timers, &c->slow, due);
}

void tcp_timers_init(struct connection *c)
{
    c->retransmit.expire = retransmit_expired;
    c->delayed_ack.expire = delayed_ack_expired;
    c->slow.expire = slow_expired;
    c->loss.expire = loss_expired;
}
