/* netif_attach.c: frames between an attachment and lwIP, each copied once on its way in and once on its way out. */
#include "netif_attach.h"

#include "host.h"

#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    PATIENCE = 1000,    /* times that a full mailbox is waited for */
    RESOLVE_US = 500,   /* once that a neighbour is waited for */
    RESOLVE_TIMES = 200,
};

/* linkoutput of the netif: the frame is complete, Ethernet header included. */
static err_t transmit(struct netif *netif, struct pbuf *frame)
{
    struct netif_attach *host = netif->state;
    uint8_t *room = host->wire.reserve(host->wire.context, frame->tot_len);
    if (room == NULL) {
        host->wire_full++;
        return ERR_MEM;
    }
    pbuf_copy_partial(frame, room, frame->tot_len, 0);
    host->wire.commit(host->wire.context, frame->tot_len);
    host->frames_out++;
    if (LWIP_THREADED && !pthread_equal(pthread_self(), host->program))
        attach_flush(host->attachment);
    return ERR_OK;
}

/* Debian's lwIP verifies every checksum, also one that the sender's kernel has left out (FRAME_CHECKED), because no wire
 * follows: put it there. Between two stacks on a switch none is left out, nor with offloads off. */
static void complete(struct pbuf *frame)
{
    const struct ip_hdr *ip = (const void *)((const u8_t *)frame->payload + SIZEOF_ETH_HDR);
    if (frame->len < SIZEOF_ETH_HDR + IP_HLEN + TCP_HLEN ||
        ((const struct eth_hdr *)frame->payload)->type != PP_HTONS(ETHTYPE_IP) || IPH_PROTO(ip) != IP_PROTO_TCP)
        return;
    u16_t header = SIZEOF_ETH_HDR + IPH_HL_BYTES(ip), bytes = SIZEOF_ETH_HDR + lwip_ntohs(IPH_LEN(ip));
    if (bytes > frame->tot_len || bytes < header + TCP_HLEN)
        return;
    pbuf_realloc(frame, bytes); /* without padding */
    const ip_addr_t source = IPADDR4_INIT(ip->src.addr), destination = IPADDR4_INIT(ip->dest.addr);
    pbuf_remove_header(frame, header);
    struct tcp_hdr *tcp = frame->payload;
    tcp->chksum = 0;
    tcp->chksum = ip_chksum_pseudo(frame, IP_PROTO_TCP, frame->tot_len, &source, &destination);
    pbuf_add_header_force(frame, header);
}

/* The attachment takes the frame back when this returns, and lwIP may keep what it is given (unread data, segments out of
 * order): so it is given a copy, in one piece, from malloc(). */
static void receive(void *context, const uint8_t *frame, uint32_t bytes, unsigned flags)
{
    struct netif_attach *host = context;
    struct pbuf *copy = bytes > WIRE_FRAME_MAX ? NULL : pbuf_alloc(PBUF_RAW, (u16_t)bytes, PBUF_RAM);
    if (copy == NULL) {
        host->drop_no_memory++;
        return;
    }
    host->frames_in++;
    pbuf_take(copy, frame, (u16_t)bytes);
    if (flags & FRAME_CHECKED)
        complete(copy);
    err_t error = host->netif.input(copy, &host->netif);
    for (int i = 0; LWIP_THREADED && error != ERR_OK && i < PATIENCE; i++) {
        sched_yield(); /* its mailbox, of 128 messages, is full */
        error = host->netif.input(copy, &host->netif);
    }
    if (error != ERR_OK) {
        host->drop_no_memory++;
        pbuf_free(copy);
    }
}

static err_t initialize(struct netif *netif)
{
    const struct netif_attach *host = netif->state;
    netif->name[0] = 'a';
    netif->name[1] = 't';
    netif->output = etharp_output;
    netif->linkoutput = transmit;
    netif->mtu = (u16_t)host->wire.mtu;
    netif->hwaddr_len = sizeof host->wire.mac;
    memcpy(netif->hwaddr, host->wire.mac, sizeof host->wire.mac);
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

#if LWIP_THREADED

static _Thread_local int depth;

int netif_attach_lock(void)
{
    if (depth++ == 0)
        LOCK_TCPIP_CORE();
    return 0;
}

void netif_attach_unlock(void)
{
    if (--depth == 0)
        UNLOCK_TCPIP_CORE();
}

static void started(void *semaphore)
{
    sem_post(semaphore);
}

/* lwIP's thread, and ours that receives, take no signals: they are for the program, which waits for them. */
static bool start_thread(void)
{
    sem_t semaphore;
    sigset_t every, before;
    sigfillset(&every);
    if (sem_init(&semaphore, 0, 0) != 0)
        return false;
    pthread_sigmask(SIG_SETMASK, &every, &before);
    tcpip_init(started, &semaphore);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    while (sem_wait(&semaphore) != 0)
        ;
    return sem_destroy(&semaphore) == 0;
}

static void *carry(void *context)
{
    struct netif_attach *host = context;
    for (;;)
        if (attach_receive(host->attachment, receive, host, HOST_BATCH) == 0)
            attach_sleep(host->attachment, -1);
    return NULL;
}

#endif

static bool start_receiver(struct netif_attach *host)
{
#if LWIP_THREADED
    pthread_t thread;
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    bool begun = pthread_create(&thread, NULL, carry, host) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return begun;
#else
    (void)host;
    return true;
#endif
}

int netif_attach_open(struct netif_attach *host, const char *where, const struct stack_address *address, char *error,
                      size_t error_bytes)
{
    memset(host, 0, sizeof *host);
    host->attachment = attach_open(where, address, &host->wire, error, error_bytes);
    if (host->attachment == NULL)
        return -1;
    /* lwIP's random numbers are rand(): without a seed, every process would begin with the same port. */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    srand((unsigned)now.tv_nsec);
    host->program = pthread_self();
#if LWIP_THREADED
    if (!start_thread()) {
        snprintf(error, error_bytes, "lwIP's thread does not start");
        return -1;
    }
#else
    lwip_init();
#endif
    netif_attach_lock();
    const ip4_addr_t ip = {lwip_htonl(address->ip)}, netmask = {lwip_htonl(address->netmask)},
                     gateway = {lwip_htonl(address->gateway)};
    bool added = netif_add(&host->netif, &ip, &netmask, &gateway, host, initialize,
                           LWIP_THREADED ? tcpip_input : ethernet_input) != NULL;
    if (added) {
        netif_set_default(&host->netif);
        netif_set_up(&host->netif);
        attach_flush(host->attachment);
    }
    netif_attach_unlock();
    if (added && (!LWIP_THREADED || start_receiver(host)))
        return 0;
    snprintf(error, error_bytes, "lwIP takes no such network interface");
    return -1;
}

void netif_attach_close(struct netif_attach *host)
{
    attach_flush(host->attachment);
    netif_remove(&host->netif);
    attach_close(host->attachment);
}

unsigned netif_attach_turn(struct netif_attach *host)
{
    sys_check_timeouts();
    return attach_receive(host->attachment, receive, host, HOST_BATCH);
}

void netif_attach_flush(struct netif_attach *host)
{
    attach_flush(host->attachment);
}

void netif_attach_wait(struct netif_attach *host, int64_t ns)
{
    if (ns == 0) {
        attach_flush(host->attachment);
        return;
    }
    u32_t due_ms = sys_timeouts_sleeptime();
    int64_t due_ns = (int64_t)due_ms * 1000000;
    if (due_ms != SYS_TIMEOUTS_SLEEPTIME_INFINITE && (ns < 0 || due_ns < ns))
        ns = due_ns;
    attach_wait(host->attachment, ns);
}

void netif_attach_resolve(struct netif_attach *host, uint32_t ip)
{
    ip4_addr_t next = {ip};
    const ip4_addr_t *found;
    struct eth_addr *hardware;
    if (!ip4_addr_netcmp(&next, netif_ip4_addr(&host->netif), netif_ip4_netmask(&host->netif)))
        next = *netif_ip4_gw(&host->netif);
    for (int i = 0; i < RESOLVE_TIMES && etharp_find_addr(&host->netif, &next, &hardware, &found) < 0; i++) {
        if (i == 0 && etharp_query(&host->netif, &next, NULL) != ERR_OK)
            return; /* there is no such neighbour */
        netif_attach_flush(host);
#if LWIP_THREADED
        netif_attach_unlock();
        usleep(RESOLVE_US);
        netif_attach_lock();
#else
        netif_attach_wait(host, RESOLVE_US * INT64_C(1000));
        netif_attach_turn(host);
#endif
    }
}
