/* tcp_data.c: text that has arrived, in order or not. What is beyond a gap is written where it will belong. */
#include "tcp.h"

/* Cut off what was received before and what lies beyond the window (RFC 9293, 3.10.7.4). */
static void trim(struct connection *c, struct tcp_segment *s)
{
    if (seq_before(s->seq, c->rcv_nxt)) {
        uint32_t known = c->rcv_nxt - s->seq;
        if (known > s->bytes || (known == s->bytes && !(s->flags & TCP_FIN))) {
            tcp_came_twice(c, s->seq, s->seq + s->bytes); /* all known: our ACK was lost, or too late */
            if (known > s->bytes)
                s->flags &= (uint8_t)~TCP_FIN;
            known = s->bytes;
        }
        s->data += known;
        s->bytes -= known;
        s->seq += known;
    }
    uint32_t room = seq_before(s->seq, c->rcv_edge) ? c->rcv_edge - s->seq : 0;
    if (s->bytes > room) {
        COUNT_DROP(c->stack, tcp_window);
        c->ack_now = true;
        s->bytes = room;
        s->flags &= (uint8_t)~TCP_FIN;
    }
}

void tcp_take_data(struct connection *c, struct tcp_segment *s)
{
    struct stack *stack = c->stack;
    if (s->bytes == 0 && !(s->flags & TCP_FIN))
        return;
    if (c->state != TCP_ESTABLISHED && c->state != TCP_FIN_WAIT_1 && c->state != TCP_FIN_WAIT_2) {
        c->ack_now = true; /* after its FIN nothing can come but that again */
        return;
    }
    trim(c, s);
    if (s->flags & TCP_FIN) {
        if (!c->fin_known) {
            c->fin_known = true;
            c->fin_at = s->seq + s->bytes;
        }
        c->ack_now = true;
    }
    if (c->fin_known && s->bytes > 0 && seq_before(c->fin_at, s->seq + s->bytes)) {
        COUNT_DROP(stack, tcp_window); /* beyond its own end */
        return;
    }
    if (s->bytes == 0)
        return;
    if (!c->socket.open && c->listener == NULL) { /* nobody will ever read it: RFC 9293, 3.6.1 */
        COUNT_DROP(stack, tcp_closed);
        COUNT(stack, tcp_aborted);
        tcp_reset_for(stack, s); /* with the number that the peer expects: our FIN may not have reached it */
        tcp_end(c, 0);
        return;
    }
    c->received_at = stack->now;
    uint32_t at = c->receive.length + (s->seq - c->rcv_nxt), right = s->seq + s->bytes;
    if (s->seq != c->rcv_nxt) {
        /* A duplicate ACK, RFC 5681, 4.2; what only makes the run longer that it told of may wait for the batch. */
        bool longer = c->sack && c->hole_count > 0 && c->holes[0].right == s->seq && c->beyond >= TCP_DUPLICATES;
        if (c->beyond < TCP_DUPLICATES)
            c->beyond++;
        if (longer && tcp_owe(c))
            c->unacked_bytes += s->bytes;
        else
            c->ack_now = true;
        if (tcp_hole_known(c, s->seq, right)) {
            tcp_came_twice(c, s->seq, right);
            return;
        }
        if (!tcp_hole_fits(c, s->seq, right)) {
            COUNT_DROP(stack, tcp_out_of_order_full);
            return;
        }
    }
    if (!stream_place(&c->receive, &LAYER(c)->chunks, at, s->data, s->bytes)) {
        COUNT_DROP(stack, tcp_memory);
        c->ack_now = true;
        return;
    }
    if (s->seq != c->rcv_nxt) {
        tcp_hole_add(c, s->seq, right);
        return;
    }
    c->receive.length += s->bytes;
    c->rcv_nxt = right;
    c->unacked_bytes += s->bytes;
    c->beyond = 0;
    if (c->hole_count > 0) {
        c->ack_now = true; /* fills a gap, or part of one */
        tcp_holes_absorb(c);
    }
    ready_changed(stack, &c->socket);
}
