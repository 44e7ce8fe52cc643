/* keeper.c: a turn of the domain. A heap over clients, by when to look at each; a heap a client, over its slots. */
#include "keeper.h"

#include "timers.h"
#include "waker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 64

struct ward;
struct node { /* a slot */
    struct timer timer;
    struct ward *ward;
};

struct ward { /* a client */
    struct timer timer; /* when to look at it */
    struct keeper *keeper;
    struct domain_session *session;
    struct domain_account *account;
    struct timers *timers;
    struct node *nodes;
    uint32_t patience;
    bool queued, attended, woken;
    uint64_t news, changed[DOMAIN_WORDS]; /* taken from the session, not looked at yet */
    uint64_t bells_at_ns, muted_until_ns;
    uint32_t bells; /* that it may ring still */
    int bell;
};

/* Rings of wards: each is in one at most once, so they are never full. */
struct queue {
    struct ward **wards;
    uint32_t first, count;
};

struct keeper {
    struct domain_header *header;
    uint64_t (*clock)(void);
    uint64_t now_ns;    /* of the turn */
    uint64_t charged_ns; /* up to here somebody was */
    struct timers *timers;
    struct queue ready, attended, muted, wakes;
    int epoll;
    struct waker waker;
    struct ward wards[];
};

static void push(struct keeper *keeper, struct queue *queue, struct ward *ward)
{
    queue->wards[(queue->first + queue->count++) % keeper->header->clients] = ward;
}

static struct ward *pop(struct keeper *keeper, struct queue *queue)
{
    struct ward *ward = queue->wards[queue->first];
    queue->first = (queue->first + 1) % keeper->header->clients;
    queue->count--;
    return ward;
}

static void add(_Atomic uint64_t *counter, uint64_t value) /* one writer: no locked instruction */
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + value, memory_order_relaxed);
}

static void charge(struct keeper *keeper, _Atomic uint64_t *account)
{
    const uint64_t now_ns = keeper->clock();
    add(account, now_ns - keeper->charged_ns);
    keeper->charged_ns = now_ns;
}

static void make_ready(struct ward *ward)
{
    if (!ward->queued)
        push(ward->keeper, &ward->keeper->ready, ward);
    ward->queued = true;
}

static void look_at_ward(struct timers *timers, struct timer *timer)
{
    (void)timers;
    make_ready((struct ward *)(void *)timer);
}

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
    add(&ward->account->operations, 1);
    do {
        if (its == 0) /* cancelled */
            return;
        if (is_ahead(its, ward->keeper->now_ns)) { /* re-armed lazily */
            timers_start(timers, timer, its);
            return;
        }
    } while (!atomic_compare_exchange_weak(deadline, &its, 0) && its != 0);
    if (its == 0)
        return;
    atomic_fetch_or(&ward->session->expired[slot / 64], UINT64_C(1) << slot % 64);
    atomic_fetch_or(&ward->session->due, UINT64_C(1) << slot / 64);
    add(&ward->account->expiries, 1);
    ward->woken = true;
}

static void take_news(struct ward *ward)
{
    const uint32_t slots = ward->keeper->header->slots;
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
    add(&ward->account->operations, done);
    return done;
}

/* Promise to look, and see whether there was news before the promise could be seen. */
static void promise(struct ward *ward, uint64_t look_ns)
{
    atomic_store(&ward->session->look_ns, look_ns);
    if (atomic_load(&ward->session->news) != 0)
        make_ready(ward);
}

static void attend(struct ward *ward)
{
    if (!ward->attended)
        push(ward->keeper, &ward->keeper->attended, ward);
    ward->attended = true;
    ward->patience = KEEPER_PATIENCE;
}

static void visit(struct keeper *keeper, struct ward *ward)
{
    uint64_t tick;
    ward->queued = false;
    uint32_t done = settle(ward, keeper->header->limit);
    if (done < keeper->header->limit)
        timers_advance(ward->timers, keeper->now_ns, keeper->header->limit - done);
    const bool any = timers_next(ward->timers, &tick);
    if (any)
        timers_rearm(keeper->timers, &ward->timer, tick);
    else
        timers_cancel(keeper->timers, &ward->timer);
    if (ward->news != 0 || (any && ticks_ahead(tick, keeper->now_ns) <= 0))
        make_ready(ward);
    if (ward->woken) {
        push(keeper, &keeper->wakes, ward);
        attend(ward);
    }
    if (!ward->attended)
        promise(ward, any ? tick : DOMAIN_NEVER);
    charge(keeper, &ward->account->ns);
}

/* Wake all whose timers expired; each is charged with its part of what that took. */
static void wake_all(struct keeper *keeper)
{
    struct queue *wakes = &keeper->wakes;
    const uint32_t count = wakes->count, first = wakes->first;
    for (uint32_t i = 0; i < count; i++) {
        struct ward *ward = pop(keeper, wakes);
        ward->woken = false;
        if (atomic_load(&ward->session->asleep) == 0)
            continue;
        atomic_store(&ward->session->asleep, 0);
        waker_add(&keeper->waker, &ward->session->asleep);
        add(&ward->account->wakes, 1);
    }
    waker_flush(&keeper->waker);
    if (count == 0)
        return;
    const uint64_t now_ns = keeper->clock(), each_ns = (now_ns - keeper->charged_ns) / count;
    for (uint32_t i = 0; i < count; i++)
        add(&wakes->wards[(first + i) % keeper->header->clients]->account->ns, each_ns);
    keeper->charged_ns = now_ns;
}

static void serve(struct keeper *keeper)
{
    for (uint32_t i = keeper->ready.count; i > 0; i--)
        visit(keeper, pop(keeper, &keeper->ready));
    wake_all(keeper); /* all are noted before the first runs, if that is here */
}

/* Those that were woken lately are looked at whenever the domain is awake, until they have armed again, or it was so
 * often that they are to ring. */
static void look_at_attended(struct keeper *keeper, uint32_t impatience)
{
    for (uint32_t i = keeper->attended.count; i > 0; i--) {
        struct ward *ward = pop(keeper, &keeper->attended);
        const bool news = atomic_load_explicit(&ward->session->news, memory_order_relaxed) != 0;
        if (news)
            make_ready(ward);
        ward->attended = !news && ward->patience >= impatience;
        ward->patience -= ward->attended ? impatience : 0;
        if (ward->attended)
            push(keeper, &keeper->attended, ward);
        else if (!ward->queued) /* else its visit does */
            promise(ward, timer_pending(&ward->timer) ? ward->timer.deadline : DOMAIN_NEVER);
    }
}

static void hear(struct keeper *keeper, struct ward *ward, bool hears)
{
    struct epoll_event event = {.events = hears ? EPOLLIN : 0, .data.ptr = ward};
    epoll_ctl(keeper->epoll, EPOLL_CTL_MOD, ward->bell, &event);
}

static void bell_rang(struct keeper *keeper, struct ward *ward)
{
    uint64_t times;
    (void)!read(ward->bell, &times, sizeof times);
    add(&ward->account->bells, 1);
    atomic_store_explicit(&ward->account->known, 1, memory_order_relaxed);
    make_ready(ward);
    const uint64_t now_ns = keeper->clock(), more = (now_ns - ward->bells_at_ns) / KEEPER_BELL_NS;
    if (more > 0) {
        ward->bells = more < KEEPER_BELLS - ward->bells ? ward->bells + (uint32_t)more : KEEPER_BELLS;
        ward->bells_at_ns = now_ns;
    }
    if (ward->bells > 0) {
        ward->bells--;
        return;
    }
    hear(keeper, ward, false);
    add(&ward->account->mutes, 1);
    ward->muted_until_ns = ward->bells_at_ns = now_ns + KEEPER_BELL_NS;
    push(keeper, &keeper->muted, ward); /* in the order of their ends */
}

void keeper_sleep(struct keeper *keeper, uint64_t until_ns)
{
    struct epoll_event events[EVENTS];
    const uint64_t now_ns = keeper->clock(), ns = until_ns > now_ns ? until_ns - now_ns : 0;
    const struct timespec most = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    if (ns > 0)
        add(&keeper->header->sleeps, 1);
    const long count = epoll_pwait2(keeper->epoll, events, EVENTS, until_ns != DOMAIN_NEVER ? &most : NULL, NULL);
    keeper->charged_ns = keeper->clock();
    for (long i = 0; i < count; i++) {
        struct ward *ward = events[i].data.ptr;
        bell_rang(keeper, ward);
        charge(keeper, &ward->account->ns);
    }
}

uint64_t keeper_turn(struct keeper *keeper)
{
    struct domain_header *header = keeper->header;
    keeper->now_ns = keeper->clock();
    add(&header->turns, 1);
    while (keeper->muted.count > 0 && keeper->muted.wards[keeper->muted.first]->muted_until_ns <= keeper->now_ns)
        hear(keeper, pop(keeper, &keeper->muted), true);
    timers_advance(keeper->timers, keeper->now_ns, header->clients);
    look_at_attended(keeper, 1);
    charge(keeper, &header->own_ns);
    serve(keeper);
    look_at_attended(keeper, 0); /* who ran in between, here or elsewhere, has armed again */
    serve(keeper);

    uint64_t next_ns = DOMAIN_NEVER;
    timers_next(keeper->timers, &next_ns);
    for (uint32_t i = 0; i < keeper->attended.count; i++)
        promise(keeper->attended.wards[(keeper->attended.first + i) % header->clients], next_ns);
    charge(keeper, &header->own_ns);
    if (keeper->ready.count > 0)
        return 0;
    const uint64_t due_ns = next_ns == DOMAIN_NEVER ? next_ns : next_ns + header->slack_ns;
    const uint64_t hear_ns =
        keeper->muted.count > 0 ? keeper->muted.wards[keeper->muted.first]->muted_until_ns : DOMAIN_NEVER;
    return due_ns < hear_ns ? due_ns : hear_ns;
}

static bool prepare_ward(struct keeper *keeper, uint32_t i, struct domain_session *session, int bell)
{
    const struct domain_header *header = keeper->header;
    struct ward *ward = &keeper->wards[i];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = ward};
    ward->timer.expire = look_at_ward;
    ward->keeper = keeper;
    ward->session = session;
    ward->account = &keeper->header->accounts[i];
    ward->bell = bell;
    ward->bells = KEEPER_BELLS;
    ward->timers = timers_open("heap", header->slots, keeper->now_ns);
    ward->nodes = calloc(header->slots, sizeof *ward->nodes);
    if (ward->timers == NULL || ward->nodes == NULL || epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, bell, &event) != 0)
        return false;
    for (uint32_t k = 0; k < header->slots; k++)
        ward->nodes[k] = (struct node){.timer.expire = expire_slot, .ward = ward};
    return true;
}

/* After a predecessor: all slots may have changed, and some may have expired of which the client was not told. */
static void take_over(struct keeper *keeper, struct ward *ward)
{
    const uint32_t slots = keeper->header->slots;
    for (uint32_t k = 0; k < slots; k++)
        ward->changed[k / 64] |= UINT64_C(1) << k % 64;
    ward->news = slots > 63 * 64 ? UINT64_MAX : (UINT64_C(1) << (slots + 63) / 64) - 1;
    atomic_store(&ward->session->generation, atomic_load(&keeper->header->generation));
    ward->woken = true; /* after its visit */
    make_ready(ward);
}

struct keeper *keeper_open(struct domain_header *header, void *sessions, size_t bytes, const int *bells,
                           uint64_t (*clock)(void))
{
    struct keeper *keeper = calloc(1, sizeof *keeper + header->clients * sizeof keeper->wards[0]);
    if (keeper == NULL)
        return NULL;
    keeper->header = header;
    keeper->clock = clock;
    keeper->now_ns = keeper->charged_ns = clock();
    keeper->epoll = epoll_create1(EPOLL_CLOEXEC);
    waker_open(&keeper->waker, header->plainly);
    keeper->timers = timers_open("heap", header->clients, keeper->now_ns);
    struct queue *queues[] = {&keeper->ready, &keeper->attended, &keeper->muted, &keeper->wakes};
    bool good = keeper->epoll >= 0 && keeper->timers != NULL;
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++)
        good &= (queues[i]->wards = calloc(header->clients, sizeof(struct ward *))) != NULL;
    for (uint32_t i = 0; good && i < header->clients; i++)
        good = prepare_ward(keeper, i, (void *)((char *)sessions + i * bytes), bells[i]);
    if (!good) {
        const int error = errno;
        keeper_close(keeper);
        errno = error;
        return NULL;
    }
    atomic_fetch_add(&header->generation, 1);
    for (uint32_t i = 0; i < header->clients; i++)
        if (header->accounts[i].known)
            take_over(keeper, &keeper->wards[i]);
    return keeper;
}

void keeper_close(struct keeper *keeper)
{
    for (uint32_t i = 0; i < keeper->header->clients; i++) {
        if (keeper->wards[i].timers != NULL)
            timers_close(keeper->wards[i].timers);
        free(keeper->wards[i].nodes);
    }
    free(keeper->ready.wards);
    free(keeper->attended.wards);
    free(keeper->muted.wards);
    free(keeper->wakes.wards);
    if (keeper->timers != NULL)
        timers_close(keeper->timers);
    waker_close(&keeper->waker);
    if (keeper->epoll >= 0)
        close(keeper->epoll);
    free(keeper);
}
