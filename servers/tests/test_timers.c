/* test_timers.c: what timers.h promises, of one facility: by examples, and against a model over random operations.
 *
 *     test_timers FACILITY [--operations N] [--seed N]
 *
 * The model is a plain array: all timers, each with its deadline, its due tick at the latest, and when it was started.
 */
#include "check.h"
#include "timers.h"

#include <stdlib.h>
#include <string.h>

#define TIMERS 300

static const char *facility;

struct watched {
    struct timer timer;
    /* the model's */
    bool pending, rearmed;
    uint64_t deadline, latest, started;
    unsigned expired;
};

static struct watched *watched_of(struct timer *timer)
{
    return (struct watched *)(void *)timer;
}

static uint64_t due_tick(const struct timers *timers, uint64_t deadline)
{
    deadline = timers_due(timers, deadline);
    if (timers->facility->granularity == NULL)
        return deadline;
    uint64_t granularity = timers->facility->granularity(deadline - timers->now);
    return (deadline + granularity - 1) & -granularity;
}

static struct timers *open_one(uint32_t capacity, uint64_t now)
{
    struct timers *timers = timers_open(facility, capacity, now);
    NEED(timers != NULL);
    return timers;
}

/* Examples */

static unsigned expired;
static struct timer *order[64];

static void note(struct timers *timers, struct timer *timer)
{
    (void)timers;
    if (expired < 64)
        order[expired] = timer;
    expired++;
}

static void test_one(uint64_t origin)
{
    struct timers *timers = open_one(4, origin);
    struct timer timer = {.expire = note};
    uint64_t tick;
    expired = 0;
    CHECK(!timers_next(timers, &tick), "nothing is pending");
    CHECK(!timers_cancel(timers, &timer), "it was not started");
    CHECK(timers_start(timers, &timer, origin + 10), "there is room");
    CHECK(timers_next(timers, &tick) && tick == origin + 10, "next is %llu", (unsigned long long)(tick - origin));
    CHECK(timers_advance(timers, origin + 9, 8) == 0 && timer_pending(&timer), "too early");
    CHECK(timers_advance(timers, origin + 10, 8) == 1 && expired == 1 && !timer_pending(&timer), "due");
    CHECK(timers_start(timers, &timer, origin + 1), "a deadline that has passed");
    CHECK(timers_advance(timers, origin + 10, 8) == 0, "is not due before the next tick");
    CHECK(timers_advance(timers, origin + 11, 8) == 1, "and is then");
    CHECK(timers_start(timers, &timer, origin + 20) && timers_cancel(timers, &timer), "cancelled");
    CHECK(timers_advance(timers, origin + 1000000, 8) == 0 && timers->count == 0, "does not expire");
    CHECK(timers_start(timers, &timer, origin + 1000010), "the clock jumps back");
    CHECK(timers_advance(timers, origin, 8) == 0, "nothing happens");
    timers_close(timers);
}

static void test_capacity(void)
{
    struct timers *timers = open_one(2, 0);
    struct timer some[3] = {{.expire = note}, {.expire = note}, {.expire = note}};
    CHECK(timers_start(timers, &some[0], 5) && timers_start(timers, &some[1], 5), "two");
    CHECK(!timers_start(timers, &some[2], 5) && !timer_pending(&some[2]), "a third is refused");
    CHECK(!timers_rearm(timers, &some[2], 5), "by rearm, too");
    CHECK(timers_rearm(timers, &some[0], 7), "one that is pending needs no room");
    CHECK(timers_cancel(timers, &some[1]) && timers_start(timers, &some[2], 6), "room again");
    CHECK(timers_advance(timers, 100, 8) == 2, "both");
    timers_close(timers);
}

static void test_order(void)
{
    struct timers *timers = open_one(64, 0);
    struct timer some[64];
    expired = 0;
    for (unsigned i = 0; i < 64; i++) { /* 16 deadlines, four times each, from the last to the first */
        some[i] = (struct timer){.expire = note};
        timers_start(timers, &some[i], 116 - i % 16);
    }
    CHECK(timers_advance(timers, 5000, 64) == 64, "all");
    for (unsigned i = 1; i < 64; i++) {
        bool later = order[i]->deadline > order[i - 1]->deadline;
        /* Within a granule a wheel does not sort. */
        if (timers->facility->granularity == NULL)
            CHECK(later || order[i]->deadline == order[i - 1]->deadline, "by deadline");
        CHECK(order[i]->deadline != order[i - 1]->deadline || order[i] > order[i - 1], "equals by start");
    }
    timers_close(timers);
}

static struct timer self, other;

static void again(struct timers *timers, struct timer *timer)
{
    expired++;
    timers_start(timers, timer, timers->now); /* has passed */
}

static void cancels_other(struct timers *timers, struct timer *timer)
{
    (void)timer;
    expired++;
    timers_cancel(timers, &other);
}

static void delays_other(struct timers *timers, struct timer *timer)
{
    (void)timer;
    expired++;
    timers_rearm(timers, &other, timers->now + 50);
}

static void test_within_expiry(void)
{
    struct timers *timers = open_one(4, 0);
    self = (struct timer){.expire = again};
    other = (struct timer){.expire = note};
    expired = 0;
    timers_start(timers, &self, 3);
    CHECK(timers_advance(timers, 1000, 100) == 1, "what an expiry starts waits for the next advance");
    CHECK(timers_advance(timers, 1000, 100) == 0, "to a later tick");
    CHECK(timers_advance(timers, 1001, 100) == 1, "then");
    timers_cancel(timers, &self);

    self.expire = cancels_other;
    timers_start(timers, &self, 1010);
    timers_start(timers, &other, 1010);
    expired = 0;
    CHECK(timers_advance(timers, 1010, 100) == 1 && expired == 1, "cancelled by one that was due with it");

    self.expire = delays_other;
    timers_start(timers, &self, 1020);
    timers_start(timers, &other, 1020);
    CHECK(timers_advance(timers, 1020, 100) == 1 && timer_pending(&other), "re-armed by one that was due with it");
    CHECK(timers_advance(timers, 1069, 100) == 0, "has its new deadline");
    CHECK(timers_advance(timers, 1070, 100) == 1, "and expires by it");
    timers_close(timers);
}

/* A million at once: batch after batch, none lost, and other work between. */
static void test_many_at_once(void)
{
    enum { MANY = 1000000, BATCH = 1000, AT = 4096 }; /* a tick of every granularity that is used */
    struct timers *timers = open_one(MANY, 0);
    struct timer *some = calloc(MANY, sizeof *some);
    NEED(some != NULL);
    for (unsigned i = 0; i < MANY; i++) {
        some[i].expire = note;
        timers_start(timers, &some[i], AT);
    }
    unsigned batches = 0;
    uint64_t tick;
    expired = 0;
    for (; timers_next(timers, &tick) && ticks_ahead(tick, AT) <= 0; batches++)
        CHECK(timers_advance(timers, AT, BATCH) <= BATCH, "no more than a batch");
    CHECK(expired == MANY && batches >= MANY / BATCH, "%u expired in %u batches", expired, batches);
    for (unsigned i = 0; i < MANY; i += 1000)
        CHECK(!timer_pending(&some[i]), "%u is pending still", i);
    free(some);
    timers_close(timers);
}

/* A wheel measures how far ahead a timer is from its last advance: one with a batch of none brings it up to date. */
static void test_after_pause(void)
{
    enum { PAUSE = 100000 };
    struct timers *timers = open_one(2, 0);
    struct timer early = {.expire = note}, late = {.expire = note};
    uint64_t tick;
    expired = 0;
    timers_start(timers, &early, 50);
    CHECK(timers_advance(timers, PAUSE, 0) == 0 && timer_pending(&early), "a batch of none expires none");
    CHECK(timers_next(timers, &tick) && ticks_ahead(tick, PAUSE) <= 0, "what was due is");
    timers_start(timers, &late, PAUSE + 10);
    CHECK(timers_advance(timers, PAUSE, 8) == 1 && !timer_pending(&early), "and expires in the next");
    CHECK(timers_advance(timers, PAUSE + 9, 8) == 0, "too early");
    CHECK(timers_advance(timers, PAUSE + 10, 8) == 1, "as exact as without a pause");
    timers_close(timers);
}

static void test_farthest(void)
{
    struct timers *timers = open_one(2, 7);
    struct timer near = {.expire = note}, far = {.expire = note};
    expired = 0;
    timers_start(timers, &far, 7 + TIMERS_FARTHEST - 1);
    timers_start(timers, &near, 7 + TIMERS_FARTHEST + 5);
    CHECK(timers_advance(timers, 8, 8) == 1 && !timer_pending(&near), "too far ahead counts as passed");
    CHECK(timers_advance(timers, 7 + TIMERS_FARTHEST / 2, 8) == 0, "halfway");
    CHECK(timers_advance(timers, 7 + TIMERS_FARTHEST + TIMERS_FARTHEST / 4, 8) == 1, "there");
    timers_close(timers);
}

/* Against the model */

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

static struct watched all[TIMERS];
static uint64_t starts, now;
static struct { /* last that expired in this advance, of those not re-armed */
    bool any;
    uint64_t latest, deadline, started;
} last;

/* Mostly near, as time-outs are; some far, some in the past. */
static uint64_t some_deadline(void)
{
    static const uint64_t ranges[] = {4, 64, 600, 5000, 50000, 3000000, UINT64_C(1) << 40, UINT64_C(1) << 61};
    if (draw(20) == 0)
        return now - draw(1000);
    return now + draw(ranges[draw(draw(4) == 0 ? 8 : 5)]);
}

static void modelled(struct timers *timers, struct watched *one, uint64_t deadline, bool rearmed)
{
    one->deadline = timers_due(timers, deadline);
    one->latest = due_tick(timers, deadline);
    one->started = starts++;
    one->rearmed = rearmed;
    one->pending = true;
}

static void operate(struct timers *timers, struct watched *one)
{
    uint64_t deadline = some_deadline();
    bool pending = one->pending;
    switch (draw(3)) {
    case 0:
        if (pending)
            return;
        modelled(timers, one, deadline, false);
        CHECK(timers_start(timers, &one->timer, deadline), "start");
        break;
    case 1:
        one->pending = false;
        CHECK(timers_cancel(timers, &one->timer) == pending, "cancel");
        break;
    default:
        modelled(timers, one, deadline, pending);
        CHECK(timers_rearm(timers, &one->timer, deadline), "rearm");
    }
}

static void expires(struct timers *timers, struct timer *timer)
{
    struct watched *one = watched_of(timer);
    CHECK(one->pending, "expired, but is not pending");
    CHECK(ticks_ahead(one->deadline, timers->now) <= 0, "expired %lld ticks early",
          (long long)ticks_ahead(one->deadline, timers->now));
    one->pending = false;
    one->expired++;
    if (!one->rearmed) {
        if (last.any)
            CHECK(ticks_ahead(one->latest, last.latest) >= 0, "out of order");
        if (last.any && one->latest == last.latest && one->deadline == last.deadline)
            CHECK(one->started > last.started, "equals out of order");
        last.any = true;
        last.latest = one->latest;
        last.deadline = one->deadline;
        last.started = one->started;
    }
    if (draw(3) == 0)
        operate(timers, &all[draw(TIMERS)]);
}

static void advance(struct timers *timers, size_t batch)
{
    static const uint64_t steps[] = {1, 2, 10, 63, 64, 600, 5000, 4096, 100000, UINT64_C(1) << 41};
    now += draw(50) == 0 ? -draw(100) : draw(steps[draw(draw(10) == 0 ? 10 : 6)]);
    uint64_t tick;
    bool any = timers_next(timers, &tick);
    if (ticks_ahead(now, timers->now) < 0)
        CHECK(timers_advance(timers, now, 0) == 0, "to an earlier tick");
    now = ticks_ahead(now, timers->now) > 0 ? now : timers->now;
    last.any = false;
    if (any && ticks_ahead(tick, now) > 0) {
        CHECK(timers_advance(timers, now, batch) == 0, "next() said that none is due");
        return;
    }
    size_t done = timers_advance(timers, now, batch);
    CHECK(done <= batch, "more than a batch");
    while (timers_next(timers, &tick) && ticks_ahead(tick, now) <= 0)
        timers_advance(timers, now, batch);
    unsigned pending = 0;
    for (unsigned i = 0; i < TIMERS; i++) {
        pending += all[i].pending;
        CHECK(!all[i].pending || ticks_ahead(all[i].latest, now) > 0, "missed by %lld ticks",
              (long long)ticks_ahead(now, all[i].latest));
        CHECK(timer_pending(&all[i].timer) == all[i].pending, "pending or not");
    }
    CHECK(timers->count == pending, "%u are counted, %u pending", timers->count, pending);
}

static void test_random(uint64_t operations, uint64_t seed, uint64_t origin)
{
    struct timers *timers = open_one(TIMERS, origin);
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    now = origin;
    memset(all, 0, sizeof all);
    for (unsigned i = 0; i < TIMERS; i++)
        all[i].timer.expire = expires;
    unsigned before = (unsigned)checks_failed;
    for (uint64_t i = 0; i < operations && (unsigned)checks_failed < before + 10; i++) {
        if (draw(16) == 0)
            advance(timers, 1 + draw(draw(2) == 0 ? 3 : 1000));
        else
            operate(timers, &all[draw(TIMERS)]);
    }
    unsigned total = 0;
    for (unsigned i = 0; i < TIMERS; i++)
        total += all[i].expired;
    CHECK(total > operations / 100, "only %u expired: the test tests little", total);
    timers_close(timers);
}

int main(int argc, char **argv)
{
    uint64_t operations = 300000, seed = 2004;
    facility = argc > 1 ? argv[1] : "wheel";
    for (int i = 2; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--operations") == 0)
            operations = value;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = value;
    }
    CHECK(timers_open("sundial", 1, 0) == NULL, "no such facility");
    test_one(0);
    test_one(UINT64_MAX - 5); /* wraps around */
    test_one(UINT64_C(1) << 63);
    test_capacity();
    test_order();
    test_within_expiry();
    test_farthest();
    test_after_pause();
    test_many_at_once();
    test_random(operations / 2, seed, 0);
    test_random(operations / 2, seed + 1, UINT64_MAX - 100000);
    return checks_failed > 0;
}
