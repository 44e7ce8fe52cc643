#include "fuzz_mutate.h"

#include <string.h>

#define WORDS_MAX 256
#define WORD_MAX 64  /* bytes */
#define COPY_MAX 256 /* bytes, of what is repeated */

static uint64_t random_state;

static uint64_t random_bits(void) /* splitmix64 */
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

void fuzz_seed(uint64_t seed) { random_state = seed; }

size_t fuzz_below(size_t n)
{
    return n == 0 ? 0 : (size_t)(random_bits() % n);
}

static struct word {
    uint8_t bytes[WORD_MAX];
    size_t size;
} words[WORDS_MAX];
static size_t word_count;

size_t fuzz_read_line(FILE *file, uint8_t *bytes, size_t capacity)
{
    static char line[4 * INPUT_MAX + 64];
    while (fgets(line, sizeof line, file) != NULL) {
        const char *at = *line == '#' ? NULL : strchr(line, '"');
        size_t size = 0;
        for (at = at == NULL ? "" : at + 1; *at != '\0' && *at != '"' && size < capacity; size++) {
            unsigned byte = (uint8_t)*at++;
            if (byte == '\\' && *at == 'x' && sscanf(at, "x%2x", &byte) == 1)
                at += 3;
            else if (byte == '\\' && *at != '\0')
                byte = (uint8_t)*at++;
            bytes[size] = (uint8_t)byte;
        }
        if (size > 0)
            return size;
    }
    return 0;
}

void fuzz_write_line(FILE *file, const uint8_t *bytes, size_t size)
{
    putc('"', file);
    for (size_t i = 0; i < size; i++)
        fprintf(file, bytes[i] >= ' ' && bytes[i] < 0x7f && bytes[i] != '"' && bytes[i] != '\\' ? "%c" : "\\x%02x", bytes[i]);
    fputs("\"\n", file);
}

bool fuzz_read_words(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    while (word_count < WORDS_MAX && (words[word_count].size = fuzz_read_line(file, words[word_count].bytes, WORD_MAX)) > 0)
        word_count++;
    fclose(file);
    return true;
}

static size_t insert(uint8_t *bytes, size_t size, size_t at, const void *what, size_t length)
{
    if (size + length > INPUT_MAX)
        return size;
    memmove(bytes + at + length, bytes + at, size - at);
    memcpy(bytes + at, what, length);
    return size + length;
}

/* What the byte at *at is part of: *at goes to where that begins, and what remains of it is returned. As the target says;
 * else a line, half of the time, or so many bytes from here. */
static size_t part(const uint8_t *bytes, size_t size, size_t *at)
{
    if (fuzz_part != NULL && size > 0) {
        *at = *at < size ? *at : size - 1;
        size_t length = fuzz_part(bytes, size, at);
        if (fuzz_below(16) == 0) { /* the end, too, is a place to put something */
            *at += length;
            return 0;
        }
        for (size_t more = fuzz_below(4) ? 0 : fuzz_below(8), next; more > 0 && (next = *at + length) < size; more--)
            length += fuzz_part(bytes, size, &next);
        return length;
    }
    if (fuzz_below(2)) {
        const uint8_t *line = *at < size ? memchr(bytes + *at, '\n', size - *at) : NULL;
        *at = line != NULL ? (size_t)(line + 1 - bytes) : 0;
    }
    return 1 + fuzz_below(size < 32 ? size + 1 : 32);
}

size_t fuzz_mutate(uint8_t *bytes, size_t size, const struct input *corpus, size_t inputs)
{
    static const uint8_t telling[] = {0, 1, '\t', '\n', '\r', ' ', '%', '/', '.', ':', '?', '0', '9', 0x7f, 0x80, 0xff};
    for (size_t times = 1 + fuzz_below(4); times > 0; times--) {
        size_t byte = fuzz_below(size), at = fuzz_below(size + 1), length = part(bytes, size, &at);
        switch (fuzz_below(11)) {
        case 0: /* a bit */
            if (byte < size)
                bytes[byte] ^= (uint8_t)(1u << fuzz_below(8));
            break;
        case 1: /* a byte */
            if (byte < size)
                bytes[byte] = fuzz_below(2) ? telling[fuzz_below(sizeof telling)] : (uint8_t)random_bits();
            break;
        case 2: /* a little more or less */
            if (byte < size)
                bytes[byte] = (uint8_t)(bytes[byte] + 4 - fuzz_below(9));
            break;
        case 3:
        case 4: { /* a word in between */
            const struct word *word = &words[fuzz_below(word_count)];
            size = insert(bytes, size, at, word->bytes, word->size);
            break;
        }
        case 5: { /* a word instead */
            const struct word *word = &words[fuzz_below(word_count)];
            if (at + word->size <= size)
                memcpy(bytes + at, word->bytes, word->size);
            break;
        }
        case 6: /* something less */
            if (at + length <= size) {
                memmove(bytes + at, bytes + at + length, size - at - length);
                size -= length;
            }
            break;
        case 7: /* something twice, or very often */
            if (at + length <= size) {
                uint8_t copy[COPY_MAX];
                length = length < sizeof copy ? length : sizeof copy;
                memcpy(copy, bytes + at, length);
                for (size_t n = fuzz_below(16) ? 1 : fuzz_below(400); n > 0; n--)
                    size = insert(bytes, size, at, copy, length);
            }
            break;
        case 8: { /* the end of another input */
            const struct input *other = &corpus[fuzz_below(inputs)];
            size_t from = fuzz_below(other->size + 1);
            part(other->bytes, other->size, &from);
            size_t rest = other->size - from;
            if (at + rest <= INPUT_MAX) {
                memcpy(bytes + at, other->bytes + from, rest);
                size = at + rest;
            }
            break;
        }
        case 9: { /* a part of another input in between */
            const struct input *other = &corpus[fuzz_below(inputs)];
            size_t from = fuzz_below(other->size + 1);
            length = part(other->bytes, other->size, &from);
            if (from + length <= other->size)
                size = insert(bytes, size, at, other->bytes + from, length);
            break;
        }
        default: /* cut short */
            if (fuzz_below(4) == 0)
                size = at;
        }
    }
    return size;
}
