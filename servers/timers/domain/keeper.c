/* keeper.c: a turn of the domain. A heap over clients, by when to look at each; a heap a client, over its slots. */
#include "keeper.h"

#include "waker.h"
#include "ward.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 64

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

static void charge(struct keeper *keeper, _Atomic uint64_t *whom)
{
    const uint64_t now_ns = keeper->clock();
    account(whom, now_ns - keeper->charged_ns);
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
    const bool any = ward_visit(ward, keeper->now_ns, keeper->header->limit, &tick);
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
        account(&ward->account->wakes, 1);
    }
    waker_flush(&keeper->waker);
    if (count == 0)
        return;
    const uint64_t now_ns = keeper->clock(), each_ns = (now_ns - keeper->charged_ns) / count;
    for (uint32_t i = 0; i < count; i++)
        account(&wakes->wards[(first + i) % keeper->header->clients]->account->ns, each_ns);
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
    account(&ward->account->bells, 1);
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
    account(&ward->account->mutes, 1);
    ward->muted_until_ns = ward->bells_at_ns = now_ns + KEEPER_BELL_NS;
    push(keeper, &keeper->muted, ward); /* in the order of their ends */
}

bool keeper_sleep(struct keeper *keeper, uint64_t until_ns)
{
    struct epoll_event events[EVENTS];
    const uint64_t now_ns = keeper->clock(), ns = until_ns > now_ns ? until_ns - now_ns : 0;
    const struct timespec most = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    if (ns > 0)
        account(&keeper->header->sleeps, 1);
    const long count = epoll_pwait2(keeper->epoll, events, EVENTS, until_ns != DOMAIN_NEVER ? &most : NULL, NULL);
    keeper->charged_ns = keeper->clock();
    for (long i = 0; i < count; i++) {
        struct ward *ward = events[i].data.ptr;
        bell_rang(keeper, ward);
        charge(keeper, &ward->account->ns);
    }
    return count > 0;
}

uint64_t keeper_turn(struct keeper *keeper)
{
    struct domain_header *header = keeper->header;
    keeper->now_ns = keeper->clock();
    account(&header->turns, 1);
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
    return ward_open(ward, header->slots, keeper->now_ns) && epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, bell, &event) == 0;
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
        if (header->accounts[i].known) {
            ward_take_over(&keeper->wards[i], header->generation);
            make_ready(&keeper->wards[i]); /* it is woken after its visit */
        }
    return keeper;
}

void keeper_close(struct keeper *keeper)
{
    for (uint32_t i = 0; i < keeper->header->clients; i++)
        ward_close(&keeper->wards[i]);
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
