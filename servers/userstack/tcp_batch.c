/* tcp_batch.c: one ACK for the segments of a connection that were received together, as Linux has it by GRO, and by the
 * compression of SACKs (net/ipv4/tcp_input.c, __tcp_ack_snd_check()): most would tell of what the next one tells, too, and
 * each costs the switch and the sender as much as a segment does. What is urgent does not wait: a gap that is new or
 * filled, what came twice, an end (tcp_data.c). */
#include "tcp.h"

enum { OWED_MOST = 65536 }; /* bytes, as of GRO: beyond, the sender would wait for us */

/* False: it is to go now. */
bool tcp_owe(struct connection *c)
{
    struct tcp_layer *layer = LAYER(c);
    if (!c->stack->batch || c->unacked_bytes >= OWED_MOST)
        return false;
    if (!c->owing) {
        c->owing = true;
        c->owing_next = layer->owing;
        layer->owing = c;
    }
    return true;
}

/* It has ended. */
void tcp_owe_no_more(struct connection *c)
{
    struct connection **from = &LAYER(c)->owing;
    if (!c->owing)
        return;
    while (*from != c)
        from = &(*from)->owing_next;
    *from = c->owing_next;
    c->owing = false;
}

void tcp_acknowledge_owed(struct stack *stack)
{
    struct connection *c;
    while ((c = stack->tcp->owing) != NULL) {
        stack->tcp->owing = c->owing_next;
        c->owing = false;
        if (c->unacked_bytes > 0 && c->state != TCP_TIME_WAIT) /* unless it went with data, or before something urgent */
            tcp_send_ack(c);
    }
}
