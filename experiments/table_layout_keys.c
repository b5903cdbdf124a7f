/* The tables of what a layout can name: keys that tell cells apart, values that stand in slots. A key or a value is a
 * row here. */
#include "table_layout.h"

#include "method.h"
#include "model_name.h"
#include "path.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define ROW struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_report_row *row

/* ---- keys ---- */

static int quantises(const struct ptq_report_row *row)
{
    return row->cell->w_bit < 16;
}

static const char *key_model(ROW)
{
    for (int s = 0; s < report->n_sections; s++)
        for (int r = 0; r < report->section[s].n; r++)
            if (report->section[s].row[r]->cell == row->cell) return report->section[s].model;
    return ptq_model_name(arena, report->cell, report->n_cells, row->cell);
}

static const char *key_method(ROW)
{
    (void)report;
    return ptq_report_label(arena, row->cell);
}

static const char *key_select(ROW)
{
    (void)report;
    const char *select = ptq_report_option(arena, row->cell->spec, "select");
    return select ? select : ptq_report_label(arena, row->cell);
}

static const char *key_spec(ROW)
{
    (void)arena, (void)report;
    return row->cell->spec;
}

static const char *key_bits(ROW)
{
    (void)report;
    struct ptq_section grid = {.w_bit = row->cell->w_bit, .group_size = row->cell->group_size};
    return quantises(row) ? ptq_section_settings(arena, &grid) : NULL;
}

static const char *key_w_bit(ROW)
{
    (void)report;
    return quantises(row) ? ptq_format(arena, "w%lld", (long long)row->cell->w_bit) : NULL;
}

static const char *key_group_size(ROW)
{
    (void)report;
    if (!quantises(row)) return NULL;
    return row->cell->group_size == -1 ? "a row" : ptq_format(arena, "g%lld", (long long)row->cell->group_size);
}

static const char *key_effective_bits(ROW)
{
    (void)report;
    return ptq_format(arena, "%.2f", row->cell->effective_bits);
}

static const char *key_fraction(ROW)
{
    (void)report;
    return row->cell->fraction > 0 ? ptq_format(arena, "%.4g %%", 100 * row->cell->fraction) : NULL;
}

static const char *key_text(ROW)
{
    return ptq_report_apart(arena, report, row->cell, offsetof(struct ptq_cell, text));
}

static const char *key_calib(ROW)
{
    size_t calib = offsetof(struct ptq_cell, calib);
    return ptq_reads_calib(row->cell) ? ptq_report_apart(arena, report, row->cell, calib) : NULL;
}

static const char *key_calib_windows(ROW)
{
    (void)report;
    return ptq_reads_calib(row->cell) ? ptq_format(arena, "%lld", (long long)row->cell->calib_windows) : NULL;
}

static const char *key_device(ROW)
{
    (void)arena, (void)report;
    return row->cell->device;
}

static const char *key_path(ROW)
{
    (void)arena, (void)report;
    return row->cell->path;
}

static const char value_key[] = "value";

static const struct ptq_table_layout_key keys[] = {
    {.name = "model", .text = key_model, .doc = "the model"},
    {.name = "method", .identity = 1, .text = key_method, .doc = "the method, with what else its SPEC says"},
    {.name = "select", .identity = 1, .text = key_select, .doc = "how salient channels are chosen, else the method"},
    {.name = "spec", .identity = 1, .text = key_spec, .doc = "the whole SPEC"},
    {.name = "bits", .head = "quantised", .text = key_bits, .doc = "width and group size"},
    {.name = "w_bit", .text = key_w_bit, .doc = "width"},
    {.name = "group_size", .text = key_group_size, .doc = "group size"},
    {.name = "effective_bits", .rising = 1, .text = key_effective_bits, .doc = "stored bits a weight, rising"},
    {.name = "fraction", .text = key_fraction, .doc = "share of the channels that is kept or scaled"},
    {.name = "text",
     .head = "evaluated on",
     .text = key_text,
     .doc = "evaluation text: the one key whose lines may differ in protocol, each text of one"},
    {.name = "calib",
     .head = "calibrated on",
     .text = key_calib,
     .doc = "calibration text, of a cell whose method reads it"},
    {.name = "calib_windows",
     .head = "calibration windows",
     .rising = 1,
     .text = key_calib_windows,
     .doc = "calibration windows, rising; as calib"},
    {.name = "device", .text = key_device, .doc = "cpu or the GPU's name"},
    {.name = "path", .text = key_path, .doc = PTQ_PATH_WORDS},
    {.name = value_key, .doc = "where several values stand"},
};
enum { N_KEYS = sizeof keys / sizeof *keys };

static int is_param(const struct ptq_param *p, const char *name)
{
    for (; p && p->name; p++)
        if (strcmp(p->name, name) == 0) return 1;
    return 0;
}

const struct ptq_table_layout_key *ptq_table_layout_key(struct ptq_arena *arena, const char *name)
{
    int known = is_param(ptq_grid_params(), name);
    for (int i = 0; i < N_KEYS; i++)
        if (strcmp(keys[i].name, name) == 0) return &keys[i];
    for (int i = 0; i < ptq_n_methods && !known; i++) known = is_param(ptq_methods[i]->param, name);
    if (!known) return NULL;
    struct ptq_table_layout_key *key = ptq_new(arena, struct ptq_table_layout_key, 1);
    *key = (struct ptq_table_layout_key){.name = ptq_strdup(arena, name)};
    return key;
}

int ptq_table_layout_is_value(const struct ptq_table_layout_key *key)
{
    return strcmp(key->name, value_key) == 0;
}

/* ---- values ---- */

#undef ROW
#define ROW const struct ptq_report *report, const struct ptq_report_row *row, struct ptq_interval *interval

static double value_ppl(ROW)
{
    (void)report;
    *interval = row->estimate.interval;
    return row->estimate.ppl;
}

static double value_above(ROW)
{
    (void)report;
    if (!quantises(row)) return NAN;
    *interval = row->estimate.difference_interval;
    return row->estimate.difference;
}

static double value_kl(ROW)
{
    (void)report, (void)interval;
    return row->cell->kl ? row->cell->kl_mean : NAN;
}

static double value_same_top(ROW)
{
    (void)report, (void)interval;
    return row->cell->kl ? 100 * row->cell->same_top : NAN;
}

static double value_effective_bits(ROW)
{
    (void)report, (void)interval;
    return row->cell->effective_bits;
}

static double value_seconds(ROW)
{
    (void)report, (void)interval;
    return quantises(row) ? row->cell->seconds_calibrate + row->cell->seconds_quantize : NAN;
}

static double value_peak(ROW)
{
    (void)report, (void)interval;
    return (double)row->cell->peak_rss_bytes / (1 << 20);
}

static double value_quantize_peak(ROW)
{
    (void)report, (void)interval;
    int64_t peak = row->cell->peak_rss_bytes_quantize;
    return peak ? (double)peak / (1 << 20) : NAN;
}

/* The mean of a column over the linears that have it, each with the weight of its groups. */
static double mean_of_linears(const struct ptq_cell *c, double (*of)(const struct ptq_linear_report *), int scaled_only)
{
    double sum = 0, groups = 0;
    for (int i = 0; i < c->n_linears; i++) {
        const struct ptq_linear_report *l = &c->linear[i];
        if (scaled_only && !(l->delta_ratio > 0)) continue;
        sum += (double)l->groups * of(l);
        groups += (double)l->groups;
    }
    return groups > 0 ? sum / groups : NAN;
}

static double of_changed(const struct ptq_linear_report *l)
{
    return 100 * l->delta_changed;
}

static double of_ratio(const struct ptq_linear_report *l)
{
    return l->delta_ratio;
}

static double of_over_s(const struct ptq_linear_report *l)
{
    return l->delta_over_s;
}

static double of_output_error(const struct ptq_linear_report *l)
{
    return 100 * l->output_error;
}

static double of_weight_error(const struct ptq_linear_report *l)
{
    return 100 * l->weight_error;
}

static double value_changed(ROW)
{
    (void)report, (void)interval;
    return mean_of_linears(row->cell, of_changed, 1);
}

static double value_ratio(ROW)
{
    (void)report, (void)interval;
    return mean_of_linears(row->cell, of_ratio, 1);
}

static double value_over_s(ROW)
{
    (void)report, (void)interval;
    return mean_of_linears(row->cell, of_over_s, 1);
}

static double value_output_error(ROW)
{
    (void)report, (void)interval;
    double mean = mean_of_linears(row->cell, of_output_error, 0);
    return mean < 0 ? NAN : mean; /* not measured */
}

static double value_weight_error(ROW)
{
    (void)report, (void)interval;
    return mean_of_linears(row->cell, of_weight_error, 0);
}

/* The methods' own loss, of all linears together. */
static double value_loss(ROW)
{
    (void)report, (void)interval;
    double sum = 0;
    for (int i = 0; i < row->cell->n_linears; i++) sum += row->cell->linear[i].loss;
    return sum > 0 ? sum : NAN;
}

static int same_machine(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return ptq_same_task(a, b) && strcmp(a->device, b->device) == 0 && strcmp(a->path, b->path) == 0;
}

/* A text's domain is its name without what says which part of it this is. */
static size_t domain_length(const char *name)
{
    const char *dash = strrchr(name, '-');
    return dash && (strcmp(dash, "-eval") == 0 || strcmp(dash, "-calib") == 0) ? (size_t)(dash - name) : strlen(name);
}

static int same_domain(const char *a, const char *b)
{
    return domain_length(a) == domain_length(b) && strncmp(a, b, domain_length(a)) == 0;
}

/* What calibration on another domain costs: to the cell that is this one but for a calibration text of the evaluation
 * text's domain. */
static double value_own_domain(ROW)
{
    const struct ptq_cell *c = row->cell;
    if (!ptq_reads_calib(c) || same_domain(c->calib, c->text)) return NAN;
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_cell *own = report->row[i].cell, *pair[] = {c, own};
        struct ptq_estimate estimate[2];
        struct ptq_error ignored;
        if (strcmp(own->spec, c->spec) || !same_domain(own->calib, c->text) || own->seed != c->seed ||
            own->calib_windows != c->calib_windows || !same_machine(own, c) ||
            ptq_bootstrap(pair, 2, 1, &report->bootstrap, estimate, &ignored))
            continue;
        ptq_replicates_widen(&row->seeds, &report->row[i].seeds, report->bootstrap.level, &estimate[0]);
        *interval = estimate[0].difference_interval;
        return estimate[0].difference;
    }
    return NAN;
}

/* 1 where no other cell of the same model and text is as small and better, or as good and smaller. */
static double value_front(ROW)
{
    (void)interval;
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_cell *a = report->row[i].cell, *c = row->cell;
        if (!same_machine(a, c) || a->effective_bits > c->effective_bits || a->ppl > c->ppl) continue;
        if (a->effective_bits < c->effective_bits || a->ppl < c->ppl) return 0;
    }
    return 1;
}

static const struct ptq_table_layout_value values[] = {
    {.name = "ppl",
     .head = "perplexity",
     .of_seeds = 1,
     .metric = "ppl:wikitext2",
     .number = value_ppl,
     .doc = "perplexity"},
    {.name = "above",
     .head = "above FP16",
     .form = PTQ_FORM_SIGNED,
     .number = value_above,
     .doc = "perplexity less that of FP16, with its 95 % interval"},
    {.name = "kl", .head = "KL to FP16", .number = value_kl, .doc = "mean KL divergence to FP16 in nats"},
    {.name = "same_top",
     .head = "same top-1",
     .form = PTQ_FORM_PERCENT,
     .number = value_same_top,
     .doc = "share of tokens whose most probable next token is that of FP16"},
    {.name = "effective_bits", .head = "bits", .number = value_effective_bits, .doc = "stored bits a weight"},
    {.name = "seconds",
     .head = "calibrate + quantise, s",
     .number = value_seconds,
     .doc = "wall seconds of calibrating, quantising"},
    {.name = "peak_mib", .head = "peak MiB", .number = value_peak, .doc = "peak resident memory of the process"},
    {.name = "quantize_peak_mib",
     .head = "peak of quantising, MiB",
     .number = value_quantize_peak,
     .doc = "peak resident memory of the process while the method quantised"},
    {.name = "changed_percent",
     .head = "steps changed",
     .form = PTQ_FORM_PERCENT,
     .metric = "changed_percent",
     .number = value_changed,
     .doc = "scale: share of the groups whose step s changes"},
    {.name = "step_ratio",
     .head = "new step / old",
     .metric = "step_ratio",
     .number = value_ratio,
     .doc = "scale: mean over the groups"},
    {.name = "error_ratio",
     .head = "new step / old / s",
     .metric = "error_ratio",
     .number = value_over_s,
     .doc = "scale: the error left to a salient weight"},
    {.name = "output_error",
     .head = "output error",
     .form = PTQ_FORM_PERCENT,
     .number = value_output_error,
     .doc = "squared error of the linears' outputs, over the outputs' squares"},
    {.name = "weight_error",
     .head = "weight error",
     .form = PTQ_FORM_PERCENT,
     .number = value_weight_error,
     .doc = "squared error of the weights, over their squares"},
    {.name = "loss", .head = "loss", .number = value_loss, .doc = "GPTQ, OBQ: their own loss, summed over the linears"},
    {.name = "own_domain",
     .head = "above own domain",
     .form = PTQ_FORM_SIGNED,
     .number = value_own_domain,
     .doc = "perplexity less that of the same calibrated on a text of the evaluation's domain (NAME-eval, NAME-calib)"},
    {.name = "front",
     .head = "on the front",
     .form = PTQ_FORM_FLAG,
     .number = value_front,
     .doc = "whether no other cell is both smaller and better"},
};
enum { N_VALUES = sizeof values / sizeof *values };

const struct ptq_table_layout_value *ptq_table_layout_value(const char *name)
{
    for (int i = 0; i < N_VALUES; i++)
        if (strcmp(values[i].name, name) == 0) return &values[i];
    return NULL;
}

/* ---- their names ---- */

size_t ptq_table_layout_key_names(const char **names, size_t room)
{
    size_t n = 0;
    for (; n < N_KEYS && n < room; n++) names[n] = keys[n].name;
    return n;
}

size_t ptq_table_layout_value_names(const char **names, size_t room)
{
    size_t n = 0;
    for (; n < N_VALUES && n < room; n++) names[n] = values[n].name;
    return n;
}

void ptq_table_layout_print(FILE *out)
{
    fprintf(out, "| key | what it is |\n|---|---|\n");
    for (int i = 0; i < N_KEYS; i++) fprintf(out, "| `%s` | %s |\n", keys[i].name, keys[i].doc);
    fprintf(out, "| a SPEC's parameter | such as `s` or `act_order` |\n\n| value | what it is |\n|---|---|\n");
    for (int i = 0; i < N_VALUES; i++) fprintf(out, "| `%s` | %s |\n", values[i].name, values[i].doc);
}
