/* ward.c: a visit to a client: its news, then what is due of it. A heap over its slots. */
#include "ward.h"

#include <stdlib.h>

/* As timers.h has it: what lies farther away than it counts has passed. */
static bool is_ahead(uint64_t deadline_ns, uint64_t now_ns)
{
    return deadline_ns - now_ns - 1 < TIMERS_FARTHEST - 1;
}

static void expire_slot(struct timers *timers, struct timer *timer)
{
    struct node *node = (struct node *)(void *)timer;
    struct ward *ward = node->ward;
    const uint32_t slot = (uint32_t)(node - ward->nodes);
    _Atomic uint64_t *deadline = &ward->session->deadline_ns[slot];
    uint64_t its = atomic_load(deadline);
    account(&ward->account->operations, 1);
    do {
        if (its == 0) /* cancelled */
            return;
        if (is_ahead(its, ward->now_ns)) { /* re-armed lazily */
            timers_start(timers, timer, its);
            return;
        }
    } while (!atomic_compare_exchange_weak(deadline, &its, 0) && its != 0);
    if (its == 0)
        return;
    atomic_fetch_or(&ward->session->expired[slot / 64], UINT64_C(1) << slot % 64);
    atomic_fetch_or(&ward->session->due, UINT64_C(1) << slot / 64);
    account(&ward->account->expiries, 1);
    ward->woken = true;
}

static void take_news(struct ward *ward)
{
    const uint32_t slots = ward->slots;
    if (atomic_load(&ward->session->news) == 0)
        return;
    uint64_t news = atomic_exchange(&ward->session->news, 0);
    for (; news != 0; news &= news - 1) {
        const uint32_t word = (uint32_t)__builtin_ctzll(news);
        if (word * 64 >= slots) /* nobody's */
            break;
        const uint64_t valid = slots - word * 64 >= 64 ? UINT64_MAX : (UINT64_C(1) << slots % 64) - 1;
        ward->changed[word] |= atomic_exchange(&ward->session->changed[word], 0) & valid;
        ward->news |= ward->changed[word] != 0 ? UINT64_C(1) << word : 0;
    }
}

/* Look at slots that changed, `most` of them. Returns how many. */
static uint32_t settle(struct ward *ward, uint32_t most)
{
    uint32_t done = 0;
    take_news(ward);
    while (ward->news != 0 && done < most) {
        const uint32_t word = (uint32_t)__builtin_ctzll(ward->news);
        const uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(ward->changed[word]);
        ward->changed[word] &= ward->changed[word] - 1;
        if (ward->changed[word] == 0)
            ward->news &= ward->news - 1;
        const uint64_t deadline_ns = atomic_load(&ward->session->deadline_ns[slot]);
        if (deadline_ns == 0)
            timers_cancel(ward->timers, &ward->nodes[slot].timer);
        else
            timers_rearm(ward->timers, &ward->nodes[slot].timer, deadline_ns);
        done++;
    }
    account(&ward->account->operations, done);
    return done;
}

bool ward_visit(struct ward *ward, uint64_t now_ns, uint32_t limit, uint64_t *next_ns)
{
    ward->now_ns = now_ns;
    const uint32_t done = settle(ward, limit);
    if (done < limit)
        timers_advance(ward->timers, now_ns, limit - done);
    return timers_next(ward->timers, next_ns);
}

void ward_take_over(struct ward *ward, uint32_t generation)
{
    for (uint32_t k = 0; k < ward->slots; k++)
        ward->changed[k / 64] |= UINT64_C(1) << k % 64;
    ward->news = ward->slots > 63 * 64 ? UINT64_MAX : (UINT64_C(1) << (ward->slots + 63) / 64) - 1;
    atomic_store(&ward->session->generation, generation);
    ward->woken = true;
}

bool ward_open(struct ward *ward, uint32_t slots, uint64_t now_ns)
{
    ward->slots = slots;
    ward->timers = timers_open("heap", slots, now_ns);
    ward->nodes = calloc(slots, sizeof *ward->nodes);
    if (ward->timers == NULL || ward->nodes == NULL)
        return false;
    for (uint32_t k = 0; k < slots; k++)
        ward->nodes[k] = (struct node){.timer.expire = expire_slot, .ward = ward};
    return true;
}

void ward_close(struct ward *ward)
{
    if (ward->timers != NULL)
        timers_close(ward->timers);
    free(ward->nodes);
}
