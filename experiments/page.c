#include "page.h"

#include "beside.h"
#include "drawn.h"
#include "home.h"
#include "mapped.h"
#include "page_parts.h"
#include "plot.h"
#include "program.h"
#include "progress.h"
#include "table.h"
#include "version.h"
#include "yaml_tree.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SVG_LIMIT = 64 << 20, MOST_OPEN_ROWS = 12 };

/* ---- reading ---- */

/* The YAML's title, or the experiment's name. */
static const char *title_of(struct ptq_arena *arena, const struct ptq_chapter *c)
{
    struct ptq_yaml *root;
    struct ptq_error ignored;
    if (!*c->yaml || ptq_yaml_parse(arena, "", c->yaml, strlen(c->yaml), &root, &ignored)) return c->name;
    const struct ptq_yaml *title = ptq_yaml_get(root, "title");
    return title && title->text && *title->text ? title->text : c->name;
}

static enum ptq_status read_sha256(struct ptq_arena *arena, const char *file, const char **out, struct ptq_error *err)
{
    struct ptq_mapped mapped;
    char *hex = ptq_new(arena, char, PTQ_SHA256_HEX);
    enum ptq_kind kind;
    *out = hex;
    PTQ_TRY(ptq_look(file, &kind, err));
    if (kind != PTQ_FILE) return PTQ_OK;
    PTQ_TRY(ptq_map(arena, file, &mapped, err));
    ptq_sha256(mapped.data, mapped.size, hex);
    ptq_unmap(&mapped);
    return PTQ_OK;
}

static enum ptq_status read_chapter(struct ptq_arena *arena, const char *file, struct ptq_chapter *c,
                                    struct ptq_error *err)
{
    *c = (struct ptq_chapter){.file = file};
    PTQ_TRY(ptq_interrupted(err));
    PTQ_TRY(ptq_table_read(arena, &file, 1, &c->cell, &c->n, err));
    if (!c->n) return ptq_fail(err, PTQ_EINPUT, "%s: holds no finished cell", file);
    PTQ_TRY(ptq_results_experiment(arena, file, &c->name, &c->yaml, err));
    if (!*c->name) c->name = c->cell[0].experiment;
    c->title = title_of(arena, c);
    PTQ_TRY(read_sha256(arena, file, &c->sha256, err));
    PTQ_TRY(ptq_failures_read(arena, file, &c->failure, &c->n_failures, err));
    PTQ_TRY(ptq_page_split(arena, c->cell, c->n, &c->part, &c->n_parts, err));
    for (int p = 0; p < c->n_parts; p++) ptq_figures_find(arena, &c->part[p].report, &c->part[p].figures);
    return PTQ_OK;
}

/* Figures of one name, of several files or protocols, would be one file. */
static void part_names(struct ptq_page *page)
{
    for (int c = 0; c < page->n_chapters; c++)
        for (int p = 0; p < page->chapter[c].n_parts; p++) {
            struct ptq_figures *figures = &page->chapter[c].part[p].figures;
            for (int f = 0; f < figures->n; f++)
                if (c || p)
                    figures->figure[f].stem =
                        ptq_format(page->arena, "%d.%d-%s", c + 1, p + 1, figures->figure[f].stem);
        }
}

static enum ptq_status read_all(struct ptq_page *page, const char *const *files, int n_files, struct ptq_error *err)
{
    page->n_chapters = n_files;
    page->chapter = ptq_new(page->arena, struct ptq_chapter, n_files);
    for (int f = 0; f < n_files; f++) PTQ_TRY(read_chapter(page->arena, files[f], &page->chapter[f], err));
    PTQ_TRY(ptq_table_read(page->arena, files, n_files, &page->cell, &page->n, err));
    PTQ_TRY(ptq_page_split(page->arena, page->cell, page->n, &page->pool, &page->n_pools, err));
    part_names(page);
    return ptq_page_judge(page, err);
}

/* ---- the page ---- */

static enum ptq_status print_head(const struct ptq_page *page, struct ptq_error *err)
{
    char *css;
    size_t size;
    const char *title = page->n_chapters == 1 ? page->chapter[0].title : "ptq: report";
    PTQ_TRY(ptq_read_file(page->arena, ptq_home_path(page->arena, "plots/report.css"), 1 << 20, &css, &size, err));
    fprintf(page->out,
            "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n"
            "<meta charset=\"utf-8\" />\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n"
            "<title>%s</title>\n<style>\n%s</style>\n</head>\n<body>\n<header>\n<h1>%s</h1>\n"
            "<p class=\"small\">Weight-only post-training quantisation. This page was made by ptq %s (commit %s); its "
            "cells were measured by %s.</p>\n</header>\n",
            ptq_page_text(page, title), css, ptq_page_text(page, title), ptq_page_text(page, ptq_version),
            ptq_page_text(page, ptq_commit), ptq_page_text(page, ptq_page_measured_by(page)));
    return PTQ_OK;
}

static void print_contents(const struct ptq_page *page)
{
    fputs("<nav aria-label=\"contents\">\n<ol>\n<li><a href=\"#summary\">Summary</a></li>\n", page->out);
    for (int c = 0; c < page->n_chapters; c++)
        fprintf(page->out, "<li><a href=\"#chapter%d\">%s</a></li>\n", c + 1,
                ptq_page_text(page, page->chapter[c].title));
    if (page->has_claims) fputs("<li><a href=\"#claims\">Claims</a></li>\n", page->out);
    fputs("<li><a href=\"#failed\">What failed</a></li>\n<li><a href=\"#provenance\">Provenance</a></li>\n</ol>\n"
          "</nav>\n",
          page->out);
}

static enum ptq_status print_figure(const struct ptq_page *page, const struct ptq_figure *f, const char *folder,
                                    int number, struct ptq_error *err)
{
    const struct ptq_sheet *sheet = f->brief ? f->brief : &f->data;
    const char *prefix = ptq_format(page->arena, "f%d-", number);
    char *svg;
    size_t size;
    PTQ_TRY(
        ptq_read_file(page->arena, ptq_format(page->arena, "%s/%s.svg", folder, f->stem), SVG_LIMIT, &svg, &size, err));
    fprintf(page->out, "<figure id=\"figure%d\">\n<div class=\"picture\">", number);
    PTQ_TRY(ptq_page_svg(page, svg, size, prefix, f->alt, err));
    fprintf(page->out,
            "</div>\n<figcaption><b>Figure %d. %s.</b> %s</figcaption>\n<details%s><summary>The numbers of "
            "figure %d</summary>\n",
            number, ptq_page_text(page, f->title), ptq_page_text(page, f->caption),
            sheet->n_rows <= MOST_OPEN_ROWS ? " open=\"open\"" : "", number);
    ptq_sheet_print(sheet, PTQ_TABLE_HTML, page->out);
    fprintf(page->out, "<p class=\"small\">All points: figures/%s.csv</p>\n</details>\n</figure>\n",
            ptq_page_text(page, f->stem));
    return PTQ_OK;
}

/* The experiment's own arrangement and the lists; cells of several protocols apart where it does not say how they go
 * together. */
static enum ptq_status print_tables(const struct ptq_page *page, const struct ptq_chapter *c, struct ptq_error *err)
{
    const struct ptq_table_layout *layout;
    struct ptq_error apart;
    PTQ_TRY(ptq_table_find_layout(page->arena, &c->file, 1, c->cell, c->n, &layout, err));
    int by_text = layout && ptq_table_layout_has(layout, "text");
    if (!ptq_report_check(page->arena, c->cell, c->n, by_text, &apart))
        return ptq_table_print_as(layout, c->cell, c->n, NULL, PTQ_TABLE_HTML, page->out, err);
    for (int p = 0; p < c->n_parts; p++)
        PTQ_TRY(ptq_table_print_as(layout, c->part[p].cell, c->part[p].n, NULL, PTQ_TABLE_HTML, page->out, err));
    return PTQ_OK;
}

static enum ptq_status print_chapter(const struct ptq_page *page, int number, const char *folder, int *n_figures,
                                     struct ptq_error *err)
{
    const struct ptq_chapter *c = &page->chapter[number];
    fprintf(page->out, "<section id=\"chapter%d\">\n<h2>%s</h2>\n", number + 1, ptq_page_text(page, c->title));
    PTQ_TRY(print_tables(page, c, err));
    for (int p = 0; p < c->n_parts; p++) {
        if (c->n_parts > 1 && c->part[p].figures.n)
            fprintf(page->out, "<h3>Figures of %s: %s</h3>\n", ptq_page_text(page, c->part[p].cell[0].text),
                    ptq_page_text(page, ptq_worded(page->arena, c->part[p].cell[0].protocol)));
        for (int f = 0; f < c->part[p].figures.n; f++)
            PTQ_TRY(print_figure(page, &c->part[p].figures.figure[f], folder, ++*n_figures, err));
    }
    fputs("</section>\n", page->out);
    return PTQ_OK;
}

static enum ptq_status print_page(const struct ptq_page *page, const char *figures, int *n_figures,
                                  struct ptq_error *err)
{
    PTQ_TRY(print_head(page, err));
    print_contents(page);
    fputs("<main>\n", page->out);
    ptq_page_summary(page);
    for (int c = 0; c < page->n_chapters; c++) PTQ_TRY(print_chapter(page, c, figures, n_figures, err));
    PTQ_TRY(ptq_page_claims(page, err));
    ptq_page_failures(page);
    ptq_page_provenance(page);
    fputs("</main>\n</body>\n</html>\n", page->out);
    return PTQ_OK;
}

/* ---- files ---- */

static enum ptq_status write_html(struct ptq_page *page, const char *path, const char *figures, int *n_figures,
                                  struct ptq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    page->out = open_memstream(&text, &size);
    if (!page->out) ptq_out_of_memory(0, "a report", "its page");
    enum ptq_status status = print_page(page, figures, n_figures, err);
    if (fclose(page->out)) ptq_out_of_memory(size, "a report", "its page");
    if (!status) status = ptq_write_changed(page->arena, path, text, size, err);
    free(text);
    return status;
}

/* Whole paths: a name that begins with a dash would be an option, one with a colon an address. */
static const char *whole_path(struct ptq_arena *arena, const char *path)
{
    char folder[PATH_MAX];
    if (path[0] == '/' || !getcwd(folder, sizeof folder)) return path;
    return ptq_join(arena, folder, path);
}

/* weasyprint fetches what a page names; this page names nothing. */
static enum ptq_status write_pdf(struct ptq_arena *arena, const char *html, const char *pdf, struct ptq_error *err)
{
    char *temporary = ptq_temporary_path(arena, pdf), *said;
    const char *sha256;
    char *const words[] = {"weasyprint",
                           "--quiet",
                           "--encoding",
                           "utf-8",
                           (char *)whole_path(arena, html),
                           (char *)whole_path(arena, temporary),
                           NULL};
    PTQ_TRY(read_sha256(arena, html, &sha256, err));
    if (ptq_drawn_of(pdf, "pdf", sha256)) return PTQ_OK;
    ptq_sweep_temporaries(pdf);
    enum ptq_status status = ptq_program_run(
        arena, words, PTQ_PROGRAM_IS_KILLED,
        "install it by scripts/install-deps --for report, or as root: apt-get install weasyprint", &said, err);
    if (!status) status = ptq_drawn_mark(temporary, "pdf", sha256, err);
    if (!status) status = ptq_publish(temporary, pdf, err);
    if (!status) return PTQ_OK;
    unlink(temporary);
    return ptq_within(err, "%s is written, the PDF is not", html);
}

static enum ptq_status write_all(struct ptq_page *page, const char *const *files, int n_files, const char *folder,
                                 int pdf, int *n_figures, struct ptq_error *err)
{
    struct ptq_arena *arena = page->arena;
    const char *figures = ptq_join(arena, folder, "figures"), *html = ptq_join(arena, folder, "report.html");
    PTQ_TRY(read_all(page, files, n_files, err));
    for (int c = 0; c < page->n_chapters; c++)
        for (int p = 0; p < page->chapter[c].n_parts; p++)
            PTQ_TRY(ptq_figures_draw(arena, &page->chapter[c].part[p].figures, figures, 0, err));
    PTQ_TRY(write_html(page, html, figures, n_figures, err));
    return pdf ? write_pdf(arena, html, ptq_join(arena, folder, "report.pdf"), err) : PTQ_OK;
}

enum ptq_status ptq_page_write(const char *const *files, int n_files, const char *claims, const char *folder, int pdf,
                               int *n_figures, struct ptq_error *err)
{
    int drawn = 0;
    struct ptq_page page = {.arena = ptq_arena_make("a report"), .claims_file = claims};
    enum ptq_status status = write_all(&page, files, n_files, folder, pdf, &drawn, err);
    ptq_arena_free(page.arena);
    if (n_figures) *n_figures = drawn;
    return status;
}

enum ptq_status ptq_command_report(const struct ptq_options *o, struct ptq_error *err)
{
    int figures, pdf = !o->format || strcmp(o->format, "pdf") == 0;
    if (o->n_operands < 1 || !o->out) return ptq_fail(err, PTQ_EUSAGE, "report needs results files and -o FOLDER");
    if (!pdf && strcmp(o->format, "html"))
        return ptq_fail(err, PTQ_EUSAGE, "format '%.40s' is not known here; known: html (the page alone), pdf (both)",
                        o->format);
    PTQ_TRY(ptq_page_write(o->operand, o->n_operands, o->claims, o->out, pdf, &figures, err));
    if (!o->quiet) ptq_say(stderr, "%s: report.html%s, %d figures\n", o->out, pdf ? ", report.pdf" : "", figures);
    return PTQ_OK;
}
