/* arguments.h: the command line as a table: --name value, --name=value, --name. */
#ifndef NAI_BENCH_ARGUMENTS_H
#define NAI_BENCH_ARGUMENTS_H

#include <stddef.h>
#include <stdio.h>

#define STATES 3 /* most that an operation has */

enum argument_kind {
    ARGUMENT_TEXT,    /* const char ** */
    ARGUMENT_CHOICE,  /* the same; value_name is "one|of|these" */
    ARGUMENT_INTEGER, /* uint64_t *, within [low, high] */
    ARGUMENT_NUMBER,  /* double *, the same */
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

/* Reads the words after the first `from` of argv into the table's values. What is unknown or malformed: one line on
 * stderr, exit 2. */
void arguments_read(int argc, char **argv, int from, const struct argument *table, size_t count);
void print_operation(FILE *out, const char *name, const char *const states[], const char *what); /* for the help */
void arguments_print(const struct argument *table, size_t count);
/* One line "lazybench: message" on stderr, then exit(status): 1 = the environment refuses, 2 = a bad option, 3 = the
 * engine refuses. */
_Noreturn void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
