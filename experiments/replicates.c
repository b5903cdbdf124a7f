#include "replicates.h"

#include "method.h"
#include "student.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static int same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

const char *ptq_without_order(struct ptq_arena *arena, const char *spec)
{
    static const char key[] = ",order=";
    const char *at = strstr(spec, key), *rest = at ? at + sizeof key - 1 : "";
    return at ? ptq_format(arena, "%.*s%s", (int)(at - spec), spec, rest + strcspn(rest, ",")) : spec;
}

/* By whatever name. Other windows of one text are another protocol, and so is a text that was edited since. */
static int same_text(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return same(a->text, b->text) || same(a->tokens_sha256, b->tokens_sha256);
}

int ptq_reads_calib(const struct ptq_cell *cell)
{
    return cell->calib[0] && ptq_spec_text_needs_calib(cell->spec);
}

static int same_calib(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return same(a->calib, b->calib) || (!ptq_reads_calib(a) && !ptq_reads_calib(b));
}

static int same_sample(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return same(a->calib_protocol, b->calib_protocol) || (!ptq_reads_calib(a) && !ptq_reads_calib(b));
}

#define AT(field) offsetof(struct ptq_cell, field)
static const struct ptq_common commons[] = {
    {"model", ptq_same_model, 0, AT(model)},
    {"evaluation text", same_text, 0, AT(text)},
    {"protocol", NULL, AT(protocol), AT(protocol)},
    {"evaluated stream", NULL, AT(tokens_sha256), AT(tokens_sha256)}, /* by another tokenizer */
    {"calibration text", same_calib, 0, AT(calib)},
    {"calibration", same_sample, 0, AT(calib_protocol)},
    {"device", NULL, AT(device), AT(device)},
    {"path", NULL, AT(path), AT(path)},
};
#undef AT

static const char *text_at(const struct ptq_cell *cell, size_t offset)
{
    return *(const char *const *)((const char *)cell + offset);
}

int ptq_common_differs(const struct ptq_common *common, const struct ptq_cell *a, const struct ptq_cell *b)
{
    if (common->same) return !common->same(a, b);
    return !same(text_at(a, common->compared), text_at(b, common->compared));
}

const struct ptq_common *ptq_cells_apart(const struct ptq_cell *a, const struct ptq_cell *b)
{
    for (size_t i = 0; i < sizeof commons / sizeof *commons; i++)
        if (ptq_common_differs(&commons[i], a, b)) return &commons[i];
    return NULL;
}

const char *ptq_common_text(const struct ptq_common *common, const struct ptq_cell *cell)
{
    const char *text = text_at(cell, common->shown);
    return *text ? text : "none";
}

int ptq_spec_reads_seed(const char *text)
{
    struct ptq_spec spec;
    struct ptq_error ignored;
    return ptq_spec_parse(text, &spec, &ignored) != PTQ_OK || ptq_spec_need(&spec) & PTQ_NEED_SEED;
}

int ptq_is_repeat(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return same(a->spec, b->spec) && !ptq_cells_apart(a, b) && !ptq_spec_text_needs_calib(a->spec) &&
           (a->seed == b->seed || !ptq_spec_reads_seed(a->spec));
}

int ptq_is_replicate(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b)
{
    return (a->seed != b->seed || !same(a->spec, b->spec)) &&
           same(ptq_without_order(arena, a->spec), ptq_without_order(arena, b->spec)) && !ptq_cells_apart(a, b) &&
           !ptq_is_repeat(a, b);
}

/* ---- one row ---- */

double ptq_sample_variance(const double *x, int n)
{
    double mean = 0, squares = 0;
    for (int i = 0; i < n; i++) mean += x[i] / n;
    for (int i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    return squares / (n - 1);
}

void ptq_replicates_summarise(struct ptq_replicates *r)
{
    double mean = 0, squares = 0;
    r->lowest = r->highest = r->cell[0]->ppl;
    r->sd = r->mean_low = r->mean_high = NAN;
    for (int i = 0; i < r->n; i++) {
        r->lowest = fmin(r->lowest, r->cell[i]->ppl);
        r->highest = fmax(r->highest, r->cell[i]->ppl);
        mean += r->cell[i]->ppl / r->n;
    }
    if (r->n < 2) return;
    for (int i = 0; i < r->n; i++) squares += (r->cell[i]->ppl - mean) * (r->cell[i]->ppl - mean);
    r->sd = sqrt(squares / (r->n - 1));
    double half = ptq_student_t(0.95, r->n - 1) * r->sd / sqrt(r->n);
    r->mean_low = mean - half;
    r->mean_high = mean + half;
}

/* Means over the seeds of nll and, where every cell has it, kl. */
static void average_tokens(struct ptq_arena *arena, const struct ptq_replicates *r, struct ptq_cell *out)
{
    int compared = 1;
    for (int i = 0; i < r->n; i++) compared &= r->cell[i]->kl != NULL;
    out->nll = ptq_new(arena, float, out->tokens);
    out->kl = compared ? ptq_new(arena, float, out->tokens) : NULL;
    for (int64_t t = 0; t < out->tokens; t++) {
        double nll = 0, kl = 0;
        for (int i = 0; i < r->n; i++) nll += r->cell[i]->nll[t], kl += compared ? r->cell[i]->kl[t] : 0;
        out->nll[t] = (float)(nll / r->n);
        if (compared) out->kl[t] = (float)(kl / r->n);
    }
}

/* The mean over the seeds of the number at an offset of linear number l; a negative one was not measured. */
static double mean_of_linear(const struct ptq_replicates *r, int l, size_t offset)
{
    double sum = 0, n = 0, first = 0;
    for (int i = 0; i < r->n; i++) {
        double x = *(const double *)((const char *)&r->cell[i]->linear[l] + offset);
        if (i == 0) first = x;
        if (x >= 0) sum += x, n++;
    }
    return n > 0 ? sum / n : first;
}

/* Means over the seeds of what was measured of each linear. */
static void average_linears(struct ptq_arena *arena, const struct ptq_replicates *r, struct ptq_cell *out)
{
    for (int i = 1; i < r->n; i++)
        if (r->cell[i]->n_linears != out->n_linears) return;
    out->linear = ptq_new(arena, struct ptq_linear_report, out->n_linears);
    for (int l = 0; l < out->n_linears; l++) {
        out->linear[l] = r->cell[0]->linear[l];
#define MEAN_INT(name)
#define MEAN_REAL(name) out->linear[l].name = mean_of_linear(r, l, offsetof(struct ptq_linear_report, name));
#define X(kind, name, ...) MEAN_##kind(name)
        PTQ_LINEAR_FIELDS(X)
#undef X
    }
}

const struct ptq_cell *ptq_replicates_mean(struct ptq_arena *arena, const struct ptq_replicates *r)
{
    if (r->n < 2) return r->cell[0];
    struct ptq_cell *mean = ptq_new(arena, struct ptq_cell, 1);
    *mean = *r->cell[0];
    average_tokens(arena, r, mean);
    average_linears(arena, r, mean);
    mean->nll_mean = 0;
    for (int i = 0; i < r->n; i++) mean->nll_mean += r->cell[i]->nll_mean / r->n;
    mean->ppl = exp(mean->nll_mean);
#define X(kind, name, ...)                                                                                             \
    mean->name = 0;                                                                                                    \
    for (int i = 0; i < r->n; i++) mean->name += r->cell[i]->name / r->n;
    PTQ_AGAINST_FIELDS(X)
    X(REAL, seconds_calibrate)
    X(REAL, seconds_quantize)
    X(REAL, seconds_eval)
#undef X
#define X(kind, name, ...)                                                                                             \
    for (int i = 0; i < r->n; i++)                                                                                     \
        if (r->cell[i]->name > mean->name) mean->name = r->cell[i]->name;
    PTQ_PEAK_FIELDS(X)
    X(INT, peak_rss_bytes)
#undef X
    return mean;
}

/* ---- two sources of variation ---- */

void ptq_terms_add(struct ptq_terms *t, double term, double df)
{
    t->variance += term;
    t->weighed += term * term / df;
}

static void add_seeds(struct ptq_terms *t, const struct ptq_replicates *r)
{
    if (r->n > 1) ptq_terms_add(t, r->sd * r->sd / r->n, r->n - 1);
}

int ptq_replicates_paired(const struct ptq_replicates *a, const struct ptq_replicates *b)
{
    if (a->n != b->n) return 0;
    for (int i = 0; i < a->n; i++)
        if (a->cell[i]->seed != b->cell[i]->seed || !same(a->cell[i]->calib_sha256, b->cell[i]->calib_sha256)) return 0;
    return 1;
}

static void add_both_seeds(struct ptq_terms *t, const struct ptq_replicates *a, const struct ptq_replicates *b)
{
    enum { MOST = 64 };
    double difference[MOST];
    if (a->n < 2 || a->n > MOST || !ptq_replicates_paired(a, b)) {
        add_seeds(t, a);
        add_seeds(t, b);
        return;
    }
    for (int i = 0; i < a->n; i++) difference[i] = a->cell[i]->ppl - b->cell[i]->ppl;
    ptq_terms_add(t, ptq_sample_variance(difference, a->n) / a->n, a->n - 1);
}

struct ptq_interval ptq_terms_interval(double value, const struct ptq_terms *t, double level, double *p)
{
    if (!(t->variance > 0) || !isfinite(t->variance)) return (struct ptq_interval){NAN, NAN};
    double error = sqrt(t->variance), df = t->variance * t->variance / t->weighed;
    double half = ptq_student_t(level, df) * error;
    *p = ptq_student_p(value / error, df);
    return (struct ptq_interval){value - half, value + half};
}

void ptq_replicates_widen(const struct ptq_replicates *r, const struct ptq_replicates *reference, double level,
                          struct ptq_estimate *e)
{
    double unused;
    struct ptq_terms own = {0}, both = {0};
    if (!e->units) return;
    if (r->n > 1) {
        ptq_terms_add(&own, e->error * e->error, (double)e->units - 1);
        add_seeds(&own, r);
        e->interval = ptq_terms_interval(e->ppl, &own, level, &unused);
    }
    if (!reference || r == reference || (r->n < 2 && reference->n < 2)) return;
    ptq_terms_add(&both, e->difference_error * e->difference_error, (double)e->units - 1);
    add_both_seeds(&both, r, reference);
    e->difference_interval = ptq_terms_interval(e->difference, &both, level, &e->p);
}
