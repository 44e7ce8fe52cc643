#include "raw_tcp.h"

#include <string.h>

static bool before(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; } /* sequence numbers wrap (3.4) */

static void reply_with(struct raw_tcp *c, struct raw_action *out, enum raw_frame frame, uint8_t flags, uint32_t seq)
{
    out->send = frame;
    out->flags = flags;
    out->seq = seq;
    out->ack = flags & RAW_ACK ? c->rcv_nxt : 0;
    c->rcv_acked = c->rcv_nxt;
    c->ack_delayed = false;
}

static void acknowledge(struct raw_tcp *c, struct raw_action *out)
{
    reply_with(c, out, RAW_SEND_BARE, RAW_ACK, c->snd_nxt);
}

static void send_request(struct raw_tcp *c, struct raw_action *out)
{
    reply_with(c, out, RAW_SEND_REQUEST, RAW_PSH | RAW_ACK, c->snd_una);
}

static void send_fin(struct raw_tcp *c, struct raw_action *out, enum raw_state next)
{
    reply_with(c, out, RAW_SEND_BARE, RAW_FIN | RAW_ACK, c->snd_nxt);
    c->snd_nxt++;
    c->state = (uint8_t)next;
    c->tries = 0;
    out->timer_ms = RAW_RTO_MS;
}

static void resend_fin(struct raw_tcp *c, struct raw_action *out)
{
    reply_with(c, out, RAW_SEND_BARE, RAW_FIN | RAW_ACK, c->snd_nxt - 1);
}

static void release(struct raw_tcp *c, struct raw_action *out, enum raw_event event)
{
    c->state = RAW_FREE;
    out->events |= event;
    out->timer_ms = RAW_TIMER_OFF;
}

static void clear(struct raw_action *out)
{
    memset(out, 0, sizeof *out);
    out->timer_ms = RAW_TIMER_KEEP;
}

void raw_tcp_start(struct raw_tcp *c, uint32_t iss, struct raw_action *out)
{
    clear(out);
    *c = (struct raw_tcp){.snd_una = iss, .snd_nxt = iss + 1, .state = RAW_SYN_SENT};
    reply_with(c, out, RAW_SEND_SYN, RAW_SYN, iss);
    out->timer_ms = RAW_SYN_RTO_MS;
}

void raw_tcp_stray(const struct raw_segment *in, struct raw_action *out)
{
    clear(out);
    out->events = RAW_STRAY;
    if (in->flags & RAW_RST)
        return;
    out->send = RAW_SEND_BARE;
    if (in->flags & RAW_ACK) {
        out->flags = RAW_RST;
        out->seq = in->ack;
    } else {
        out->flags = RAW_RST | RAW_ACK;
        out->ack = in->seq + in->payload_bytes + !!(in->flags & RAW_SYN) + !!(in->flags & RAW_FIN);
    }
}

static void input_syn_sent(struct raw_tcp *c, const struct raw_profile *profile, const struct raw_segment *in,
                           struct raw_action *out)
{
    if (!(in->flags & RAW_ACK))
        return; /* a bare SYN would be a simultaneous open; a RST without ACK proves nothing (3.10.7.3) */
    if (in->ack != c->snd_nxt) { /* an older incarnation at the server: the RST clears it, our SYN is sent again */
        raw_tcp_stray(in, out);
        return;
    }
    if (in->flags & RAW_RST) {
        release(c, out, RAW_REFUSED);
        return;
    }
    if (!(in->flags & RAW_SYN))
        return;
    c->rcv_nxt = in->seq + 1;
    c->snd_una = c->snd_nxt;
    c->snd_nxt += profile->request_bytes;
    c->state = RAW_REQUESTED;
    c->tries = 0;
    out->events = RAW_CONNECTED;
    out->timer_ms = RAW_RTO_MS;
    if (in->window >= profile->request_bytes && in->mss >= profile->request_bytes)
        send_request(c, out);
    else /* a window too small even for this: the retransmission timer is the probe */
        reply_with(c, out, RAW_SEND_BARE, RAW_ACK, c->snd_una);
}

/* Take the acceptable part of the segment's text. Returns true if the segment's end is now rcv_nxt (its FIN counts). */
static bool take_data(struct raw_tcp *c, const struct raw_segment *in, struct raw_action *out)
{
    if (before(c->rcv_nxt, in->seq)) { /* a hole: the duplicate ACK asks for what is missing */
        acknowledge(c, out);
        return false;
    }
    uint32_t known = c->rcv_nxt - in->seq;
    if (known > in->payload_bytes || (known == in->payload_bytes && known && !(in->flags & RAW_FIN))) {
        if (in->payload_bytes || (in->flags & RAW_FIN))
            acknowledge(c, out); /* all old: our ACK was lost */
        return false;
    }
    out->data = in->payload + known;
    out->data_bytes = in->payload_bytes - known;
    c->rcv_nxt += out->data_bytes;
    return true;
}

void raw_tcp_input(struct raw_tcp *c, const struct raw_profile *profile, const struct raw_segment *in,
                   struct raw_action *out)
{
    clear(out);
    if (c->state == RAW_FREE) {
        raw_tcp_stray(in, out);
        return;
    }
    if (c->state == RAW_SYN_SENT) {
        input_syn_sent(c, profile, in, out);
        return;
    }
    if (in->flags & RAW_RST) { /* only the exact number resets; another is answered, not believed (RFC 5961, 3.2) */
        if (in->seq == c->rcv_nxt)
            release(c, out, RAW_RESET);
        else if (before(c->rcv_nxt, in->seq))
            acknowledge(c, out);
        return;
    }
    if (in->flags & RAW_SYN) { /* the SYN-ACK again: our ACK was lost, or refused by a full accept queue */
        acknowledge(c, out);
        return;
    }
    if (!(in->flags & RAW_ACK))
        return;
    if (before(c->snd_nxt, in->ack)) {
        acknowledge(c, out);
        return;
    }
    if (before(c->snd_una, in->ack)) {
        /* The request is one segment: a part of it acknowledged is none. */
        if (in->ack == c->snd_nxt) {
            c->snd_una = in->ack;
            c->tries = 0;
            out->timer_ms = c->ack_delayed ? RAW_TIMER_KEEP : RAW_TIMER_OFF;
        }
        if (c->state == RAW_LAST_ACK && in->ack == c->snd_nxt) {
            release(c, out, RAW_CLOSED);
            return;
        }
    }
    if (c->state == RAW_LAST_ACK) { /* nothing can follow the server's FIN; the same again means our ACK was lost */
        if (in->payload_bytes || (in->flags & RAW_FIN))
            acknowledge(c, out);
        return;
    }
    if (!take_data(c, in, out))
        return;
    if (in->flags & RAW_FIN) {
        c->rcv_nxt++;
        out->events |= RAW_PEER_CLOSED;
        if (c->state == RAW_FIN_WAIT && c->snd_una == c->snd_nxt) {
            acknowledge(c, out); /* TIME_WAIT would follow; the tuple is not used again soon anyway */
            release(c, out, RAW_CLOSED);
        } else if (c->state == RAW_FIN_WAIT) { /* both closed at once, or our FIN is lost: CLOSING is like LAST-ACK */
            resend_fin(c, out);
            c->state = RAW_LAST_ACK;
            out->timer_ms = RAW_RTO_MS;
        } else {
            send_fin(c, out, RAW_LAST_ACK);
        }
    } else if (out->data_bytes) {
        if (c->rcv_nxt - c->rcv_acked >= 2u * profile->mss) {
            acknowledge(c, out);
            if (c->snd_una == c->snd_nxt)
                out->timer_ms = RAW_TIMER_OFF;
        } else if (!c->ack_delayed) {
            c->ack_delayed = true;
            out->timer_ms = RAW_DELAYED_ACK_MS;
        }
    }
}

void raw_tcp_reply_complete(struct raw_tcp *c, struct raw_action *action)
{
    if (c->state != RAW_REQUESTED)
        return;
    c->state = RAW_REPLIED;
    if (!c->ack_delayed) { /* wait for the FIN as long as an ACK may wait, then close ourselves */
        c->ack_delayed = true;
        action->timer_ms = RAW_DELAYED_ACK_MS;
    }
}

void raw_tcp_timer(struct raw_tcp *c, struct raw_action *out)
{
    clear(out);
    out->timer_ms = RAW_TIMER_OFF;
    bool outstanding = c->snd_una != c->snd_nxt;
    switch ((enum raw_state)c->state) {
    case RAW_FREE:
        return;
    case RAW_SYN_SENT:
        if (c->tries < 6)
            c->tries++;
        reply_with(c, out, RAW_SEND_SYN, RAW_SYN, c->snd_una);
        out->events = RAW_RESENT_SYN;
        out->timer_ms = RAW_SYN_RTO_MS << c->tries;
        return;
    case RAW_REPLIED:
        send_fin(c, out, RAW_FIN_WAIT);
        return;
    case RAW_REQUESTED:
        if (c->ack_delayed && !outstanding) {
            acknowledge(c, out);
            return;
        }
        break;
    case RAW_LAST_ACK:
    case RAW_FIN_WAIT:
        break;
    }
    if (!outstanding)
        return;
    if (c->tries < 8)
        c->tries++;
    out->timer_ms = RAW_RTO_MS << c->tries;
    if (c->state == RAW_LAST_ACK || c->state == RAW_FIN_WAIT) {
        resend_fin(c, out);
    } else {
        send_request(c, out);
        out->events = RAW_RESENT_REQUEST;
    }
}

void raw_tcp_abort(struct raw_tcp *c, struct raw_action *out)
{
    clear(out);
    out->timer_ms = RAW_TIMER_OFF;
    if (c->state != RAW_SYN_SENT && c->state != RAW_FREE)
        reply_with(c, out, RAW_SEND_BARE, RAW_RST | RAW_ACK, c->snd_nxt);
    c->state = RAW_FREE;
}
