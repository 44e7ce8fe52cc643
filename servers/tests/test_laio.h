/* test_laio.h: what the random part and the directed part of test_laio share. */
#ifndef NAI_TEST_LAIO_H
#define NAI_TEST_LAIO_H

#include "laio.h"
#include "laio_operations.h"

struct settings {
    const char *engine, *watch; /* watch: of laio_options, or NULL */
    uint64_t operations, seed;
    unsigned in_progress;
};

/* What must be as before when the library is closed again. */
struct census {
    int descriptors, threads, children;
    pid_t caller; /* the kernel's thread */
};
struct census census_take(void);
/* Waits for threads that are joined but not gone yet. */
void census_check(const struct census *before, const char *after);

/* Opens the engine or ends the test; options.watch is that of the settings. */
struct laio *open_engine(const struct settings *settings, struct laio_options options);

/* Random operations through laio, so many from this id. Returns how many reads from pipes were lazy. */
uint64_t run_random(const char *engine, struct laio *laio, struct operations *operations, uint64_t first_id,
                    uint64_t count, const char *what);

/* Its loops, in this thread or several, of settings->operations in all. */
void check_random(const struct settings *settings);
/* Directed: test_laio_faults.c, test_laio_alike.c and test_laio_ends.c. */
void check_contract(const struct settings *settings);
void check_alike(const struct settings *settings);
void check_ends(const struct settings *settings);
bool is_lazy(const char *engine); /* in all that blocks */

/* With --aside: activation's watch is put aside, so that the next call finds it so (adaptive.c). */
void put_aside(struct laio *laio);

/* Signals whose handler does nothing but interrupt. */
void signals_start(void);
bool may_signal(const char *engine);
bool deed_signal(void *never_done);

#endif
