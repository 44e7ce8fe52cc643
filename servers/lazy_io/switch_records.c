/* switch_records.c: context switches of a thread, from a perf event. */
#include "switch_records.h"

#include "activation_layout.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE_BYTES 4096u /* of a ring on x86-64: one page that describes it, one of records */

_Static_assert(offsetof(struct perf_event_mmap_page, data_head) == PAGE_DATA_HEAD, "activation_layout.h");
_Static_assert(offsetof(struct perf_event_mmap_page, data_tail) == PAGE_DATA_TAIL, "activation_layout.h");

int switch_records_open(struct switch_records *records)
{
    struct perf_event_attr attribute = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof attribute,
        .config = PERF_COUNT_SW_DUMMY,
        .context_switch = 1,
        .exclude_kernel = 1,
        .exclude_hv = 1,
        .watermark = 1, /* of one byte: each record wakes */
        .wakeup_watermark = 1,
    };
    *records = (struct switch_records){.event = -1};
    records->event = (int)syscall(SYS_perf_event_open, &attribute, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (records->event < 0)
        return -1;
    char *pages = mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, records->event, 0);
    if (pages == MAP_FAILED) {
        close(records->event);
        records->event = -1;
        return -1;
    }
    records->page = (struct perf_event_mmap_page *)(void *)pages;
    records->ring = pages + PAGE_BYTES;
    switch_records_mask(records);
    return 0;
}

void switch_records_close(struct switch_records *records)
{
    if (records->event < 0)
        return;
    munmap(records->page, 2 * PAGE_BYTES);
    close(records->event);
    records->event = -1;
}

static uint64_t head_of(const struct switch_records *records)
{
    return __atomic_load_n(&records->page->data_head, __ATOMIC_ACQUIRE);
}

void switch_records_mask(const struct switch_records *records)
{
    uint64_t head;
    do {
        head = head_of(records);
        __atomic_store_n(&records->page->data_tail, head + RECORDS_MASKED, __ATOMIC_SEQ_CST);
    } while (head_of(records) != head); /* a switch came between: the ring was not full yet */
}

enum switched switch_records_since(const struct switch_records *records, uint64_t head)
{
    uint64_t end = head_of(records);
    if (end == head)
        return SWITCHED_NOT;
    while (head < end && end - head < PAGE_BYTES) {
        const struct perf_event_header *record = (const void *)(records->ring + head % PAGE_BYTES);
        uint16_t size = __atomic_load_n(&record->size, __ATOMIC_RELAXED);
        bool out = record->type == PERF_RECORD_SWITCH && (record->misc & PERF_RECORD_MISC_SWITCH_OUT);
        if (out && !(record->misc & PERF_RECORD_MISC_SWITCH_OUT_PREEMPT))
            return SWITCHED_BLOCKED;
        if (size == 0)
            break; /* overwritten meanwhile: the call is over, and its state will say so */
        head += size;
    }
    return SWITCHED_PREEMPTED;
}
