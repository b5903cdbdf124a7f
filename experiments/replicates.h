/* Cells that differ in the calibration's seed, or in the order of its sums, alone, as one: replicates of a method on
 * one text, called seeds here.
 *
 *   nll_t      mean over the S seeds of the nll of token t; the row's perplexity is exp of its mean over tokens (so the
 *              geometric mean of the seeds' perplexities)
 *   s          standard deviation of the seeds' perplexities, with S - 1
 *   Var        = se_tokens^2 + s_A^2 / S_A + s_B^2 / S_B        of a difference of two rows A and B
 *   se_tokens  standard deviation of the difference over the paired bootstrap's replicates (bootstrap.h)
 *
 * Where both rows have the same seeds and these drew the same calibration windows, the seeds are paired too: instead of
 * the two last terms s_D^2 / S, of the seeds' differences. What seeds and tokens do together is in both terms, so the
 * interval is rather too wide than too narrow. It is difference +- t sqrt(Var), t of Student's distribution for the
 * degrees of freedom of Welch and Satterthwaite:
 *
 *   df = Var^2 / (se_tokens^4 / (units - 1) + sum over the seed terms of term^2 / (S - 1))
 *
 * and p = P(|T| >= |difference| / sqrt(Var)). A row with one seed adds nothing for it: what another seed would change
 * is then not in the interval. */
#ifndef PTQ_REPLICATES_H
#define PTQ_REPLICATES_H

#include "bootstrap.h"
#include "results.h"

#include <stddef.h>

struct ptq_replicates {
    const struct ptq_cell **cell; /* [n], in the order that was given */
    int n;                        /* 1 without other seeds */
    double sd, lowest, highest;   /* of the perplexities; sd is NaN where n is 1 */
    double mean_low, mean_high;   /* 95 % t interval of their mean, the tokens as they are; NaN where n is 1 */
};

/* Terms of a variance, each with its degrees of freedom, and what they come to (Welch and Satterthwaite). */
struct ptq_terms {
    double variance, weighed; /* sum of terms; sum of term^2 / df */
};
void ptq_terms_add(struct ptq_terms *t, double term, double df);
/* value +- t sqrt(variance), NaN where there is no variance; then *p, that the value is 0, stays as it is. */
struct ptq_interval ptq_terms_interval(double value, const struct ptq_terms *t, double level, double *p);
/* Of n >= 2 values. */
double ptq_sample_variance(const double *x, int n);

/* Whether cell number i of both had the same seed and so the same calibration windows, for all i. */
int ptq_replicates_paired(const struct ptq_replicates *a, const struct ptq_replicates *b);

/* The SPEC without order=, the order of the sums; spec itself where it has none. In arena. */
const char *ptq_without_order(struct ptq_arena *arena, const char *spec);

/* What all replicates of one another have in common beside their SPEC: a text each. */
struct ptq_common {
    const char *what;                                                /* for people */
    int (*same)(const struct ptq_cell *a, const struct ptq_cell *b); /* NULL: the texts at compared are */
    size_t compared, shown; /* offsets in struct ptq_cell: what must be the same, and what people know it by */
};
int ptq_common_differs(const struct ptq_common *common, const struct ptq_cell *a, const struct ptq_cell *b);
/* The first that differs, or NULL. */
const struct ptq_common *ptq_cells_apart(const struct ptq_cell *a, const struct ptq_cell *b);
/* What a cell has there; "none" for an empty one. */
const char *ptq_common_text(const struct ptq_common *common, const struct ptq_cell *cell);

/* 0 where the cell has no calibration text, or its SPEC does not read it: then it gives output errors, and the
 * perplexity is that beside any other text. */
int ptq_reads_calib(const struct ptq_cell *cell);

/* Whether the number of such a SPEC depends on the run's seed itself, not on what it drew of a calibration text. */
int ptq_spec_reads_seed(const char *spec);

/* 1 where b is the number of a once more, by another id: one SPEC that reads no calibration, beside two texts for
 * output errors, or one and none. */
int ptq_is_repeat(const struct ptq_cell *a, const struct ptq_cell *b);

/* 1 where b is a but for its seed, and what that drew, or the order of its sums. */
int ptq_is_replicate(struct ptq_arena *arena, const struct ptq_cell *a, const struct ptq_cell *b);

/* Fills all but cell and n. */
void ptq_replicates_summarise(struct ptq_replicates *r);

/* The cell that stands for all of them: nll, perplexity, PTQ_AGAINST_FIELDS, a cell's own seconds and the errors and
 * other fractions of each linear are means over the seeds (ppl of nll), peaks of memory are the largest, everything
 * else is the first one's. The first one itself where n is 1. In arena. */
const struct ptq_cell *ptq_replicates_mean(struct ptq_arena *arena, const struct ptq_replicates *r);

/* Puts the seeds' variation into estimates that know of the tokens' alone: e's own interval, and, where reference is
 * not NULL, the difference's with its p. Nothing changes where neither has other seeds. */
void ptq_replicates_widen(const struct ptq_replicates *r, const struct ptq_replicates *reference, double level,
                          struct ptq_estimate *e);

#endif
