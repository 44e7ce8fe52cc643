/* http.c: the request parser. Strict where leniency helps request smuggling: no bare LF or CR, no folded field, no blank
 * before a colon, no second Host or Content-Length (RFC 9112, sections 2.2, 3.2, 5.1, 5.2, 6.3). */
#include "http.h"

#include "clock.h"
#include "bounds.h"

#include <string.h>
#include <strings.h>

/* Classes of bytes. */
enum {
    TOKEN = 1,  /* RFC 9110, section 5.6.2: methods and field names */
    TEXT = 2,   /* field values: visible, blank, tab, obs-text */
    TARGET = 4, /* request targets: visible ASCII */
    HOST = 8,   /* RFC 3986, section 3.2.2 and 3.2.3 */
};

/* clang-format off */
static const uint8_t class_of[256] = {
    ['\t'] = TEXT, [' '] = TEXT,
    ['!'] = 15, ['"'] = 6, ['#'] = 7, ['$'] = 15, ['%'] = 15, ['&'] = 15, ['\''] = 15, ['('] = 14, [')'] = 14,
    ['*'] = 15, ['+'] = 15, [','] = 14, ['-'] = 15, ['.'] = 15, ['/'] = 6, ['0' ... '9'] = 15, [':'] = 14,
    [';'] = 14, ['<'] = 6, ['='] = 14, ['>'] = 6, ['?'] = 6, ['@'] = 6, ['A' ... 'Z'] = 15, ['['] = 14, ['\\'] = 6,
    [']'] = 14, ['^'] = 7, ['_'] = 15, ['`'] = 7, ['a' ... 'z'] = 15, ['{'] = 6, ['|'] = 7, ['}'] = 6, ['~'] = 15,
    [0x80 ... 0xff] = TEXT,
};
/* clang-format on */

static bool is(char c, uint8_t class)
{
    return (class_of[(uint8_t)c] & class) != 0;
}

static const char *skip(const char *at, const char *end, uint8_t class)
{
    while (at < end && is(*at, class))
        at++;
    return at;
}

static int refuse(struct http_request *request, int status)
{
    request->status = status;
    return HTTP_REFUSED;
}

#define EQUALS(at, length, word) ((length) == sizeof(word) - 1 && memcmp(at, word, sizeof(word) - 1) == 0)
#define EQUALS_NOCASE(at, length, word)                                                                               \
    ((length) == sizeof(word) - 1 && strncasecmp(at, word, sizeof(word) - 1) == 0)

/* The end of a line at *at: 1 and *at moved behind it, 0 if it is not there yet, -1 if something else is. */
static int line_end(const char **at, const char *end)
{
    if (*at == end)
        return 0;
    if (**at != '\r')
        return -1;
    if (*at + 1 == end)
        return 0;
    if ((*at)[1] != '\n')
        return -1;
    *at += 2;
    return 1;
}

static enum http_method method_of(const char *at, size_t length, int *status)
{
    static const char known[][8] = {"POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    if (EQUALS(at, length, "GET"))
        return HTTP_GET;
    if (EQUALS(at, length, "HEAD"))
        return HTTP_HEAD;
    *status = 501; /* RFC 9110, section 9.1: unrecognised → 501, recognised but not allowed → 405 */
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (length == strlen(known[i]) && memcmp(at, known[i], length) == 0)
            *status = 405;
    return HTTP_OTHER;
}

/* Origin form, or the path of an absolute form (RFC 9112, section 3.2.2: a server must take it). */
static bool find_path(const char *at, size_t length, struct http_request *request)
{
    if (length >= 7 && strncasecmp(at, "http://", 7) == 0) {
        const char *host = at + 7, *end = at + length, *path = skip(host, end, HOST);
        request->target = path == end ? "/" : path;
        request->target_bytes = path == end ? 1 : (size_t)(end - path);
        return path > host && *request->target == '/';
    }
    request->target = at;
    request->target_bytes = length;
    return length > 0 && *at == '/';
}

/* METHOD SP TARGET SP HTTP/1.x CRLF. Moves *at behind it; returns 1, HTTP_PARTIAL or HTTP_REFUSED. */
static int request_line(const char **at, const char *end, struct http_request *request)
{
    const char *method = *at, *after = skip(method, end, TOKEN);
    if (after - method > HTTP_MAX_METHOD)
        return refuse(request, 501);
    if (after == end)
        return HTTP_PARTIAL;
    if (after == method || *after != ' ')
        return refuse(request, 400);
    int status = 0; /* decides only once the whole request is there: a reply before that may be lost */
    request->method = method_of(method, (size_t)(after - method), &status);

    const char *target = after + 1;
    after = skip(target, end, TARGET);
    if (after - target > HTTP_MAX_TARGET)
        return refuse(request, 414);
    if (after == end)
        return HTTP_PARTIAL;
    if (after == target || *after != ' ')
        return refuse(request, 400);
    size_t target_bytes = (size_t)(after - target);

    static const char version_form[] = "HTTP/d.d";
    const char *version = after + 1;
    for (size_t i = 0; i < sizeof version_form - 1; i++) {
        if (version + i == end)
            return HTTP_PARTIAL;
        if (version_form[i] == 'd' ? version[i] < '0' || version[i] > '9' : version[i] != version_form[i])
            return refuse(request, 400);
    }
    if (version[5] != '1')
        return refuse(request, 505);
    request->minor_version = version[7] - '0';
    request->keep_alive = request->minor_version > 0;

    *at = version + sizeof version_form - 1;
    int ended = line_end(at, end);
    if (ended <= 0)
        return ended == 0 ? HTTP_PARTIAL : refuse(request, 400);
    if (request->method == HTTP_OTHER)
        request->status = status;
    else if (!find_path(target, target_bytes, request))
        return refuse(request, 400);
    return 1;
}

/* What the fields said, judged together at the end. */
struct field_notes {
    int hosts, lengths, encodings;
    bool close, keep_alive, too_long;
};

static void connection_options(const char *at, const char *end, struct field_notes *notes)
{
    while (at < end) {
        while (at < end && (*at == ' ' || *at == '\t' || *at == ','))
            at++;
        const char *word = at;
        at = skip(at, end, TOKEN);
        notes->close |= EQUALS_NOCASE(word, (size_t)(at - word), "close");
        notes->keep_alive |= EQUALS_NOCASE(word, (size_t)(at - word), "keep-alive");
        while (at < end && *at != ',')
            at++;
    }
}

static bool content_length(const char *at, const char *end, struct http_request *request, struct field_notes *notes)
{
    if (at == end)
        return false;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        if (request->body_bytes <= HTTP_MAX_BODY)
            request->body_bytes = request->body_bytes * 10 + (uint64_t)(*at - '0');
    }
    notes->too_long = request->body_bytes > HTTP_MAX_BODY;
    return true;
}

/* One field; false if it makes the request a bad one. */
static bool field(const char *name, size_t name_bytes, const char *value, const char *end, struct http_request *request,
                  struct field_notes *notes)
{
    if (EQUALS_NOCASE(name, name_bytes, "Host"))
        return notes->hosts++ == 0 && skip(value, end, HOST) == end;
    if (EQUALS_NOCASE(name, name_bytes, "Connection"))
        connection_options(value, end, notes);
    else if (EQUALS_NOCASE(name, name_bytes, "Content-Length"))
        return notes->lengths++ == 0 && content_length(value, end, request, notes);
    else if (EQUALS_NOCASE(name, name_bytes, "Transfer-Encoding"))
        notes->encodings++;
    else if (EQUALS_NOCASE(name, name_bytes, "If-Modified-Since"))
        request->if_modified_since = http_date_parse(value, (size_t)(end - value));
    else if (EQUALS_NOCASE(name, name_bytes, "Expect"))
        request->expects_continue = EQUALS_NOCASE(value, (size_t)(end - value), "100-continue");
    return true;
}

static int judge(struct http_request *request, const struct field_notes *notes)
{
    if (notes->hosts == 0 && request->minor_version > 0)
        return refuse(request, 400);
    /* Both lengths, or chunks in HTTP/1.0: the two ends may disagree where the request ends (RFC 9112, section 6.1). */
    if (notes->encodings > 0 && (notes->lengths > 0 || request->minor_version == 0))
        return refuse(request, 400);
    if (request->status != 0)
        return HTTP_REFUSED; /* the method */
    if (notes->encodings > 0)
        return refuse(request, 501);
    if (notes->too_long)
        return refuse(request, 413);
    request->keep_alive = !notes->close && (request->keep_alive || notes->keep_alive);
    return 1;
}

/* The whole head; HTTP_PARTIAL wherever the bytes end. */
static int parse(const char *bytes, const char *end, struct http_request *request)
{
    struct field_notes notes = {0};
    const char *at = bytes;
    int ended;

    while (at < end && *at == '\r') /* empty lines before a request are ignored (RFC 9112, section 2.2) */
        if ((ended = line_end(&at, end)) <= 0)
            return ended == 0 ? HTTP_PARTIAL : refuse(request, 400);
    int result = request_line(&at, end, request);
    if (result != 1)
        return result;

    for (int fields = 0;; fields++) {
        if (at < end && *at == '\r') {
            ended = line_end(&at, end);
            if (ended <= 0)
                return ended == 0 ? HTTP_PARTIAL : refuse(request, 400);
            return judge(request, &notes) == 1 ? (int)(at - bytes) : HTTP_REFUSED;
        }
        const char *name = at, *colon = skip(name, end, TOKEN);
        if (colon == end)
            return HTTP_PARTIAL;
        if (colon == name || *colon != ':') /* a folded line too: it begins with a blank */
            return refuse(request, 400);
        if (fields == HTTP_MAX_FIELDS)
            return refuse(request, 431);

        const char *value = colon + 1;
        while (value < end && (*value == ' ' || *value == '\t'))
            value++;
        at = skip(value, end, TEXT);
        const char *value_end = at;
        while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t'))
            value_end--;
        ended = line_end(&at, end);
        if (ended <= 0)
            return ended == 0 ? HTTP_PARTIAL : refuse(request, 400);
        if (!field(name, (size_t)(colon - name), value, value_end, request, &notes))
            return refuse(request, 400);
    }
}

int http_parse(const char *bytes, size_t length, struct http_request *request)
{
    *request = (struct http_request){.if_modified_since = -1};
    int result = parse(bytes, bytes + (length < HTTP_MAX_HEAD ? length : HTTP_MAX_HEAD), request);
    return result == HTTP_PARTIAL && length >= HTTP_MAX_HEAD ? refuse(request, 431) : result;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int http_path(const char *target, size_t length, char *out)
{
    static const char index[] = "index.html";
    char *to = out, *const last = out + HTTP_MAX_TARGET - sizeof index - 1;
    size_t i = 0;
    char *segment = out; /* where the present one begins */

    for (;;) {
        bool over = i == length || target[i] == '?';
        char c = over ? '/' : target[i++];
        if (c == '#')
            return -400; /* a fragment is never sent */
        if (c == '%') {
            int high = length - i >= 2 ? hex(target[i]) : -1, low = high >= 0 ? hex(target[i + 1]) : -1;
            if (low < 0)
                return -400;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0')
            return -400;
        if (c != '/') {
            if (to >= last)
                return -414;
            *to++ = c;
            continue;
        }
        size_t bytes = (size_t)(to - segment);
        bool up = EQUALS(segment, bytes, "..");
        if (up || EQUALS(segment, bytes, ".")) {
            to = segment;
            if (up) {
                if (segment == out)
                    return -400; /* above the root */
                to--;            /* the slash, then the segment before it */
                while (to > out && to[-1] != '/')
                    to--;
            }
            segment = to;
            bytes = 0;
        }
        if (over) {
            if (bytes == 0) { /* a folder */
                memcpy(to, index, sizeof index - 1);
                to += sizeof index - 1;
            }
            *to = '\0';
            return (int)(to - out);
        }
        if (bytes > 0)
            *to++ = '/';
        segment = to;
    }
}

const char *http_reason(int status)
{
    switch (status) {
    case 200: return "200 OK";
    case 304: return "304 Not Modified";
    case 400: return "400 Bad Request";
    case 404: return "404 Not Found";
    case 405: return "405 Method Not Allowed";
    case 408: return "408 Request Timeout";
    case 413: return "413 Content Too Large";
    case 414: return "414 URI Too Long";
    case 431: return "431 Request Header Fields Too Large";
    case 501: return "501 Not Implemented";
    case 503: return "503 Service Unavailable";
    case 505: return "505 HTTP Version Not Supported";
    default: return "500 Internal Server Error";
    }
}
