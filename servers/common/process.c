/* process.c: descriptor limit, CPU, signals. */
#include "process.h"

#include "counters.h"
#include "bounds.h"
#include "sampler.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static volatile sig_atomic_t stopping;

static void stop(int signal)
{
    (void)signal;
    stopping = 1;
}

bool process_stopping(void)
{
    return stopping != 0;
}

void process_stop(void)
{
    stopping = 1;
}

_Noreturn void process_fail(const struct options *options, const char *what)
{
    fprintf(stderr, "%s: cannot %s: %s\n", options->design, what, strerror(errno));
    exit(1);
}

static void pin_to_cpu(const struct options *options)
{
    if (options->cpu == NO_LIMIT)
        return;
    cpu_set_t *set = CPU_ALLOC(options->cpu + 1);
    size_t bytes = CPU_ALLOC_SIZE(options->cpu + 1);
    if (set == NULL)
        process_fail(options, "pin to the CPU");
    CPU_ZERO_S(bytes, set);
    CPU_SET_S(options->cpu, bytes, set);
    if (sched_setaffinity(0, bytes, set) != 0)
        process_fail(options, "run on the CPU that --cpu names");
    CPU_FREE(set);
}

/* A server that accepts with its last descriptor has none left to open a file with. */
static void divide_descriptors(struct options *options)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        process_fail(options, "read the descriptor limit");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    uint64_t quarter = limit.rlim_max / 4, others = DESCRIPTORS_OWN;
    options->max_open_files = quarter < FILES_MAX ? quarter : FILES_MAX;
    others += options->max_open_files;
    uint64_t room = limit.rlim_max > others ? limit.rlim_max - others : 1;
    if (options->max_connections > room) {
        fprintf(stderr, "%s: at most %llu connections, not %llu: the descriptor limit is %llu (ulimit -Hn)\n",
                options->design, (unsigned long long)room, (unsigned long long)options->max_connections,
                (unsigned long long)limit.rlim_max);
        options->max_connections = room;
    }
}

void process_start(struct options *options)
{
    divide_descriptors(options);
    pin_to_cpu(options);
    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = stop}; /* no SA_RESTART: getevents is to return */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (counters_open(options->counters, options->workers) != 0)
        process_fail(options, "open the counters file");
    sampler_start();
}

void process_announce(int listener)
{
    struct sockaddr_in address = {0};
    char host[INET_ADDRSTRLEN] = "";
    tp_local_address(listener, &address);
    inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
    printf("listening %s:%u\n", host, ntohs(address.sin_port));
    fflush(stdout);
}
