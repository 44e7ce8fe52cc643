/* switch_records.h: what the kernel records when a thread is switched out: did it block, or was it preempted?
 *
 * A perf software event of type dummy with context_switch=1 needs no privilege up to perf_event_paranoid 2. It writes a
 * record to a ring that is shared with us at every switch, and wakes who polls the event.
 */
#ifndef NAI_SWITCH_RECORDS_H
#define NAI_SWITCH_RECORDS_H

#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>

struct switch_records {
    int event;
    struct perf_event_mmap_page *page;
    const char *ring;
};

/* Of the calling thread; masked at first. Returns 0, or -1 with errno. */
int switch_records_open(struct switch_records *records);
void switch_records_close(struct switch_records *records);

/* From now on no switch is recorded and nobody woken, until a call makes room (activation_switch.S). */
void switch_records_mask(const struct switch_records *records);

enum switched { SWITCHED_NOT, SWITCHED_PREEMPTED, SWITCHED_BLOCKED };

/* What happened since the head was there. Blocked wins: a thread that was preempted and then blocked has blocked. */
enum switched switch_records_since(const struct switch_records *records, uint64_t head);

#endif
