/* A figure: what is drawn, its numbers, and what is to be said of it. A kind of figure is a const struct in a file of
 * its own (figure_NAME.c), a word in plot.c's list, and a script (plots/NAME.gp) that reads the numbers as CSV. */
#ifndef PTQ_FIGURE_H
#define PTQ_FIGURE_H

#include "report.h"
#include "sheet.h"

/* The cells of one model: rows in the report's order, FP16 first where there is one. */
struct ptq_model_rows {
    const char *model;               /* as sections call it */
    const struct ptq_report *report; /* that they are rows of */
    const struct ptq_report_row **row;
    int n;
    const struct ptq_report_row *fp16; /* row[0], or NULL */
    const struct ptq_section **section;
    int n_sections;
};

struct ptq_figure {
    const char *stem;              /* file name without its ending: letters, digits, dots, dashes */
    const char *script;            /* NAME of plots/NAME.gp */
    const char *title;             /* of its kind */
    const char *heading, *note;    /* in the picture, above and below */
    const char *caption, *alt;     /* beside it: what to see; what is there, for who cannot see it */
    struct ptq_sheet data;         /* what is drawn: the CSV file */
    const struct ptq_sheet *brief; /* what a page prints of it; NULL: data */
    const char *settings;          /* gnuplot's variables: one assignment a line */
    int height;                    /* of the picture, where it is PTQ_FIGURE_WIDTH wide */
};
enum { PTQ_FIGURE_WIDTH = 680 };

struct ptq_figures {
    struct ptq_figure *figure;
    int n, room;
};

struct ptq_figure_kind {
    const char *name, *title;
    /* Adds the figures that a model's cells are good for; none is no error. Memory from arena. */
    void (*find)(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out);
};

/* The models of a report, each once. *n in arena. */
struct ptq_model_rows *ptq_models_of(struct ptq_arena *arena, const struct ptq_report *report, int *n);

/* ---- for kinds ---- */

/* A new figure: MODEL-SUFFIX, its script plots/KIND.gp. Points into out, until the next is added. */
struct ptq_figure *ptq_figure_add(struct ptq_arena *arena, struct ptq_figures *out, const struct ptq_model_rows *rows,
                                  const char *kind, const char *suffix);
/* A model's or text's name as a piece of a file's: letters, digits, dots and dashes alone. Where it has others, or is
 * too long, a piece of its hash tells it from names that would come out alike. In arena. */
const char *ptq_figure_stem(struct ptq_arena *arena, const char *of, const char *sha256);
/* A gnuplot variable. NaN becomes 0. */
void ptq_figure_text(struct ptq_arena *arena, struct ptq_figure *f, const char *name, const char *value);
void ptq_figure_number(struct ptq_arena *arena, struct ptq_figure *f, const char *name, double value);
/* An array of texts. */
void ptq_figure_texts(struct ptq_arena *arena, struct ptq_figure *f, const char *name, const char *const *value, int n);
/* Titles of panels: an array of their first lines, of width characters at most, and NAME_2 of their second ones, cut
 * where they are longer. 1 where any has two. */
int ptq_figure_titles(struct ptq_arena *arena, struct ptq_figure *f, const char *name, const char *const *title, int n,
                      int width);
/* Text of at most so many bytes: a longer one ends in "...". In arena, or text. */
const char *ptq_figure_cut(struct ptq_arena *arena, const char *text, int most);
/* Texts for `set tics`, at 0, 1, 2 ...: gnuplot takes them for formats, so their % are doubled. */
void ptq_figure_ticks(struct ptq_arena *arena, struct ptq_figure *f, const char *name, const char *const *value, int n);
/* NAME_low, NAME_high, NAME_log and NAME_ticks of an axis that shows low..high: logarithmic where the values span more
 * than a factor of 4. */
void ptq_figure_axis(struct ptq_arena *arena, struct ptq_figure *f, const char *name, double low, double high);
/* The same where there is room for so many ticks. */
void ptq_figure_short_axis(struct ptq_arena *arena, struct ptq_figure *f, const char *name, double low, double high,
                           int most_ticks);
/* The columns ("x,low,high" in one text) and room for rows. */
void ptq_figure_columns(struct ptq_arena *arena, struct ptq_sheet *sheet, const char *heads, int n_rows);
/* A number for the CSV file: ten digits; empty where there is none. */
const char *ptq_figure_value(struct ptq_arena *arena, double value);

/* A perplexity, or another number, with the ends of its bar; NaN where there is none. Bars show what matters between
 * curves: the difference to FP16 on the same tokens, set on FP16's own perplexity. */
struct ptq_point {
    double ppl, low, high;
};
struct ptq_point ptq_point_of(const struct ptq_report_row *row, const struct ptq_report_row *fp16);
void ptq_point_stretch(const struct ptq_point *p, double *low, double *high);
/* What a figure's own table says of bars, in the words and numbers of the results' table: "above FP16, 95 % interval"
 * and the interval of that difference, or, where the model has no FP16 cell, those of the perplexity. In arena. */
const char *ptq_point_head(const struct ptq_report_row *fp16);
const char *ptq_point_interval(struct ptq_arena *arena, const struct ptq_report_row *row,
                               const struct ptq_report_row *fp16);
/* "10235 tokens of anarchism; bars: 95 % paired-bootstrap intervals of the difference to FP16, set on FP16" */
const char *ptq_figure_note(struct ptq_arena *arena, const struct ptq_model_rows *rows, const char *bars);
/* The same where the bars are of another number than perplexity: "of the mean". */
const char *ptq_figure_note_of(struct ptq_arena *arena, const struct ptq_model_rows *rows, const char *bars,
                               const char *what);
/* A row's method without options ("AWQ", "salient by activation"); and with its share of kept channels. */
const char *ptq_row_method(struct ptq_arena *arena, const struct ptq_report_row *row);
const char *ptq_row_name(struct ptq_arena *arena, const struct ptq_report_row *row);
/* What a line of a row is called: its name, and its width and group size where rows differ in them. */
const char *ptq_row_line(struct ptq_arena *arena, const struct ptq_report_row *row, int with_grid);
/* "w3 g64", "w3 row". */
const char *ptq_row_grid(struct ptq_arena *arena, const struct ptq_report_row *row);
/* Whether quantised rows differ in width or group size, so that their names must say it. */
int ptq_rows_differ_in_grid(const struct ptq_model_rows *rows);

/* The methods of a figure whose lines are named: each once, as they came. They give colour and mark. */
enum { PTQ_FIGURE_METHODS = 16 };
struct ptq_figure_methods {
    const char *name[PTQ_FIGURE_METHODS];
    int n;
};
/* The number of a row's method, from 1; those for which there is no room share the last one's. */
int ptq_figure_method(struct ptq_arena *arena, struct ptq_figure_methods *methods, const struct ptq_report_row *row);

/* ---- for those who draw ---- */

/* Writes FOLDER/STEM.csv, .svg and, where asked for, .png, each whole or not at all. folder exists, and gnuplot can be
 * given it (ptq_gnuplot_path). */
enum ptq_status ptq_figure_draw(struct ptq_arena *arena, const struct ptq_figure *figure, const char *folder, int png,
                                struct ptq_error *err);

#endif
