/* test_domain_processes.c: a timer domain as a process, with clients that are: killed at any moment, hostile, waiting.
 *
 *     test_domain_processes [threads|plainly]
 *
 * With `threads`, only what the thread sanitizer can follow: domain and clients as threads of one process; with
 * `plainly`, a domain wakes each client by a system call. No check is of how long anything takes: what must come is
 * waited for.
 */
#include "check.h"
#include "clock.h"
#include "domain.h"
#include "keeper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

static bool plainly;

static struct domain *start_domain(uint32_t clients, uint32_t slots)
{
    const struct domain_options options = {
        .clients = clients, .slots = slots, .slack_ns = MS / 10, .plainly = plainly, .cpu = -1};
    struct domain *domain = domain_open(&options);
    NEED(domain != NULL && domain_start(domain));
    return domain;
}

/* Wait for so many of one's timers, each once, none early. */
static void wait_for(struct domain_client *client, const uint64_t *deadlines, unsigned count)
{
    unsigned *times = calloc(client->slots, sizeof *times);
    NEED(times != NULL);
    while (count > 0) {
        uint32_t slot;
        domain_wait(client);
        for (; domain_take(client, &slot); count--) {
            CHECK(monotonic_ns() >= deadlines[slot], "%u is early", slot);
            CHECK(++times[slot] == 1, "%u expired twice", slot);
        }
    }
    free(times);
}

static void arm_all(struct domain_client *client, uint64_t *deadlines, uint64_t within_ns)
{
    for (uint32_t k = 0; k < client->slots; k++) {
        deadlines[k] = monotonic_ns() + within_ns * (k + 1) / client->slots;
        NEED(domain_arm(client, k, deadlines[k]));
    }
}

/* Killed and started again, over and over, while a client waits: nothing is lost, nothing comes twice. */
static void test_killed_and_restarted(void)
{
    enum { SLOTS = 300 };
    struct domain *domain = start_domain(1, SLOTS);
    struct domain_client client;
    uint64_t deadlines[SLOTS];
    domain_client_open(&client, domain, 0);
    for (unsigned round = 0; round < 3; round++) {
        arm_all(&client, deadlines, round < 2 ? 30 * MS : 500 * MS); /* the last one is killed while some are pending */
        const pid_t killer = fork(); /* it has no say in the domain's memory: only in who lives */
        if (killer == 0) {
            usleep(5000 * (round + 1));
            kill(domain->pid, SIGKILL);
            _exit(0);
        }
        int status;
        NEED(waitpid(killer, &status, 0) == killer);
        NEED(waitpid(domain->pid, &status, 0) == domain->pid && WIFSIGNALED(status));
        if (round < 2)
            NEED(domain_start(domain));
        const uint64_t backups = client.backups;
        wait_for(&client, deadlines, SLOTS);
        if (round == 2)
            CHECK(client.backups > backups, "nobody but itself could take them");
    }
    NEED(domain_start(domain));
    arm_all(&client, deadlines, MS);
    wait_for(&client, deadlines, SLOTS);
    CHECK(domain->header->generation == 4, "the fourth domain");
    domain_close(domain);
}

/* A client that waits for something far away learns of another domain by being woken. */
static void test_waiting_is_told(void)
{
    struct domain *domain = start_domain(1, 1);
    struct domain_client client;
    domain_client_open(&client, domain, 0);
    domain_arm(&client, 0, monotonic_ns() + 1000000 * MS);
    while (domain->header->accounts[0].known == 0) /* its bell has been heard */
        usleep(100);
    domain_stop(domain);
    const pid_t restarter = getpid(), child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const uint32_t before = client.generation;
        while (client.generation == before)
            domain_wait(&client);
        _exit(client.generation == 2 && getppid() == restarter ? 0 : 1);
    }
    usleep(10000);
    NEED(domain_start(domain));
    int status;
    NEED(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it noticed");
    domain_close(domain);
}

static _Noreturn void be_hostile(struct domain *domain, uint32_t i, unsigned how)
{
    struct domain_client client;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    NEED(domain_isolate(domain, i));
    domain_client_open(&client, domain, i);
    uint64_t state = how + 1;
    const uint64_t one = 1;
    uint8_t *bytes = (uint8_t *)client.session;
    for (;;) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        switch (how % 3) {
        case 0: /* arms as fast as it can, mostly what is due */
            domain_arm(&client, (uint32_t)(state >> 33) % client.slots, monotonic_ns() + (state >> 60) * 1000);
            break;
        case 1:
            (void)!write(client.bell, &one, sizeof one);
            break;
        default:
            bytes[(state >> 33) % domain->bytes] = (uint8_t)(state >> 20);
            if (state >> 56 == 0)
                (void)!write(client.bell, &one, sizeof one);
        }
    }
}

/* Hostile clients come, and are killed wherever they are; a neighbour's timers all come, once, not early; and who has a
 * dead one's session after it, is served. */
static void test_killed_at_any_point(void)
{
    enum { SLOTS = 64 };
    struct domain *domain = start_domain(3, SLOTS);
    struct domain_client neighbour, successor;
    uint64_t deadlines[SLOTS];
    domain_client_open(&neighbour, domain, 0);
    for (unsigned round = 0; round < 12; round++) {
        pid_t hostile[2];
        for (uint32_t k = 0; k < 2; k++)
            if ((hostile[k] = fork()) == 0)
                be_hostile(domain, k + 1, round + k);
        arm_all(&neighbour, deadlines, 5 * MS);
        wait_for(&neighbour, deadlines, SLOTS);
        for (uint32_t k = 0; k < 2; k++) {
            kill(hostile[k], SIGKILL);
            waitpid(hostile[k], NULL, 0);
        }
        domain_client_open(&successor, domain, 1 + round % 2);
        arm_all(&successor, deadlines, MS);
        wait_for(&successor, deadlines, SLOTS);
        CHECK(neighbour.backups == 0 && waitpid(domain->pid, NULL, WNOHANG) == 0, "the domain lives");
    }
    domain_close(domain);
}

/* Once isolated, a process can reach nothing but its own session, and read the accounts. */
static void test_isolated(void)
{
    struct domain *domain = start_domain(3, 1);
    const pid_t child = fork();
    if (child == 0) {
        int out[2];
        NEED(pipe(out) == 0);
        const struct domain_header *before = domain->header;
        char *sessions = domain->sessions;
        NEED(domain_isolate(domain, 1));
        CHECK(write(out[1], sessions + domain->bytes, 1) == 1, "its own is there");
        CHECK(write(out[1], sessions, 1) == -1 && errno == EFAULT, "the one before is not");
        CHECK(write(out[1], sessions + 2 * domain->bytes, 1) == -1 && errno == EFAULT, "nor the one after");
        CHECK(write(out[1], before, 1) == -1 && errno == EFAULT, "nor the header that could be written");
        CHECK(domain->header->clients == 3, "the other can be read");
        CHECK(mprotect(domain->header, 4096, PROT_READ | PROT_WRITE) == -1 && errno == EACCES, "and stays so");
        CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, domain->header_file, 0) == MAP_FAILED, "anew, too");
        CHECK(ftruncate(domain->header_file, 0) == -1, "and nobody can cut it off");
        _exit(checks_failed > 0);
    }
    int status;
    NEED(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "isolated");
    domain_close(domain);
}

/* As threads */

enum { THREADS = 3, THREAD_SLOTS = 8, EXPIRIES = 1500 };

struct threads {
    struct domain *domain;
    struct keeper *keeper;
    _Atomic bool stop;
};

static void *be_domain(void *of)
{
    struct threads *threads = of;
    while (!threads->stop) {
        const uint64_t until_ns = keeper_turn(threads->keeper), most_ns = monotonic_ns() + 5 * MS;
        keeper_sleep(threads->keeper, until_ns < most_ns ? until_ns : most_ns);
    }
    return NULL;
}

struct thread {
    pthread_t id;
    struct threads *threads;
    uint32_t i;
    unsigned early, unknown;
};

static void *be_client(void *of)
{
    struct thread *thread = of;
    struct domain_client client;
    uint64_t deadlines[THREAD_SLOTS] = {0}, state = thread->i + 1;
    domain_client_open(&client, thread->threads->domain, thread->i);
    for (unsigned expired = 0; expired < EXPIRIES;) {
        for (uint32_t k = 0; k < THREAD_SLOTS; k++) {
            state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
            if (deadlines[k] != 0 && state >> 61 != 0)
                continue;
            if (state >> 40 & 1 && deadlines[k] != 0) {
                domain_cancel(&client, k);
                deadlines[k] = 0;
            } else {
                deadlines[k] = monotonic_ns() + (state >> 44) % (MS / 2);
                domain_arm(&client, k, deadlines[k]);
            }
        }
        if (client.armed_count > 0)
            domain_wait(&client);
        for (uint32_t slot; domain_take(&client, &slot); expired++) {
            thread->unknown += deadlines[slot] == 0;
            thread->early += monotonic_ns() < deadlines[slot];
            deadlines[slot] = 0;
        }
    }
    return NULL;
}

static void test_threads(void)
{
    const struct domain_options options = {
        .clients = THREADS, .slots = THREAD_SLOTS, .limit = 2, .slack_ns = 1000, .plainly = plainly};
    struct threads threads = {.domain = domain_open(&options)};
    struct thread clients[THREADS] = {0};
    pthread_t domain;
    NEED(threads.domain != NULL);
    threads.keeper = keeper_open(threads.domain->header, threads.domain->sessions, threads.domain->bytes,
                                 threads.domain->bells, monotonic_ns);
    NEED(threads.keeper != NULL && pthread_create(&domain, NULL, be_domain, &threads) == 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        clients[i].threads = &threads;
        clients[i].i = i;
        NEED(pthread_create(&clients[i].id, NULL, be_client, &clients[i]) == 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(clients[i].id, NULL);
        CHECK(clients[i].early == 0 && clients[i].unknown == 0, "%u early, %u not armed", clients[i].early,
              clients[i].unknown);
    }
    threads.stop = true;
    pthread_join(domain, NULL);
    keeper_close(threads.keeper);
    domain_close(threads.domain);
}

int main(int argc, char **argv)
{
    plainly = argc > 1 && strcmp(argv[1], "plainly") == 0;
    test_threads();
    if (argc > 1 && strcmp(argv[1], "threads") == 0)
        return checks_failed > 0;
    test_killed_and_restarted();
    test_waiting_is_told();
    test_killed_at_any_point();
    test_isolated();
    return checks_failed > 0;
}
