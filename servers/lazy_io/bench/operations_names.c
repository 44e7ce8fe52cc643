/* operations_names.c: open, stat and readdir, which wait for what the file system reads about files. */
#include "operations.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#define ENTRIES_BYTES 32768 /* what the C library's readdir asks for */

static bool prepare_tree(struct operation *operation, bool listed)
{
    return tree_open(operation->bench, &operation->tree, listed, operation_is(operation, "cold"));
}

static void end_tree(struct operation *operation)
{
    tree_close(&operation->tree);
}

static bool tree_prepare(struct operation *operation)
{
    return prepare_tree(operation, false);
}

static void choose_file(struct operation *operation)
{
    operation->index = tree_next(operation->bench, &operation->tree);
    tree_path(operation->index, operation->path);
}

static void open_ready(struct operation *operation)
{
    choose_file(operation);
    operation_call(operation, SYS_openat, operation->tree.root, (long)operation->path, O_RDONLY | O_CLOEXEC, 0, 0);
}

static bool open_right(struct operation *operation, long result)
{
    if (result < 0)
        return false;
    struct stat status;
    bool right = fstat((int)result, &status) == 0 &&
                 (uint64_t)status.st_size == tree_file_bytes(operation->index);
    return close((int)result) == 0 && right;
}

const struct operation_kind operation_open = {
    .name = "open",
    .what = "openat of a file, each in a folder of its own",
    .states = {"warm", "cold"},
    .call = "openat",
    .number = SYS_openat,
    .minimum = 50,
    .prepare = tree_prepare,
    .ready = open_ready,
    .right = open_right,
    .end = end_tree,
};

static void stat_ready(struct operation *operation)
{
    choose_file(operation);
    operation->status.stx_size = 0;
    operation_call(operation, SYS_statx, operation->tree.root, (long)operation->path, 0, STATX_BASIC_STATS,
                   (long)&operation->status);
}

static bool stat_right(struct operation *operation, long result)
{
    return result == 0 && operation->status.stx_size == tree_file_bytes(operation->index);
}

const struct operation_kind operation_stat = {
    .name = "stat",
    .what = "statx of a file by its name",
    .states = {"warm", "cold"},
    .call = "statx",
    .number = SYS_statx,
    .minimum = 50,
    .prepare = tree_prepare,
    .ready = stat_ready,
    .right = stat_right,
    .end = end_tree,
};

static bool readdir_prepare(struct operation *operation)
{
    operation->buffer = bench_buffer(ENTRIES_BYTES);
    return prepare_tree(operation, true);
}

static void readdir_ready(struct operation *operation)
{
    operation->index = tree_next(operation->bench, &operation->tree);
    operation_call(operation, SYS_getdents64, operation->tree.folders[operation->index], (long)operation->buffer,
                   ENTRIES_BYTES, 0, 0);
}

static bool readdir_right(struct operation *operation, long result)
{
    unsigned entries = 0;
    for (long at = 0; at < result; entries++)
        at += ((struct dirent64 *)(void *)(operation->buffer + at))->d_reclen;
    return entries == LISTED_ENTRIES + 2;
}

const struct operation_kind operation_readdir = {
    .name = "readdir",
    .what = "getdents64 of a folder of 100 entries, opened before and not yet read",
    .states = {"warm", "cold"},
    .call = "getdents64",
    .number = SYS_getdents64,
    .minimum = 50,
    .prepare = readdir_prepare,
    .ready = readdir_ready,
    .right = readdir_right,
    .end = end_tree,
};
