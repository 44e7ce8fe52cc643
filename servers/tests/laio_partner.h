/* laio_partner.h: a thread that later does what a blocked operation waits for, and a guard against hanging. */
#ifndef NAI_LAIO_PARTNER_H
#define NAI_LAIO_PARTNER_H

#include <stdbool.h>
#include <stdint.h>

struct partner;

/* What is asked of the partner. Zero it before its first use. */
struct favour {
    struct favour *next;
    bool (*deed)(void *argument); /* returns whether it is done; until then it is called again. It must not block */
    void *argument;
    uint64_t due_ns;
    unsigned again_us;
    bool asked;
};

struct partner *partner_start(void);
void partner_stop(struct partner *partner);

/* In after_us, and every after_us until it is done. */
void partner_ask(struct partner *partner, struct favour *favour, bool (*deed)(void *argument), void *argument,
                 unsigned after_us);
/* Afterwards the partner does not touch it any more, done or not. */
void partner_settle(struct partner *partner, struct favour *favour);
bool partner_has_done(struct partner *partner, struct favour *favour);

/* The process ends with status 1 when nobody calls guard_saw() for GUARD_S: it says what was being done, and how far it
 * came, by a function that is told what the guard was told. */
#define GUARD_S 30
void guard_start(void);
void guard_saw(const char *what);
void guard_explain(void (*explain)(const void *argument), const void *argument);

uint64_t partner_now_ns(void);

#endif
