/* laio_operations_files.c: operations on files and folders. Those on content.bin find it in memory or just evicted. */
#include "laio_operations.h"

#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

/* openat, openat2 */

static void verify_opened(struct operation *operation, long result)
{
    struct stat status;
    int descriptor = (int)result;
    ino_t expected = operation->status.st_ino;
    bool same = fstat(descriptor, &status) == 0 && (expected == 0 || status.st_ino == expected);
    if (!same || fcntl(descriptor, F_GETFD) != FD_CLOEXEC)
        operation_print(operation, "another file was opened, or not with O_CLOEXEC");
    close(descriptor);
    if (expected == 0 && unlinkat(operation->all->folder_descriptor, operation->path, 0) != 0)
        operation_print(operation, "no file was made");
}

void prepare_open(struct operation *operation)
{
    int folder = operation->all->folder_descriptor;
    operation->gives_descriptor = true;
    operation->verify = verify_opened;
    operation->status = operation->all->status;
    switch (operation_draw(operation, 8)) {
    case 0: /* one that is made */
        snprintf(operation->path, sizeof operation->path, "new-%u", operation->index);
        operation->status.st_ino = 0;
        OPERATION_CALL(operation, SYS_openat, folder, operation->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        break;
    case 1:
        NEED(fstatat(folder, "folder", &operation->status, 0) == 0);
        strcpy(operation->path, "folder");
        OPERATION_CALL(operation, SYS_openat, folder, operation->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        break;
    case 2:
        snprintf(operation->path, sizeof operation->path, "folder/../content.bin");
        OPERATION_CALL(operation, SYS_openat, folder, operation->path, O_RDWR | O_CLOEXEC);
        break;
    case 3: {
        static const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
        strcpy(operation->path, "content.bin");
        OPERATION_CALL(operation, SYS_openat2, folder, operation->path, &how, sizeof how);
        break;
    }
    default:
        strcpy(operation->path, "content.bin");
        OPERATION_CALL(operation, SYS_openat, folder, operation->path, O_RDONLY | O_CLOEXEC);
    }
}

/* fstat, newfstatat, statx */

static void verify_status(struct operation *operation, long result)
{
    (void)result;
    struct stat status, *expected = &operation->all->status;
    memcpy(&status, operation->area + operation->at, sizeof status);
    if (status.st_ino != expected->st_ino || status.st_size != expected->st_size ||
        status.st_mode != expected->st_mode || status.st_nlink != expected->st_nlink ||
        status.st_mtim.tv_nsec != expected->st_mtim.tv_nsec)
        operation_print(operation, "the status of something else");
    operation_holds(operation, operation->area + operation->at, (char *)&status, sizeof status);
}

static void verify_statx(struct operation *operation, long result)
{
    (void)result;
    struct statx status;
    struct stat *expected = &operation->all->status;
    memcpy(&status, operation->area + operation->at, sizeof status);
    if (status.stx_ino != expected->st_ino || status.stx_size != (uint64_t)expected->st_size ||
        status.stx_mode != expected->st_mode || status.stx_mtime.tv_nsec != expected->st_mtim.tv_nsec)
        operation_print(operation, "the status of something else");
    operation_holds(operation, operation->area + operation->at, (char *)&status, sizeof status);
}

void prepare_status(struct operation *operation)
{
    int folder = operation->all->folder_descriptor;
    bool extended = operation_draw(operation, 2) == 0;
    char *buffer = operation_buffer(operation, extended ? sizeof(struct statx) : sizeof(struct stat));
    operation->verify = extended ? verify_statx : verify_status;
    strcpy(operation->path, operation_draw(operation, 4) > 0 ? "content.bin" : "");
    if (extended)
        OPERATION_CALL(operation, SYS_statx, operation->path[0] != '\0' ? folder : operation->all->content_file,
                       operation->path, AT_EMPTY_PATH, STATX_BASIC_STATS, buffer);
    else if (operation->path[0] != '\0')
        OPERATION_CALL(operation, SYS_newfstatat, folder, operation->path, buffer, AT_SYMLINK_NOFOLLOW);
    else
        OPERATION_CALL(operation, SYS_fstat, operation->all->content_file, buffer);
}

/* read, pread64, readv, preadv */

/* Cut these bytes into pieces with gaps between them. */
static void cut(struct operation *operation, size_t bytes)
{
    char *at = operation_buffer(operation, bytes + VECTORS * 50), *from = at;
    operation->vector_count = 1 + (int)operation_draw(operation, VECTORS);
    for (int i = 0; i < operation->vector_count; i++) {
        size_t length = i == operation->vector_count - 1 ? bytes : operation_draw(operation, bytes + 1);
        operation->vectors[i] = (struct iovec){.iov_base = at, .iov_len = length};
        at += length + operation_draw(operation, 50);
        bytes -= length;
    }
    operation->bytes = (size_t)(at - from);
}

/* read and readv leave the position behind what they read, the others leave it alone. */
static void verify_position(struct operation *operation, int descriptor, long result)
{
    bool moves = operation->number == SYS_read || operation->number == SYS_readv || operation->number == SYS_write ||
                 operation->number == SYS_writev;
    if (moves && lseek(descriptor, 0, SEEK_CUR) != operation->offset + result)
        operation_print(operation, "the file's position is wrong");
}

static void verify_read(struct operation *operation, long result)
{
    size_t left = (size_t)result;
    const char *content = operation->content;
    if (operation->vector_count == 0)
        operation_holds(operation, operation->area + operation->at, content, left);
    for (int i = 0; i < operation->vector_count && left > 0; i++) {
        size_t piece = operation->vectors[i].iov_len < left ? operation->vectors[i].iov_len : left;
        operation_holds(operation, operation->vectors[i].iov_base, content, piece);
        content += piece;
        left -= piece;
    }
    verify_position(operation, operation->reader, result);
}

static size_t draw_bytes(struct operation *operation)
{
    switch (operation_draw(operation, 32)) {
    case 0:
        return 0;
    case 1:
        return operation_draw(operation, 60000);
    case 2 ... 10:
        return 1 + operation_draw(operation, 200);
    default:
        return 1 + operation_draw(operation, 16384);
    }
}

/* A buffer whose end is no memory: what a plain call makes of it is what is expected. */
static void across_the_end(struct operation *operation, size_t bytes)
{
    operation->bytes = 1 + operation_draw(operation, 5000);
    operation->at = AREA_BYTES - operation->bytes;
    OPERATION_CALL(operation, SYS_pread64, operation->all->content_file, operation->area + operation->at,
                   operation->bytes + bytes, operation->offset);
    operation->expected = operation_plainly(operation);
    if (operation->expected > 0)
        operation_holds_content(operation, operation->expected);
}

/* Whole pages, past the page cache. Behind the end of the file the kernel may write what it likes, so not there. */
static void prepare_direct_read(struct operation *operation)
{
    size_t pages = 1 + operation_draw(operation, 8), all_pages = operation->all->content_bytes / PAGE_BYTES;
    size_t offset = operation_draw(operation, all_pages - pages) * PAGE_BYTES;
    operation->at = PAGE_BYTES;
    operation->bytes = pages * PAGE_BYTES;
    operation->expected = (long)operation->bytes;
    operation->content = operation->all->content + offset;
    operation->verify = operation_holds_content;
    OPERATION_CALL(operation, SYS_pread64, operation->direct, operation->area + operation->at, operation->bytes,
                   offset);
}

void prepare_read(struct operation *operation)
{
    if (operation->direct >= 0 && operation_draw(operation, 16) == 0) {
        prepare_direct_read(operation);
        return;
    }
    struct operations *all = operation->all;
    size_t bytes = draw_bytes(operation), size = all->content_bytes, offset = operation_draw(operation, size);
    unsigned place = (unsigned)operation_draw(operation, 32);
    if (place < 3 && bytes > 0)
        offset = size - operation_draw(operation, bytes); /* across the end of the file */
    else if (place == 3)
        offset = size + operation_draw(operation, 10000); /* behind it */
    size_t there = offset < size ? size - offset : 0;
    operation->expected = (long)(bytes < there ? bytes : there);
    operation->content = all->content + (there > 0 ? offset : 0);
    operation->offset = (off_t)offset;
    operation->verify = verify_read;
    int reader = operation->reader;
    if (place == 4 && there > 0) {
        across_the_end(operation, bytes);
    } else {
        unsigned how = (unsigned)operation_draw(operation, 8);
        if (how < 2)
            cut(operation, bytes);
        char *buffer = how < 2 ? NULL : operation_buffer(operation, bytes);
        if (how == 0) {
            OPERATION_CALL(operation, SYS_preadv, reader, operation->vectors, operation->vector_count, offset);
        } else if (how == 1 || how == 2) {
            NEED(lseek(reader, (off_t)offset, SEEK_SET) == (off_t)offset);
            if (how == 1)
                OPERATION_CALL(operation, SYS_readv, reader, operation->vectors, operation->vector_count);
            else
                OPERATION_CALL(operation, SYS_read, reader, buffer, bytes);
        } else {
            OPERATION_CALL(operation, SYS_pread64, reader, buffer, bytes, offset);
        }
    }
    /* All of it is evicted, or a part. Others may bring it back before the call: that is right, too. */
    if (operation_draw(operation, 4) == 0 && bytes > 0) {
        size_t from = offset + operation_draw(operation, bytes + 1) * operation_draw(operation, 2);
        posix_fadvise(reader, (off_t)from, (off_t)(operation_draw(operation, bytes) + 8192), POSIX_FADV_DONTNEED);
    }
}

/* write, pwrite64, writev, pwritev */

static void verify_write(struct operation *operation, long result)
{
    size_t region = operation->index * (size_t)REGION_BYTES;
    char *model = operation->all->scratch + region, *written = operation->drained;
    memcpy(model + operation->offset % REGION_BYTES, operation->content, (size_t)result);
    bool all = pread(operation->all->scratch_file, written, REGION_BYTES, (off_t)region) == REGION_BYTES;
    if (!all || memcmp(written, model, REGION_BYTES) != 0)
        operation_print(operation, "the file is not as written");
    verify_position(operation, operation->writer, result);
}

void prepare_write(struct operation *operation)
{
    size_t bytes = operation_draw(operation, operation_draw(operation, 4) == 0 ? 12000 : 500);
    size_t offset = operation->index * (size_t)REGION_BYTES + operation_draw(operation, REGION_BYTES - bytes);
    const char *content = operation_content(operation, bytes);
    char *buffer = operation_filled(operation, content, bytes);
    unsigned how = (unsigned)operation_draw(operation, 4);
    operation->offset = (off_t)offset;
    operation->expected = (long)bytes;
    operation->verify = verify_write;
    if (how >= 2) { /* of two pieces, one of which may be empty */
        size_t first = operation_draw(operation, bytes + 1);
        operation->vectors[0] = (struct iovec){.iov_base = buffer, .iov_len = first};
        operation->vectors[1] = (struct iovec){.iov_base = buffer + first, .iov_len = bytes - first};
    }
    if (how == 0 || how == 2)
        NEED(lseek(operation->writer, (off_t)offset, SEEK_SET) == (off_t)offset);
    if (how == 0)
        OPERATION_CALL(operation, SYS_write, operation->writer, buffer, bytes);
    else if (how == 1)
        OPERATION_CALL(operation, SYS_pwrite64, operation->writer, buffer, bytes, offset);
    else if (how == 2)
        OPERATION_CALL(operation, SYS_writev, operation->writer, operation->vectors, 2);
    else
        OPERATION_CALL(operation, SYS_pwritev, operation->writer, operation->vectors, 2, offset);
}

void prepare_sync(struct operation *operation)
{
    OPERATION_CALL(operation, operation_draw(operation, 2) == 0 ? SYS_fsync : SYS_fdatasync, operation->writer);
}

/* getdents64: what a plain call has said before. */

static size_t whole_entries(const char *list, size_t bytes, size_t room)
{
    size_t at = 0;
    for (unsigned short length; at < bytes; at += length) {
        memcpy(&length, list + at + offsetof(struct dirent64, d_reclen), sizeof length);
        if (at + length > room)
            break;
    }
    return at;
}

void prepare_list(struct operation *operation)
{
    size_t bytes = operation_draw(operation, 2) == 0 ? LIST_BYTES : LIST_BYTES / 16;
    char *buffer = operation_buffer(operation, bytes);
    NEED(lseek(operation->folder, 0, SEEK_SET) == 0);
    operation->waits = operation->partly = true; /* a signal ends a list early */
    operation->content = operation->list;
    operation->expected = (long)whole_entries(operation->list, operation->list_bytes, bytes);
    operation->verify = operation_holds_content;
    OPERATION_CALL(operation, SYS_getdents64, operation->folder, buffer, bytes);
}

/* lseek */

void prepare_seek(struct operation *operation)
{
    long size = (long)operation->all->content_bytes;
    long from = (long)operation_draw(operation, 1000), by = (long)operation_draw(operation, (uint64_t)size);
    NEED(lseek(operation->reader, from, SEEK_SET) == from);
    static const int whence[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_HOLE};
    unsigned how = (unsigned)operation_draw(operation, 4);
    operation->expected = (const long[]){by, from + by, size + by, size}[how];
    OPERATION_CALL(operation, SYS_lseek, operation->reader, by, whence[how]);
}
