/* How large activations are, channel by channel: the means of |x| that calibration saw, sorted, for some blocks; and
 * over all blocks how far the largest stands above the median. */
#include "figure.h"
#include "figure_kinds.h"
#include "linear_name.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CURVES = 4, MOST_INPUTS = 8 };

/* Inputs as a grid, as the cell has them: name "3.mlp_in". */
struct inputs {
    const struct ptq_cell *cell;
    const char *name[MOST_INPUTS];
    int n, blocks;
    const struct ptq_input_report **at; /* [blocks][MOST_INPUTS] */
};

static int input_of(struct inputs *in, const char *name)
{
    for (int i = 0; i < in->n; i++)
        if (strcmp(in->name[i], name) == 0) return i;
    if (in->n == MOST_INPUTS) return -1;
    in->name[in->n] = name;
    return in->n++;
}

static int is_usable(const struct ptq_input_report *r)
{
    return r->channels > 0 && r->median > 0 && isfinite(r->median) && isfinite(r->ranked[0]);
}

/* The first cell that has them; all cells of one calibration have the same. */
static int gather(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct inputs *in)
{
    *in = (struct inputs){0};
    for (int r = 0; r < rows->n && !in->cell; r++)
        if (rows->row[r]->cell->n_inputs) in->cell = rows->row[r]->cell;
    if (!in->cell) return 0;
    in->at = ptq_new(arena, const struct ptq_input_report *, (int64_t)in->cell->n_inputs *MOST_INPUTS);
    for (int i = 0; i < in->cell->n_inputs; i++) {
        const char *name;
        int block = ptq_linear_block(arena, in->cell->input[i].name, &name), input;
        if (block < 0 || block >= in->cell->n_inputs || !is_usable(&in->cell->input[i])) continue;
        if ((input = input_of(in, name)) < 0) continue;
        in->at[block * MOST_INPUTS + input] = &in->cell->input[i];
        if (block >= in->blocks) in->blocks = block + 1;
    }
    return in->n > 0;
}

static double ratio(const struct ptq_input_report *r)
{
    return r ? r->ranked[0] / r->median : NAN;
}

static int steepest(const struct inputs *in, int input)
{
    int best = 0;
    for (int b = 1; b < in->blocks; b++) {
        double here = ratio(in->at[b * MOST_INPUTS + input]), most = ratio(in->at[best * MOST_INPUTS + input]);
        if (here > most || isnan(most)) best = b;
    }
    return best;
}

/* The first block, the middle, the last, and where the largest channel stands out most; each once, rising. */
static int choose_blocks(const struct inputs *in, int input, int block[MOST_CURVES])
{
    int wanted[] = {0, in->blocks / 2, in->blocks - 1, steepest(in, input)}, n = 0;
    for (int b = 0; b < in->blocks; b++)
        for (int w = 0; w < MOST_CURVES; w++)
            if (wanted[w] == b && in->at[b * MOST_INPUTS + input]) {
                block[n++] = b;
                break;
            }
    return n;
}

static const char *calibration(struct ptq_arena *arena, const struct inputs *in)
{
    return ptq_format(arena, "%lld calibration tokens of %s",
                      (long long)(in->cell->calib_windows * in->cell->calib_window),
                      ptq_report_short(arena, in->cell->calib));
}

/* ---- sorted ---- */

static void put_curve(struct ptq_arena *arena, const struct inputs *in, int input, int curve, int block,
                      struct ptq_sheet *sheet)
{
    const struct ptq_input_report *r = in->at[block * MOST_INPUTS + input];
    const char *name = ptq_format(arena, "%d", curve + 1); /* one pointer a curve */
    for (int i = 0; i < PTQ_INPUT_RANKS; i++) {
        int64_t rank = (int64_t)1 << i, last = i > 0 && ((int64_t)1 << (i - 1)) >= r->channels;
        if (last || !(r->ranked[i] > 0)) break;
        const char **row = sheet->row[sheet->n_rows++];
        row[0] = in->name[input];
        row[1] = ptq_format(arena, "%d", input + 1);
        row[2] = ptq_format(arena, "%d", block);
        row[3] = name;
        row[4] = ptq_format(arena, "%lld", (long long)(rank < r->channels ? rank : r->channels));
        row[5] = ptq_figure_value(arena, r->ranked[i]);
    }
}

/* Numbers, and for each panel the curves' names. */
static void put_curves(struct ptq_arena *arena, const struct inputs *in, struct ptq_figure *f)
{
    const char *name[MOST_INPUTS * MOST_CURVES];
    double low = INFINITY, high = -INFINITY;
    int64_t widest = 1;
    ptq_figure_columns(arena, &f->data, "input,panel,block,curve,rank,mean_abs_x",
                       in->n * MOST_CURVES * PTQ_INPUT_RANKS);
    for (int i = 0; i < in->n; i++) {
        int block[MOST_CURVES], n = choose_blocks(in, i, block);
        for (int c = 0; c < MOST_CURVES; c++) {
            name[i * MOST_CURVES + c] = c < n ? ptq_format(arena, "block %d", block[c]) : "";
            if (c >= n) continue;
            const struct ptq_input_report *r = in->at[block[c] * MOST_INPUTS + i];
            put_curve(arena, in, i, c, block[c], &f->data);
            if (r->channels > widest) widest = r->channels;
        }
    }
    /* The smallest channels may be dead; the axis ends with the upper half of each curve, or a little lower. */
    for (int r = 0; r < f->data.n_rows; r++) {
        double value = strtod(f->data.row[r][5], NULL);
        if (r + 2 < f->data.n_rows && f->data.row[r + 2][3] == f->data.row[r][3]) low = fmin(low, value / 2);
        high = fmax(high, value);
    }
    ptq_figure_texts(arena, f, "panels", in->name, in->n);
    ptq_figure_texts(arena, f, "curves", name, in->n * MOST_CURVES);
    ptq_figure_number(arena, f, "x_high", (double)widest);
    ptq_figure_axis(arena, f, "y", fmin(low, high), 12 * high); /* room for the key */
}

static const struct ptq_sheet *brief(struct ptq_arena *arena, const struct inputs *in)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, sheet, "input,channels,steepest in block,largest mean |x|,median,ratio,largest channels",
                       in->n);
    sheet->column[0].left = 1;
    sheet->n_rows = in->n;
    for (int i = 0; i < in->n; i++) {
        int block = steepest(in, i);
        const struct ptq_input_report *r = in->at[block * MOST_INPUTS + i];
        const char **row = sheet->row[i];
        row[0] = in->name[i];
        row[1] = ptq_format(arena, "%lld", (long long)r->channels);
        row[2] = ptq_format(arena, "%d", block);
        row[3] = ptq_format(arena, "%.3g", r->ranked[0]);
        row[4] = ptq_format(arena, "%.3g", r->median);
        row[5] = ptq_format(arena, "%.3g", ratio(r));
        row[6] = ptq_format(arena, "%lld, %lld, %lld", (long long)r->top1, (long long)r->top2, (long long)r->top3);
    }
    return sheet;
}

static void find_channels(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct inputs in;
    if (!gather(arena, rows, &in)) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "channels", "channels");
    f->heading = ptq_format(arena, "%s: activation magnitude by channel", rows->model);
    f->note =
        ptq_format(arena, "mean |x| of each channel over %s, sorted; both axes logarithmic", calibration(arena, &in));
    f->caption = "Mean magnitude of the channels of each kind of input, the largest at the left, in the first, middle "
                 "and last block and in the one where the largest stands out most. A curve that starts high and drops "
                 "at once is a few outlier channels: those that AWQ scales up and that salient keeps. Channels count "
                 "from 0.";
    f->alt = ptq_format(arena,
                        "%d panels of line charts: mean magnitude of channels against their rank, up to %d "
                        "blocks each; the largest and the median are in the table below.",
                        in.n, MOST_CURVES);
    f->height = 72 + 210 * ((in.n + 1) / 2);
    put_curves(arena, &in, f);
    f->brief = brief(arena, &in);
}

const struct ptq_figure_kind ptq_figure_channels = {
    .name = "channels", .title = "Activation magnitude by channel", .find = find_channels};

/* ---- over the depth ---- */

static void put_depth(struct ptq_arena *arena, const struct inputs *in, struct ptq_figure *f)
{
    double low = INFINITY, high = -INFINITY;
    ptq_figure_columns(arena, &f->data, "input,line,block,largest,median,ratio,channel", in->n * in->blocks);
    for (int i = 0; i < in->n; i++)
        for (int b = 0; b < in->blocks; b++) {
            const struct ptq_input_report *r = in->at[b * MOST_INPUTS + i];
            if (!r) continue;
            const char **row = f->data.row[f->data.n_rows++];
            row[0] = in->name[i];
            row[1] = ptq_format(arena, "%d", i + 1);
            row[2] = ptq_format(arena, "%d", b);
            row[3] = ptq_figure_value(arena, r->ranked[0]);
            row[4] = ptq_figure_value(arena, r->median);
            row[5] = ptq_figure_value(arena, ratio(r));
            row[6] = ptq_format(arena, "%lld", (long long)r->top1);
            low = fmin(low, ratio(r));
            high = fmax(high, ratio(r));
        }
    ptq_figure_texts(arena, f, "lines", in->name, in->n);
    ptq_figure_number(arena, f, "n_blocks", in->blocks);
    ptq_figure_axis(arena, f, "y", low, high);
}

/* A block, and the channel that leads in it. */
struct lead {
    int64_t channel;
    int block;
};

static int by_channel(const void *a, const void *b)
{
    const struct lead *x = a, *y = b;
    return x->channel != y->channel ? (x->channel > y->channel) - (x->channel < y->channel) : x->block - y->block;
}

/* The channel that leads in most blocks, of several the one that does so first; how many these are. lead is sorted. */
static int find_leader(struct lead *lead, int n, int64_t *leader)
{
    int most = 0, first = 0;
    qsort(lead, (size_t)n, sizeof *lead, by_channel);
    for (int i = 0, end; i < n; i = end) {
        for (end = i; end < n && lead[end].channel == lead[i].channel;) end++;
        if (end - i < most || (end - i == most && lead[i].block > lead[first].block)) continue;
        most = end - i;
        first = i;
    }
    *leader = n ? lead[first].channel : 0;
    return most;
}

/* Of each input: in how many blocks one channel leads, and which. */
static const struct ptq_sheet *brief_depth(struct ptq_arena *arena, const struct inputs *in)
{
    struct ptq_sheet *sheet = ptq_new(arena, struct ptq_sheet, 1);
    ptq_figure_columns(arena, sheet, "input,smallest ratio,largest ratio,channel that leads most often,in blocks",
                       in->n);
    sheet->column[0].left = 1;
    sheet->n_rows = in->n;
    struct lead *lead = ptq_new(arena, struct lead, in->blocks);
    for (int i = 0; i < in->n; i++) {
        double low = INFINITY, high = 0;
        int there = 0;
        int64_t leader;
        for (int b = 0; b < in->blocks; b++) {
            const struct ptq_input_report *r = in->at[b * MOST_INPUTS + i];
            if (!r) continue;
            lead[there++] = (struct lead){r->top1, b};
            low = fmin(low, ratio(r));
            high = fmax(high, ratio(r));
        }
        int most = find_leader(lead, there, &leader);
        sheet->row[i][0] = in->name[i];
        sheet->row[i][1] = ptq_format(arena, "%.3g", low);
        sheet->row[i][2] = ptq_format(arena, "%.3g", high);
        sheet->row[i][3] = ptq_format(arena, "%lld", (long long)leader);
        sheet->row[i][4] = ptq_format(arena, "%d of %d", most, there);
    }
    return sheet;
}

static void find_depth(struct ptq_arena *arena, const struct ptq_model_rows *rows, struct ptq_figures *out)
{
    struct inputs in;
    if (!gather(arena, rows, &in) || in.blocks < 2) return;
    struct ptq_figure *f = ptq_figure_add(arena, out, rows, "depth", "depth");
    f->heading = ptq_format(arena, "%s: how far the largest channel stands out", rows->model);
    f->note = ptq_format(arena, "largest / median of the channels' mean |x| over %s", calibration(arena, &in));
    f->caption = "The largest channel's mean magnitude over the median channel's, block by block, for each kind of "
                 "input. Where the ratio is high, one scale for the whole row serves the other channels badly.";
    f->alt = ptq_format(arena,
                        "Line chart: ratio of the largest to the median channel against the block, %d inputs; "
                        "smallest and largest ratios are in the table below.",
                        in.n);
    put_depth(arena, &in, f);
    f->brief = brief_depth(arena, &in);
}

const struct ptq_figure_kind ptq_figure_depth = {
    .name = "depth", .title = "Outlier channels over the depth", .find = find_depth};
