#include "reply.h"

#include <string.h>
#include <strings.h>

#include "crc32.h"

void reply_begin(struct reply *r, bool verify)
{
    memset(r, 0, offsetof(struct reply, line)); /* line[] is valid up to line_bytes only: leave its cache lines alone */
    r->verify = verify;
}

bool reply_begun(const struct reply *r)
{
    return r->header_bytes > 0;
}

uint64_t reply_remaining(const struct reply *r)
{
    if (r->state != REPLY_BODY)
        return 0;
    return r->length == UINT64_MAX ? UINT64_MAX : r->length - r->body_bytes;
}

static void count_body(struct reply *r, uint64_t bytes)
{
    r->body_bytes += bytes;
    if (r->body_bytes == r->length)
        r->state = REPLY_COMPLETE;
}

void reply_skip(struct reply *r, uint64_t bytes)
{
    count_body(r, bytes);
}

void reply_end(struct reply *r)
{
    if (r->state == REPLY_BODY && r->length == UINT64_MAX)
        r->state = REPLY_COMPLETE; /* RFC 9112 section 6.3, case 8 */
    else if (r->state != REPLY_COMPLETE)
        r->state = REPLY_MALFORMED;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.x NNN" and whatever reason (RFC 9112 section 4). */
static void status_line(struct reply *r, const char *line, size_t bytes)
{
    bool valid = bytes >= 12 && memcmp(line, "HTTP/1.", 7) == 0 && is_digit(line[7]) && line[8] == ' ' &&
                 line[9] >= '1' && line[9] <= '5' && is_digit(line[10]) && is_digit(line[11]) &&
                 (bytes == 12 || line[12] == ' ');
    if (!valid) {
        r->state = REPLY_MALFORMED;
        return;
    }
    r->status = (uint16_t)((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
    r->keep_alive = line[7] != '0'; /* 1.1 keeps the connection unless told otherwise, 1.0 the reverse */
    r->state = REPLY_HEADERS;
}

static void content_length(struct reply *r, const char *value, size_t bytes)
{
    uint64_t length = 0;
    bool valid = bytes > 0 && bytes <= 18; /* 18 digits: no overflow */
    for (size_t i = 0; i < bytes && valid; i++) {
        valid = is_digit(value[i]);
        length = length * 10 + (uint64_t)(value[i] - '0');
    }
    if (!valid || (r->has_length && r->length != length)) { /* two lengths: request smuggling's cousin */
        r->state = REPLY_MALFORMED;
        return;
    }
    r->has_length = true;
    r->length = length;
}

static void connection(struct reply *r, const char *value, size_t bytes)
{
    const char *end = value + bytes;
    while (value < end) { /* a comma-separated list of tokens */
        const char *comma = memchr(value, ',', (size_t)(end - value));
        const char *token_end = comma ? comma : end;
        while (value < token_end && (*value == ' ' || *value == '\t'))
            value++;
        size_t token = (size_t)(token_end - value);
        while (token > 0 && (value[token - 1] == ' ' || value[token - 1] == '\t'))
            token--;
        if (token == 5 && strncasecmp(value, "close", 5) == 0)
            r->keep_alive = false;
        else if (token == 10 && strncasecmp(value, "keep-alive", 10) == 0)
            r->keep_alive = true;
        value = token_end + 1;
    }
}

static void headers_end(struct reply *r)
{
    if (r->status < 200) { /* 100 Continue and the like: the real reply follows */
        r->state = REPLY_STATUS_LINE;
        r->has_length = false;
        return;
    }
    if (r->status == 204 || r->status == 304) {
        r->length = 0;
    } else if (!r->has_length) {
        r->length = UINT64_MAX;
        r->keep_alive = false;
    }
    r->state = r->length == 0 ? REPLY_COMPLETE : REPLY_BODY;
}

static void header_line(struct reply *r, const char *line, size_t bytes)
{
    if (bytes == 0) {
        headers_end(r);
        return;
    }
    /* Only names that begin with c or t matter; nearly all others are passed over here. */
    char first = line[0] | 0x20;
    if (first != 'c' && first != 't') {
        if (first == ':' || memchr(line, ':', bytes) == NULL)
            r->state = REPLY_MALFORMED;
        return;
    }
    const char *colon = memchr(line, ':', bytes);
    if (colon == NULL) {
        r->state = REPLY_MALFORMED;
        return;
    }
    size_t name = (size_t)(colon - line);
    const char *value = colon + 1, *end = line + bytes;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t value_bytes = (size_t)(end - value);
    if (name == 14 && strncasecmp(line, "content-length", 14) == 0)
        content_length(r, value, value_bytes);
    else if (name == 10 && strncasecmp(line, "connection", 10) == 0)
        connection(r, value, value_bytes);
    else if (name == 17 && strncasecmp(line, "transfer-encoding", 17) == 0)
        r->state = REPLY_MALFORMED;
}

/* A line without its "\n"; `bytes` may be clipped to REPLY_LINE_MAX. */
static void take_line(struct reply *r, const char *line, size_t bytes)
{
    if (bytes > 0 && bytes < REPLY_LINE_MAX && line[bytes - 1] == '\r')
        bytes--;
    if (r->state == REPLY_STATUS_LINE)
        status_line(r, line, bytes);
    else
        header_line(r, line, bytes);
}

size_t reply_feed(struct reply *r, const char *data, size_t bytes)
{
    size_t used = 0;
    while (used < bytes && r->state < REPLY_BODY) {
        const char *from = data + used;
        const char *newline = memchr(from, '\n', bytes - used);
        size_t part = newline ? (size_t)(newline - from) : bytes - used;
        size_t eaten = part + (newline != NULL);
        if (eaten > REPLY_HEADER_MAX - r->header_bytes) {
            r->state = REPLY_MALFORMED;
            return used;
        }
        r->header_bytes += (uint32_t)eaten;
        used += eaten;
        if (newline != NULL && r->line_bytes == 0) { /* the whole line at once: the usual case, no copy */
            take_line(r, from, part < REPLY_LINE_MAX ? part : REPLY_LINE_MAX);
            continue;
        }
        size_t room = REPLY_LINE_MAX - r->line_bytes;
        size_t kept = part < room ? part : room;
        memcpy(r->line + r->line_bytes, from, kept);
        r->line_bytes = (uint16_t)(r->line_bytes + kept);
        if (newline != NULL) {
            size_t line_bytes = r->line_bytes;
            r->line_bytes = 0;
            take_line(r, r->line, line_bytes);
        }
    }
    if (r->state == REPLY_BODY && used < bytes) {
        uint64_t remaining = reply_remaining(r);
        size_t part = bytes - used < remaining ? bytes - used : (size_t)remaining;
        if (r->verify)
            r->crc32 = crc32(r->crc32, data + used, part);
        count_body(r, part);
        used += part;
    }
    return used;
}
