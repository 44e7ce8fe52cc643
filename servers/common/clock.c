/* clock.c: the loop's clock and the dates of HTTP. */
#include "clock.h"

#include <stdbool.h>
#include <string.h>

static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char long_days[7][10] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void loop_clock_update(struct loop_clock *clock)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    clock->now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != clock->date_s) {
        clock->date_s = now.tv_sec;
        http_date_format(now.tv_sec, clock->date);
    }
}

uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void http_date_format(time_t seconds, char out[HTTP_DATE_BYTES + 1])
{
    struct tm t;
    if (gmtime_r(&seconds, &t) == NULL || t.tm_year < 1000 - 1900 || t.tm_year > 9999 - 1900)
        t = (struct tm){.tm_mday = 1};
    strftime(out, HTTP_DATE_BYTES + 1, "%a, %d %b %Y %H:%M:%S GMT", &t); /* C locale: nobody calls setlocale */
}

/* A pattern: digits are taken by letter (d day, y year, h n s the time), '_' is a digit or a blank of the day, 'm' the three
 * letters of a month; everything else stands for itself. */
static bool match(const char *pattern, const char *text, size_t bytes, struct tm *out)
{
    if (strlen(pattern) != bytes)
        return false;
    memset(out, 0, sizeof *out);
    int year = 0;
    for (size_t i = 0; i < bytes; i++) {
        char p = pattern[i], c = text[i];
        int *field = p == 'd' || p == '_' ? &out->tm_mday
                     : p == 'y'           ? &year
                     : p == 'h'           ? &out->tm_hour
                     : p == 'n'           ? &out->tm_min
                     : p == 's'           ? &out->tm_sec
                                          : NULL;
        if (field != NULL) {
            if (p == '_' && c == ' ')
                c = '0';
            if (c < '0' || c > '9')
                return false;
            *field = *field * 10 + (c - '0');
        } else if (p == 'm') {
            int month = 0;
            while (month < 12 && memcmp(months[month], text + i, 3) != 0)
                month++;
            if (month == 12)
                return false;
            out->tm_mon = month;
            i += 2;
        } else if (p != c) {
            return false;
        }
    }
    out->tm_year = year - 1900;
    return out->tm_mday >= 1 && out->tm_mday <= 31 && out->tm_hour < 24 && out->tm_min < 60 && out->tm_sec <= 60;
}

static size_t day_name(const char *text, size_t bytes, const char *names, size_t stride)
{
    for (size_t i = 0; i < 7; i++) {
        size_t length = strlen(names + i * stride);
        if (bytes > length && memcmp(text, names + i * stride, length) == 0)
            return length;
    }
    return 0;
}

time_t http_date_parse(const char *text, size_t bytes)
{
    struct tm t;
    size_t name = day_name(text, bytes, long_days[0], sizeof long_days[0]);
    if (name > 0 && match(", dd-mmm-yy hh:nn:ss GMT", text + name, bytes - name, &t)) { /* RFC 850 */
        /* "more than 50 years in the future" is the most recent past year with the same last two digits. */
        struct tm today;
        time_t now = time(NULL);
        gmtime_r(&now, &today);
        int year = today.tm_year - today.tm_year % 100 + (t.tm_year + 1900);
        t.tm_year = year > today.tm_year + 50 ? year - 100 : year;
        return timegm(&t);
    }
    name = day_name(text, bytes, days[0], sizeof days[0]);
    if (name > 0 && (match(", dd mmm yyyy hh:nn:ss GMT", text + name, bytes - name, &t) || /* IMF-fixdate */
                     match(" mmm _d hh:nn:ss yyyy", text + name, bytes - name, &t)))       /* asctime */
        return timegm(&t);
    return -1;
}
