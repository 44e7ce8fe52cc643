/* test_histogram.c: bucket arithmetic, quantiles against a sorted list, product-limit estimates against hand counts. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "histogram.h"
#include "schedule.h"

#define VALUES 20000

static struct histogram h;

static void empty(void)
{
    memset(&h, 0, sizeof h);
}

static void buckets_tile_the_range(void)
{
    for (unsigned i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
        uint64_t low = histogram_low(i), next = histogram_low(i + 1);
        CHECK(histogram_index(low) == i && histogram_index(next - 1) == i && low < next);
        CHECK(histogram_mid(i) >= low && histogram_mid(i) < next);
        if (low >= 128)
            CHECK((double)(next - low) <= (double)low / 128);
    }
    CHECK(histogram_index(HISTOGRAM_LARGEST) == HISTOGRAM_BUCKETS - 1);
    CHECK(histogram_index(UINT64_MAX) == HISTOGRAM_BUCKETS - 1);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_match_a_sorted_list(void)
{
    static uint64_t values[VALUES];
    struct random r;
    random_seed(&r, 3, 0);
    empty();
    double sum = 0;
    for (int i = 0; i < VALUES; i++) {
        values[i] = (uint64_t)exp(random_unit(&r) * 25); /* log-uniform from 1 ns to 72 s */
        sum += (double)values[i];
        histogram_record(&h, values[i]);
    }
    qsort(values, VALUES, sizeof *values, ascending);
    CHECK(h.count == VALUES && h.max == values[VALUES - 1]);
    CHECK(fabs(histogram_mean(&h) / (sum / VALUES) - 1) < 1e-9);
    const double q[] = {.001, .1, .25, .5, .75, .9, .99, .999, 1};
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) {
        double exact = (double)values[(size_t)ceil(q[i] * VALUES - 1e-9) - 1];
        CHECK(fabs(histogram_quantile(&h, q[i]) - exact) <= exact * 0.01);
    }
}

static void nothing_gives_zero(void)
{
    empty();
    CHECK(histogram_quantile(&h, .5) == 0 && histogram_mean(&h) == 0);
}

static void censored_values_weigh_in(void)
{
    /* 60 answered after 10, 40 timed out at 1000: the median is known, the 90 % quantile only bounded. */
    empty();
    for (int i = 0; i < 60; i++)
        histogram_record(&h, 10);
    for (int i = 0; i < 40; i++)
        histogram_censor(&h, 1000);
    CHECK(h.count == 60 && h.censored == 40 && h.in_flight == 0);
    CHECK(histogram_quantile(&h, .5) == 10);
    CHECK(histogram_quantile(&h, .6) == 10);
    CHECK(histogram_quantile(&h, .9) == 1000);
    CHECK(fabs(histogram_mean(&h) - (.6 * 10 + .4 * 1000)) < 1e-6);

    /* Everything timed out: all that is known is the bound. */
    empty();
    histogram_censor(&h, 1000);
    CHECK(histogram_quantile(&h, .5) == 1000 && histogram_mean(&h) == 1000);
}

static void product_limit_by_hand(void)
{
    /* Answers at 1, 3 and 5; bounds at 2 and 4. S falls to 4/5, then by 1/3 to 8/15, then to 0. */
    empty();
    histogram_record(&h, 1);
    histogram_in_flight(&h, 2);
    histogram_record(&h, 3);
    histogram_in_flight(&h, 4);
    histogram_record(&h, 5);
    CHECK(histogram_quantile(&h, .2) == 1);
    CHECK(histogram_quantile(&h, .46) == 3);
    CHECK(histogram_quantile(&h, .47) == 5);
    CHECK(fabs(histogram_mean(&h) - (1 / 5. * 1 + 4 / 15. * 3 + 8 / 15. * 5)) < 1e-9);
}

static void young_requests_do_not_bias(void)
{
    /* Exponential answers of mean 1 ms, watched for a time that differs from request to request: ignoring the
     * unanswered would put the median near 0.4 ms. */
    struct random r;
    random_seed(&r, 5, 0);
    empty();
    for (int i = 0; i < 200000; i++) {
        double answer = -1e6 * log(random_unit(&r)), watched = 2e6 * random_unit(&r);
        if (answer <= watched)
            histogram_record(&h, (uint64_t)answer);
        else
            histogram_in_flight(&h, (uint64_t)watched);
    }
    CHECK(fabs(histogram_quantile(&h, .5) / (1e6 * log(2)) - 1) < .02);
}

static void a_sum_is_as_if_recorded_in_one(void)
{
    static struct histogram one, other;
    empty();
    for (uint64_t i = 0; i < 1000; i++) {
        histogram_record(i % 3 == 0 ? &one : &other, i * i);
        histogram_record(&h, i * i);
    }
    histogram_censor(&one, 5000000);
    histogram_censor(&h, 5000000);
    histogram_add(&one, &other);
    CHECK(memcmp(&one, &h, sizeof h) == 0);
}

static void counts_are_written_as_json(void)
{
    empty();
    char text[128] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    CHECK(out != NULL);
    histogram_write_counts(h.observed_at, out);
    histogram_record(&h, 5);
    histogram_record(&h, 5);
    histogram_record(&h, 128);
    histogram_write_counts(h.observed_at, out);
    fclose(out);
    CHECK(strcmp(text, "[][[5,2],[128,1]]") == 0);
}

int main(void)
{
    buckets_tile_the_range();
    quantiles_match_a_sorted_list();
    nothing_gives_zero();
    censored_values_weigh_in();
    product_limit_by_hand();
    young_requests_do_not_bias();
    a_sum_is_as_if_recorded_in_one();
    counts_are_written_as_json();
    return 0;
}
