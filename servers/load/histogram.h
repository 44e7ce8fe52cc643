/* histogram.h: durations in nanoseconds, counted in buckets of constant relative width (HDR histogram).
 *
 * A value below 128 has a bucket of its own; above, every power of two is cut into 128 buckets (7 significant bits), so
 * a bucket is less than 1/128 = 0.8 % wide and its midpoint is within 0.4 % of every value in it:
 *     index(v) = v                                       v < 128
 *     index(v) = (s + 1) * 128 + (v >> s) - 128          otherwise, s = floor(log2 v) - 7
 *     low(i)   = i                                       i < 128
 *     low(i)   = (128 + i % 128) << (i / 128 - 1)        otherwise
 *
 * A request that timed out, or was unanswered when the measurement ended, has no latency but a lower bound of one: it
 * is *censored* there. Leaving such requests out makes an overloaded server look fast; counting the bound as if it were
 * the latency makes it look faster than it is. Quantiles and mean are therefore Kaplan and Meier's (1958) product-limit
 * estimates, which use exactly what is known; without censored values they are the ordinary ones.
 */
#ifndef NAI_HISTOGRAM_H
#define NAI_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_SIGNIFICANT_BITS 7
#define HISTOGRAM_LARGEST ((UINT64_C(1) << 42) - 1) /* 73 minutes; larger values are clipped to it */
#define HISTOGRAM_BUCKETS ((42 - 7 + 1) * 128)

struct histogram {
    uint64_t count;     /* observed values */
    uint64_t censored;  /* values known only to exceed a time-out */
    uint64_t in_flight; /* values known only to exceed their age at the end of the measurement */
    uint64_t max;       /* largest value or bound */
    double sum;         /* of the observed values */
    uint64_t observed_at[HISTOGRAM_BUCKETS];
    uint64_t censored_at[HISTOGRAM_BUCKETS]; /* both kinds of bounds */
};

unsigned histogram_index(uint64_t value);
uint64_t histogram_low(unsigned index); /* smallest value of a bucket */
uint64_t histogram_mid(unsigned index); /* the value that stands for a bucket */

void histogram_record(struct histogram *, uint64_t ns);
void histogram_censor(struct histogram *, uint64_t bound_ns);    /* timed out after bound_ns */
void histogram_in_flight(struct histogram *, uint64_t bound_ns); /* unanswered at the end, bound_ns old */
void histogram_add(struct histogram *, const struct histogram *other);

/* The q-quantile (0 < q <= 1), in ns. If more than 1-q of the values outlived all observation, the largest bound: the
 * quantile is then *at least* that. 0 if empty. */
double histogram_quantile(const struct histogram *, double q);
/* Mean, exact without censored values; with them, the mean restricted to the longest time observed. */
double histogram_mean(const struct histogram *);

/* Write as a JSON array of [index, count] of the non-empty buckets. */
void histogram_write_counts(const uint64_t counts[HISTOGRAM_BUCKETS], FILE *out);

#endif
