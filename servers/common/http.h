/* http.h: requests and their targets, as pure functions on bytes (RFC 9110, RFC 9112).
 *
 * The parser keeps no state: give it all bytes of a request received so far, again, whenever more have come. Once it has
 * decided, more bytes do not change the decision. A request is at most HTTP_MAX_HEAD bytes, so parsing anew what comes
 * byte by byte costs little more than receiving it does.
 */
#ifndef NAI_HTTP_H
#define NAI_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum http_result {
    HTTP_PARTIAL = -2, /* the request is not complete: call again with more */
    HTTP_REFUSED = -1, /* answer with request->status and close */
};

enum http_method { HTTP_OTHER, HTTP_GET, HTTP_HEAD };

struct http_request {
    enum http_method method;
    int status;                /* 0, or why it is refused: 400, 405, 413, 414, 431, 501, 505 */
    const char *target;        /* in the given bytes: path and query, undecoded */
    size_t target_bytes;
    int minor_version;         /* HTTP/1.0 or HTTP/1.1 (and above) */
    bool keep_alive;           /* the client can take another reply on this connection */
    bool expects_continue;     /* it waits for a 100 before it sends the body */
    uint64_t body_bytes;       /* to be received and ignored after the head */
    time_t if_modified_since;  /* -1 = none that counts */
};

/* Parse one request. Returns the bytes of its head (> 0), or an enum http_result. */
int http_parse(const char *bytes, size_t length, struct http_request *request);

/* Decode a target into a relative path without '.', '..', empty segments, query or NUL; the empty path becomes
 * index.html, as does one that ends in '/'. Returns its length, or minus the status to refuse with (400, 414).
 * out has room for HTTP_MAX_TARGET bytes. */
int http_path(const char *target, size_t length, char *out);

/* "404 Not Found" */
const char *http_reason(int status);

#endif
