#include "packet_ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* In: as many as a switch's ring has, so that a window of 4 MiB fits, which a kernel may send at once while nobody looks. */
enum { SLOTS = 4096, SLOT_BYTES = 2048, BLOCK_BYTES = 65536, HEADER_ROOM = 96, BATCH = 128 };
/* Out: so often a batch may find no room before it loses what finds none: a fraction of a millisecond. */
enum { WAITS = 256 };

struct packet_ring {
    int socket;
    uint8_t *slots;
    uint32_t slot_bytes, next;
    unsigned queued;
    uint64_t lost, missed, calls;
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    uint8_t frames[BATCH][WIRE_FRAME_MAX];
};

uint8_t *packet_ring_reserve(void *context, uint32_t bytes)
{
    struct packet_ring *r = context;
    if (r->queued == BATCH)
        packet_ring_flush(r);
    return bytes > WIRE_FRAME_MAX ? NULL : r->frames[r->queued];
}

void packet_ring_commit(void *context, uint32_t bytes)
{
    struct packet_ring *r = context;
    r->parts[r->queued++].iov_len = bytes;
}

void packet_ring_flush(struct packet_ring *r)
{
    for (unsigned sent = 0, waits = 0; sent < r->queued;) {
        r->calls++;
        int n = sendmmsg(r->socket, r->messages + sent, r->queued - sent, MSG_DONTWAIT);
        if (n > 0) {
            sent += (unsigned)n;
        } else if (errno == ENOBUFS && waits < WAITS) { /* over veth: the receiver's backlog, which another CPU empties */
            waits++;
            sched_yield();
        } else if (errno != EINTR) { /* lost as on a wire */
            r->lost++;
            sent++;
        }
    }
    r->queued = 0;
}

static struct packet_ring *refuse(struct packet_ring *r, char *error, size_t error_bytes, const char *what,
                                  const char *remedy)
{
    snprintf(error, error_bytes, "%s: %s%s", what, strerror(errno), remedy);
    if (r != NULL)
        packet_ring_close(r);
    return NULL;
}

struct packet_ring *packet_ring_open(const char *interface, uint8_t mac[6], uint32_t *mtu, char *error, size_t error_bytes)
{
    struct packet_ring *r = calloc(1, sizeof *r);
    if (r == NULL)
        return refuse(NULL, error, error_bytes, "memory", "");
    r->socket = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); /* protocol 0: nothing yet */
    if (r->socket < 0)
        return refuse(r, error, error_bytes, "packet socket",
                      "; it needs CAP_NET_RAW in its network namespace: run it in the lab or as root");
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    if (ioctl(r->socket, SIOCGIFHWADDR, &request))
        return refuse(r, error, error_bytes, interface, "; `ip link` names the interfaces");
    if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
        errno = EPROTONOSUPPORT;
        return refuse(r, error, error_bytes, interface, "; an Ethernet interface is needed (veth, not loopback)");
    }
    memcpy(mac, request.ifr_hwaddr.sa_data, 6);
    if (ioctl(r->socket, SIOCGIFMTU, &request))
        return refuse(r, error, error_bytes, interface, "");
    *mtu = request.ifr_mtu < WIRE_MTU_MAX ? (uint32_t)request.ifr_mtu : WIRE_MTU_MAX;
    int version = TPACKET_V2, on = 1, most = 1 << 30;
    setsockopt(r->socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
    setsockopt(r->socket, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    setsockopt(r->socket, SOL_SOCKET, SO_SNDBUF, &most, sizeof most); /* the kernel cuts it to wmem_max */
    r->slot_bytes = HEADER_ROOM + WIRE_ETHERNET_BYTES + *mtu <= SLOT_BYTES ? SLOT_BYTES : 2 * SLOT_BYTES;
    struct tpacket_req ring = {.tp_block_size = BLOCK_BYTES,
                               .tp_block_nr = SLOTS / (BLOCK_BYTES / r->slot_bytes),
                               .tp_frame_size = r->slot_bytes,
                               .tp_frame_nr = SLOTS};
    if (setsockopt(r->socket, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
        setsockopt(r->socket, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring))
        return refuse(r, error, error_bytes, "packet ring", "");
    r->slots = mmap(NULL, (size_t)SLOTS * r->slot_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->socket, 0);
    if (r->slots == MAP_FAILED) {
        r->slots = NULL;
        return refuse(r, error, error_bytes, "packet ring", "");
    }
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(interface)};
    if (bind(r->socket, (struct sockaddr *)&address, sizeof address))
        return refuse(r, error, error_bytes, "bind packet socket", "");
    for (unsigned i = 0; i < BATCH; i++) {
        r->parts[i].iov_base = r->frames[i];
        r->messages[i].msg_hdr.msg_iov = &r->parts[i];
        r->messages[i].msg_hdr.msg_iovlen = 1;
    }
    return r;
}

void packet_ring_close(struct packet_ring *r)
{
    if (r->slots != NULL)
        munmap(r->slots, (size_t)SLOTS * r->slot_bytes);
    if (r->socket >= 0)
        close(r->socket);
    free(r);
}

static struct tpacket2_hdr *slot(const struct packet_ring *r)
{
    return (struct tpacket2_hdr *)(void *)(r->slots + (size_t)r->next * r->slot_bytes);
}

/* The frame was written before its status. */
static uint32_t status(const struct packet_ring *r) { return __atomic_load_n(&slot(r)->tp_status, __ATOMIC_ACQUIRE); }

bool packet_ring_ready(const struct packet_ring *r) { return status(r) & TP_STATUS_USER; }

/* Reading them sets them to zero, and ends the mark that there are any. */
static void count_missed(struct packet_ring *r)
{
    struct tpacket_stats counts;
    socklen_t bytes = sizeof counts;
    if (getsockopt(r->socket, SOL_PACKET, PACKET_STATISTICS, &counts, &bytes) == 0)
        r->missed += counts.tp_drops;
}

bool packet_ring_next(struct packet_ring *r, struct packet_frame *frame)
{
    uint32_t now = status(r);
    if (!(now & TP_STATUS_USER))
        return false;
    if (now & TP_STATUS_LOSING)
        count_missed(r);
    struct tpacket2_hdr *header = slot(r);
    /* A frame longer than its slot is longer than any MTU here: its length says so, and it is dropped unread. */
    frame->bytes = (const uint8_t *)header + header->tp_mac;
    frame->length = header->tp_len;
    frame->flags = (now & (TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID) ? FRAME_CHECKED : 0) |
                   (now & TP_STATUS_CSUMNOTREADY ? PACKET_UNFINISHED : 0);
    return true;
}

void packet_ring_release(struct packet_ring *r)
{
    __atomic_store_n(&slot(r)->tp_status, (uint32_t)TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    r->next = (r->next + 1) % SLOTS;
}

int packet_ring_descriptor(const struct packet_ring *r) { return r->socket; }

uint64_t packet_ring_lost(const struct packet_ring *r) { return r->lost; }

uint64_t packet_ring_missed(const struct packet_ring *r) { return r->missed; }

uint64_t packet_ring_calls(const struct packet_ring *r) { return r->calls; }
