/* laio_partner.c: see laio_partner.h. */
#include "laio_partner.h"

#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

struct partner {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */
    pthread_cond_t returned;
    struct favour *asked, *doing;
    bool ends;
};

uint64_t partner_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Signals are for the loop. */
static void start_thread(pthread_t *thread, void *(*body)(void *), void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    NEED(pthread_create(thread, NULL, body, argument) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static struct favour **earliest(struct partner *partner)
{
    struct favour **first = &partner->asked;
    for (struct favour **other = first; *other != NULL; other = &(*other)->next)
        if ((*other)->due_ns < (*first)->due_ns)
            first = other;
    return first;
}

static void *serve(void *argument)
{
    struct partner *partner = argument;
    prctl(PR_SET_TIMERSLACK, 1);
    pthread_mutex_lock(&partner->lock);
    while (!partner->ends) {
        struct favour **first = earliest(partner), *favour = *first;
        if (favour == NULL) {
            pthread_cond_wait(&partner->changed, &partner->lock);
            continue;
        }
        if (favour->due_ns > partner_now_ns()) {
            struct timespec due = {.tv_sec = (time_t)(favour->due_ns / 1000000000),
                                   .tv_nsec = (long)(favour->due_ns % 1000000000)};
            pthread_cond_timedwait(&partner->changed, &partner->lock, &due);
            continue;
        }
        *first = favour->next;
        partner->doing = favour;
        pthread_mutex_unlock(&partner->lock);
        bool done = favour->deed(favour->argument);
        pthread_mutex_lock(&partner->lock);
        partner->doing = NULL;
        if (done || !favour->asked) {
            favour->asked = false;
        } else {
            favour->due_ns = partner_now_ns() + favour->again_us * UINT64_C(1000);
            favour->next = partner->asked;
            partner->asked = favour;
        }
        pthread_cond_broadcast(&partner->returned);
    }
    pthread_mutex_unlock(&partner->lock);
    return NULL;
}

struct partner *partner_start(void)
{
    struct partner *partner = calloc(1, sizeof *partner);
    pthread_condattr_t monotonic;
    NEED(partner != NULL);
    pthread_mutex_init(&partner->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&partner->changed, &monotonic);
    pthread_cond_init(&partner->returned, NULL);
    pthread_condattr_destroy(&monotonic);
    start_thread(&partner->thread, serve, partner);
    return partner;
}

void partner_stop(struct partner *partner)
{
    pthread_mutex_lock(&partner->lock);
    partner->ends = true;
    pthread_cond_signal(&partner->changed);
    pthread_mutex_unlock(&partner->lock);
    pthread_join(partner->thread, NULL);
    pthread_cond_destroy(&partner->changed);
    pthread_cond_destroy(&partner->returned);
    pthread_mutex_destroy(&partner->lock);
    free(partner);
}

void partner_ask(struct partner *partner, struct favour *favour, bool (*deed)(void *argument), void *argument,
                 unsigned after_us)
{
    favour->deed = deed;
    favour->argument = argument;
    favour->again_us = after_us;
    favour->due_ns = partner_now_ns() + after_us * UINT64_C(1000);
    pthread_mutex_lock(&partner->lock);
    NEED(!favour->asked);
    favour->asked = true;
    favour->next = partner->asked;
    partner->asked = favour;
    pthread_cond_signal(&partner->changed);
    pthread_mutex_unlock(&partner->lock);
}

void partner_settle(struct partner *partner, struct favour *favour)
{
    pthread_mutex_lock(&partner->lock);
    for (struct favour **other = &partner->asked; *other != NULL; other = &(*other)->next)
        if (*other == favour) {
            *other = favour->next;
            break;
        }
    favour->asked = false;
    while (partner->doing == favour)
        pthread_cond_wait(&partner->returned, &partner->lock);
    pthread_mutex_unlock(&partner->lock);
}

bool partner_has_done(struct partner *partner, struct favour *favour)
{
    pthread_mutex_lock(&partner->lock);
    bool done = !favour->asked;
    pthread_mutex_unlock(&partner->lock);
    return done;
}

/* The guard: one a process. */

static struct {
    atomic_uint_fast64_t seen;
    _Atomic(const char *) what;
    _Atomic(const void *) argument;
    void (*_Atomic explain)(const void *argument);
} guard;

static void *watch(void *argument)
{
    (void)argument;
    uint64_t seen = 0;
    for (unsigned seconds = 0; seconds < GUARD_S; seconds++) {
        sleep(1);
        uint64_t now = atomic_load(&guard.seen);
        if (now != seen)
            seconds = 0;
        seen = now;
    }
    const char *what = atomic_load(&guard.what);
    fprintf(stderr, "nothing happened for %d s in: %s\n", GUARD_S, what != NULL ? what : "the beginning");
    void (*explain)(const void *) = atomic_load(&guard.explain);
    if (explain != NULL)
        explain(atomic_load(&guard.argument));
    _exit(1);
}

void guard_start(void)
{
    pthread_t thread;
    start_thread(&thread, watch, NULL);
    pthread_detach(thread);
}

void guard_saw(const char *what)
{
    atomic_store(&guard.what, what);
    atomic_fetch_add(&guard.seen, 1);
}

void guard_explain(void (*explain)(const void *argument), const void *argument)
{
    atomic_store(&guard.argument, argument);
    atomic_store(&guard.explain, explain);
}
