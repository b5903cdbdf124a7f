/* Inside the report's page: what is read of each file, and the sections that are made of all of it. */
#ifndef PTQ_PAGE_PARTS_H
#define PTQ_PAGE_PARTS_H

#include "claims.h"
#include "escape.h"
#include "failures.h"
#include "figure.h"
#include "report.h"

#include <stdio.h>

/* The cells of a chapter that were measured by one protocol. */
struct ptq_page_part {
    struct ptq_cell *cell;
    int n;
    struct ptq_report report;
    struct ptq_figures figures;
};

/* One results file. */
struct ptq_chapter {
    const char *file, *sha256; /* of the file's bytes; "" where only FILE.cells is there yet */
    const char *name, *title, *yaml;
    struct ptq_cell *cell;
    int n;
    struct ptq_page_part *part;
    int n_parts;
    struct ptq_failure *failure;
    int n_failures;
};

struct ptq_page {
    struct ptq_arena *arena;
    struct ptq_chapter *chapter;
    int n_chapters;
    struct ptq_page_part *pool; /* the cells of all files, by protocol, each once; without figures */
    int n_pools;
    struct ptq_cell *cell; /* of all of them */
    int n;
    const char *claims_file;  /* whose claims were asked for; NULL: the articles', where they can be judged */
    struct ptq_claims claims; /* judged, where has_claims */
    int has_claims;
    FILE *out;
};

/* text, escaped for HTML, in the page's arena. */
const char *ptq_page_text(const struct ptq_page *page, const char *text);

/* Cells by protocol, in the order of their first. Memory from arena. */
enum ptq_status ptq_page_split(struct ptq_arena *arena, const struct ptq_cell *cells, int n, struct ptq_page_part **out,
                               int *n_parts, struct ptq_error *err);

/* "commit X", "commits X, Y", "7 commits (see Provenance)": what measured the cells; the page may be another one's. */
const char *ptq_page_measured_by(const struct ptq_page *page);
void ptq_page_summary(const struct ptq_page *page);
/* Judges the claims by the experiments that are among the chapters. */
enum ptq_status ptq_page_judge(struct ptq_page *page, struct ptq_error *err);
/* The verdicts; nothing where no claims were asked for and no experiment that the articles' are judged by is among the
 * chapters. */
enum ptq_status ptq_page_claims(const struct ptq_page *page, struct ptq_error *err);
void ptq_page_failures(const struct ptq_page *page);
void ptq_page_provenance(const struct ptq_page *page);

/* gnuplot's SVG in svg[0..size), with a NUL behind it, as a part of a page: role and label for who cannot see it, ids
 * made its own by prefix. PTQ_EINPUT where it is no SVG. */
enum ptq_status ptq_page_svg(const struct ptq_page *page, const char *svg, size_t size, const char *prefix,
                             const char *alt, struct ptq_error *err);

#endif
