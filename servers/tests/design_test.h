/* design_test.h: what a test of a design from outside is made of: the server that runs, and clients of it. */
#ifndef NAI_DESIGN_TEST_H
#define NAI_DESIGN_TEST_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#define WAIT_MS 10000 /* for what must happen */
#define REQUEST "GET /1k.bin HTTP/1.1\r\nHost: a\r\n\r\n"

/* What main() was told; it does not change. */
extern const char *design, *program;
extern char **given; /* options */
extern bool threads; /* each serves one connection at a time, until it is closed */
bool on_ring(void);  /* its events come from io_uring */

struct server {
    pid_t pid;
    struct sockaddr_in address;
};

/* Start the design with these options (at most 12 words); descriptors 0 = the usual limit. */
struct server start(rlim_t descriptors, const char *const *options);
#define START(descriptors, ...) start(descriptors, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
int wait_for_exit(const struct server *server);
void stop(const struct server *server); /* it exits with 0 */

uint64_t counter(const char *name);
bool reaches(const char *name, uint64_t value); /* false: not within WAIT_MS */

int dial(const struct server *server);
void say(int client, const char *text);
bool replies(int client, int n); /* receive n replies of 1,024 bytes each */
bool ended(int client);          /* by FIN or RST */

/* design_threads.c: what holds where each connection has a thread. */
void check_threads(void);
/* design_crowds.c: many connections, or more than are allowed, and clients that do not read. */
void check_many(void);
void check_flood(void);
void check_exhaustion(rlim_t at_start, const char *most, rlim_t later);

#endif
