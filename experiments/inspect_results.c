#include "inspect_results.h"

#include "escape.h"
#include "method.h"
#include "results.h"
#include "stages.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

struct file {
    struct ptq_arena *arena;
    const char *path;
    const char *experiment, *yaml;
    struct ptq_cell *cell;
    int n;
};

/* ---- JSON ---- */

/* Names are bytes, and JSON wants UTF-8. */
static json_t *text_json(struct ptq_arena *arena, const char *text)
{
    json_t *json = json_string(text);
    return json ? json : json_string(ptq_escape(arena, PTQ_TABLE_TEXT, text));
}

static json_t *real_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* What AWQ's Table 2 prints, over all groups of the cell; groups is 0 where the method scales no channels. */
struct deltas {
    double groups, salient, changed, ratio, over_s;
};

static struct deltas sum_deltas(const struct ptq_cell *c)
{
    struct deltas d = {0};
    for (int i = 0; i < c->n_linears; i++) {
        const struct ptq_linear_report *l = &c->linear[i];
        if (!(l->delta_ratio > 0)) continue;
        double groups = (double)l->groups;
        d.groups += groups;
        d.salient += groups * l->salient_groups;
        d.changed += groups * l->delta_changed;
        d.ratio += groups * l->delta_ratio;
        d.over_s += groups * l->delta_over_s;
    }
    if (!(d.groups > 0)) return (struct deltas){0};
    return (struct deltas){d.groups, d.salient / d.groups, d.changed / d.groups, d.ratio / d.groups,
                           d.over_s / d.groups};
}

static json_t *deltas_json(const struct deltas *d)
{
    json_t *json = json_object();
    json_object_set_new(json, "groups", json_integer((json_int_t)d->groups));
    json_object_set_new(json, "salient_groups", real_json(d->salient));
    json_object_set_new(json, "delta_changed", real_json(d->changed));
    json_object_set_new(json, "delta_ratio", real_json(d->ratio));
    json_object_set_new(json, "delta_over_s", real_json(d->over_s));
    return json;
}

static json_t *cell_json(struct ptq_arena *arena, const struct ptq_cell *c)
{
    json_t *json = json_object(), *linears = json_array();
    json_object_set_new(json, "id", json_string(c->id));
#define TEXT(name) json_object_set_new(json, #name, text_json(arena, c->name));
#define INT(name) json_object_set_new(json, #name, json_integer((json_int_t)c->name));
#define REAL(name) json_object_set_new(json, #name, real_json(c->name));
#define X(kind, name, ...) kind(name)
    PTQ_CELL_FIELDS(X)
    if (c->kl) {
        PTQ_AGAINST_FIELDS(X)
    }
#undef X
#define X(kind, name, ...)                                                                                             \
    if (c->name) kind(name)
    PTQ_PEAK_FIELDS(X)
#undef X
#undef TEXT
#undef INT
#undef REAL
    for (int i = 0; i < c->n_linears; i++) {
        const struct ptq_linear_report *l = &c->linear[i];
        json_t *linear = json_object();
        json_object_set_new(linear, "name", text_json(arena, l->name));
#define INT(field) json_object_set_new(linear, #field, json_integer((json_int_t)l->field));
#define REAL(field) json_object_set_new(linear, #field, real_json(l->field));
#define X(kind, field, ...) kind(field)
        PTQ_LINEAR_FIELDS(X)
#undef X
#undef INT
#undef REAL
        json_array_append_new(linears, linear);
    }
    struct deltas deltas = sum_deltas(c);
    if (deltas.groups > 0) json_object_set_new(json, "deltas", deltas_json(&deltas));
    json_object_set_new(json, "linears", linears);
    return json;
}

static void print_json(const struct file *f, FILE *out)
{
    json_t *json = json_object(), *cells = json_array();
    for (int i = 0; i < f->n; i++) json_array_append_new(cells, cell_json(f->arena, &f->cell[i]));
    json_object_set_new(json, "path", text_json(f->arena, f->path));
    json_object_set_new(json, "format", json_string("ptq-results"));
    json_object_set_new(json, "schema", json_integer(PTQ_RESULTS_SCHEMA));
    json_object_set_new(json, "experiment", text_json(f->arena, f->experiment));
    json_object_set_new(json, "experiment_yaml", text_json(f->arena, f->yaml));
    json_object_set_new(json, "cells", cells);
    ptq_json_show(json, JSON_INDENT(1), out);
    json_decref(json);
}

/* ---- for people ---- */

/* The linear whose output is farthest off, or, where outputs were not measured, its weights; NULL without linears. */
static const struct ptq_linear_report *worst_linear(const struct ptq_cell *c)
{
    const struct ptq_linear_report *worst = NULL;
    for (int i = 0; i < c->n_linears; i++) {
        const struct ptq_linear_report *l = &c->linear[i];
        double error = l->output_error < 0 ? l->weight_error : l->output_error;
        if (!worst || error > (worst->output_error < 0 ? worst->weight_error : worst->output_error)) worst = l;
    }
    return worst;
}

static void print_cell(struct ptq_arena *arena, const struct ptq_cell *c, FILE *out)
{
    const struct ptq_linear_report *worst = worst_linear(c);
#define SHOWN(text) ptq_escape(arena, PTQ_TABLE_TEXT, text)
    fprintf(out, "\n%.12s  %s  %s\n", c->id, SHOWN(c->model), SHOWN(c->spec));
    fprintf(out, "  ppl %.6g on %s (%s); %s\n", c->ppl, SHOWN(c->text), SHOWN(ptq_worded(arena, c->protocol)),
            ptq_counted(arena, c->tokens, "token"));
    if (c->calib[0])
        fprintf(out, "  %s on %s (%s)\n", ptq_spec_text_needs_calib(c->spec) ? "calibrated" : "output errors measured",
                SHOWN(c->calib), SHOWN(ptq_worded(arena, c->calib_protocol)));
    fprintf(out, "  seconds: load %.2f, calibrate %.2f, quantise %.2f, evaluate %.2f; %s\n", c->seconds_load,
            c->seconds_calibrate, c->seconds_quantize, c->seconds_eval, ptq_stages_peaks(arena, c));
    fprintf(out, "  %s on %s, %s, %s, %s, %s, seed %lld\n", SHOWN(c->started), SHOWN(c->host), SHOWN(c->cpu),
            SHOWN(c->device), SHOWN(c->blas), ptq_counted(arena, c->threads, "thread"), (long long)c->seed);
    fprintf(out, "  ptq %s, commit %s, %s\n", SHOWN(c->version), SHOWN(c->commit), SHOWN(c->compiler));
    if (worst)
        fprintf(out, "  %s, %.3f bits a weight, %s; worst: %s, weight error %.3g%s%s\n",
                ptq_counted(arena, c->n_linears, "linear"), c->effective_bits,
                ptq_counted(arena, c->saturated_groups, "saturated group"), SHOWN(worst->name), worst->weight_error,
                worst->output_error < 0 ? "" : ", output error ",
                worst->output_error < 0 ? "" : ptq_format(arena, "%.3g", worst->output_error));
    struct deltas d = sum_deltas(c);
    if (d.groups > 0)
        fprintf(
            out,
            "  group scales: %.2f %% changed, mean ratio %.4f, over s %.4f; %.2f %% of %.0f hold a salient channel\n",
            100 * d.changed, d.ratio, d.over_s, 100 * d.salient, d.groups);
#undef SHOWN
}

static void print_text(const struct file *f, FILE *out)
{
    fprintf(out, "%s: results of ptq, schema %d, experiment %s, %s\n", ptq_escape(f->arena, PTQ_TABLE_TEXT, f->path),
            PTQ_RESULTS_SCHEMA, ptq_escape(f->arena, PTQ_TABLE_TEXT, f->experiment),
            ptq_counted(f->arena, f->n, "cell"));
    for (int i = 0; i < f->n; i++) print_cell(f->arena, &f->cell[i], out);
}

enum ptq_status ptq_inspect_results(const char *path, int json, FILE *out, struct ptq_error *err)
{
    struct file f = {.arena = ptq_arena_make("inspect"), .path = path};
    enum ptq_status status = ptq_results_read(f.arena, path, &f.cell, &f.n, err);
    if (!status) status = ptq_results_experiment(f.arena, path, &f.experiment, &f.yaml, err);
    if (!status && json)
        print_json(&f, out);
    else if (!status)
        print_text(&f, out);
    ptq_arena_free(f.arena);
    return status;
}
