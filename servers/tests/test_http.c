/* test_http.c: tables for the request parser, the path decoder and the dates. Every row is also fed in every split: until
 * the parser decides it must say partial, and then more bytes must not change what it said. */
#include "check.h"
#include "clock.h"
#include "http.h"
#include "bounds.h"

#include <stdlib.h>
#include <string.h>

struct row {
    const char *request;
    int result; /* bytes, HTTP_PARTIAL, or the status of a refusal (> 0 too, so told apart by refused) */
    bool refused;
    bool keep_alive;
    enum http_method method;
    int minor;
    uint64_t body_bytes;
    const char *target;
};

#define ALL -1 /* result: all bytes are the request */
#define TAKES(request, method, minor, keep, body, target) {request, ALL, false, keep, method, minor, body, target}
#define REFUSES(request, status) {request, status, true, false, 0, 0, 0, NULL}
#define WAITS(request) {request, HTTP_PARTIAL, false, false, 0, 0, 0, NULL}
#define H "Host: a\r\n"

static const struct row rows[] = {
    /* The ordinary */
    TAKES("GET / HTTP/1.1\r\n" H "\r\n", HTTP_GET, 1, true, 0, "/"),
    TAKES("HEAD /x?q=1 HTTP/1.1\r\n" H "\r\n", HTTP_HEAD, 1, true, 0, "/x?q=1"),
    TAKES("GET / HTTP/1.0\r\n\r\n", HTTP_GET, 0, false, 0, "/"),
    TAKES("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", HTTP_GET, 0, true, 0, "/"),
    TAKES("GET / HTTP/1.1\r\nConnection: close\r\n" H "\r\n", HTTP_GET, 1, false, 0, "/"),
    TAKES("GET / HTTP/1.1\r\nConnection: keep-alive , Close\r\n" H "\r\n", HTTP_GET, 1, false, 0, "/"),
    TAKES("GET / HTTP/1.1\r\nConnection: x,,closed,\r\n" H "\r\n", HTTP_GET, 1, true, 0, "/"),
    TAKES("GET / HTTP/1.1\r\nConnection: a\r\nConnection: close\r\n" H "\r\n", HTTP_GET, 1, false, 0, "/"),
    TAKES("GET / HTTP/1.7\r\n" H "\r\n", HTTP_GET, 7, true, 0, "/"),
    TAKES("\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", HTTP_GET, 1, true, 0, "/"),
    TAKES("GET / HTTP/1.1\r\nhOsT:a:80 \t\r\nX:\r\nY: \t b c\t\x80\xff \r\n\r\n", HTTP_GET, 1, true, 0, "/"),
    TAKES("GET / HTTP/1.1\r\nHost:\r\n\r\n", HTTP_GET, 1, true, 0, "/"),
    TAKES("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", HTTP_GET, 1, true, 0, "/"),
    TAKES("GET http://h:1/p?q HTTP/1.1\r\n" H "\r\n", HTTP_GET, 1, true, 0, "/p?q"),
    TAKES("GET HTTP://h HTTP/1.1\r\n" H "\r\n", HTTP_GET, 1, true, 0, "/"),
    TAKES("GET / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", HTTP_GET, 1, true, 5, "/"),
    TAKES("GET / HTTP/1.1\r\n" H "Content-Length: 00\r\n\r\n", HTTP_GET, 1, true, 0, "/"),
    TAKES("GET / HTTP/1.1\r\n" H "Content-Length: 1048576\r\n\r\n", HTTP_GET, 1, true, 1048576, "/"),
    /* Not complete */
    WAITS(""),
    WAITS("\r"),
    WAITS("\r\n"),
    WAITS("GE"),
    WAITS("GET / HTTP/1.1\r\n"),
    WAITS("GET / HTTP/1.1\r\nHost: a\r\n\r"),
    WAITS("GET / HTTP/1.1\r\nHost"),
    /* The request line */
    REFUSES(" / HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET  / HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET\t/ HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET /\r\n", 400), /* HTTP/0.9 */
    REFUSES("GET / \r\n", 400),
    REFUSES("GET / HTTP/1.1 \r\n" H "\r\n", 400),
    REFUSES("GET / http/1.1\r\n" H "\r\n", 400),
    REFUSES("GET / HTTP/1\r\n" H "\r\n", 400),
    REFUSES("GET / HTTP/1.10\r\n" H "\r\n", 400),
    REFUSES("GET / HTTP/2.0\r\n" H "\r\n", 505),
    REFUSES("GET / HTTP/0.9\r\n" H "\r\n", 505),
    REFUSES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    REFUSES("GET x HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET * HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET http:// HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET http:///p HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET http://u@h/ HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET https://h/ HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET /\x80 HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET / HTTP/1.1\n" H "\n", 400), /* bare LF */
    REFUSES("\nGET / HTTP/1.1\r\n" H "\r\n", 400),
    REFUSES("GET / HTTP/1.1\r" H "\r\n", 400),
    REFUSES("\x16\x03\x01", 400), /* TLS */
    REFUSES("POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\n", 405),
    REFUSES("OPTIONS * HTTP/1.1\r\n" H "\r\n", 405),
    REFUSES("CONNECT h:1 HTTP/1.1\r\n" H "\r\n", 405),
    REFUSES("get / HTTP/1.1\r\n" H "\r\n", 501),
    REFUSES("BREW / HTTP/1.1\r\n" H "\r\n", 501),
    REFUSES("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ", 501),
    /* Fields */
    REFUSES("GET / HTTP/1.1\r\n\r\n", 400), /* no Host */
    REFUSES("GET / HTTP/1.1\r\n" H H "\r\n", 400),
    REFUSES("GET / HTTP/1.0\r\n" H H "\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "X : 1\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H ": 1\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "X\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "X: 1\r\n folded\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "X: 1\rY: 2\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "X: 1\nY: 2\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "X: \x01\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "\rX", 400),
    /* Where a request ends */
    REFUSES("GET / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.1\r\n" H "Content-Length: 1048577\r\n\r\n", 413),
    REFUSES("GET / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999999\r\n\r\n", 413),
    REFUSES("GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 501),
    REFUSES("GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
    REFUSES("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
};

static bool same(int result, const struct http_request *a, int other, const struct http_request *b)
{
    return result == other && a->status == b->status && a->method == b->method &&
           a->minor_version == b->minor_version && a->keep_alive == b->keep_alive && a->body_bytes == b->body_bytes;
}

static void check_row(const struct row *row)
{
    const size_t length = strlen(row->request);
    struct http_request request, other;
    int result = http_parse(row->request, length, &request);
    const char *text = row->request;
    if (row->refused) {
        CHECK(result == HTTP_REFUSED && request.status == row->result, "%s→ %d %d", text, result, request.status);
    } else if (row->result == HTTP_PARTIAL) {
        CHECK(result == HTTP_PARTIAL, "%s→ %d", text, result);
    } else {
        CHECK(result == (int)length, "%s→ %d %d", text, result, request.status);
        CHECK(request.method == row->method && request.minor_version == row->minor, "%s", text);
        CHECK(request.keep_alive == row->keep_alive && request.body_bytes == row->body_bytes, "%s", text);
        CHECK(request.target_bytes == strlen(row->target) &&
                  memcmp(request.target, row->target, request.target_bytes) == 0,
              "%s→ %.*s", text, (int)request.target_bytes, request.target);
    }
    /* Every prefix, in memory of exactly its size, so that a sanitizer sees a byte too many. */
    bool decided = false;
    for (size_t cut = 0; cut <= length; cut++) {
        char *prefix = malloc(cut + (cut == 0));
        NEED(prefix != NULL);
        memcpy(prefix, row->request, cut);
        int early = http_parse(prefix, cut, &other);
        if (decided || early != HTTP_PARTIAL) {
            decided = true;
            CHECK(same(early, &other, result, &request), "%s: changes its mind after %zu bytes", text, cut);
        }
        free(prefix);
    }
    /* What follows does not matter. */
    if (result != HTTP_PARTIAL) {
        char *longer = malloc(length + 40);
        NEED(longer != NULL);
        memcpy(longer, row->request, length);
        memset(longer + length, '\r', 40);
        CHECK(same(http_parse(longer, length + 40, &other), &other, result, &request), "%s: looks ahead", text);
        free(longer);
    }
}

/* Limits: one byte below is taken, one above is refused, and without waiting for the end. */
static void check_limits(void)
{
    static char bytes[3 * HTTP_MAX_HEAD];
    struct http_request request;

    for (int over = 0; over <= 1; over++) {
        int at = sprintf(bytes, "GET /");
        memset(bytes + at, 'a', HTTP_MAX_TARGET + over - 1);
        at += HTTP_MAX_TARGET + over - 1;
        CHECK(http_parse(bytes, (size_t)at, &request) == (over ? HTTP_REFUSED : HTTP_PARTIAL), "target %d", over);
        at += sprintf(bytes + at, " HTTP/1.1\r\n" H "\r\n");
        int result = http_parse(bytes, (size_t)at, &request);
        CHECK(over ? request.status == 414 : result == at, "target %d → %d %d", over, result, request.status);
    }
    for (int over = 0; over <= 1; over++) {
        int at = sprintf(bytes, "GET / HTTP/1.1\r\n" H "X: ");
        memset(bytes + at, 'a', (size_t)(HTTP_MAX_HEAD - at - 4 + over));
        at = HTTP_MAX_HEAD - 4 + over;
        at += sprintf(bytes + at, "\r\n\r\n");
        int result = http_parse(bytes, (size_t)at, &request);
        CHECK(over ? request.status == 431 : result == at, "head %d → %d %d", over, result, request.status);
        result = http_parse(bytes, HTTP_MAX_HEAD - 1, &request);
        CHECK(result == HTTP_PARTIAL, "head %d → %d", over, result);
        CHECK(!over || http_parse(bytes, HTTP_MAX_HEAD, &request) == HTTP_REFUSED, "head %d", over);
    }
    for (int over = 0; over <= 1; over++) {
        int at = sprintf(bytes, "GET / HTTP/1.1\r\n" H);
        for (int i = 1; i < HTTP_MAX_FIELDS + over; i++)
            at += sprintf(bytes + at, "a: b\r\n");
        at += sprintf(bytes + at, "\r\n");
        int result = http_parse(bytes, (size_t)at, &request);
        CHECK(over ? request.status == 431 : result == at, "fields %d → %d %d", over, result, request.status);
    }
    memset(bytes, '\r', sizeof bytes);
    for (size_t i = 1; i < sizeof bytes; i += 2)
        bytes[i] = '\n';
    CHECK(http_parse(bytes, sizeof bytes, &request) == HTTP_REFUSED && request.status == 431, "empty lines");
}

static void check_path(const char *target, size_t length, int result, const char *path)
{
    char out[HTTP_MAX_TARGET];
    int got = http_path(target, length, out);
    CHECK(got == (path != NULL ? (int)strlen(path) : -result), "%s → %d", target, got);
    CHECK(path == NULL || got < 0 || strcmp(out, path) == 0, "%s → %s", target, out);
}

static void check_paths(void)
{
    static const struct {
        const char *target, *path; /* NULL: 400 */
    } paths[] = {
        {"/", "index.html"}, {"/a", "a"}, {"/a/b.txt", "a/b.txt"}, {"/a/", "a/index.html"}, {"//a///b", "a/b"},
        {"/a?b=../c", "a"}, {"/?/..", "index.html"}, {"/./a/./b", "a/b"}, {"/a/../b", "b"}, {"/a/b/../../c", "c"},
        {"/a/..", "index.html"}, {"/a/b/..", "a/index.html"}, {"/a/.", "a/index.html"}, {"/..a/...", "..a/..."},
        {"/%61%2Fb", "a/b"}, {"/a%3fb", "a?b"}, {"/a%25", "a%"}, {"/%41", "A"}, {"/a%20b", "a b"}, {"/%ff", "\xff"},
        {"/a%2f%2e%2e%2Fb", "b"}, {"/\\..\\a", "\\..\\a"}, {"/a/b/%2e", "a/b/index.html"},
        {"/..", NULL}, {"/../a", NULL}, {"/a/../../b", NULL}, {"/%2e%2e/a", NULL}, {"/%2e./a", NULL},
        {"/a/%2e%2E/..%2f/b", NULL}, {"/%00", NULL}, {"/a%00.txt", NULL}, {"/%", NULL}, {"/%4", NULL}, {"/%g1", NULL},
        {"/%1g", NULL}, {"/a#b", NULL}, {"/%4?1", NULL}, {"//..", NULL}, {"/./..", NULL},
    };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        check_path(paths[i].target, strlen(paths[i].target), 400, paths[i].path);

    static char longest[2 * HTTP_MAX_TARGET], out[HTTP_MAX_TARGET];
    for (size_t length = HTTP_MAX_TARGET - 40; length < HTTP_MAX_TARGET + 2; length++)
        for (int slash = 0; slash <= 1; slash++) {
            memset(longest, 'a', length);
            longest[0] = '/';
            if (slash)
                longest[length - 1] = '/';
            char *exact = malloc(HTTP_MAX_TARGET);
            NEED(exact != NULL);
            int got = http_path(longest, length, exact);
            CHECK(got == -414 || (got > 0 && got < HTTP_MAX_TARGET && strlen(exact) == (size_t)got), "%d", got);
            free(exact);
        }
    CHECK(http_path(longest, 1, out) == 10, "the last one is short again");
}

static void check_dates(void)
{
    static const struct {
        const char *text;
        time_t seconds;
    } dates[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777}, {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},      {"Sun Nov 16 08:49:37 1994", 784975777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},         {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
        {"Sun, 06 Nov 1994 08:49:37", -1},            {"Sun, 06 nov 1994 08:49:37 GMT", -1},
        {"Sun, 6 Nov 1994 08:49:37 GMT", -1},         {"Sun, 06 Nov 1994 24:00:00 GMT", -1},
        {"Sun, 00 Nov 1994 08:49:37 GMT", -1},        {"Sun, 06 Nov 1994 08:49:37 UTC", -1},
        {"", -1},                                     {"Sun", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMTx", -1},       {"Xun, 06 Nov 1994 08:49:37 GMT", -1},
    };
    for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
        time_t got = http_date_parse(dates[i].text, strlen(dates[i].text));
        CHECK(got == dates[i].seconds, "%s → %lld", dates[i].text, (long long)got);
    }
    char out[HTTP_DATE_BYTES + 1];
    for (time_t t = 0; t < 4102444800; t += 40000007) {
        http_date_format(t, out);
        CHECK(strlen(out) == HTTP_DATE_BYTES && http_date_parse(out, HTTP_DATE_BYTES) == t, "%s", out);
    }
    struct http_request request;
    const char *text = "GET / HTTP/1.1\r\n" H "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    CHECK(http_parse(text, strlen(text), &request) > 0 && request.if_modified_since == 784111777, "in a request");
}

int main(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_row(&rows[i]);
    check_limits();
    check_paths();
    check_dates();
    return checks_failed != 0;
}
