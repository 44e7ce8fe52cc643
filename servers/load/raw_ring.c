#include "raw_ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    FRAME_BYTES_MIN = 2048,
    FRAME_OVERHEAD = 128,           /* TPACKET2_HDRLEN, link-layer header and their alignments */
    RING_BYTES = 16 << 20,          /* 8192 frames of one packet: 16 ms at 500,000 packets/s, still cache-friendly */
    RING_BYTES_JUMBO = 64 << 20,    /* with frames for segments not yet cut to the MTU (GSO) */
    PAGE = 4096,
};

static int fail(struct raw_ring *r, char *error, size_t error_bytes, const char *what, const char *remedy)
{
    snprintf(error, error_bytes, "%s: %s%s%s", what, strerror(errno), *remedy ? "; " : "", remedy);
    raw_ring_close(r);
    return -1;
}

/* Classic BPF: tcp, from server:port, to net/mask, first fragment. The offsets are from the Ethernet header. */
static int attach_filter(int socket, const struct raw_ring_flow *flow)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 12),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 23),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 10),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 26),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, flow->server, 0, 8),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 30),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, flow->mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, flow->net, 0, 5),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 20),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 3, 0),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 14),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 14),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, flow->server_port, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, 0x40000),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    return setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static int map_ring(struct raw_ring *r, size_t packet_bytes)
{
    size_t needed = packet_bytes + RAW_ETHERNET_BYTES + FRAME_OVERHEAD;
    bool jumbo = needed > FRAME_BYTES_MIN;
    r->frame_bytes = jumbo ? (needed + PAGE - 1) / PAGE * PAGE : FRAME_BYTES_MIN;
    size_t frames_per_block = jumbo ? 1 : 65536 / FRAME_BYTES_MIN, block_bytes = r->frame_bytes * frames_per_block;
    size_t blocks = (jumbo ? RING_BYTES_JUMBO : RING_BYTES) / block_bytes;
    struct tpacket_req request = {
        .tp_block_size = (unsigned)block_bytes,
        .tp_block_nr = (unsigned)blocks,
        .tp_frame_size = (unsigned)r->frame_bytes,
        .tp_frame_nr = (unsigned)(blocks * frames_per_block),
    };
    if (setsockopt(r->in, SOL_PACKET, PACKET_RX_RING, &request, sizeof request))
        return -1;
    r->frame_count = request.tp_frame_nr;
    r->map_bytes = block_bytes * blocks;
    r->frames = mmap(NULL, r->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->in, 0);
    if (r->frames == MAP_FAILED) {
        r->frames = NULL;
        return -1;
    }
    return 0;
}

int raw_ring_open(struct raw_ring *r, const char *interface, const struct raw_ring_flow *flow, size_t packet_bytes,
                  char *error, size_t error_bytes)
{
    memset(r, 0, sizeof *r);
    r->in = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); /* protocol 0: nothing yet */
    bool refused = r->in < 0;
    for (unsigned i = 0; i < RAW_RING_OUT; i++) {
        r->out[i] = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        refused |= r->out[i] < 0;
    }
    if (refused)
        return fail(r, error, error_bytes, "packet socket",
                    "rawload needs CAP_NET_RAW in its network namespace: run it in the lab or as root");
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    if (ioctl(r->in, SIOCGIFHWADDR, &request))
        return fail(r, error, error_bytes, interface, "");
    if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
        errno = EPROTONOSUPPORT;
        return fail(r, error, error_bytes, interface, "an Ethernet interface is needed (veth, not loopback)");
    }
    memcpy(r->mac, request.ifr_hwaddr.sa_data, sizeof r->mac);
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(interface)};
    int version = TPACKET_V2, on = 1, most = 1 << 30;
    setsockopt(r->in, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on); /* this and the next spare time only */
    for (unsigned i = 0; i < RAW_RING_OUT; i++) {
        setsockopt(r->out[i], SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
        setsockopt(r->out[i], SOL_SOCKET, SO_SNDBUF, &most, sizeof most); /* the kernel cuts it to wmem_max */
        if (bind(r->out[i], (struct sockaddr *)&address, sizeof address))
            return fail(r, error, error_bytes, "bind packet socket", "");
    }
    if (setsockopt(r->in, SOL_PACKET, PACKET_VERSION, &version, sizeof version) || map_ring(r, packet_bytes))
        return fail(r, error, error_bytes, "packet ring", "");
    if (attach_filter(r->in, flow))
        return fail(r, error, error_bytes, "packet filter", "");
    address.sll_protocol = htons(ETH_P_IP); /* from here on frames arrive, and only filtered ones */
    if (bind(r->in, (struct sockaddr *)&address, sizeof address))
        return fail(r, error, error_bytes, "bind packet socket", "");
    for (unsigned i = 0; i < RAW_RING_BATCH; i++) {
        r->parts[i].iov_base = r->outgoing[i];
        r->messages[i].msg_hdr.msg_iov = &r->parts[i];
        r->messages[i].msg_hdr.msg_iovlen = 1;
    }
    return 0;
}

void raw_ring_close(struct raw_ring *r)
{
    if (r->frames)
        munmap(r->frames, r->map_bytes);
    if (r->in >= 0)
        close(r->in);
    for (unsigned i = 0; i < RAW_RING_OUT; i++) {
        if (r->out[i] >= 0)
            close(r->out[i]);
        r->out[i] = -1;
    }
    r->frames = NULL;
    r->in = -1;
}

static struct tpacket2_hdr *current(const struct raw_ring *r)
{
    return (struct tpacket2_hdr *)(r->frames + r->next * r->frame_bytes);
}

bool raw_ring_peek(struct raw_ring *r, struct raw_packet *out)
{
    struct tpacket2_hdr *header = current(r);
    uint32_t status = *(volatile uint32_t *)&header->tp_status;
    if (!(status & TP_STATUS_USER))
        return false;
    atomic_thread_fence(memory_order_acquire); /* the frame was written before its status */
    uint32_t link_bytes = (uint32_t)(header->tp_net - header->tp_mac);
    out->ip = (const uint8_t *)header + header->tp_net;
    out->captured = header->tp_snaplen > link_bytes ? header->tp_snaplen - link_bytes : 0;
    out->length = header->tp_len > link_bytes ? header->tp_len - link_bytes : 0;
    out->checksum_known = status & (TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID);
    return true;
}

void raw_ring_release(struct raw_ring *r)
{
    struct tpacket2_hdr *header = current(r);
    atomic_thread_fence(memory_order_release);
    *(volatile uint32_t *)&header->tp_status = TP_STATUS_KERNEL;
    if (++r->next == r->frame_count)
        r->next = 0;
}

void raw_ring_queue(struct raw_ring *r, size_t bytes)
{
    r->parts[r->queued++].iov_len = bytes;
    if (r->queued == RAW_RING_BATCH)
        raw_ring_flush(r);
}

void raw_ring_flush(struct raw_ring *r)
{
    unsigned sent = 0, full = 0;
    while (sent < r->queued) {
        int n = sendmmsg(r->out[r->out_now], r->messages + sent, r->queued - sent, MSG_DONTWAIT);
        if (n > 0) {
            sent += (unsigned)n;
            full = 0;
        } else if (errno == EAGAIN && ++full < RAW_RING_OUT) {
            r->out_now = (r->out_now + 1) % RAW_RING_OUT;
        } else if (errno != EINTR) { /* this frame is lost, as on a wire; TCP's timers are there for that */
            r->tx_drops++;
            sent++;
        }
    }
    r->queued = 0;
}

uint64_t raw_ring_drops(struct raw_ring *r)
{
    struct tpacket_stats stats = {0};
    socklen_t bytes = sizeof stats;
    return getsockopt(r->in, SOL_PACKET, PACKET_STATISTICS, &stats, &bytes) ? 0 : stats.tp_drops;
}

void raw_ring_sleep(struct raw_ring *r, uint64_t ns)
{
    struct pollfd set = {.fd = r->in, .events = POLLIN};
    struct timespec timeout = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    ppoll(&set, 1, &timeout, NULL);
}

int raw_ring_neighbour(const char *interface, uint32_t address, uint8_t mac[6])
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address), .sin_port = htons(9)};
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), result = -1;
    if (udp < 0)
        return -1;
    for (int attempt = 0; attempt < 100 && result; attempt++) {
        struct arpreq request = {0};
        memcpy(&request.arp_pa, &peer, sizeof peer);
        snprintf(request.arp_dev, sizeof request.arp_dev, "%s", interface);
        if (!ioctl(udp, SIOCGARP, &request) && (request.arp_flags & ATF_COM)) {
            memcpy(mac, request.arp_ha.sa_data, 6);
            result = 0;
        } else { /* any datagram makes the kernel ask; port 9 discards it (RFC 863) */
            if (attempt % 20 == 0)
                sendto(udp, "", 0, MSG_DONTWAIT, (struct sockaddr *)&peer, sizeof peer);
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
    }
    close(udp);
    return result;
}
