/* schedule.h: when an open-loop generator intends to act, and the random numbers it draws.
 *
 * Everything is determined by the seed: two runs with the same arguments offer the same load.
 */
#ifndef NAI_SCHEDULE_H
#define NAI_SCHEDULE_H

#include <stdint.h>

/* xoshiro256++ (Blackman and Vigna 2019), seeded by splitmix64. `stream` separates independent uses of one seed. */
struct random {
    uint64_t state[4];
};
void random_seed(struct random *, uint64_t seed, uint64_t stream);
uint64_t random_bits(struct random *);
double random_unit(struct random *);                                   /* uniform in (0, 1] */
uint64_t random_geometric(struct random *, double mean);               /* 1, 2, 3, ...; mean >= 1 */
enum { RANDOM_ARRIVALS, RANDOM_FILES, RANDOM_SESSIONS, RANDOM_PORTS }; /* the streams in use */

enum arrivals { ARRIVALS_UNIFORM, ARRIVALS_POISSON };

struct schedule {
    enum arrivals arrivals;
    double interval_ns;    /* mean distance of two starts */
    uint64_t origin_ns;    /* time of the first uniform start */
    uint64_t issued;       /* starts passed so far */
    uint64_t next_ns;      /* intended time of the next start, always valid */
    long double offset_ns; /* Poisson: exact position of next_ns after the origin */
    struct random random;
};

void schedule_begin(struct schedule *, enum arrivals, double starts_per_s, uint64_t origin_ns, uint64_t seed);
/* Returns the intended time of the start that is due next, and moves on to its successor. Uniform start k lies at
 * origin + k/rate rounded to the nanosecond: the error of one does not add to the next. */
uint64_t schedule_take(struct schedule *);

#endif
