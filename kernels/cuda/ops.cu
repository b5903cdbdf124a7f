/* The device's table, and what of ops.h is one product. */
#include "parts.cuh"

#include "../device.h"
#include "decode.cuh"
#include "memory.cuh"
#include "packed.cuh"
#include "solver.cuh"

namespace ptq_cuda
{
void gram(float *h, int64_t ldh, float fade, const float *x, int64_t ldx, int64_t m, int64_t first, int64_t n)
{
    columns_product(h + first, ldh, fade, 1, x, ldx, x + first, ldx, first + n, n, m);
}

static void subtract(float *y, int64_t ldy, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t m,
                     int64_t n, int64_t k)
{
    columns_product(y, ldy, 1, -1, a, lda, b, ldb, m, n, k);
}

const struct ptq_device *device(char *why, size_t size)
{
    static struct ptq_device table;
    if (table.name) return &table;
    const char *name = open_device(why, size);
    if (!name) return nullptr;
    table.take = take;
    table.give = give;
    table.upload = upload;
    table.download = download;
    table.room = room;
    table.error = error;
    table.ops.name = name;
    table.ops.linear = linear;
    table.ops.rmsnorm = rmsnorm;
    table.ops.layernorm = layernorm;
    table.ops.rope = rope;
    table.ops.attention = attention;
    table.ops.relu = relu;
    table.ops.gelu_tanh = gelu_tanh;
    table.ops.gelu_erf = gelu_erf;
    table.ops.divide = divide;
    table.ops.silu_mul = silu_mul;
    table.ops.lse = lse;
    table.ops.lse_mean = lse_mean;
    table.ops.dequantize = dequantize;
    table.ops.abssum = abssum;
    table.ops.gram = gram;
    table.ops.subtract = subtract;
    table.packed = packed_linear;
    table.packed_acts = packed_acts;
    table.packed_multiply = packed_multiply;
    table.packed_scratch = packed_scratch;
    fill_split_slots(&table.solver);
    fill_gptq_slots(&table.solver);
    fill_awq_slots(&table.solver);
    table.decoding.linear_half = linear_half;
    table.decoding.half_scratch = half_scratch;
    table.decoding.remember = remember;
    table.decoding.recall = recall;
    table.decoding.recall_scratch = recall_scratch;
    table.decoding.attend_row = attend_row;
    table.decoding.norm_row = norm_row;
    table.decoding.silu_row = silu_row;
    table.decoding.row_serves = row_serves;
    table.decoding.row_multiplies = one_serves;
    table.decoding.acts_row = acts_row;
    table.decoding.multiply_row = multiply_row;
    table.decoding.likeliest = likeliest;
    table.decoding.likeliest_scratch = likeliest_scratch();
    table.decoding.embed_row = embed_row;
    table.decoding.fetch = fetch;
    table.decoding.fetched = fetched;
    table.decoding.record = record;
    table.decoding.replay = replay;
    table.decoding.forget = forget;
    table.name = name;
    return &table;
}
} // namespace ptq_cuda
