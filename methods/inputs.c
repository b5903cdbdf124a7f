/* The statistics themselves stay in the cache (25 MB for SmolLM2). What shows where the outliers are is kept with the
 * results: of each input the means at ranks 1, 2, 4, ..., and which channels lead. */
#include "inputs.h"

#include <stdlib.h>
#include <string.h>

struct channel {
    float mean;
    int64_t index;
};

/* Falling; of equal channels the first one comes first. */
static int by_mean(const void *a, const void *b)
{
    const struct channel *x = a, *y = b;
    if (x->mean != y->mean) return x->mean < y->mean ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

static void report_input(const struct ptq_stats *s, struct channel *sorted, struct ptq_input_report *out)
{
    int64_t k = s->k, *top[] = {&out->top1, &out->top2, &out->top3};
    for (int64_t c = 0; c < k; c++) sorted[c] = (struct channel){s->absmean[c], c};
    qsort(sorted, (size_t)k, sizeof *sorted, by_mean);
    out->channels = k;
    out->median = (sorted[(k - 1) / 2].mean + sorted[k / 2].mean) / 2.0;
    for (int i = 0; i < 3; i++) *top[i] = i < k ? sorted[i].index : -1;
    for (int i = 0; i < PTQ_INPUT_RANKS; i++) {
        int64_t rank = (int64_t)1 << i;
        out->ranked[i] = sorted[(rank < k ? rank : k) - 1].mean;
    }
}

void ptq_inputs_report(struct ptq_arena *arena, const struct ptq_model_stats *stats, struct ptq_cell *cell)
{
    struct ptq_arena *work = ptq_arena_make("sorted channels");
    cell->n_inputs = (int)stats->blocks * PTQ_N_INPUT;
    cell->input = ptq_new(arena, struct ptq_input_report, cell->n_inputs);
    for (int i = 0; i < cell->n_inputs; i++) {
        const struct ptq_stats *s = &stats->input[i / PTQ_N_INPUT][i % PTQ_N_INPUT];
        struct ptq_mark mark = ptq_arena_mark(work);
        report_input(s, ptq_new(work, struct channel, s->k), &cell->input[i]);
        ptq_arena_rewind(work, mark);
        cell->input[i].name = ptq_format(arena, "%d.%s", i / PTQ_N_INPUT, ptq_input_name[i % PTQ_N_INPUT]);
    }
    ptq_arena_free(work);
}
