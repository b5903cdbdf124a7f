#include "page_parts.h"

#include "escape.h"
#include "home.h"
#include "method.h"
#include "path.h"
#include "progress.h"
#include "sheet.h"
#include "words.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COMMITS = 3 }; /* that the head names; provenance has them all */

const char *ptq_page_text(const struct ptq_page *page, const char *text)
{
    return ptq_escape(page->arena, PTQ_TABLE_HTML, text);
}

/* Whether a table takes it beside those. */
static int fits(const struct ptq_page_part *part, const struct ptq_cell *cell)
{
    for (int i = 0; i < part->n; i++)
        if (strcmp(part->cell[i].protocol, cell->protocol) || ptq_paths_apart(&part->cell[i], cell)) return 0;
    return 1;
}

enum ptq_status ptq_page_split(struct ptq_arena *arena, const struct ptq_cell *cells, int n, struct ptq_page_part **out,
                               int *n_parts, struct ptq_error *err)
{
    struct ptq_page_part *part = *out = ptq_new(arena, struct ptq_page_part, n);
    *n_parts = 0;
    for (int i = 0; i < n; i++) {
        int p = 0;
        while (p < *n_parts && !fits(&part[p], &cells[i])) p++;
        if (p == *n_parts) part[(*n_parts)++].cell = ptq_new(arena, struct ptq_cell, n);
        part[p].cell[part[p].n++] = cells[i];
    }
    for (int p = 0; p < *n_parts; p++) PTQ_TRY(ptq_report_make(arena, part[p].cell, part[p].n, &part[p].report, err));
    return PTQ_OK;
}

/* ---- the summary ---- */

/* The best cell of each method and width of a model. */
struct best {
    const struct ptq_report_row *row;
    const char *model, *method;
    int n; /* cells that it is the best of */
};

static void count_row(struct ptq_arena *arena, const struct ptq_model_rows *m, const struct ptq_report_row *row,
                      struct best *best, int *n)
{
    const char *method = ptq_row_method(arena, row);
    int at = 0;
    while (at < *n && (best[at].row->cell->w_bit != row->cell->w_bit || strcmp(best[at].method, method) ||
                       strcmp(best[at].model, m->model)))
        at++;
    if (at == *n) best[(*n)++] = (struct best){.row = row, .model = m->model, .method = method};
    best[at].n++;
    if (row->estimate.ppl < best[at].row->estimate.ppl) best[at].row = row;
}

static void put_best(struct ptq_arena *arena, const struct best *b, const char **out)
{
    const struct ptq_estimate *e = &b->row->estimate;
    int decimals = ptq_decimals(e->ppl), is_reference = strcmp(b->row->cell->method, "fp16") == 0, n = 0;
    out[n++] = b->model;
    out[n++] = ptq_row_name(arena, b->row);
    out[n++] = ptq_row_grid(arena, b->row);
    out[n++] = ptq_format(arena, "%.2f", b->row->cell->effective_bits);
    out[n++] = ptq_number(arena, e->ppl, decimals, 0);
    out[n++] = ptq_row_interval(arena, b->row);
    out[n++] = is_reference ? "" : ptq_number(arena, e->difference, decimals, 1);
    out[n++] = is_reference ? "" : ptq_row_above_interval(arena, b->row);
    out[n++] = b->n > 1 ? ptq_format(arena, "%d", b->n) : "";
}

static void print_best(const struct ptq_page *page, const struct ptq_page_part *pool)
{
    struct ptq_arena *arena = page->arena;
    int n_models, n = 0;
    const struct ptq_model_rows *model = ptq_models_of(arena, &pool->report, &n_models);
    struct best *best = ptq_new(arena, struct best, pool->report.n_rows);
    for (int m = 0; m < n_models; m++)
        for (int r = 0; r < model[m].n; r++) count_row(arena, &model[m], model[m].row[r], best, &n);
    struct ptq_sheet sheet = {.column = {{.head = "model", .left = 1},
                                         {.head = "best cell of its method and width", .left = 1},
                                         {.head = "grid", .left = 1},
                                         {.head = "bits"},
                                         {.head = "perplexity"},
                                         {.head = PTQ_HEAD_PERPLEXITY},
                                         {.head = "above FP16"},
                                         {.head = PTQ_HEAD_ABOVE},
                                         {.head = "best of"}},
                              .n_columns = 9,
                              .n_rows = n};
    sheet.title = ptq_format(arena, "Perplexity of %s: %s", ptq_report_short(arena, pool->cell[0].text),
                             ptq_worded(arena, pool->cell[0].protocol));
    sheet.row = ptq_alloc_array(arena, (size_t)n, sizeof *sheet.row, "a table");
    for (int i = 0; i < n; i++) {
        put_best(arena, &best[i], sheet.row[i]);
        if (n_models == 1) sheet.row[i][0] = NULL; /* the caption's */
    }
    ptq_sheet_print(&sheet, PTQ_TABLE_HTML, page->out);
}

static int count_failures(const struct ptq_page *page)
{
    int n = 0;
    for (int c = 0; c < page->n_chapters; c++) n += page->chapter[c].n_failures;
    return n;
}

#define VALUES(page, member, short_names)                                                                              \
    ptq_report_values((page)->arena, (page)->cell, (page)->n, offsetof(struct ptq_cell, member), (short_names), NULL)

static const char *commits_of(struct ptq_arena *arena, const struct ptq_cell *cells, int n, int *n_commits)
{
    return ptq_report_values(arena, cells, n, offsetof(struct ptq_cell, commit), 0, n_commits);
}

const char *ptq_page_measured_by(const struct ptq_page *page)
{
    int n;
    const char *list = commits_of(page->arena, page->cell, page->n, &n);
    if (n > MOST_COMMITS) return ptq_format(page->arena, "%d commits (see Provenance)", n);
    return ptq_format(page->arena, "commit%s %s", n > 1 ? "s" : "", list);
}

static void print_term(const struct ptq_page *page, const char *term, const char *value)
{
    if (*value) fprintf(page->out, "<dt>%s</dt><dd>%s</dd>\n", term, ptq_page_text(page, value));
}

/* The calibration texts of the cells that read theirs, and of the others: of those, output errors alone come from it.
 */
static void print_calibrations(const struct ptq_page *page)
{
    static const char *const term[] = {"Output errors measured on", "Calibrated on"};
    struct ptq_cell *some = ptq_new(page->arena, struct ptq_cell, page->n);
    for (int reads = 1; reads >= 0; reads--) {
        int n = 0;
        for (int i = 0; i < page->n; i++)
            if (ptq_spec_text_needs_calib(page->cell[i].spec) == reads) some[n++] = page->cell[i];
        print_term(page, term[reads],
                   ptq_report_values(page->arena, some, n, offsetof(struct ptq_cell, calib), 1, NULL));
    }
}

/* Whether any row of the page has an interval. */
static int has_intervals(const struct ptq_page *page)
{
    for (int p = 0; p < page->n_pools; p++)
        for (int r = 0; r < page->pool[p].report.n_rows; r++)
            if (page->pool[p].report.row[r].estimate.units) return 1;
    return 0;
}

void ptq_page_summary(const struct ptq_page *page)
{
    struct ptq_arena *arena = page->arena;
    const char *what = "";
    int failed = count_failures(page);
    for (int c = 0; c < page->n_chapters; c++)
        what = ptq_format(arena, "%s%s%s (%d cell%s)", what, c ? "; " : "", page->chapter[c].title, page->chapter[c].n,
                          page->chapter[c].n == 1 ? "" : "s");
    fputs("<section id=\"summary\">\n<h2>Summary</h2>\n<dl>\n", page->out);
    print_term(page, "What was run", what);
    print_term(page, page->n_chapters > 1 ? "Models" : "Model", VALUES(page, model, 1));
    print_term(page, "Evaluated on", VALUES(page, text, 1));
    print_term(page, "Protocol", ptq_worded(arena, VALUES(page, protocol, 0)));
    print_calibrations(page);
    print_term(page, "Failed",
               failed ? ptq_format(arena, "%s: see What failed", ptq_counted(arena, failed, "cell")) : "none");
    fputs("</dl>\n", page->out);
    for (int p = 0; p < page->n_pools; p++) print_best(page, &page->pool[p]);
    fprintf(
        page->out,
        "<p class=\"small\">Lower perplexity is better. Bits are all that is stored for a weight: code, scale, zero, "
        "kept channels. %s A cell that is the best of several was chosen by the number beside it, so it flatters a "
        "little.</p>\n</section>\n",
        has_intervals(page) ? "The intervals are paired bootstraps over the text's tokens; each table below says how."
                            : "There are no intervals, for want of tokens: a small difference may be chance.");
}

/* ---- claims ---- */

/* Cells by the experiment's name, as the results files give it. */
static int claim_cells(const struct ptq_page *page, const struct ptq_claims *claims, struct ptq_claim_cells *cells)
{
    int found = 0;
    for (int e = 0; e < claims->n_experiments; e++) {
        cells[e] = (struct ptq_claim_cells){.experiment = claims->experiment[e]};
        for (int c = 0; c < page->n_chapters; c++)
            if (strcmp(page->chapter[c].name, claims->experiment[e]) == 0) {
                cells[e].cell = page->chapter[c].cell;
                cells[e].n = page->chapter[c].n;
            }
        found += cells[e].n > 0;
        if (!cells[e].n)
            cells[e].missing = ptq_format(page->arena, "no results of %s are in this report", claims->experiment[e]);
    }
    return found;
}

enum ptq_status ptq_page_judge(struct ptq_page *page, struct ptq_error *err)
{
    const char *asked = page->claims_file;
    const char *path = asked ? asked : ptq_home_path(page->arena, "experiments/claims/awq-gptq.yaml");
    PTQ_TRY(ptq_claims_read(page->arena, path, &page->claims, err));
    struct ptq_claim_cells *cells = ptq_new(page->arena, struct ptq_claim_cells, page->claims.n_experiments);
    page->has_claims = claim_cells(page, &page->claims, cells) > 0 || asked;
    if (page->has_claims) ptq_claims_judge(page->arena, &page->claims, cells);
    return ptq_interrupted(err); /* which the claims take for something that cannot be tested */
}

enum ptq_status ptq_page_claims(const struct ptq_page *page, struct ptq_error *err)
{
    if (!page->has_claims) return PTQ_OK;
    fputs("<section id=\"claims\">\n<h2>Claims</h2>\n", page->out);
    PTQ_TRY(ptq_claims_print(&page->claims, PTQ_TABLE_HTML, page->out, err));
    fputs("</section>\n", page->out);
    return PTQ_OK;
}

/* ---- what failed ---- */

void ptq_page_failures(const struct ptq_page *page)
{
    int n = count_failures(page);
    fputs("<section id=\"failed\">\n<h2>What failed</h2>\n", page->out);
    if (!n) {
        fputs("<p>No cell failed in the last run of any of these files.</p>\n</section>\n", page->out);
        return;
    }
    struct ptq_sheet sheet = {.title = "Cells that the last run could not finish, and why",
                              .column = {{.head = "results file", .left = 1},
                                         {.head = "model", .left = 1},
                                         {.head = "cell", .left = 1},
                                         {.head = "why", .left = 1}},
                              .n_columns = 4};
    sheet.row = ptq_alloc_array(page->arena, (size_t)n, sizeof *sheet.row, "a table");
    for (int c = 0; c < page->n_chapters; c++)
        for (int f = 0; f < page->chapter[c].n_failures; f++) {
            const struct ptq_failure *failure = &page->chapter[c].failure[f];
            const char **row = sheet.row[sheet.n_rows++];
            row[0] = ptq_report_short(page->arena, page->chapter[c].file);
            row[1] = failure->model;
            row[2] = failure->cell;
            row[3] = failure->why;
        }
    ptq_sheet_print(&sheet, PTQ_TABLE_HTML, page->out);
    fputs("</section>\n", page->out);
}

/* ---- provenance ---- */

static void print_files(const struct ptq_page *page)
{
    struct ptq_sheet sheet = {.title = "Results files",
                              .column = {{.head = "file", .left = 1},
                                         {.head = "experiment", .left = 1},
                                         {.head = "cells"},
                                         {.head = "SHA-256 of the file", .left = 1}},
                              .n_columns = 4,
                              .n_rows = page->n_chapters};
    sheet.row = ptq_alloc_array(page->arena, (size_t)page->n_chapters, sizeof *sheet.row, "a table");
    for (int c = 0; c < page->n_chapters; c++) {
        const struct ptq_chapter *chapter = &page->chapter[c];
        sheet.row[c][0] = ptq_report_short(page->arena, chapter->file);
        sheet.row[c][1] = chapter->name;
        sheet.row[c][2] = ptq_format(page->arena, "%d", chapter->n);
        sheet.row[c][3] = chapter->sha256;
    }
    ptq_sheet_print(&sheet, PTQ_TABLE_HTML, page->out);
}

/* Everything about the machine and the data that is a text of PTQ_CELL_FIELDS, with the table's own words. */
static void print_values(const struct ptq_page *page)
{
    static const char wanted[] =
        " model model_sha256 family source_dtype text text_sha256 tokens_sha256 calib calib_sha256 "
        "protocol calib_protocol path device version commit compiler host cpu kernels blas ";
    struct ptq_sheet sheet = {
        .title = "What the numbers come from, over all cells",
        .column = {{.head = "what", .left = 1}, {.head = "value", .left = 1}},
        .n_columns = 2,
    };
    sheet.row = ptq_alloc_array(page->arena, 64, sizeof *sheet.row, "a table");
#define TEXT(name, doc)                                                                                                \
    if (strstr(wanted, " " #name " ")) {                                                                               \
        sheet.row[sheet.n_rows][0] = doc;                                                                              \
        sheet.row[sheet.n_rows++][1] = VALUES(page, name, 0);                                                          \
    }
#define INT(name, doc)
#define REAL(name, doc)
#define X(kind, name, unit, doc) kind(name, doc)
    PTQ_CELL_FIELDS(X)
#undef X
#undef TEXT
#undef INT
#undef REAL
    int kept = 0;
    for (int r = 0; r < sheet.n_rows; r++)
        if (*sheet.row[r][1]) memmove(sheet.row[kept++], sheet.row[r], sizeof *sheet.row);
    sheet.n_rows = kept;
    ptq_sheet_print(&sheet, PTQ_TABLE_HTML, page->out);
}

static void add_number(struct ptq_arena *arena, const char **list, int64_t value, int seen)
{
    if (!seen) *list = ptq_format(arena, "%s%s%lld", *list, **list ? ", " : "", (long long)value);
}

static void print_ranges(const struct ptq_page *page)
{
    const char *seeds = "", *threads = "", *first = page->cell[0].started, *last = first;
    for (int i = 0; i < page->n; i++) {
        const struct ptq_cell *c = &page->cell[i];
        int seed = 0, thread = 0;
        for (int j = 0; j < i; j++) {
            seed |= page->cell[j].seed == c->seed;
            thread |= page->cell[j].threads == c->threads;
        }
        add_number(page->arena, &seeds, c->seed, seed);
        add_number(page->arena, &threads, c->threads, thread);
        if (strcmp(c->started, first) < 0) first = c->started;
        if (strcmp(c->started, last) > 0) last = c->started;
    }
    fprintf(page->out, "<p>Seeds: %s. Threads: %s. Cells started between %s and %s.</p>\n", seeds, threads,
            ptq_page_text(page, first), ptq_page_text(page, last));
}

/* For a shell, in single quotes where it needs them. */
static const char *shell_word(struct ptq_arena *arena, const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./%@"; /* no ~, and no - in front below */
    if (*text && *text != '-' && strspn(text, plain) == strlen(text)) return text;
    struct ptq_buffer out = {0};
    ptq_buffer_add(&out, "'");
    for (const char *c = text; *c; c++) ptq_buffer_add(&out, *c == '\'' ? "'\\''" : "%c", *c);
    ptq_buffer_add(&out, "'");
    const char *word = ptq_strdup(arena, out.data);
    free(out.data);
    return word;
}

/* A path, which in a command is no option. */
static const char *shell_path(struct ptq_arena *arena, const char *path)
{
    return shell_word(arena, ptq_format(arena, "%s%s", *path == '-' ? "./" : "", path));
}

/* What git may be given of a cell's commit: its digits, without the + of a tree that was dirty and the build's digits.
 * NULL where a results file says something else ("unknown", or what a stranger wrote). */
static const char *commit_of(struct ptq_arena *arena, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    size_t digits = strspn(text, hex), plus = text[digits] == '+', build = strspn(text + digits + plus, hex);
    int is_commit = digits && !text[digits + plus + build];
    return is_commit ? ptq_strndup(arena, text, digits) : NULL;
}

/* The --set of a run, which its results keep as comments behind the YAML. */
static const char *sets_of(struct ptq_arena *arena, const char *yaml)
{
    static const char mark[] = "# --set ";
    const char *sets = "";
    for (const char *line = yaml; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (strncmp(line, mark, sizeof mark - 1) == 0) {
            const char *set = line + sizeof mark - 1;
            sets =
                ptq_format(arena, "%s --set %s", sets, shell_word(arena, ptq_strndup(arena, set, strcspn(set, "\n"))));
        }
    return sets;
}

static const char *eval_command(struct ptq_arena *arena, const struct ptq_cell *c)
{
    const char *command = ptq_format(arena, "ptq eval %s --text %s --window %lld --max-windows %lld --method %s",
                                     shell_path(arena, c->model), shell_path(arena, c->text), (long long)c->window,
                                     (long long)c->windows, shell_word(arena, c->spec));
    if (c->calib[0])
        command = ptq_format(arena, "%s --calib %s --calib-windows %lld --calib-window %lld", command,
                             shell_path(arena, c->calib), (long long)c->calib_windows, (long long)c->calib_window);
    const char *sample = ptq_strndup(arena, c->calib_protocol, strcspn(c->calib_protocol, " ")); /* its first word */
    if (*sample && strcmp(sample, "first"))
        command = ptq_format(arena, "%s --calib-sample %s", command, shell_word(arena, sample));
    if (ptq_path_find(c->path) != PTQ_PATH_FP32)
        command = ptq_format(arena, "%s --path %s", command, shell_word(arena, c->path));
    return c->seed ? ptq_format(arena, "%s --seed %lld", command, (long long)c->seed) : command;
}

static void print_commands(const struct ptq_page *page, const struct ptq_chapter *chapter)
{
    struct ptq_arena *arena = page->arena;
    const struct ptq_cell *last = &chapter->cell[chapter->n - 1];
    const char *commit = commit_of(arena, last->commit), *name = ptq_report_short(arena, chapter->file);
    fprintf(page->out, "<h3>%s</h3>\n<pre>", ptq_page_text(page, chapter->title));
    int n_commits;
    commits_of(arena, chapter->cell, chapter->n, &n_commits);
    if (n_commits > 1) fprintf(page->out, "# its cells come from %d commits; this is the last cell's\n", n_commits);
    if (commit) fprintf(page->out, "git checkout %s &amp;&amp; make\n", commit);
    if (*chapter->yaml)
        fprintf(page->out, "ptq run %s -o %s%s\n",
                ptq_page_text(page, shell_path(arena, ptq_format(arena, "%s.yaml", chapter->name))),
                ptq_page_text(page, shell_path(arena, name)), ptq_page_text(page, sets_of(arena, chapter->yaml)));
    fprintf(page->out, "%s</pre>\n", ptq_page_text(page, eval_command(arena, last)));
    if (!*chapter->yaml) return;
    fprintf(page->out, "<details><summary>%s.yaml</summary>\n<pre>", ptq_page_text(page, chapter->name));
    for (const char *line = chapter->yaml; *line; line += strcspn(line, "\n"), line += *line == '\n')
        fprintf(page->out, "%s\n", ptq_page_text(page, ptq_strndup(arena, line, strcspn(line, "\n"))));
    fputs("</pre></details>\n", page->out);
}

void ptq_page_provenance(const struct ptq_page *page)
{
    fputs("<section id=\"provenance\">\n<h2>Provenance</h2>\n", page->out);
    print_files(page);
    print_values(page);
    print_ranges(page);
    fputs("<p>To run it again: the experiment, or its last cell alone.</p>\n", page->out);
    for (int c = 0; c < page->n_chapters; c++) print_commands(page, &page->chapter[c]);
    fputs("</section>\n", page->out);
}
