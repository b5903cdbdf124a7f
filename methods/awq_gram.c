#include "awq_gram.h"

#include "ops.h"
#include "pool.h"

#include <string.h>

enum { COLUMNS_A_TASK = 64 };

struct gram_task {
    const float *x;
    int64_t rows, k;
    float *gram;
};

static void sum_columns(void *context, int64_t i, int worker)
{
    const struct gram_task *t = context;
    int64_t first = i * COLUMNS_A_TASK, left = t->k - first;
    (void)worker;
    ptq_ops()->gram(t->gram, t->k, t->x, t->k, t->rows, first, left < COLUMNS_A_TASK ? left : COLUMNS_A_TASK);
}

void ptq_awq_mirror(float *h, int64_t k)
{
    for (int64_t i = 1; i < k; i++)
        for (int64_t j = 0; j < i; j++) h[i * k + j] = h[j * k + i];
}

void ptq_awq_gram(const float *x, int64_t rows, int64_t k, float *gram)
{
    struct gram_task t = {x, rows, k, gram};
    memset(gram, 0, sizeof *gram * (size_t)(k * k));
    ptq_parallel_for((k + COLUMNS_A_TASK - 1) / COLUMNS_A_TASK, sum_columns, &t);
    ptq_awq_mirror(gram, k);
}
