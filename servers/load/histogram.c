#include "histogram.h"

#include <stdbool.h>

#define SUB_BUCKETS (1u << HISTOGRAM_SIGNIFICANT_BITS)

unsigned histogram_index(uint64_t value)
{
    if (value > HISTOGRAM_LARGEST)
        value = HISTOGRAM_LARGEST;
    if (value < SUB_BUCKETS)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SIGNIFICANT_BITS;
    return (shift + 1) * SUB_BUCKETS + (unsigned)(value >> shift) - SUB_BUCKETS;
}

uint64_t histogram_low(unsigned index)
{
    if (index < SUB_BUCKETS)
        return index;
    return (uint64_t)(SUB_BUCKETS + index % SUB_BUCKETS) << (index / SUB_BUCKETS - 1);
}

uint64_t histogram_mid(unsigned index)
{
    uint64_t width = index < SUB_BUCKETS ? 1 : UINT64_C(1) << (index / SUB_BUCKETS - 1);
    return histogram_low(index) + width / 2;
}

void histogram_record(struct histogram *h, uint64_t ns)
{
    h->observed_at[histogram_index(ns)]++;
    h->count++;
    h->sum += (double)ns;
    if (ns > h->max)
        h->max = ns;
}

static void add_bound(struct histogram *h, uint64_t bound_ns)
{
    h->censored_at[histogram_index(bound_ns)]++;
    if (bound_ns > h->max)
        h->max = bound_ns;
}

void histogram_censor(struct histogram *h, uint64_t bound_ns)
{
    add_bound(h, bound_ns);
    h->censored++;
}

void histogram_in_flight(struct histogram *h, uint64_t bound_ns)
{
    add_bound(h, bound_ns);
    h->in_flight++;
}

void histogram_add(struct histogram *h, const struct histogram *other)
{
    h->count += other->count;
    h->censored += other->censored;
    h->in_flight += other->in_flight;
    h->sum += other->sum;
    if (other->max > h->max)
        h->max = other->max;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        h->observed_at[i] += other->observed_at[i];
        h->censored_at[i] += other->censored_at[i];
    }
}

/* The product-limit estimate, bucket by bucket: of those still waiting when a bucket begins, its observed share is
 * answered in it; the censored leave afterwards (within one bucket, an answer comes before a bound, as is usual). */
struct survival {
    unsigned index; /* the bucket just passed */
    double before;  /* share that waits longer than the bucket's beginning ... */
    double after;   /* ... and longer than its end */
    uint64_t at_risk;
};

static struct survival survival_begin(const struct histogram *h)
{
    return (struct survival){.before = 1, .after = 1, .at_risk = h->count + h->censored + h->in_flight};
}

/* Pass the next non-empty bucket; false when none is left. */
static bool survival_next(const struct histogram *h, struct survival *s, unsigned *from)
{
    for (unsigned i = *from; i < HISTOGRAM_BUCKETS && s->at_risk > 0; i++) {
        uint64_t observed = h->observed_at[i], bounds = h->censored_at[i];
        if (observed + bounds == 0)
            continue;
        s->index = i;
        s->before = s->after;
        /* The last ones at risk: exactly none survive, whatever rounding says. */
        s->after = observed == s->at_risk ? 0 : s->before * (1 - (double)observed / (double)s->at_risk);
        s->at_risk -= observed + bounds;
        *from = i + 1;
        return true;
    }
    return false;
}

double histogram_quantile(const struct histogram *h, double q)
{
    struct survival s = survival_begin(h);
    unsigned from = 0;
    while (survival_next(h, &s, &from)) {
        if (s.after < s.before && 1 - s.after >= q - 1e-12) {
            double value = (double)histogram_mid(s.index);
            return value < (double)h->max ? value : (double)h->max;
        }
    }
    return (double)h->max;
}

double histogram_mean(const struct histogram *h)
{
    if (h->censored + h->in_flight == 0)
        return h->count ? h->sum / (double)h->count : 0;
    /* The area under the survival curve up to the largest time seen: each drop contributes its size times where it
     * lies, what never drops contributes the whole length. */
    struct survival s = survival_begin(h);
    unsigned from = 0;
    double mean = 0;
    while (survival_next(h, &s, &from))
        mean += (s.before - s.after) * (double)histogram_mid(s.index);
    return mean + s.after * (double)h->max;
}

void histogram_write_counts(const uint64_t counts[HISTOGRAM_BUCKETS], FILE *out)
{
    const char *separator = "[";
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (counts[i] > 0) {
            fprintf(out, "%s[%u,%llu]", separator, i, (unsigned long long)counts[i]);
            separator = ",";
        }
    }
    fputs(*separator == '[' ? "[]" : "]", out);
}
