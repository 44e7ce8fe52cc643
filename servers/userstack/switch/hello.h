/* hello.h: what a stack and a switch say to each other when they meet, over a Unix socket of type SOCK_SEQPACKET.
 *
 * The stack sends a struct hello. The switch answers with a struct welcome and, if `error` is 0, three descriptors: the
 * memory, sealed so that neither can make it shorter under the other's feet, and two bells, the switch's and the stack's
 * (eventfd(2)). In the memory lie two rings of `slots` frames (ring.h): the first to the switch, the second from it. The
 * port is the stack's until either closes the socket.
 */
#ifndef NAI_SWITCH_HELLO_H
#define NAI_SWITCH_HELLO_H

#include <stdint.h>

#define HELLO_MAGIC 0x31305357u /* "WS01" */

struct hello {
    uint32_t magic;
    uint32_t ip;        /* host byte order, as are all */
    uint16_t low, high; /* TCP and UDP ports, of an address that several stacks share; 0, 0: all */
    uint8_t mac[6];     /* zeroes: assign me one. Whoever shares an address shares its MAC */
    uint8_t unused[2];
};

struct welcome {
    uint32_t magic;
    int32_t error; /* an errno: EADDRINUSE, EINVAL, EUSERS (no port is left), ENOMEM */
    uint32_t slots, mtu;
    uint8_t mac[6];
    uint16_t spin_us; /* the switch stays awake so long for a frame; a stack on another CPU should, too (patience.h) */
};

enum hello_descriptor { HELLO_MEMORY, HELLO_SWITCH_BELL, HELLO_STACK_BELL, HELLO_DESCRIPTORS };

#endif
