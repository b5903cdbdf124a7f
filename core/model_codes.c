/* Linears that a checkpoint has as codes: as the weights that they stand for, or packed, as what is computed with. */
#include "model_parts.h"

#include <string.h>

int ptq_model_has_images(const struct ptq_model *m)
{
    return m->quantization && ptq_quantization_packed(m->quantization);
}

int ptq_model_packs(const struct ptq_model *m)
{
    return m->quantization && m->quantization->whole;
}

/* The image alone, in the file or in arena. */
static enum ptq_status load_image(const struct ptq_model *m, const struct ptq_quantized_linear *codes,
                                  struct ptq_arena *arena, struct ptq_linear *l, struct ptq_error *err)
{
    struct ptq_packed *image = ptq_new(arena, struct ptq_packed, 1);
    l->packed = image;
    return ptq_quantized_image(m->quantization, codes, arena, image, err);
}

/* Rows of an image are in our order, whatever the family's own container has. */
static struct ptq_row_layout codes_layout(const struct ptq_model *m, enum ptq_role role)
{
    struct ptq_row_layout layout = ptq_linear_layout(m, role);
    if (ptq_model_has_images(m)) layout.order = PTQ_ROWS_PLAIN;
    return layout;
}

/* The container's rows [N][size bytes] in our order. */
static void *ordered(const struct ptq_row_layout *layout, const void *rows, size_t size, struct ptq_arena *arena)
{
    unsigned char *out = ptq_alloc(arena, (size_t)layout->n * size, "rows of codes");
    for (int64_t row = 0; row < layout->n; row++)
        memcpy(out + (size_t)row * size, (const unsigned char *)rows + (size_t)ptq_file_row(layout, row) * size, size);
    return out;
}

static enum ptq_status read_codes(const struct ptq_model *m, enum ptq_role role,
                                  const struct ptq_quantized_linear *codes, struct ptq_arena *arena, struct ptq_qmat *q,
                                  struct ptq_error *err)
{
    struct ptq_row_layout layout = codes_layout(m, role);
    PTQ_TRY(ptq_quantized_codes(m->quantization, codes, arena, q, err));
    if (layout.order == PTQ_ROWS_PLAIN) return PTQ_OK;
    q->code = ordered(&layout, q->code, (size_t)q->k, arena);
    q->scale = ordered(&layout, q->scale, sizeof *q->scale * (size_t)q->n_groups, arena);
    q->zero = ordered(&layout, q->zero, sizeof *q->zero * (size_t)q->n_groups, arena);
    return PTQ_OK;
}

static enum ptq_status pack(const struct ptq_qmat *q, const char *file, struct ptq_arena *arena, struct ptq_linear *l,
                            struct ptq_error *err)
{
    struct ptq_packed *image = ptq_new(arena, struct ptq_packed, 1);
    l->packed = image;
    return ptq_pack(arena, q, image, err) ? ptq_within(err, "%s: %s", file, l->name) : PTQ_OK;
}

enum ptq_status ptq_load_codes(const struct ptq_model *m, int64_t block, enum ptq_role role, struct ptq_arena *arena,
                               struct ptq_linear *l, int *done, struct ptq_error *err)
{
    struct ptq_quantized_linear codes;
    struct ptq_qmat q;
    PTQ_TRY(ptq_find_quantized(m, block, role, &codes, done, err));
    if (!*done) return PTQ_OK;
    if (codes.image && m->path) return load_image(m, &codes, arena, l, err);
    const char *file = (codes.image ? codes.image : codes.scales)->file->path;
    struct ptq_arena *passing = ptq_arena_make("codes of a linear"); /* arena keeps the image alone */
    enum ptq_status status = read_codes(m, role, &codes, passing, &q, err);
    if (!status && m->path)
        status = pack(&q, file, arena, l, err);
    else if (!status)
        status = ptq_quantized_weights(&q, file, l->name, m->exact || codes.image, l->w, err);
    ptq_arena_free(passing);
    return status;
}
