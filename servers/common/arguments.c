/* arguments.c: command lines as tables. */
#include "arguments.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}

void arguments_print(const struct argument *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char left[80];
        snprintf(left, sizeof left, "--%s %s", table[i].name, table[i].value_name);
        printf("  %-36s %s\n", left, table[i].help);
    }
    printf("  %-36s %s\n", "--help", "this text");
}

static bool among(const char *text, const char *choices)
{
    size_t bytes = strlen(text);
    while (bytes > 0 && *choices != '\0') {
        size_t choice = strcspn(choices, "|");
        if (choice == bytes && memcmp(text, choices, bytes) == 0)
            return true;
        choices += choice + (choices[choice] == '|');
    }
    return false;
}

static void read_value(const struct argument *option, const char *text)
{
    char *end;
    errno = 0;
    switch (option->kind) {
    case ARGUMENT_CHOICE:
        if (!among(text, option->value_name))
            fail(2, "--%s: '%s' is not one of %s", option->name, text, option->value_name);
        /* fall through */
    case ARGUMENT_TEXT:
        *(const char **)option->value = text;
        return;
    case ARGUMENT_LIMIT:
        if (strcmp(text, "inf") == 0) {
            *(uint64_t *)option->value = UINT64_MAX;
            return;
        }
        /* fall through */
    case ARGUMENT_INTEGER: {
        bool digits = *text != '\0' && strspn(text, "0123456789") == strlen(text); /* strtoull would take "-1" */
        unsigned long long value = strtoull(text, &end, 10);
        if (!digits || errno != 0 || (double)value < option->low || (double)value > option->high)
            fail(2, "--%s: '%s' is not a whole number from %.0f to %.0f%s", option->name, text, option->low,
                 option->high, option->kind == ARGUMENT_LIMIT ? " or inf" : "");
        *(uint64_t *)option->value = value;
        return;
    }
    case ARGUMENT_NUMBER: {
        double value = strtod(text, &end);
        if (*text == '\0' || *end != '\0' || !isfinite(value) || value < option->low || value > option->high)
            fail(2, "--%s: '%s' is not a number from %g to %g", option->name, text, option->low, option->high);
        *(double *)option->value = value;
        return;
    }
    case ARGUMENT_FLAG:
        return;
    }
}

void arguments_read(int argc, char **argv, const char *usage, const struct argument *table, size_t count)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--help") == 0) {
            printf("%s\n\n", usage);
            arguments_print(table, count);
            exit(0);
        }
        if (strncmp(word, "--", 2) != 0)
            fail(2, "unexpected '%s' (see --help)", word);
        size_t name_bytes = strcspn(word + 2, "=");
        const struct argument *option = NULL;
        for (size_t k = 0; k < count && option == NULL; k++)
            if (strlen(table[k].name) == name_bytes && memcmp(table[k].name, word + 2, name_bytes) == 0)
                option = &table[k];
        if (option == NULL)
            fail(2, "unknown option '%.*s' (see --help)", (int)name_bytes + 2, word);
        const bool joined = word[2 + name_bytes] == '=';
        if (option->kind == ARGUMENT_FLAG) {
            if (joined)
                fail(2, "--%s takes no value", option->name);
            *(bool *)option->value = true;
            continue;
        }
        const char *value = joined ? word + 3 + name_bytes : i + 1 < argc ? argv[++i] : NULL;
        if (value == NULL)
            fail(2, "--%s needs a value: %s", option->name, option->value_name);
        read_value(option, value);
    }
}
