/* world.h: the stack in packetdrill's hands. packetdrill (github.com/google/packetdrill) loads a shared object by
 * --so_filename, asks it for the time, and has its scripts' socket calls and packets go through a table of functions. Time
 * is virtual: it goes on when packetdrill sleeps, waits for a packet, or looks at the clock, so that a script of minutes
 * ends at once, and no load on the machine can spoil it.
 *
 * A call that is to block runs in a thread of packetdrill's. It sleeps until somebody else lets time go on and something
 * has happened; that one then waits until the call has either ended, and taken down when, or gone back to sleep. So there
 * is always one thread that acts, and a script runs the same way each time. */
#ifndef NAI_PACKETDRILL_WORLD_H
#define NAI_PACKETDRILL_WORLD_H

#include "interface.h"
#include "socket.h"
#include "stack.h"

#include <pthread.h>

enum { DESCRIPTORS = 64, FRAMES = 1024, QUESTIONS = 8, TICK_US = 10, START_US = 1000000000, FOR_EVER_US = 300000000 };

struct descriptor {
    int fd; /* a real one, of /dev/null: packetdrill closes it by close(2), and no other has its number; 0 = free */
    int us; /* of the stack, or -1: not yet */
    bool listening, nonblocking, read_shut, told; /* told: the error that ended it */
    bool abortive;                                /* SO_LINGER of no seconds */
    uint16_t port;                                /* bound to */
    int mss, nodelay, cork, keepalive, user_timeout_ms, send_buffer, receive_buffer;
};

struct world {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t driver; /* packetdrill's main thread */
    uint64_t now_us;
    struct stack *stack; /* opened by the first listen() or connect(): scripts set sysctls before */
    struct stack_address address;
    struct descriptor descriptors[DESCRIPTORS];

    uint8_t building[WIRE_FRAME_MAX];
    struct frame {
        uint64_t at_us;
        uint32_t bytes;
        uint8_t data[WIRE_FRAME_MAX];
    } *sent; /* FRAMES of them, a ring */
    uint32_t sent_first, sent_count;
    uint32_t questions[QUESTIONS], question_count; /* addresses that ARP asks for */

    enum { NOBODY, ASLEEP, AWAKE, LEAVING } waiter;
    pthread_t waiter_thread;
    uint64_t waiter_until_us;
    pid_t finishing; /* the thread of the last call that was to block: packetdrill may not have taken its end down yet */
};

/* world.c: time, packets, waiting. The lock is held but in the first three. */
struct world *world_new(void);
void world_free(struct world *w);
void world_let_finish(struct world *w);
bool world_open_stack(struct world *w, uint32_t mss);
void world_settle(struct world *w); /* after whatever may have made the stack send */
void world_go_on(struct world *w, uint64_t until_us);
void world_packet(struct world *w, const void *packet, uint32_t bytes);
const struct frame *world_sent(struct world *w); /* the next packet sent, awaited if need be; NULL: none will be */
/* Until something has happened; false: it is that late. */
bool world_wait(struct world *w, uint64_t until_us);
void world_leave(struct world *w); /* a call that may have waited ends */
uint64_t world_clock(struct world *w);

/* options.c; what packetdrill asks getsockopt(2) for itself goes through world_of_process (preload.c). */
extern struct world *world_of_process;
struct descriptor *descriptor_of(struct world *w, int fd);
int option_get(struct world *w, struct descriptor *d, int level, int name, void *value, uint32_t *bytes); /* 0, -errno */
int option_set(struct world *w, struct descriptor *d, int level, int name, const void *value, uint32_t bytes);
void options_apply(struct world *w, const struct descriptor *d); /* to the stack's socket, once there is one */

#endif
