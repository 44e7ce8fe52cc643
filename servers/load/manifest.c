#include "manifest.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *need(void *memory)
{
    if (memory == NULL)
        abort(); /* a few hundred kilobytes at start-up: nothing sensible is left to do */
    return memory;
}

/* Walker's alias table as Vose (1991) builds it: each file keeps its own column up to alias_threshold and gives the
 * rest of it to one other file, so that all columns are equally high. */
static void build_alias_table(struct manifest *m, double total)
{
    size_t n = m->count, small_count = 0, large_count = 0;
    double *height = need(malloc(n * sizeof *height));
    uint32_t *small = need(malloc(n * sizeof *small)), *large = need(malloc(n * sizeof *large));
    for (size_t i = 0; i < n; i++) {
        height[i] = m->files[i].weight / total * (double)n;
        m->files[i].alias = (uint32_t)i;
        m->files[i].alias_threshold = 1;
        if (height[i] < 1)
            small[small_count++] = (uint32_t)i;
        else
            large[large_count++] = (uint32_t)i;
    }
    while (small_count > 0 && large_count > 0) {
        uint32_t low = small[--small_count], high = large[large_count - 1];
        m->files[low].alias_threshold = height[low];
        m->files[low].alias = high;
        height[high] -= 1 - height[low];
        if (height[high] < 1) {
            large_count--;
            small[small_count++] = high;
        }
    }
    /* What is left over is 1 but for rounding; a file of weight 0 must stay at 0 all the same. */
    for (size_t i = 0; i < small_count; i++) {
        struct manifest_file *f = &m->files[small[i]];
        if (f->weight == 0) {
            f->alias_threshold = 0;
            for (size_t k = 0; k < n; k++)
                if (m->files[k].weight > m->files[f->alias].weight)
                    f->alias = (uint32_t)k;
        }
    }
    free(height);
    free(small);
    free(large);
}

const struct manifest_file *manifest_draw(const struct manifest *m, struct random *r)
{
    if (m->count == 1)
        return &m->files[0];
    /* The column by the high bits of a 32 x 32 multiplication, the height in it by a second number. */
    const struct manifest_file *f = &m->files[(random_bits(r) >> 32) * m->count >> 32];
    return random_unit(r) <= f->alias_threshold ? f : &m->files[f->alias];
}

struct complaint {
    char *text;
    size_t bytes;
    size_t line;
};

static bool complain(const struct complaint *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool complain(const struct complaint *c, const char *format, ...)
{
    int used = snprintf(c->text, c->bytes, "line %zu: ", c->line);
    if (used >= 0 && (size_t)used < c->bytes) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(c->text + used, c->bytes - (size_t)used, format, arguments);
        va_end(arguments);
    }
    return false;
}

/* Copy a field into a NUL-terminated buffer; false if it does not fit or holds a NUL. */
static bool copy_field(const char *field, size_t bytes, char *out, size_t out_bytes)
{
    if (bytes == 0 || bytes >= out_bytes || memchr(field, '\0', bytes) != NULL)
        return false;
    memcpy(out, field, bytes);
    out[bytes] = '\0';
    return true;
}

static bool parse_kind(struct manifest *m, struct manifest_file *f, const char *field, size_t bytes,
                       const struct complaint *c)
{
    char name[MANIFEST_KIND_MAX + 1];
    if (!copy_field(field, bytes, name, sizeof name) || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != bytes)
        return complain(c, "KIND must be a name of a-z, 0-9, - and _ of at most %d bytes", MANIFEST_KIND_MAX);
    size_t kind = 0;
    while (kind < m->kind_count && strcmp(m->kinds[kind], name) != 0)
        kind++;
    if (kind == MANIFEST_KINDS_MAX)
        return complain(c, "'%s' is one KIND more than the %d there may be", name, MANIFEST_KINDS_MAX);
    if (kind == m->kind_count)
        memcpy(m->kinds[m->kind_count++], name, sizeof name);
    f->kind = (uint8_t)kind;
    return true;
}

static bool parse_line(struct manifest *m, struct manifest_file *f, const char *line, size_t bytes,
                       const struct complaint *c)
{
    enum { FIELDS_LEAST = 4, FIELDS_MOST };
    const char *field[FIELDS_MOST] = {NULL};
    size_t field_bytes[FIELDS_MOST] = {0}, fields = 0;
    for (const char *p = line, *end = line + bytes;;) {
        const char *tab = memchr(p, '\t', (size_t)(end - p));
        if (fields == FIELDS_MOST)
            return complain(c, "more than %d tab-separated fields (PATH BYTES CRC32 WEIGHT [KIND])", FIELDS_MOST);
        field[fields] = p;
        field_bytes[fields++] = (size_t)((tab ? tab : end) - p);
        if (tab == NULL)
            break;
        p = tab + 1;
    }
    if (fields < FIELDS_LEAST)
        return complain(c, "%zu of %d tab-separated fields (PATH BYTES CRC32 WEIGHT [KIND])", fields, FIELDS_LEAST);
    if (m->count > 0 && (fields == FIELDS_MOST) != (m->kind_count > 0))
        return complain(c, "KIND is to be in every line or in none");
    if (field_bytes[0] == 0 || field[0][0] != '/' || field_bytes[0] > MANIFEST_PATH_MAX)
        return complain(c, "PATH must begin with '/' and have at most %d bytes", MANIFEST_PATH_MAX);
    for (size_t i = 0; i < field_bytes[0]; i++) { /* it becomes part of a request line */
        unsigned char byte = (unsigned char)field[0][i];
        if (byte <= ' ' || byte >= 0x7f)
            return complain(c, "PATH holds byte 0x%02x: percent-encode it", byte);
    }
    char number[64], *end;
    if (!copy_field(field[1], field_bytes[1], number, sizeof number) ||
        strspn(number, "0123456789") != field_bytes[1] || field_bytes[1] > 15 ||
        (f->bytes = strtoull(number, NULL, 10)) > MANIFEST_BYTES_MAX) {
        return complain(c, "BYTES must be a whole number up to %llu", (unsigned long long)MANIFEST_BYTES_MAX);
    }
    if (!copy_field(field[2], field_bytes[2], number, sizeof number) || field_bytes[2] != 8 ||
        strspn(number, "0123456789abcdefABCDEF") != 8) {
        return complain(c, "CRC32 must be 8 hexadecimal digits");
    }
    f->crc32 = (uint32_t)strtoul(number, NULL, 16);
    if (!copy_field(field[3], field_bytes[3], number, sizeof number) || strspn(number, " \t\v\f\r") > 0 ||
        (f->weight = strtod(number, &end), *end != '\0') || !isfinite(f->weight) || f->weight < 0) {
        return complain(c, "WEIGHT must be a number not below 0");
    }
    if (fields == FIELDS_MOST && !parse_kind(m, f, field[4], field_bytes[4], c))
        return false;
    f->path = need(strndup(field[0], field_bytes[0]));
    return true;
}

int manifest_parse(struct manifest *m, const char *text, size_t bytes, char *error, size_t error_bytes)
{
    struct complaint c = {.text = error, .bytes = error_bytes};
    size_t capacity = 0;
    double total = 0;
    *m = (struct manifest){0};
    for (const char *p = text, *end = text + bytes; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *line_end = newline ? newline : end;
        c.line++;
        if (m->count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            m->files = need(realloc(m->files, capacity * sizeof *m->files));
        }
        struct manifest_file *f = &m->files[m->count];
        *f = (struct manifest_file){0};
        if (!parse_line(m, f, p, (size_t)(line_end - p), &c)) {
            manifest_free(m);
            return -1;
        }
        m->count++;
        total += f->weight;
        p = line_end + 1;
    }
    if (m->count == 0 || !(total > 0) || !isfinite(total)) {
        snprintf(error, error_bytes, "%s",
                 m->count == 0 ? "no file in it" : "the sum of the weights must be positive and finite");
        manifest_free(m);
        return -1;
    }
    build_alias_table(m, total);
    return 0;
}

int manifest_read(struct manifest *m, const char *file_name, char *error, size_t error_bytes)
{
    FILE *file = fopen(file_name, "re");
    if (file == NULL) {
        snprintf(error, error_bytes, "%s", strerror(errno));
        return -1;
    }
    char *text = NULL;
    size_t bytes = 0, capacity = 0, got;
    do {
        if (bytes == capacity) {
            capacity = capacity ? capacity * 2 : 65536;
            text = need(realloc(text, capacity));
        }
        got = fread(text + bytes, 1, capacity - bytes, file);
        bytes += got;
    } while (got > 0 && bytes <= MANIFEST_TEXT_MAX);
    int result = -1;
    if (ferror(file))
        snprintf(error, error_bytes, "%s", strerror(errno));
    else if (bytes > MANIFEST_TEXT_MAX)
        snprintf(error, error_bytes, "larger than %u bytes", MANIFEST_TEXT_MAX);
    else
        result = manifest_parse(m, text, bytes, error, error_bytes);
    fclose(file);
    free(text);
    return result;
}

void manifest_prepare(struct manifest *m, const char *host)
{
    static const char *const ending[REQUEST_KINDS] = {
        [REQUEST_KEEP_ALIVE] = "",
        [REQUEST_CLOSE] = "Connection: close\r\n",
    };
    for (size_t i = 0; i < m->count; i++) {
        struct manifest_file *f = &m->files[i];
        for (int kind = 0; kind < REQUEST_KINDS; kind++) {
            int n = asprintf(&f->request[kind], "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", f->path, host, ending[kind]);
            if (n < 0)
                abort();
            f->request_bytes[kind] = (size_t)n;
        }
    }
}

void manifest_free(struct manifest *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free(m->files[i].path);
        for (int kind = 0; kind < REQUEST_KINDS; kind++)
            free(m->files[i].request[kind]);
    }
    free(m->files);
    *m = (struct manifest){0};
}
