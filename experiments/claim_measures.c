/* The kinds of numbers that a claim can be about: a row of the table and a function each. */
#include "claim_select.h"
#include "claims.h"
#include "home.h"
#include "locate.h"
#include "mapped.h"
#include "method.h"
#include "model.h"
#include "stages.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MEASURE                                                                                                        \
    struct ptq_arena *arena, const struct ptq_claim_cells *cells, struct ptq_claim_test *t, struct ptq_error *err

enum { MOST_GROUPS = 3 * PTQ_CLAIM_SIDE };

/* ---- perplexities ---- */

static enum ptq_status select_all(struct ptq_arena *arena, const struct ptq_claim_cells *cells, const char *const *side,
                                  int n, struct ptq_group *out, struct ptq_error *err)
{
    for (int i = 0; i < n; i++) PTQ_TRY(ptq_claim_select(arena, cells, side[i], &out[i], err));
    return PTQ_OK;
}

/* of[n_of], to[n_to], from[n_from], one behind the other: how many there are. */
static enum ptq_status select_sides(MEASURE, struct ptq_group *group, int *n)
{
    *n = t->n_of + t->n_to + t->n_from;
    PTQ_TRY(select_all(arena, cells, t->of, t->n_of, group, err));
    PTQ_TRY(select_all(arena, cells, t->to, t->n_to, group + t->n_of, err));
    return select_all(arena, cells, t->from, t->n_from, group + t->n_of + t->n_to, err);
}

/* Of selected groups. */
static enum ptq_status contrast_of(struct ptq_arena *arena, const struct ptq_group *group, int n,
                                   struct ptq_claim_test *t, ptq_statistic *statistic, struct ptq_error *err)
{
    t->sampled = 1;
    PTQ_TRY(ptq_contrast(group, n, &ptq_bootstrap_default, statistic, t, &t->value, &t->interval, err));
    for (int g = 0; g < n; g++)
        if (group[g].n > t->runs) t->runs = group[g].n;
    if (isnan(t->interval.low))
        t->why = ptq_format(arena, "no interval: fewer than %d units of %lld tokens were scored", PTQ_BOOTSTRAP_LEAST,
                            (long long)ptq_bootstrap_unit_tokens(&ptq_bootstrap_default, group[0].cell[0]));
    return PTQ_OK;
}

static double product_ratio(const double *nll, const void *context)
{
    const struct ptq_claim_test *t = context;
    double log_ratio = 0;
    for (int i = 0; i < t->n_of + t->n_to; i++) log_ratio += i < t->n_of ? nll[i] : -nll[i];
    return exp(log_ratio);
}

static enum ptq_status open_model(struct ptq_arena *arena, const struct ptq_cell *cell, struct ptq_model *out,
                                  struct ptq_error *err)
{
    const char *path;
    PTQ_TRY(ptq_locate_model(arena, cell->model, &path, err));
    return ptq_model_open(arena, path, cell->model, out, err);
}

/* Of models that are all worse than a guess among all words, no ratio says which method is better. Where the model is
 * not here any more, nobody knows how many words it has. */
static enum ptq_status check_some_works(struct ptq_arena *arena, const struct ptq_group *group, int n,
                                        struct ptq_error *err)
{
    struct ptq_model model;
    struct ptq_error missing;
    double least = INFINITY;
    for (int g = 0; g < n; g++)
        for (int i = 0; i < group[g].n; i++) least = fmin(least, group[g].cell[i]->ppl);
    if (open_model(arena, group[0].cell[0], &model, &missing)) return PTQ_OK;
    double words = (double)model.config.vocab;
    ptq_model_close(&model);
    if (least < words) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "all perplexities, %.3g and more, are above that of a guess among %.0f words",
                    least, words);
}

static enum ptq_status run_ratio(MEASURE)
{
    struct ptq_group group[MOST_GROUPS];
    int n;
    PTQ_TRY(select_sides(arena, cells, t, err, group, &n));
    PTQ_TRY(check_some_works(arena, group, n, err));
    return contrast_of(arena, group, n, t, product_ratio, err);
}

static double share_recovered(const double *nll, const void *context)
{
    (void)context;
    return 100 * (exp(nll[2]) - exp(nll[0])) / (exp(nll[2]) - exp(nll[1]));
}

static double loss_ratio(const double *nll, const void *context)
{
    (void)context;
    return exp(nll[2] - nll[1]);
}

static enum ptq_status run_recovered(MEASURE)
{
    struct ptq_group group[MOST_GROUPS];
    int n;
    PTQ_TRY(select_sides(arena, cells, t, err, group, &n));
    PTQ_TRY(contrast_of(arena, group, n, t, loss_ratio, err));
    if (t->interval.low <= 1)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s loses nothing that could be made good: its perplexity is %.3f to %.3f times that of %s",
                        t->from[0], t->interval.low, t->interval.high, t->to[0]);
    return contrast_of(arena, group, n, t, share_recovered, err);
}

static double one_ppl(const double *nll, const void *context)
{
    (void)context;
    return exp(nll[0]);
}

static enum ptq_status run_ppl(MEASURE)
{
    struct ptq_group group[MOST_GROUPS];
    int n;
    PTQ_TRY(select_sides(arena, cells, t, err, group, &n));
    return contrast_of(arena, group, n, t, one_ppl, err);
}

/* What another draw of the calibration moves: the standard deviation of perplexity over its mean. */
static enum ptq_status run_spread(MEASURE)
{
    struct ptq_group g;
    double mean = 0, squares = 0;
    PTQ_TRY(ptq_claim_select(arena, cells, t->of[0], &g, err));
    if (g.n < 2)
        return ptq_fail(err, PTQ_EINPUT, "%s was calibrated once, so nothing is known of its spread", t->of[0]);
    for (int i = 0; i < g.n; i++) mean += g.cell[i]->ppl / g.n;
    for (int i = 0; i < g.n; i++) squares += (g.cell[i]->ppl - mean) * (g.cell[i]->ppl - mean);
    t->value = 100 * sqrt(squares / (g.n - 1)) / mean;
    t->why = ptq_format(arena, "standard deviation over %d draws", g.n);
    return PTQ_OK;
}

/* ---- size ---- */

static enum ptq_status one_cell(MEASURE, const struct ptq_cell **out)
{
    struct ptq_group g;
    PTQ_TRY(ptq_claim_select(arena, cells, t->of[0], &g, err));
    *out = g.cell[0];
    return PTQ_OK;
}

static enum ptq_status run_bits(MEASURE)
{
    const struct ptq_cell *c;
    PTQ_TRY(one_cell(arena, cells, t, err, &c));
    t->value = c->effective_bits;
    return PTQ_OK;
}

static enum ptq_status run_linears_share(MEASURE)
{
    PTQ_TRY(run_bits(arena, cells, t, err));
    t->value *= 100.0 / 16;
    return PTQ_OK;
}

/* Weights of the blocks' linears, and all other elements of the checkpoint; a tied head counts once. */
static enum ptq_status count_weights(struct ptq_arena *arena, const struct ptq_cell *cell, double *linears,
                                     double *others, struct ptq_error *err)
{
    struct ptq_model model;
    PTQ_TRY(open_model(arena, cell, &model, err));
    const struct ptq_config *c = &model.config;
    double width = (double)c->width, q = (double)(c->heads * c->head_size), kv = (double)(c->kv_heads * c->head_size);
    int mlp = c->family->activation == PTQ_SILU_GATED ? 3 : 2;
    *linears = (double)c->blocks * width * (2 * q + 2 * kv + mlp * (double)c->ff);
    *others = -*linears;
    for (int i = 0; i < model.checkpoint.n_tensors; i++) *others += (double)model.checkpoint.tensor[i].count;
    const char *name = ptq_format(arena, "%s.weight", model.names->head ? model.names->head : "");
    const struct ptq_tensor *copy = ptq_checkpoint_find(&model.checkpoint, name);
    if (copy && copy != model.embed && model.head == model.embed) *others -= (double)copy->count;
    ptq_model_close(&model);
    return PTQ_OK;
}

static enum ptq_status model_bytes(MEASURE, double *packed, double *whole)
{
    const struct ptq_cell *c;
    double linears, others;
    PTQ_TRY(one_cell(arena, cells, t, err, &c));
    PTQ_TRY(count_weights(arena, c, &linears, &others, err));
    *packed = linears * c->effective_bits / 8 + 2 * others;
    *whole = 2 * (linears + others);
    t->why = ptq_format(arena, "%.1f of %.1f million weights are in linears; embeddings, head and norms stay in FP16",
                        linears / 1e6, (linears + others) / 1e6);
    return PTQ_OK;
}

static enum ptq_status run_model_share(MEASURE)
{
    double packed, whole;
    PTQ_TRY(model_bytes(arena, cells, t, err, &packed, &whole));
    t->value = 100 * packed / whole;
    return PTQ_OK;
}

static enum ptq_status run_model_mib(MEASURE)
{
    double packed, whole;
    PTQ_TRY(model_bytes(arena, cells, t, err, &packed, &whole));
    t->value = packed / (1 << 20);
    t->why = NULL;
    return PTQ_OK;
}

/* ---- cost ---- */

/* Seconds of a group's cells. */
struct seconds {
    double mean, least, most;
    int runs, lacks; /* lacks: those of the statistics */
};

/* The statistics that a method reads may have come from the cache: then the largest time that any cell of the file took
 * for them is counted, and where all came from it the sentence says so. */
static enum ptq_status take_seconds(struct ptq_arena *arena, const struct ptq_claim_cells *cells, const char *selector,
                                    struct seconds *out, const char **why, struct ptq_error *err)
{
    struct ptq_group g;
    PTQ_TRY(ptq_claim_select(arena, cells, selector, &g, err));
    double calibrate = ptq_stages_statistics(g.cell[0], cells->cell, cells->n);
    if (calibrate == 0)
        *why = ptq_format(arena, "%s%sthe statistics of %s were in the cache: their seconds are not in it",
                          *why ? *why : "", *why ? "; " : "", g.cell[0]->spec);
    *out = (struct seconds){.least = INFINITY, .runs = g.n, .lacks = calibrate == 0};
    for (int i = 0; i < g.n; i++) {
        double all = g.cell[i]->seconds_quantize + fmax(calibrate, 0);
        out->mean += all / g.n;
        out->least = fmin(out->least, all);
        out->most = fmax(out->most, all);
    }
    return PTQ_OK;
}

static enum ptq_status run_seconds(MEASURE)
{
    struct seconds of;
    PTQ_TRY(take_seconds(arena, cells, t->of[0], &of, &t->why, err));
    t->value = of.mean;
    if (of.runs > 1) t->interval = (struct ptq_interval){of.least, of.most};
    return PTQ_OK;
}

static enum ptq_status run_seconds_ratio(MEASURE)
{
    struct seconds of, to;
    PTQ_TRY(take_seconds(arena, cells, t->of[0], &of, &t->why, err));
    PTQ_TRY(take_seconds(arena, cells, t->to[0], &to, &t->why, err));
    if (!(to.least > 0)) return ptq_fail(err, PTQ_EINPUT, "%s took no measurable time", t->to[0]);
    int single = of.runs == 1 && to.runs == 1;
    t->bound = of.lacks - to.lacks;
    t->value = of.mean / to.mean;
    if (!single) t->interval = (struct ptq_interval){of.least / to.most, of.most / to.least};
    t->why = ptq_format(arena, "%.1f s (%d run%s) and %.1f s (%d run%s)%s%s%s", of.mean, of.runs,
                        of.runs == 1 ? "" : "s", to.mean, to.runs, to.runs == 1 ? "" : "s",
                        single ? ", without an interval" : "", t->why ? "; " : "", t->why ? t->why : "");
    return PTQ_OK;
}

static enum ptq_status run_peak(MEASURE)
{
    const struct ptq_cell *c;
    PTQ_TRY(one_cell(arena, cells, t, err, &c));
    t->value = (double)c->peak_rss_bytes / (1 << 20);
    return PTQ_OK;
}

/* The weights of the linears in FP16 and a gradient in FP32 for each are the least that back-propagation would hold. */
static enum ptq_status run_gradients(MEASURE)
{
    const struct ptq_cell *c;
    double linears, others;
    PTQ_TRY(one_cell(arena, cells, t, err, &c));
    PTQ_TRY(count_weights(arena, c, &linears, &others, err));
    t->value = 100 * (double)c->peak_rss_bytes / (6 * linears);
    t->why = ptq_format(arena, "the whole process's peak is %.0f MiB; weights and gradients would be %.0f MiB",
                        (double)c->peak_rss_bytes / (1 << 20), 6 * linears / (1 << 20));
    return PTQ_OK;
}

/* ---- difficulty ---- */

/* Linears whose Hessian was not positive definite with the percdamp that was asked for. */
static enum ptq_status run_damped(MEASURE)
{
    const struct ptq_cell *c;
    struct ptq_spec spec;
    PTQ_TRY(one_cell(arena, cells, t, err, &c));
    PTQ_TRY(ptq_spec_parse(c->spec, &spec, err));
    t->value = 0;
    if (!ptq_spec_has(&spec, "percdamp")) return PTQ_OK;
    double asked = ptq_spec_value(&spec, "percdamp");
    for (int i = 0; i < c->n_linears; i++) t->value += c->linear[i].damp > asked * (1 + 1e-9);
    return PTQ_OK;
}

static enum ptq_status run_switches(MEASURE)
{
    const struct ptq_cell *c;
    struct ptq_spec spec;
    PTQ_TRY(one_cell(arena, cells, t, err, &c));
    PTQ_TRY(ptq_spec_parse(c->spec, &spec, err));
    t->value = 0;
    for (const struct ptq_param *p = spec.method->param; p && p->name; p++) t->value++;
    return PTQ_OK;
}

/* ---- a benchmark's report ---- */

/* What one report says. */
struct reported {
    double value;
    struct ptq_interval range; /* NaN where it gives none */
};

/* The text of cell `column` of a Markdown line "| a | b |", without blanks, in arena; NULL where it has fewer. */
static const char *table_cell(struct ptq_arena *arena, const char *line, int column)
{
    for (int i = 0; i <= column && line; i++) {
        line = strchr(line, '|');
        if (line) line++;
    }
    const char *end = line ? strchr(line, '|') : NULL;
    if (!end) return NULL;
    line += strspn(line, " ");
    while (end > line && end[-1] == ' ') end--;
    return ptq_strndup(arena, line, (size_t)(end - line));
}

static int find_column(struct ptq_arena *arena, const char *line, const char *name)
{
    const char *text;
    for (int c = 0; (text = table_cell(arena, line, c)); c++)
        if (strcmp(text, name) == 0) return c;
    return -1;
}

/* "3.00 (2.91 .. 3.08)": what stands in brackets, or NaN. */
static struct ptq_interval read_range(const char *text)
{
    struct ptq_interval range;
    if (sscanf(text, " (%lf .. %lf)", &range.low, &range.high) != 2 || !(range.low <= range.high))
        return (struct ptq_interval){NAN, NAN};
    return range;
}

/* The number where the row whose first cell begins with t->row meets t->column, in the tables of a Markdown text. */
static enum ptq_status find_number(struct ptq_arena *arena, char *text, const char *path,
                                   const struct ptq_claim_test *t, struct reported *out, struct ptq_error *err)
{
    int column = -1;
    for (char *line = text, *next; line; line = next) {
        if ((next = strchr(line, '\n'))) *next++ = 0;
        if (*line != '|') continue;
        const char *first = table_cell(arena, line, 0);
        int here = find_column(arena, line, t->column);
        if (here >= 0) column = here;
        if (column < 0 || !first || strncmp(first, t->row, strlen(t->row))) continue;
        const char *number = table_cell(arena, line, column);
        char *end;
        double value = number ? strtod(number, &end) : NAN;
        if (!number || end == number || !isfinite(value)) continue;
        *out = (struct reported){value, read_range(end)};
        return PTQ_OK;
    }
    return ptq_fail(err, PTQ_EINPUT, "%s has no number in row '%s', column '%s'", path, t->row, t->column);
}

static enum ptq_status read_report(struct ptq_arena *arena, const char *file, const struct ptq_claim_test *t,
                                   struct reported *out, struct ptq_error *err)
{
    char *text;
    size_t size;
    struct ptq_error why;
    if (ptq_read_file(arena, ptq_home_path(arena, file), 1 << 20, &text, &size, &why))
        return ptq_fail(err, PTQ_EINPUT, "%s is not there: the benchmark has not been run", file);
    return find_number(arena, text, file, t, out, err);
}

/* The mean of the reports, and the least and the most that any of them holds. */
static enum ptq_status run_bench(MEASURE)
{
    struct reported r;
    struct ptq_interval range = {INFINITY, -INFINITY};
    double mean = 0;
    int ranges = 0;
    (void)cells;
    for (int i = 0; i < t->n_file; i++) {
        PTQ_TRY(read_report(arena, t->file[i], t, &r, err));
        mean += r.value / t->n_file;
        ranges += !isnan(r.range.low);
        range.low = fmin(range.low, fmin(r.value, r.range.low)); /* NaN is no number to fmin */
        range.high = fmax(range.high, fmax(r.value, r.range.high));
    }
    t->value = mean;
    if (ranges || t->n_file > 1) t->interval = range;
    if (t->n_file > 1) t->why = ptq_format(arena, "mean of %d runs, the least and the most in brackets", t->n_file);
    if (!ranges && t->n_file == 1) t->why = "one run, without an interval";
    return PTQ_OK;
}

/* ---- the table ---- */

enum {
    PERPLEXITY = PTQ_CLAIM_GRID | PTQ_CLAIM_CALIB | PTQ_CLAIM_EVAL,
    COST = PTQ_CLAIM_GRID | PTQ_CLAIM_CALIB | PTQ_CLAIM_MACHINE
};

static const struct ptq_claim_measure measures[] = {
    {"ratio", "product of the perplexities of `of` over that of `to`", 1, 1, 0, 0, "times", PERPLEXITY, run_ratio},
    {"recovered", "(from - of) / (from - to) in perplexity: how much of a loss is made good", 1, 1, 1, 0, "%",
     PERPLEXITY, run_recovered},
    {"ppl", "perplexity", 1, 0, 0, 0, "", PERPLEXITY, run_ppl},
    {"spread", "standard deviation of perplexity over calibration draws, over its mean", 1, 0, 0, 0, "%", PERPLEXITY,
     run_spread},
    {"effective_bits", "stored bits a weight of the linears, scales and zeros counted", 1, 0, 0, 0, "bits",
     PTQ_CLAIM_GRID, run_bits},
    {"linears_share", "bytes of the quantised linears, over FP16's", 1, 0, 0, 0, "%", PTQ_CLAIM_GRID,
     run_linears_share},
    {"model_share", "bytes of the whole model with embeddings and head, over FP16's", 1, 0, 0, 0, "%", PTQ_CLAIM_GRID,
     run_model_share},
    {"model_mib", "the whole model with embeddings and head", 1, 0, 0, 0, "MiB", PTQ_CLAIM_GRID, run_model_mib},
    {"seconds", "wall seconds of calibrating and quantising: mean, least and most of the runs", 1, 0, 0, 0, "s", COST,
     run_seconds},
    {"seconds_ratio", "those of `of` over those of `to`", 1, 1, 0, 0, "times", COST, run_seconds_ratio},
    {"peak_mib", "peak resident memory of the process while the cell ran", 1, 0, 0, 0, "MiB",
     PERPLEXITY | PTQ_CLAIM_MACHINE, run_peak},
    {"gradients", "peak memory over what the linears in FP16 and an FP32 gradient for each weight would take", 1, 0, 0,
     0, "%", PERPLEXITY | PTQ_CLAIM_MACHINE, run_gradients},
    {"damped", "linears whose Hessian needed more damping than was asked for", 1, 0, 0, 0, "",
     PTQ_CLAIM_GRID | PTQ_CLAIM_CALIB, run_damped},
    {"switches", "parameters that the method has", 1, 0, 0, 0, "", 0, run_switches},
    {"bench",
     "a number of a benchmark's report (file, row, column) with the range in brackets behind it; of several, mean and "
     "range",
     0, 0, 0, 1, "times", 0, run_bench},
};
enum { N_MEASURES = sizeof measures / sizeof *measures };

const struct ptq_claim_measure *ptq_claim_measure(const char *name)
{
    for (int i = 0; i < N_MEASURES; i++)
        if (strcmp(measures[i].name, name) == 0) return &measures[i];
    return NULL;
}

size_t ptq_claim_measure_names(const char **names, size_t room)
{
    size_t n = 0;
    for (; n < N_MEASURES && n < room; n++) names[n] = measures[n].name;
    return n;
}

void ptq_claim_measures_print(FILE *out)
{
    fprintf(out, "| measure | unit | what it is |\n|---|---|---|\n");
    for (int i = 0; i < N_MEASURES; i++)
        fprintf(out, "| `%s` | %s | %s |\n", measures[i].name, measures[i].unit, measures[i].doc);
}
