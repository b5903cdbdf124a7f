/* The slow true version of every operation: one loop nest each, sums in float64, read it to know what is meant. */
#include "ops.h"
#include "ref.h"

#include <math.h>
#include <string.h>

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

static void linear(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, const float *b, int accumulate,
                   int64_t m, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = dot(x + i * ldx, w + j * k, k) + (b ? b[j] : 0);
            y[i * ldy + j] = (float)(accumulate ? y[i * ldy + j] + sum : sum);
        }
}

static void rmsnorm(float *y, const float *x, const float *g, float eps, int64_t m, int64_t k)
{
    for (int64_t i = 0; i < m; i++) {
        const float *row = x + i * k;
        double squares = dot(row, row, k);
        float scale = (float)(1 / sqrt(squares / (double)k + eps)) + (float)squares * 0; /* NaN where that overflows */
        for (int64_t j = 0; j < k; j++) y[i * k + j] = row[j] * scale * g[j];
    }
}

static void layernorm(float *y, const float *x, const float *g, const float *b, float eps, int64_t m, int64_t k)
{
    for (int64_t i = 0; i < m; i++) {
        const float *row = x + i * k;
        double mean = 0, squares = 0;
        for (int64_t j = 0; j < k; j++) mean += row[j];
        mean /= (double)k;
        for (int64_t j = 0; j < k; j++) squares += (row[j] - mean) * (row[j] - mean);
        double scale = 1 / sqrt(squares / (double)k + eps) + (float)squares * 0;
        for (int64_t j = 0; j < k; j++) y[i * k + j] = (float)((row[j] - mean) * scale) * g[j] + b[j];
    }
}

static void rope(float *x, int64_t ldx, const float *cosine, const float *sine, int64_t m, int64_t heads, int64_t d)
{
    int64_t half = d / 2;
    for (int64_t i = 0; i < m; i++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t j = 0; j < half; j++) {
                float *a = x + i * ldx + h * d + j, *b = a + half;
                float c = cosine[i * half + j], s = sine[i * half + j], kept = *a;
                *a = kept * c - *b * s;
                *b = *b * c + kept * s;
            }
}

/* One query row of one head: softmax over the keys up to `last` that it sees. */
static void attend(float *y, const float *q, const float *k, const float *v, int64_t ld, int64_t last, int64_t head,
                   const struct ptq_attention *shape, float *score)
{
    int64_t d = shape->head_size, from = shape->window && last >= shape->window ? last - shape->window + 1 : 0;
    float max = -INFINITY;
    for (int64_t t = from; t <= last; t++) {
        score[t] = (float)(dot(q, k + t * ld, d) * shape->scale);
        if (shape->slope) score[t] += shape->slope[head] * (float)(t - last);
        if (score[t] > max) max = score[t];
    }
    double sum = 0;
    for (int64_t t = from; t <= last; t++) sum += score[t] = expf(score[t] - max);
    for (int64_t j = 0; j < d; j++) {
        double mixed = 0;
        for (int64_t t = from; t <= last; t++) mixed += (double)score[t] * v[t * ld + j];
        y[j] = (float)(mixed / sum);
    }
}

static void attention(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ldqkv,
                      const struct ptq_attention *shape, int64_t first, int64_t m, float *scratch)
{
    int64_t d = shape->head_size, per_kv = shape->heads / shape->kv_heads;
    for (int64_t h = 0; h < shape->heads; h++)
        for (int64_t i = 0; i < m; i++)
            attend(y + i * ldy + h * d, q + i * ldqkv + h * d, k + h / per_kv * d, v + h / per_kv * d, ldqkv, first + i,
                   h, shape, scratch);
}

static void divide(float *x, int64_t ldx, const float *divisor, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) x[i * ldx + j] /= divisor[j];
}

static void relu(float *x, int64_t ldx, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            if (x[i * ldx + j] < 0) x[i * ldx + j] = 0;
}

static void gelu_tanh(float *x, int64_t ldx, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double v = x[i * ldx + j];
            x[i * ldx + j] = (float)(0.5 * v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))));
        }
}

static void gelu_erf(float *x, int64_t ldx, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double v = x[i * ldx + j];
            x[i * ldx + j] = (float)(0.5 * v * erfc(-v / sqrt(2)));
        }
}

static void silu_mul(float *y, int64_t ldy, const float *gate, const float *up, int64_t ld, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float x = gate[i * ld + j];
            y[i * ldy + j] = x / (1 + expf(-x)) * up[i * ld + j];
        }
}

/* One more logit of a row; what its earlier sums must be multiplied by, for the maximum that may have moved. */
static double lse_step(struct ptq_lse *state, float logit, int64_t id, int32_t target)
{
    double factor = 1;
    if (logit > state->max) {
        factor = exp((double)state->max - logit);
        state->sum *= factor;
        state->max = logit;
        state->top = (int32_t)id;
    }
    state->sum += exp((double)logit - state->max);
    if (target == id) state->target = logit;
    return factor;
}

static void lse(struct ptq_lse *state, const float *x, const float *w, const int32_t *target, int64_t first, int64_t m,
                int64_t n, int64_t k, float *scratch)
{
    (void)scratch;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) lse_step(&state[i], (float)dot(x + i * k, w + j * k, k), first + j, target[i]);
}

static void lse_mean(struct ptq_lse *state, float *mean, const float *x, const float *w, const int32_t *target,
                     int64_t first, int64_t m, int64_t n, int64_t k, float *scratch)
{
    (void)scratch;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float logit = (float)dot(x + i * k, w + j * k, k);
            double factor = lse_step(&state[i], logit, first + j, target[i]);
            double weight = exp((double)logit - state[i].max);
            for (int64_t l = 0; l < k; l++) mean[i * k + l] = (float)(mean[i * k + l] * factor + weight * w[j * k + l]);
        }
}

static void minmax(const float *w, int64_t n, float *min, float *max)
{
    *min = *max = w[0];
    for (int64_t i = 1; i < n; i++) {
        if (w[i] < *min) *min = w[i];
        if (w[i] > *max) *max = w[i];
    }
}

static void code(uint8_t *code, const float *w, int64_t n, float scale, float zero, int maxq)
{
    for (int64_t i = 0; i < n; i++) {
        float q = rintf(w[i] / scale) + zero;
        code[i] = (uint8_t)(q < 0 ? 0 : q > (float)maxq ? (float)maxq : q);
    }
}

static void dequantize(float *w, const struct ptq_qmat *q, int64_t row, int64_t rows)
{
    int64_t g = q->grid.group_size < 0 ? q->k : q->grid.group_size;
    for (int64_t n = row; n < row + rows; n++, w += q->k) {
        for (int64_t p = 0; p < q->k; p++) {
            int64_t column = q->perm ? q->perm[p] : p, group = n * q->n_groups + p / g;
            w[column] = q->scale[group] * ((float)q->code[n * q->k + column] - q->zero[group]);
        }
        for (int64_t i = 0; i < q->n_divided; i++) w[q->divided[i]] /= q->divisor[i];
        for (int64_t i = 0; i < q->n_keep; i++) w[q->keep[i]] = q->kept[n * q->n_keep + i];
    }
}

static void abssum(float *sum, const float *x, int64_t ldx, int64_t m, int64_t k)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < k; j++) sum[j] += fabsf(x[i * ldx + j]);
}

static void gram(float *h, int64_t ldh, float fade, const float *x, int64_t ldx, int64_t m, int64_t first, int64_t n)
{
    for (int64_t j = first; j < first + n; j++)
        for (int64_t i = 0; i <= j; i++) {
            double sum = 0;
            for (int64_t row = 0; row < m; row++) sum += (double)x[row * ldx + i] * x[row * ldx + j];
            h[i * ldh + j] = (float)(fade * (double)h[i * ldh + j] + sum);
        }
}

static void subtract(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m,
                     int64_t n, int64_t k)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0;
            for (int64_t p = 0; p < k; p++) sum += a[p * lda + i] * b[p * ldb + j];
            y[i * ldy + j] -= sum;
        }
}

/* The last row first: it reads all the others. */
static void triangle(float *x, int64_t ldx, const float *u, int64_t ldu, int64_t m, int64_t n)
{
    for (int64_t i = m - 1; i >= 0; i--)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0;
            for (int64_t p = 0; p <= i; p++) sum += u[p * ldu + i] * x[p * ldx + j];
            x[i * ldx + j] = sum;
        }
}

static void feedback(const struct ptq_feedback *f)
{
    for (int64_t i = 0; i < f->columns; i++) {
        const float *scale = f->scale + f->group[i] * PTQ_LANES, *zero = f->zero + f->group[i] * PTQ_LANES;
        const float inverse = 1 / f->u[i * f->ldu + i];
        for (int lane = 0; lane < PTQ_LANES; lane++) {
            int64_t at = i * PTQ_LANES + lane;
            float q = rintf(f->w[at] / scale[lane]) + zero[lane];
            q = q < 0 ? 0 : q > (float)f->maxq ? (float)f->maxq : q;
            f->code[at] = (uint8_t)q;
            f->back[at] = scale[lane] * (q - zero[lane]);
            f->error[at] = (f->w[at] - f->back[at]) * inverse;
            for (int64_t j = i + 1; j < f->columns; j++)
                f->w[j * PTQ_LANES + lane] = fmaf(-f->error[at], f->u[i * f->ldu + j], f->w[j * PTQ_LANES + lane]);
        }
    }
}

void ptq_ops_ref(struct ptq_ops *ops)
{
    *ops = (struct ptq_ops){
        .name = "ref",
        .linear = linear,
        .rmsnorm = rmsnorm,
        .layernorm = layernorm,
        .rope = rope,
        .attention = attention,
        .relu = relu,
        .gelu_tanh = gelu_tanh,
        .gelu_erf = gelu_erf,
        .silu_mul = silu_mul,
        .divide = divide,
        .lse = lse,
        .lse_mean = lse_mean,
        .minmax = minmax,
        .code = code,
        .dequantize = dequantize,
        .abssum = abssum,
        .gram = gram,
        .subtract = subtract,
        .triangle = triangle,
        .feedback = feedback,
    };
    ptq_packed_ref(ops);
}
