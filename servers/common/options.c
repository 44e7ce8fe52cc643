/* options.c: one table gives the parser, the defaults and --help. */
#include "options.h"

#include "bounds.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { ADDRESS, TEXT, NUMBER, LIMIT, CHOICE, WORD, FLAG }; /* CHOICE, WORD: the operand lists the words, a|b|c */

struct row {
    const char *name, *operand;
    enum kind kind;
    size_t offset;
    uint64_t low, high;
    const char *preset; /* the default; NULL = unset, "" = must be given */
    const char *help;
    enum options_extra extra;
};

#define AT(field) offsetof(struct options, field)

static const struct row rows[] = {
    {"listen", "ADDR:PORT", ADDRESS, AT(listen), 0, 0, "", "IPv4 address and port; port 0 takes a free one", 0},
    {"root", "DIR", TEXT, AT(root), 0, 0, "", "folder whose files are served", 0},
    {"backlog", "N", NUMBER, AT(backlog), 1, INT32_MAX, "128", "length of the accept queue, as given to listen(2)", 0},
    {"accept-limit", "N|inf", LIMIT, AT(accept_limit), 1, NO_LIMIT - 1, "inf",
     "most consecutive accepts in one accept phase", 0},
    {"work-us", "N", NUMBER, AT(work_us), 0, 10000000, "0", "CPU time burnt for every request, µs", 0},
    {"slow-us", "N", NUMBER, AT(slow_us), 0, 10000000, "1000", "CPU time burnt besides for a path under /slow/, µs", 0},
    {"slow-sleeps", NULL, FLAG, AT(slow_sleeps), 0, 0, NULL, "sleep for a path under /slow/ instead of burning CPU", 0},
    {"cpu", "N", NUMBER, AT(cpu), 0, 4095, NULL, "run on this CPU only", 0},
    {"congestion", "NAME", TEXT, AT(transport.congestion), 0, 0, NULL, "TCP congestion control, e.g. cubic", 0},
    {"counters", "FILE", TEXT, AT(counters), 0, 0, NULL, "keep live counters in this file, and time the phases", 0},
    {"header-timeout-ms", "N", NUMBER, AT(header_timeout_ms), 1, 86400000, "10000",
     "time a client has for a whole request", 0},
    {"idle-timeout-ms", "N", NUMBER, AT(idle_timeout_ms), 1, 86400000, "60000",
     "time between requests, or without progress in a reply", 0},
    {"max-connections", "N", NUMBER, AT(max_connections), 1, 1000000, "15000",
     "accepting pauses while this many are open", 0},
    {"defer-accept-s", "N", NUMBER, AT(defer_accept_s), 0, 3600, "0", "TCP_DEFER_ACCEPT in seconds, 0 = off", 0},
    {"file-cache-bytes", "N", NUMBER, AT(file_cache_bytes), 0, INT64_MAX, "67108864",
     "memory for small files; 0 keeps none there", 0},
    {"floor-bytes", "N", NUMBER, AT(floor_bytes), 0, 1 << 26, "1024", "length of the canned body", OPTIONS_FLOOR},
    {"close-after-reply", NULL, FLAG, AT(close_after_reply), 0, 0, NULL, "close the connection after the first reply",
     OPTIONS_FLOOR},
    {"defer-taskrun", "on|off", CHOICE, AT(no_defer_taskrun), 0, 0, "on",
     "run completions only when the loop asks for them (IORING_SETUP_DEFER_TASKRUN)", OPTIONS_RING},
    {"threads", "N", NUMBER, AT(threads), 1, 100000, "1000", "threads, each serving one connection at a time",
     OPTIONS_THREADS},
    {"workers", "N", NUMBER, AT(workers), 1, WORKERS_MAX, "1", "processes that serve", OPTIONS_WORKERS},
    {"sharing", "shared|exclusive|reuseport", CHOICE, AT(sharing), 0, 0, "shared",
     "one listener in every worker's epoll set, the same with EPOLLEXCLUSIVE, or a listener each", OPTIONS_WORKERS},
    {"engine", "NAME", TEXT, AT(engine), 0, 0, "activation", "how lazy calls are made, reads of files above all: an engine of lazy_io", OPTIONS_LAZY},
    {"network", "nonblocking|lazy", CHOICE, AT(network), 0, 0, "nonblocking",
     "sockets that do not block and epoll, or lazy calls throughout: --engine activation, uring, nowait or pool",
     OPTIONS_LAZY},
    {"reads", "lazy|begun", CHOICE, AT(reads), 0, 0, "lazy",
     "files are read as they are asked for; or begun first, and looked at again some turns later, while that pays: "
     "--engine activation, uring, nowait or plain",
     OPTIONS_LAZY},
    {"watch", "adaptive|perf|timer", WORD, AT(watch), 0, 0, NULL,
     "how the engine activation notices that a read blocks; unset, adaptive if perf can be had, else timer", OPTIONS_LAZY},
    {"lazy-threads", "N", NUMBER, AT(lazy_threads), 1, 4096, "64",
     "most threads that an engine makes calls with; --network lazy has 3 connections fewer (uring: 2045)", OPTIONS_LAZY},
    {"lazy-processes", "N", NUMBER, AT(lazy_processes), 1, 1024, "4",
     "processes of the engine amped, each of which waits for one call at a time", OPTIONS_LAZY},
};
#define ROWS (sizeof rows / sizeof rows[0])

static bool parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    if (*text < '0' || *text > '9') /* strtoull would take blanks and signs */
        return false;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *out = value;
    return errno == 0 && *end == '\0' && value >= low && value <= high;
}

/* The place of a word in a list like "on|off", or -1. */
static int choice(const char *words, const char *text)
{
    size_t bytes = strlen(text);
    for (int place = 0; *words != '\0'; place++) {
        size_t length = strcspn(words, "|");
        if (length == bytes && memcmp(words, text, bytes) == 0)
            return place;
        words += length + (words[length] == '|');
    }
    return -1;
}

/* Store the operand; false if it is not what the row wants. */
static bool store(const struct row *row, struct options *options, const char *text)
{
    void *field = (char *)options + row->offset;
    switch (row->kind) {
    case ADDRESS:
        return tp_parse_address(text, field) == 0;
    case TEXT:
        *(const char **)field = text;
        return *text != '\0';
    case LIMIT:
        if (strcmp(text, "inf") == 0 || strcmp(text, "Inf") == 0) {
            *(uint64_t *)field = NO_LIMIT;
            return true;
        }
        return parse_number(text, row->low, row->high, field);
    case NUMBER:
        return parse_number(text, row->low, row->high, field);
    case CHOICE: {
        int place = choice(row->operand, text);
        *(uint64_t *)field = place < 0 ? 0 : (uint64_t)place;
        return place >= 0;
    }
    case WORD:
        *(const char **)field = text;
        return choice(row->operand, text) >= 0;
    case FLAG:
        *(bool *)field = true;
        return true;
    }
    return false;
}

static void complain(const struct row *row, const char *design, const char *text, FILE *errors)
{
    fprintf(errors, "%s: --%s %s, not '%s'", design, row->name, row->operand, text);
    if (row->kind == NUMBER || row->kind == LIMIT)
        fprintf(errors, " (%llu to %llu)", (unsigned long long)row->low, (unsigned long long)row->high);
    fputs(row->kind == ADDRESS ? " (an IPv4 address and a port, e.g. 127.0.0.1:8080)\n" : "\n", errors);
}

static const char *preset(const struct row *row, enum options_extra extra)
{
    /* The original Knot accepts one connection a turn. With more all but the first wait: nobody should get that unasked. */
    if (extra == OPTIONS_THREADS && row->offset == AT(accept_limit))
        return "1";
    /* What is in the server's own memory is not read, lazily or otherwise. */
    if (extra == OPTIONS_LAZY && row->offset == AT(file_cache_bytes))
        return "0";
    return row->preset;
}

static bool optional(const struct row *row, enum options_extra extra)
{
    return row->preset == NULL || *row->preset != '\0' || (extra == OPTIONS_FLOOR && row->offset == AT(root));
}

static void help(const char *design, enum options_extra extra, FILE *out)
{
    fprintf(out, "usage: %s --listen ADDR:PORT%s [option ...]\n\n", design,
            extra == OPTIONS_FLOOR ? "" : " --root DIR");
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        if (row->extra != OPTIONS_SHARED && row->extra != extra)
            continue;
        char left[48];
        snprintf(left, sizeof left, "--%s %s", row->name, row->operand == NULL ? "" : row->operand);
        fprintf(out, "  %-26s %s", left, row->help);
        if (row->preset != NULL && *row->preset != '\0')
            fprintf(out, " (default %s)", preset(row, extra));
        fputs(optional(row, extra) ? "\n" : " (required)\n", out);
    }
    fprintf(out, "  %-26s %s\n\n", "--help", "this text");
    fprintf(out, "Also --option=value. Once it listens it prints one line, 'listening ADDR:PORT'.\n"
                 "SIGTERM or SIGINT: accept no more, finish the replies in progress, exit 0.\n"
                 "Exit status: 2 for a bad option, 1 if the environment refuses.\n");
}

static const struct row *find(const char *name, size_t bytes, enum options_extra extra)
{
    for (size_t i = 0; i < ROWS; i++)
        if ((rows[i].extra == OPTIONS_SHARED || rows[i].extra == extra) && strlen(rows[i].name) == bytes &&
            memcmp(rows[i].name, name, bytes) == 0)
            return &rows[i];
    return NULL;
}

int options_parse(struct options *options, const char *design, enum options_extra extra, int argc, char **argv,
                  FILE *out, FILE *errors)
{
    bool given[ROWS] = {false};
    memset(options, 0, sizeof *options);
    options->design = design;
    options->cpu = NO_LIMIT;
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].preset != NULL && *rows[i].preset != '\0')
            store(&rows[i], options, preset(&rows[i], extra));

    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            help(design, extra, out);
            return 0;
        }
        if (strncmp(word, "--", 2) != 0) {
            fprintf(errors, "%s: unexpected argument '%s' (see --help)\n", design, word);
            return 2;
        }
        const char *name = word + 2;
        size_t bytes = strcspn(name, "=");
        const char *operand = name[bytes] == '=' ? name + bytes + 1 : NULL;
        const struct row *row = find(name, bytes, extra);
        if (row == NULL) {
            fprintf(errors, "%s: unknown option '%s' (see --help)\n", design, word);
            return 2;
        }
        if (row->kind == FLAG && operand != NULL) {
            fprintf(errors, "%s: --%s takes no value\n", design, row->name);
            return 2;
        }
        if (row->kind != FLAG && operand == NULL) {
            if (i + 1 == argc) {
                fprintf(errors, "%s: --%s needs a value, %s\n", design, row->name, row->operand);
                return 2;
            }
            operand = argv[++i];
        }
        if (!store(row, options, operand)) {
            complain(row, design, operand, errors);
            return 2;
        }
        given[row - rows] = true;
    }
    for (size_t i = 0; i < ROWS; i++)
        if (!given[i] && (rows[i].extra == OPTIONS_SHARED || rows[i].extra == extra) && !optional(&rows[i], extra)) {
            fprintf(errors, "%s: --%s %s is required (see --help)\n", design, rows[i].name, rows[i].operand);
            return 2;
        }
    options->transport.backlog = (int)options->backlog;
    options->transport.defer_accept_s = (int)options->defer_accept_s;
    return -1;
}
