/* quantiles.h: samples, what lies at which share of them, and how they are distributed. */
#ifndef NAI_BENCH_QUANTILES_H
#define NAI_BENCH_QUANTILES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct samples {
    double *values;
    size_t count, room;
};

void samples_add(struct samples *, double value);
void samples_free(struct samples *);
/* Sorts on demand: so pairs are to be divided before. The value below which a share q lies (nearest rank, so that it is
 * one that occurred); NAN if there are none. */
double samples_quantile(struct samples *, double q);
static inline double samples_median(struct samples *samples)
{
    return samples_quantile(samples, 0.5);
}

/* As a JSON array [[upper bound, count], …] of at most 60 buckets: each power of two is cut in eight, 7 to 12 % wide,
 * and where that gives more, neighbours that hold the fewest are put together. */
void samples_write_histogram(struct samples *, FILE *out);

#endif
