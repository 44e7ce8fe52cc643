/* quantiles.c: samples, sorted when somebody asks. */
#include "quantiles.h"

#include "arguments.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_AT_MOST 60
#define CUTS 8 /* of a power of two */

void samples_add(struct samples *samples, double value)
{
    if (samples->count == samples->room) {
        samples->room = samples->room > 0 ? 2 * samples->room : 4096;
        samples->values = realloc(samples->values, samples->room * sizeof *samples->values);
        if (samples->values == NULL)
            fail(1, "no memory for %zu samples", samples->room);
    }
    samples->values[samples->count++] = value;
}

void samples_free(struct samples *samples)
{
    free(samples->values);
    *samples = (struct samples){0};
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sort(struct samples *samples)
{
    for (size_t i = 1; i < samples->count; i++) {
        if (samples->values[i - 1] > samples->values[i]) {
            qsort(samples->values, samples->count, sizeof *samples->values, ascending);
            return;
        }
    }
}

double samples_quantile(struct samples *samples, double q)
{
    if (samples->count == 0)
        return NAN;
    sort(samples);
    double rank = ceil(q * (double)samples->count);
    size_t index = rank < 1 ? 0 : (size_t)rank - 1;
    return samples->values[index < samples->count ? index : samples->count - 1];
}

struct bucket {
    double bound; /* every value is below it */
    size_t count;
};

/* The end of the bucket in which a value lies: [2^k, 2^(k+1)) has CUTS buckets of equal width. */
static double bucket_bound(double value)
{
    if (value < CUTS)
        return floor(value) + 1;
    double width = exp2(floor(log2(value))) / CUTS;
    return (floor(value / width) + 1) * width;
}

void samples_write_histogram(struct samples *samples, FILE *out)
{
    sort(samples);
    struct bucket *buckets = calloc(samples->count + 1, sizeof *buckets);
    if (buckets == NULL)
        fail(1, "no memory for a histogram");
    size_t count = 0;
    for (size_t i = 0; i < samples->count; i++) {
        if (count == 0 || samples->values[i] >= buckets[count - 1].bound)
            buckets[count++].bound = bucket_bound(samples->values[i]);
        buckets[count - 1].count++;
    }
    while (count > BUCKETS_AT_MOST) {
        size_t least = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (buckets[i].count + buckets[i + 1].count < buckets[least].count + buckets[least + 1].count)
                least = i;
        buckets[least + 1].count += buckets[least].count;
        memmove(&buckets[least], &buckets[least + 1], (count - least - 1) * sizeof *buckets);
        count--;
    }
    fputc('[', out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s[%.0f,%zu]", i > 0 ? "," : "", buckets[i].bound, buckets[i].count);
    fputc(']', out);
    free(buckets);
}
