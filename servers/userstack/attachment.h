/* attachment.h: what a carrier of frames is to attach.c: one table of functions, in a file of its own. */
#ifndef NAI_ATTACHMENT_H
#define NAI_ATTACHMENT_H

#include "attach.h"

#include <stdbool.h>
#include <time.h>

struct attachment_kind {
    const char *word; /* before the colon of WHERE; `where` is what follows it */
    struct attachment *(*open)(const char *where, const struct stack_address *address, struct wire *wire, char *error,
                               size_t error_bytes);
    void (*close)(struct attachment *attachment);
    unsigned (*receive)(struct attachment *attachment, attach_take *take, void *receiver, unsigned batch);
    void (*flush)(struct attachment *attachment);
    /* Flushed. `alone`: no other thread has work to do meanwhile. */
    void (*wait)(struct attachment *attachment, int64_t ns, bool alone);
    uint64_t (*lost)(const struct attachment *attachment);
    int (*bell)(const struct attachment *attachment);
    bool (*rests)(struct attachment *attachment);
    void (*rouses)(struct attachment *attachment);
};
extern const struct attachment_kind attach_packet, attach_switch;

/* What every carrier's own structure begins with. */
struct attachment {
    const struct attachment_kind *kind;
    uint64_t system_calls; /* made to send, to wake and to wait */
};

/* A duration for ppoll(2) and its like; NULL for one below 0, which is for ever. */
static inline struct timespec *duration(struct timespec *room, int64_t ns)
{
    if (ns < 0)
        return NULL;
    *room = (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    return room;
}

#endif
