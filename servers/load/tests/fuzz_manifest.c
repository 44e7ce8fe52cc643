/* fuzz_manifest.c: any text is a manifest or gets one line of complaint; what is accepted can be drawn from. */
#include <string.h>

#include "check.h"
#include "fuzz.h"
#include "manifest.h"

const char *const fuzz_seeds[] = {
    "/1k.bin\t1024\t0badcafe\t1\n",
    "/dir00000/class1_3\t3072\tDEADBEEF\t0.35\n/a?b=%20\t0\t00000000\t5e-1\n/z\t1099511627776\tffffffff\t0\n",
    NULL,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct manifest m;
    char error[160] = "";
    char *copy = malloc(bytes + 1); /* + 1: malloc(0) may be NULL */
    CHECK(copy != NULL);
    memcpy(copy, data, bytes);
    int result = manifest_parse(&m, copy, bytes, error, sizeof error);
    free(copy);
    if (result != 0) {
        CHECK(error[0] != '\0' && strchr(error, '\n') == NULL && m.files == NULL && m.count == 0);
        return 0;
    }
    CHECK(m.count > 0);
    manifest_prepare(&m, "h");
    struct random r;
    random_seed(&r, bytes, RANDOM_FILES);
    for (int i = 0; i < 64; i++) {
        const struct manifest_file *f = manifest_draw(&m, &r);
        CHECK(f >= m.files && f < m.files + m.count && f->weight > 0 && f->path[0] == '/');
        CHECK(strlen(f->request[REQUEST_CLOSE]) == f->request_bytes[REQUEST_CLOSE]);
    }
    manifest_free(&m);
    return 0;
}
