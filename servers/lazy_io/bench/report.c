/* report.c: one JSON object. What is not known is null, and every number is finite. */
#include "arguments.h"
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void report_open(struct bench *bench)
{
    bench->out = open_memstream(&bench->fields, &bench->fields_bytes);
    if (bench->out == NULL)
        fail(1, "no memory for a report");
}

static void write_text(FILE *out, const char *text)
{
    if (text == NULL) {
        fputs("null", out);
        return;
    }
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        if ((unsigned char)*text < ' ')
            fprintf(out, "\\u%04x", (unsigned)*text);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}

static void write_number(FILE *out, double value)
{
    if (isfinite(value))
        fprintf(out, "%.10g", value);
    else
        fputs("null", out);
}

void report_name(struct bench *bench, const char *name)
{
    fprintf(bench->out, ",\"%s\":", name);
}

void report_number(struct bench *bench, const char *name, double value)
{
    report_name(bench, name);
    write_number(bench->out, value);
}

void report_count(struct bench *bench, const char *name, uint64_t value)
{
    fprintf(bench->out, ",\"%s\":%llu", name, (unsigned long long)value);
}

void report_text(struct bench *bench, const char *name, const char *value)
{
    report_name(bench, name);
    write_text(bench->out, value);
}

void report_quantiles(struct bench *bench, const char *prefix, struct samples *samples)
{
    static const struct {
        const char *name;
        double share;
    } quantiles[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}, {"max", 1}};
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%s_ns", prefix, quantiles[i].name);
        report_number(bench, name, samples_quantile(samples, quantiles[i].share));
    }
}

void report_histogram(struct bench *bench, const char *name, struct samples *samples)
{
    report_name(bench, name);
    samples_write_histogram(samples, bench->out);
}

static double us(struct timeval before, struct timeval after)
{
    return (double)(after.tv_sec - before.tv_sec) * 1e6 + (double)(after.tv_usec - before.tv_usec);
}

static void print_count(const char *name, uint64_t before, uint64_t after)
{
    printf(",\"%s\":%llu", name, (unsigned long long)(after > before ? after - before : 0));
}

static void print_switches(const struct reading *before, const struct reading *after)
{
    /* A loop that went on on other kernel threads has no counters of its own, wherever it is now. */
    bool moved = before->thread_id != after->thread_id ||
                 before->laio.paths[LAIO_PATH_upcall] != after->laio.paths[LAIO_PATH_upcall] ||
                 before->laio.paths[LAIO_PATH_timer] != after->laio.paths[LAIO_PATH_timer];
    if (!moved) {
        print_count("voluntary_switches", (uint64_t)before->thread.ru_nvcsw, (uint64_t)after->thread.ru_nvcsw);
        print_count("involuntary_switches", (uint64_t)before->thread.ru_nivcsw, (uint64_t)after->thread.ru_nivcsw);
    } else {
        printf(",\"voluntary_switches\":null,\"involuntary_switches\":null");
    }
    print_count("process_voluntary_switches", (uint64_t)before->process.ru_nvcsw, (uint64_t)after->process.ru_nvcsw);
    print_count("process_involuntary_switches", (uint64_t)before->process.ru_nivcsw,
                (uint64_t)after->process.ru_nivcsw);
}

static void print_meters(const struct meters *meters)
{
    const struct reading *before = &meters->before, *after = &meters->after;
    printf(",\"paths\":{");
    for (int path = 0; path < LAIO_PATH_COUNT; path++)
        printf("%s\"%s\":%llu", path > 0 ? "," : "", laio_path_names[path],
               (unsigned long long)(after->laio.paths[path] - before->laio.paths[path]));
    printf("}");
    print_count("calls", before->laio.calls, after->laio.calls);
    print_count("completions", before->laio.completions, after->laio.completions);
    print_count("upcalls_false", before->laio.upcalls_false, after->laio.upcalls_false);
    print_count("upcalls_lost", before->laio.upcalls_lost, after->laio.upcalls_lost);
    print_count("grown", before->laio.grown, after->laio.grown);
    print_count("watch_aside", before->laio.watch_aside, after->laio.watch_aside);
    print_count("watch_again", before->laio.watch_again, after->laio.watch_again);
    print_count("watch_failed", before->laio.watch_failed, after->laio.watch_failed);
    printf(",\"threads\":%u", after->laio.threads);
    print_switches(before, after);
    printf(",\"cpu_us\":");
    write_number(stdout, us(before->process.ru_utime, after->process.ru_utime) +
                             us(before->process.ru_stime, after->process.ru_stime) +
                             meters_children_ns(meters) * 1e-3);
    print_count("device_read_bytes", before->device_read_bytes, after->device_read_bytes);
    print_count("device_write_bytes", before->device_write_bytes, after->device_write_bytes);
    if (before->disk_found && after->disk_found) {
        print_count("disk_read_bytes", before->disk_read_bytes, after->disk_read_bytes);
        print_count("disk_write_bytes", before->disk_write_bytes, after->disk_write_bytes);
    } else {
        printf(",\"disk_read_bytes\":null,\"disk_write_bytes\":null");
    }
}

void report_print(struct bench *bench, const char *experiment)
{
    const struct bench_options *options = &bench->options;
    const struct {
        const char *name, *value;
    } texts[] = {
        {"engine", options->engine},     {"watch", bench->watch},
        {"operation", options->operation}, {"state", options->state},
    };
    printf("{\"experiment\":");
    write_text(stdout, experiment);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        printf(",\"%s\":", texts[i].name);
        write_text(stdout, texts[i].value);
    }
    printf(",\"bytes\":%llu,\"supported\":%s,\"why\":", (unsigned long long)options->bytes,
           bench->supported ? "true" : "false");
    write_text(stdout, bench->supported ? NULL : bench->why);
    printf(",\"samples\":%llu,\"errors\":%llu", (unsigned long long)bench->samples, (unsigned long long)bench->errors);
    printf(",\"first_error\":");
    write_text(stdout, bench->errors > 0 ? bench->wrong : NULL);
    print_meters(&bench->meters);
    printf(",\"evicted\":");
    write_number(stdout, bench->pages_seen > 0 ? (double)bench->pages_absent / (double)bench->pages_seen : NAN);
    fflush(bench->out);
    fwrite(bench->fields, 1, bench->fields_bytes, stdout);
    puts("}");
    fclose(bench->out);
    free(bench->fields);
}
