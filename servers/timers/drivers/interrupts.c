/* interrupts.c: one row of a table whose columns are the CPUs that are on line. */
#include "interrupts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Add up a row, by the CPUs that the columns of the header are. */
static void add_row(const char *header, char *row, const unsigned *cpus, size_t count, uint64_t *counts)
{
    char *value = strchr(row, ':') + 1;
    while ((header = strstr(header, "CPU")) != NULL) {
        const unsigned cpu = (unsigned)strtoul(header + 3, NULL, 10);
        const uint64_t interrupts = strtoull(value, &value, 10);
        for (size_t i = 0; i < count; i++)
            if (cpus[i] == cpu)
                counts[i] += interrupts;
        header += 3;
    }
}

bool interrupts_read(const unsigned *cpus, size_t count, uint64_t *counts)
{
    FILE *file = fopen("/proc/interrupts", "re");
    if (file == NULL)
        return false;
    char *header = NULL, *row = NULL;
    size_t header_room = 0, row_room = 0;
    bool found = false;
    memset(counts, 0, count * sizeof *counts);
    if (getline(&header, &header_room, file) > 0)
        while (getline(&row, &row_room, file) > 0)
            if (strchr(row, ':') != NULL && (strstr(row, "LOC:") != NULL || strstr(row, "arch_timer") != NULL)) {
                add_row(header, row, cpus, count, counts); /* x86 and Arm */
                found = true;
            }
    free(header);
    free(row);
    fclose(file);
    return found;
}
