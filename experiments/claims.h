/* Claims of the articles, each judged by what was measured: experiments/claims/, `ptq claims`.
 *
 *   baseline: rtn                             # where a claim compares methods that are no better, its verdict says so
 *   claims:
 *     - name: rtn-poor                        # one word
 *       claim: a sentence of ours
 *       source: where it is claimed
 *       note: what the reader should know (may be left out)
 *       tests:                                # all of them must hold
 *         - what: what the number is
 *           experiment: table1                # cells of table1.h5 in the folder of results
 *           measure: ratio                    # see claim_measures.c
 *           of: ["rtn:w3"]                    # selectors, see below
 *           to: [fp16]
 *           above: 1.2                        # or below
 *
 * A selector is a SPEC that a cell must agree with in all that it says ("awq:w3" takes any group size), then conditions
 * KEY=VALUE: text, calib, calib_windows (a number, least or most), seed, path, device. All cells that agree must be
 * replicates of one another (replicates.h): cells that differ in seed or in the order of their sums (order=) alone.
 * Only cells of the file's first model count, and a note names the others. */
#ifndef PTQ_CLAIMS_H
#define PTQ_CLAIMS_H

#include "bootstrap.h"
#include "escape.h"
#include "yaml_tree.h"

#include <stdio.h>

enum { PTQ_CLAIM_SIDE = 4 };

enum ptq_claim_verdict {
    PTQ_CLAIM_HOLDS,     /* the whole interval is on the claimed side */
    PTQ_CLAIM_UNDECIDED, /* the threshold is inside the interval */
    PTQ_CLAIM_CANNOT,    /* something is missing; why says what */
    PTQ_CLAIM_FAILS
};

/* The cells of one experiment's results file, or why there are none. */
struct ptq_claim_cells {
    const char *experiment;
    struct ptq_cell *cell;
    int n;
    const char *missing; /* a sentence, or NULL */
};

struct ptq_claim_measure;

struct ptq_claim_test {
    const char *what, *experiment;
    const struct ptq_claim_measure *measure;
    const char *of[PTQ_CLAIM_SIDE], *to[PTQ_CLAIM_SIDE], *from[PTQ_CLAIM_SIDE];
    int n_of, n_to, n_from;
    const char *file[PTQ_CLAIM_SIDE], *row, *column; /* of a benchmark's reports, a run each */
    int n_file;
    double above, below; /* the other one is NaN */
    /* what came out */
    enum ptq_claim_verdict verdict;
    double value; /* NaN where it cannot be tested */
    int sampled;  /* another text would give another number, so that without an interval nothing can be said */
    int runs;     /* draws or orders of sums of the side that has most; 0 where the interval is no bootstrap's */
    int bound;    /* 1: the number is at least that, since something was not measured; -1: at most; 0: neither */
    struct ptq_interval interval; /* where it is not sampled: the least and the most of the runs */
    const char *why;              /* what is missing, or what the number does not hold; or NULL */
    const char *specs;            /* of its cells */
};

struct ptq_claim {
    const char *name, *claim, *source, *note;
    struct ptq_claim_test *test;
    int n_tests;
    enum ptq_claim_verdict verdict; /* the worst: fails, cannot, undecided, holds */
    const char *conditions;         /* what it was measured under; or "" */
    const char *but;                /* which of its methods are no better than the baseline; or NULL */
};

/* A row of the comparison of two methods: one number of each. */
struct ptq_claim_row {
    const char *what;
    struct ptq_claim_test *side; /* [n_sides of the set] */
    const char *conditions;
};

struct ptq_claims {
    const char *title, *baseline; /* a method, or NULL */
    struct ptq_claim *claim;
    int n;
    const char *side[PTQ_CLAIM_SIDE]; /* names of the comparison's columns */
    int n_sides;
    struct ptq_claim_row *row;
    int n_rows;
    const char *but;         /* of the comparison's methods, as a claim's */
    const char **experiment; /* each that some test needs, once */
    int n_experiments;
    const char **note; /* footnotes, filled by ptq_claims_judge */
    int n_notes;
};

/* What of its cells a number depends on. */
enum { PTQ_CLAIM_GRID = 1, PTQ_CLAIM_CALIB = 2, PTQ_CLAIM_EVAL = 4, PTQ_CLAIM_MACHINE = 8 };

/* One kind of number. */
struct ptq_claim_measure {
    const char *name, *doc;
    int uses_of, uses_to, uses_from, uses_file; /* 1: must be given; an experiment too, but for uses_file */
    const char *unit;                           /* behind the number: "times", "%", "bits", "s" */
    unsigned depends_on;                        /* PTQ_CLAIM_GRID, ... */
    /* Fills value, interval and why; a missing thing is PTQ_EINPUT with a sentence. */
    enum ptq_status (*run)(struct ptq_arena *arena, const struct ptq_claim_cells *cells, struct ptq_claim_test *test,
                           struct ptq_error *err);
};

/* NULL where it is not known; names for refusals. */
const struct ptq_claim_measure *ptq_claim_measure(const char *name);
size_t ptq_claim_measure_names(const char **names, size_t room);
/* The table as Markdown, for the documentation. */
void ptq_claim_measures_print(FILE *out);

/* Reads the file. Fails with PTQ_EIO, PTQ_EINPUT ("FILE:LINE: ..."). Memory from arena. */
enum ptq_status ptq_claims_read(struct ptq_arena *arena, const char *path, struct ptq_claims *out,
                                struct ptq_error *err);

/* The cells of FOLDER/NAME.h5 for every experiment of the claims, in their order; a file that is missing or bad says so
 * in `missing`. Fails where the system does: PTQ_EIO, PTQ_EINTERRUPT. Memory from arena. */
enum ptq_status ptq_claims_cells(struct ptq_arena *arena, const struct ptq_claims *claims, const char *folder,
                                 struct ptq_claim_cells **out, struct ptq_error *err);

/* Those of an experiment, or NULL. */
const struct ptq_claim_cells *ptq_claims_cells_of(const struct ptq_claims *claims, const struct ptq_claim_cells *cells,
                                                  const char *experiment);

/* Judges every claim and fills the comparison. cells [n_experiments]. Nothing fails: what cannot be tested says why. */
void ptq_claims_judge(struct ptq_arena *arena, struct ptq_claims *claims, const struct ptq_claim_cells *cells);

/* "holds here", "not decided here", "cannot be tested here", "does not hold here". */
const char *ptq_claim_verdict_name(enum ptq_claim_verdict verdict);
/* "2.94 times [2.70, 3.21]", of several draws or orders "[2.70, 3.21] t, n = 3", of runs' least and most "2.94 times
 * (2.70 .. 3.21)"; "" where there is no number. In arena. */
const char *ptq_claim_number(struct ptq_arena *arena, const struct ptq_claim_test *test);

/* format: TEXT, MD, JSON or HTML. */
enum ptq_status ptq_claims_print(const struct ptq_claims *claims, enum ptq_table_format format, FILE *out,
                                 struct ptq_error *err);

#endif
