/* tcp_states.h: RFC 9293, 3.3.2, in the order of its figure 5. LISTEN is a listener's, never a connection's. */
#ifndef NAI_STACK_TCP_STATES_H
#define NAI_STACK_TCP_STATES_H

enum tcp_state {
    TCP_CLOSED,
    TCP_LISTEN,
    TCP_SYN_SENT,
    TCP_SYN_RECEIVED,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT_1,
    TCP_FIN_WAIT_2,
    TCP_CLOSE_WAIT,
    TCP_CLOSING,
    TCP_LAST_ACK,
    TCP_TIME_WAIT,
};

#endif
