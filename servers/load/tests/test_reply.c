/* test_reply.c: a table of replies, each fed whole, cut in two at every byte, and byte by byte. */
#include <string.h>

#include "check.h"
#include "crc32.h"
#include "reply.h"

#define OK "HTTP/1.1 200 OK\r\n"

static const struct {
    const char *text;
    enum reply_state state; /* after all of it */
    enum reply_state ended; /* and after the peer's close */
    int status;
    bool keep_alive;
    const char *body; /* received so far */
    size_t unused;    /* bytes after the reply's end */
} cases[] = {
    {OK "Content-Length: 5\r\n\r\nhello", REPLY_COMPLETE, REPLY_COMPLETE, 200, true, "hello", 0},
    {OK "content-length:5\r\n\r\nhello", REPLY_COMPLETE, REPLY_COMPLETE, 200, true, "hello", 0},
    {OK "CONTENT-LENGTH: \t 5 \t\r\n\r\nhelloHTTP", REPLY_COMPLETE, REPLY_COMPLETE, 200, true, "hello", 4},
    {OK "Content-Length: 0\r\n\r\n", REPLY_COMPLETE, REPLY_COMPLETE, 200, true, "", 0},
    {OK "Server: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nab", REPLY_COMPLETE, REPLY_COMPLETE, 200,
     true, "ab", 0},
    {OK "Content-Length: 2\r\nConnection: close\r\n\r\nab", REPLY_COMPLETE, REPLY_COMPLETE, 200, false, "ab", 0},
    {OK "Content-Length: 2\r\nConnection: x , Close\r\n\r\nab", REPLY_COMPLETE, REPLY_COMPLETE, 200, false, "ab", 0},
    {OK "Content-Length: 2\r\nConnection: closed\r\n\r\nab", REPLY_COMPLETE, REPLY_COMPLETE, 200, true, "ab", 0},
    {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", REPLY_COMPLETE, REPLY_COMPLETE, 200, false, "ab", 0},
    {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nab", REPLY_COMPLETE, REPLY_COMPLETE, 200,
     true, "ab", 0},
    {"HTTP/1.0 200 OK\r\n\r\nuntil the close", REPLY_BODY, REPLY_COMPLETE, 200, false, "until the close", 0},
    {"HTTP/1.0 200 OK\r\n\r\n", REPLY_BODY, REPLY_COMPLETE, 200, false, "", 0},
    {OK "Connection: keep-alive\r\n\r\nab", REPLY_BODY, REPLY_COMPLETE, 200, false, "ab", 0},
    {OK "Content-Length: 5\n\nhello", REPLY_COMPLETE, REPLY_COMPLETE, 200, true, "hello",
     0}, /* bare LF: RFC 9112, 2.2 */
    {OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", REPLY_COMPLETE, REPLY_COMPLETE, 200, true, "hello", 0},
    {"HTTP/1.1 100 Continue\r\n\r\n" OK "Content-Length: 1\r\n\r\na", REPLY_COMPLETE, REPLY_COMPLETE, 200, true, "a",
     0},
    {"HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\n" OK "Content-Length: 1\r\n\r\na", REPLY_COMPLETE,
     REPLY_COMPLETE, 200, true, "a", 0},
    {"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!", REPLY_COMPLETE, REPLY_COMPLETE, 404, true, "no!", 0},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", REPLY_COMPLETE, REPLY_COMPLETE, 304, true, "", 0},
    {"HTTP/1.1 204\r\n\r\n", REPLY_COMPLETE, REPLY_COMPLETE, 204, true, "", 0},
    {OK "X: y\r\nContent-Length: 5\r\n\r\nhel", REPLY_BODY, REPLY_MALFORMED, 200, true, "hel", 0},
    {OK "Content-Length: 5\r\n", REPLY_HEADERS, REPLY_MALFORMED, 200, true, "", 0},
    {"HTTP/1.1 2", REPLY_STATUS_LINE, REPLY_MALFORMED, 0, false, "", 0},
    {"", REPLY_STATUS_LINE, REPLY_MALFORMED, 0, false, "", 0},
    {"HTTP/2.0 200 OK\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 0, false, "", 0},
    {"HTTP/1.1 20 OK\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 0, false, "", 0},
    {"HTTP/1.1 2000 OK\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 0, false, "", 0},
    {"HTTP/1.1 600 OK\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 0, false, "", 0},
    {"SSH-2.0-OpenSSH\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 0, false, "", 0},
    {"\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 0, false, "", 0},
    {OK "no colon\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 200, true, "", 0},
    {OK "content\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 200, true, "", 0},
    {OK "Content-Length: 5x\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 200, true, "", 0},
    {OK "Content-Length: -5\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 200, true, "", 0},
    {OK "Content-Length:\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 200, true, "", 0},
    {OK "Content-Length: 99999999999999999999\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 200, true, "", 0},
    {OK "Content-Length: 5\r\nContent-Length: 6\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 200, true, "", 0},
    {OK "Transfer-Encoding: chunked\r\n", REPLY_MALFORMED, REPLY_MALFORMED, 200, true, "", 0},
};

/* Feed [data, data + bytes) in pieces cut at `cut` (or everywhere, if it is SIZE_MAX). Returns the bytes used. */
static size_t feed(struct reply *r, const char *data, size_t bytes, size_t cut)
{
    size_t used = 0;
    while (used < bytes) {
        size_t piece = cut == SIZE_MAX ? 1 : used < cut ? cut - used : bytes - used;
        char *copy = malloc(piece); /* of this size, so that AddressSanitizer sees a read beyond it */
        CHECK(copy != NULL);
        memcpy(copy, data + used, piece);
        size_t taken = reply_feed(r, copy, piece);
        free(copy);
        CHECK(taken <= piece);
        used += taken;
        if (taken < piece)
            break;
    }
    return used;
}

static void check_case(size_t i, size_t cut)
{
    struct reply r;
    size_t bytes = strlen(cases[i].text);
    reply_begin(&r, true);
    CHECK(!reply_begun(&r));
    size_t used = feed(&r, cases[i].text, bytes, cut);
    CHECK(r.state == cases[i].state && r.status == cases[i].status);
    CHECK(r.state == REPLY_MALFORMED || used == bytes - cases[i].unused);
    if (r.state == REPLY_COMPLETE || r.state == REPLY_BODY)
        CHECK(r.keep_alive == cases[i].keep_alive);
    CHECK(r.body_bytes == strlen(cases[i].body) && r.crc32 == crc32(0, cases[i].body, strlen(cases[i].body)));
    CHECK(reply_begun(&r) == (bytes > 0));
    reply_end(&r);
    CHECK(r.state == cases[i].ended);
}

static void long_lines_are_passed_over(void)
{
    /* A cookie longer than any line that is looked at changes nothing, wherever it is cut. */
    char text[1200];
    int head = snprintf(text, sizeof text, OK "Set-Cookie: ");
    memset(text + head, 'x', 700);
    strcpy(text + head + 700, "\r\nContent-Length: 2\r\n\r\nab");
    size_t bytes = strlen(text);
    for (size_t cut = 0; cut <= bytes; cut++) {
        struct reply r;
        reply_begin(&r, true);
        CHECK(feed(&r, text, bytes, cut) == bytes && r.state == REPLY_COMPLETE && r.crc32 == crc32(0, "ab", 2));
    }
}

static void endless_headers_end(void)
{
    struct reply r;
    reply_begin(&r, false);
    feed(&r, OK, strlen(OK), 0);
    size_t lines = 0;
    while (r.state == REPLY_HEADERS && lines++ < REPLY_HEADER_MAX)
        feed(&r, "X: y\r\n", 6, 0);
    CHECK(r.state == REPLY_MALFORMED && lines < REPLY_HEADER_MAX / 6 + 2);
}

static void bodies_may_be_skipped(void)
{
    struct reply r;
    static const char head[] = OK "Content-Length: 100\r\n\r\nxy";
    reply_begin(&r, false);
    CHECK(reply_remaining(&r) == 0);
    CHECK(reply_feed(&r, head, strlen(head)) == strlen(head) && reply_remaining(&r) == 98);
    reply_skip(&r, 97);
    CHECK(r.state == REPLY_BODY && reply_remaining(&r) == 1);
    reply_skip(&r, 1);
    CHECK(r.state == REPLY_COMPLETE && r.body_bytes == 100 && reply_remaining(&r) == 0);
}

int main(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++)
            check_case(i, cut);
        check_case(i, SIZE_MAX);
    }
    long_lines_are_passed_over();
    endless_headers_end();
    bodies_may_be_skipped();
    return 0;
}
