/* A linear's rows as a container lays them out, and how they come to be ours: [N][K], head after head, q before k
 * before v. */
#ifndef PTQ_ROWS_H
#define PTQ_ROWS_H

#include "checkpoint.h"
#include "family.h"

struct ptq_layout {
    enum ptq_row_order order;
    int64_t n, k, head_size;
    int transposed; /* the tensor is [K][N] */
};

/* Which of the file's outputs our row is. */
int64_t ptq_file_row(const struct ptq_layout *layout, int64_t row);

/* Some of a linear, from the file to its float32 place: rows [first, first + count) of the tensor's transposed are
 * inputs, else outputs. */
struct ptq_row_task {
    const struct ptq_tensor *tensor;
    struct ptq_layout layout;
    float *w; /* the linear's [N][K] */
    int64_t first, count;
    struct ptq_error err;
};

/* Tasks that a linear is cut into. */
int64_t ptq_n_row_tasks(const struct ptq_layout *layout);
/* Sets them out at task[0], ...; returns how many. */
int64_t ptq_row_tasks(const struct ptq_tensor *tensor, const struct ptq_layout *layout, float *w,
                      struct ptq_row_task *task);
/* All n of them, on all threads; scratch is rewound. NaN or infinite weights: PTQ_ENUMERIC. */
enum ptq_status ptq_read_rows(struct ptq_row_task *task, int64_t n, struct ptq_arena *scratch, struct ptq_error *err);

#endif
