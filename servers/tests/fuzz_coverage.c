#include "fuzz_coverage.h"

#include "fuzz.h"

#include <string.h>

/* The sanitizers watch the code under test; watching what it calls at every block would take a third of the time. */
#define UNWATCHED __attribute__((no_sanitize("address", "undefined")))

void __sanitizer_cov_trace_pc(void);

static uint8_t hits[COVERAGE_EDGES], seen[COVERAGE_EDGES];
static uint32_t hit[COVERAGE_EDGES], hit_count; /* which of hits are not 0: to look at all for every input takes longer */
static uintptr_t previous, previous_frame;

UNWATCHED void __sanitizer_cov_trace_pc(void)
{
    /* Relative to a function of the target, so that address randomisation does not change the run. */
    uintptr_t here = (uintptr_t)__builtin_return_address(0) - (uintptr_t)LLVMFuzzerTestOneInput;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0), from = frame == previous_frame ? previous >> 1 : 0;
    uint32_t edge = (uint32_t)((here ^ from) * 0x9E3779B97F4A7C15u >> 32) % COVERAGE_EDGES;
    if (hits[edge] == 0)
        hit[hit_count++] = edge;
    if (hits[edge] != UINT8_MAX)
        hits[edge]++;
    previous = here;
    previous_frame = frame;
}

void coverage_begin(void)
{
    previous = previous_frame = 0;
    while (hit_count > 0)
        hits[hit[--hit_count]] = 0;
}

/* 1, 2, 3, 4-7, 8-15, ...: how often matters only by its magnitude (as in AFL). */
static uint8_t magnitude(uint8_t n)
{
    return (uint8_t)(1u << (n < 4 ? n - 1 : n < 8 ? 3 : n < 16 ? 4 : n < 32 ? 5 : n < 128 ? 6 : 7));
}

UNWATCHED enum news coverage_news(uint32_t *edges)
{
    enum news found = NOTHING;
    for (uint32_t i = 0; i < hit_count; i++) {
        uint8_t *before = &seen[hit[i]], often = magnitude(hits[hit[i]]);
        if (*before & often)
            continue;
        if (*before == 0) {
            ++*edges;
            found = NEW_EDGE;
        } else if (found == NOTHING) {
            found = MORE_OFTEN;
        }
        *before |= often;
    }
    return found;
}

void coverage_forget(void) { memset(seen, 0, sizeof seen); }

uint32_t coverage_unseen(uint32_t *places)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < hit_count; i++)
        if (seen[hit[i]] == 0)
            places[count++] = hit[i];
    return count;
}

bool coverage_has(const uint32_t *places, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (hits[places[i]] == 0)
            return false;
    return true;
}
