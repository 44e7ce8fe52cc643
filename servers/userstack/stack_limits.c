/* stack_limits.c: what a stack is like unless it is told otherwise. */
#include "stack.h"

struct stack_limits stack_default_limits(void)
{
    return (struct stack_limits){
        .tick_ns = 100000,
        .timers = "wheel",
        .timer_batch = 1024,
        .packets = 256,
        .arp_entries = 256,
        .arp_queue = 100, /* whoever opens many connections at once loses none of their SYNs, each for a second */
        .datagrams = 16,
        .datagram_bytes = 16384,
        .paths = 256,
        .icmp_per_s = 100,
        .udp_sockets = 16,
        .udp_queue_bytes = 65536,
        .connections = 1024,
        .listeners = 16,
        .chunks = 32768,
        .runs = 16384,
        .send_bytes = 262144,
        .receive_bytes = 262144,
        .syn_queue = 256,
        .time_waits = 512,
        .challenges_per_s = 10,
        .congestion = "cubic",
        .initial_window = 10,
        .timestamps = 1,
        .min_rto_us = 200000,
        .max_rto_ms = 60000,
        .first_rto_ms = 1000,
        .delayed_ack_us = 40000,
        .time_wait_ms = 60000,
        .fin_wait_2_ms = 60000,
        .keepalive_idle_ms = 7200000,
        .keepalive_interval_ms = 75000,
        .keepalive_probes = 9,
        .user_timeout_ms = 0,
        .tail_probes = 1,
        .syn_tries = 5,
        .data_tries = 12,
    };
}
