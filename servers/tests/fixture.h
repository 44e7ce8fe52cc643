/* fixture.h: a folder of files and loopback connections for the tests. */
#ifndef NAI_FIXTURE_H
#define NAI_FIXTURE_H

#include "transport.h"

#include <stdbool.h>
#include <stddef.h>

/* Make a folder under $TMPDIR with small.txt ("small\n"), 1k.bin, page/index.html, memory.bin (30,000 bytes),
 * sendfile.bin (300,000 bytes) and empty.txt. It is removed at exit. */
const char *fixture_root(void);
void fixture_write(const char *path, const char *bytes, size_t length); /* path below the root */
char fixture_byte(size_t offset);                                        /* of the .bin files */

/* Both ends of a TCP connection over loopback: server non-blocking, client blocking. */
void fixture_connection(int *server, int *client);

bool fixture_readable(int socket, int wait_ms);

/* Read until the end, an error or capacity. Returns the bytes read. */
size_t fixture_read_all(int socket, char *out, size_t capacity);

#endif
