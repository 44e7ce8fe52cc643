/* counters.h: what became of every packet. A packet that is not used is counted under one cause, in `drops`; the rest
 * are events. All count since stack_open(). */
#ifndef NAI_STACK_COUNTERS_H
#define NAI_STACK_COUNTERS_H

#include <stdint.h>

#define STACK_DROPS(DROP)                                                                                              \
    DROP(ethernet_short)       /* no whole header, or longer than the MTU allows */                                    \
    DROP(ethernet_address)     /* for another station */                                                               \
    DROP(ethernet_type)        /* neither ARP nor IPv4 */                                                              \
    DROP(arp_malformed)                                                                                                \
    DROP(arp_unasked)          /* a reply to no question of ours */                                                    \
    DROP(arp_full)             /* every entry that could be replaced has packets waiting */                            \
    DROP(arp_queue_full)       /* too many packets wait for one address */                                             \
    DROP(arp_unanswered)       /* packets whose next hop never answered */                                             \
    DROP(packets_exhausted)    /* no packet buffer */                                                                  \
    DROP(wire_full)            /* the attachment had no room */                                                        \
    DROP(no_route)             /* beyond the network, and there is no gateway; or to ourselves */                      \
    DROP(too_big)              /* longer than the path's MTU, and may not be fragmented */                             \
    DROP(ip_malformed)                                                                                                 \
    DROP(ip_checksum)                                                                                                  \
    DROP(ip_address)           /* for another host, or from an address that cannot be one */                           \
    DROP(ip_protocol)                                                                                                  \
    DROP(fragment_malformed)   /* beyond the end, or of a length that is no multiple of 8 */                           \
    DROP(fragment_overlap)     /* the whole datagram is given up, RFC 5722's way */                                    \
    DROP(fragment_too_big)     /* beyond what is reassembled here */                                                   \
    DROP(fragment_pieces)      /* in too many pieces */                                                                \
    DROP(fragment_full)        /* too many datagrams in pieces at a time: the oldest was given up */                   \
    DROP(fragment_timeout)     /* the rest did not come */                                                             \
    DROP(icmp_malformed)                                                                                               \
    DROP(icmp_checksum)                                                                                                \
    DROP(icmp_type)                                                                                                    \
    DROP(icmp_unmatched)       /* an error about a packet that we cannot have sent, RFC 5927 */                        \
    DROP(icmp_limited)         /* not sent: too many in this second, RFC 1812, 4.3.2.8 */                              \
    DROP(udp_malformed)                                                                                                \
    DROP(udp_checksum)                                                                                                 \
    DROP(udp_port)                                                                                                     \
    DROP(udp_queue_full)                                                                                               \
    DROP(tcp_malformed)                                                                                                \
    DROP(tcp_checksum)                                                                                                 \
    DROP(tcp_port)             /* no connection and no listener: answered by a reset */                                \
    DROP(tcp_flags)            /* a combination that means nothing in that state */                                    \
    DROP(tcp_window)           /* outside the receive window */                                                        \
    DROP(tcp_paws)             /* an old duplicate, RFC 7323, 5 */                                                     \
    DROP(tcp_no_timestamp)     /* agreed upon, but missing, RFC 7323, 3.2 */                                           \
    DROP(tcp_ack)              /* acknowledges what cannot be, RFC 5961, 5 */                                          \
    DROP(tcp_reset_blind)      /* RST in the window but not at its left edge, RFC 5961, 3 */                           \
    DROP(tcp_syn_blind)        /* SYN on a connection, RFC 5961, 4 */                                                  \
    DROP(tcp_out_of_order_full) /* too many holes */                                                                   \
    DROP(tcp_memory)           /* no chunk to keep data in */                                                          \
    DROP(tcp_connections)      /* no connection block */                                                               \
    DROP(tcp_accept_full)      /* the listener's accept queue is full */                                               \
    DROP(tcp_cookie)           /* ACK without connection whose cookie is not ours */                                   \
    DROP(tcp_closed)           /* data for a socket that was closed: answered by a reset */

#define STACK_EVENTS(EVENT)                                                                                            \
    EVENT(frames_received) EVENT(frames_sent) EVENT(bytes_received) EVENT(bytes_sent) /* whole frames */               \
    EVENT(arp_received) EVENT(arp_requests) EVENT(arp_replies)                                                         \
    EVENT(ip_received) EVENT(fragments_received) EVENT(datagrams_reassembled)                                         \
    EVENT(icmp_received) EVENT(icmp_echoes) EVENT(icmp_unreachables) EVENT(pmtu_lowered)                                \
    EVENT(udp_received) EVENT(udp_sent)                                                                                \
    EVENT(tcp_received) EVENT(tcp_sent) EVENT(tcp_resets_sent) EVENT(tcp_retransmitted) /* segments */                 \
    EVENT(tcp_tail_probes) EVENT(tcp_undone) EVENT(tcp_runs_exhausted)                                                 \
    EVENT(tcp_fast_recoveries) EVENT(tcp_timeouts) EVENT(tcp_window_probes) EVENT(tcp_keepalives)                      \
    EVENT(tcp_challenges) EVENT(tcp_challenges_limited)                                                                \
    EVENT(tcp_opened_active) EVENT(tcp_opened_passive) EVENT(tcp_cookies_sent) EVENT(tcp_cookies_taken)                \
    EVENT(tcp_time_waits_recycled) EVENT(tcp_time_waits_reused)                                                        \
    EVENT(tcp_aborted) EVENT(tcp_timed_out)

struct stack_drops {
#define MEMBER(name) uint64_t name;
    STACK_DROPS(MEMBER)
};

enum { TCP_STATES = 11 };

struct stack_counters {
    struct stack_drops drops;
    STACK_EVENTS(MEMBER)
#undef MEMBER
    uint64_t tcp_entered[TCP_STATES]; /* how often a connection came into each state, by enum tcp_state */
};

#endif
