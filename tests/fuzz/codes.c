/* Codes in words: packed linears, and the containers of other programs. */
#include "dtype.h"
#include "fuzz.h"
#include "grid.h"
#include "ops.h"
#include "packed_codes.h"
#include "quantized_parts.h"

#include <math.h>
#include <string.h>

/* ---- words ---- */

static void stream(struct ptq_fuzz_bytes *in, int bits)
{
    enum { MOST = 256, STEP = 3 };
    uint32_t word[MOST / 32 * 8 * STEP] = {0}, again[MOST / 32 * 8 * STEP] = {0};
    uint8_t code[MOST], back[MOST];
    int64_t n = 32 * (1 + (int64_t)ptq_fuzz_below(in, MOST / 32)), step = 1 + (int64_t)ptq_fuzz_below(in, STEP);
    int64_t words = ptq_stream_words(n, bits);
    /* words that anybody may have written */
    for (int64_t i = 0; i < words; i++) ptq_fuzz_fill(in, &word[i * step], 4);
    ptq_stream_unpack(word, step, n, bits, code);
    for (int64_t i = 0; i < n; i++) ptq_fuzz_require(code[i] < 1 << bits, "a code has no more bits than it may");
    ptq_stream_pack(code, n, bits, again, step);
    ptq_fuzz_require(memcmp(word, again, sizeof word) == 0, "the same words come back");
    ptq_stream_unpack(again, step, n, bits, back);
    ptq_fuzz_require(memcmp(code, back, (size_t)n) == 0, "the same codes come back");
}

static void awq(struct ptq_fuzz_bytes *in)
{
    uint32_t word[32], again[32];
    uint8_t code[256];
    int64_t words = 1 + (int64_t)ptq_fuzz_below(in, 32);
    ptq_fuzz_fill(in, word, 4 * (size_t)words);
    ptq_awq_unpack(word, 8 * words, code);
    for (int64_t i = 0; i < 8 * words; i++)
        ptq_fuzz_require(ptq_awq_code(word, i) == code[i], "one code alone is the same");
    ptq_awq_pack(code, 8 * words, again);
    ptq_fuzz_require(memcmp(word, again, 4 * (size_t)words) == 0, "the same words come back");
}

void ptq_fuzz_codes(const uint8_t *data, size_t size)
{
    static const int bits[] = {2, 3, 4, 8};
    struct ptq_fuzz_bytes in = {data, size};
    while (in.size) {
        uint32_t which = ptq_fuzz_below(&in, 5);
        if (which == 4)
            awq(&in);
        else
            stream(&in, bits[which]);
    }
}

/* ---- a packed linear ---- */

/* Of n elements of 4 bytes; where there are none, either may be NULL. */
static int same(const void *a, const void *b, int64_t n)
{
    return n == 0 || memcmp(a, b, 4 * (size_t)n) == 0;
}

static void check_same(const struct ptq_qmat *a, const struct ptq_qmat *b)
{
    ptq_fuzz_require(a->n == b->n && a->k == b->k && a->n_groups == b->n_groups, "the same sizes");
    ptq_fuzz_require(memcmp(a->code, b->code, (size_t)(a->n * a->k)) == 0, "the same codes");
    ptq_fuzz_require(same(a->scale, b->scale, a->n * a->n_groups), "the same scales");
    ptq_fuzz_require(same(a->zero, b->zero, a->n * a->n_groups), "the same zeros");
    ptq_fuzz_require(!a->perm == !b->perm && (!a->perm || same(a->perm, b->perm, a->k)), "the same order");
    ptq_fuzz_require(a->n_keep == b->n_keep && same(a->keep, b->keep, a->n_keep) &&
                         same(a->kept, b->kept, a->n * a->n_keep),
                     "the same salient columns");
    ptq_fuzz_require(a->n_divided == b->n_divided && same(a->divided, b->divided, a->n_divided) &&
                         same(a->divisor, b->divisor, a->n_divided),
                     "the same divided columns");
}

/* An image that is taken can be used: unpacked, and multiplied with. */
static void use(struct ptq_arena *arena, const struct ptq_packed *p)
{
    struct ptq_qmat q;
    struct ptq_acts acts;
    float *x = ptq_new(arena, float, p->k), *y = ptq_new(arena, float, p->n);
    if (p->n > 4096 || p->k > 4096) return;
    ptq_unpack(arena, p, &q);
    for (int64_t i = 0; i < p->k; i++) x[i] = (float)(i % 7) - 3;
    for (int bits = 8; bits <= 16; bits += 8) {
        ptq_acts_make(&acts, p, 1, bits, ptq_alloc(arena, ptq_acts_bytes(p, 1, bits), "activations"));
        ptq_ops()->acts(&acts, p, x, p->k);
        ptq_ops()->packed(y, p->n, &acts, p, NULL, 0, 0, p->tiles);
    }
}

static void stranger(struct ptq_arena *arena, struct ptq_fuzz_bytes *in)
{
    struct ptq_packed p;
    struct ptq_error err;
    size_t bytes = in->size;
    void *image = ptq_alloc(arena, bytes, "an image"); /* aligned as it must be */
    ptq_fuzz_fill(in, image, bytes);
    if (!ptq_packed_view(image, bytes, &p, &err)) use(arena, &p);
}

/* Every so many columns, from the first-th on; *n of them in arena. */
static int32_t *columns(struct ptq_arena *arena, struct ptq_fuzz_bytes *in, int64_t k, int first, int64_t *n)
{
    int64_t step = 2 + 2 * (int64_t)ptq_fuzz_below(in, 20);
    int wanted = ptq_fuzz_byte(in) & 1;
    int32_t *column = ptq_new(arena, int32_t, k);
    for (int64_t i = first; wanted && i < k; i += step) column[(*n)++] = (int32_t)i;
    return column;
}

static int32_t *order(struct ptq_arena *arena, struct ptq_fuzz_bytes *in, int64_t k)
{
    int32_t *perm = ptq_new(arena, int32_t, k);
    if (!(ptq_fuzz_byte(in) & 1)) return NULL;
    for (int64_t i = 0; i < k; i++) perm[i] = (int32_t)i;
    for (int64_t i = k - 1; i > 0; i--) {
        int64_t j = ptq_fuzz_below(in, (uint32_t)i + 1);
        int32_t held = perm[i];
        perm[i] = perm[j], perm[j] = held;
    }
    return perm;
}

/* A linear of any sizes; 0 where it has no packed form. */
static int make(struct ptq_arena *arena, struct ptq_fuzz_bytes *in, struct ptq_qmat *out, struct ptq_packed *p)
{
    struct ptq_grid grid = {.w_bit = 2 + (int)ptq_fuzz_below(in, 7)};
    int64_t n = 1 + ptq_fuzz_below(in, 40), k = 1 + ptq_fuzz_below(in, 200);
    struct ptq_qmat q;
    struct ptq_error err;
    grid.group_size = (int64_t)ptq_fuzz_below(in, 130) - 1;
    if (!grid.group_size) grid.group_size = 1;
    ptq_qmat_make(arena, &grid, n, k, &q);
    q.perm = order(arena, in, k);
    q.keep = columns(arena, in, k, 0, &q.n_keep);
    q.divided = columns(arena, in, k, 1, &q.n_divided);
    q.kept = ptq_new(arena, float, n *q.n_keep + 1);
    q.divisor = ptq_new(arena, float, q.n_divided + 1);
    for (int64_t i = 0; i < q.n_divided; i++) q.divisor[i] = 1 + (float)ptq_fuzz_byte(in) / 16;
    for (int64_t i = 0; i < n * q.n_groups; i++) {
        q.zero[i] = (float)(ptq_fuzz_byte(in) & ((1u << grid.w_bit) - 1));
        ptq_fuzz_fill(in, &q.scale[i], 4);
    }
    for (int64_t i = 0; i < n * q.n_keep; i++) q.kept[i] = (float)(int8_t)ptq_fuzz_byte(in) / 8;
    ptq_fuzz_fill(in, q.code, (size_t)(n * k));
    for (int64_t i = 0; i < n * k; i++) q.code[i] &= (uint8_t)((1u << grid.w_bit) - 1);
    *out = q;
    return ptq_pack(arena, &q, p, &err) == PTQ_OK;
}

static void there_and_back(struct ptq_arena *arena, struct ptq_fuzz_bytes *in)
{
    struct ptq_qmat q, back;
    struct ptq_packed p;
    struct ptq_error err;
    if (!make(arena, in, &q, &p)) return;
    ptq_unpack(arena, &p, &back);
    check_same(&q, &back);
    use(arena, &p);
    ptq_fuzz_require(!ptq_packed_view(p.image, p.bytes, &p, &err), "an image of our own is taken");
}

/* A good image with some bytes changed: at any place, or in its head, where sizes and offsets are. */
static void damaged(struct ptq_arena *arena, struct ptq_fuzz_bytes *in)
{
    struct ptq_fuzz_bytes changes = {in->data, in->size < 48 ? in->size : 48};
    struct ptq_qmat q;
    struct ptq_packed p;
    struct ptq_error err;
    in->data += changes.size;
    in->size -= changes.size;
    if (!make(arena, in, &q, &p)) return;
    unsigned char *image = ptq_alloc(arena, p.bytes, "an image");
    memcpy(image, p.image, p.bytes);
    while (changes.size) {
        uint32_t in_head = ptq_fuzz_byte(&changes) & 1,
                 at = ptq_fuzz_below(&changes, in_head ? 128 : (uint32_t)p.bytes);
        image[at] ^= (unsigned char)ptq_fuzz_byte(&changes);
    }
    if (!ptq_packed_view(image, p.bytes, &p, &err)) use(arena, &p);
}

void ptq_fuzz_packed(const uint8_t *data, size_t size)
{
    struct ptq_fuzz_bytes in = {data, size};
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    void (*const kind[])(struct ptq_arena *, struct ptq_fuzz_bytes *) = {stranger, there_and_back, damaged};
    kind[ptq_fuzz_below(&in, 3)](arena, &in);
    ptq_arena_free(arena);
}

/* ---- a quantised checkpoint's tensors ---- */

static struct ptq_tensor *tensor(struct ptq_arena *arena, struct ptq_fuzz_bytes *in, const char *name,
                                 enum ptq_dtype dtype, int64_t rows, int64_t columns)
{
    static const struct ptq_mapped file = {.path = "F"};
    struct ptq_tensor *t = ptq_new(arena, struct ptq_tensor, 1);
    *t = (struct ptq_tensor){.name = name, .dtype = dtype, .rank = 2, .shape = {rows, columns}, .file = &file};
    t->count = rows * columns;
    t->bytes = (size_t)(t->count * ptq_dtypes[dtype].block_bytes);
    void *bytes = ptq_alloc(arena, t->bytes, "a tensor");
    ptq_fuzz_fill(in, bytes, t->bytes);
    t->data = bytes;
    return t;
}

void ptq_fuzz_quantized(const uint8_t *data, size_t size)
{
    static const struct ptq_container *const containers[] = {&ptq_container_awq, &ptq_container_gptq,
                                                             &ptq_container_gptq_v2};
    struct ptq_fuzz_bytes in = {data, size};
    struct ptq_arena *arena = ptq_arena_make("fuzz");
    struct ptq_quantization how = {.source = "F", .container = containers[ptq_fuzz_below(&in, 3)]};
    static const int bits[] = {2, 3, 4, 8};
    how.bits = how.container == &ptq_container_awq ? 4 : bits[ptq_fuzz_below(&in, 4)];
    how.group_size = (int64_t)ptq_fuzz_below(&in, 70) - 1;
    if (!how.group_size) how.group_size = 1;
    uint32_t flags = ptq_fuzz_byte(&in);
    how.sym = flags & 1;
    struct ptq_quantized_linear l = {.n = 8 * (1 + (int64_t)ptq_fuzz_below(&in, 12)), .k = 1 + ptq_fuzz_below(&in, 96)};
    int64_t rows, columns, packed, groups = ptq_n_groups(l.k, how.group_size);
    struct ptq_qmat q;
    struct ptq_error err;
    if (how.container->shape(l.n, l.k, how.bits, &rows, &columns, &packed)) {
        if (flags & 2) l.g_idx = tensor(arena, &in, "L.g_idx", PTQ_I32, l.k, 1);
        if (!(flags & 4) || !how.sym) l.zeros = tensor(arena, &in, "L.qzeros", PTQ_I32, groups, packed);
        l.scales = tensor(arena, &in, "L.scales", flags & 8 ? PTQ_F32 : PTQ_F16, groups, l.n);
        l.codes = tensor(arena, &in, "L.qweight", PTQ_I32, rows, columns);
        float *w = ptq_new(arena, float, l.n *l.k);
        int exact = (flags & 16) != 0;
        if (!ptq_quantized_codes(&how, &l, arena, &q, &err) && !ptq_quantized_weights(&q, "F", "L", exact, w, &err))
            for (int64_t i = 0; i < l.n * l.k; i++)
                ptq_fuzz_require(isfinite(w[i]) && (exact || ptq_f16_round(w[i]) == w[i]),
                                 "a weight is an FP16 number");
    }
    ptq_arena_free(arena);
}
