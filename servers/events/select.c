/* select.c: the µserver of Brecht, Pariag and Gammo (2004, section 4.1) on select.
 *
 * A loop of getevents → accept phase → work phase. The accept phase takes at most --accept-limit connections off the
 * accept queue in a row. The work phase serves the connections that getevents reported, never those just accepted.
 * Its neighbours differ in how the interest is kept: here the loop keeps it in sets of bits, and shows all of it in
 * every call; poll.c does so in an array, and in epoll.c the kernel keeps it.
 */
#include "counters.h"
#include "phases.h"
#include "process.h"
#include "service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

/* Descriptor sets of any size: fd_set ends at 1,024, select(2) itself does not. To the kernel they are unsigned longs. */
#define WORD_BITS (8 * sizeof(unsigned long))
#define SET_ADD(set, d) ((set)[(size_t)(d) / WORD_BITS] |= 1ul << ((size_t)(d) % WORD_BITS))
#define SET_REMOVE(set, d) ((set)[(size_t)(d) / WORD_BITS] &= ~(1ul << ((size_t)(d) % WORD_BITS)))
#define SET_HAS(set, d) (((set)[(size_t)(d) / WORD_BITS] >> ((size_t)(d) % WORD_BITS) & 1) != 0)

struct loop {
    struct options options;
    struct service service;
    struct listening listening;
    struct phases phases;
    unsigned long *read_interest, *write_interest;
    unsigned long *read_ready, *write_ready;
    int highest; /* descriptor that has been in the interest sets */
};

static void forget(struct loop *loop, int socket)
{
    SET_REMOVE(loop->read_interest, socket);
    SET_REMOVE(loop->write_interest, socket);
}

static void watch(struct loop *loop, int socket, bool wants_write)
{
    forget(loop, socket);
    SET_ADD(wants_write ? loop->write_interest : loop->read_interest, socket);
    if (socket > loop->highest)
        loop->highest = socket;
}

static void watch_listener(struct loop *loop, int listener)
{
    if (listening_wanted(&loop->listening, loop->service.clock.now_ms))
        watch(loop, listener, false);
    else
        forget(loop, listener);
}

static int getevents(struct loop *loop)
{
    int timeout_ms = getevents_begins(&loop->phases, service_wait_ms(&loop->service, &loop->listening));
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    size_t bytes = ((size_t)loop->highest / WORD_BITS + 1) * sizeof(unsigned long);
    memcpy(loop->read_ready, loop->read_interest, bytes);
    memcpy(loop->write_ready, loop->write_interest, bytes);
    int ready = select(loop->highest + 1, (fd_set *)loop->read_ready, (fd_set *)loop->write_ready, NULL, &timeout);
    if (ready < 0 && errno != EINTR)
        process_fail(&loop->options, "wait for events");
    getevents_ends(&loop->phases, ready);
    return ready;
}

static void accept_phase(struct loop *loop)
{
    uint64_t accepted = 0;
    while (accepted < loop->options.accept_limit) {
        int socket = listening_accept(&loop->listening, loop->service.clock.now_ms);
        if (socket < 0)
            break;
        connection_open(&loop->service, socket);
        watch(loop, socket, false);
        accepted++;
    }
    count(accept_phases);
    if (accepted == 0)
        count(accept_phases_empty);
    phase_ends(&loop->phases, COUNTER_accept_ns);
}

static void end(struct loop *loop, struct connection *connection)
{
    forget(loop, connection->socket);
    connection_close(connection);
}

static void serve(struct loop *loop, struct connection *connection)
{
    enum connection_wish wish = connection_serve(&loop->service, connection);
    if (wish == CONNECTION_ENDED) {
        end(loop, connection);
        return;
    }
    bool wants_write = wish == CONNECTION_WRITES;
    if (wants_write != connection->wants_write)
        watch(loop, connection->socket, wants_write);
    connection->wants_write = wants_write;
}

static void work_phase(struct loop *loop, int ready)
{
    uint64_t served = 0;
    for (size_t word = 0; ready > 0 && word <= (size_t)loop->highest / WORD_BITS; word++) {
        unsigned long bits = loop->read_ready[word] | loop->write_ready[word];
        for (; bits != 0; bits &= bits - 1) {
            size_t socket = word * WORD_BITS + (size_t)__builtin_ctzl(bits);
            ready--;
            if ((int)socket == loop->listening.socket)
                continue;
            serve(loop, &loop->service.connections[socket]);
            served++;
        }
    }
    if (served > 0)
        count(work_phases);
    count_by(work_items, served);

    struct connection *late;
    while ((late = connection_timed_out(&loop->service)) != NULL)
        end(loop, late);
    phase_ends(&loop->phases, COUNTER_work_ns);
}

int main(int argc, char **argv)
{
    static struct loop loop;
    int status = options_parse(&loop.options, "select", OPTIONS_SHARED, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (service_start(&loop.service, &loop.options) != 0)
        process_fail(&loop.options, "open the folder that --root names");
    if (listening_start(&loop.listening, &loop.options, loop.service.max_descriptor) != 0)
        process_fail(&loop.options, "listen");

    size_t words = (size_t)loop.service.max_descriptor / WORD_BITS + 1;
    unsigned long *sets = calloc(4 * words, sizeof *sets);
    if (sets == NULL)
        process_fail(&loop.options, "make the interest sets");
    loop.read_interest = sets;
    loop.write_interest = sets + words;
    loop.read_ready = sets + 2 * words;
    loop.write_ready = sets + 3 * words;
    const int listener = loop.listening.socket;
    process_announce(listener);

    phases_start(&loop.phases);
    while (service_goes_on(&loop.service, &loop.listening)) {
        watch_listener(&loop, listener);
        int ready = getevents(&loop);
        if (ready > 0 && SET_HAS(loop.read_ready, listener))
            accept_phase(&loop);
        work_phase(&loop, ready);
    }
    service_stop(&loop.service);
    free(sets);
    return 0;
}
