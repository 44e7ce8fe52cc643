/* check.h: the whole test framework. A failed check prints where and what, and the test goes on. */
#ifndef NAI_CHECK_H
#define NAI_CHECK_H

#include <stdbool.h>
#include <stdio.h>

extern int checks_failed;

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            checks_failed++;                                                                                           \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                            \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
        }                                                                                                              \
    } while (0)

/* A check without which the rest makes no sense. */
#define NEED(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: cannot go on\n", __FILE__, __LINE__, #condition);                              \
            perror("errno");                                                                                           \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
