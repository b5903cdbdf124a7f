/* Attention of many query rows, part of wide.h: a lane is a query, so that no sum crosses lanes, and a query's result
 * does not depend on the ones beside it. Keys are taken in blocks of KEYS, at multiples of it; a running maximum and
 * sum (arXiv:1805.02867) go along, and what was mixed before is scaled when the maximum rises.
 *
 *   q, y [D][LANES nv]    the group's queries and outputs, turned
 *   p    [KEYS][LANES nv] scores, then their exponentials
 *
 * nv, the vectors of a group, is a constant wherever it is given, and so is count. */
enum { KEYS = PTQ_KEYS, GROUP = LANES * QUERY_VECTORS };

struct queries {
    const struct ptq_attention *shape;
    int64_t first; /* position of lane 0 */
    float slope;   /* of this head */
    float *q, *y, *p;
    vec top[QUERY_VECTORS], sum[QUERY_VECTORS];
};

/* out[column][row] = in[row][column]. SSE is in every x86-64. */
static void turn(float *out, int64_t ldo, const float *in, int64_t ldi, int64_t rows, int64_t columns)
{
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        int64_t c = 0;
        for (; c + 4 <= columns; c += 4) {
            const float *at = in + r * ldi + c;
            float *to = out + c * ldo + r;
            __m128 a = _mm_loadu_ps(at), b = _mm_loadu_ps(at + ldi), e = _mm_loadu_ps(at + 2 * ldi),
                   f = _mm_loadu_ps(at + 3 * ldi);
            _MM_TRANSPOSE4_PS(a, b, e, f);
            _mm_storeu_ps(to, a), _mm_storeu_ps(to + ldo, b);
            _mm_storeu_ps(to + 2 * ldo, e), _mm_storeu_ps(to + 3 * ldo, f);
        }
        for (; c < columns; c++)
            for (int i = 0; i < 4; i++) out[c * ldo + r + i] = in[(r + i) * ldi + c];
    }
    for (; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) out[c * ldo + r] = in[r * ldi + c];
}

/* p[count][..] = scale (k[count][D] q) */
INLINE void score_keys(int nv, int count, float *p, const float *k, int64_t ld, const float *q, int64_t d, float scale)
{
    vec sum[STEP][QUERY_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
        for (int j = 0; j < nv; j++) sum[i][j] = v_set(0);
    for (int64_t c = 0; c < d; c++, q += LANES * nv) {
        vec x[QUERY_VECTORS];
        for (int j = 0; j < nv; j++) x[j] = v_load(q + LANES * j);
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) {
            vec w = v_set(k[i * ld + c]);
            for (int j = 0; j < nv; j++) sum[i][j] = v_fma(w, x[j], sum[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
        for (int j = 0; j < nv; j++) v_store(p + (i * nv + j) * LANES, v_mul(sum[i][j], v_set(scale)));
}

/* y[count][..] += sum over the keys of v[key][count] p[key][..] */
INLINE void mix_values(int nv, int count, float *y, const float *v, int64_t ld, const float *p, int64_t keys)
{
    vec sum[STEP][QUERY_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
        for (int j = 0; j < nv; j++) sum[i][j] = v_load(y + (i * nv + j) * LANES);
    for (int64_t t = 0; t < keys; t++, v += ld, p += LANES * nv) {
        vec x[QUERY_VECTORS];
        for (int j = 0; j < nv; j++) x[j] = v_load(p + LANES * j);
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) {
            vec w = v_set(v[i]);
            for (int j = 0; j < nv; j++) sum[i][j] = v_fma(w, x[j], sum[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
        for (int j = 0; j < nv; j++) v_store(y + (i * nv + j) * LANES, sum[i][j]);
}

/* Slopes, and -inf for the keys [key, key + keys) that a lane's query does not see. */
INLINE void hide_keys(int nv, const struct queries *s, int64_t key, int64_t keys)
{
    static const float lane[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const vec none = v_set(-INFINITY), slope = v_set(s->slope);
    float most = s->shape->window ? (float)(s->shape->window - 1) : INFINITY;
    for (int64_t t = 0; t < keys; t++)
        for (int j = 0; j < nv; j++) {
            float *p = s->p + (t * nv + j) * LANES;
            vec back = v_add(v_load(lane), v_set((float)(s->first + LANES * j - key - t)));
            vec score = v_sub(v_load(p), v_mul(slope, back));
            score = v_pick(back, score, none);
            v_store(p, v_pick(v_sub(v_set(most), back), score, none));
        }
}

/* Scores to exponentials, sums and outputs to the new maximum. */
INLINE void weigh_keys(int nv, struct queries *s, int64_t keys)
{
    for (int j = 0; j < nv; j++) {
        float *p = s->p + LANES * j, *y = s->y + LANES * j;
        vec top = s->top[j];
        for (int64_t t = 0; t < keys; t++) top = v_max(top, v_load(p + t * LANES * nv));
        vec factor = v_exp(v_sub(s->top[j], top)), sum = v_mul(s->sum[j], factor);
        for (int64_t t = 0; t < keys; t++) {
            vec e = v_exp(v_sub(v_load(p + t * LANES * nv), top));
            v_store(p + t * LANES * nv, e);
            sum = v_add(sum, e);
        }
        for (int64_t c = 0; c < s->shape->head_size; c++)
            v_store(y + c * LANES * nv, v_mul(v_load(y + c * LANES * nv), factor));
        s->top[j] = top;
        s->sum[j] = sum;
    }
}

/* Rows of K and V lie far apart, where no processor looks ahead by itself. */
static inline void fetch_rows(const float *x, int64_t ld, int64_t rows, int64_t d)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < d; c += LANES) __builtin_prefetch(x + i * ld + c);
}

/* A block of keys to scores; V's rows are fetched meanwhile. */
INLINE void score_block(int nv, const struct queries *s, const float *k, const float *v, int64_t ld, int64_t keys)
{
    int64_t d = s->shape->head_size, i = 0;
    float *p = s->p;
    for (; i + STEP <= keys; i += STEP, p += STEP * LANES * nv) {
        fetch_rows(v + i * ld, ld, STEP, d);
        score_keys(nv, STEP, p, k + i * ld, ld, s->q, d, s->shape->scale);
    }
    for (; i < keys; i++, p += LANES * nv) score_keys(nv, 1, p, k + i * ld, ld, s->q, d, s->shape->scale);
}

/* Their values into the outputs; K's rows of the next block, of `next` keys, are fetched meanwhile. */
INLINE void mix_block(int nv, const struct queries *s, const float *v, const float *k, int64_t ld, int64_t keys,
                      int64_t next)
{
    int64_t d = s->shape->head_size, i = 0, fetched = 0, some = next * STEP / d + 1;
    float *y = s->y;
    for (; i + STEP <= d; i += STEP, y += STEP * LANES * nv, fetched += some) {
        fetch_rows(k + fetched * ld, ld, fetched + some < next ? some : next - fetched, d);
        mix_values(nv, STEP, y, v + i, ld, s->p, keys);
    }
    for (; i + 4 <= d; i += 4, y += 4 * LANES * nv) mix_values(nv, 4, y, v + i, ld, s->p, keys);
    for (; i < d; i++, y += LANES * nv) mix_values(nv, 1, y, v + i, ld, s->p, keys);
}

/* The block that begins at key; last: of the group's queries, and with it of the keys. */
INLINE void take_block(int nv, struct queries *s, const float *k, const float *v, int64_t ld, int64_t key, int64_t last)
{
    int64_t left = last + 1 - key, keys = left < KEYS ? left : KEYS, next = left - keys < KEYS ? left - keys : KEYS;
    int64_t window = s->shape->window;
    score_block(nv, s, k + key * ld, v + key * ld, ld, keys);
    if (key + keys - 1 > s->first || (window && key <= last - window) || s->slope != 0) hide_keys(nv, s, key, keys);
    weigh_keys(nv, s, keys);
    mix_block(nv, s, v + key * ld, k + (key + keys) * ld, ld, keys, next);
}

/* Queries [first, first + n), n <= LANES nv, of some heads that read the same keys. */
INLINE void attend_group(int nv, struct queries *s, int heads, float *y, int64_t ldy, const float *q, const float *k,
                         const float *v, int64_t ld, int64_t first, int64_t n)
{
    int64_t d = s->shape->head_size, window = s->shape->window, width = LANES * nv, last = first + n - 1;
    for (int h = 0; h < heads; h++) {
        s[h].first = first;
        memset(s[h].q, 0, sizeof *q * (size_t)(d * width));
        memset(s[h].y, 0, sizeof *y * (size_t)(d * width));
        turn(s[h].q, width, q + h * d, ld, n, d);
        for (int j = 0; j < nv; j++) s[h].top[j] = v_set(-3.0e38f), s[h].sum[j] = v_set(0);
    }
    for (int64_t key = window && first >= window ? (first - window + 1) / KEYS * KEYS : 0; key <= last; key += KEYS)
        for (int h = 0; h < heads; h++) take_block(nv, &s[h], k, v, ld, key, last);
    for (int h = 0; h < heads; h++) {
        for (int j = 0; j < nv; j++) {
            vec inverse = v_div(v_set(1), s[h].sum[j]);
            float *end = s[h].y + d * width;
            for (float *at = s[h].y + LANES * j; at < end; at += width) v_store(at, v_mul(v_load(at), inverse));
        }
        turn(y + h * d, ldy, s[h].y, width, d, n);
    }
}

/* As ops->attention. */
WIDE static void attention_wide(float *y, int64_t ldy, const float *q, const float *k, const float *v, int64_t ld,
                                const struct ptq_attention *shape, int64_t first, int64_t m, float *scratch)
{
    int64_t d = shape->head_size, per_kv = shape->heads / shape->kv_heads;
    struct queries s[PTQ_MOST_HEADS];
    for (int i = 0; i < PTQ_MOST_HEADS; i++) {
        float *room = scratch + PTQ_KEYS * GROUP + 2 * i * d * GROUP;
        s[i] = (struct queries){.shape = shape, .p = scratch, .q = room, .y = room + d * GROUP};
    }
    for (int64_t h = 0, heads; h < shape->heads; h += heads) {
        heads = per_kv - h % per_kv < PTQ_MOST_HEADS ? per_kv - h % per_kv : PTQ_MOST_HEADS;
        const float *key = k + h / per_kv * d, *value = v + h / per_kv * d;
        for (int i = 0; i < heads && shape->slope; i++) s[i].slope = shape->slope[h + i];
        for (int64_t i = 0, n; i < m; i += n) {
            n = m - i < GROUP ? m - i : GROUP;
            const float *query = q + i * ld + h * d;
            float *out = y + i * ldy + h * d;
            if (n > 2 * LANES)
                attend_group(QUERY_VECTORS, s, (int)heads, out, ldy, query, key, value, ld, first + i, n);
            else if (n > LANES)
                attend_group(QUERY_VECTORS < 2 ? 1 : 2, s, (int)heads, out, ldy, query, key, value, ld, first + i, n);
            else
                attend_group(1, s, (int)heads, out, ldy, query, key, value, ld, first + i, n);
        }
    }
}
