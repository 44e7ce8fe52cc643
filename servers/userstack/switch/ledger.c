#include "ledger.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void begin(struct ledger *ledger)
{
    static const char *const names[] = {
#define X(name) #name,
        LEDGER_LIST(X)
#undef X
    };
    memset(ledger, 0, sizeof *ledger);
    ledger->count = LEDGER_COUNT;
    for (int i = 0; i < LEDGER_COUNT; i++)
        strcpy(ledger->entries[i].name, names[i]);
    memcpy(ledger->magic, "NAICNT01", sizeof ledger->magic);
}

int ledgers_open(struct ledgers *ledgers, const char *name, uint32_t count)
{
    size_t bytes = count * sizeof(struct ledger);
    int file = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    if (name != NULL) {
        flags = MAP_SHARED;
        file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (file < 0 || ftruncate(file, (off_t)bytes) != 0)
            return -1;
    }
    *ledgers = (struct ledgers){.count = count, .left = calloc(count, sizeof(uint64_t))};
    ledgers->blocks = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
    if (file >= 0)
        close(file);
    if (ledgers->left == NULL || ledgers->blocks == MAP_FAILED)
        return -1;
    for (uint32_t i = 0; i < count; i++)
        begin(&ledgers->blocks[i]);
    return 0;
}

void ledgers_close(struct ledgers *ledgers)
{
    munmap(ledgers->blocks, ledgers->count * sizeof(struct ledger));
    free(ledgers->left);
}

static bool used(const struct ledger *ledger)
{
    return ledger->entries[LEDGER_ip].value != 0 || ledger->entries[LEDGER_high].value != 0;
}

static bool belongs(const struct ledger *ledger, const struct ledger_owner *owner)
{
    return ledger->entries[LEDGER_ip].value == owner->ip && ledger->entries[LEDGER_low].value == owner->low &&
           ledger->entries[LEDGER_high].value == owner->high;
}

/* The one that was left longest ago makes room. */
static struct ledger *make_room(struct ledgers *ledgers)
{
    uint32_t oldest = 0;
    struct ledger *others = &ledgers->blocks[ledgers->count - 1];
    for (uint32_t i = 1; i < ledgers->count - 1; i++)
        if (ledgers->left[oldest] == 0 || (ledgers->left[i] != 0 && ledgers->left[i] < ledgers->left[oldest]))
            oldest = i;
    for (int i = LEDGER_frames_in; i < LEDGER_COUNT; i++)
        others->entries[i].value += ledgers->blocks[oldest].entries[i].value;
    begin(&ledgers->blocks[oldest]);
    return &ledgers->blocks[oldest];
}

struct ledger *ledgers_take(struct ledgers *ledgers, const struct ledger_owner *owner)
{
    struct ledger *found = NULL, *unused = NULL;
    for (uint32_t i = 0; i < ledgers->count - 1 && found == NULL; i++) {
        struct ledger *block = &ledgers->blocks[i];
        if (ledgers->left[i] != 0 && belongs(block, owner))
            found = block;
        else if (unused == NULL && !used(block))
            unused = block;
    }
    if (found == NULL)
        found = unused != NULL ? unused : make_room(ledgers);
    found->entries[LEDGER_ip].value = owner->ip;
    found->entries[LEDGER_low].value = owner->low;
    found->entries[LEDGER_high].value = owner->ip == 0 ? UINT16_MAX : owner->high;
    ledgers->left[found - ledgers->blocks] = 0;
    return found;
}

void ledgers_leave(struct ledgers *ledgers, const struct ledger *ledger)
{
    ledgers->left[ledger - ledgers->blocks] = ++ledgers->leaves;
}

static void print(const struct ledger *ledger, const char *name, FILE *out)
{
    for (int i = LEDGER_frames_in; i < LEDGER_COUNT; i++)
        if (i <= LEDGER_cpu_ns || ledger->entries[i].value != 0)
            fprintf(out, "port.%s.%s %llu\n", name, ledger->entries[i].name,
                    (unsigned long long)ledger->entries[i].value);
}

void ledgers_print(const struct ledgers *ledgers, FILE *out)
{
    char name[48];
    for (uint32_t i = 0; i < ledgers->count - 1; i++) {
        const struct ledger *ledger = &ledgers->blocks[i];
        uint32_t ip = (uint32_t)ledger->entries[LEDGER_ip].value, low = (uint32_t)ledger->entries[LEDGER_low].value;
        if (!used(ledger))
            continue;
        int n = 0;
        if (ip == 0)
            snprintf(name, sizeof name, "uplink%u", low);
        else
            n = snprintf(name, sizeof name, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
        if (ip != 0 && low != 0)
            snprintf(name + n, sizeof name - (size_t)n, ":%u-%u", low, (unsigned)ledger->entries[LEDGER_high].value);
        print(ledger, name, out);
    }
    if (ledgers->blocks[ledgers->count - 1].entries[LEDGER_frames_in].value != 0)
        print(&ledgers->blocks[ledgers->count - 1], "others", out);
}
