/* client.c: the client's side of a session: the order of its writes is what session.h states. */
#include "domain.h"

#include "clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t bit_of(uint32_t slot)
{
    return UINT64_C(1) << slot % 64;
}

void domain_client_open(struct domain_client *client, const struct domain *domain, uint32_t i)
{
    struct domain_session *session = (void *)((char *)domain->sessions + i * domain->bytes);
    *client = (struct domain_client){.session = session,
                                     .backup_ns = domain->options.slack_ns + DOMAIN_BACKUP_NS,
                                     .slots = domain->options.slots,
                                     .generation = atomic_load(&session->generation),
                                     .bell = domain->bells[i],
                                     .earliest_ns = DOMAIN_NEVER};
    /* A dead predecessor's timers are none of ours; and the domain's promises were made to it. */
    for (uint32_t k = 0; k < client->slots; k++)
        if (atomic_load(&session->deadline_ns[k]) != 0)
            atomic_store(&session->deadline_ns[k], 0);
    atomic_store(&session->look_ns, DOMAIN_NEVER);
    atomic_store(&session->asleep, 0);
}

static void ring(struct domain_client *client)
{
    const uint64_t once = 1;
    client->rung++;
    (void)!write(client->bell, &once, sizeof once);
}

bool domain_arm(struct domain_client *client, uint32_t slot, uint64_t deadline_ns)
{
    if (slot >= client->slots || deadline_ns == 0 || deadline_ns == DOMAIN_NEVER) {
        client->refused++;
        return false;
    }
    struct domain_session *session = client->session;
    client->armed_count += (client->armed[slot / 64] & bit_of(slot)) == 0;
    client->armed[slot / 64] |= bit_of(slot);
    if (deadline_ns < client->earliest_ns)
        client->earliest_ns = deadline_ns;
    const uint64_t before = atomic_exchange(&session->deadline_ns[slot], deadline_ns);
    if (before != 0 && before <= deadline_ns) /* the domain looks no later than then, or will by news that it has */
        return true;
    atomic_fetch_or(&session->changed[slot / 64], bit_of(slot));
    atomic_fetch_or(&session->news, UINT64_C(1) << slot / 64);
    if (deadline_ns < atomic_load(&session->look_ns))
        ring(client);
    return true;
}

static void forget(struct domain_client *client, uint32_t slot)
{
    client->armed[slot / 64] &= ~bit_of(slot);
    client->expired[slot / 64] &= ~bit_of(slot);
    if (--client->armed_count == 0)
        client->earliest_ns = DOMAIN_NEVER;
}

bool domain_cancel(struct domain_client *client, uint32_t slot)
{
    if (slot >= client->slots || (client->armed[slot / 64] & bit_of(slot)) == 0)
        return false;
    forget(client, slot);
    return atomic_exchange(&client->session->deadline_ns[slot], 0) != 0;
}

/* Look at what is armed itself, not at hints. With `take`, expire what has been due for so long that the domain must be
 * dead; either way, note what has expired. */
static void look_at_all(struct domain_client *client, bool take)
{
    const uint64_t now_ns = monotonic_ns();
    client->earliest_ns = DOMAIN_NEVER;
    for (uint32_t word = 0; word * 64 < client->slots; word++)
        for (uint64_t bits = client->armed[word]; bits != 0; bits &= bits - 1) {
            const uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(bits);
            uint64_t its = atomic_load(&client->session->deadline_ns[slot]);
            if (take && its != 0 && its <= now_ns) {
                client->backups++;
                /* Only the domain writes here besides, and only this. */
                atomic_compare_exchange_strong(&client->session->deadline_ns[slot], &its, 0);
                its = 0;
            }
            if (its == 0) {
                client->expired[word] |= bit_of(slot);
                client->expired_words |= UINT64_C(1) << word;
            } else if (its < client->earliest_ns) {
                client->earliest_ns = its;
            }
        }
}

/* Take the hints over. One may be of a timer that was cancelled or armed anew since. */
static void read_hints(struct domain_client *client)
{
    if (atomic_load(&client->session->due) == 0)
        return;
    uint64_t due = atomic_exchange(&client->session->due, 0);
    for (; due != 0; due &= due - 1) {
        const uint32_t word = (uint32_t)__builtin_ctzll(due);
        client->expired[word] |= atomic_exchange(&client->session->expired[word], 0) & client->armed[word];
        client->expired_words |= client->expired[word] != 0 ? UINT64_C(1) << word : 0;
    }
}

void domain_wait(struct domain_client *client)
{
    struct domain_session *session = client->session;
    /* The first deadline is known to lie no earlier: where it has been served since, this wakes once for nothing. */
    const uint64_t until_ns = client->earliest_ns + client->backup_ns;
    const struct timespec until = {(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
    const bool ends = until_ns > client->earliest_ns; /* one that is too far away is never */
    atomic_store(&session->asleep, 1);
    if (client->expired_words == 0 && atomic_load(&session->due) == 0 &&
        atomic_load(&session->generation) == client->generation) {
        const long result = syscall(SYS_futex, &session->asleep, FUTEX_WAIT_BITSET, 1, ends ? &until : NULL, NULL,
                                    FUTEX_BITSET_MATCH_ANY);
        if (result != 0 && errno == ETIMEDOUT)
            look_at_all(client, true);
    }
    atomic_store(&session->asleep, 0);
    const uint32_t generation = atomic_load(&session->generation);
    if (generation != client->generation) { /* what the last domain had expired, it may not have hinted at */
        client->generation = generation;
        look_at_all(client, false);
    }
}

bool domain_take(struct domain_client *client, uint32_t *slot)
{
    read_hints(client);
    for (; client->expired_words != 0; client->expired_words &= client->expired_words - 1) {
        const uint32_t word = (uint32_t)__builtin_ctzll(client->expired_words);
        while (client->expired[word] != 0) {
            *slot = word * 64 + (uint32_t)__builtin_ctzll(client->expired[word]);
            client->expired[word] &= client->expired[word] - 1;
            if (atomic_load(&client->session->deadline_ns[*slot]) != 0)
                continue;
            forget(client, *slot);
            return true;
        }
    }
    return false;
}
