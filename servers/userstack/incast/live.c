/* live.c: the switch of this project in a process of its own, and the hosts in this one, each with a stack and a port of its
 * own, by the clock. The rate, the queue and the delay are the switch's (switch/impair.c): one wire from all to host 0, and
 * one back. */
#include "arguments.h"
#include "attach.h"
#include "clock.h"
#include "door.h"
#include "net.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RING_SLOTS = 512, BATCH = 64, EVENTS = 16, READY = 1 };

struct live {
    struct net net; /* first */
    char folder[96], socket[108]; /* a path of unix(7) at most */
    pid_t switch_pid;
    int said; /* by the switch: READY when it can be met, or why it cannot; its counts at its end */
    int bells; /* an epoll set */
    struct attachment *attachments[NET_HOSTS];
    uint32_t at;  /* host that is looked at next */
    bool moved;   /* a frame has come since host 0 was looked at */
    uint32_t told; /* host that the caller was told of last */
};

static struct live *of(struct net *net) { return (struct live *)net; }

static uint64_t cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void pin(pid_t pid, uint64_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < CPU_SETSIZE)
        CPU_SET(cpu, &set);
    if (cpu != NET_ANY_CPU && sched_setaffinity(pid, sizeof set, &set) != 0)
        fail(1, "CPU %llu: %s", (unsigned long long)cpu, strerror(errno));
}

/* ------------------------------------------------------------------------------------------------ the switch's process */

static struct fabric *make_switch(const struct net_settings *settings, char *error, size_t error_bytes)
{
    const struct fabric_options options = {.ports = NET_HOSTS, .slots = RING_SLOTS, .mtu = 1500, .seed = 1,
                                           .clock = monotonic_ns};
    struct fabric *fabric = fabric_open(&options, error, error_bytes);
    char to[160], back[160];
    /* A frame of a rule has nothing but its bytes: the rate is so much lower that a full one takes as long as on a wire. */
    const uint64_t rate_bps = settings->rate_bps * NET_FULL_FRAME / (NET_FULL_FRAME + NET_FRAME_OVERHEAD);
    const unsigned long long delay_us = 2 * settings->delay_us; /* of a link to the switch, and one from there */
    snprintf(to, sizeof to, "from=*,to=10.0.1.0,delay-us=%llu,rate-bps=%llu,queue=%llu", delay_us,
             (unsigned long long)rate_bps, (unsigned long long)settings->queue + 1); /* and the one on the wire */
    snprintf(back, sizeof back, "from=10.0.1.0,to=*,delay-us=%llu", delay_us);
    if (fabric == NULL || fabric_rule(fabric, to, error, error_bytes) != 0 ||
        fabric_rule(fabric, back, error, error_bytes) != 0)
        return NULL;
    if (fabric_rules_open(fabric) == 0)
        return fabric;
    snprintf(error, error_bytes, "no memory for frames on their way");
    return NULL;
}

_Noreturn static void be_switch(const struct live *live, int tell)
{
    char error[256] = {0};
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* then it still tidies up */
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    struct fabric *fabric = make_switch(&live->net.settings, error, sizeof error);
    struct door *door = fabric == NULL ? NULL : door_open(fabric, live->socket, error, sizeof error);
    if (door != NULL)
        strcpy(error, (char[]){READY, '\0'});
    if (write(tell, error, sizeof error) != sizeof error || door == NULL)
        _exit(1);
    door_run(door, 0);
    struct net_counts counts = {.switch_cpu_us = cpu_us()};
    for (uint32_t i = 0; i < fabric->rule_count; i++) {
        counts.dropped += fabric->rules[i].counts.drop_queue;
        counts.lost += fabric->rules[i].counts.drop_pool + fabric->rules[i].counts.drop_gone;
    }
    door_close(door);
    fabric_close(fabric);
    rmdir(live->folder);
    _exit(write(tell, &counts, sizeof counts) != sizeof counts);
}

static int start_switch(struct live *live, char *error, size_t error_bytes)
{
    const char *temporary = getenv("TMPDIR");
    int ends[2];
    char said[256] = "its process ended";
    snprintf(live->folder, sizeof live->folder, "%s/incast-XXXXXX", temporary == NULL ? "/tmp" : temporary);
    if (mkdtemp(live->folder) == NULL || pipe(ends) != 0) {
        snprintf(error, error_bytes, "%s: %s; TMPDIR is to name a folder that exists, by a short path", live->folder,
                 strerror(errno));
        return -1;
    }
    snprintf(live->socket, sizeof live->socket, "%.96s/switch", live->folder);
    live->said = ends[0];
    live->switch_pid = fork();
    if (live->switch_pid == 0)
        be_switch(live, ends[1]);
    close(ends[1]);
    if (live->switch_pid > 0 && read(ends[0], said, sizeof said) == sizeof said && said[0] == READY)
        return 0;
    rmdir(live->folder);
    snprintf(error, error_bytes, "the switch: %s", live->switch_pid < 0 ? strerror(errno) : said);
    return -1;
}

static struct net *open_live(const struct net_settings *settings, char *error, size_t error_bytes)
{
    struct live *live = calloc(1, sizeof *live);
    if (live == NULL) {
        snprintf(error, error_bytes, "no memory");
        return NULL;
    }
    live->net = (struct net){.kind = &net_live, .settings = *settings};
    struct rlimit files; /* each host takes some here and some at the switch */
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    fflush(NULL); /* or the child would say again what is still in a buffer */
    if (start_switch(live, error, error_bytes) != 0) {
        free(live);
        return NULL;
    }
    live->bells = epoll_create1(EPOLL_CLOEXEC);
    if (live->bells < 0)
        fail(1, "epoll: %s", strerror(errno));
    pin(live->switch_pid, settings->switch_cpu);
    pin(0, settings->cpu);
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    live->net.now_ns = monotonic_ns();
    return &live->net;
}

static struct net_counts close_live(struct net *net)
{
    struct live *live = of(net);
    struct net_counts counts = {0};
    const uint64_t own_us = cpu_us();
    uint64_t lost = 0;
    for (uint32_t i = 0; i < net->count; i++) {
        lost += attach_lost(live->attachments[i]);
        stack_close(net->stacks[i]);
        attach_close(live->attachments[i]);
    }
    kill(live->switch_pid, SIGTERM);
    if (read(live->said, &counts, sizeof counts) != sizeof counts)
        fprintf(stderr, "stackincast: the switch did not say what it had counted\n");
    waitpid(live->switch_pid, NULL, 0);
    close(live->said);
    close(live->bells);
    free(live);
    counts.cpu_us = own_us;
    counts.lost += lost;
    return counts;
}

/* ----------------------------------------------------------------------------------------------------------- the hosts */

static int add(struct net *net, const struct stack_limits *limits, const struct stack_address *address, char *error,
               size_t error_bytes)
{
    struct live *live = of(net);
    uint32_t number = net->count;
    struct stack_limits own = *limits;
    struct wire wire;
    char where[128];
    if (getrandom(own.key, sizeof own.key, 0) != sizeof own.key) {
        snprintf(error, error_bytes, "random numbers: %s", strerror(errno));
        return -1;
    }
    snprintf(where, sizeof where, "switch:%s", live->socket);
    struct attachment *attachment = attach_open(where, address, &wire, error, error_bytes);
    if (attachment == NULL)
        return -1;
    live->attachments[number] = attachment;
    struct epoll_event bell = {.events = EPOLLIN | EPOLLET, .data.u32 = number};
    net->stacks[number] = stack_open(&own, &wire, address, net_tick(net));
    if (net->stacks[number] != NULL && epoll_ctl(live->bells, EPOLL_CTL_ADD, attach_bell(attachment), &bell) == 0)
        return 0;
    snprintf(error, error_bytes, "the stack: %s%s", strerror(errno), errno == EINVAL ? "; a limit is out of range" : "");
    return -1;
}

static void wake(struct net *net, uint32_t host)
{
    net->now_ns = monotonic_ns();
    stack_advance(net->stacks[host], net_tick(net));
}

/* Until a frame has come for any, or a timer is due. */
static void wait_live(struct live *live)
{
    struct net *net = &live->net;
    struct epoll_event events[EVENTS];
    uint64_t due_ns = UINT64_MAX, tick;
    uint32_t resting = 0;
    for (uint32_t i = 0; i < net->count; i++) {
        attach_flush(live->attachments[i]);
        if (stack_next(net->stacks[i], &tick) && tick * net->settings.tick_us * 1000 < due_ns)
            due_ns = tick * net->settings.tick_us * 1000;
    }
    while (resting < net->count && attach_rests(live->attachments[resting]))
        resting++;
    uint64_t now_ns = monotonic_ns();
    if (resting == net->count && due_ns > now_ns) {
        uint64_t ns = due_ns - now_ns < 1000000000 ? due_ns - now_ns : 1000000000;
        epoll_pwait2(live->bells, events, EVENTS, &(struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                                                                    .tv_nsec = (long)(ns % 1000000000)}, NULL);
    }
    for (uint32_t i = 0; i < net->count && i <= resting; i++)
        attach_rouses(live->attachments[i]);
}

/* Looks at one host after the other, and sleeps after a round in which no frame has come. What the caller has written
 * meanwhile, at the host that it was told of or at host 0, leaves. */
static int step(struct net *net)
{
    struct live *live = of(net);
    attach_flush(live->attachments[0]);
    attach_flush(live->attachments[live->told]);
    if (live->at == net->count) {
        if (!live->moved)
            wait_live(live);
        live->at = 0;
        live->moved = false;
    }
    uint32_t host = live->told = live->at++;
    net->now_ns = monotonic_ns();
    size_t expired = stack_advance(net->stacks[host], net_tick(net));
    unsigned frames = attach_input(live->attachments[host], net->stacks[host], BATCH);
    live->moved |= frames > 0;
    return frames > 0 || expired > 0 ? (int)host : -1;
}

const struct net_kind net_live = {open_live, add, step, wake, close_live};
