/* stack_options.h: how a program whose command line knows nothing of stacks is told of its own: by NAI_STACK.
 *
 *     NAI_STACK=attach=switch:/tmp/switch,address=10.0.0.2/24,tick-us=100,congestion=cubic
 *
 * `attach` is attach.h's word; what follows a comma in that is a key of its own here (`ports`). `attach` and `address`
 * are needed. Everything else that stack.h limits follows from `connections`: so many may be open at a time.
 * Where NAI_LEDGER names a file, what the stack has counted is in it when the program has ended, `key value` a line.
 */
#ifndef NAI_STACK_OPTIONS_H
#define NAI_STACK_OPTIONS_H

#include "stack.h"

struct stack_options {
    char attach[256];
    struct stack_address address;
    uint32_t connections; /* that callers may hold; the stack has more, for TIME-WAIT and half-open ones */
    struct stack_limits limits;
};

/* From the text; NULL is an unset variable. 0, or -1 with one line in *error that says what to do. */
int stack_options_read(struct stack_options *options, const char *text, char *error, size_t error_bytes);

#endif
