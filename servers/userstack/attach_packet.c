/* attach_packet.c: in, a TPACKET_V2 ring, which shows each frame at once (version 3 waits for a block); out, sendmmsg(2)
 * once a batch, without the queueing discipline. */
#include "attach_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SLOT_BYTES = 4096, BLOCK_BYTES = 65536, BLOCKS = 64, SLOTS = BLOCK_BYTES / SLOT_BYTES * BLOCKS, BATCH = 128 };

struct attach_packet {
    int socket;
    uint8_t *slots;
    uint32_t next;
    unsigned queued;
    uint64_t lost;
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    uint8_t frames[BATCH][WIRE_FRAME_MAX];
};

static uint8_t *reserve(void *context, uint32_t bytes)
{
    struct attach_packet *a = context;
    if (a->queued == BATCH)
        attach_packet_flush(a);
    return bytes > WIRE_FRAME_MAX ? NULL : a->frames[a->queued];
}

static void commit(void *context, uint32_t bytes)
{
    struct attach_packet *a = context;
    a->parts[a->queued++].iov_len = bytes;
}

void attach_packet_flush(struct attach_packet *a)
{
    for (unsigned sent = 0; sent < a->queued;) {
        int n = sendmmsg(a->socket, a->messages + sent, a->queued - sent, MSG_DONTWAIT);
        if (n > 0) {
            sent += (unsigned)n;
        } else if (errno != EINTR) { /* lost as on a wire: over veth the receiver's backlog is full */
            a->lost++;
            sent++;
        }
    }
    a->queued = 0;
}

static struct attach_packet *fail(struct attach_packet *a, char *error, size_t error_bytes, const char *what,
                                  const char *remedy)
{
    snprintf(error, error_bytes, "%s: %s%s", what, strerror(errno), remedy);
    if (a != NULL)
        attach_packet_close(a);
    return NULL;
}

struct attach_packet *attach_packet_open(const char *interface, struct wire *wire, char *error, size_t error_bytes)
{
    struct attach_packet *a = calloc(1, sizeof *a);
    if (a == NULL)
        return fail(NULL, error, error_bytes, "memory", "");
    a->socket = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); /* protocol 0: nothing yet */
    if (a->socket < 0)
        return fail(a, error, error_bytes, "packet socket",
                    "; it needs CAP_NET_RAW in its network namespace: run it in the lab or as root");
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    if (ioctl(a->socket, SIOCGIFHWADDR, &request))
        return fail(a, error, error_bytes, interface, "");
    if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
        errno = EPROTONOSUPPORT;
        return fail(a, error, error_bytes, interface, "; an Ethernet interface is needed (veth, not loopback)");
    }
    memcpy(wire->mac, request.ifr_hwaddr.sa_data, sizeof wire->mac);
    if (ioctl(a->socket, SIOCGIFMTU, &request))
        return fail(a, error, error_bytes, interface, "");
    wire->mtu = request.ifr_mtu < WIRE_MTU_MAX ? (uint32_t)request.ifr_mtu : WIRE_MTU_MAX;
    int version = TPACKET_V2, on = 1, most = 1 << 30;
    setsockopt(a->socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
    setsockopt(a->socket, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    setsockopt(a->socket, SOL_SOCKET, SO_SNDBUF, &most, sizeof most); /* the kernel cuts it to wmem_max */
    struct tpacket_req ring = {
        .tp_block_size = BLOCK_BYTES, .tp_block_nr = BLOCKS, .tp_frame_size = SLOT_BYTES, .tp_frame_nr = SLOTS};
    if (setsockopt(a->socket, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
        setsockopt(a->socket, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring))
        return fail(a, error, error_bytes, "packet ring", "");
    a->slots = mmap(NULL, (size_t)BLOCK_BYTES * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, a->socket, 0);
    if (a->slots == MAP_FAILED) {
        a->slots = NULL;
        return fail(a, error, error_bytes, "packet ring", "");
    }
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(interface)};
    if (bind(a->socket, (struct sockaddr *)&address, sizeof address))
        return fail(a, error, error_bytes, "bind packet socket", "");
    for (unsigned i = 0; i < BATCH; i++) {
        a->parts[i].iov_base = a->frames[i];
        a->messages[i].msg_hdr.msg_iov = &a->parts[i];
        a->messages[i].msg_hdr.msg_iovlen = 1;
    }
    wire->context = a;
    wire->reserve = reserve;
    wire->commit = commit;
    return a;
}

void attach_packet_close(struct attach_packet *a)
{
    if (a->slots != NULL)
        munmap(a->slots, (size_t)BLOCK_BYTES * BLOCKS);
    if (a->socket >= 0)
        close(a->socket);
    free(a);
}

unsigned attach_packet_input(struct attach_packet *a, struct stack *stack, unsigned batch)
{
    unsigned n = 0;
    for (; n < batch; n++) {
        struct tpacket2_hdr *slot = (struct tpacket2_hdr *)(void *)(a->slots + (size_t)a->next * SLOT_BYTES);
        uint32_t status = *(volatile uint32_t *)&slot->tp_status;
        if (!(status & TP_STATUS_USER))
            break;
        atomic_thread_fence(memory_order_acquire); /* the frame was written before its status */
        /* A frame longer than its slot is longer than any MTU here: its length says so, and the stack drops it unread. */
        bool checked = status & (TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID);
        stack_input(stack, (const uint8_t *)slot + slot->tp_mac, slot->tp_len, checked ? FRAME_CHECKED : 0);
        atomic_thread_fence(memory_order_release);
        *(volatile uint32_t *)&slot->tp_status = TP_STATUS_KERNEL;
        a->next = (a->next + 1) % SLOTS;
    }
    return n;
}

int attach_packet_descriptor(const struct attach_packet *a) { return a->socket; }

uint64_t attach_packet_lost(const struct attach_packet *a) { return a->lost; }
