/* From cells to what a table or a plot shows of them: who is compared with whom, intervals, verdicts, footnotes. */
#ifndef PTQ_REPORT_H
#define PTQ_REPORT_H

#include "bootstrap.h"
#include "paper.h"
#include "replicates.h"
#include "results.h"

/* One cell and what is known about it. */
struct ptq_report_row {
    const struct ptq_cell *cell;
    const char *label; /* "FP16", "RTN", "salient by activation", with what tells it from other rows (labels.h) */
    const char *rest;  /* what of its SPEC the label does not say ("range=gptq"), or empty */
    struct ptq_estimate estimate;
    const struct ptq_paper_number *paper; /* or NULL */
    enum ptq_verdict verdict;
    /* Cells that differ in the seed, or in the order of the calibration's sums, alone: cell is then what stands for all
     * of them, and estimate knows of both variations. n is 1 without others. */
    struct ptq_replicates seeds;
    const struct ptq_versus *versus; /* the comparison that was asked for (ptq_report_against), or NULL */
};

/* A row beside another row of its model. */
struct ptq_versus {
    const struct ptq_report_row *other;
    struct ptq_estimate estimate; /* difference, its interval and p: to other */
    double holm; /* p, adjusted for all comparisons of this model by Holm's way; NaN where there is no p */
};

/* The cells of one model, width and group size, in stored order, behind the model's FP16 cell; those with only= are in
 * no section (attribution.h). */
struct ptq_section {
    const char *model;         /* short name, told apart where two models share it (model_name.h) */
    const char *text;          /* NULL where all sections of the report are of one text */
    int64_t w_bit, group_size; /* 16 and 0 where the model has an FP16 cell alone */
    struct ptq_report_row **row;
    int n;
    const struct ptq_report_row *fp16; /* row[0], or NULL where the model has none */
};

struct ptq_report {
    const char *title; /* of the experiment */
    struct ptq_report_row
        *row; /* each cell that is no replicate of another one nor its repeat, in the order that was given */
    int n_rows;
    const struct ptq_cell *cell; /* all that were given */
    int n_cells;
    struct ptq_section *section;
    int n_sections;
    unsigned label_keys; /* what rows differ in beside the SPEC: PTQ_LABEL_... of labels.h */
    const char *against; /* the SPEC that ptq_report_against found, or what it was told where models differ; or NULL */
    const char **note;   /* footnotes, a sentence each */
    int n_notes;
    struct ptq_bootstrap bootstrap;
};

/* 1 where a table does not hold both: both are quantised, and one's path alone rounds activations to 8 bits. */
int ptq_paths_apart(const struct ptq_cell *a, const struct ptq_cell *b);

/* cells outlive the report. Memory from arena. Cells of different protocols, or of such paths, are PTQ_EINPUT, and the
 * sentence names two of them; so is an empty table. Where there is no file of published numbers, the report goes
 * without them and a note says so. */
enum ptq_status ptq_report_make(struct ptq_arena *arena, const struct ptq_cell *cells, int n, struct ptq_report *out,
                                struct ptq_error *err);

/* Refuses, as PTQ_EINPUT with a sentence that names two of them, cells that no table shows together: those of several
 * protocols (by_text, since the table has lines for each evaluation text, those of one text alone), and those whose
 * paths are apart. */
enum ptq_status ptq_report_check(struct ptq_arena *arena, const struct ptq_cell *cells, int n, int by_text,
                                 struct ptq_error *err);

/* The different values of the text that lies offset bytes into a cell, parted by "; "; short_names: ptq_report_short of
 * each. *n_values, unless it is NULL: how many. In arena. */
const char *ptq_report_values(struct ptq_arena *arena, const struct ptq_cell *cells, int n, size_t offset,
                              int short_names, int *n_values);

/* Compares each row with the row of this SPEC and its model, or, where there is none, with the one whose SPEC agrees
 * with as much as this one says (partial_spec.h). An unknown SPEC, or one that no row of some model has, or that
 * several agree with, is PTQ_EUSAGE with those that there are. */
enum ptq_status ptq_report_against(struct ptq_arena *arena, struct ptq_report *report, const char *spec,
                                   struct ptq_error *err);

/* "lower", "higher" (perplexity than the other row's, at 5 % after Holm), "not told apart by these tokens"; "" where
 * there is no p. */
const char *ptq_versus_verdict(const struct ptq_versus *versus);

/* The last part of a path or name. In arena. */
const char *ptq_report_short(struct ptq_arena *arena, const char *path);

/* That of the text that lies offset bytes into a cell, but the whole of it where another one of the report's cells has
 * another text of the same last part. In arena. */
const char *ptq_report_apart(struct ptq_arena *arena, const struct ptq_report *report, const struct ptq_cell *cell,
                             size_t offset);

/* "FP16", "RTN", "salient by activation": the method, without what else its SPEC says. A checkpoint of codes that is
 * evaluated as it is has its own name, "gptq 4 bits, g32". In arena. */
const char *ptq_report_label(struct ptq_arena *arena, const struct ptq_cell *cell);

/* What stands over an interval, in every table and figure: of which number it is. */
#define PTQ_HEAD_PERPLEXITY "perplexity, 95 % interval"
#define PTQ_HEAD_ABOVE "above FP16, 95 % interval"
#define PTQ_HEAD_DIFFERENCE "difference, 95 % interval"

/* The interval of a row's perplexity, of its difference to FP16, and to the row it is compared with: "[+1.2, +3.4]",
 * and where it is of several seeds "[+1.2, +3.4] t, n = 3", since Student's t of so few is wide. "" where there is
 * none. */
const char *ptq_row_interval(struct ptq_arena *arena, const struct ptq_report_row *row);
const char *ptq_row_above_interval(struct ptq_arena *arena, const struct ptq_report_row *row);
const char *ptq_row_versus_interval(struct ptq_arena *arena, const struct ptq_report_row *row);

/* An interval that is of n seeds, as those above. */
const char *ptq_seeds_interval(struct ptq_arena *arena, const struct ptq_interval *interval, int decimals, int n,
                               int sign);

/* "w3 g64", "w4, one group a row", "FP16". */
const char *ptq_section_settings(struct ptq_arena *arena, const struct ptq_section *section);

/* The value of KEY in a canonical SPEC ("activation" of select), or NULL. In arena. */
const char *ptq_report_option(struct ptq_arena *arena, const char *spec, const char *key);

#endif
