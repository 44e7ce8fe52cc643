/* userstack_link.h: two user-level stacks back to back, in virtual time. The link between them loses, delays, reorders,
 * duplicates and corrupts frames by a seed, so that every run can be had again. */
#ifndef NAI_USERSTACK_LINK_H
#define NAI_USERSTACK_LINK_H

#include "socket.h"
#include "stack.h"

enum { LINK_FRAMES = 8192 }; /* on their way at a time */

struct impairment {
    double loss, duplicate, reorder, corrupt; /* probability of each frame */
    uint32_t delay_us, reorder_us;            /* each way; and so much more for one that is overtaken */
    uint32_t frame_us;                        /* time on the wire of a frame: the rate; 0 = none */
    uint32_t queue;                           /* frames that wait for the wire; 0 = LINK_FRAMES */
};

struct flight {
    uint64_t arrives_us, order;
    uint32_t bytes;
    uint8_t to;
    uint8_t frame[WIRE_FRAME_MAX];
};

struct link;

struct end {
    struct link *link;
    struct stack *stack;
    uint8_t index;
    uint64_t free_us; /* when its wire is free */
    uint8_t building[WIRE_FRAME_MAX];
    bool refuse; /* the wire has no room */
    uint64_t sent, lost;
    /* Looks at a frame that this end sends; true: it is lost. NULL = none. */
    bool (*filter)(struct end *end, const uint8_t *frame, uint32_t bytes);
    /* Sees every frame that this end sends, lost or not, and every one that reaches it. NULL = none. */
    void (*observer)(struct end *end, const uint8_t *frame, uint32_t bytes);
};

struct link {
    struct impairment impairment;
    uint64_t random, now_us, order;
    uint32_t tick_ns;
    struct end ends[2];
    struct flight *flights;
    uint32_t *heap, heap_count, *unused, unused_count;
};

/* Ends 10.0.0.1 and 10.0.0.2. */
void link_open(struct link *link, const struct stack_limits limits[2], const struct impairment *impairment, uint64_t seed);
void link_close(struct link *link);
/* The next thing that happens, a frame's arrival or a timer; false if it would be later than `until_us`: it is then that
 * late, and nothing happened. */
bool link_step(struct link *link, uint64_t until_us);
void link_run(struct link *link, uint64_t for_us);
uint64_t link_random(struct link *link);
bool link_chance(struct link *link, double probability);

#endif
