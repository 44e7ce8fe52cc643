/* tcp_icmp.c: errors about segments of ours. Believed only if they quote a number that is on its way (RFC 5927, 4.1). */
#include "tcp.h"

#include <errno.h>

void tcp_icmp(struct stack *stack, uint32_t destination, const uint8_t *quoted, uint8_t code, uint32_t mtu)
{
    struct tcp_tuple tuple = {destination, stack->address.ip, get16(quoted + TCP_DESTINATION), get16(quoted + TCP_SOURCE)};
    struct connection *c = tcp_find(stack, &tuple);
    uint32_t seq = get32(quoted + TCP_SEQ);
    if (c == NULL || c->state == TCP_TIME_WAIT || seq_before(seq, c->snd_una) || !seq_before(seq, c->snd_max)) {
        COUNT_DROP(stack, icmp_unmatched);
        return;
    }
    if (code == ICMP_FRAGMENTATION_NEEDED) {
        if (!path_lower(stack, destination, mtu) || !synchronized(c->state))
            return;
        tcp_update_mss(c);
        /* All again in smaller segments; no loss by congestion (RFC 1191, 6.5), so that the window stays. */
        for (struct tcp_sent *run = c->flight.first; run != NULL; run = run->next)
            tcp_flight_lose(c, run);
        c->recovering = c->undo.on = c->timing = false;
        c->recovered_by_timeout = true;
        c->recover = c->snd_nxt;
        tcp_output(c);
        return;
    }
    /* Hard errors end only an attempt to connect: an established connection outlives a broken way, and an attacker
     * (RFC 1122, 4.2.3.9; RFC 5461, 4.1). */
    if (c->state == TCP_SYN_SENT && (code == ICMP_PORT_UNREACHABLE || code == ICMP_PROTOCOL_UNREACHABLE))
        tcp_end(c, ECONNREFUSED);
}
