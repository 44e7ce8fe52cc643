/* rule.c: an impairment as it is written on the command line, and as it is reported. */
#include "fabric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POOL_USUAL = 16384, QUEUE_USUAL = 1000 };

struct key {
    const char *name;
    enum { END, SHARE, MICROSECONDS, WHOLE, WHOLE_32 } kind;
    size_t at;
    double low, high;
};

static const struct key keys[] = {
    {"from", END, offsetof(struct rule, from), 0, 0},
    {"to", END, offsetof(struct rule, to), 0, 0},
    {"loss", SHARE, offsetof(struct rule, loss), 0, 1},
    {"duplicate", SHARE, offsetof(struct rule, duplicate), 0, 1},
    {"corrupt", SHARE, offsetof(struct rule, corrupt), 0, 1},
    {"reorder", SHARE, offsetof(struct rule, reorder), 0, 1},
    {"delay-us", MICROSECONDS, offsetof(struct rule, delay_ns), 0, 1e8},
    {"jitter-us", MICROSECONDS, offsetof(struct rule, jitter_ns), 0, 1e8},
    {"reorder-us", MICROSECONDS, offsetof(struct rule, reorder_ns), 0, 1e8},
    {"rate-bps", WHOLE, offsetof(struct rule, rate_bps), 1000, 1e12},
    {"queue", WHOLE_32, offsetof(struct rule, queue_frames), 1, 1 << 20},
    {"queue-bytes", WHOLE, offsetof(struct rule, queue_bytes), WIRE_FRAME_MAX, 1e10},
    {"pool", WHOLE_32, offsetof(struct rule, pool_frames), 1, 1 << 18},
};

static bool parse_end(struct rule_end *end, const char *text)
{
    unsigned a, b, c, d;
    char rest;
    if (strcmp(text, "*") == 0) {
        *end = (struct rule_end){.kind = END_ANY};
    } else if (sscanf(text, "uplink%u%c", &a, &rest) == 1 && a < FABRIC_UPLINKS_MOST) {
        *end = (struct rule_end){END_UPLINK, a};
    } else if (sscanf(text, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &rest) == 4 && (a | b | c | d) < 256) {
        *end = (struct rule_end){END_ADDRESS, a << 24 | b << 16 | c << 8 | d};
    } else {
        return false;
    }
    return true;
}

static bool parse_value(struct rule *rule, const struct key *key, const char *text)
{
    char *end, *place = (char *)rule + key->at;
    if (key->kind == END)
        return parse_end((struct rule_end *)(void *)place, text);
    double value = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !isfinite(value) || value < key->low || value > key->high)
        return false;
    uint64_t whole = (uint64_t)value * (key->kind == MICROSECONDS ? 1000 : 1);
    uint32_t small = (uint32_t)whole;
    if (key->kind == SHARE)
        memcpy(place, &value, sizeof value);
    else if (key->kind == WHOLE_32)
        memcpy(place, &small, sizeof small);
    else
        memcpy(place, &whole, sizeof whole);
    return true;
}

int rule_parse(struct rule *rule, const char *text, char *error, size_t error_bytes)
{
    char copy[512], *rest = copy;
    *rule = (struct rule){.queue_frames = QUEUE_USUAL, .pool_frames = POOL_USUAL};
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        char *value = strchr(word, '=');
        const struct key *key = keys, *beyond = keys + sizeof keys / sizeof *keys;
        if (value != NULL)
            *value++ = '\0';
        while (key < beyond && strcmp(key->name, word) != 0)
            key++;
        if (key == beyond || value == NULL) {
            int n = snprintf(error, error_bytes, "--impair: '%s' is none of KEY=VALUE with", word);
            for (key = keys; key < beyond && n > 0 && (size_t)n < error_bytes; key++)
                n += snprintf(error + n, error_bytes - (size_t)n, " %s", key->name);
            return -1;
        }
        if (!parse_value(rule, key, value)) {
            if (key->kind == END)
                snprintf(error, error_bytes, "--impair: %s=%s: an address, uplink0 and so on, or * is needed", word, value);
            else
                snprintf(error, error_bytes, "--impair: %s=%s: a number from %g to %g is needed", word, value, key->low,
                         key->high);
            return -1;
        }
    }
    if (rule->jitter_ns > rule->delay_ns) {
        snprintf(error, error_bytes, "--impair: jitter-us is at most delay-us: no frame arrives before it leaves");
        return -1;
    }
    return 0;
}

static int end_name(char *out, size_t bytes, const struct rule_end *end)
{
    if (end->kind == END_ANY)
        return snprintf(out, bytes, "*");
    if (end->kind == END_UPLINK)
        return snprintf(out, bytes, "uplink%u", end->which);
    return snprintf(out, bytes, "%u.%u.%u.%u", end->which >> 24, end->which >> 16 & 255, end->which >> 8 & 255,
                    end->which & 255);
}

void rules_print(const struct fabric *f, FILE *out)
{
    for (uint32_t i = 0; i < f->rule_count; i++) {
        const struct rule *rule = &f->rules[i];
        char name[64];
        size_t n = (size_t)snprintf(name, sizeof name, "impair.%u.", i);
        n += (size_t)end_name(name + n, sizeof name - n, &rule->from);
        n += (size_t)snprintf(name + n, sizeof name - n, ">");
        end_name(name + n, sizeof name - n, &rule->to);
#define X(counter) fprintf(out, "%s.%s %llu\n", name, #counter, (unsigned long long)rule->counts.counter);
        RULE_COUNTERS(X)
#undef X
    }
}
