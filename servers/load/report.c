#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void report_begin(struct report *r, const char *mode, double target_per_s, uint64_t start_ns, double warmup_s,
                  double duration_s)
{
    memset(r, 0, sizeof *r);
    r->mode = mode;
    r->target_per_s = target_per_s;
    r->warmup_s = warmup_s;
    r->begin_ns = start_ns + (uint64_t)(warmup_s * 1e9);
    r->end_ns = r->begin_ns + (uint64_t)(duration_s * 1e9);
    r->seconds_count = (size_t)ceil(duration_s) + 1; /* one spare for rounding */
    r->seconds = calloc(r->seconds_count, sizeof *r->seconds);
    if (r->seconds == NULL)
        abort();
}

void report_kinds(struct report *r, const struct manifest *m)
{
    r->kind_count = m->kind_count;
    for (size_t i = 0; i < m->kind_count; i++)
        memcpy(r->kinds[i].name, m->kinds[i], sizeof r->kinds[i].name);
}

void report_answered(struct report *r, const struct manifest_file *file, uint64_t ns)
{
    histogram_record(&r->latency, ns);
    if (r->kind_count > 0)
        histogram_record(&r->kinds[file->kind].latency, ns);
}

void report_timed_out(struct report *r, const struct manifest_file *file, uint64_t ns)
{
    histogram_censor(&r->latency, ns);
    if (r->kind_count > 0)
        histogram_censor(&r->kinds[file->kind].latency, ns);
}

void report_unanswered(struct report *r, const struct manifest_file *file, uint64_t ns)
{
    histogram_in_flight(&r->latency, ns);
    if (r->kind_count > 0)
        histogram_in_flight(&r->kinds[file->kind].latency, ns);
}

void report_free(struct report *r)
{
    free(r->seconds);
    r->seconds = NULL;
}

static double us(double ns)
{
    return ns * 1e-3;
}

static void write_summary(const struct histogram *h, FILE *out)
{
    fprintf(out, "\"count\":%llu,\"mean_us\":%.3f,\"p50_us\":%.3f,\"p90_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,",
            (unsigned long long)h->count, us(histogram_mean(h)), us(histogram_quantile(h, .5)),
            us(histogram_quantile(h, .9)), us(histogram_quantile(h, .99)), us(histogram_quantile(h, .999)));
    fprintf(out, "\"max_us\":%.3f", us((double)h->max));
}

static void write_censored(const struct histogram *h, FILE *out)
{
    fprintf(out, "\"censored\":%llu,\"in_flight\":%llu,", (unsigned long long)h->censored,
            (unsigned long long)h->in_flight);
}

/* Only what was asked for: of a kind without a request nothing is known. */
static void write_kinds(const struct report *r, FILE *out)
{
    size_t written = 0;
    for (const struct report_kind *k = r->kinds; k < r->kinds + r->kind_count; k++) {
        if (k->latency.count + k->latency.censored + k->latency.in_flight == 0)
            continue;
        fprintf(out, "%s\"%s\":{", written++ ? "," : ",\"kinds\":{", k->name);
        write_censored(&k->latency, out);
        write_summary(&k->latency, out);
        fputc('}', out);
    }
    if (written > 0)
        fputc('}', out);
}

void report_write(const struct report *r, const struct report_extra *extra, size_t extra_count, FILE *out)
{
    double seconds = (double)(r->end_ns - r->begin_ns) * 1e-9;
    double per_s = seconds > 0 ? 1 / seconds : 0;
    fprintf(out, "{\"schema\":%d,\"mode\":\"%s\",\"target_per_s\":%.6g,\"duration_s\":%.6f,\"warmup_s\":%.6f",
            REPORT_SCHEMA, r->mode, r->target_per_s, seconds, r->warmup_s);
#define X(name) fprintf(out, ",\"" #name "\":%llu", (unsigned long long)r->name);
    REPORT_COUNTERS(X)
#undef X
    fprintf(out, ",\"replies_per_s\":%.3f,\"connections_opened_per_s\":%.3f,\"connections_attempted_per_s\":%.3f",
            (double)r->replies * per_s, (double)r->connections_opened * per_s,
            (double)r->connections_attempted * per_s);
    /* More than 1 would mean that starts due before the window were made up for in it. */
    double achieved = r->starts_scheduled ? (double)r->starts_issued / (double)r->starts_scheduled : 1;
    achieved = achieved > 1 ? 1 : achieved;
    fprintf(out, ",\"achieved_ratio\":%.6f,\"lag_p99_us\":%.3f,\"lag_max_us\":%.3f", achieved,
            us(histogram_quantile(&r->lag, .99)), us((double)r->lag.max));
    fprintf(out, ",\"cpu_s\":%.6f,\"cpu_share\":%.6f", r->cpu_s, r->cpu_s * per_s);

    fputs(",\"latency\":{", out);
    write_censored(&r->latency, out);
    write_summary(&r->latency, out);
    fprintf(out, ",\"histogram\":{\"significant_bits\":%d,\"unit\":\"ns\",\"counts\":", HISTOGRAM_SIGNIFICANT_BITS);
    histogram_write_counts(r->latency.observed_at, out);
    fputs(",\"censored_counts\":", out);
    histogram_write_counts(r->latency.censored_at, out);
    fputs("}},\"latency_httperf\":{", out);
    write_summary(&r->latency_httperf, out);
    fputs("},\"connect\":{", out);
    write_summary(&r->connect, out);
    fputc('}', out);
    write_kinds(r, out);

    fputs(",\"per_second\":[", out);
    for (size_t i = 0; i < r->seconds_count && (double)i < seconds; i++) {
        const struct report_second *s = &r->seconds[i];
        fprintf(out, "%s{\"t_s\":%zu,\"attempted\":%llu,\"replies\":%llu,\"timed_out\":%llu}", i ? "," : "", i,
                (unsigned long long)s->attempted, (unsigned long long)s->replies, (unsigned long long)s->timed_out);
    }
    fputs("]", out);
    for (size_t i = 0; i < extra_count; i++)
        fprintf(out, ",\"%s\":%llu", extra[i].name, (unsigned long long)extra[i].value);
    fputs("}\n", out);
}
