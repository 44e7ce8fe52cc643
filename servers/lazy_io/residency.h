/* residency.h: is a range of a file in memory? */
#ifndef NAI_RESIDENCY_H
#define NAI_RESIDENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

struct residency;

struct residency *residency_open(void); /* NULL: no memory */
void residency_close(struct residency *residency);

/* false: it is not, or there is no telling. status: of the file, which is a regular one. offset: at least 0. */
bool residency_of(struct residency *residency, int file, const struct stat *status, off_t offset, size_t bytes);

#endif
