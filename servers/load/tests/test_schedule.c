/* test_schedule.c: uniform starts are exact, Poisson ones have the right mean and variance, seeds decide everything. */
#include <math.h>

#include "check.h"
#include "schedule.h"

static void uniform_is_exact(void)
{
    struct schedule s;
    schedule_begin(&s, ARRIVALS_UNIFORM, 30000, 1000, 1);
    for (uint64_t k = 0; k < 3000000; k++) { /* 100 s: a rounded interval of 33,333 ns would be 1 ms off */
        uint64_t exact_thirds = k * 100000;  /* k / 30000 s in thirds of a nanosecond */
        CHECK(s.next_ns == 1000 + (exact_thirds + 1) / 3);
        CHECK(schedule_take(&s) == 1000 + (exact_thirds + 1) / 3);
    }
    CHECK(s.issued == 3000000);
}

static void poisson_has_its_moments(void)
{
    enum { STARTS = 400000 };
    struct schedule s, again, other;
    schedule_begin(&s, ARRIVALS_POISSON, 10000, 0, 42);
    schedule_begin(&again, ARRIVALS_POISSON, 10000, 0, 42);
    schedule_begin(&other, ARRIVALS_POISSON, 10000, 0, 43);
    double sum = 0, squares = 0;
    uint64_t previous = 0, differing = 0;
    for (int i = 0; i < STARTS; i++) {
        uint64_t at = schedule_take(&s);
        CHECK(at >= previous && at == schedule_take(&again));
        differing += at != schedule_take(&other);
        double gap = (double)(at - previous);
        sum += gap;
        squares += gap * gap;
        previous = at;
    }
    double mean = sum / STARTS, variance = squares / STARTS - mean * mean;
    CHECK(fabs(mean / 1e5 - 1) < 4 / sqrt(STARTS));           /* four standard errors */
    CHECK(fabs(variance / 1e10 - 1) < 4 * sqrt(8. / STARTS)); /* an exponential's fourth moment */
    CHECK(differing > STARTS * 99 / 100);
}

static void random_numbers_are_uniform(void)
{
    struct random r;
    random_seed(&r, 9, RANDOM_FILES);
    uint64_t cells[64] = {0};
    for (int i = 0; i < 640000; i++) {
        double u = random_unit(&r);
        CHECK(u > 0 && u <= 1);
        cells[(int)ceil(u * 64) - 1]++;
    }
    double chi_square = 0;
    for (int i = 0; i < 64; i++)
        chi_square += pow((double)cells[i] - 10000, 2) / 10000;
    CHECK(chi_square < 63 + 4 * sqrt(2 * 63));
}

static void geometric_has_its_mean(void)
{
    struct random r;
    random_seed(&r, 11, RANDOM_SESSIONS);
    enum { DRAWS = 200000 };
    double sum = 0, ones = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint64_t n = random_geometric(&r, 7.2);
        CHECK(n >= 1);
        sum += (double)n;
        ones += n == 1;
    }
    CHECK(fabs(sum / DRAWS / 7.2 - 1) < .01);
    CHECK(fabs(ones / DRAWS * 7.2 - 1) < .05); /* P(1) = 1/mean */
    CHECK(random_geometric(&r, 1) == 1);
}

int main(void)
{
    uniform_is_exact();
    poisson_has_its_moments();
    random_numbers_are_uniform();
    geometric_has_its_mean();
    return 0;
}
