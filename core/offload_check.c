/* The checking backend: each block and the head on the device and on the CPU, from the same x, so that a difference is
 * of this block and not of all before it. */
#include "offload.h"

#include "forward_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const double ptq_check_float = 1e-4, ptq_check_packed = 2e-2, ptq_check_nll = 1e-3;

int ptq_offload_checks(void)
{
    const char *wish = getenv("PTQ_DEVICE_CHECK");
    return wish && strcmp(wish, "1") == 0;
}

static int is_packed(const struct ptq_block *block)
{
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (block->linear[role].n && block->linear[role].packed) return 1;
    return 0;
}

static float largest(const float *x, int64_t n)
{
    float max = 0;
    for (int64_t i = 0; i < n; i++) max = fmaxf(max, fabsf(x[i]));
    return max;
}

static enum ptq_status compare(const struct ptq_forward *f, const float *here, const float *there, double bound,
                               int64_t index, struct ptq_error *err)
{
    int64_t width = f->model->config.width, rows = f->windows * f->length;
    for (int64_t row = 0; row < rows; row++) {
        const float *a = here + row * width, *b = there + row * width;
        double most = bound * largest(a, width);
        for (int64_t i = 0; i < width; i++)
            if (!(fabs((double)a[i] - b[i]) <= most))
                return ptq_fail(err, PTQ_EDEVICE,
                                "layer %lld: row %lld (window %lld, token %lld), column %lld is %.9g on the CPU and "
                                "%.9g on %s, more than %g of the row's largest value apart; one of the two is wrong",
                                (long long)index, (long long)row, (long long)(row / f->length),
                                (long long)(row % f->length), (long long)i, (double)a[i], (double)b[i],
                                f->offload->device->name, bound);
    }
    return PTQ_OK;
}

enum ptq_status ptq_offload_check_block(struct ptq_forward *f, const struct ptq_block *block, int64_t index,
                                        const struct ptq_tap *tap, struct ptq_error *err)
{
    int64_t floats = f->windows * f->length * f->model->config.width;
    size_t bytes = sizeof(float) * (size_t)floats;
    struct ptq_arena *arena = ptq_arena_make("a block that is checked");
    float *before = ptq_new(arena, float, floats), *there = ptq_new(arena, float, floats);
    ptq_forward_here(f);
    memcpy(before, f->x, bytes);
    enum ptq_status status = ptq_offload_block(f, block, index, tap, err);
    if (!status) {
        ptq_forward_here(f);
        memcpy(there, f->x, bytes);
        memcpy(f->x, before, bytes);
        status = ptq_forward_block_here(f, block, index, NULL, err);
    }
    if (!status) status = compare(f, f->x, there, is_packed(block) ? ptq_check_packed : ptq_check_float, index, err);
    if (!status) memcpy(f->x, there, bytes);
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_offload_compare_nll(const struct ptq_forward *f, const struct ptq_lse *here,
                                        const struct ptq_lse *there, const int32_t *target, struct ptq_error *err)
{
    for (int64_t row = 0; row < f->windows * f->length; row++) {
        if (target[row] < 0) continue;
        double a = ptq_lse_nll(&here[row]), b = ptq_lse_nll(&there[row]);
        if (!(fabs(a - b) <= ptq_check_nll * (1 + fabs(a))))
            return ptq_fail(
                err, PTQ_EDEVICE,
                "the head: -ln p of window %lld, token %lld is %.9g on the CPU and %.9g on %s, more than %g "
                "apart; one of the two is wrong",
                (long long)(row / f->length), (long long)(row % f->length) + 1, a, b, f->offload->device->name,
                ptq_check_nll);
    }
    return PTQ_OK;
}
