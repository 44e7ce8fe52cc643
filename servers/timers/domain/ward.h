/* ward.h: one client as the domain sees it: what it has taken from the session, in memory of its own. */
#ifndef NAI_DOMAIN_WARD_H
#define NAI_DOMAIN_WARD_H

#include "session.h"
#include "timers.h"

struct node { /* a slot */
    struct timer timer;
    struct ward *ward;
};

struct ward {
    struct timer timer; /* the keeper's: when to visit it */
    struct keeper *keeper;
    struct domain_session *session;
    struct domain_account *account;
    struct timers *timers; /* over its slots */
    struct node *nodes;
    uint64_t now_ns; /* of the visit */
    uint32_t slots;
    uint32_t patience;
    bool queued, attended;
    bool woken;                           /* something has expired: it is to be */
    uint64_t news, changed[DOMAIN_WORDS]; /* taken from the session, not looked at yet */
    uint64_t bells_at_ns, muted_until_ns;
    uint32_t bells; /* that it may ring still */
    int bell;
};

/* A client's counter; the domain alone writes it, so no locked instruction. */
static inline void account(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value, memory_order_relaxed);
}

/* One of that session; `account`, too, is set already. False: there is no memory. */
bool ward_open(struct ward *ward, uint32_t slots, uint64_t now_ns);
void ward_close(struct ward *ward);

/* After a predecessor: all slots may have changed, and some may have expired of which the client was not told. */
void ward_take_over(struct ward *ward, uint32_t generation);

/* Look at what has changed and at what is due, at `limit` deadlines at most. False: nothing is pending; else the next
 * is at *next_ns, which may be now. */
bool ward_visit(struct ward *ward, uint64_t now_ns, uint32_t limit, uint64_t *next_ns);

#endif
