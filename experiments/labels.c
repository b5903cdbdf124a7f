#include "labels.h"

#include "escape.h"
#include "method.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

/* Whether a parameter of SPEC ("act_order=0", which canonical SPECs always say) has its default. */
static int is_default(const char *spec, const char *word, size_t length)
{
    struct ptq_spec parsed;
    struct ptq_error err;
    size_t name = strcspn(word, "=");
    if (name >= length || ptq_spec_parse(spec, &parsed, &err)) return 0;
    const struct ptq_param *param = parsed.method->param;
    for (int i = 0; param && param[i].name; i++)
        if (strlen(param[i].name) == name && strncmp(param[i].name, word, name) == 0)
            return parsed.value[i] == param[i].fallback;
    return 0;
}

/* Whether all cells of a method say this word of their SPEC, and it is the default: then it tells nothing. */
static int tells_nothing(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_cell *cell,
                         const char *word, size_t length)
{
    const char *key = ptq_strndup(arena, word, strcspn(word, "="));
    const char *value = ptq_report_option(arena, cell->spec, key);
    if (!value || !is_default(cell->spec, word, length)) return 0;
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_cell *other = report->row[i].cell;
        const char *its = strcmp(other->method, cell->method) ? value : ptq_report_option(arena, other->spec, key);
        if (!its || strcmp(its, value)) return 0;
    }
    return 1;
}

/* What a SPEC says beside method, width, group size, and what the label and the fraction's column say already. */
static const char *rest_of_spec(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_cell *cell)
{
    const char *rest = "", *spec = cell->spec;
    for (const char *at = strpbrk(spec, ":,"); at; at = strpbrk(at + 1, ",")) {
        const char *word = at + 1;
        size_t length = strcspn(word, ",");
        int grid = (word[0] == 'w' || word[0] == 'g') && (isdigit((unsigned char)word[1]) || word[1] == '-');
        if (grid || strncmp(word, "select=", 7) == 0 || strncmp(word, "fraction=", 9) == 0) continue;
        if (tells_nothing(arena, report, cell, word, length)) continue;
        rest = ptq_format(arena, "%s%s%.*s", rest, *rest ? ", " : "", (int)length, word);
    }
    return rest;
}

/* ---- keys: "" where a row has none ---- */

typedef const char *key_text(struct ptq_arena *arena, const struct ptq_report *report,
                             const struct ptq_report_row *row);

static const char *calib_of(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_report_row *row)
{
    if (!ptq_reads_calib(row->cell)) return "";
    return ptq_format(arena, "calib %s", ptq_report_apart(arena, report, row->cell, offsetof(struct ptq_cell, calib)));
}

static const char *sample_of(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_report_row *row)
{
    (void)report;
    const char *how = row->cell->calib_protocol; /* its first word */
    return ptq_reads_calib(row->cell) ? ptq_format(arena, "sample %.*s", (int)strcspn(how, " "), how) : "";
}

static const char *count_of(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_report_row *row)
{
    (void)report;
    long long n = row->cell->calib_windows;
    return ptq_reads_calib(row->cell) ? ptq_counted(arena, n, "window") : "";
}

static const char *length_of(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_report_row *row)
{
    (void)report;
    return ptq_reads_calib(row->cell) ? ptq_format(arena, "windows of %lld", (long long)row->cell->calib_window) : "";
}

static const char *seed_of(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_report_row *row)
{
    (void)report;
    if (!ptq_reads_calib(row->cell) && !ptq_spec_reads_seed(row->cell->spec)) return ""; /* RTN's is of its errors */
    /* orders of one seed's sums are that seed's */
    if (row->seeds.cell[0]->seed != row->seeds.cell[row->seeds.n - 1]->seed)
        return ptq_format(arena, "mean of %d seeds", row->seeds.n);
    return ptq_format(arena, "seed %lld", (long long)row->cell->seed);
}

static const char *device_of(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_report_row *row)
{
    (void)arena, (void)report;
    return row->cell->device;
}

static const char *path_of(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_report_row *row)
{
    (void)arena, (void)report;
    return row->cell->path;
}

/* In the order in which a label has them; the bits are those of labels.h. */
static const struct {
    unsigned bit;
    key_text *text;
} keys[] = {
    {PTQ_LABEL_DEVICE, device_of}, {PTQ_LABEL_PATH, path_of},           {PTQ_LABEL_CALIB, calib_of},
    {PTQ_LABEL_SAMPLE, sample_of}, {PTQ_LABEL_CALIB_WINDOWS, count_of}, {PTQ_LABEL_CALIB_WINDOW, length_of},
    {PTQ_LABEL_SEED, seed_of},
};
enum { N_KEYS = sizeof keys / sizeof *keys };

static int rows_differ(struct ptq_arena *arena, const struct ptq_report *report, key_text *text)
{
    const char *first = "";
    for (int i = 0; i < report->n_rows; i++) {
        const char *here = text(arena, report, &report->row[i]);
        if (*first && *here && strcmp(first, here)) return 1;
        if (*here) first = here;
    }
    return 0;
}

/* ---- labels ---- */

const char *ptq_label_without(struct ptq_arena *arena, const struct ptq_report *report,
                              const struct ptq_report_row *row, unsigned left_out)
{
    const char *label = ptq_report_label(arena, row->cell);
    if (*row->rest) label = ptq_format(arena, "%s, %s", label, row->rest);
    for (int k = 0; k < N_KEYS; k++) {
        if (!(report->label_keys & ~left_out & keys[k].bit)) continue;
        const char *text = keys[k].text(arena, report, row);
        if (*text) label = ptq_format(arena, "%s, %s", label, text);
    }
    return label;
}

void ptq_label_rows(struct ptq_arena *arena, struct ptq_report *report)
{
    report->label_keys = 0;
    for (int k = 0; k < N_KEYS; k++)
        if (rows_differ(arena, report, keys[k].text)) report->label_keys |= keys[k].bit;
    for (int i = 0; i < report->n_rows; i++) {
        struct ptq_report_row *row = &report->row[i];
        row->rest = rest_of_spec(arena, report, row->cell);
        row->label = ptq_label_without(arena, report, row, 0);
    }
}
