#include "report_notes.h"

#include "escape.h"
#include "method.h"
#include "model_name.h"
#include "noise.h"
#include "path.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MOST_NOTES = 64 };

static void add(struct ptq_arena *arena, struct ptq_report *report, const char *text)
{
    for (int i = 0; i < report->n_notes; i++)
        if (strcmp(report->note[i], text) == 0) return;
    if (report->n_notes < MOST_NOTES) report->note[report->n_notes++] = ptq_strdup(arena, text);
}

/* Over all cells, those that stand in another one's row too. */
#define VALUES(arena, report, member)                                                                                  \
    ptq_report_values((arena), (report)->cell, (report)->n_cells, offsetof(struct ptq_cell, member), 0, NULL)

static void note_protocol(struct ptq_arena *arena, struct ptq_report *report)
{
    const struct ptq_cell *c = report->row[0].cell;
    add(arena, report,
        ptq_format(arena, "Perplexity of %s: %s; %s scored.", VALUES(arena, report, text),
                   ptq_worded(arena, c->protocol), ptq_counted(arena, c->tokens, "token")));
}

/* A checkpoint that was quantised before: its type begins with Q or IQ, as GGUF names them. */
static int was_quantised(const char *dtype)
{
    return dtype[0] == 'Q' || strncmp(dtype, "IQ", 2) == 0;
}

/* Models of the same weights, which no SHA-256 of those tells apart. */
static void note_configs(struct ptq_arena *arena, struct ptq_report *report)
{
    for (int i = 1; i < report->n_cells; i++) {
        const struct ptq_cell *c = &report->cell[i], *first = report->cell;
        while (first < c && strcmp(first->model_sha256, c->model_sha256)) first++;
        if (first < c && !ptq_same_model(first, c)) add(arena, report, ptq_model_note(arena, first, c));
    }
}

static void note_models(struct ptq_arena *arena, struct ptq_report *report)
{
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_cell *c = report->row[i].cell;
        add(arena, report,
            ptq_format(arena, "Model %s: %s, weights %s, SHA-256 %.12s.", c->model, c->family, c->source_dtype,
                       c->model_sha256));
        if (c->w_bit < 16 && strcmp(c->method, "fp16") == 0)
            add(arena, report,
                ptq_format(arena,
                           "%s is a checkpoint of codes (%s), evaluated as it is; differences to full precision need "
                           "the checkpoint that it was made of.",
                           c->model, c->source_dtype));
        if (was_quantised(c->source_dtype))
            add(arena, report,
                ptq_format(arena,
                           "%s comes from a checkpoint that was quantised before (%s, %c bits), so its numbers are not "
                           "those of the FP16 release.",
                           c->model, c->source_dtype, c->source_dtype[strcspn(c->source_dtype, "0123456789")]));
    }
}

/* Where nothing but output errors was measured on a calibration, it is not named as what the numbers come from. */
static void note_errors_alone(struct ptq_arena *arena, struct ptq_report *report, const struct ptq_cell *c)
{
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_cell *other = report->row[i].cell;
        if (strcmp(other->calib, c->calib) == 0 && strcmp(other->calib_protocol, c->calib_protocol) == 0 &&
            ptq_spec_text_needs_calib(other->spec))
            return;
    }
    add(arena, report,
        ptq_format(arena, "Output errors alone were measured on %s (%s); no perplexity here depends on it.", c->calib,
                   ptq_worded(arena, c->calib_protocol)));
}

static void note_calibration(struct ptq_arena *arena, struct ptq_report *report)
{
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_cell *c = report->row[i].cell;
        if (!c->calib[0]) continue;
        if (!ptq_spec_text_needs_calib(c->spec)) {
            note_errors_alone(arena, report, c);
            continue;
        }
        add(arena, report, ptq_format(arena, "Calibration on %s: %s.", c->calib, ptq_worded(arena, c->calib_protocol)));
        if (strcmp(c->calib, c->text) == 0)
            add(arena, report,
                ptq_format(arena,
                           "Calibration and evaluation read the same text, %s: what is calibrated looks too "
                           "good.",
                           c->text));
    }
}

/* "units of 256 tokens", "units of 63 tokens (a window each)" where windows are shorter than that. */
static const char *units_of(struct ptq_arena *arena, const struct ptq_report *report)
{
    int64_t tokens = ptq_bootstrap_unit_tokens(&report->bootstrap, report->row[0].cell);
    return ptq_format(arena, "units of %lld tokens%s", (long long)tokens,
                      tokens < report->bootstrap.block ? " (a window each)" : "");
}

static void note_intervals(struct ptq_arena *arena, struct ptq_report *report)
{
    const struct ptq_bootstrap *b = &report->bootstrap;
    int none = 0, missing_fp16 = 0, folded = 0;
    for (int i = 0; i < report->n_rows; i++) {
        none |= report->row[i].estimate.units < PTQ_BOOTSTRAP_LEAST;
        missing_fp16 |= isnan(report->row[i].estimate.difference);
        folded |= report->row[i].seeds.n > 1;
    }
    if (none)
        add(arena, report,
            ptq_format(arena, "No intervals: fewer than %d %s were scored.", PTQ_BOOTSTRAP_LEAST,
                       units_of(arena, report)));
    else
        add(arena, report,
            ptq_format(arena,
                       "Intervals%s: %g %%, paired bootstrap over %s, %lld replicates, seed %llu; they "
                       "say what another text of this kind would change, not another calibration or seed.",
                       folded ? " of rows without replicates" : "", 100 * b->level, units_of(arena, report),
                       (long long)b->replicates, (unsigned long long)b->seed));
    if (missing_fp16)
        add(arena, report, "Where a model has no FP16 cell there are no differences; run method fp16 to have them.");
}

static void note_packed(struct ptq_arena *arena, struct ptq_report *report)
{
    for (int i = 0; i < report->n_rows; i++)
        if (ptq_path_act_bits(report->row[i].cell->path) && report->row[i].cell->w_bit < 16)
            add(arena, report,
                "Bits of a packed cell are those of its packed image, padding included: more than the same codes take "
                "in the formats of the field, which bits of other cells are counted by.");
}

static void note_coarse(struct ptq_arena *arena, struct ptq_report *report)
{
    for (int i = 0; i < report->n_rows; i++)
        if (ptq_path_is_coarse(report->row[i].cell->path))
            add(arena, report,
                ptq_format(arena,
                           "Path %s rounds activations to %d bits, too: these perplexities are not of the weights "
                           "alone, not to be published as such, and held against no paper's.",
                           report->row[i].cell->path, ptq_path_act_bits(report->row[i].cell->path)));
}

static void note_floor(struct ptq_arena *arena, struct ptq_report *report, const struct ptq_noise *line, const char *so)
{
    int decimals = ptq_decimals(line->lowest);
    add(arena, report,
        ptq_format(
            arena,
            "Noise floor, stored in experiments/noise.tsv: %lld orders in which the same calibration windows were "
            "summed gave %s from %s to %s, %.1f %%, on %s; %s.",
            (long long)line->orders, line->spec, ptq_number(arena, line->lowest, decimals, 0),
            ptq_number(arena, line->highest, decimals, 0), 100 * (line->highest / line->lowest - 1), line->text, so));
}

/* What was measured beforehand for a row that has no replicates: of its SPEC, or, where there is no such line, of its
 * method by other switches. */
static void note_stored_noise(struct ptq_arena *arena, struct ptq_report *report, const struct ptq_noise_floor *floor,
                              const struct ptq_cell *cell)
{
    static const char *const so[] = {[PTQ_NOISE_NEAR] =
                                         "rows of other switches, as here, may move as much, which nobody measured",
                                     [PTQ_NOISE_OF_SPEC] = "a smaller difference of two such rows says nothing"};
    enum ptq_noise_of nearest = PTQ_NOISE_NEAR;
    for (int i = 0; i < floor->n; i++)
        if (ptq_noise_concerns(arena, &floor->line[i], cell) == PTQ_NOISE_OF_SPEC) nearest = PTQ_NOISE_OF_SPEC;
    for (int i = 0; i < floor->n; i++)
        if (ptq_noise_concerns(arena, &floor->line[i], cell) == nearest)
            note_floor(arena, report, &floor->line[i], so[nearest]);
}

static void note_noise(struct ptq_arena *arena, struct ptq_report *report)
{
    struct ptq_noise_floor floor = {0};
    struct ptq_error err;
    if (ptq_noise_read(arena, NULL, &floor, &err))
        add(arena, report, ptq_format(arena, "No noise floor: %s.", err.text));
    for (int i = 0; i < report->n_rows; i++)
        if (report->row[i].seeds.n < 2) note_stored_noise(arena, report, &floor, report->row[i].cell);
}

static void note_seeds(struct ptq_arena *arena, struct ptq_report *report)
{
    int folded = 0;
    for (int i = 0; i < report->n_rows; i++) folded |= report->row[i].seeds.n > 1;
    if (folded)
        add(arena, report,
            "Replicates: a row of several seeds, or orders in which GPTQ's calibration was summed (how many, in "
            "brackets), shows exp of the nll averaged over them and the tokens, the standard deviation and the range "
            "of their "
            "perplexities, and intervals that hold both variations, of tokens and of replicates: of Student's t, n the "
            "number of replicates, which are wide where n is small and may reach below FP16 (docs/results.md); a row "
            "of "
            "one says nothing of another one.");
}

/* Whether any row was compared by a p, and whether any by one that knows of seeds. */
static int has_p(const struct ptq_report *report, int of_seeds)
{
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_versus *v = report->row[i].versus;
        int seeds = v && (report->row[i].seeds.n > 1 || v->other->seeds.n > 1);
        if (v && !isnan(v->holm) && (seeds || !of_seeds)) return 1;
    }
    return 0;
}

void ptq_report_note_versus(struct ptq_arena *arena, struct ptq_report *report)
{
    const char **note = ptq_new(arena, const char *, report->n_notes + 1);
    memcpy(note, report->note, (size_t)report->n_notes * sizeof *note);
    report->note = note;
    if (!has_p(report, 0)) {
        add(arena, report,
            ptq_format(arena,
                       "Against %s: no interval, no p and no verdict, for want of tokens; a difference here may be "
                       "chance.",
                       report->against));
        return;
    }
    add(arena, report,
        ptq_format(arena,
                   "Against %s: p is two-sided, of the paired bootstrap%s, and at least %.1g; Holm's adjustment holds "
                   "the chance of any wrong verdict among a model's comparisons below 5 %%, as long as they are all "
                   "that were looked at. Not told apart is no proof of equality.",
                   report->against, has_p(report, 1) ? " (t where there are replicates)" : "",
                   2.0 / (double)(report->bootstrap.replicates + 1)));
}

static void note_against(struct ptq_arena *arena, struct ptq_report *report)
{
    int with = 0, without = 0;
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_cell *c = report->row[i].cell;
        with |= c->kl != NULL;
        without += !c->kl && strcmp(c->method, "fp16") != 0;
    }
    if (!with) return;
    add(arena, report,
        "KL to FP16: mean over the scored tokens of D(p of FP16 || p) of the next token, in nats; same top-1: share of "
        "tokens with FP16's most probable next token.");
    if (without)
        add(arena, report,
            ptq_format(arena,
                       "%d cell%s without a comparison to FP16: an earlier ptq or eval.reference=0 made %s; --fresh "
                       "runs again.",
                       without, without == 1 ? " is" : "s are", without == 1 ? "it" : "them"));
}

static void note_paper(struct ptq_arena *arena, struct ptq_report *report, const char *missing)
{
    if (missing) add(arena, report, ptq_format(arena, "No published numbers: %s.", missing));
    int other = 0, judged = 0;
    for (int i = 0; i < report->n_rows; i++) {
        const struct ptq_paper_number *p = report->row[i].paper;
        if (!p) continue;
        add(arena, report, ptq_format(arena, "Paper: %s, table %s (%s).", p->paper, p->table, p->source));
        int is_other = report->row[i].verdict == PTQ_OTHER_SETTINGS;
        other |= is_other;
        judged |= !is_other;
        if (!is_other && *p->note) add(arena, report, ptq_format(arena, "%s: %s.", report->row[i].label, p->note));
    }
    if (judged)
        add(arena, report,
            "Verdict: matches where we are within the tolerance that experiments/paper.tsv gives with its reason, "
            "within "
            "band up to three times it, else off.");
    if (other)
        add(arena, report,
            "Other settings: the paper's number is of the same method, width and group size, but for its own text "
            "(wikitext-2, all windows of 2048) and FP16 weights, and is shown for orientation.");
}

/* "0, 1" with another number behind it, where that is not in it yet. */
static const char *add_number(struct ptq_arena *arena, const char *list, int64_t number)
{
    const char *text = ptq_format(arena, "%lld", (long long)number);
    size_t length = strlen(text);
    for (const char *at = list; *at; at += strspn(at, ", ")) {
        if (strcspn(at, ",") == length && strncmp(at, text, length) == 0) return list;
        at += strcspn(at, ",");
    }
    return *list ? ptq_format(arena, "%s, %s", list, text) : text;
}

static void note_runs(struct ptq_arena *arena, struct ptq_report *report)
{
    const char *seeds = "", *commits = VALUES(arena, report, commit);
    for (int i = 0; i < report->n_cells; i++) seeds = add_number(arena, seeds, report->cell[i].seed);
    add(arena, report,
        ptq_format(arena, "ptq %s, commit %s%s; seed %s; %s; %s.", VALUES(arena, report, version), commits,
                   strchr(commits, ';') ? " (cells come from different commits)" : "", seeds,
                   VALUES(arena, report, device), VALUES(arena, report, cpu)));
}

void ptq_report_notes(struct ptq_arena *arena, struct ptq_report *report, const char *missing)
{
    report->note = ptq_new(arena, const char *, MOST_NOTES);
    note_protocol(arena, report);
    note_models(arena, report);
    note_configs(arena, report);
    note_calibration(arena, report);
    note_intervals(arena, report);
    note_packed(arena, report);
    note_coarse(arena, report);
    note_noise(arena, report);
    note_seeds(arena, report);
    note_against(arena, report);
    note_paper(arena, report, missing);
    note_runs(arena, report);
}
