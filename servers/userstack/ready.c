/* ready.c: which sockets are ready, in time proportional to those that are: a socket is put into a list when something
 * happened to it, and leaves it when it is looked at and is not ready after all. */
#include "inside.h"

#include <errno.h>

void ready_forget(struct socket *socket)
{
    if (!socket->listed)
        return;
    socket->ready_next->ready_previous = socket->ready_previous;
    socket->ready_previous->ready_next = socket->ready_next;
    socket->listed = false;
}

static void append(struct stack *stack, struct socket *socket)
{
    socket->ready_next = &stack->ready;
    socket->ready_previous = stack->ready.ready_previous;
    socket->ready_previous->ready_next = socket;
    stack->ready.ready_previous = socket;
    socket->listed = true;
}

void ready_changed(struct stack *stack, struct socket *socket)
{
    if (!socket->listed && socket->open && socket->interest != 0)
        append(stack, socket);
}

int us_interest(struct stack *stack, int number, unsigned readiness, uint64_t data)
{
    struct socket *socket = socket_of(stack, number);
    if (socket == NULL)
        return -EBADF;
    socket->data = data;
    socket->told = 0;
    socket->interest = readiness == 0 ? 0 : (uint8_t)(readiness | US_ENDED);
    if (readiness == 0)
        ready_forget(socket);
    else
        ready_changed(stack, socket);
    return 0;
}

int us_wait(struct stack *stack, struct us_event *events, int capacity)
{
    int n = 0;
    tcp_feed_starving(stack);
    struct socket *socket = stack->ready.ready_next, *last = stack->ready.ready_previous;
    while (n < capacity && socket != &stack->ready) {
        struct socket *next = socket->ready_next;
        bool at_end = socket == last;
        unsigned ready = socket_readiness(socket, socket->interest) & socket->interest;
        ready_forget(socket);
        if (socket->interest & ~ready & US_WRITABLE) {
            socket->told &= (uint8_t)~US_WRITABLE;
            tcp_wait_for_chunks(stack, socket);
        }
        unsigned news = ready & ~(unsigned)socket->told;
        if (news != 0)
            events[n++] = (struct us_event){socket->data, news, us_number(stack, socket)};
        if (socket->interest & US_EDGE)
            socket->told |= news & US_WRITABLE;
        else if (news != 0)
            append(stack, socket); /* behind the others: each has its turn */
        if (at_end)
            break;
        socket = next;
    }
    return n;
}
