/* door.h: how stacks come to the switch and leave it, and how the switch sleeps. All that it waits for is in one epoll set:
 * who knocks, what guests say, bells, uplinks, signals. */
#ifndef NAI_SWITCH_DOOR_H
#define NAI_SWITCH_DOOR_H

#include "fabric.h"

struct door;

/* Listen at `path`. Blocks SIGTERM and SIGINT, which then end door_run(). NULL with one line in *error. */
struct door *door_open(struct fabric *fabric, const char *path, char *error, size_t error_bytes);
void door_close(struct door *door);
/* Turns of the fabric, with sleep between them when there is nothing to do, until a signal says to end or door_end() is
 * called (from any thread). `spin_ns`: it stays awake so long without a frame, if that pays (patience.h). */
void door_run(struct door *door, uint64_t spin_ns);
void door_end(struct door *door);
uint64_t door_sleeps(const struct door *door); /* so far; from any thread */

#endif
