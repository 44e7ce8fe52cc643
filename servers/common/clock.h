/* clock.h: the time as a loop sees it: read once a loop, from the vDSO, without a system call. */
#ifndef NAI_CLOCK_H
#define NAI_CLOCK_H

#include <stdint.h>
#include <time.h>

#define HTTP_DATE_BYTES 29 /* "Sun, 06 Nov 1994 08:49:37 GMT" */

struct loop_clock {
    uint64_t now_ms; /* monotonic, of a timer tick's resolution (1 to 4 ms): time-outs need no more */
    time_t date_s;
    char date[HTTP_DATE_BYTES + 1]; /* for the Date field, made anew once a second */
};

void loop_clock_update(struct loop_clock *clock);
uint64_t monotonic_ns(void);

/* RFC 9110, section 5.6.7. Format writes the 29 bytes and a NUL; parse knows all three forms and returns -1 for
 * anything else. */
void http_date_format(time_t seconds, char out[HTTP_DATE_BYTES + 1]);
time_t http_date_parse(const char *text, size_t bytes);

#endif
