/* server.c: an event-driven server whose network and disk sides are chosen apart.
 *
 * The loop is epoll.c's: getevents → accept phase → work phase. The file of a reply, which epoll.c has in memory or sends
 * by sendfile, is here opened and read by laio_syscall() (disk.c). --engine says how, and --network how the loop waits
 * for clients. Together they are the servers of Elmeleegy, Chanda, Cox and Zwaenepoel (2004):
 *
 *     NB-B        --network nonblocking --engine plain        a read that waits for the disk holds everybody
 *     NB-AMPED    --network nonblocking --engine amped        helper processes read what is not in memory
 *     NB-LAIO     --network nonblocking --engine activation   a read that waits goes on without the loop
 *     LAIO-LAIO   --network lazy --engine activation          and so does every call of the network
 *
 * Not theirs is --reads begun, with either of the last two or with `plain`: ask first, and look again (reads.h).
 *
 * Opening is lazy where the engine can do it (not posix-aio and linux-aio, which only read): it is what brings names and
 * inodes in from the disk. fstat() behind it looks at what is in memory by then. Kept files are believed for a second, as
 * by all designs (files.h).
 *
 * What is in progress keeps its buffers, its file and its socket, whose number is the connection's name: a connection
 * that is late meanwhile is shut down, and closed when the completion comes. At the end laio_close() waits for what is in
 * progress; a descriptor that an open still brings goes with the process.
 */
#include "process.h"
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

static void end_late(struct loop *loop)
{
    struct connection *late;
    while ((late = connection_timed_out(&loop->service)) != NULL) {
        if (loop->sockets[late->socket].doing == NOTHING) {
            connection_close(late);
        } else { /* a recv or send returns then; and its client need not wait for the disk to learn it */
            tp_shutdown(late->socket);
            connection_leave(&loop->service, late);
        }
    }
}

static void work_phase(struct loop *loop, int ready)
{
    uint64_t served = loop->network->serve(loop, ready);
    served += disk_look_again(loop);
    if (served > 0)
        count(work_phases);
    count_by(work_items, served);
    end_late(loop);

    const uint64_t *paths = laio_count(loop->laio)->paths;
    count_by(blocked_calls, paths[LAIO_PATH_held] - counter_value(lazy_held));
#define X(name) counter_value(lazy_##name) = paths[LAIO_PATH_##name];
    LAIO_PATHS(X)
#undef X
    phase_ends(&loop->phases, COUNTER_work_ns);
}

/* A signal that the kernel gives to the thread of a blocked call is handled when that call ends. So all threads block
 * them, and the loop reads them. */
static int block_signals(void)
{
    sigset_t stop_signals;
    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGTERM);
    sigaddset(&stop_signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop_signals, NULL);
    return signalfd(-1, &stop_signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* A silent client holds a thread with --network lazy: what there can be of those must be known beforehand. */
static struct laio *open_laio(const struct options *options)
{
    const bool processes = strcmp(options->engine, "amped") == 0;
    const unsigned threads = (unsigned)(processes ? options->lazy_processes : options->lazy_threads);
    const struct laio_options wanted = {.operations = LAZY_OPERATIONS,
                                        .threads = threads,
                                        .threads_at_first =
                                            processes || options->network == NETWORK_LAZY ? threads : 0,
                                        .watch = options->watch};
    char why[256];
    struct laio *laio = laio_open(options->engine, &wanted, why, sizeof why);
    if (laio == NULL) {
        fprintf(stderr, "%s: %s\n", options->design, why);
        exit(1);
    }
    return laio;
}

int main(int argc, char **argv)
{
    static struct loop loop;
    int status = options_parse(&loop.options, "lazy", OPTIONS_LAZY, argc, argv, stdout, stderr);
    if (status >= 0)
        return status;
    process_start(&loop.options);
    if (service_start(&loop.service, &loop.options) != 0)
        process_fail(&loop.options, "open the folder that --root names");
    if (listening_start(&loop.listening, &loop.options, loop.service.max_descriptor) != 0)
        process_fail(&loop.options, "listen");
    loop.signals = block_signals();
    loop.laio = open_laio(&loop.options);
    loop.service.opens_files = laio_supports(loop.laio, SYS_openat2);
    if (!reads_start(&loop.reads, loop.options.engine, loop.options.reads == READS_BEGUN)) {
        fprintf(stderr, "%s: --reads begun wants --engine activation, uring, nowait or plain, not %s\n",
                loop.options.design, loop.options.engine);
        return 2;
    }
    loop.network = loop.options.network == NETWORK_LAZY ? &network_lazy : &network_nonblocking;
    loop.sockets = calloc((size_t)loop.service.max_descriptor + 1, sizeof *loop.sockets);
    if (!chunks_start(&loop.chunks) || loop.sockets == NULL || loop.signals < 0 || !loop.network->start(&loop))
        process_fail(&loop.options, "get memory, or descriptors");
    process_announce(loop.listening.socket);

    phases_start(&loop.phases);
    while (service_goes_on(&loop.service, &loop.listening)) {
        int ready = loop.network->getevents(&loop);
        loop.network->accept_phase(&loop, ready);
        work_phase(&loop, ready);
    }
    laio_close(loop.laio); /* first: what is in progress uses chunks, files and sockets */
    service_stop(&loop.service);
    loop.network->stop(&loop);
    chunks_stop(&loop.chunks);
    free(loop.sockets);
    return 0;
}
