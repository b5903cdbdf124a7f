/* A quantised linear's words as codes, scales and zeros, and those as weights. */
#include "dtype.h"
#include "ops.h"
#include "packed_codes.h"
#include "pool.h"
#include "quantized_parts.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum { ROWS_A_TASK = 64 };

/* ---- the containers ---- */

static int awq_shape(int64_t n, int64_t k, int bits, int64_t *rows, int64_t *columns, int64_t *packed)
{
    (void)bits;
    *rows = k;
    *columns = *packed = n / 8;
    return n % 8 == 0;
}

static int gptq_shape(int64_t n, int64_t k, int bits, int64_t *rows, int64_t *columns, int64_t *packed)
{
    *rows = k * bits / 32;
    *columns = n;
    *packed = n * bits / 32;
    return k * bits % 32 == 0 && n * bits % 32 == 0;
}

static void awq_row(const struct ptq_quantized_linear *l, int bits, int64_t n, uint8_t *code)
{
    const unsigned char *words = l->codes->data;
    (void)bits;
    for (int64_t k = 0; k < l->k; k++) code[k] = ptq_awq_code(words + k * l->n / 2, n);
}

static void awq_zeros(const struct ptq_quantized_linear *l, int bits, int64_t group, uint8_t *zero)
{
    (void)bits;
    ptq_awq_unpack((const unsigned char *)l->zeros->data + group * l->n / 2, l->n, zero);
}

static void gptq_row(const struct ptq_quantized_linear *l, int bits, int64_t n, uint8_t *code)
{
    ptq_stream_unpack((const unsigned char *)l->codes->data + 4 * n, l->n, l->k, bits, code);
}

static void gptq_zeros(const struct ptq_quantized_linear *l, int bits, int64_t group, uint8_t *zero)
{
    int64_t words = ptq_stream_words(l->n, bits);
    ptq_stream_unpack((const unsigned char *)l->zeros->data + 4 * group * words, 1, l->n, bits, zero);
}

const struct ptq_container ptq_container_awq = {
    .name = "awq", .bits = {4}, .shape = awq_shape, .row = awq_row, .zeros = awq_zeros};
const struct ptq_container ptq_container_gptq = {
    .name = "gptq", .bits = {2, 3, 4, 8}, .zero_is_less = 1, .shape = gptq_shape, .row = gptq_row, .zeros = gptq_zeros};
const struct ptq_container ptq_container_gptq_v2 = {
    .name = "gptq_v2", .bits = {2, 3, 4, 8}, .shape = gptq_shape, .row = gptq_row, .zeros = gptq_zeros};

const struct ptq_container ptq_container_ptq = {.name = "ptq", .bits = {2, 3, 4, 5, 6, 7, 8}};

int ptq_quantization_packed(const struct ptq_quantization *quantization)
{
    return quantization->container == &ptq_container_ptq;
}

int ptq_quantization_divides(const struct ptq_quantization *quantization)
{
    return quantization->container == &ptq_container_awq;
}

int ptq_container_bits(const struct ptq_container *container, int64_t bits)
{
    for (int i = 0; container->bits[i]; i++)
        if (container->bits[i] == bits) return 1;
    return 0;
}

/* ---- images ---- */

/* A config and images of two runs would be believed by halves. */
static enum ptq_status check_image(const struct ptq_quantization *quantization, const struct ptq_quantized_linear *l,
                                   const struct ptq_packed *p, struct ptq_error *err)
{
    if (p->n != l->n || p->k != l->k)
        return ptq_fail(err, PTQ_EINPUT, "the packed linear is [%lld, %lld]; the config asks for [%lld, %lld]",
                        (long long)p->n, (long long)p->k, (long long)l->n, (long long)l->k);
    if (p->grid.w_bit == quantization->bits && p->grid.group_size == quantization->group_size) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "the packed linear has %d bits, g%lld; %s says %s", p->grid.w_bit,
                    (long long)p->grid.group_size, quantization->source, quantization->text);
}

enum ptq_status ptq_quantized_image(const struct ptq_quantization *quantization,
                                    const struct ptq_quantized_linear *linear, struct ptq_arena *arena,
                                    struct ptq_packed *out, struct ptq_error *err)
{
    const struct ptq_tensor *t = linear->image;
    const void *image = t->data;
    if ((uintptr_t)image % PTQ_PACK_ALIGN) {
        void *copy = ptq_alloc(arena, t->bytes, "a packed linear");
        image = memcpy(copy, t->data, t->bytes);
    }
    enum ptq_status status = ptq_packed_view(image, t->bytes, out, err);
    if (!status) status = check_image(quantization, linear, out, err);
    return status ? ptq_within(err, "%s: tensor '%.200s'", t->file->path, t->name) : PTQ_OK;
}

/* ---- codes ---- */

/* Groups of G columns each (the last may be shorter): their columns, group after group, as perm. */
static enum ptq_status read_g_idx(const struct ptq_quantized_linear *l, struct ptq_arena *arena, struct ptq_qmat *q,
                                  struct ptq_error *err)
{
    int64_t k = l->k, g = q->grid.group_size < 0 ? k : q->grid.group_size, in_order = 1;
    const struct ptq_tensor *t = l->g_idx;
    if (!t) return PTQ_OK;
    int64_t *filled = ptq_new(arena, int64_t, q->n_groups);
    int32_t *perm = ptq_new(arena, int32_t, k), group;
    for (int64_t i = 0; i < k; i++) {
        memcpy(&group, (const unsigned char *)t->data + 4 * i, 4);
        int64_t room = group == q->n_groups - 1 ? k - (q->n_groups - 1) * g : g;
        if (group < 0 || group >= q->n_groups)
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: tensor '%s' puts column %lld into group %d; by group_size the groups of its %lld "
                            "columns are 0 to %lld",
                            t->file->path, t->name, (long long)i, group, (long long)k, (long long)q->n_groups - 1);
        if (filled[group] == room)
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: tensor '%s' puts column %lld into group %d, which has %lld columns already, as many "
                            "as group_size says, so that another group lacks one",
                            t->file->path, t->name, (long long)i, group, (long long)room);
        perm[group * g + filled[group]++] = (int32_t)i;
        in_order &= group == i / g;
    }
    if (!in_order) q->perm = perm;
    return PTQ_OK;
}

/* Where a file has them in FP32, programs round them all the same. */
static enum ptq_status read_scales(const struct ptq_quantized_linear *l, struct ptq_arena *arena, struct ptq_qmat *q,
                                   struct ptq_error *err)
{
    float *row = ptq_new(arena, float, l->n);
    for (int64_t g = 0; g < q->n_groups; g++) {
        PTQ_TRY(ptq_tensor_read(l->scales, g * l->n, l->n, row, err));
        for (int64_t n = 0; n < l->n; n++) q->scale[n * q->n_groups + g] = ptq_f16_round(row[n]);
    }
    return PTQ_OK;
}

static uint8_t middle(const struct ptq_quantization *quantization)
{
    return (uint8_t)((1 << quantization->bits) / 2 - quantization->container->zero_is_less);
}

int ptq_quantized_zeros_middle(const struct ptq_quantization *quantization, const struct ptq_quantized_linear *l,
                               struct ptq_arena *arena)
{
    struct ptq_mark mark = ptq_arena_mark(arena);
    uint8_t *row = ptq_new(arena, uint8_t, l->n), wanted = middle(quantization);
    int all = 1;
    for (int64_t g = 0; all && g < l->zeros->shape[0]; g++) {
        quantization->container->zeros(l, quantization->bits, g, row);
        for (int64_t n = 0; n < l->n; n++) all &= row[n] == wanted;
    }
    ptq_arena_rewind(arena, mark);
    return all;
}

/* The first version's writers computed zero - 1 without a sign: a zero of 0 became all ones, and spoilt its
 * neighbours.*/
static enum ptq_status read_zeros(const struct ptq_quantization *quantization, const struct ptq_quantized_linear *l,
                                  struct ptq_arena *arena, struct ptq_qmat *q, struct ptq_error *err)
{
    int less = quantization->container->zero_is_less, top = (1 << quantization->bits) - 1;
    uint8_t *row = ptq_new(arena, uint8_t, l->n);
    memset(row, middle(quantization), (size_t)l->n);
    for (int64_t g = 0; g < q->n_groups; g++) {
        if (l->zeros) quantization->container->zeros(l, quantization->bits, g, row);
        for (int64_t n = 0; n < l->n; n++) {
            if (less && row[n] == top)
                return ptq_fail(err, PTQ_EINPUT,
                                "%s: tensor '%s': output %lld, group %lld: a zero of 0 has underflowed to %d, which "
                                "programs read differently; quantise again as gptq_v2, which holds it",
                                l->zeros->file->path, l->zeros->name, (long long)n, (long long)g, top);
            q->zero[n * q->n_groups + g] = (float)(row[n] + less);
        }
    }
    return PTQ_OK;
}

struct rows_task {
    const struct ptq_quantization *quantization;
    const struct ptq_quantized_linear *linear;
    struct ptq_qmat *q;
};

static void read_rows(void *context, int64_t i, int worker)
{
    struct rows_task *t = context;
    (void)worker;
    for (int64_t n = i * ROWS_A_TASK; n < (i + 1) * ROWS_A_TASK && n < t->q->n; n++)
        t->quantization->container->row(t->linear, t->quantization->bits, n, t->q->code + n * t->q->k);
}

enum ptq_status ptq_quantized_codes(const struct ptq_quantization *quantization,
                                    const struct ptq_quantized_linear *linear, struct ptq_arena *arena,
                                    struct ptq_qmat *q, struct ptq_error *err)
{
    int64_t n = linear->n, k = linear->k;
    if (linear->image) {
        struct ptq_packed image;
        PTQ_TRY(ptq_quantized_image(quantization, linear, arena, &image, err));
        ptq_unpack(arena, &image, q);
        return PTQ_OK;
    }
    *q = (struct ptq_qmat){.n = n, .k = k, .n_groups = ptq_n_groups(k, quantization->group_size)};
    q->grid = (struct ptq_grid){
        .w_bit = quantization->bits, .group_size = quantization->group_size, .sym = quantization->sym, .scale_f16 = 1};
    q->code = ptq_new(arena, uint8_t, n * k);
    q->scale = ptq_new(arena, float, n * q->n_groups);
    q->zero = ptq_new(arena, float, n * q->n_groups);
    PTQ_TRY(read_g_idx(linear, arena, q, err));
    PTQ_TRY(read_scales(linear, arena, q, err));
    PTQ_TRY(read_zeros(quantization, linear, arena, q, err));
    struct rows_task task = {quantization, linear, q};
    ptq_parallel_for((n + ROWS_A_TASK - 1) / ROWS_A_TASK, read_rows, &task);
    return PTQ_OK;
}

/* ---- weights ---- */

struct weights_task {
    const struct ptq_qmat *q;
    float *w;
    int exact;
    atomic_int not_finite;
};

static void make_rows(void *context, int64_t i, int worker)
{
    struct weights_task *t = context;
    int64_t first = i * ROWS_A_TASK, left = t->q->n - first, rows = left < ROWS_A_TASK ? left : ROWS_A_TASK;
    float *w = t->w + first * t->q->k;
    int bad = 0;
    (void)worker;
    ptq_ops()->dequantize(w, t->q, first, rows);
    for (int64_t j = 0; j < rows * t->q->k; j++) {
        if (!t->exact) w[j] = ptq_f16_round(w[j]);
        bad |= !isfinite(w[j]);
    }
    if (bad) atomic_store(&t->not_finite, 1);
}

enum ptq_status ptq_quantized_weights(const struct ptq_qmat *q, const char *file, const char *name, int exact, float *w,
                                      struct ptq_error *err)
{
    struct weights_task task = {.q = q, .w = w, .exact = exact};
    ptq_parallel_for((q->n + ROWS_A_TASK - 1) / ROWS_A_TASK, make_rows, &task);
    if (!atomic_load(&task.not_finite)) return PTQ_OK;
    return ptq_fail(err, PTQ_ENUMERIC, "%s: %s: a weight is too large for FP%d; its scales are damaged", file, name,
                    exact ? 32 : 16);
}
