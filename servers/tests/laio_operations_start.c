/* laio_operations_start.c: the files, pipes and sockets that operations are made on. */
#include "laio_operations.h"

#include "check.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define CONTENT_BYTES ((8u << 20) + 1234) /* the last page is not full */
#define PIPE_BYTES 4096      /* little is enough to fill it */
#define SEND_BUFFER_BYTES 16384

static int open_below(const struct operations *operations, const char *name, int flags)
{
    int descriptor = openat(operations->folder_descriptor, name, flags | O_CLOEXEC, 0600);
    NEED(descriptor >= 0);
    return descriptor;
}

static void write_file(const struct operations *operations, const char *name, const char *bytes, size_t length)
{
    int file = open_below(operations, name, O_WRONLY | O_CREAT | O_EXCL);
    NEED(write(file, bytes, length) == (ssize_t)length);
    NEED(fsync(file) == 0); /* only clean pages can be evicted */
    close(file);
}

static int bound(int domain, int kind, struct sockaddr_storage *address, socklen_t *bytes)
{
    int descriptor = socket(domain, kind | SOCK_CLOEXEC, 0);
    struct sockaddr_storage any = {.ss_family = (sa_family_t)domain};
    if (domain == AF_INET)
        ((struct sockaddr_in *)&any)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* A Unix socket that is bound to nothing gets an abstract name from the kernel (unix(7), autobind). */
    NEED(descriptor >= 0);
    socklen_t any_bytes = domain == AF_INET ? sizeof(struct sockaddr_in) : sizeof(sa_family_t);
    NEED(bind(descriptor, (struct sockaddr *)&any, any_bytes) == 0);
    *bytes = sizeof *address;
    NEED(getsockname(descriptor, (struct sockaddr *)address, bytes) == 0);
    return descriptor;
}

static int listening(int domain, int backlog)
{
    struct sockaddr_storage address;
    socklen_t bytes;
    int descriptor = bound(domain, SOCK_STREAM, &address, &bytes);
    NEED(listen(descriptor, backlog) == 0);
    return descriptor;
}

/* A file on a file system of one page, which is mounted nowhere and needs no path; or -1 where that is not allowed. */
static int on_full_file_system(void)
{
    int file = -1;
    int system = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    if (system >= 0 && syscall(SYS_fsconfig, system, FSCONFIG_SET_STRING, "size", "4096", 0) == 0 &&
        syscall(SYS_fsconfig, system, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        int mount = (int)syscall(SYS_fsmount, system, FSMOUNT_CLOEXEC, 0);
        char page[PAGE_BYTES] = "";
        if (mount >= 0) {
            file = openat(mount, "full.bin", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
            NEED(file >= 0 && pwrite(file, page, sizeof page, 0) == (ssize_t)sizeof page);
            close(mount);
        }
    }
    if (system >= 0)
        close(system);
    return file;
}

/* What fails, always in the same way. */
static void start_failing(struct operations *operations)
{
    char byte = 'x';
    operations->write_only = open_below(operations, "scratch.bin", O_WRONLY);
    NEED(pipe2(operations->empty_pipe, O_CLOEXEC | O_NONBLOCK) == 0);
    NEED(pipe2(operations->full_pipe, O_CLOEXEC | O_NONBLOCK) == 0);
    while (write(operations->full_pipe[1], &byte, 1) == 1)
        ;
    NEED(errno == EAGAIN);
    NEED(pipe2(operations->broken_pipe, O_CLOEXEC) == 0);
    close(operations->broken_pipe[0]);
    NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, operations->broken_pair) == 0);
    close(operations->broken_pair[1]);
    NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, operations->silent_pair) == 0);
    operations->datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    operations->stream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    operations->quiet_listener = listening(AF_INET, 1);
    NEED(fcntl(operations->quiet_listener, F_SETFL, O_NONBLOCK) == 0);
    operations->full_device = open("/dev/full", O_WRONLY | O_CLOEXEC);
    NEED(operations->datagram >= 0 && operations->stream >= 0 && operations->full_device >= 0);
    operations->full_file = on_full_file_system();
    operations->reserved = bound(AF_INET, SOCK_STREAM, &operations->nobody, &operations->nobody_bytes);
    NEED(symlinkat("loop", operations->folder_descriptor, "loop") == 0);
    NEED(mkfifoat(operations->folder_descriptor, "fifo", 0600) == 0);
    memset(operations->endless, 'a', sizeof operations->endless - 1);
}

static void start_one(struct operations *operations, struct operation *operation)
{
    operation->all = operations;
    char *area = mmap(NULL, PAGE_BYTES + AREA_BYTES + PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0);
    NEED(area != MAP_FAILED && mprotect(area + PAGE_BYTES + AREA_BYTES, PAGE_BYTES, PROT_NONE) == 0);
    operation->area = area + PAGE_BYTES;
    memset(operation->area - CANARY_BYTES, operation_untouched(operation), CANARY_BYTES + AREA_BYTES);
    operation->drained = malloc(DRAINED_BYTES);
    NEED(operation->drained != NULL);
    int bytes = SEND_BUFFER_BYTES;
    NEED(pipe2(operation->pipe, O_CLOEXEC) == 0 && fcntl(operation->pipe[1], F_SETPIPE_SZ, PIPE_BYTES) == PIPE_BYTES);
    NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, operation->pair) == 0);
    NEED(setsockopt(operation->pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0);
    operation->listeners[0] = listening(AF_UNIX, 0);
    operation->listeners[1] = listening(AF_INET, 8);
    operation->reader = open_below(operations, "content.bin", O_RDONLY);
    /* Every other one reads ahead. */
    posix_fadvise(operation->reader, 0, 0, operation->index % 2 == 0 ? POSIX_FADV_NORMAL : POSIX_FADV_RANDOM);
    /* Not every file system has it. */
    operation->direct = openat(operations->folder_descriptor, "content.bin", O_RDONLY | O_DIRECT | O_CLOEXEC);
    operation->writer = open_below(operations, "scratch.bin", O_RDWR);
    operation->folder = open_below(operations, "folder", O_RDONLY | O_DIRECTORY);
    memset(operation->list, operation_untouched(operation), sizeof operation->list);
    long listed = syscall(SYS_getdents64, operation->folder, operation->list, sizeof operation->list);
    NEED(listed > 256);
    operation->list_bytes = (size_t)listed;
    char name[32];
    snprintf(name, sizeof name, "fifo-%u", operation->index);
    NEED(mkfifoat(operations->folder_descriptor, name, 0600) == 0);
}

void operations_start(struct operations *operations, const char *name, unsigned count, uint64_t seed)
{
    *operations = (struct operations){.count = count, .seed = seed, .content_bytes = CONTENT_BYTES};
    snprintf(operations->folder, sizeof operations->folder, "%s/%s", fixture_root(), name);
    NEED(mkdir(operations->folder, 0700) == 0);
    operations->folder_descriptor = open(operations->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    NEED(operations->folder_descriptor >= 0);

    operations->content = malloc(CONTENT_BYTES);
    operations->scratch = calloc(count, REGION_BYTES);
    operations->each = calloc(count, sizeof *operations->each);
    NEED(operations->content != NULL && operations->scratch != NULL && operations->each != NULL);
    uint64_t random = 2004;
    for (size_t i = 0; i < CONTENT_BYTES; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        operations->content[i] = (char)(random >> 56);
    }
    write_file(operations, "content.bin", operations->content, CONTENT_BYTES);
    write_file(operations, "scratch.bin", operations->scratch, (size_t)count * REGION_BYTES);
    NEED(mkdirat(operations->folder_descriptor, "folder", 0700) == 0);
    for (int i = 0; i < 20; i++) {
        char path[32];
        snprintf(path, sizeof path, "folder/%.*s-%d", i % 12 + 1, "abcdefghijkl", i);
        write_file(operations, path, "", 0);
    }
    NEED(fstatat(operations->folder_descriptor, "content.bin", &operations->status, 0) == 0);
    operations->content_file = open_below(operations, "content.bin", O_RDONLY);
    operations->scratch_file = open_below(operations, "scratch.bin", O_RDWR);
    start_failing(operations);
    for (unsigned i = 0; i < count; i++) {
        operations->each[i].index = i;
        start_one(operations, &operations->each[i]);
    }
    operations->partner = partner_start();
}

static void close_all(const int *descriptors, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
}
#define CLOSE_ALL(...) close_all((const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

static void check_scratch(const struct operations *operations)
{
    char *region = malloc(REGION_BYTES);
    NEED(region != NULL);
    for (unsigned i = 0; i < operations->count; i++) {
        off_t offset = (off_t)i * REGION_BYTES;
        NEED(pread(operations->scratch_file, region, REGION_BYTES, offset) == REGION_BYTES);
        bool same = memcmp(region, operations->scratch + offset, REGION_BYTES) == 0;
        CHECK(same, "region %u of scratch.bin is not as written", i);
    }
    CHECK(lseek(operations->scratch_file, 0, SEEK_END) == (off_t)operations->count * REGION_BYTES, "its size");
    free(region);
}

void operations_stop(struct operations *operations)
{
    partner_stop(operations->partner);
    check_scratch(operations);
    for (unsigned i = 0; i < operations->count; i++) {
        struct operation *operation = &operations->each[i];
        CLOSE_ALL(operation->pipe[0], operation->pipe[1], operation->pair[0], operation->pair[1],
                  operation->listeners[0], operation->listeners[1], operation->reader, operation->direct,
                  operation->writer, operation->folder);
        munmap(operation->area - PAGE_BYTES, PAGE_BYTES + AREA_BYTES + PAGE_BYTES);
        free(operation->drained);
    }
    CLOSE_ALL(operations->folder_descriptor, operations->content_file, operations->scratch_file, operations->write_only,
              operations->empty_pipe[0], operations->empty_pipe[1], operations->full_pipe[0], operations->full_pipe[1],
              operations->broken_pipe[1], operations->broken_pair[0], operations->silent_pair[0],
              operations->silent_pair[1], operations->datagram, operations->stream, operations->quiet_listener,
              operations->full_device, operations->full_file, operations->reserved);
    free(operations->content);
    free(operations->scratch);
    free(operations->each);
}
