/* process.h: what a design asks of its process at the start, and how it is told to end. */
#ifndef NAI_PROCESS_H
#define NAI_PROCESS_H

#include "options.h"

/* Raise the descriptor limit and divide it between connections and files, pin to --cpu, ignore SIGPIPE, heed SIGTERM and
 * SIGINT, open the counters, take samples if asked for (sampler.h). Ends the process with status 1 and one line if the
 * environment refuses. */
void process_start(struct options *options);

/* Print "listening ADDR:PORT", the sign that connections are accepted from now on. */
void process_announce(int listener);

bool process_stopping(void); /* SIGTERM or SIGINT came */
void process_stop(void);     /* for who reads them from a signalfd: one did */

/* "DESIGN: cannot WHAT: reason of errno", exit status 1. */
_Noreturn void process_fail(const struct options *options, const char *what);

#endif
