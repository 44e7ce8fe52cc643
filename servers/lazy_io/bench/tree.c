/* tree.c: makes the folders once, and empties the caches over them. */
#include "tree.h"

#include "arguments.h"
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void tree_path(uint32_t index, char path[TREE_PATH_BYTES])
{
    snprintf(path, TREE_PATH_BYTES, "folder-%06u/file.html", index);
}

uint64_t tree_file_bytes(uint32_t index)
{
    return 200 + index % 1000; /* so that one is not taken for another */
}

static _Noreturn void refuse(const char *path)
{
    fail(1, "%s: %s", path, strerror(errno));
}

static void make_file(int root, const char *path, uint64_t bytes)
{
    static const char content[1200];
    int file = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0 || write(file, content, bytes) != (ssize_t)bytes || close(file) != 0)
        refuse(path);
}

static void make(int root, uint32_t count, bool listed)
{
    char path[TREE_PATH_BYTES];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(path, sizeof path, "folder-%06u", i);
        if (mkdirat(root, path, 0755) != 0 && errno != EEXIST)
            refuse(path);
        tree_path(i, path);
        if (!listed)
            make_file(root, path, tree_file_bytes(i));
        for (int k = 0; listed && k < LISTED_ENTRIES; k++) {
            snprintf(path, sizeof path, "folder-%06u/entry-%03d", i, k);
            make_file(root, path, 0);
        }
    }
    if (syncfs(root) != 0) /* what is dirty is not dropped */
        refuse("syncfs");
    make_file(root, "complete", 0);
}

static bool open_drop(struct bench *bench, struct tree *tree)
{
    if (!bench->options.drop_caches)
        return bench_unsupported(bench, "cold names need --drop-caches, which empties the whole machine's caches");
    tree->drop = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    return tree->drop >= 0 || bench_unsupported(bench, "dropping caches needs root: /proc/sys/vm/drop_caches: %s",
                                                strerror(errno));
}

bool tree_open(struct bench *bench, struct tree *tree, bool listed, bool cold)
{
    *tree = (struct tree){.root = -1,
                          .count = listed ? LISTED_FOLDERS : (uint32_t)bench->options.files,
                          .listed = listed,
                          .drop = -1};
    if (cold && !open_drop(bench, tree))
        return false;
    const char *folder = bench->options.folder;
    char path[512];
    int length = snprintf(path, sizeof path, "%s/lazybench-%s-%u", folder, listed ? "listed" : "tree", tree->count);
    if (length < 0 || (size_t)length >= sizeof path)
        fail(2, "--folder: the name is too long");
    if ((mkdir(folder, 0755) != 0 && errno != EEXIST) || (mkdir(path, 0755) != 0 && errno != EEXIST))
        refuse(path);
    tree->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    tree->order = calloc(tree->count, sizeof *tree->order);
    tree->folders = calloc(tree->count, sizeof *tree->folders);
    if (tree->root < 0 || tree->order == NULL || tree->folders == NULL)
        refuse(path);
    if (faccessat(tree->root, "complete", F_OK, 0) != 0)
        make(tree->root, tree->count, listed);
    for (uint32_t i = 0; i < tree->count; i++) {
        tree->order[i] = i;
        tree->folders[i] = -1;
    }
    tree->next = tree->count;
    return true;
}

static void close_folders(struct tree *tree)
{
    for (uint32_t i = 0; i < tree->count; i++) {
        if (tree->folders[i] >= 0)
            close(tree->folders[i]);
        tree->folders[i] = -1;
    }
}

void tree_close(struct tree *tree)
{
    if (tree->folders != NULL)
        close_folders(tree);
    if (tree->root >= 0)
        close(tree->root);
    if (tree->drop >= 0)
        close(tree->drop);
    free(tree->order);
    free(tree->folders);
    *tree = (struct tree){.root = -1, .drop = -1};
}

/* One visit of all that a look-up or a listing needs. */
static void visit(struct tree *tree, uint32_t index)
{
    char path[TREE_PATH_BYTES];
    if (!tree->listed) {
        struct stat status;
        tree_path(index, path);
        if (fstatat(tree->root, path, &status, 0) != 0)
            refuse(path);
        return;
    }
    char entries[8192];
    while (inlined_syscall(SYS_getdents64, tree->folders[index], (long)entries, sizeof entries, 0, 0, 0) > 0)
        ;
}

static void open_folders(struct tree *tree)
{
    for (uint32_t i = 0; tree->listed && i < tree->count; i++) {
        char path[TREE_PATH_BYTES];
        snprintf(path, sizeof path, "folder-%06u", i);
        /* A listing is to read its folder, not to date it: relatime would write the inode now and then. */
        tree->folders[i] = openat(tree->root, path, O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC);
        if (tree->folders[i] < 0)
            refuse(path);
    }
}

static void begin_round(struct bench *bench, struct tree *tree)
{
    bench_shuffle(bench, tree->order, tree->count);
    tree->next = 0;
    close_folders(tree);
    open_folders(tree);
    if (tree->drop < 0) {
        for (uint32_t i = 0; i < tree->count; i++)
            visit(tree, i);
        close_folders(tree); /* a description that has been read may keep what it read */
        open_folders(tree);
        return;
    }
    if (syncfs(tree->root) != 0 || write(tree->drop, "3", 1) != 1) /* Documentation/admin-guide/sysctl/vm.rst */
        refuse("/proc/sys/vm/drop_caches");
    visit(tree, tree->order[tree->next++]); /* pays for what all have in common */
}

uint32_t tree_next(struct bench *bench, struct tree *tree)
{
    if (tree->next == tree->count)
        begin_round(bench, tree);
    return tree->order[tree->next++];
}
