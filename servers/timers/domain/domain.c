/* domain.c: the memory of a domain, and its process. */
#include "domain.h"

#include "clock.h"
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT 64u

static size_t pages(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

static size_t header_bytes(const struct domain *domain)
{
    return pages(sizeof *domain->header + domain->options.clients * sizeof domain->header->accounts[0]);
}

/* Writable here and in the domain, which is forked from here; whoever maps it from now on may only read. */
static bool map_header(struct domain *domain)
{
    const size_t bytes = header_bytes(domain);
    domain->header_file = memfd_create("domain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (domain->header_file < 0 || ftruncate(domain->header_file, (off_t)bytes) != 0)
        return false;
    void *header = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, domain->header_file, 0);
    if (header == MAP_FAILED)
        return false;
    domain->header = header;
    const int seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    return fcntl(domain->header_file, F_ADD_SEALS, seals) == 0;
}

/* Without a file: what a client has unmapped it cannot map again. */
static bool map_sessions(struct domain *domain)
{
    domain->bytes = pages(sizeof(struct domain_session) + domain->options.slots * sizeof(uint64_t));
    void *sessions = mmap(NULL, domain->bytes * domain->options.clients, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    domain->sessions = sessions != MAP_FAILED ? sessions : NULL;
    return domain->sessions != NULL;
}

static bool make_bells(struct domain *domain)
{
    struct rlimit limit;
    if ((domain->bells = calloc(domain->options.clients, sizeof *domain->bells)) == NULL)
        return false;
    for (uint32_t i = 0; i < domain->options.clients; i++)
        domain->bells[i] = -1;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (uint32_t i = 0; i < domain->options.clients; i++)
        if ((domain->bells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
            return false;
    return true;
}

struct domain *domain_open(const struct domain_options *options)
{
    if (options->clients == 0 || options->slots == 0 || options->slots > DOMAIN_SLOTS_MOST) {
        errno = EINVAL;
        return NULL;
    }
    struct domain *domain = calloc(1, sizeof *domain);
    if (domain == NULL)
        return NULL;
    domain->options = *options;
    domain->header_file = -1;
    if (!map_header(domain) || !map_sessions(domain) || !make_bells(domain)) {
        const int error = errno;
        domain_close(domain);
        errno = error;
        return NULL;
    }
    domain->header->clients = options->clients;
    domain->header->slots = options->slots;
    domain->header->limit = options->limit > 0 ? options->limit : LIMIT;
    domain->header->slack_ns = options->slack_ns;
    domain->header->plainly = options->plainly;
    return domain;
}

static _Noreturn void serve(struct domain *domain)
{
    struct keeper *keeper =
        keeper_open(domain->header, domain->sessions, domain->bytes, domain->bells, monotonic_ns);
    if (keeper == NULL)
        _exit(1);
    for (;;)
        keeper_sleep(keeper, keeper_turn(keeper));
}

bool domain_start(struct domain *domain)
{
    const pid_t parent = getpid();
    const uint32_t generation = atomic_load(&domain->header->generation);
    cpu_set_t set;
    CPU_ZERO(&set);
    if (domain->options.cpu >= 0)
        CPU_SET((unsigned)domain->options.cpu, &set);
    const pid_t pid = fork();
    if (pid < 0)
        return false;
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0); /* the domain's own is said in slack_ns */
        if (getppid() != parent || (domain->options.cpu >= 0 && sched_setaffinity(0, sizeof set, &set) != 0))
            _exit(1);
        serve(domain);
    }
    domain->pid = pid;
    while (atomic_load(&domain->header->generation) == generation) { /* it has not taken over so far */
        if (waitpid(pid, NULL, WNOHANG) == pid) {
            domain->pid = 0;
            errno = ENOMEM;
            return false;
        }
        usleep(100);
    }
    return true;
}

void domain_stop(struct domain *domain)
{
    if (domain->pid > 0) {
        kill(domain->pid, SIGKILL);
        waitpid(domain->pid, NULL, 0);
    }
    domain->pid = 0;
}

void domain_close(struct domain *domain)
{
    domain_stop(domain);
    for (uint32_t i = 0; domain->bells != NULL && i < domain->options.clients; i++)
        if (domain->bells[i] >= 0)
            close(domain->bells[i]);
    free(domain->bells);
    if (domain->sessions != NULL)
        munmap(domain->sessions, domain->bytes * domain->options.clients);
    if (domain->header != NULL)
        munmap(domain->header, header_bytes(domain));
    if (domain->header_file >= 0)
        close(domain->header_file);
    free(domain);
}

bool domain_isolate(struct domain *domain, uint32_t i)
{
    const struct domain_options *options = &domain->options;
    char *sessions = domain->sessions, *end = sessions + options->clients * domain->bytes;
    char *own = sessions + i * domain->bytes;
    void *header = mmap(NULL, header_bytes(domain), PROT_READ, MAP_SHARED, domain->header_file, 0);
    if (header == MAP_FAILED)
        return false;
    munmap(domain->header, header_bytes(domain));
    domain->header = header;
    if (own > sessions)
        munmap(sessions, (size_t)(own - sessions));
    if (own + domain->bytes < end)
        munmap(own + domain->bytes, (size_t)(end - own) - domain->bytes);
    for (uint32_t k = 0; k < options->clients; k++)
        if (k != i) {
            close(domain->bells[k]);
            domain->bells[k] = -1;
        }
    domain->pid = 0;
    return true;
}
