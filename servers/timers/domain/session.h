/* session.h: what a client and the timer domain share: one session each, and who says what to whom in it.
 *
 * A session is pages of its own, mapped by its client and the domain only. All that a client can do to a domain is to
 * write in them, and ring its bell; neither takes a lock, so one that dies, wherever it is, holds nobody up. A domain
 * keeps what it works with (which slot is in which heap, and where) in memory of its own, and reads a session as bytes
 * of anybody's: a deadline is any number, and beyond the slots that it counted itself it does not look. So a client can
 * lie about its own timers, and about nothing else.
 *
 *     word          who writes, and what it says
 *     deadline_ns   client: due then, 0 = not armed. Domain, by compare-and-swap to 0: expired, once and for all. So
 *                   one that is armed anew or cancelled meanwhile does not expire, and what is due is known from here
 *                   alone: a domain that dies after it leaves nothing behind that its successor would have to know
 *     changed, news client: a bit a slot whose deadline became earlier, and a bit a word of those; domain: clears them
 *     look_ns       domain: I shall look at your news when the first timer of that time or later is served, or before
 *     expired, due  domain: a bit a slot, and a bit a word of those; client: clears them. Hints where to look
 *     asleep        client: 1, wake me; domain: 0. A futex
 *     generation    domain: I am another, whose predecessor may have expired slots without a hint
 *
 * Three orders matter, and each is Dekker's: either side writes, then reads what the other writes, all by
 * sequentially consistent atomics (on x86 the write is a locked instruction, a full barrier), so not both can miss.
 *
 *     arming     client:  deadline, changed, news |= bit;  then  deadline < look_ns?  ring
 *                domain:  look_ns = later;                 then  news != 0?           look again before it sleeps
 *     sleeping   client:  asleep = 1;                      then  due != 0?            do not sleep
 *                domain:  due |= bit;                      then  asleep == 1?         wake
 *     expiring   client:  exchanges its deadline           domain:  compares and swaps it: one of them is first
 *
 * A later deadline, and none, are one store: the domain finds out when it comes to the earlier one, and puts the timer
 * where it belongs (lazy re-arming). Who was woken arms the next one, mostly, before the domain sleeps again or while
 * it does: the domain looks at it once more when it wakes anyway, and says so in look_ns: so a periodic timer
 * rings no bell, and costs the client one system call, the sleep.
 *
 * The header is mapped read-only by clients, by a seal that the kernel holds them to: accounts are the domain's word.
 */
#ifndef NAI_DOMAIN_SESSION_H
#define NAI_DOMAIN_SESSION_H

#include <stdatomic.h>
#include <stdint.h>

#define DOMAIN_SLOTS_MOST 4096u /* timers of a session: 64 words of 64 bits, and a word over them */
#define DOMAIN_WORDS 64u
#define DOMAIN_NEVER UINT64_MAX

struct domain_session {
    _Alignas(64) _Atomic uint64_t news;
    _Atomic uint64_t changed[DOMAIN_WORDS];
    _Alignas(64) _Atomic uint64_t look_ns;
    _Atomic uint64_t due;
    _Atomic uint64_t expired[DOMAIN_WORDS];
    _Alignas(64) _Atomic uint32_t asleep;
    _Atomic uint32_t generation;
    _Atomic uint64_t deadline_ns[];
};

/* What a client has cost so far. */
struct domain_account {
    _Atomic uint64_t operations; /* deadlines looked at */
    _Atomic uint64_t expiries, wakes, bells;
    _Atomic uint64_t mutes; /* times that its bell was rung too often, and not heard for a while */
    _Atomic uint64_t ns;    /* of the domain's time, by the clock: what interrupts it meanwhile is in it */
    _Atomic uint32_t known; /* it has rung once: before, nobody but the client touches its pages, nor pays for them */
};

struct domain_header {
    _Atomic uint32_t generation; /* domains that have begun here */
    uint32_t clients, slots;     /* slots of each */
    uint32_t limit;              /* deadlines of a client that are looked at in a turn */
    uint64_t slack_ns;           /* by which an expiry may wait for others */
    uint32_t plainly;            /* a system call a wake-up, even where one could do for all */
    _Atomic uint64_t turns, sleeps;
    _Atomic uint64_t own_ns; /* in turns, for no client in particular */
    struct domain_account accounts[];
};

#endif
