#include "figure.h"

#include "axis.h"
#include "drawn.h"
#include "escape.h"
#include "gnuplot.h"
#include "home.h"
#include "mapped.h"
#include "words.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- models ---- */

static void add_section(struct ptq_model_rows *m, const struct ptq_section *section)
{
    m->section[m->n_sections++] = section;
    m->model = section->model;
    if (section->fp16) m->fp16 = section->fp16;
    for (int r = 0; r < section->n; r++) {
        int seen = 0;
        for (int i = 0; i < m->n && !seen; i++) seen = m->row[i] == section->row[r];
        if (!seen) m->row[m->n++] = section->row[r];
    }
}

struct ptq_model_rows *ptq_models_of(struct ptq_arena *arena, const struct ptq_report *report, int *n)
{
    struct ptq_model_rows *model = ptq_new(arena, struct ptq_model_rows, report->n_sections);
    *n = 0;
    for (int s = 0; s < report->n_sections; s++) {
        const struct ptq_section *section = &report->section[s];
        int at = 0;
        while (at < *n && !ptq_same_task(model[at].row[0]->cell, section->row[0]->cell)) at++;
        if (at == *n) {
            model[(*n)++] = (struct ptq_model_rows){
                .report = report,
                .row = ptq_new(arena, const struct ptq_report_row *, report->n_rows),
                .section = ptq_new(arena, const struct ptq_section *, report->n_sections),
            };
        }
        add_section(&model[at], section);
    }
    return model;
}

/* ---- making one ---- */

/* Whether it was one already. */
static int make_file_name(char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    int changed = 0;
    for (char *c = name; *c; c++)
        if (!strchr(letters, *c) || (c == name && (*c == '.' || *c == '-'))) *c = '_', changed = 1;
    return !changed;
}

const char *ptq_figure_stem(struct ptq_arena *arena, const char *of, const char *sha256)
{
    char *name = ptq_format(arena, "%.100s", of);
    if (make_file_name(name) && !of[strlen(name)]) return name;
    name = ptq_format(arena, "%s-%.8s", name, sha256);
    make_file_name(name);
    return name;
}

/* Of its weights and, where that is known, of its config.json: names of two models stay two files. */
static const char *hash_of_model(struct ptq_arena *arena, const struct ptq_cell *cell)
{
    char config[PTQ_SHA256_HEX], both[PTQ_SHA256_HEX];
    ptq_cell_model_config(cell, config);
    if (!*config) return cell->model_sha256;
    const char *text = ptq_format(arena, "%s %s", cell->model_sha256, config);
    ptq_sha256(text, strlen(text), both);
    return ptq_strdup(arena, both);
}

struct ptq_figure *ptq_figure_add(struct ptq_arena *arena, struct ptq_figures *out, const struct ptq_model_rows *rows,
                                  const char *kind, const char *suffix)
{
    if (out->n == out->room) {
        struct ptq_figure *old = out->figure;
        out->room = 2 * out->room + 16;
        out->figure = ptq_new(arena, struct ptq_figure, out->room);
        if (out->n) memcpy(out->figure, old, sizeof *old * (size_t)out->n);
    }
    struct ptq_figure *f = &out->figure[out->n++];
    *f = (struct ptq_figure){.script = kind, .settings = "", .height = 410};
    f->stem = ptq_format(arena, "%s-%s", ptq_figure_stem(arena, rows->model, hash_of_model(arena, rows->row[0]->cell)),
                         suffix);
    f->note = f->caption = f->alt = f->heading = "";
    return f;
}

void ptq_figure_text(struct ptq_arena *arena, struct ptq_figure *f, const char *name, const char *value)
{
    f->settings = ptq_format(arena, "%s%s = %s\n", f->settings, name, ptq_gnuplot_quote(arena, value));
}

void ptq_figure_number(struct ptq_arena *arena, struct ptq_figure *f, const char *name, double value)
{
    f->settings = ptq_format(arena, "%s%s = %.10g\n", f->settings, name, isnan(value) ? 0 : value);
}

void ptq_figure_texts(struct ptq_arena *arena, struct ptq_figure *f, const char *name, const char *const *value, int n)
{
    f->settings = ptq_format(arena, "%sarray %s[%d]\n", f->settings, name, n);
    for (int i = 0; i < n; i++)
        f->settings =
            ptq_format(arena, "%s%s[%d] = %s\n", f->settings, name, i + 1, ptq_gnuplot_quote(arena, value[i]));
}

void ptq_figure_ticks(struct ptq_arena *arena, struct ptq_figure *f, const char *name, const char *const *value, int n)
{
    struct ptq_buffer out = {0};
    for (int i = 0; i < n; i++) {
        struct ptq_buffer label = {0};
        for (const char *c = value[i]; *c; c++) ptq_buffer_add(&label, *c == '%' ? "%%%%" : "%c", *c);
        ptq_buffer_add(&out, "%s%s %d", i ? ", " : "", ptq_gnuplot_quote(arena, label.data ? label.data : ""), i);
        free(label.data);
    }
    ptq_figure_text(arena, f, name, out.data ? out.data : "");
    free(out.data);
}

static void put_axis(struct ptq_arena *arena, struct ptq_figure *f, const char *name, const struct ptq_axis *axis)
{
    ptq_figure_text(arena, f, ptq_format(arena, "%s_ticks", name), axis->ticks);
    ptq_figure_number(arena, f, ptq_format(arena, "%s_low", name), axis->low);
    ptq_figure_number(arena, f, ptq_format(arena, "%s_high", name), axis->high);
    ptq_figure_number(arena, f, ptq_format(arena, "%s_log", name), axis->is_log);
}

void ptq_figure_axis(struct ptq_arena *arena, struct ptq_figure *f, const char *name, double low, double high)
{
    struct ptq_axis axis = ptq_axis_make(arena, low, high, 0);
    put_axis(arena, f, name, &axis);
}

void ptq_figure_short_axis(struct ptq_arena *arena, struct ptq_figure *f, const char *name, double low, double high,
                           int most_ticks)
{
    struct ptq_axis axis = ptq_axis_make(arena, low, high, most_ticks);
    put_axis(arena, f, name, &axis);
}

void ptq_figure_columns(struct ptq_arena *arena, struct ptq_sheet *sheet, const char *heads, int n_rows)
{
    *sheet = (struct ptq_sheet){.n_rows = 0, .title = ""};
    for (const char *at = heads; *at; at += *at == ',') {
        size_t length = strcspn(at, ",");
        sheet->column[sheet->n_columns++].head = ptq_strndup(arena, at, length);
        at += length;
    }
    sheet->row = ptq_alloc_array(arena, (size_t)n_rows, sizeof *sheet->row, "a figure's numbers");
}

const char *ptq_figure_value(struct ptq_arena *arena, double value)
{
    return isfinite(value) ? ptq_format(arena, "%.10g", value) : "";
}

struct ptq_point ptq_point_of(const struct ptq_report_row *row, const struct ptq_report_row *fp16)
{
    const struct ptq_estimate *e = &row->estimate;
    struct ptq_point p = {e->ppl, e->interval.low, e->interval.high};
    if (fp16) {
        p.low = fp16->estimate.ppl + e->difference_interval.low;
        p.high = fp16->estimate.ppl + e->difference_interval.high;
    }
    if (!isfinite(p.ppl)) return (struct ptq_point){NAN, NAN, NAN};
    if (!isfinite(p.low) || !isfinite(p.high)) p.low = p.high = p.ppl;
    return p;
}

void ptq_point_stretch(const struct ptq_point *p, double *low, double *high)
{
    if (isnan(p->ppl)) return;
    *low = fmin(*low, fmin(p->low, p->ppl));
    *high = fmax(*high, fmax(p->high, p->ppl));
}

/* Whether any row's bar has a length: with too few tokens none has. */
static int has_bars(const struct ptq_model_rows *rows)
{
    for (int r = 0; r < rows->n; r++) {
        struct ptq_point p = ptq_point_of(rows->row[r], rows->fp16);
        if (p.high > p.low) return 1;
    }
    return 0;
}

const char *ptq_point_head(const struct ptq_report_row *fp16)
{
    return fp16 ? PTQ_HEAD_ABOVE : PTQ_HEAD_PERPLEXITY;
}

const char *ptq_point_interval(struct ptq_arena *arena, const struct ptq_report_row *row,
                               const struct ptq_report_row *fp16)
{
    return fp16 ? ptq_row_above_interval(arena, row) : ptq_row_interval(arena, row);
}

/* Which intervals the rows have: Student's t of a row of several seeds, else the bootstrap. */
static const char *kinds_of_intervals(const struct ptq_model_rows *rows)
{
    int n_t = 0, n_others = 0;
    for (int r = 0; r < rows->n; r++) {
        if (rows->row[r] == rows->fp16) continue; /* its difference to itself has none */
        n_t += rows->row[r]->seeds.n > 1;
        n_others += rows->row[r]->seeds.n < 2;
    }
    if (!n_t) return "paired-bootstrap intervals";
    return n_others ? "intervals, t of rows of seeds, else paired-bootstrap," : "t intervals";
}

const char *ptq_figure_note(struct ptq_arena *arena, const struct ptq_model_rows *rows, const char *bars)
{
    return ptq_figure_note_of(arena, rows, bars, rows->fp16 ? "difference to FP16, set on FP16" : "perplexity");
}

const char *ptq_figure_note_of(struct ptq_arena *arena, const struct ptq_model_rows *rows, const char *bars,
                               const char *what)
{
    const struct ptq_cell *first = rows->row[0]->cell;
    const char *text = ptq_escape(arena, PTQ_TABLE_TEXT, ptq_report_short(arena, first->text));
    const char *of = ptq_format(arena, "%s of %s", ptq_counted(arena, first->tokens, "token"), text);
    if (!bars || !has_bars(rows)) return of;
    return ptq_format(arena, "%s; %s: %g %% %s of the %s", of, bars, 100 * rows->report->bootstrap.level,
                      kinds_of_intervals(rows), what);
}

const char *ptq_row_method(struct ptq_arena *arena, const struct ptq_report_row *row)
{
    return ptq_report_label(arena, row->cell);
}

const char *ptq_row_name(struct ptq_arena *arena, const struct ptq_report_row *row)
{
    if (!(row->cell->fraction > 0)) return row->label;
    return ptq_format(arena, "%s%s %.4g %%", row->label, strchr(row->label, ',') ? "," : "", 100 * row->cell->fraction);
}

const char *ptq_row_line(struct ptq_arena *arena, const struct ptq_report_row *row, int with_grid)
{
    const char *name = ptq_row_name(arena, row);
    return with_grid ? ptq_format(arena, "%s, %s", name, ptq_row_grid(arena, row)) : name;
}

int ptq_figure_method(struct ptq_arena *arena, struct ptq_figure_methods *methods, const struct ptq_report_row *row)
{
    const char *name = ptq_row_method(arena, row);
    for (int m = 0; m < methods->n; m++)
        if (strcmp(methods->name[m], name) == 0) return m + 1;
    if (methods->n < PTQ_FIGURE_METHODS) methods->name[methods->n++] = name;
    return methods->n;
}

const char *ptq_row_grid(struct ptq_arena *arena, const struct ptq_report_row *row)
{
    const struct ptq_cell *c = row->cell;
    if (c->w_bit == 16) return "";
    if (c->group_size < 0) return ptq_format(arena, "w%lld row", (long long)c->w_bit);
    return ptq_format(arena, "w%lld g%lld", (long long)c->w_bit, (long long)c->group_size);
}

int ptq_rows_differ_in_grid(const struct ptq_model_rows *rows)
{
    const struct ptq_cell *first = NULL;
    for (int r = 0; r < rows->n; r++) {
        const struct ptq_cell *c = rows->row[r]->cell;
        if (c->w_bit == 16) continue;
        if (first && (first->w_bit != c->w_bit || first->group_size != c->group_size)) return 1;
        first = c;
    }
    return 0;
}

/* At most length bytes of text, and no half of a character. */
static const char *cut(struct ptq_arena *arena, const char *text, size_t length)
{
    while (length && ((unsigned char)text[length] & 0xc0) == 0x80) length--;
    return ptq_strndup(arena, text, length);
}

const char *ptq_figure_cut(struct ptq_arena *arena, const char *text, int most)
{
    if (strlen(text) <= (size_t)most) return text;
    return ptq_format(arena, "%s...", cut(arena, text, (size_t)most - 3));
}

int ptq_figure_titles(struct ptq_arena *arena, struct ptq_figure *f, const char *name, const char *const *title, int n,
                      int width)
{
    const char **first = ptq_new(arena, const char *, n), **second = ptq_new(arena, const char *, n);
    int two = 0;
    for (int i = 0; i < n; i++) {
        const char *text = ptq_escape(arena, PTQ_TABLE_TEXT, title[i]);
        size_t length = strlen(text), at = length <= (size_t)width ? length : 0;
        for (size_t c = 1; !at && c < (size_t)width; c++) /* the last space that leaves a whole line before it */
            if (text[(size_t)width - c] == ' ') at = (size_t)width - c;
        if (!at) at = (size_t)width;
        first[i] = cut(arena, text, at);
        second[i] = ptq_figure_cut(arena, text + strlen(first[i]) + strspn(text + strlen(first[i]), " "), width);
        two |= *second[i] != 0;
    }
    ptq_figure_texts(arena, f, name, first, n);
    ptq_figure_texts(arena, f, ptq_format(arena, "%s_2", name), second, n);
    return two;
}

/* ---- files ---- */

/* Characters of a note's line, how many there are at most, and the height of each but the first, as in style.gp. */
enum { NOTE_WIDTH = 118, NOTE_LINES = 4, NOTE_ROOM = 14 };

/* The CSV file's text. */
static const char *numbers(struct ptq_arena *arena, const struct ptq_sheet *sheet)
{
    struct ptq_buffer out = {0};
    for (int r = -1; r < sheet->n_rows; r++)
        for (int c = 0; c < sheet->n_columns; c++) {
            const char *text = r < 0 ? sheet->column[c].head : sheet->row[r][c];
            ptq_buffer_add(&out, "%s%s", ptq_escape(arena, PTQ_TABLE_CSV, text ? text : ""),
                           c + 1 < sheet->n_columns ? "," : "\n");
        }
    const char *text = ptq_strdup(arena, out.data);
    free(out.data);
    return text;
}

/* The parts of a sentence that one line has room for: up to the last "; " in it, but one part at least. */
static size_t note_line(const char *note)
{
    size_t length = strlen(note), end = length;
    if (length <= NOTE_WIDTH) return length;
    for (const char *at = note; (at = strstr(at, "; ")) && (end == length || at - note < NOTE_WIDTH); at++)
        end = (size_t)(at - note) + 1;
    return end;
}

/* In several lines where one would be wider than the picture, which then is higher; parted where a part of the sentence
 * ends. */
static void put_note(struct ptq_arena *arena, struct ptq_figure *f, const char *note)
{
    const char *line[NOTE_LINES] = {""};
    int n = 0;
    for (size_t length; *note && n < NOTE_LINES; note += length) {
        note += strspn(note, " ");
        length = n + 1 < NOTE_LINES ? note_line(note) : strlen(note);
        line[n++] = ptq_strndup(arena, note, length);
    }
    if (!n) n = 1;
    ptq_figure_texts(arena, f, "note_line", line, n);
    ptq_figure_number(arena, f, "height", f->height + NOTE_ROOM * (n - 1));
}

static const char *make_script(struct ptq_arena *arena, const struct ptq_figure *f, const char *format,
                               const char *data, const char *output)
{
    struct ptq_figure with = *f;
    ptq_figure_text(arena, &with, "format", format);
    ptq_figure_text(arena, &with, "data", data);
    ptq_figure_text(arena, &with, "output_file", output);
    ptq_figure_text(arena, &with, "heading", ptq_escape(arena, PTQ_TABLE_TEXT, f->heading));
    put_note(arena, &with, ptq_escape(arena, PTQ_TABLE_TEXT, f->note));
    ptq_figure_number(arena, &with, "width", PTQ_FIGURE_WIDTH);
    const char *script = ptq_format(arena, "plots/%s.gp", f->script);
    return ptq_format(arena, "%sload %s\nload %s\n", with.settings,
                      ptq_gnuplot_quote(arena, ptq_home_path(arena, "plots/style.gp")),
                      ptq_gnuplot_quote(arena, ptq_home_path(arena, script)));
}

/* A picture ends as its format does. */
static int is_whole(const struct ptq_mapped *file, const char *format)
{
    const char *end = strcmp(format, "png") == 0 ? "IEND\xae\x42\x60\x82" : "</svg>\n";
    size_t n = strlen(end);
    return file->size >= n + 2 && memmem(file->data + file->size - n - 2, n + 2, end, n) != NULL;
}

/* From memory to its name. */
static enum ptq_status keep_picture(struct ptq_arena *arena, const char *drawn, const char *format, const char *picture,
                                    const char *sha256, struct ptq_error *err)
{
    struct ptq_mapped file;
    PTQ_TRY(ptq_map(arena, drawn, &file, err));
    const char *mark = strcmp(format, "svg") == 0 ? ptq_drawn_comment(arena, format, sha256) : "";
    const struct ptq_piece piece[] = {{file.data, file.size}, {mark, strlen(mark)}};
    enum ptq_status status = is_whole(&file, format)
                                 ? ptq_write_pieces(picture, piece, 2, err)
                                 : ptq_fail(err, PTQ_EIO, "%s: gnuplot did not draw it to its end", picture);
    ptq_unmap(&file);
    return status;
}

/* A file of that text in memory, which gnuplot inherits under the same number; -1 where there is none. */
static int in_memory(const char *text)
{
    size_t size = strlen(text);
    int fd = memfd_create("figure", 0);
    if (fd < 0 || write(fd, text, size) == (ssize_t)size) return fd;
    close(fd);
    return -1;
}

static const char *path_in_memory(struct ptq_arena *arena, int fd)
{
    return ptq_format(arena, "/proc/self/fd/%d", fd);
}

static enum ptq_status run_script(struct ptq_arena *arena, const char *script, struct ptq_error *err)
{
    int fd = in_memory(script);
    if (fd < 0) return ptq_fail(err, PTQ_EIO, "gnuplot cannot be given its commands: %s", strerror(errno));
    enum ptq_status status = ptq_gnuplot_run(path_in_memory(arena, fd), err);
    close(fd);
    return status;
}

/* gnuplot does not say when a write failed, and goes on behind the hole. So it writes to memory, which has room. */
static enum ptq_status draw(struct ptq_arena *arena, const struct ptq_figure *f, const char *stem, const char *format,
                            const char *sha256, struct ptq_error *err)
{
    const char *data = ptq_format(arena, "%s.csv", stem), *picture = ptq_format(arena, "%s.%s", stem, format);
    int fd = in_memory("");
    if (fd < 0) return ptq_fail(err, PTQ_EIO, "%s: cannot be drawn: %s", picture, strerror(errno));
    const char *drawn = path_in_memory(arena, fd);
    enum ptq_status status = run_script(arena, make_script(arena, f, format, data, drawn), err);
    if (!status) status = keep_picture(arena, drawn, format, picture, sha256, err);
    close(fd);
    return status;
}

/* SHA-256 of all that a picture depends on: its numbers, its settings, and both scripts. */
static enum ptq_status source_of(struct ptq_arena *arena, const struct ptq_figure *f, const char *csv,
                                 char sha256[PTQ_SHA256_HEX], struct ptq_error *err)
{
    const char *const script[] = {"style", f->script};
    const char *settings = make_script(arena, f, "svg", "", "");
    struct ptq_sha256 *hash = ptq_sha256_begin();
    ptq_sha256_add(hash, settings, strlen(settings) + 1);
    ptq_sha256_add(hash, csv, strlen(csv) + 1);
    enum ptq_status status = PTQ_OK;
    for (int i = 0; i < 2 && !status; i++) {
        char *text;
        size_t size;
        const char *path = ptq_home_path(arena, ptq_format(arena, "plots/%s.gp", script[i]));
        status = ptq_read_file(arena, path, 1 << 20, &text, &size, err);
        if (!status) ptq_sha256_add(hash, text, size + 1);
    }
    ptq_sha256_end(hash, sha256);
    return status;
}

/* A picture that is whole and no older than the svg, which is drawn before it. */
static int is_drawn(struct ptq_arena *arena, const char *svg, const char *png)
{
    struct stat first, second;
    struct ptq_mapped file;
    struct ptq_error err;
    if (stat(svg, &first) || stat(png, &second)) return 0;
    if (second.st_mtim.tv_sec < first.st_mtim.tv_sec ||
        (second.st_mtim.tv_sec == first.st_mtim.tv_sec && second.st_mtim.tv_nsec < first.st_mtim.tv_nsec))
        return 0;
    if (ptq_map(arena, png, &file, &err)) return 0;
    int whole = is_whole(&file, "png");
    ptq_unmap(&file);
    return whole;
}

enum ptq_status ptq_figure_draw(struct ptq_arena *arena, const struct ptq_figure *figure, const char *folder, int png,
                                struct ptq_error *err)
{
    char sha256[PTQ_SHA256_HEX];
    const char *stem = ptq_format(arena, "%s/%s", folder, figure->stem), *csv = numbers(arena, &figure->data);
    const char *svg = ptq_format(arena, "%s.svg", stem);
    PTQ_TRY(source_of(arena, figure, csv, sha256, err));
    PTQ_TRY(ptq_write_changed(arena, ptq_format(arena, "%s.csv", stem), csv, strlen(csv), err));
    if (!ptq_drawn_of(svg, "svg", sha256)) PTQ_TRY(draw(arena, figure, stem, "svg", sha256, err));
    if (!png || is_drawn(arena, svg, ptq_format(arena, "%s.png", stem))) return PTQ_OK;
    return draw(arena, figure, stem, "png", sha256, err);
}
