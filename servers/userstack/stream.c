#include "stream.h"

#include "bytes.h"

static uint32_t size_of(const struct stream *stream) { return stream->slot_count * STACK_CHUNK_BYTES; }

static uint32_t place_of(const struct stream *stream, uint32_t at)
{
    uint32_t place = stream->begin + at;
    return place >= size_of(stream) ? place - size_of(stream) : place;
}

/* Make sure of chunks for the range, from its beginning on; returns how many bytes of it are covered. */
static uint32_t cover(struct stream *stream, struct pool *chunks, uint32_t at, uint32_t bytes)
{
    for (uint32_t done = 0; done < bytes;) {
        uint32_t place = place_of(stream, at + done), slot = place / STACK_CHUNK_BYTES;
        if (stream->slots[slot] == 0) {
            if (!pool_has_share(chunks, stream->held))
                return done;
            stream->slots[slot] = pool_take(chunks);
            stream->held++;
        }
        done += STACK_CHUNK_BYTES - place % STACK_CHUNK_BYTES;
    }
    return bytes;
}

static void write(struct stream *stream, struct pool *chunks, uint32_t at, const uint8_t *data, uint32_t bytes)
{
    while (bytes > 0) {
        uint32_t place = place_of(stream, at), within = place % STACK_CHUNK_BYTES;
        uint32_t part = min_u32(bytes, STACK_CHUNK_BYTES - within);
        copy_bytes(pool_block(chunks, stream->slots[place / STACK_CHUNK_BYTES]) + within, data, part);
        at += part;
        data += part;
        bytes -= part;
    }
}

bool stream_place(struct stream *stream, struct pool *chunks, uint32_t at, const uint8_t *data, uint32_t bytes)
{
    if (cover(stream, chunks, at, bytes) != bytes) /* chunks got in vain serve the next attempt */
        return false;
    write(stream, chunks, at, data, bytes);
    return true;
}

uint32_t stream_append(struct stream *stream, struct pool *chunks, const uint8_t *data, uint32_t bytes)
{
    bytes = cover(stream, chunks, stream->length, min_u32(bytes, stream->limit - stream->length));
    write(stream, chunks, stream->length, data, bytes);
    stream->length += bytes;
    return bytes;
}

void stream_copy(const struct stream *stream, const struct pool *chunks, uint32_t at, uint8_t *out, uint32_t bytes)
{
    while (bytes > 0) {
        uint32_t place = place_of(stream, at), within = place % STACK_CHUNK_BYTES;
        uint32_t part = min_u32(bytes, STACK_CHUNK_BYTES - within);
        copy_bytes(out, pool_block(chunks, stream->slots[place / STACK_CHUNK_BYTES]) + within, part);
        at += part;
        out += part;
        bytes -= part;
    }
}

uint64_t stream_copy_and_sum(const struct stream *stream, const struct pool *chunks, uint32_t at, uint8_t *out, uint32_t bytes)
{
    uint64_t sum = 0;
    for (uint32_t done = 0, part; done < bytes; done += part) {
        uint32_t place = place_of(stream, at + done), within = place % STACK_CHUNK_BYTES;
        part = min_u32(bytes - done, STACK_CHUNK_BYTES - within);
        uint64_t one = copy_and_sum(out + done, pool_block(chunks, stream->slots[place / STACK_CHUNK_BYTES]) + within, part);
        sum += done % 2 == 0 ? one : sum_swapped(one);
    }
    return sum;
}

static void give(struct stream *stream, struct pool *chunks, uint32_t slot)
{
    if (stream->slots[slot] != 0) {
        pool_give(chunks, stream->slots[slot]);
        stream->slots[slot] = 0;
        stream->held--;
    }
}

void stream_consume(struct stream *stream, struct pool *chunks, uint32_t bytes, bool last)
{
    uint32_t within = stream->begin % STACK_CHUNK_BYTES;
    if (last && bytes == stream->length && within + bytes < STACK_CHUNK_BYTES) { /* a message: all there is, in one chunk */
        give(stream, chunks, stream->begin / STACK_CHUNK_BYTES);
        stream->begin -= within;
        stream->length = 0;
        return;
    }
    while (bytes > 0) {
        uint32_t part = min_u32(bytes, STACK_CHUNK_BYTES - stream->begin % STACK_CHUNK_BYTES);
        uint32_t slot = stream->begin / STACK_CHUNK_BYTES;
        stream->begin = place_of(stream, part);
        stream->length -= part;
        bytes -= part;
        if (stream->begin % STACK_CHUNK_BYTES == 0)
            give(stream, chunks, slot);
    }
    if (stream->length == 0 && last) {
        give(stream, chunks, stream->begin / STACK_CHUNK_BYTES);
        stream->begin -= stream->begin % STACK_CHUNK_BYTES;
    }
}

void stream_clear(struct stream *stream, struct pool *chunks)
{
    for (uint32_t slot = 0; stream->held > 0; slot++)
        give(stream, chunks, slot);
    stream->begin = stream->length = 0;
}
