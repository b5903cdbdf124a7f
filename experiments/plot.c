#include "plot.h"

#include "figure_kinds.h"
#include "gnuplot.h"
#include "mapped.h"
#include "page_parts.h"
#include "progress.h"

#include <string.h>

static const struct ptq_figure_kind *const kinds[] = {
#define X(word) &ptq_figure_##word,
    PTQ_FIGURE_KINDS(X)
#undef X
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* Figures of one name would be one file: of two texts, say, that a model was measured on. */
static void part_names(struct ptq_arena *arena, struct ptq_figures *figures)
{
    for (int i = 1; i < figures->n; i++)
        for (int j = 0, n = 1; j < i; j++)
            if (strcmp(figures->figure[i].stem, figures->figure[j].stem) == 0) {
                figures->figure[i].stem = ptq_format(arena, "%s-%d", figures->figure[i].stem, ++n);
                j = -1;
            }
}

/* All methods of the results, for those that plots/style.gp has no name of: one colour and mark in all figures. */
static void put_methods(struct ptq_arena *arena, const struct ptq_report *report, struct ptq_figures *figures,
                        int first)
{
    struct ptq_figure_methods methods = {.n = 0};
    for (int r = 0; r < report->n_rows; r++)
        if (report->row[r].cell->w_bit < 16) ptq_figure_method(arena, &methods, &report->row[r]);
    for (int f = first; f < figures->n && methods.n; f++)
        ptq_figure_texts(arena, &figures->figure[f], "all_methods", methods.name, methods.n);
}

void ptq_figures_find(struct ptq_arena *arena, const struct ptq_report *report, struct ptq_figures *out)
{
    int n, first = out->n;
    const struct ptq_model_rows *model = ptq_models_of(arena, report, &n);
    for (int m = 0; m < n; m++)
        for (int k = 0; k < N_KINDS; k++) {
            int before = out->n;
            kinds[k]->find(arena, &model[m], out);
            for (int f = before; f < out->n; f++) out->figure[f].title = kinds[k]->title;
        }
    put_methods(arena, report, out, first);
    part_names(arena, out);
}

enum ptq_status ptq_figures_draw(struct ptq_arena *arena, const struct ptq_figures *figures, const char *folder,
                                 int png, struct ptq_error *err)
{
    PTQ_TRY(ptq_make_folder(folder, err));
    PTQ_TRY(ptq_gnuplot_path(arena, folder, &folder, err));
    for (int i = 0; i < figures->n; i++) {
        PTQ_TRY(ptq_interrupted(err));
        PTQ_TRY(ptq_figure_draw(arena, &figures->figure[i], folder, png, err));
    }
    return PTQ_OK;
}

/* What figures of one of several protocols are called by, without which two would be one: the text, and the windows
 * where others are of that text, too. */
static const char *name_of(struct ptq_arena *arena, const struct ptq_page_part *part, int n, int p)
{
    const struct ptq_cell *c = &part[p].cell[0];
    const char *name = ptq_figure_stem(arena, ptq_report_short(arena, c->text), c->text_sha256);
    int shared = 0;
    for (int i = 0; i < n; i++) shared += strcmp(part[i].cell[0].text, c->text) == 0;
    if (shared < 2) return name;
    return ptq_format(arena, "%s-%lldx%lld", name, (long long)c->windows, (long long)c->window);
}

static void find_part(struct ptq_arena *arena, const struct ptq_page_part *part, int n, int p,
                      struct ptq_figures *figures)
{
    int before = figures->n;
    ptq_figures_find(arena, &part[p].report, figures);
    for (int f = before; f < figures->n && n > 1; f++)
        figures->figure[f].stem = ptq_format(arena, "%s-%s", figures->figure[f].stem, name_of(arena, part, n, p));
    part_names(arena, figures);
}

/* Cells of several protocols (texts) are in figures of their own: none is drawn beside another's. */
static enum ptq_status plot(struct ptq_arena *arena, const struct ptq_cell *cells, int n, const char *folder,
                            int *n_figures, struct ptq_error *err)
{
    struct ptq_page_part *part;
    struct ptq_figures figures = {0};
    int n_parts;
    PTQ_TRY(ptq_page_split(arena, cells, n, &part, &n_parts, err));
    for (int p = 0; p < n_parts; p++) find_part(arena, part, n_parts, p, &figures);
    *n_figures = figures.n;
    if (!figures.n)
        return ptq_fail(err, PTQ_EINPUT, "there is nothing to draw: no cell of these results quantises anything");
    return ptq_figures_draw(arena, &figures, folder, 1, err);
}

enum ptq_status ptq_plot(const struct ptq_cell *cells, int n, const char *folder, int *n_figures, struct ptq_error *err)
{
    int figures = 0;
    struct ptq_arena *arena = ptq_arena_make("a plot");
    enum ptq_status status = plot(arena, cells, n, folder, &figures, err);
    ptq_arena_free(arena);
    if (n_figures) *n_figures = status ? 0 : figures;
    return status;
}
