/* The papers' own numbers (paper.tsv), and what they say of ours. */
#ifndef PTQ_PAPER_H
#define PTQ_PAPER_H

#include "arena.h"
#include "results.h"
#include "status.h"

/* One line of paper.tsv. */
struct ptq_paper_number {
    const char *paper, *table, *model, *spec, *metric;
    const char *printed; /* as the paper has it: "14.62", "1.3e4" */
    double value;
    double tolerance; /* absolute, above 0 */
    const char *source, *note;
};

struct ptq_paper {
    const struct ptq_paper_number *number;
    int n;
};

enum ptq_verdict {
    PTQ_NO_PAPER,       /* nothing was published for it */
    PTQ_OTHER_SETTINGS, /* published, but with another text, protocol, or from another checkpoint */
    PTQ_MATCHES,        /* within the tolerance */
    PTQ_WITHIN_BAND,    /* within three times the tolerance */
    PTQ_OFF
};

/* Reads path, or paper.tsv at home (home.h) where path is NULL. Memory from arena. A line that is not right is
 * PTQ_EINPUT with its number. */
enum ptq_status ptq_paper_read(struct ptq_arena *arena, const char *path, struct ptq_paper *out, struct ptq_error *err);

/* The number for a model, however it is named ("facebook/opt-1.3b", "/models/OPT-1.3B/", "opt-1.3b-hf.gguf"), and a
 * canonical SPEC; NULL where there is none. Where the papers have several, the one of the table that the experiment is
 * ("awq-table3"), else the first. Another width or group size is another number, and stands for none. */
const struct ptq_paper_number *ptq_paper_find(const struct ptq_paper *paper, const char *experiment, const char *model,
                                              const char *spec, const char *metric);

/* What the papers say of a cell's perplexity; *number is the number it is compared with, or NULL. */
enum ptq_verdict ptq_paper_verdict(const struct ptq_paper *paper, const struct ptq_cell *cell,
                                   const struct ptq_paper_number **number);

/* The same of another metric ("step_ratio"), of which we have the number `ours`. */
enum ptq_verdict ptq_paper_judge(const struct ptq_paper *paper, const struct ptq_cell *cell, const char *metric,
                                 double ours, const struct ptq_paper_number **number);

/* "matches", "within band", "off", "other settings", "". */
const char *ptq_verdict_name(enum ptq_verdict verdict);

#endif
