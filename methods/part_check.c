#include "part_check.h"

#include "dtype.h"

#include <math.h>
#include <string.h>

static enum ptq_status refuse(const char *at, const char *name, int64_t place, double value, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EINPUT, "%s/%s: value %lld is %g, which no method writes", at, name, (long long)place,
                    value);
}

/* ---- what a float may be ---- */

typedef int is_good(float value, const struct ptq_qmat *q);

static int is_finite(float value, const struct ptq_qmat *q)
{
    (void)q;
    return isfinite(value);
}

/* Of what is multiplied with, or divided by. */
static int is_positive(float value, const struct ptq_qmat *q)
{
    (void)q;
    return isfinite(value) && value > 0;
}

/* Code units. Beyond the codes by as much as a scale can be rounded down where FP16 is denormal. */
static int is_zero(float value, const struct ptq_qmat *q)
{
    return value >= 0 && value <= (float)(2 << q->grid.w_bit) && value == rintf(value);
}

static int is_f16(float value, const struct ptq_qmat *q)
{
    (void)q;
    return isfinite(value) && ptq_f16_round(value) == value;
}

static enum ptq_status check_floats(const char *at, const char *name, const float *value, int64_t n, is_good *good,
                                    const struct ptq_qmat *q, struct ptq_error *err)
{
    for (int64_t i = 0; value && i < n; i++)
        if (!good(value[i], q)) return refuse(at, name, i, (double)value[i], err);
    return PTQ_OK;
}

/* ---- columns and codes ---- */

/* Each of k columns once. */
static enum ptq_status check_perm(const char *at, const int32_t *perm, int64_t k, struct ptq_arena *scratch,
                                  struct ptq_error *err)
{
    unsigned char *seen = ptq_new(scratch, unsigned char, k);
    for (int64_t i = 0; i < k; i++) {
        if (perm[i] < 0 || perm[i] >= k || seen[perm[i]]) return refuse(at, "perm", i, perm[i], err);
        seen[perm[i]] = 1;
    }
    return PTQ_OK;
}

static enum ptq_status check_keep(const char *at, const struct ptq_qmat *q, struct ptq_error *err)
{
    for (int64_t i = 0; i < q->n_keep; i++)
        if (q->keep[i] <= (i ? q->keep[i - 1] : -1) || q->keep[i] >= q->k)
            return refuse(at, "keep", i, q->keep[i], err);
    return PTQ_OK;
}

static enum ptq_status check_codes(const char *at, const struct ptq_qmat *q, struct ptq_error *err)
{
    for (int64_t i = 0; i < q->n * q->k; i++)
        if (q->code[i] >> q->grid.w_bit) return refuse(at, "code", i, q->code[i], err);
    return PTQ_OK;
}

/* ---- a block ---- */

enum ptq_status ptq_part_check_linear(const char *at, const struct ptq_qmat *q, const float *bias,
                                      struct ptq_arena *scratch, struct ptq_error *err)
{
    PTQ_TRY(check_codes(at, q, err));
    PTQ_TRY(check_floats(at, "scale", q->scale, q->n * q->n_groups, is_positive, q, err));
    PTQ_TRY(check_floats(at, "zero", q->zero, q->n * q->n_groups, is_zero, q, err));
    PTQ_TRY(check_floats(at, "bias", bias, q->n, is_finite, q, err));
    if (q->perm) PTQ_TRY(check_perm(at, q->perm, q->k, scratch, err));
    PTQ_TRY(check_keep(at, q, err));
    return check_floats(at, "kept", q->kept, q->n * q->n_keep, is_f16, q, err);
}

enum ptq_status ptq_part_check_rest(const struct ptq_kept *kept, int64_t width, int64_t ff, struct ptq_error *err)
{
    static const char *const name[] = {"norm0", "norm1", "norm2", "norm3"};
    for (int i = 0; i < 4; i++) PTQ_TRY(check_floats("", name[i], kept->norm[i], width, is_finite, NULL, err));
    return check_floats("", "activation_scale", kept->activation_scale, ff, is_positive, NULL, err);
}

enum ptq_status ptq_part_check_reports(const struct ptq_model *model, int64_t index,
                                       const struct ptq_linear_report *report, int n, struct ptq_error *err)
{
    int linears = 0;
    char name[PTQ_NAME_SIZE];
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        if (!ptq_linear_name(model, index, (enum ptq_role)role, name)) continue;
        if (linears >= n || strcmp(report[linears].name, name))
            return ptq_fail(err, PTQ_EINPUT, "/reports: number %d is not of %s", linears, name);
        linears++;
    }
    return linears == n ? PTQ_OK : ptq_fail(err, PTQ_EINPUT, "/reports: are of more linears than a block has");
}
