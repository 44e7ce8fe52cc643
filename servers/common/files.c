/* files.c: a hash table of open files with least-recently-used eviction. */
#include "files.h"

#include "clock.h"
#include "counters.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int files_start(struct files *files, const char *root, uint64_t max_memory_bytes, unsigned max_open)
{
    *files = (struct files){.max_memory_bytes = max_memory_bytes, .max_open = max_open > 0 ? max_open : 1};
    files->root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return files->root < 0 ? -1 : 0;
}

const char *content_type(const char *path)
{
    static const char types[][2][32] = {
        {"html", "text/html"},       {"htm", "text/html"},          {"css", "text/css"},
        {"txt", "text/plain"},       {"js", "text/javascript"},     {"json", "application/json"},
        {"xml", "text/xml"},         {"pdf", "application/pdf"},    {"png", "image/png"},
        {"jpg", "image/jpeg"},       {"jpeg", "image/jpeg"},        {"gif", "image/gif"},
        {"svg", "image/svg+xml"},    {"webp", "image/webp"},        {"ico", "image/x-icon"},
        {"wasm", "application/wasm"}, {"mp4", "video/mp4"},
    };
    const char *name = strrchr(path, '/');
    const char *dot = strrchr(name == NULL ? path : name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(dot + 1, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

static uint32_t hash_of(const char *path, size_t bytes)
{
    uint32_t hash = 2166136261; /* FNV-1a */
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (uint8_t)path[i]) * 16777619;
    return hash;
}

/* Within the root whatever the path and the links in it say (openat2(2), Linux 5.6); O_NONBLOCK against a FIFO. */
const struct open_how file_how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                                  .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};

long file_open(const struct files *files, const struct file *file)
{
    long result = syscall(SYS_openat2, files->root, file->path, &file_how, sizeof file_how);
    return result < 0 ? -errno : result;
}

void file_unpin(struct file *file)
{
    if (--file->pins > 0)
        return;
    if (file->descriptor >= 0)
        close(file->descriptor);
    free(file->bytes);
    free(file);
}

static void unlink_from_order(struct files *files, struct file *file)
{
    *(file->newer != NULL ? &file->newer->older : &files->newest) = file->older;
    *(file->older != NULL ? &file->older->newer : &files->oldest) = file->newer;
}

static void put_newest(struct files *files, struct file *file)
{
    file->newer = NULL;
    file->older = files->newest;
    *(files->newest != NULL ? &files->newest->newer : &files->oldest) = file;
    files->newest = file;
}

static void evict(struct files *files, struct file *file)
{
    struct file **link = &files->buckets[file->hash % FILES_BUCKETS];
    while (*link != file)
        link = &(*link)->next;
    *link = file->next;
    unlink_from_order(files, file);
    files->kept--;
    if (file->bytes != NULL)
        files->memory_bytes -= file->size;
    else
        files->kept_open--;
    file_unpin(file);
}

/* Give up the open file that was unused for longest; with now, one that no reply uses, so that its descriptor is free. */
static bool give_up_open_file(struct files *files, bool now)
{
    for (struct file *file = files->oldest; file != NULL; file = file->newer)
        if (file->descriptor >= 0 && (file->pins == 1 || !now)) {
            evict(files, file);
            return true;
        }
    return false;
}

static bool read_all(int descriptor, char *to, uint64_t size)
{
    for (uint64_t have = 0; have < size;) {
        ssize_t got = pread(descriptor, to + have, size - have, (off_t)have);
        if (got <= 0)
            return false; /* an error, or cut short since fstat */
        have += (uint64_t)got;
    }
    return true;
}

static int status_of(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return 503;
    case EIO:
    case ENOSYS:
    case EAGAIN: /* openat2: the tree was being changed during the walk */
        return 500;
    default: /* ENOENT, ENOTDIR, ELOOP, EXDEV (outside the root), EACCES, ...: nothing that is to be seen */
        return 404;
    }
}

static void prepare_fields(struct file *file)
{
    char modified[HTTP_DATE_BYTES + 1];
    http_date_format(file->modified, modified);
    file->modified_at = snprintf(file->fields, sizeof file->fields, "Content-Type: %s\r\nContent-Length: %llu\r\n",
                                 content_type(file->path), (unsigned long long)file->size);
    file->fields_bytes = file->modified_at + snprintf(file->fields + file->modified_at,
                                                      sizeof file->fields - (size_t)file->modified_at,
                                                      "Last-Modified: %s\r\n", modified);
}

/* A file that is not open yet, with one pin; NULL: no memory. */
static struct file *unopened(const char *path, size_t path_bytes, uint32_t hash)
{
    struct file *file = calloc(1, sizeof *file + path_bytes + 1);
    if (file == NULL)
        return NULL;
    file->pins = 1;
    file->descriptor = -1;
    file->hash = hash;
    file->path_bytes = (uint32_t)path_bytes;
    memcpy(file->path, path, path_bytes);
    return file;
}

/* Returns the status: 200 when all that a reply needs is known. */
static int load(const struct files *files, struct file *file)
{
    if (fstat(file->descriptor, &file->identity) != 0 || !S_ISREG(file->identity.st_mode))
        return 404;
    file->size = (uint64_t)file->identity.st_size;
    file->modified = file->identity.st_mtime;
    prepare_fields(file);
    if (file->size > FILE_IN_MEMORY_BYTES || file->size > files->max_memory_bytes)
        return 200;
    file->bytes = malloc(file->size + 1); /* an empty file has contents too */
    if (file->bytes == NULL)
        return 503;
    if (!read_all(file->descriptor, file->bytes, file->size))
        return 500;
    close(file->descriptor);
    file->descriptor = -1;
    return 200;
}

static bool unchanged(const struct files *files, const struct file *file)
{
    struct stat now;
    const struct stat *then = &file->identity;
    return fstatat(files->root, file->path, &now, 0) == 0 && now.st_dev == then->st_dev &&
           now.st_ino == then->st_ino && now.st_size == then->st_size &&
           now.st_mtim.tv_sec == then->st_mtim.tv_sec && now.st_mtim.tv_nsec == then->st_mtim.tv_nsec;
}

static void keep(struct files *files, struct file *file, uint64_t now_ms)
{
    uint64_t memory = file->bytes != NULL ? file->size : 0;
    while (files->oldest != NULL &&
           (files->kept >= FILES_MAX || files->memory_bytes + memory > files->max_memory_bytes))
        evict(files, files->oldest);
    if (file->bytes == NULL && files->kept_open >= files->max_open)
        give_up_open_file(files, false);
    file->checked_ms = now_ms;
    file->next = files->buckets[file->hash % FILES_BUCKETS];
    files->buckets[file->hash % FILES_BUCKETS] = file;
    file->pins++;
    files->kept++;
    files->kept_open += file->bytes == NULL;
    files->memory_bytes += memory;
    put_newest(files, file);
}

static struct file *find(const struct files *files, const char *path, size_t path_bytes, uint32_t hash)
{
    struct file *file = files->buckets[hash % FILES_BUCKETS];
    while (file != NULL &&
           (file->hash != hash || file->path_bytes != path_bytes || memcmp(file->path, path, path_bytes) != 0))
        file = file->next;
    return file;
}

struct file *files_lookup(struct files *files, const char *path, size_t path_bytes, uint64_t now_ms)
{
    uint32_t hash = hash_of(path, path_bytes);
    struct file *file = find(files, path, path_bytes, hash);
    if (file != NULL && now_ms - file->checked_ms >= FILE_RECHECK_MS) {
        if (unchanged(files, file)) {
            file->checked_ms = now_ms;
        } else {
            evict(files, file);
            file = NULL;
        }
    }
    if (file == NULL) {
        count(file_misses);
        return unopened(path, path_bytes, hash);
    }
    count(file_hits);
    if (file != files->newest) {
        unlink_from_order(files, file);
        put_newest(files, file);
    }
    file->pins++;
    return file;
}

struct file *files_opened(struct files *files, struct file *file, long result, uint64_t now_ms, int *status)
{
    while ((result == -EMFILE || result == -ENFILE) && give_up_open_file(files, true))
        result = file_open(files, file);
    file->descriptor = result < 0 ? -1 : (int)result;
    struct file *other = find(files, file->path, file->path_bytes, file->hash);
    if (other != NULL) { /* asked for again while it was being opened, and that came first */
        file_unpin(file);
        other->pins++;
        return other;
    }
    *status = result < 0 ? status_of((int)-result) : load(files, file);
    if (*status != 200) {
        file_unpin(file);
        return NULL;
    }
    keep(files, file, now_ms);
    return file;
}

struct file *files_open(struct files *files, const char *path, size_t path_bytes, uint64_t now_ms, int *status)
{
    struct file *file = files_lookup(files, path, path_bytes, now_ms);
    if (file == NULL)
        *status = 503;
    return file == NULL || file_is_open(file) ? file
                                              : files_opened(files, file, file_open(files, file), now_ms, status);
}

void files_stop(struct files *files)
{
    while (files->oldest != NULL)
        evict(files, files->oldest);
    close(files->root);
}
