/* arguments.h: command lines of clients and benches as tables: --name value, --name=value, --name, --help. What the
 * designs share is in options.h. */
#ifndef NAI_ARGUMENTS_H
#define NAI_ARGUMENTS_H

#include <stddef.h>

enum argument_kind {
    ARGUMENT_TEXT,    /* const char ** */
    ARGUMENT_CHOICE,  /* the same; value_name is "one|of|these" */
    ARGUMENT_INTEGER, /* uint64_t *, within [low, high] */
    ARGUMENT_LIMIT,   /* uint64_t *, the same or "inf" = UINT64_MAX */
    ARGUMENT_NUMBER,  /* double *, within [low, high] */
    ARGUMENT_FLAG,    /* bool *, takes no value */
};

struct argument {
    const char *name; /* without the dashes */
    enum argument_kind kind;
    void *value; /* written only if the option is given: holds the default before */
    double low, high;
    const char *value_name; /* as the help calls it */
    const char *help;
};

/* Reads the words after argv[0] into the table's values. Returns on success. --help prints `usage` and the table and
 * exits 0; anything unknown or malformed prints one line to stderr and exits 2. */
void arguments_read(int argc, char **argv, const char *usage, const struct argument *table, size_t count);
void arguments_print(const struct argument *table, size_t count);
/* One line "PROGRAM: message" to stderr, then exit(status): 2 for bad options, 1 for what the environment refuses. */
_Noreturn void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
