#include "rows.h"

#include "pool.h"

enum { ROWS_A_TASK = 64 };

int64_t ptq_file_row(const struct ptq_row_layout *l, int64_t row)
{
    int64_t d = l->head_size, at = row % d, half = d / 2, width = l->n / 3;
    switch (l->order) {
    case PTQ_ROWS_PLAIN:
        break;
    case PTQ_ROWS_PAIRS:
        return row - at + 2 * (at % half) + at / half;
    case PTQ_ROWS_BY_HEAD:
        return (row % width / d * 3 + row / width) * d + at;
    }
    return row;
}

static int64_t file_rows(const struct ptq_row_layout *l)
{
    return l->transposed ? l->k : l->n;
}

int64_t ptq_n_row_tasks(const struct ptq_row_layout *l)
{
    return (file_rows(l) + ROWS_A_TASK - 1) / ROWS_A_TASK;
}

int64_t ptq_row_tasks(const struct ptq_tensor *tensor, const struct ptq_row_layout *l, float *w,
                      struct ptq_row_task *task)
{
    int64_t n = ptq_n_row_tasks(l), rows = file_rows(l);
    for (int64_t i = 0; i < n; i++) {
        int64_t first = i * ROWS_A_TASK, left = rows - first;
        task[i] = (struct ptq_row_task){
            .tensor = tensor, .layout = *l, .w = w, .first = first, .count = left < ROWS_A_TASK ? left : ROWS_A_TASK};
    }
    return n;
}

struct reading {
    struct ptq_row_task *task;
    float **scratch; /* [threads] of ROWS_A_TASK rows of the longest transposed tensor */
};

/* Row after row, each from its place in the file; all at once where the order is ours. */
static void read_outputs(struct ptq_row_task *t)
{
    int64_t k = t->layout.k;
    float *w = t->w + t->first * k;
    if (t->layout.order == PTQ_ROWS_PLAIN) {
        ptq_tensor_read(t->tensor, t->first * k, t->count * k, w, &t->err);
        return;
    }
    for (int64_t r = 0; r < t->count; r++)
        if (ptq_tensor_read(t->tensor, ptq_file_row(&t->layout, t->first + r) * k, k, w + r * k, &t->err)) return;
}

static void read_inputs(struct ptq_row_task *t, float *scratch)
{
    int64_t n = t->layout.n, k = t->layout.k;
    if (ptq_tensor_read(t->tensor, t->first * n, t->count * n, scratch, &t->err)) return;
    for (int64_t row = 0; row < n; row++) {
        const float *from = scratch + ptq_file_row(&t->layout, row);
        float *to = t->w + row * k + t->first;
        for (int64_t i = 0; i < t->count; i++) to[i] = from[i * n];
    }
}

static void read_task(void *context, int64_t i, int worker)
{
    struct reading *r = context;
    struct ptq_row_task *t = &r->task[i];
    t->err.status = PTQ_OK;
    if (t->layout.transposed)
        read_inputs(t, r->scratch[worker]);
    else
        read_outputs(t);
}

enum ptq_status ptq_read_rows(struct ptq_row_task *task, int64_t n, struct ptq_arena *scratch, struct ptq_error *err)
{
    struct ptq_mark mark = ptq_arena_mark(scratch);
    struct reading reading = {.task = task, .scratch = ptq_new(scratch, float *, ptq_pool_size())};
    int64_t widest = 0;
    for (int64_t i = 0; i < n; i++)
        if (task[i].layout.transposed && task[i].layout.n > widest) widest = task[i].layout.n;
    for (int i = 0; widest && i < ptq_pool_size(); i++)
        reading.scratch[i] = ptq_new(scratch, float, ROWS_A_TASK *widest);
    ptq_parallel_for(n, read_task, &reading);
    ptq_arena_rewind(scratch, mark);
    for (int64_t i = 0; i < n; i++)
        if (task[i].err.status) {
            *err = task[i].err;
            return err->status;
        }
    return PTQ_OK;
}
