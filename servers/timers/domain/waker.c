/* waker.c: a ring of wake-ups, made without liburing: one kind of entry, and no completions but of failures.
 *
 * Sources: io_uring_setup(2), io_uring_enter(2); io_uring/futex.c, io_futex_prep() and io_futex_wake().
 */
#include "waker.h"

#include <linux/futex.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OP_FUTEX_WAKE 52     /* IORING_OP_FUTEX_WAKE, an enumerator that older headers lack */
#define FUTEX_OF_32_BITS 0x2 /* FUTEX2_SIZE_U32; shared */

static void put(struct waker *waker, _Atomic uint32_t *futex, uint8_t flags)
{
    const uint32_t tail = atomic_load_explicit(waker->tail, memory_order_relaxed);
    struct io_uring_sqe *entry = (struct io_uring_sqe *)waker->entries + (tail & waker->mask);
    memset(entry, 0, sizeof *entry);
    entry->opcode = OP_FUTEX_WAKE;
    entry->flags = flags;
    entry->fd = FUTEX_OF_32_BITS;
    entry->addr = (uint64_t)(uintptr_t)futex;
    entry->off = 1; /* waiters */
    entry->addr3 = FUTEX_BITSET_MATCH_ANY;
    atomic_store_explicit(waker->tail, tail + 1, memory_order_release);
    waker->count++;
}

static void submit(struct waker *waker)
{
    while (waker->count > 0) {
        const long taken = syscall(SYS_io_uring_enter, waker->ring, waker->count, 0, 0, NULL, 0);
        waker->count -= taken > 0 ? (uint32_t)taken : 0;
    }
}

static bool map(struct waker *waker, const struct io_uring_params *made)
{
    const struct io_sqring_offsets *in = &made->sq_off;
    const struct io_cqring_offsets *out = &made->cq_off;
    const size_t in_bytes = in->array + made->sq_entries * sizeof(uint32_t);
    const size_t out_bytes = out->cqes + made->cq_entries * sizeof(struct io_uring_cqe);
    waker->rings_bytes = in_bytes > out_bytes ? in_bytes : out_bytes;
    waker->entries_bytes = made->sq_entries * sizeof(struct io_uring_sqe);
    waker->rings = mmap(NULL, waker->rings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, waker->ring, IORING_OFF_SQ_RING);
    waker->entries = mmap(NULL, waker->entries_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, waker->ring, IORING_OFF_SQES);
    if (waker->rings == MAP_FAILED || waker->entries == MAP_FAILED || (made->features & IORING_FEAT_SINGLE_MMAP) == 0)
        return false;
    char *rings = waker->rings;
    uint32_t *array = (uint32_t *)(void *)(rings + in->array);
    for (uint32_t i = 0; i < made->sq_entries; i++) /* entries are used in their order */
        array[i] = i;
    waker->tail = (void *)(rings + in->tail);
    waker->mask = *(uint32_t *)(void *)(rings + in->ring_mask);
    waker->completions_head = (void *)(rings + out->head);
    waker->completions_tail = (void *)(rings + out->tail);
    return true;
}

/* Seen by a try to wake nobody. */
static bool is_known(struct waker *waker, const struct io_uring_params *made)
{
    _Atomic uint32_t nobodys = 0;
    put(waker, &nobodys, 0);
    submit(waker);
    const uint32_t head = *waker->completions_head;
    const struct io_uring_cqe *completions = (void *)((char *)waker->rings + made->cq_off.cqes);
    const bool known = atomic_load(waker->completions_tail) == head + 1 &&
                       completions[head & (made->cq_entries - 1)].res == 0;
    atomic_store(waker->completions_head, atomic_load(waker->completions_tail));
    return known;
}

void waker_open(struct waker *waker, bool plainly)
{
    struct io_uring_params made = {.flags = IORING_SETUP_SUBMIT_ALL};
    *waker = (struct waker){.ring = -1, .rings = MAP_FAILED, .entries = MAP_FAILED};
    if (plainly)
        return;
    waker->ring = (int)syscall(SYS_io_uring_setup, WAKER_MOST, &made);
    if (waker->ring >= 0 && (!map(waker, &made) || !is_known(waker, &made)))
        waker_close(waker);
}

void waker_close(struct waker *waker)
{
    if (waker->rings != MAP_FAILED)
        munmap(waker->rings, waker->rings_bytes);
    if (waker->entries != MAP_FAILED)
        munmap(waker->entries, waker->entries_bytes);
    if (waker->ring >= 0)
        close(waker->ring);
    *waker = (struct waker){.ring = -1, .rings = MAP_FAILED, .entries = MAP_FAILED};
}

void waker_add(struct waker *waker, _Atomic uint32_t *futex)
{
    if (waker->ring < 0) {
        syscall(SYS_futex, futex, FUTEX_WAKE, 1, NULL, NULL, 0);
        return;
    }
    if (waker->count == WAKER_MOST)
        waker_flush(waker);
    put(waker, futex, IOSQE_CQE_SKIP_SUCCESS);
}

void waker_flush(struct waker *waker)
{
    if (waker->ring < 0 || waker->count == 0)
        return;
    submit(waker);
    /* Only failures complete, and there are none that the domain could do anything about. */
    atomic_store_explicit(waker->completions_head, atomic_load(waker->completions_tail), memory_order_release);
}
