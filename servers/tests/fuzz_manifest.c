/* fuzz_manifest.c: any text is a manifest or gets one line of complaint; what is accepted can be drawn from. */
#include "fuzz.h"
#include "manifest.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct manifest m;
    char error[160] = "";
    char *copy = malloc(bytes + 1); /* + 1: malloc(0) may be NULL */
    MUST(copy != NULL);
    memcpy(copy, data, bytes);
    int result = manifest_parse(&m, copy, bytes, error, sizeof error);
    free(copy);
    if (result != 0) {
        MUST(error[0] != '\0' && strchr(error, '\n') == NULL && m.files == NULL && m.count == 0 && m.kind_count == 0);
        return 0;
    }
    MUST(m.count > 0);
    MUST(m.kind_count <= MANIFEST_KINDS_MAX);
    for (size_t i = 0; i < m.kind_count; i++) { /* they go into the report's JSON as they are */
        size_t name_bytes = strnlen(m.kinds[i], sizeof m.kinds[i]);
        MUST(name_bytes > 0 && name_bytes < sizeof m.kinds[i] && strpbrk(m.kinds[i], "\"\\\n") == NULL);
        for (size_t k = 0; k < i; k++)
            MUST(strcmp(m.kinds[k], m.kinds[i]) != 0);
    }
    manifest_prepare(&m, "h");
    struct random r;
    random_seed(&r, bytes, RANDOM_FILES);
    for (int i = 0; i < 64; i++) {
        const struct manifest_file *f = manifest_draw(&m, &r);
        MUST(f >= m.files && f < m.files + m.count && f->weight > 0 && f->path[0] == '/');
        MUST(m.kind_count == 0 ? f->kind == 0 : f->kind < m.kind_count);
        MUST(strlen(f->request[REQUEST_CLOSE]) == f->request_bytes[REQUEST_CLOSE]);
    }
    manifest_free(&m);
    return 0;
}
