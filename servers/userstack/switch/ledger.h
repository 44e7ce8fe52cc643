/* ledger.h: what each port of the switch has cost, and what became of its frames: one block of counters a port.
 *
 * "in" is into the switch. What is dropped before a receiver is found, and by impairments, is charged to who sent it; what
 * a receiver has no room for, to the receiver. Time is that of the turns in which a port's frames were moved, by the clock:
 * if the switch is interrupted meanwhile, that is in it.
 *
 * The blocks lie in memory that can be read while the switch runs (--counters), in the layout of common/counters.h: magic
 * "NAICNT01", number of records, records of name and value.
 */
#ifndef NAI_SWITCH_LEDGER_H
#define NAI_SWITCH_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LEDGER_LIST(X)                                                                                                 \
    X(ip)              /* whose it is; 0: an uplink's, of which `low` is the number */                                 \
    X(low)                                                                                                             \
    X(high)                                                                                                            \
    X(frames_in)                                                                                                       \
    X(bytes_in)                                                                                                        \
    X(frames_out)                                                                                                      \
    X(bytes_out)                                                                                                       \
    X(cpu_ns)                                                                                                          \
    X(batches)         /* turns with frames from it */                                                                 \
    X(bells_in)        /* it woke the switch */                                                                        \
    X(bells_out)       /* the switch woke it */                                                                        \
    X(bells_muted)     /* times that its bell was not heard for a while: it had rung for nothing, again and again */   \
    X(flooded)         /* frames for several ports */                                                                  \
    X(drop_malformed)  /* no length, or no header, of a frame */                                                       \
    X(drop_spoofed)    /* not its own MAC, address or port in it */                                                    \
    X(drop_type)       /* of a stack: neither IPv4 nor ARP */                                                          \
    X(drop_unknown)    /* nobody has that address */                                                                   \
    X(drop_no_port)    /* of those that share the address, nobody has that port */                                     \
    X(drop_fragment)   /* of or to a shared address: has no port */                                                    \
    X(drop_flood)      /* for several ports, too many a second */                                                      \
    X(drop_ring_full)  /* the receiver's ring, that of this port */                                                    \
    X(drop_carrier)    /* the kernel would not take it, of an uplink */                                                \
    X(drop_missed)     /* the switch was too late to take it out of the kernel's ring, of an uplink */                 \
    X(drop_loss)       /* impairments, of frames that this port has sent, from here on */                              \
    X(drop_queue)      /* no room before a wire of limited rate */                                                     \
    X(drop_pool)       /* too many were on their way */                                                                \
    X(delayed)                                                                                                         \
    X(reordered)                                                                                                       \
    X(duplicated)                                                                                                      \
    X(corrupted)                                                                                                       \
    X(violations)      /* indices of its rings that made no sense: it was thrown out */

enum ledger_index {
#define X(name) LEDGER_##name,
    LEDGER_LIST(X)
#undef X
        LEDGER_COUNT
};

struct ledger {
    char magic[8];
    uint64_t count;
    struct ledger_entry {
        char name[24];
        uint64_t value;
    } entries[LEDGER_COUNT];
};

#define LEDGER_ADD(ledger, name, n) ((void)((ledger)->entries[LEDGER_##name].value += (n)))

/* Who it belongs to. */
struct ledger_owner {
    uint32_t ip;        /* 0: an uplink, whose number is `low` */
    uint16_t low, high; /* 0, 0: all ports */
};

struct ledgers {
    struct ledger *blocks; /* the last one sums up those that had to make room */
    uint32_t count;
    uint64_t *left; /* when its port was closed; 0: it is open, or was never used */
    uint64_t leaves;
};

/* In a file, or in private memory (NULL). -1 with errno. */
int ledgers_open(struct ledgers *ledgers, const char *file, uint32_t count);
void ledgers_close(struct ledgers *ledgers);
/* Who comes back goes on with the ledger that it left. At most `count` - 1 at a time. */
struct ledger *ledgers_take(struct ledgers *ledgers, const struct ledger_owner *owner);
void ledgers_leave(struct ledgers *ledgers, const struct ledger *ledger);
/* Lines "port.ADDRESS.NAME VALUE" of every port that there has been; what is 0 is left out, but for the first counters. */
void ledgers_print(const struct ledgers *ledgers, FILE *out);

#endif
