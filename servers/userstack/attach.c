#include "attachment.h"

#include <stdio.h>
#include <string.h>

static const struct attachment_kind *kind_of(const char *where)
{
    static const struct attachment_kind *const kinds[] = {&attach_packet, &attach_switch};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t word = strlen(kinds[i]->word);
        if (strncmp(where, kinds[i]->word, word) == 0 && where[word] == ':' && where[word + 1] != '\0')
            return kinds[i];
    }
    return NULL;
}

bool attach_known(const char *where) { return kind_of(where) != NULL; }

struct attachment *attach_open(const char *where, const struct stack_address *address, struct wire *wire, char *error,
                               size_t error_bytes)
{
    const struct attachment_kind *kind = kind_of(where);
    if (kind != NULL)
        return kind->open(where + strlen(kind->word) + 1, address, wire, error, error_bytes);
    snprintf(error, error_bytes, "%s: packet:INTERFACE or switch:SOCKET is needed", where);
    return NULL;
}

void attach_close(struct attachment *attachment) { attachment->kind->close(attachment); }

unsigned attach_receive(struct attachment *attachment, attach_take *take, void *receiver, unsigned batch)
{
    return attachment->kind->receive(attachment, take, receiver, batch);
}

void attach_flush(struct attachment *attachment) { attachment->kind->flush(attachment); }

void attach_wait(struct attachment *attachment, int64_t ns)
{
    attachment->kind->flush(attachment);
    attachment->kind->wait(attachment, ns, true);
}

void attach_sleep(struct attachment *attachment, int64_t ns) { attachment->kind->wait(attachment, ns, false); }

int attach_bell(const struct attachment *attachment) { return attachment->kind->bell(attachment); }

bool attach_rests(struct attachment *attachment) { return attachment->kind->rests(attachment); }

void attach_rouses(struct attachment *attachment) { attachment->kind->rouses(attachment); }

uint64_t attach_lost(const struct attachment *attachment) { return attachment->kind->lost(attachment); }

uint64_t attach_system_calls(const struct attachment *attachment) { return attachment->system_calls; }
