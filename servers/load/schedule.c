#include "schedule.h"

#include <math.h>

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

void random_seed(struct random *r, uint64_t seed, uint64_t stream)
{
    uint64_t state = seed;
    state = splitmix64(&state) ^ stream; /* neighbouring seeds and streams must not overlap */
    for (int i = 0; i < 4; i++)
        r->state[i] = splitmix64(&state);
}

static uint64_t rotate_left(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

uint64_t random_bits(struct random *r)
{
    uint64_t *s = r->state;
    uint64_t result = rotate_left(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double random_unit(struct random *r)
{
    return ((double)(random_bits(r) >> 11) + 1) * 0x1p-53; /* never 0: its logarithm is taken */
}

uint64_t random_geometric(struct random *r, double mean)
{
    if (mean <= 1)
        return 1;
    return 1 + (uint64_t)(log(random_unit(r)) / log1p(-1 / mean)); /* inversion; at most about 37 * mean */
}

static void plan_next(struct schedule *s)
{
    if (s->arrivals == ARRIVALS_POISSON)
        s->offset_ns += -(long double)s->interval_ns * logl(random_unit(&s->random));
    else
        s->offset_ns = (long double)s->interval_ns * (long double)s->issued;
    s->next_ns = s->origin_ns + (uint64_t)llroundl(s->offset_ns);
}

void schedule_begin(struct schedule *s, enum arrivals arrivals, double starts_per_s, uint64_t origin_ns, uint64_t seed)
{
    *s = (struct schedule){.arrivals = arrivals, .interval_ns = 1e9 / starts_per_s, .origin_ns = origin_ns};
    random_seed(&s->random, seed, RANDOM_ARRIVALS);
    plan_next(s);
}

uint64_t schedule_take(struct schedule *s)
{
    uint64_t intended = s->next_ns;
    s->issued++;
    plan_next(s);
    return intended;
}
