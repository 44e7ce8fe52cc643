/* keeper.h: the domain's own side: whose timers are due, in turns of bounded work.
 *
 * A turn visits each client that has news, or something due, at most twice (again after it has woken some), and each
 * time looks at no more than `limit` deadlines of it; what is left over is for the next turn, which follows at once. So
 * between a timer that is due and its client's wake-up lie at most the rest of one turn and one more: 4 visits to every
 * other client, of `limit` deadlines each, whatever it does. Of bells, too, one of each client is heard in a turn:
 * KEEPER_BELLS in a row, then one every KEEPER_BELL_NS; a client that rings all the time makes the domain wake up so
 * often, and no oftener.
 *
 * No system call but the bells' and the futex; the clock is the caller's.
 */
#ifndef NAI_DOMAIN_KEEPER_H
#define NAI_DOMAIN_KEEPER_H

#include "session.h"

#include <stdbool.h>
#include <stddef.h>

#define KEEPER_BELLS 8u
#define KEEPER_BELL_NS UINT64_C(100000)
#define KEEPER_PATIENCE 4u /* turns in which one that was woken is expected to arm again, without ringing */

struct keeper;

/* Takes over all that the sessions say, `bytes` apart: another domain may have been here before. NULL with errno. */
struct keeper *keeper_open(struct domain_header *header, void *sessions, size_t bytes, const int *bells,
                           uint64_t (*clock)(void));
void keeper_close(struct keeper *keeper);

/* A turn. Returns until when to sleep: not at all if that has passed; DOMAIN_NEVER: until a bell rings. */
uint64_t keeper_turn(struct keeper *keeper);
/* Sleep until then or a bell. Returns whether any rang. */
bool keeper_sleep(struct keeper *keeper, uint64_t until_ns);

#endif
