/* fuzz_http.c: whatever the bytes are, the parser stays within them and keeps its contract; no path leaves the root. */
#include "http.h"
#include "bounds.h"
#include "fuzz.h"

#include <signal.h>
#include <string.h>

#ifndef PLANTED_BUG
#define PLANTED_BUG 0
#endif

static void check_path(const char *target, size_t length)
{
    char *out = malloc(HTTP_MAX_TARGET); /* from the heap: a sanitizer guards its ends */
    MUST(out != NULL);
    int bytes = http_path(target, length, out);
    if (bytes < 0) {
        MUST(bytes == -400 || bytes == -414);
    } else {
        MUST(bytes > 0 && bytes < HTTP_MAX_TARGET && strlen(out) == (size_t)bytes);
        MUST(out[0] != '/' && out[bytes - 1] != '/');
        for (char *segment = out; segment != NULL;) {
            char *slash = strchr(segment, '/');
            size_t segment_bytes = slash != NULL ? (size_t)(slash - segment) : strlen(segment);
            MUST(segment_bytes > 0);
            MUST(!(segment_bytes == 1 && segment[0] == '.'));
            MUST(!(segment_bytes == 2 && segment[0] == '.' && segment[1] == '.'));
            segment = slash != NULL ? slash + 1 : NULL;
        }
    }
    free(out);
}

/* For the test of the driver itself: none, or one behind three conditions. */
static bool planted_bug(const struct http_request *request)
{
    if (PLANTED_BUG == 1 && request->method == HTTP_HEAD)
        if (request->minor_version == 0)
            return request->keep_alive;
    if (PLANTED_BUG == 2 && request->method == HTTP_HEAD)
        if (request->expects_continue)
            return request->body_bytes > 9999;
    if (PLANTED_BUG == 3 && request->if_modified_since > 0)
        if (!request->keep_alive)
            return memchr(request->target, '%', request->target_bytes) != NULL;
    return false;
}

static int parse_copy(const uint8_t *data, size_t size, struct http_request *request)
{
    char *exact = malloc(size + (size == 0)); /* a read beyond it is one beyond the allocation */
    MUST(exact != NULL);
    memcpy(exact, data, size);
    int result = http_parse(exact, size, request);
    if (result > 0) {
        MUST((size_t)result <= size && result <= HTTP_MAX_HEAD && request->status == 0);
        MUST(request->method == HTTP_GET || request->method == HTTP_HEAD);
        MUST(request->body_bytes <= HTTP_MAX_BODY && request->target_bytes <= HTTP_MAX_TARGET);
        MUST(request->minor_version >= 0 && request->minor_version <= 9);
        MUST(request->target[0] == '/');
        check_path(request->target, request->target_bytes);
        if (planted_bug(request))
            raise(SIGUSR2);
    } else if (result == HTTP_REFUSED) {
        MUST(request->status == 400 || request->status == 405 || request->status == 413 || request->status == 414 ||
             request->status == 431 || request->status == 501 || request->status == 505);
    } else {
        MUST(result == HTTP_PARTIAL && size < HTTP_MAX_HEAD);
    }
    free(exact);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request request, part;
    int result = parse_copy(data, size, &request);
    if (size == 0)
        return 0;
    /* A decision stands whatever follows; before it, everything is partial. */
    uint32_t hash = 2166136261;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 16777619;
    for (int i = 0; i < 3; i++) {
        size_t cut = i == 0 ? size - 1 : i == 1 && result > 0 ? (size_t)result - 1 : hash % size;
        int early = parse_copy(data, cut, &part);
        if (result > 0 && cut < (size_t)result)
            MUST(early == HTTP_PARTIAL);
        else if (early != HTTP_PARTIAL)
            MUST(early == result && part.status == request.status && part.body_bytes == request.body_bytes);
    }
    check_path((const char *)data, size < HTTP_MAX_TARGET ? size : HTTP_MAX_TARGET);
    return 0;
}
