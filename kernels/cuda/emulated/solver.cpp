/* What cuBLAS and cuSOLVER do for quantisation, by loops. */
#include "../solver.cuh"

#include <algorithm>
#include <vector>

namespace ptq_cuda
{
static std::vector<float> widened(const uint16_t *from, int64_t ld, int64_t rows, int64_t columns)
{
    std::vector<float> to((size_t)(rows * columns));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[(size_t)(i * columns + j)] = ptq_half_to_float(from[i * ld + j]);
    return to;
}

/* y = alpha x w, w as widened: element [l][j] at l by_l + j by_j. */
static void multiply(struct floats y, const uint16_t *x, int64_t ldx, const std::vector<float> &w, int64_t by_l,
                     int64_t by_j, float alpha, int accumulate, int64_t m, int64_t n, int64_t k)
{
    std::vector<float> left = widened(x, ldx, m, k);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0, *to = y.at + i * y.ld + j;
            for (int64_t l = 0; l < k; l++) sum += left[(size_t)(i * k + l)] * w[(size_t)(l * by_l + j * by_j)];
            *to = alpha * sum + (accumulate ? *to : 0);
        }
}

void half_product(struct floats y, struct halves x, struct halves w, const float *alpha, int accumulate, int64_t m,
                  int64_t n, int64_t k, int64_t batch)
{
    for (int64_t b = 0; b < batch; b++)
        multiply(floats{y.at + b * y.stride, y.ld, 0}, x.at + b * x.stride, x.ld,
                 widened(w.at + b * w.stride, w.ld, n, k), 1, k, *alpha, accumulate, m, n, k);
}

void half_plain(struct floats y, struct halves x, struct halves w, const float *alpha, int accumulate, int64_t m,
                int64_t n, int64_t k, int64_t batch)
{
    for (int64_t b = 0; b < batch; b++)
        multiply(floats{y.at + b * y.stride, y.ld, 0}, x.at + b * x.stride, x.ld,
                 widened(w.at + b * w.stride, w.ld, k, n), n, 1, *alpha, accumulate, m, n, k);
}

void half_columns(float *y, int64_t ldy, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb,
                  const float *alpha, int64_t m, int64_t n, int64_t k)
{
    std::vector<float> left = widened(a, lda, k, m), right = widened(b, ldb, k, n), sum((size_t)n);
    for (int64_t i = 0; i < m; i++) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) sum[(size_t)j] += left[(size_t)(l * m + i)] * right[(size_t)(l * n + j)];
        for (int64_t j = 0; j < n; j++) y[i * ldy + j] += *alpha * sum[(size_t)j];
    }
}

int64_t cholesky(double *a, int64_t k)
{
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = a[i * k + j];
            for (int64_t l = 0; l < j; l++) sum -= a[i * k + l] * a[j * k + l];
            if (j < i)
                a[i * k + j] = sum / a[j * k + j];
            else if (sum > 0)
                a[i * k + i] = sqrt(sum);
            else
                return 1 + i; /* a NaN, too */
        }
    return 0;
}

void copy(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

void clear(void *at, size_t bytes)
{
    memset(at, 0, bytes);
}
} // namespace ptq_cuda
