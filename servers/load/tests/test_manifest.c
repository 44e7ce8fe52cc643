/* test_manifest.c: what a manifest may hold, the one line said about what it may not, and how often files are drawn. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "manifest.h"

static const struct {
    const char *text, *complaint; /* part of it */
} refused[] = {
    {"", "no file"},
    {"\n", "line 1: 1 of 4"},
    {"/a\t1\t00000000", "line 1: 3 of 4"},
    {"/a\t1\t00000000\t1\thot\t\n", "line 1: more than 5"},
    {"/a\t1\t00000000\t1\t\n", "line 1: KIND must"},
    {"/a\t1\t00000000\t1\tHot", "KIND must"},
    {"/a\t1\t00000000\t1\thot\r\n", "KIND must"},
    {"/a\t1\t00000000\t1\tlukewarm-to-warm\n", "KIND must"}, /* 16 bytes */
    {"/a\t1\t00000000\t1\thot\n/b\t1\t00000000\t1\n", "line 2: KIND is to be in every line"},
    {"/a\t1\t00000000\t1\n/b\t1\t00000000\t1\thot\n", "line 2: KIND is to be in every line"},
    {"/a\t1\t00000000\t1\ta\n/b\t1\t00000000\t1\tb\n/c\t1\t00000000\t1\tc\n/d\t1\t00000000\t1\td\n"
     "/e\t1\t00000000\t1\ta\n/f\t1\t00000000\t1\te\n",
     "line 6: 'e' is one KIND more"},
    {"/a\t1\t00000000\t1\na\t1\t00000000\t1", "line 2: PATH must begin"},
    {"\t1\t00000000\t1", "PATH must begin"},
    {"/a b\t1\t00000000\t1", "byte 0x20"},
    {"/\xc3\xa4\t1\t00000000\t1", "byte 0xc3"},
    {"/a\r\t1\t00000000\t1", "byte 0x0d"},
    {"/a\t\t00000000\t1", "BYTES"},
    {"/a\t-1\t00000000\t1", "BYTES"},
    {"/a\t1099511627777\t00000000\t1", "BYTES"},
    {"/a\t99999999999999999999999\t00000000\t1", "BYTES"},
    {"/a\t0x10\t00000000\t1", "BYTES"},
    {"/a\t1\t0000000\t1", "CRC32"},
    {"/a\t1\t0000000g\t1", "CRC32"},
    {"/a\t1\t00000000\t", "WEIGHT"},
    {"/a\t1\t00000000\t-1", "WEIGHT"},
    {"/a\t1\t00000000\tnan", "WEIGHT"},
    {"/a\t1\t00000000\tinf", "WEIGHT"},
    {"/a\t1\t00000000\t1x", "WEIGHT"},
    {"/a\t1\t00000000\t1\r\n", "WEIGHT"},
    {"/a\t1\t00000000\t0\n", "sum of the weights"},
    {"/a\t1\t00000000\t1e308\n/b\t1\t00000000\t1e308\n", "sum of the weights"},
};

static void bad_ones_are_refused_clearly(void)
{
    struct manifest m;
    char error[128];
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        CHECK(manifest_parse(&m, refused[i].text, strlen(refused[i].text), error, sizeof error) == -1);
        CHECK(strstr(error, refused[i].complaint) != NULL && strchr(error, '\n') == NULL);
    }
    CHECK(manifest_parse(&m, "/a\0b\t1\t00000000\t1", 17, error, sizeof error) == -1);
    CHECK(manifest_parse(&m, "/a\t1\t00000000\t1\0x", 17, error, sizeof error) == -1 && strstr(error, "WEIGHT"));
    char small[8];
    CHECK(manifest_parse(&m, "x", 1, small, sizeof small) == -1 && strlen(small) < sizeof small);
    CHECK(manifest_read(&m, "/nonexistent/manifest", error, sizeof error) == -1 && strstr(error, "No such file"));
    CHECK(manifest_read(&m, "/", error, sizeof error) == -1 && strstr(error, "directory"));
}

static void good_ones_are_understood(void)
{
    static const char text[] = "/a\t0\tDEADbeef\t.5\n/dir/b%20c?x=1\t1099511627776\t00000001\t3e0";
    struct manifest m;
    char error[128];
    CHECK(manifest_parse(&m, text, strlen(text), error, sizeof error) == 0);
    CHECK(m.kind_count == 0 && m.files[1].kind == 0);
    CHECK(m.count == 2 && m.files[0].crc32 == 0xdeadbeef && m.files[0].bytes == 0 && m.files[1].bytes == 1ull << 40);
    manifest_prepare(&m, "host:80");
    CHECK(strcmp(m.files[0].request[REQUEST_KEEP_ALIVE], "GET /a HTTP/1.1\r\nHost: host:80\r\n\r\n") == 0);
    CHECK(strcmp(m.files[1].request[REQUEST_CLOSE],
                 "GET /dir/b%20c?x=1 HTTP/1.1\r\nHost: host:80\r\nConnection: close\r\n\r\n") == 0);
    CHECK(m.files[0].request_bytes[REQUEST_CLOSE] == strlen(m.files[0].request[REQUEST_CLOSE]));
    manifest_free(&m);
}

static void kinds_are_told_apart(void)
{
    static const char text[] = "/a\t1\t00000000\t1\tother\n/b\t1\t00000000\t1\thot\n/c\t1\t00000000\t1\tother\n"
                               "/d\t1\t00000000\t1\tfifteen_bytes-1\n";
    struct manifest m;
    char error[128];
    CHECK(manifest_parse(&m, text, strlen(text), error, sizeof error) == 0 && m.count == 4 && m.kind_count == 3);
    const char *const expected[] = {"other", "hot", "other", "fifteen_bytes-1"};
    for (size_t i = 0; i < m.count; i++)
        CHECK(strcmp(m.kinds[m.files[i].kind], expected[i]) == 0);
    CHECK(m.files[0].kind == m.files[2].kind);
    manifest_free(&m);
    CHECK(m.kind_count == 0);
}

static void files_are_drawn_by_weight(void)
{
    static const char text[] = "/a\t1\t00000000\t35\n/never\t1\t00000000\t0\n/b\t1\t00000000\t50\n"
                               "/c\t1\t00000000\t14\n/d\t1\t00000000\t1\n/no\t1\t00000000\t0\n";
    enum { DRAWS = 200000 };
    struct manifest m;
    char error[128];
    CHECK(manifest_parse(&m, text, strlen(text), error, sizeof error) == 0);
    struct random r;
    random_seed(&r, 1, RANDOM_FILES);
    double drawn[6] = {0};
    for (int i = 0; i < DRAWS; i++)
        drawn[manifest_draw(&m, &r) - m.files]++;
    for (size_t i = 0; i < m.count; i++) {
        double expected = m.files[i].weight / 100 * DRAWS;
        CHECK(fabs(drawn[i] - expected) <= 4 * sqrt(expected));
    }
    manifest_free(&m);
}

int main(void)
{
    bad_ones_are_refused_clearly();
    good_ones_are_understood();
    kinds_are_told_apart();
    files_are_drawn_by_weight();
    return 0;
}
