/* tcp_demux.c: whose segment is it? A keyed hash of the four-tuple: nobody can make all connections fall into one chain. */
#include "tcp.h"

static struct connection **bucket(const struct stack *stack, const struct tcp_tuple *tuple)
{
    return &stack->tcp->hash[siphash_of_table(stack->limits.key, tuple, sizeof *tuple) & stack->tcp->hash_mask];
}

struct connection *tcp_find(const struct stack *stack, const struct tcp_tuple *tuple)
{
    struct connection *c = *bucket(stack, tuple);
    while (c != NULL && memcmp(&c->tuple, tuple, sizeof *tuple) != 0)
        c = c->hash_next;
    return c;
}

void tcp_hash_in(struct connection *c)
{
    struct connection **first = bucket(c->stack, &c->tuple);
    c->hash_next = *first;
    c->hash_from = first;
    if (*first != NULL)
        (*first)->hash_from = &c->hash_next;
    *first = c;
    c->hashed = true;
}

void tcp_hash_out(struct connection *c)
{
    if (!c->hashed)
        return;
    *c->hash_from = c->hash_next;
    if (c->hash_next != NULL)
        c->hash_next->hash_from = c->hash_from;
    c->hashed = false;
}

struct tcp_listener *tcp_listener_at(struct stack *stack, uint16_t port)
{
    uint16_t place = stack->tcp->ports[port];
    return place == 0 ? NULL : &stack->tcp->listeners[place - 1];
}
