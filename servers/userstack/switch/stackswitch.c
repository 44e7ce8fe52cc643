/* stackswitch.c: a switch for user-level stacks, in a process of its own.
 *
 *     stackswitch --socket PATH [--uplink INTERFACE]... [--impair RULE]...   (--help has all)
 *
 * Whoever connects to PATH gets a port (hello.h), and moves frames through memory shared with the switch (ring.h). It is
 * ready when it has printed that word. At SIGTERM it prints its ledger and exits with 0.
 */
#include "arguments.h"
#include "clock.h"
#include "door.h"
#include "sampler.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { WORDS = FABRIC_RULES_MOST, PORTS_USUAL = 64, RING_USUAL = 256, MTU_USUAL = 1500, DESCRIPTORS_OWN = 64 };

/* Options that may be given several times are not for arguments.h: they are taken out before. */
struct words {
    const char *name;
    const char *values[WORDS];
    int count;
};

static int take_words(struct words *words, int argc, char **argv)
{
    size_t bytes = strlen(words->name);
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        bool it_is = strncmp(argv[i], "--", 2) == 0 && strncmp(argv[i] + 2, words->name, bytes) == 0 &&
                     (argv[i][2 + bytes] == '\0' || argv[i][2 + bytes] == '=');
        if (!it_is) {
            argv[kept++] = argv[i];
            continue;
        }
        if (words->count == WORDS)
            fail(2, "--%s: %d at most", words->name, WORDS);
        const char *value = argv[i][2 + bytes] == '=' ? argv[i] + 3 + bytes : ++i < argc ? argv[i] : NULL;
        if (value == NULL)
            fail(2, "--%s needs a value", words->name);
        words->values[words->count++] = value;
    }
    return kept;
}

static void pin(uint64_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < CPU_SETSIZE)
        CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        fail(1, "--cpu %llu: %s", (unsigned long long)cpu, strerror(errno));
}

/* Of a port there are three: an accept that failed for want of one would be tried again and again. */
static void need_descriptors(uint64_t ports)
{
    struct rlimit limit;
    const rlim_t needed = 3 * ports + DESCRIPTORS_OWN;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < needed)
        fail(1, "--ports %llu needs %llu descriptors: raise the limit (ulimit -Hn)", (unsigned long long)ports,
             (unsigned long long)needed);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void print_usage(const struct door *door)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    uint64_t us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                  (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    printf("switch.cpu_ns %llu\nswitch.sleeps %llu\n", (unsigned long long)us * 1000,
           (unsigned long long)door_sleeps(door));
}

int main(int argc, char **argv)
{
    struct words uplinks = {.name = "uplink"}, rules = {.name = "impair"};
    const char *socket = NULL, *counters = NULL;
    uint64_t ports = PORTS_USUAL, slots = RING_USUAL, mtu = MTU_USUAL, seed = 1, cpu = UINT64_MAX, spin_us = 0;
    bool verify = false;
    const struct argument table[] = {
        {"socket", ARGUMENT_TEXT, &socket, 0, 0, "PATH", "where stacks connect to"},
        {"uplink", ARGUMENT_TEXT, NULL, 0, 0, "INTERFACE", "an Ethernet interface that is a port, too; up to 4"},
        {"impair", ARGUMENT_TEXT, NULL, 0, 0, "RULE",
         "from=A,to=B with A and B an address, uplink0 … or *; and of loss=P duplicate=P corrupt=P reorder=P reorder-us=N "
         "delay-us=N jitter-us=N rate-bps=N queue=FRAMES queue-bytes=N pool=FRAMES. Of several that match, the first"},
        {"seed", ARGUMENT_INTEGER, &seed, 0, 1e18, "N", "of impairments"},
        {"ports", ARGUMENT_INTEGER, &ports, 1, FABRIC_PORTS_MOST, "N", "stacks at a time"},
        {"ring", ARGUMENT_INTEGER, &slots, RING_LEAST, RING_MOST, "FRAMES", "of each ring, a power of 2"},
        {"mtu", ARGUMENT_INTEGER, &mtu, WIRE_MTU_MIN, WIRE_MTU_MAX, "BYTES", "of stacks; at most that of the uplinks"},
        {"verify", ARGUMENT_FLAG, &verify, 0, 0, "", "stacks verify checksums of frames from other stacks, too"},
        {"spin-us", ARGUMENT_INTEGER, &spin_us, 0, UINT16_MAX, "N",
         "stay awake so long without a frame, and have stacks on other CPUs do so; while that pays"},
        {"counters", ARGUMENT_TEXT, &counters, 0, 0, "FILE", "keep the ledger there, to be read meanwhile"},
        {"cpu", ARGUMENT_INTEGER, &cpu, 0, CPU_SETSIZE - 1, "N", "run on that CPU"},
    };
    argc = take_words(&uplinks, argc, argv);
    argc = take_words(&rules, argc, argv);
    arguments_read(argc, argv, "stackswitch --socket PATH", table, sizeof table / sizeof *table);
    if (socket == NULL)
        fail(2, "--socket is needed");
    if ((slots & (slots - 1)) != 0)
        fail(2, "--ring %llu: a power of 2 is needed", (unsigned long long)slots);
    need_descriptors(ports);
    char error[512];
    struct fabric *fabric = fabric_open(
        &(struct fabric_options){.ports = (uint32_t)ports,
                                 .slots = (uint32_t)slots,
                                 .mtu = (uint32_t)mtu,
                                 .spin_us = (uint16_t)spin_us,
                                 .seed = seed,
                                 .verify = verify,
                                 .counters = counters,
                                 .clock = monotonic_ns},
        error, sizeof error);
    if (fabric == NULL)
        fail(1, "%s", error);
    for (int i = 0; i < rules.count; i++)
        if (fabric_rule(fabric, rules.values[i], error, sizeof error) != 0)
            fail(2, "%s", error);
    if (fabric_rules_open(fabric) != 0)
        fail(1, "no memory for frames on their way: --impair with a smaller pool");
    for (int i = 0; i < uplinks.count; i++)
        if (fabric_uplink(fabric, uplinks.values[i], error, sizeof error) != 0)
            fail(1, "%s", error);
    struct door *door = door_open(fabric, socket, error, sizeof error);
    if (door == NULL)
        fail(1, "%s", error);
    if (cpu != UINT64_MAX)
        pin(cpu);
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0); /* a delay is to be what it says */
    sampler_start();
    puts("ready");
    fflush(stdout);
    door_run(door, spin_us * 1000);
    print_usage(door);
    fabric_print(fabric, stdout);
    door_close(door);
    fabric_close(fabric);
    return 0;
}
