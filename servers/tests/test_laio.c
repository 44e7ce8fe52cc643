/* test_laio.c: an engine of lazy_io does what plain calls do: test_laio ENGINE [--operations N] [--seed N]
 * [--in-progress N] [--watch adaptive|perf|timer] [--aside]. First random operations, whose results are known
 * (test_laio_random.c), then the contract where those do not come by (test_laio_faults.c, test_laio_alike.c) and how
 * everything ends (test_laio_ends.c). */
#include "test_laio.h"

#include "check.h"
#include "fixture.h"
#ifdef __x86_64__
#include "activation.h"
#endif

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define SKIPPED 77                  /* exit status, as Meson understands it */
#define DESCRIPTORS_OF_OPERATION 40 /* at most, in two loops */

/* Who must be lazy where a pipe has nothing to read. */
bool is_lazy(const char *engine)
{
    static const char *const lazy[] = {"activation", "uring", "nowait", "pool"};
    for (size_t i = 0; i < sizeof lazy / sizeof lazy[0]; i++)
        if (strcmp(lazy[i], engine) == 0)
            return true;
    return false;
}

struct laio *open_engine(const struct settings *settings, struct laio_options options)
{
    char why[300] = "";
    options.watch = settings->watch;
    struct laio *laio = laio_open(settings->engine, &options, why, sizeof why);
    /* The kernel gives back what a closed ring had locked (RLIMIT_MEMLOCK) a moment later. */
    for (int tries = 0; laio == NULL && tries < 1000; tries++) {
        usleep(5000);
        laio = laio_open(settings->engine, &options, why, sizeof why);
    }
    if (laio == NULL)
        fprintf(stderr, "%s\n", why);
    NEED(laio != NULL);
    return laio;
}

/* The census */

static int entries(const char *folder)
{
    DIR *directory = opendir(folder);
    NEED(directory != NULL);
    int count = 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

struct census census_take(void)
{
    int children = waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 1;
    return (struct census){entries("/proc/self/fd"), entries("/proc/self/task"), children, (pid_t)syscall(SYS_gettid)};
}

void census_check(const struct census *before, const char *after)
{
    struct census now = census_take();
    for (int i = 0; i < 10000 && now.threads > before->threads; i++, now = census_take())
        usleep(1000);
    CHECK(now.descriptors == before->descriptors, "%s: %d descriptors, before %d", after, now.descriptors,
          before->descriptors);
    CHECK(now.threads == before->threads, "%s: %d threads, before %d", after, now.threads, before->threads);
    CHECK(now.children == before->children, "%s: children are left", after);
    CHECK(now.caller == before->caller, "%s: the loop is on another kernel thread", after);
}

/* The watch of activation */

static bool aside;

void put_aside(struct laio *laio)
{
#ifdef __x86_64__
    if (aside && laio->engine == &activation_adaptive)
        activation_put_aside((struct activation *)laio);
#endif
    (void)laio;
}

/* Random operations */

void check_random(const struct settings *settings)
{
    struct census before = census_take();
    struct operations *operations = calloc(1, sizeof *operations);
    NEED(operations != NULL);
    operations_start(operations, "random", settings->in_progress, settings->seed);
    struct laio *laio = open_engine(settings, (struct laio_options){0});
    uint64_t lazily = run_random(settings->engine, laio, operations, 0, settings->operations, "random operations");
    if (is_lazy(settings->engine) && settings->operations >= 1000)
        CHECK(lazily > 0, "no read from a pipe was lazy, and half of them found nothing to read");
    if (strcmp(settings->engine, "plain") == 0)
        CHECK(laio_count(laio)->in_progress_peak == 0, "plain calls were lazy");

    /* The same with signals. */
    if (may_signal(settings->engine)) {
        struct favour favour = {0};
        operations->interrupted = true;
        partner_ask(operations->partner, &favour, deed_signal, NULL, 500);
        run_random(settings->engine, laio, operations, settings->operations, settings->operations / 4,
                   "interrupted operations");
        partner_settle(operations->partner, &favour);
    }
    laio_close(laio);
    operations_stop(operations);
    free(operations);
    census_check(&before, "after random operations");
}

/* Signals: SA_RESTART is not set. */

bool may_signal(const char *engine)
{
#ifdef __SANITIZE_THREAD__
    if (strcmp(engine, "activation") == 0) {
        puts("without signals: the thread sanitizer's handler uses thread-local variables, which may be the loop's");
        return false;
    }
#endif
    (void)engine;
    return true;
}

static atomic_int signals_seen; /* any thread of the engine may take one */

static void see(int signal)
{
    (void)signal;
    atomic_fetch_add_explicit(&signals_seen, 1, memory_order_relaxed);
}

void signals_start(void)
{
    NEED(sigaction(SIGUSR1, &(struct sigaction){.sa_handler = see}, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
}

bool deed_signal(void *never_done)
{
    (void)never_done;
    kill(getpid(), SIGUSR1);
    return false;
}

#ifdef __SANITIZE_THREAD__
#define OPERATIONS 5000
#else
#define OPERATIONS 20000
#endif

/* Why the thread sanitizer cannot follow an engine, or NULL. */
static const char *unfollowed(const char *engine)
{
#ifdef __SANITIZE_THREAD__
    if (strcmp(engine, "posix-aio") == 0)
        return "glibc makes the threads of posix-aio without asking the thread sanitizer, which then fails in them";
#endif
    (void)engine;
    return NULL;
}

/* As many descriptors as there may be, and no more operations than they suffice for. */
static void raise_limit(struct settings *settings)
{
    struct rlimit limit;
    NEED(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (settings->in_progress > limit.rlim_max / DESCRIPTORS_OF_OPERATION)
        settings->in_progress = (unsigned)(limit.rlim_max / DESCRIPTORS_OF_OPERATION);
}

static void usage(const char *program)
{
    fprintf(stderr, "%s ENGINE [--operations N] [--seed N] [--in-progress N] [--watch adaptive|perf|timer] [--aside]\n",
            program);
    exit(2);
}

int main(int argc, char **argv)
{
    struct settings settings = {.operations = OPERATIONS, .seed = 2004, .in_progress = 64};
    static const struct option options[] = {{"operations", required_argument, NULL, 'o'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"in-progress", required_argument, NULL, 'p'},
                                            {"watch", required_argument, NULL, 'w'},
                                            {"aside", no_argument, NULL, 'a'},
                                            {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;)
        switch (option) {
        case 'o':
            settings.operations = strtoull(optarg, NULL, 10);
            break;
        case 's':
            settings.seed = strtoull(optarg, NULL, 10);
            break;
        case 'p':
            settings.in_progress = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'w':
            settings.watch = optarg;
            break;
        case 'a':
            aside = true;
            break;
        default:
            usage(argv[0]);
        }
    if (optind != argc - 1 || settings.in_progress == 0)
        usage(argv[0]);
    settings.engine = argv[optind];
    setvbuf(stdout, NULL, _IOLBF, 0);

    if (unfollowed(settings.engine) != NULL) {
        puts(unfollowed(settings.engine));
        return SKIPPED;
    }
    char why[300] = "";
    struct laio *laio = laio_open(settings.engine, &(struct laio_options){.watch = settings.watch}, why, sizeof why);
    if (laio == NULL) {
        puts(why);
        return SKIPPED;
    }
    laio_close(laio);

    raise_limit(&settings);
    fixture_root();
    guard_start();
    signals_start();
    check_random(&settings);
    check_contract(&settings);
    check_alike(&settings);
    check_ends(&settings);
    return checks_failed != 0;
}
