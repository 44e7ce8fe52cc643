/* domain.h: one process that owns the timers of many, and wakes one of them only when something of its own is due.
 *
 * Who makes it maps its memory, starts it, and forks the clients: descriptors and memory stay with that process, so a
 * domain that is killed can be started again, on the timers as they are. session.h says what is shared and in which
 * order it is written; keeper.h what the domain does with it, and how little one client can do to another.
 *
 * - A client has so many slots, a timer each, as were given to all at the beginning; beyond, arming is refused and
 *   counted. Its session's pages are first touched, and so paid for, by itself.
 * - None expires before its deadline (ns of CLOCK_MONOTONIC). The domain wakes its client by `slack_ns` later, and two
 *   turns (keeper.h), as long as it gets the CPU.
 * - Each expires once, unless it is cancelled or armed anew before: by what domain_arm() and domain_cancel() return, or
 *   before domain_take() gives it, never after.
 * - With the domain dead or stopped, a client wakes up DOMAIN_BACKUP_NS after its first deadline, and takes what is due
 *   by itself. A domain that is started again finds all deadlines, wakes all clients, and nothing is lost.
 * - A client that is dead costs one expiry a slot.
 */
#ifndef NAI_DOMAIN_H
#define NAI_DOMAIN_H

#include "session.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define DOMAIN_BACKUP_NS UINT64_C(100000000)

struct domain_options {
    uint32_t clients, slots; /* slots of each, 1 to DOMAIN_SLOTS_MOST */
    uint32_t limit;          /* deadlines of a client looked at in a turn; 0: 64 */
    uint64_t slack_ns;       /* by which a wake-up may wait for others to share the domain's with */
    bool plainly;            /* a system call a wake-up, even where one could do for all */
    int cpu;                 /* where it runs, best its clients' own: no interrupt then to wake them; -1: any */
};

struct domain {
    struct domain_options options;
    struct domain_header *header;
    void *sessions; /* `bytes` apart */
    size_t bytes;
    int header_file;
    int *bells; /* an eventfd a client */
    pid_t pid;  /* 0: not running */
};

/* Map the memory. NULL with errno: EINVAL, or what the machine refuses (EMFILE: ulimit -n). */
struct domain *domain_open(const struct domain_options *options);
/* Start it, for the first time or again. False with errno. It ends with the thread that calls this. */
bool domain_start(struct domain *domain);
/* End its process. */
void domain_stop(struct domain *domain);
/* And unmap. */
void domain_close(struct domain *domain);

/* The client's side: one thread at a time. */
struct domain_client {
    struct domain_session *session;
    uint64_t backup_ns; /* after its first deadline, it wakes up by itself */
    uint32_t slots, armed_count, generation;
    int bell;
    uint64_t armed[DOMAIN_WORDS];   /* a bit a slot */
    uint64_t expired[DOMAIN_WORDS]; /* seen, not taken yet */
    uint64_t expired_words;
    uint64_t earliest_ns; /* no deadline is before; DOMAIN_NEVER: there is none */
    uint64_t rung, refused, backups;
};

/* After a fork, become the i-th client: the domain's other memory and bells are gone from this process, for good. */
bool domain_isolate(struct domain *domain, uint32_t i);
/* As the i-th. One may follow another, which is dead. */
void domain_client_open(struct domain_client *client, const struct domain *domain, uint32_t i);

/* Arm a slot, or give it another deadline, neither 0 nor DOMAIN_NEVER. False: refused, as if there is no such slot. */
bool domain_arm(struct domain_client *client, uint32_t slot, uint64_t deadline_ns);
/* True if it had not expired. */
bool domain_cancel(struct domain_client *client, uint32_t slot);
/* Sleep until something may have expired, or a signal came. */
void domain_wait(struct domain_client *client);
/* One that expired, in no order; it is not armed any more. False: no more. */
bool domain_take(struct domain_client *client, uint32_t *slot);

#endif
