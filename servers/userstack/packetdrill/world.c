#include "world.h"

#include "bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ETHERNET = WIRE_ETHERNET_BYTES, TYPE_IP = 0x0800, TYPE_ARP = 0x0806, ARP_TARGET_IP = ETHERNET + 24 };
enum { MTU = 1500, TCP = 6, FIN = 1, PSH = 8, STUCK_MS = 500, PATIENCE = 20000 };

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2};

struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    struct frame *sent = calloc(FRAMES, sizeof *sent);
    if (w == NULL || sent == NULL) {
        free(w);
        free(sent);
        return NULL;
    }
    w->sent = sent;
    w->now_us = START_US;
    w->driver = pthread_self();
    /* Everybody is a neighbour: packetdrill's remote address is of another network than ours. */
    w->address = (struct stack_address){.ip = 0xc0a80001};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    return w;
}

void world_free(struct world *w)
{
    if (w->stack != NULL)
        stack_close(w->stack);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w->sent);
    free(w);
}

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct world *w = context;
    return bytes <= sizeof w->building ? w->building : NULL;
}

static void commit(void *context, uint32_t bytes)
{
    struct world *w = context;
    uint16_t type = get16(w->building + 12);
    if (type == TYPE_ARP && w->question_count < QUESTIONS)
        w->questions[w->question_count++] = get32(w->building + ARP_TARGET_IP);
    if (type != TYPE_IP)
        return;
    if (w->sent_count == FRAMES) { /* nobody looks: the oldest goes */
        w->sent_first = (w->sent_first + 1) % FRAMES;
        w->sent_count--;
    }
    struct frame *frame = &w->sent[(w->sent_first + w->sent_count++) % FRAMES];
    frame->at_us = w->now_us;
    frame->bytes = bytes - ETHERNET;
    memcpy(frame->data, w->building + ETHERNET, frame->bytes);
}

/* What a script sets by sysctl(8) in its network namespace holds for this stack, too. */
static uint32_t sysctl(const char *name, unsigned place, uint32_t otherwise)
{
    char path[96];
    unsigned long long values[3] = {0};
    snprintf(path, sizeof path, "/proc/sys/net/ipv4/%s", name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return otherwise;
    int found = fscanf(file, "%llu %llu %llu", &values[0], &values[1], &values[2]);
    fclose(file);
    return found > (int)place && values[place] <= UINT32_MAX ? (uint32_t)values[place] : otherwise;
}

bool world_open_stack(struct world *w, uint32_t mss)
{
    if (w->stack != NULL)
        return true;
    struct stack_limits limits = stack_default_limits();
    limits.tick_ns = TICK_US * 1000;
    limits.connections = 64;
    limits.time_waits = limits.syn_queue = 32;
    limits.chunks = 4096;
    limits.packets = 64;
    limits.arp_entries = limits.paths = 16;
    limits.arp_queue = 32;
    limits.datagrams = limits.udp_sockets = 2;
    limits.mss = mss;
    limits.send_bytes = min_u32(sysctl("tcp_wmem", 2, 4 << 20), 1 << 24);
    limits.receive_bytes = min_u32(sysctl("tcp_rmem", 2, 15 << 20), 1 << 24);
    limits.timestamps = sysctl("tcp_timestamps", 0, 1) != 0;
    limits.syn_tries = sysctl("tcp_syn_retries", 0, 6);
    limits.data_tries = sysctl("tcp_retries2", 0, 15);
    /* The scripts were written where segmentation is offloaded, and receivers acknowledge a connection's first segments
     * at once ("quick ACKs"). */
    limits.push_segments = sysctl("tcp_min_tso_segs", 0, 2);
    limits.delayed_ack_us = 1000;
    memcpy(limits.key, "not at all secret", sizeof limits.key);
    struct wire wire = {.context = w, .reserve = reserve, .commit = commit, .mtu = MTU};
    memcpy(wire.mac, our_mac, sizeof wire.mac);
    w->stack = stack_open(&limits, &wire, &w->address, w->now_us / TICK_US);
    return w->stack != NULL;
}

static void answer_arp(struct world *w, uint32_t asked)
{
    uint8_t frame[ETHERNET + 28] = {[12] = 8, 6, 0, 1, 8, 0, 6, 4, 0, 2};
    memcpy(frame, our_mac, 6);
    memcpy(frame + 6, peer_mac, 6);
    memcpy(frame + 22, peer_mac, 6);
    put32(frame + 28, asked);
    memcpy(frame + 32, our_mac, 6);
    put32(frame + 38, w->address.ip);
    stack_input(w->stack, frame, sizeof frame, 0);
}

static bool mine(const struct world *w) { return pthread_equal(w->waiter_thread, pthread_self()); }

void world_settle(struct world *w)
{
    while (w->question_count > 0)
        answer_arp(w, w->questions[--w->question_count]);
    if (w->waiter != ASLEEP || mine(w))
        return;
    w->waiter = AWAKE; /* perhaps it is what the call waits for */
    pthread_cond_broadcast(&w->changed);
    while (w->waiter == AWAKE || w->waiter == LEAVING)
        pthread_cond_wait(&w->changed, &w->lock);
}

/* To what happens next, if that is not later. False: nothing does. */
static bool step(struct world *w, uint64_t limit_us)
{
    uint64_t tick, at = UINT64_MAX;
    if (w->stack != NULL && stack_next(w->stack, &tick))
        at = tick * TICK_US;
    if (w->waiter == ASLEEP && w->waiter_until_us < at)
        at = w->waiter_until_us;
    if (at <= w->now_us)
        at = w->now_us + 1;
    if (at > limit_us)
        return false;
    w->now_us = at;
    if (w->stack != NULL)
        stack_advance(w->stack, at / TICK_US);
    world_settle(w);
    return true;
}

void world_go_on(struct world *w, uint64_t until_us)
{
    while (w->now_us < until_us && step(w, until_us))
        ;
    if (w->now_us < until_us)
        w->now_us = until_us;
    if (w->stack != NULL)
        stack_advance(w->stack, w->now_us / TICK_US);
    world_settle(w);
}

static void arrive(struct world *w, const uint8_t *packet, uint32_t bytes)
{
    uint8_t frame[WIRE_FRAME_MAX];
    if (bytes > sizeof frame - ETHERNET)
        return;
    memcpy(frame, our_mac, 6);
    memcpy(frame + 6, peer_mac, 6);
    put16(frame + 12, TYPE_IP);
    memcpy(frame + ETHERNET, packet, bytes);
    stack_input(w->stack, frame, ETHERNET + bytes, 0);
}

/* What a script writes as one long segment arrives as the segments that a wire carries: what a sender's offload does, and
 * what packetdrill undoes with the segments that are sent. */
static void arrive_in_segments(struct world *w, const uint8_t *packet, uint32_t bytes)
{
    uint32_t ip = (packet[0] & 15) * 4u, header = ip + (packet[ip + 12] >> 4) * 4u, most = MTU - header;
    uint32_t seq = get32(packet + ip + 4);
    for (uint32_t at = 0; header + at < bytes; at += most) {
        uint8_t part[MTU];
        uint32_t data = min_u32(most, bytes - header - at);
        memcpy(part, packet, header);
        memcpy(part + header, packet + header + at, data);
        put16(part + 2, header + data);
        put16(part + 10, 0);
        store_checksum(part + 10, sum_bytes(part, ip));
        put32(part + ip + 4, seq + at);
        if (header + at + data < bytes)
            part[ip + 13] &= (uint8_t)~(FIN | PSH);
        put16(part + ip + 16, 0);
        store_checksum(part + ip + 16, sum_bytes(part + ip, header - ip + data) +
                                           sum_pseudo(part + 12, TCP, header - ip + data));
        arrive(w, part, header + data);
    }
}

void world_packet(struct world *w, const void *packet, uint32_t bytes)
{
    const uint8_t *p = packet;
    if (w->stack == NULL || bytes < 40 || p[0] >> 4 != 4)
        return;
    if (bytes > MTU && p[9] == TCP)
        arrive_in_segments(w, p, bytes);
    else
        arrive(w, p, bytes);
    world_settle(w);
}

const struct frame *world_sent(struct world *w)
{
    uint64_t limit = w->now_us + FOR_EVER_US;
    while (w->sent_count == 0)
        if (!step(w, limit))
            return NULL;
    const struct frame *frame = &w->sent[w->sent_first];
    w->sent_first = (w->sent_first + 1) % FRAMES;
    w->sent_count--;
    return frame;
}

/* In a thread of its own: until the driver has let something happen. Should the driver wait for this very call, which it
 * does without letting time go on, time goes on here. */
static void sleep_until_woken(struct world *w, uint64_t until_us)
{
    w->waiter_thread = pthread_self();
    w->waiter = ASLEEP;
    w->waiter_until_us = until_us;
    pthread_cond_broadcast(&w->changed);
    while (w->waiter == ASLEEP) {
        struct timespec end;
        clock_gettime(CLOCK_REALTIME, &end);
        end.tv_nsec += STUCK_MS * 1000000L;
        end.tv_sec += end.tv_nsec / 1000000000;
        end.tv_nsec %= 1000000000;
        if (pthread_cond_timedwait(&w->changed, &w->lock, &end) == ETIMEDOUT && w->waiter == ASLEEP) {
            step(w, w->now_us + FOR_EVER_US);
            w->waiter = AWAKE;
        }
    }
}

static bool sleeps(pid_t thread)
{
    char path[64], line[512], *state;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return true; /* it has ended */
    bool known = fgets(line, sizeof line, file) != NULL && (state = strrchr(line, ')')) != NULL && strlen(state) > 2;
    fclose(file);
    return !known || state[2] == 'S';
}

/* A call that was to block has returned to its thread, which now only needs a CPU to tell packetdrill; where time costs
 * nothing, packetdrill's main thread would be ahead of it. */
void world_let_finish(struct world *w)
{
    pthread_mutex_lock(&w->lock);
    pid_t thread = w->finishing;
    w->finishing = 0;
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; thread != 0 && i < PATIENCE && !sleeps(thread); i++)
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

bool world_wait(struct world *w, uint64_t until_us)
{
    if (w->now_us >= until_us)
        return false;
    if (!pthread_equal(w->driver, pthread_self())) {
        sleep_until_woken(w, until_us);
        return true;
    }
    uint64_t limit = until_us == UINT64_MAX ? w->now_us + FOR_EVER_US : until_us;
    if (step(w, limit))
        return true;
    w->now_us = limit;
    return false;
}

void world_leave(struct world *w)
{
    if (!pthread_equal(w->driver, pthread_self()))
        w->finishing = gettid();
    if (w->waiter != AWAKE || !mine(w))
        return;
    w->waiter = LEAVING;
    pthread_cond_broadcast(&w->changed);
}

uint64_t world_clock(struct world *w)
{
    if (w->waiter == LEAVING && mine(w)) { /* when did the call end? */
        w->waiter = NOBODY;
        pthread_cond_broadcast(&w->changed);
    } else {
        world_go_on(w, w->now_us + 1); /* who spins on the clock sees it go on */
    }
    return w->now_us;
}
