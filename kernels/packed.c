#include "packed.h"

#include "dtype.h"
#include "pool.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { ALIGN = PTQ_PACK_ALIGN, MOST = 1 << 24 };
static const char magic[8] = "ptqpack";

/* The first 128 bytes of an image, little-endian. */
struct head {
    char magic[8];
    uint32_t version, head_bytes;
    int64_t n, k, group_size; /* the grid's: -1 is the row */
    int64_t n_keep, n_divided;
    int32_t w_bit, sym, range, grid_f16; /* the grid's */
    int32_t scale_f16, zeros, permuted;  /* scales are FP16; zeros, perm are there */
    int32_t reserved;                    /* 0, as the other one */
    uint64_t bytes;                      /* of the whole image */
    uint64_t reserved_too;
};
_Static_assert(sizeof(struct head) <= 2 * ALIGN, "the head's size is fixed");

/* ---- where things lie ---- */

static int64_t rounded(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* Takes a section of count elements of size bytes; NULL where there are none, or no image yet. */
static const void *section(struct ptq_packed *p, int64_t count, size_t size)
{
    const unsigned char *at = p->image ? p->image + p->bytes : NULL;
    if (count == 0) return NULL;
    p->bytes += (size_t)rounded(count * (int64_t)size, ALIGN);
    return at;
}

/* Everything that follows from the head. */
static void lay_out(const struct head *h, const void *image, struct ptq_packed *p)
{
    *p = (struct ptq_packed){.n = h->n, .k = h->k, .image = image, .bytes = 2 * ALIGN};
    p->grid = (struct ptq_grid){h->w_bit, h->group_size, h->sym, (enum ptq_range)h->range, h->grid_f16};
    p->n_keep = h->n_keep;
    p->n_divided = h->n_divided;
    p->n_groups = ptq_n_groups(h->k, h->group_size);
    p->group = h->group_size < 0 || h->group_size > h->k ? h->k : h->group_size;
    p->stride = rounded(p->group, PTQ_PACK_STEP);
    p->places = (p->n_groups - 1) * p->stride + rounded(h->k - (p->n_groups - 1) * p->group, PTQ_PACK_STEP);
    p->tiles = (h->n + PTQ_PACK_ROWS - 1) / PTQ_PACK_ROWS;
    p->zero_bytes = !h->zeros ? 0 : h->w_bit <= 4 ? PTQ_PACK_ROWS / 2 : PTQ_PACK_ROWS;
    int64_t scales = p->tiles * p->n_groups * PTQ_PACK_ROWS;
    p->code = section(p, p->tiles * (p->places / PTQ_PACK_STEP) * h->w_bit * PTQ_PACK_ROWS, sizeof *p->code);
    if (h->scale_f16)
        p->scale16 = section(p, scales, sizeof *p->scale16);
    else
        p->scale = section(p, scales, sizeof *p->scale);
    p->zero = section(p, p->tiles * p->n_groups * p->zero_bytes, 1);
    p->perm = section(p, h->permuted ? h->k : 0, sizeof *p->perm);
    p->keep = section(p, h->n_keep, sizeof *p->keep);
    p->kept = section(p, p->tiles * h->n_keep * PTQ_PACK_ROWS, sizeof *p->kept);
    p->divided = section(p, h->n_divided, sizeof *p->divided);
    p->divisor = section(p, h->n_divided, sizeof *p->divisor);
}

/* The first plane of a code of w_bit bits, or the one behind a plane of b bits; 0: none. */
static int next_plane(int w_bit, int b)
{
    for (b = b ? b / 2 : 8; b && !(w_bit & b); b /= 2) continue;
    return b;
}

/* A field of a plane of b bits: its vector in the plane, and its lowest bit in the word. */
static void find_field(int b, int in_step, int *vector, int *bit)
{
    int pair = in_step / 2, fields = 16 / b, f = pair % 8;
    *vector = pair / fields;
    *bit = in_step % 2 * 16 + (b == 1 ? 4 * (f / 2) + 2 * (pair / 8) + f % 2 : pair % fields * b);
}

int ptq_packed_code(const struct ptq_packed *p, int64_t tile, int row, int64_t place)
{
    const uint32_t *word = ptq_packed_step(p, tile, place / PTQ_PACK_STEP);
    int code = 0, shift = 0;
    for (int b = next_plane(p->grid.w_bit, 0); b; b = next_plane(p->grid.w_bit, b)) {
        int vector, bit;
        find_field(b, (int)(place % PTQ_PACK_STEP), &vector, &bit);
        code |= (int)(word[vector * PTQ_PACK_ROWS + row] >> bit & ((1u << b) - 1)) << shift;
        word += b * PTQ_PACK_ROWS;
        shift += b;
    }
    return code;
}

float ptq_packed_scale(const struct ptq_packed *p, int64_t tile, int row, int64_t group)
{
    int64_t at = (tile * p->n_groups + group) * PTQ_PACK_ROWS + row;
    return p->scale ? p->scale[at] : ptq_f16_decode(p->scale16[at]);
}

int ptq_packed_zero(const struct ptq_packed *p, int64_t tile, int row, int64_t group)
{
    if (!p->zero) return 1 << (p->grid.w_bit - 1);
    const uint8_t *zero = p->zero + (tile * p->n_groups + group) * p->zero_bytes;
    if (p->zero_bytes == PTQ_PACK_ROWS) return zero[row];
    return zero[row % 8] >> (row < 8 ? 0 : 4) & 15;
}

/* What may lie in an image, moved with it. */
#define MOVED(p, member, to)                                                                                           \
    (p)->member =                                                                                                      \
        (p)->member ? (const void *)((const unsigned char *)(to) + ((const unsigned char *)(p)->member - (p)->image))  \
                    : NULL

void ptq_packed_move(struct ptq_packed *p, const void *image)
{
    p->code =
        (const void *)((const unsigned char *)image + ((const unsigned char *)p->code - p->image)); /* always there */
    MOVED(p, scale, image);
    MOVED(p, scale16, image);
    MOVED(p, zero, image);
    MOVED(p, perm, image);
    MOVED(p, keep, image);
    MOVED(p, kept, image);
    MOVED(p, divided, image);
    MOVED(p, divisor, image);
    p->image = image;
}

double ptq_packed_bits(const struct ptq_packed *p)
{
    return 8.0 * (double)p->bytes / ((double)p->n * (double)p->k);
}

/* ---- packing ---- */

static enum ptq_status refuse(struct ptq_error *err, const char *what, double value, int64_t row, int64_t at)
{
    return ptq_fail(err, PTQ_EINPUT, "row %lld, number %lld: %s %g; this has no packed form, use --path fp32",
                    (long long)row, (long long)at, what, value);
}

/* Whether q can be packed, and the form that loses nothing. */
static enum ptq_status choose_form(const struct ptq_qmat *q, struct head *h, struct ptq_error *err)
{
    int maxq = (1 << q->grid.w_bit) - 1;
    h->scale_f16 = 1;
    for (int64_t i = 0; i < q->n * q->n_groups; i++) {
        float zero = q->zero[i], scale = q->scale[i];
        if (!(zero >= 0 && zero <= (float)maxq && zero == rintf(zero)))
            return refuse(err, "the zero is", (double)zero, i / q->n_groups, i % q->n_groups);
        if (!isfinite(scale)) return refuse(err, "the scale is", (double)scale, i / q->n_groups, i % q->n_groups);
        h->zeros |= zero != (float)(1 << (q->grid.w_bit - 1));
        h->scale_f16 &= ptq_f16_round(scale) == scale;
    }
    for (int64_t i = 0; i < q->n * q->n_keep; i++)
        if (ptq_f16_round(q->kept[i]) != q->kept[i])
            return refuse(err, "FP16 does not hold the salient weight", (double)q->kept[i], i / q->n_keep,
                          i % q->n_keep);
    return PTQ_OK;
}

struct pack_task {
    const struct ptq_qmat *q;
    struct ptq_packed *p;
};

/* Bits [shift, shift + b) of a step's 32 codes into one row's words of a plane. b is a constant where this is inlined.
 */
static inline void put_plane(uint32_t *word, uint8_t *code, int b, int shift)
{
    int fields = 16 / b;
    for (int v = 0; v < b; v++) {
        uint32_t bits = 0;
        for (int f = 0; f < fields; f++) {
            int vector, bit, place = 2 * (v * fields + f);
            find_field(b, place, &vector, &bit);
            bits |= ((uint32_t)code[place] >> shift & ((1u << b) - 1)) << bit;
            bits |= ((uint32_t)code[place + 1] >> shift & ((1u << b) - 1)) << (bit + 16);
        }
        word[v * PTQ_PACK_ROWS] = bits;
    }
}

/* The planes of w_bit bits, the widest first. */
static inline void each_plane(void (*plane)(uint32_t *word, uint8_t *code, int b, int shift), uint32_t *word,
                              uint8_t *code, int w_bit)
{
    if (w_bit == 8) {
        plane(word, code, 8, 0);
        return;
    }
    int shift = 0;
    if (w_bit & 4) plane(word, code, 4, 0), shift = 4;
    if (w_bit & 2) plane(word + shift * PTQ_PACK_ROWS, code, 2, shift), shift += 2;
    if (w_bit & 1) plane(word + shift * PTQ_PACK_ROWS, code, 1, shift);
}

static void put_codes(const struct ptq_packed *p, const struct ptq_qmat *q, int64_t tile, int row)
{
    const uint8_t *code = q->code + (tile * PTQ_PACK_ROWS + row) * q->k;
    uint32_t *word = (uint32_t *)ptq_packed_step(p, tile, 0) + row;
    for (int64_t first = 0; first < q->k; first += p->group)
        for (int64_t at = first, end = first + p->group < q->k ? first + p->group : q->k; at < end;
             at += PTQ_PACK_STEP, word += p->grid.w_bit * PTQ_PACK_ROWS) {
            uint8_t step[PTQ_PACK_STEP] = {0};
            int64_t n = end - at < PTQ_PACK_STEP ? end - at : PTQ_PACK_STEP;
            for (int64_t i = 0; i < n; i++) step[i] = code[q->perm ? q->perm[at + i] : at + i];
            each_plane(put_plane, word, step, p->grid.w_bit);
        }
}

static void put_group(const struct ptq_packed *p, int64_t tile, int row, int64_t group, float scale, int zero)
{
    int64_t at = tile * p->n_groups + group;
    if (p->scale)
        ((float *)p->scale)[at * PTQ_PACK_ROWS + row] = scale;
    else
        ((uint16_t *)p->scale16)[at * PTQ_PACK_ROWS + row] = ptq_f16_encode(scale);
    if (!p->zero) return;
    uint8_t *byte = (uint8_t *)p->zero + at * p->zero_bytes;
    if (p->zero_bytes == PTQ_PACK_ROWS)
        byte[row] = (uint8_t)zero;
    else
        byte[row % 8] |= (uint8_t)(zero << (row < 8 ? 0 : 4));
}

/* Rows of one tile. The image is fresh, so all bits that nobody sets are 0. */
static void pack_tile(void *context, int64_t tile, int worker)
{
    struct pack_task *t = context;
    const struct ptq_qmat *q = t->q;
    const struct ptq_packed *p = t->p;
    (void)worker;
    for (int64_t n = tile * PTQ_PACK_ROWS; n < q->n && n < (tile + 1) * PTQ_PACK_ROWS; n++) {
        int row = (int)(n % PTQ_PACK_ROWS);
        put_codes(p, q, tile, row);
        for (int64_t g = 0; g < q->n_groups; g++)
            put_group(p, tile, row, g, q->scale[n * q->n_groups + g], (int)q->zero[n * q->n_groups + g]);
        uint16_t *kept = (uint16_t *)p->kept;
        for (int64_t i = 0; i < q->n_keep; i++)
            kept[(tile * q->n_keep + i) * PTQ_PACK_ROWS + row] = ptq_f16_encode(q->kept[n * q->n_keep + i]);
    }
}

static void copy(const void *to, const void *from, int64_t n, size_t size)
{
    if (n) memcpy((void *)to, from, (size_t)n * size);
}

enum ptq_status ptq_pack(struct ptq_arena *arena, const struct ptq_qmat *q, struct ptq_packed *out,
                         struct ptq_error *err)
{
    struct head h = {.version = PTQ_PACK_VERSION, .head_bytes = 2 * ALIGN, .n = q->n, .k = q->k};
    memcpy(h.magic, magic, sizeof h.magic);
    h.group_size = q->grid.group_size;
    h.n_keep = q->n_keep;
    h.n_divided = q->n_divided;
    h.w_bit = q->grid.w_bit, h.sym = q->grid.sym, h.range = q->grid.range, h.grid_f16 = q->grid.scale_f16;
    h.permuted = q->perm != NULL;
    assert(h.w_bit >= 2 && h.w_bit <= 8 && q->n <= MOST && q->k <= MOST);
    PTQ_TRY(choose_form(q, &h, err));
    lay_out(&h, NULL, out);
    void *image = ptq_alloc(arena, out->bytes, "a packed linear");
    lay_out(&h, image, out);
    h.bytes = out->bytes;
    memcpy(image, &h, sizeof h);
    copy(out->perm, q->perm, q->perm ? q->k : 0, sizeof *q->perm);
    copy(out->keep, q->keep, q->n_keep, sizeof *q->keep);
    copy(out->divided, q->divided, q->n_divided, sizeof *q->divided);
    copy(out->divisor, q->divisor, q->n_divided, sizeof *q->divisor);
    struct pack_task task = {q, out};
    ptq_parallel_for(out->tiles, pack_tile, &task);
    return PTQ_OK;
}

/* ---- unpacking ---- */

struct unpack_task {
    const struct ptq_packed *p;
    struct ptq_qmat *q;
};

/* put_plane's way back: code is 0 there at first. */
static inline void take_plane(uint32_t *word, uint8_t *code, int b, int shift)
{
    int fields = 16 / b;
    for (int v = 0; v < b; v++) {
        uint32_t bits = word[v * PTQ_PACK_ROWS];
        for (int f = 0; f < fields; f++) {
            int vector, bit, place = 2 * (v * fields + f);
            find_field(b, place, &vector, &bit);
            code[place] |= (uint8_t)((bits >> bit & ((1u << b) - 1)) << shift);
            code[place + 1] |= (uint8_t)((bits >> (bit + 16) & ((1u << b) - 1)) << shift);
        }
    }
}

static void take_codes(const struct ptq_packed *p, const struct ptq_qmat *q, int64_t tile, int row)
{
    uint8_t *code = q->code + (tile * PTQ_PACK_ROWS + row) * q->k, step[PTQ_PACK_STEP];
    uint32_t *word = (uint32_t *)ptq_packed_step(p, tile, 0) + row; /* read alone */
    for (int64_t first = 0; first < q->k; first += p->group)
        for (int64_t at = first, end = first + p->group < q->k ? first + p->group : q->k; at < end;
             at += PTQ_PACK_STEP, word += p->grid.w_bit * PTQ_PACK_ROWS) {
            int64_t n = end - at < PTQ_PACK_STEP ? end - at : PTQ_PACK_STEP;
            memset(step, 0, sizeof step);
            each_plane(take_plane, word, step, p->grid.w_bit);
            for (int64_t i = 0; i < n; i++) code[q->perm ? q->perm[at + i] : at + i] = step[i];
        }
}

static void unpack_tile(void *context, int64_t tile, int worker)
{
    struct unpack_task *t = context;
    const struct ptq_packed *p = t->p;
    struct ptq_qmat *q = t->q;
    (void)worker;
    for (int64_t n = tile * PTQ_PACK_ROWS; n < q->n && n < (tile + 1) * PTQ_PACK_ROWS; n++) {
        int row = (int)(n % PTQ_PACK_ROWS);
        take_codes(p, q, tile, row);
        for (int64_t g = 0; g < q->n_groups; g++) {
            q->scale[n * q->n_groups + g] = ptq_packed_scale(p, tile, row, g);
            q->zero[n * q->n_groups + g] = (float)ptq_packed_zero(p, tile, row, g);
        }
        for (int64_t i = 0; i < q->n_keep; i++)
            q->kept[n * q->n_keep + i] = ptq_f16_decode(p->kept[(tile * q->n_keep + i) * PTQ_PACK_ROWS + row]);
    }
}

void ptq_unpack(struct ptq_arena *arena, const struct ptq_packed *p, struct ptq_qmat *out)
{
    *out = (struct ptq_qmat){.n = p->n, .k = p->k, .n_groups = p->n_groups, .grid = p->grid};
    out->n_keep = p->n_keep;
    out->n_divided = p->n_divided;
    out->code = ptq_new(arena, uint8_t, p->n * p->k);
    out->scale = ptq_new(arena, float, p->n * p->n_groups);
    out->zero = ptq_new(arena, float, p->n * p->n_groups);
    if (p->perm) out->perm = ptq_new(arena, int32_t, p->k);
    if (p->n_keep) out->keep = ptq_new(arena, int32_t, p->n_keep);
    if (p->n_keep) out->kept = ptq_new(arena, float, p->n * p->n_keep);
    if (p->n_divided) out->divided = ptq_new(arena, int32_t, p->n_divided);
    if (p->n_divided) out->divisor = ptq_new(arena, float, p->n_divided);
    copy(out->perm, p->perm, p->perm ? p->k : 0, sizeof *p->perm);
    copy(out->keep, p->keep, p->n_keep, sizeof *p->keep);
    copy(out->divided, p->divided, p->n_divided, sizeof *p->divided);
    copy(out->divisor, p->divisor, p->n_divided, sizeof *p->divisor);
    struct unpack_task task = {p, out};
    ptq_parallel_for(p->tiles, unpack_tile, &task);
}

/* ---- looking at an image that somebody else made ---- */

static int sane(const struct head *h)
{
    return h->n >= 1 && h->n <= MOST && h->k >= 1 && h->k <= MOST && h->w_bit >= 2 && h->w_bit <= 8 &&
           (h->group_size == -1 || (h->group_size >= 1 && h->group_size <= MOST)) && h->n_keep >= 0 &&
           h->n_keep <= h->k && h->n_divided >= 0 && h->n_divided <= h->k && h->range >= PTQ_RANGE_AWQ &&
           h->range <= PTQ_RANGE_GPTQ && (h->sym | h->grid_f16 | h->scale_f16 | h->zeros | h->permuted) >> 1 == 0 &&
           h->reserved == 0 && h->reserved_too == 0;
}

/* Column numbers that ascend and lie in [0, k). */
static int ascends(const int32_t *column, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < n; i++)
        if (column[i] < (i ? column[i - 1] + 1 : 0) || column[i] >= k) return 0;
    return 1;
}

static int is_permutation(const int32_t *perm, int64_t k)
{
    struct ptq_arena *arena = ptq_arena_make("a packed linear");
    unsigned char *seen = ptq_new(arena, unsigned char, k);
    int good = 1;
    for (int64_t i = 0; good && i < k; i++) good = perm[i] >= 0 && perm[i] < k && !seen[perm[i]]++;
    ptq_arena_free(arena);
    return good;
}

static int good_scales(const struct ptq_packed *p)
{
    for (int64_t i = 0; i < p->tiles * p->n_groups * PTQ_PACK_ROWS; i++)
        if (!isfinite(p->scale ? p->scale[i] : ptq_f16_decode(p->scale16[i]))) return 0;
    return 1;
}

static int good_zeros(const struct ptq_packed *p)
{
    int maxq = (1 << p->grid.w_bit) - 1, mask = p->grid.w_bit < 4 ? maxq * 0x11 : p->grid.w_bit == 4 ? 255 : maxq;
    for (int64_t i = 0; i < p->tiles * p->n_groups * p->zero_bytes; i++)
        if (p->zero[i] & ~mask) return 0;
    return 1;
}

static int good_kept(const struct ptq_packed *p)
{
    for (int64_t i = 0; i < p->tiles * p->n_keep * PTQ_PACK_ROWS; i++)
        if ((p->kept[i] & 0x7c00) == 0x7c00) return 0;
    return 1;
}

static int good_divisors(const struct ptq_packed *p)
{
    for (int64_t i = 0; i < p->n_divided; i++)
        if (!isfinite(p->divisor[i]) || p->divisor[i] == 0) return 0;
    return 1;
}

/* The first section whose numbers no linear has, or NULL. */
static const char *bad_section(const struct ptq_packed *p)
{
    if (!good_scales(p)) return "a scale is not finite";
    if (!good_zeros(p)) return "a zero is no code";
    if (p->perm && !is_permutation(p->perm, p->k)) return "its order names a column twice, or one that is not there";
    if (!ascends(p->keep, p->n_keep, p->k)) return "its salient columns do not ascend, or one is not there";
    if (!good_kept(p)) return "a salient weight is not finite";
    if (!ascends(p->divided, p->n_divided, p->k)) return "its divided columns do not ascend, or one is not there";
    return good_divisors(p) ? NULL : "a divisor is 0 or not finite";
}

enum ptq_status ptq_packed_view(const void *image, size_t bytes, struct ptq_packed *out, struct ptq_error *err)
{
    struct head h;
    if (bytes < 2 * ALIGN || memcmp(image, magic, sizeof magic))
        return ptq_fail(err, PTQ_EINPUT, "this is no packed linear; pack the model again");
    memcpy(&h, image, sizeof h);
    if (h.version != PTQ_PACK_VERSION)
        return ptq_fail(err, PTQ_EINPUT,
                        "packed form of version %u, but this program reads version %d; "
                        "pack the model again",
                        h.version, PTQ_PACK_VERSION);
    if (h.head_bytes != 2 * ALIGN || !sane(&h))
        return ptq_fail(err, PTQ_EINPUT, "the packed linear's head is damaged; pack the model again");
    lay_out(&h, image, out);
    if (out->bytes != bytes || h.bytes != bytes)
        return ptq_fail(err, PTQ_EINPUT,
                        "the packed linear has %zu bytes, but its head asks for %zu; "
                        "pack the model again",
                        bytes, out->bytes);
    const char *bad = bad_section(out);
    if (!bad) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "the packed linear's numbers are damaged: %s; pack the model again", bad);
}
