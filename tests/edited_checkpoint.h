/* For tests of checkpoints of others: exports of a tiny model with one thing changed. */
#ifndef PTQ_TESTS_EDITED_CHECKPOINT_H
#define PTQ_TESTS_EDITED_CHECKPOINT_H

#include "export_fixture.h"

struct edit {
    const char *drop, *turn, *add; /* tensors: left out; with its two sizes changed over; one more */
    const char *drop_all;          /* all whose names end so are left out */
    const char *flat, *fold;       /* one that becomes a vector; a vector that becomes a matrix of two columns */
    const char *retype;            /* one whose bytes are of another type of that width */
    enum ptq_dtype dtype;
    const char *cut, *narrow; /* a tensor without the last of its first dimension; of its second */
    const char *poke;         /* a tensor whose first word becomes poked */
    const char *widen;        /* one of FP16 that becomes FP32, its numbers a little larger, within a rounding */
    const char *flip;         /* or changed by those bits */
    uint32_t poked;
    const char *from, *to; /* in config.json */
};

static inline int is_one(const char *name, const struct ptq_tensor *t)
{
    return name && strcmp(name, t->name) == 0;
}

static inline int is_dropped(const struct edit *e, const struct ptq_tensor *t)
{
    size_t length = strlen(t->name), tail = e->drop_all ? strlen(e->drop_all) : length + 1;
    return is_one(e->drop, t) || (length >= tail && strcmp(t->name + length - tail, e->drop_all) == 0);
}

static inline void *widened(struct ptq_arena *arena, const struct ptq_tensor *t, size_t *bytes)
{
    float *x = ptq_new(arena, float, t->count);
    struct ptq_error err;
    *bytes = sizeof *x * (size_t)t->count;
    EXPORT_OK(&err, ptq_tensor_read(t, 0, t->count, x, &err));
    for (int64_t i = 0; i < t->count; i++) x[i] *= 1.0002f;
    return x;
}

static inline void copy_tensors(const char *source, const char *folder, const struct edit *e)
{
    struct ptq_arena *arena = ptq_arena_make("copy");
    struct ptq_tensor_writer *writer = ptq_tensor_writer_make(arena);
    struct ptq_checkpoint c;
    struct ptq_error err;
    EXPORT_OK(&err, ptq_checkpoint_open(arena, source, &c, &err));
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < c.n_tensors; i++) {
            const struct ptq_tensor *t = &c.tensor[i];
            int64_t columns = t->rank > 1 ? t->shape[1] : -1;
            int64_t rows = t->shape[0] - is_one(e->cut, t);
            if (is_dropped(e, t)) continue;
            if (!pass) {
                enum ptq_dtype dtype = is_one(e->retype, t) ? e->dtype : is_one(e->widen, t) ? PTQ_F32 : t->dtype;
                if (is_one(e->turn, t))
                    ptq_tensor_plan(writer, t->name, dtype, columns, t->shape[0]);
                else if (is_one(e->flat, t))
                    ptq_tensor_plan(writer, t->name, dtype, t->shape[0] * columns, -1);
                else if (is_one(e->fold, t))
                    ptq_tensor_plan(writer, t->name, dtype, t->shape[0] / 2, 2);
                else
                    ptq_tensor_plan(writer, t->name, dtype, rows, columns - is_one(e->narrow, t));
                continue;
            }
            size_t bytes = t->bytes / (size_t)t->shape[0] * (size_t)rows;
            if (is_one(e->narrow, t)) bytes -= bytes / (size_t)columns;
            void *data = remember(arena, t->data, bytes);
            if (is_one(e->widen, t)) data = widened(arena, t, &bytes);
            if (is_one(e->poke, t)) memcpy(data, &e->poked, 4);
            if (is_one(e->flip, t)) *(uint32_t *)data ^= e->poked;
            EXPORT_OK(&err, ptq_tensor_write(writer, t->name, data, bytes, &err));
        }
        if (e->add && !pass) ptq_tensor_plan(writer, e->add, PTQ_F16, 2, -1);
        if (e->add && pass) EXPORT_OK(&err, ptq_tensor_write(writer, e->add, "\0\0\0", 4, &err));
        if (!pass) EXPORT_OK(&err, ptq_safetensors_open(writer, folder, UINT64_MAX, &err));
    }
    EXPORT_OK(&err, ptq_tensor_writer_finish(writer, &err));
    ptq_checkpoint_close(&c);
    ptq_arena_free(arena);
}

static inline void copy_config(const char *source, const char *folder, const struct edit *e)
{
    struct ptq_arena *arena = ptq_arena_make("config");
    struct ptq_error err;
    char *text;
    size_t size;
    EXPORT_OK(&err, ptq_read_file(arena, ptq_join(arena, source, "config.json"), 1 << 20, &text, &size, &err));
    if (e->from) {
        char *at = strstr(text, e->from);
        if (!at) fail_msg("config.json has no %s", e->from);
        text = ptq_format(arena, "%.*s%s%s", (int)(at - text), text, e->to, at + strlen(e->from));
    }
    write_test_text(folder, "config.json", text);
    ptq_arena_free(arena);
}

/* What is seen of an edited copy. */
struct seen {
    char dtype[48];
    double bits;
    float up[EXPORT_FF * EXPORT_WIDTH]; /* weights of the first block's up */
    float divisor;                      /* of what its activation gives, the first number; 0: there is none */
};

/* Opens an edited copy and loads its first block. */
static inline enum ptq_status open_edited(const char *source, const struct edit *e, struct seen *seen,
                                          struct ptq_error *err)
{
    char folder[64];
    struct ptq_arena *arena = ptq_arena_make("edited");
    struct ptq_model model;
    struct ptq_block block;
    make_test_folder(folder);
    copy_tensors(source, folder, e);
    copy_config(source, folder, e);
    enum ptq_status status = ptq_model_open(arena, folder, "edited", &model, err);
    if (!status) {
        snprintf(seen->dtype, sizeof seen->dtype, "%s", model.source_dtype);
        seen->bits = model.source_bits;
        status = ptq_block_load(&model, 0, arena, &block, err);
        if (!status) memcpy(seen->up, block.linear[PTQ_UP].w, sizeof seen->up);
        if (!status) seen->divisor = block.activation_scale ? block.activation_scale[0] : 0;
        ptq_model_close(&model);
    }
    ptq_arena_free(arena);
    remove_test_folder(folder);
    return status;
}

#endif
