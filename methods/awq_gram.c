#include "awq_gram.h"

#include "ops.h"

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void ptq_awq_mirror(float *h, int64_t k)
{
    for (int64_t i = 1; i < k; i++)
        for (int64_t j = 0; j < i; j++) h[i * k + j] = h[j * k + i];
}

struct ptq_awq_gram ptq_awq_gram_make(struct ptq_arena *arena, const float *h, int64_t k)
{
    struct ptq_awq_gram out = {.k = k, .n_panels = (k + PTQ_AWQ_PANEL - 1) / PTQ_AWQ_PANEL};
    out.panel = ptq_new(arena, float *, out.n_panels);
    for (int64_t p = 0; p < out.n_panels; p++) {
        int64_t first = p * PTQ_AWQ_PANEL, end = min64(first + PTQ_AWQ_PANEL, k);
        float *to = out.panel[p] = ptq_new(arena, float, (end - first) * end);
        for (int64_t i = first; i < end; i++, to += end)
            for (int64_t j = 0; j < end; j++)
                to[j] = j < first ? 2 * h[j * k + i] : j <= i ? h[j * k + i] : h[i * k + j];
    }
    return out;
}

double ptq_awq_dot(const float *a, const float *b, int64_t n)
{
    double lane[8] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) lane[j] += (double)a[i + j] * b[i + j];
    for (; i < n; i++) sum += (double)a[i] * b[i];
    for (int j = 0; j < 8; j++) sum += lane[j];
    return sum;
}

double ptq_awq_gram_loss(const struct ptq_awq_gram *gram, const float *d, int64_t rows, float *scratch)
{
    double sum = 0;
    for (int64_t p = 0; p < gram->n_panels; p++) {
        int64_t first = p * PTQ_AWQ_PANEL, end = min64(first + PTQ_AWQ_PANEL, gram->k), n = end - first;
        ptq_ops()->linear(scratch, n, d, gram->k, gram->panel[p], NULL, 0, rows, n, end);
        for (int64_t row = 0; row < rows; row++) sum += ptq_awq_dot(d + row * gram->k + first, scratch + row * n, n);
    }
    return sum;
}
