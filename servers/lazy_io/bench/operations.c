/* operations.c: the table, and one call with its clock around it. */
#include "operations.h"

#include "arguments.h"
#include "calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct operation_kind *const operation_kinds[] = {
    &operation_read,    &operation_write,   &operation_fsync, &operation_sendfile, &operation_open, &operation_stat,
    &operation_readdir, &operation_connect, &operation_pipe,  &operation_sleep,    NULL,
};

static const struct operation_kind *find_kind(const char *name)
{
    for (int i = 0; operation_kinds[i] != NULL; i++)
        if (strcmp(operation_kinds[i]->name, name) == 0)
            return operation_kinds[i];
    fail(2, "no operation %s (see --help)", name);
}

static const char *find_state(const struct operation_kind *kind, const char *state)
{
    if (state == NULL)
        return kind->states[0];
    for (int i = 0; i < STATES && kind->states[i] != NULL; i++)
        if (strcmp(kind->states[i], state) == 0)
            return kind->states[i];
    fail(2, "%s has no state %s (see --help)", kind->name, state);
}

bool operation_open_kind(struct bench *bench, struct operation *operation, const char *name)
{
    const struct operation_kind *kind = find_kind(name);
    *operation = (struct operation){
        .kind = kind, .bench = bench, .state = find_state(kind, bench->options.state), .near = -1, .far = -1,
        .listener = -1, .number = kind->number, .tree = {.root = -1, .drop = -1}};
    operation->bytes = kind->bytes > 1 && bench->options.bytes > 0 ? bench->options.bytes : kind->bytes;
    bench->options.state = operation->state;
    bench->options.bytes = operation->bytes;
    return kind->prepare(operation);
}

void operation_close(struct operation *operation)
{
    if (operation->kind == NULL)
        return;
    operation->kind->end(operation);
    free(operation->buffer);
    free(operation->generations);
    operation->buffer = NULL;
    operation->generations = NULL;
}

bool operation_is(const struct operation *operation, const char *state)
{
    return strcmp(operation->state, state) == 0;
}

void operation_call(struct operation *operation, long number, long a, long b, long c, long d, long e)
{
    operation->number = number;
    memcpy(operation->arguments, (long[6]){a, b, c, d, e, 0}, sizeof operation->arguments);
}

void operation_check(struct operation *operation, long result, const char *who)
{
    int error = errno;
    if (!operation->kind->right(operation, result))
        bench_wrong(operation->bench, "%s %s by %s: %ld%s%s", operation->kind->name, operation->state, who, result,
                    result < 0 ? ": " : "", result < 0 ? strerror(error) : "");
}

struct timing operation_lazily(struct operation *operation)
{
    struct laio *laio = operation->bench->laio;
    const long *a = operation->arguments;
    operation->kind->ready(operation);
    if (operation->partner.started)
        partner_arm(&operation->partner);
    uint64_t cpu_before = cpu_ns();
    uint64_t begin = now_ns();
    long result = laio_call(laio, operation->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    uint64_t went_on = now_ns(), end = went_on;
    bool lazy = laio_gethandle(laio) != NULL;
    if (operation->partner.started && lazy)
        partner_tell(&operation->partner);
    else if (operation->partner.started)
        partner_disarm(&operation->partner);
    if (lazy) {
        result = bench_wait(operation->bench);
        end = now_ns();
    }
    uint64_t cpu = cpu_ns() - cpu_before;
    operation_check(operation, result, operation->bench->options.engine);
    return (struct timing){.held_ns = went_on - begin, .total_ns = end - begin, .cpu_ns = cpu, .lazy = lazy};
}

struct timing operation_plainly(struct operation *operation)
{
    const long *a = operation->arguments;
    operation->kind->ready(operation);
    if (operation->partner.started)
        partner_arm(&operation->partner);
    uint64_t cpu_before = cpu_ns();
    uint64_t begin = now_ns();
    long result = inlined_syscall(operation->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    uint64_t end = now_ns();
    uint64_t cpu = cpu_ns() - cpu_before;
    if (operation->partner.started)
        partner_disarm(&operation->partner);
    if ((unsigned long)result >= -4095ul) {
        errno = (int)-result;
        result = -1;
    }
    operation_check(operation, result, "a plain call");
    return (struct timing){.held_ns = end - begin, .total_ns = end - begin, .cpu_ns = cpu};
}

void operations_help(FILE *out)
{
    for (int i = 0; operation_kinds[i] != NULL; i++)
        print_operation(out, operation_kinds[i]->name, operation_kinds[i]->states, operation_kinds[i]->what);
}
