/* mixes.c: the mixes, with places and deadlines drawn alike for whoever has its turn. */
#include "mixes.h"

uint64_t virtual_ms;
void *whose_turn;
struct turn turn;

static uint32_t draw(uint32_t below)
{
    turn.chance = turn.chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((turn.chance >> 32) * below >> 32);
}

static uint32_t any_ahead_ms(void)
{
    return turn.mix->least_ms + draw(turn.mix->most_ms - turn.mix->least_ms);
}

void expired(uint32_t i)
{
    turn.expiries++;
    if (turn.again)
        turn.subject->start(whose_turn, i, any_ahead_ms());
}

void start_all(void)
{
    for (uint32_t i = 0; i < turn.timers; i++)
        turn.subject->start(whose_turn, i, any_ahead_ms());
}

/* Every timer is re-armed once in 25 ms on average: what its connection receives. One in twenty is of a connection that
 * ends, and another that begins. */
static uint64_t run_tcp(uint64_t wanted)
{
    const uint32_t a_tick = turn.timers / 25 + 1;
    uint64_t done = 0;
    while (done < wanted) {
        for (uint32_t i = 0; i < a_tick; i++, done++) {
            const uint32_t place = draw(turn.timers), ahead_ms = any_ahead_ms();
            if (ahead_ms % 20 == 0) {
                turn.subject->cancel(whose_turn, place);
                turn.subject->start(whose_turn, place, ahead_ms);
            } else {
                turn.subject->rearm(whose_turn, place, ahead_ms);
            }
        }
        virtual_ms++;
        turn.subject->turn(whose_turn);
    }
    return done;
}

/* Whatever expires is started again: an operation is both. */
static uint64_t run_expiry(uint64_t wanted)
{
    const uint64_t before = turn.expiries;
    turn.again = true;
    while (turn.expiries - before < wanted) {
        virtual_ms++;
        turn.subject->turn(whose_turn);
    }
    turn.again = false;
    return turn.expiries - before;
}

/* One that was pending is cancelled, and started: an operation is both. */
static uint64_t run_cancel(uint64_t wanted)
{
    for (uint64_t done = 0; done < wanted; done++) {
        const uint32_t place = draw(turn.timers);
        turn.subject->cancel(whose_turn, place);
        turn.subject->start(whose_turn, place, any_ahead_ms());
    }
    return wanted;
}

static uint64_t run_rearm(uint64_t wanted)
{
    for (uint64_t done = 0; done < wanted; done++)
        turn.subject->rearm(whose_turn, draw(turn.timers), any_ahead_ms());
    return wanted;
}

/* All places once, in an order without a pattern that caches know, and without a table that would be in them: a linear
 * congruential sequence of full period (Knuth, 3.2.1.2, theorem A) over the next power of 2, less what is too large. */
struct walk {
    uint32_t at, mask;
};

static struct walk walk_begin(void)
{
    const uint32_t mask = turn.timers > 1 ? UINT32_MAX >> __builtin_clz(turn.timers - 1) : 0;
    return (struct walk){draw(turn.timers), mask};
}

static inline uint32_t walk_next(struct walk *walk)
{
    do
        walk->at = (walk->at * 1664525u + 1013904223u) & walk->mask;
    while (walk->at >= turn.timers);
    return walk->at;
}

static uint64_t run_start_only(uint64_t wanted)
{
    struct walk walk = walk_begin();
    (void)wanted;
    for (uint32_t i = 0; i < turn.timers; i++)
        turn.subject->start(whose_turn, walk_next(&walk), any_ahead_ms());
    return turn.timers;
}

static uint64_t run_cancel_only(uint64_t wanted)
{
    struct walk walk = walk_begin();
    (void)wanted;
    for (uint32_t i = 0; i < turn.timers; i++)
        turn.subject->cancel(whose_turn, walk_next(&walk));
    return turn.timers;
}

static void cancel_all(void)
{
    run_cancel_only(turn.timers);
}

const struct mix mixes[] = {
    {"tcp", "time-outs of connections: re-armed or cancelled, hardly one expires", 200, 1200, run_tcp, NULL, false},
    {"expiry", "all expire, and are started again", 1, 2000, run_expiry, NULL, true},
    {"cancel", "cancel and start, without turns of the loop", 200, 1200, run_cancel, NULL, false},
    {"rearm", "re-arm, without turns of the loop", 200, 1200, run_rearm, NULL, false},
    {"start-only", "start all, from none that is pending", 200, 1200, run_start_only, cancel_all, false},
    {"cancel-only", "cancel all, until none is pending", 200, 1200, run_cancel_only, start_all, false},
};
const size_t mix_count = sizeof mixes / sizeof *mixes;
