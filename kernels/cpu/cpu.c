/* The CPU backend: OpenBLAS for every matrix product, AVX2 for the rest where the processor has it.
 *
 * OpenBLAS runs on the calling thread alone (ptq's own threads share out the tiles), so a product's sums have one order
 * whatever the number of threads. */
#include "cpu.h"
#include "dtype_fast.h"
#include "packed_parts.h"

#include <assert.h>
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUERY_ROWS = 128, VOCAB_COLUMNS = 512 };

static void linear(float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, const float *b, int accumulate,
                   int64_t m, int64_t n, int64_t k)
{
    for (int64_t i = 0; b && i < m; i++) {
        float *row = y + i * ldy;
        for (int64_t j = 0; j < n; j++) row[j] = accumulate ? row[j] + b[j] : b[j];
    }
    if (m == 1) {
        cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)n, (int)k, 1, w, (int)k, x, 1, accumulate || b ? 1.0f : 0.0f, y,
                    1);
        return;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)k, 1, x, (int)ldx, w, (int)k,
                accumulate || b ? 1.0f : 0.0f, y, (int)ldy);
}

/* One query's scores [keys], of which it sees [from, end), to their softmax; the others become 0. */
static void weigh(float *score, int64_t keys, int64_t from, int64_t end, float slope)
{
    for (int64_t t = from; slope != 0 && t < end; t++) score[t] += slope * (float)(t - end + 1);
    ptq_cpu.softmax(score + from, end - from);
    memset(score, 0, sizeof *score * (size_t)from);
    memset(score + end, 0, sizeof *score * (size_t)(keys - end));
}

/* Query rows [first, first + m) of head h, m <= QUERY_ROWS: scores of the keys that any of them sees, softmax by rows
 * over what each sees, then the mix of the values. k and v begin at the window's first key. */
static void attend(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ld, int64_t h,
                   const struct ptq_attention *shape, int64_t first, int64_t m, float *score)
{
    int64_t d = shape->head_size, window = shape->window ? shape->window : first + m;
    int64_t begin = first < window ? 0 : first - window + 1, keys = first + m - begin;
    float slope = shape->slope ? shape->slope[h] : 0;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)keys, (int)d, shape->scale, q, (int)ld,
                k + begin * ld, (int)ld, 0, score, (int)keys);
    for (int64_t i = 0; i < m; i++) {
        int64_t end = first + i + 1 - begin;
        weigh(score + i * keys, keys, end < window ? 0 : end - window, end, slope);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)d, (int)keys, 1, score, (int)keys,
                v + begin * ld, (int)ld, 0, y, (int)ldy);
}

static void attention(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ldqkv,
                      const struct ptq_attention *shape, int64_t first, int64_t m, float *scratch)
{
    int64_t d = shape->head_size, per_kv = shape->heads / shape->kv_heads;
    if (m > 1 && ptq_cpu.attention) {
        ptq_cpu.attention(y, ldy, q, k, v, ldqkv, shape, first, m, scratch);
        return;
    }
    for (int64_t i = 0; i < m; i += QUERY_ROWS)
        for (int64_t h = 0; h < shape->heads; h++)
            attend(y + i * ldy + h * d, ldy, q + i * ldqkv + h * d, k + h / per_kv * d, v + h / per_kv * d, ldqkv, h,
                   shape, first + i, m - i < QUERY_ROWS ? m - i : QUERY_ROWS, scratch);
}

/* A row's logits of the ids [first, first + n): its maximum brought up to date. Returns what its earlier sums have been
 * multiplied by. */
static float raise_max(struct ptq_lse *state, const float *logit, int64_t first, int64_t n, int32_t target)
{
    if (target >= first && target < first + n) state->target = logit[target - first];
    float max = ptq_cpu.max(logit, n);
    if (!(max > state->max)) return 1;
    float factor = (float)exp((double)state->max - max);
    int64_t at = 0;
    while (at < n - 1 && logit[at] != max) at++;
    state->sum *= exp((double)state->max - max);
    state->max = max;
    state->top = (int32_t)(first + at);
    return factor;
}

static void lse(struct ptq_lse *state, const float *x, const float *w, const int32_t *target, int64_t first, int64_t m,
                int64_t n, int64_t k, float *scratch)
{
    for (int64_t j = 0; j < n; j += VOCAB_COLUMNS) {
        int64_t columns = n - j < VOCAB_COLUMNS ? n - j : VOCAB_COLUMNS;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)columns, (int)k, 1, x, (int)k, w + j * k,
                    (int)k, 0, scratch, (int)columns);
        for (int64_t i = 0; i < m; i++) {
            const float *logit = scratch + i * columns;
            raise_max(&state[i], logit, first + j, columns, target[i]);
            state[i].sum += ptq_cpu.sum_exp(logit, columns, state[i].max);
        }
    }
}

static void lse_mean(struct ptq_lse *state, float *mean, const float *x, const float *w, const int32_t *target,
                     int64_t first, int64_t m, int64_t n, int64_t k, float *scratch)
{
    for (int64_t j = 0; j < n; j += VOCAB_COLUMNS) {
        int64_t columns = n - j < VOCAB_COLUMNS ? n - j : VOCAB_COLUMNS;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)columns, (int)k, 1, x, (int)k, w + j * k,
                    (int)k, 0, scratch, (int)columns);
        for (int64_t i = 0; i < m; i++) {
            float *logit = scratch + i * columns, *row = mean + i * k;
            float factor = raise_max(&state[i], logit, first + j, columns, target[i]);
            for (int64_t l = 0; factor != 1 && l < k; l++) row[l] *= factor;
            state[i].sum += ptq_cpu.exp_in_place(logit, columns, state[i].max);
        }
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)k, (int)columns, 1, scratch, (int)columns,
                    w + j * k, (int)k, 1, mean, (int)k);
    }
}

/* The rows above the diagonal block are a plain product, the block itself a symmetric one: half the work. */
static void gram(float *h, int64_t ldh, float fade, const float *x, int64_t ldx, int64_t m, int64_t first, int64_t n)
{
    if (first > 0)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)first, (int)n, (int)m, 1, x, (int)ldx, x + first,
                    (int)ldx, fade, h + first, (int)ldh);
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)n, (int)m, 1, x + first, (int)ldx, fade,
                h + first * ldh + first, (int)ldh);
}

static void subtract(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m,
                     int64_t n, int64_t k)
{
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)k, -1, a, (int)lda, b, (int)ldb, 1, y,
                (int)ldy);
}

static void triangle(float *x, int64_t ldx, const float *u, int64_t ldu, int64_t m, int64_t n)
{
    cblas_strmm(CblasRowMajor, CblasLeft, CblasUpper, CblasTrans, CblasNonUnit, (int)m, (int)n, 1, u, (int)ldu, x,
                (int)ldx);
}

/* ---- what the loops above need, in plain C; cpu_avx2.c replaces them ---- */

static float plain_max(const float *x, int64_t n)
{
    float max = x[0];
    for (int64_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

static float plain_sum_exp(const float *x, int64_t n, float max)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += expf(x[i] - max);
    return sum;
}

static float plain_exp_in_place(float *x, int64_t n, float max)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - max);
    return sum;
}

static void plain_softmax(float *x, int64_t n)
{
    float inverse = 1 / plain_exp_in_place(x, n, plain_max(x, n));
    for (int64_t i = 0; i < n; i++) x[i] *= inverse;
}

struct ptq_cpu_parts ptq_cpu = {plain_max, plain_sum_exp, plain_exp_in_place, plain_softmax, NULL};

/* Scores of QUERY_ROWS rows, or what a group of attention_wide.h holds. */
size_t ptq_attention_scratch(int64_t tokens, int64_t head_size)
{
    int64_t scores = tokens * QUERY_ROWS, group = (PTQ_KEYS + 2 * PTQ_MOST_HEADS * head_size) * PTQ_MOST_QUERIES;
    return (size_t)(scores > group ? scores : group);
}

size_t ptq_lse_scratch(int64_t m)
{
    return (size_t)m * VOCAB_COLUMNS;
}

const char *ptq_blas_name(void)
{
    static char name[128];
    char version[64] = "";
    sscanf(openblas_get_config(), "OpenBLAS %63s", version);
    snprintf(name, sizeof name, "OpenBLAS %s %s", version, openblas_get_corename());
    return name;
}

int ptq_cpu_has(const struct ptq_packed_parts *p)
{
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && ptq_fast_has();
    if (p == &ptq_packed_avx2) return avx2;
    return avx2 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static void choose_packed(struct ptq_ops *ops, int avx2)
{
    const char *wish = getenv("PTQ_PACKED");
    if (ptq_cpu_has(&ptq_packed_avx2)) ptq_ops_f16(ops);
    if (wish && strcmp(wish, "ref") == 0) return;
    avx2 |= wish && strcmp(wish, "avx2") == 0;
    if (!avx2 && ptq_cpu_has(&ptq_packed_avx512))
        ptq_ops_packed(ops, &ptq_packed_avx512);
    else if (ptq_cpu_has(&ptq_packed_avx2))
        ptq_ops_packed(ops, &ptq_packed_avx2);
}

void ptq_ops_cpu(struct ptq_ops *ops)
{
    openblas_set_num_threads(1);
    ptq_ops_ref(ops);
    ops->name = "cpu";
    ops->linear = linear;
    ops->attention = attention;
    ops->lse = lse;
    ops->lse_mean = lse_mean;
    ops->gram = gram;
    ops->subtract = subtract;
    ops->triangle = triangle;
    const char *wish = getenv("PTQ_KERNELS");
    if (wish && strcmp(wish, "plain") == 0) return;
    int avx2 = wish && strcmp(wish, "avx2") == 0;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) ptq_ops_avx2(ops, &ptq_cpu);
    if (!avx2 && ptq_cpu_has(&ptq_packed_avx512)) ptq_ops_avx512(ops, &ptq_cpu);
    choose_packed(ops, avx2);
}
