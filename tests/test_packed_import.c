/* Checkpoints of codes that ptq did not write, by --path packed: the codes as they are, packed on the way in. Families
 * and their orders of rows: test_export_families. */
#include "edited_checkpoint.h"
#include "hold.h"
#include "packed_folder.h"

#define UP "model.layers.1.mlp.up_proj"

/* Every container, widths that it holds, an order of columns, groups that are no multiple of 32. fp16: FP16 holds the
 * scales, so that nothing is rounded on the way out. */
static const struct {
    const char *spec, *format;
    int fp16;
} row[] = {
    {"rtn:w4,g32,scale_dtype=fp16", "awq", 1},        {"rtn:w8,g-1,sym=1,scale_dtype=fp16", "gptq", 1},
    {"rtn:w2,g48,sym=1,scale_dtype=fp16", "gptq", 1}, {"gptq:w3,g32,act_order=1", "gptq_v2", 0},
    {"gptq:w4,g48,sym=1,act_order=1", "gptq", 0},     {"rtn:w4,g32", "awq", 0},
};
enum { N_ROWS = sizeof row / sizeof *row };

static void make_codes(char folder[64], const char *spec, const char *format)
{
    struct remembered r;
    struct ptq_error err;
    make_test_folder(folder);
    EXPORT_OK(&err, export_into(&r, tiny, spec, format, folder, &err));
    forget(&r);
}

static double mean(const struct scores *s)
{
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++) sum += s->nll[i];
    return sum / (double)s->n;
}

static int same(const struct scores *a, const struct scores *b)
{
    return a->n == b->n && memcmp(a->nll, b->nll, sizeof *a->nll * (size_t)a->n) == 0;
}

/* The cell that it was made of, to the last bit; and within 1e-4 of its codes in float32. */
static void codes_are_packed(void **state)
{
    (void)state;
    for (int i = 0; i < N_ROWS; i++) {
        struct scores made, packed_codes, exact, dequantised;
        char folder[64];
        make_codes(folder, row[i].spec, row[i].format);
        score_folder(tiny, row[i].spec, "packed", 1, &made);
        score_folder(folder, "fp16", "packed", 0, &packed_codes);
        score_folder(folder, "exact", "packed", 0, &exact);
        score_folder(folder, "exact", "fp32", 0, &dequantised);
        if (row[i].fp16 != same(&made, &packed_codes))
            fail_msg("%s as %s: %s numbers", row[i].spec, row[i].format, row[i].fp16 ? "other" : "the same");
        assert_true(same(&exact, &packed_codes)); /* nothing is rounded, whatever leaves the codes alone */
        assert_false(same(&dequantised, &packed_codes));
        double off = expm1(fabs(mean(&packed_codes) - mean(&dequantised)));
        if (!(off <= 1e-4)) fail_msg("%s as %s: %g off", row[i].spec, row[i].format, off);
        remove_test_folder(folder);
    }
}

/* Bits of a cell are those of what it computes with. */
static void bits_are_counted(void **state)
{
    static const char *const path[] = {"fp32", "packed", "packed"};
    struct ptq_session *session = ptq_session_make();
    struct ptq_arena *arena = ptq_arena_make("bits");
    struct ptq_error err;
    struct ptq_cell cell[3];
    char folder[64];
    (void)state;
    make_codes(folder, row[0].spec, row[0].format);
    for (int i = 0; i < 3; i++) {
        struct ptq_job job = {.model = folder, .path = path[i], .text = MODELS "text.txt", .window = 32};
        if (i == 2) job.model = tiny, job.spec = row[0].spec;
        EXPORT_OK(&err, ptq_cell_plan(session, &job, arena, &cell[i], &err));
        EXPORT_OK(&err, ptq_cell_run(session, &job, arena, &cell[i], &err));
        assert_string_equal(cell[i].path, path[i]);
        assert_int_equal(cell[i].w_bit, 4);
    }
    assert_true(cell[0].effective_bits == 4 + 20.0 / 32);
    assert_true(cell[1].effective_bits > cell[0].effective_bits);
    assert_true(cell[1].effective_bits == cell[2].effective_bits);
    assert_string_not_equal(cell[0].id, cell[1].id);
    ptq_session_free(session);
    ptq_arena_free(arena);
    remove_test_folder(folder);
}

/* What a decoder holds is packed, too, without weights in float32. */
static void codes_are_held_packed(void **state)
{
    struct ptq_session *session = ptq_session_make();
    struct ptq_arena *arena = ptq_arena_make("held");
    struct ptq_held held;
    struct ptq_error err;
    char folder[64];
    (void)state;
    make_codes(folder, row[3].spec, row[3].format);
    struct ptq_job job = {.model = folder, .path = "packed"};
    EXPORT_OK(&err, ptq_hold(session, &job, arena, &held, &err));
    const struct ptq_linear *l = &held.block[1].linear[PTQ_UP];
    assert_string_equal(held.path, "packed");
    assert_null(l->w);
    assert_int_equal(l->packed->grid.w_bit, 3);
    assert_non_null(l->packed->perm);
    assert_true(8 * held.bytes / held.weights < 8);
    ptq_session_free(session);
    ptq_arena_free(arena);
    remove_test_folder(folder);
}

/* ---- what cannot be packed ---- */

static int is_up(const char *name)
{
    return strncmp(name, UP ".", strlen(UP ".")) == 0;
}

/* A copy of a checkpoint of codes that has one linear as the tiny model has it. */
static void leave_up(const char *codes, const char *folder)
{
    struct ptq_arena *arena = ptq_arena_make("left");
    struct ptq_tensor_writer *writer = ptq_tensor_writer_make(arena);
    struct ptq_checkpoint from, plain;
    struct ptq_error err;
    EXPORT_OK(&err, ptq_checkpoint_open(arena, codes, &from, &err));
    EXPORT_OK(&err, ptq_checkpoint_open(arena, tiny, &plain, &err));
    const struct ptq_tensor *up = ptq_checkpoint_find(&plain, UP ".weight");
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < from.n_tensors; i++) {
            const struct ptq_tensor *t = &from.tensor[i];
            if (is_up(t->name)) continue;
            if (pass)
                EXPORT_OK(&err, ptq_tensor_write(writer, t->name, t->data, t->bytes, &err));
            else
                ptq_tensor_plan(writer, t->name, t->dtype, t->shape[0], t->rank > 1 ? t->shape[1] : -1);
        }
        if (pass) EXPORT_OK(&err, ptq_tensor_write(writer, up->name, up->data, up->bytes, &err));
        if (pass) continue;
        ptq_tensor_plan(writer, up->name, up->dtype, up->shape[0], up->shape[1]);
        EXPORT_OK(&err, ptq_safetensors_open(writer, folder, UINT64_MAX, &err));
    }
    EXPORT_OK(&err, ptq_tensor_writer_finish(writer, &err));
    ptq_checkpoint_close(&from);
    ptq_checkpoint_close(&plain);
    copy_config(codes, folder, &(struct edit){0});
    copy_file(MODELS "llama/tokenizer.json", folder, "tokenizer.json");
    ptq_arena_free(arena);
}

/* Linears of one input are one product: where one of them is left as it was, the cell says that it ran by fp32. */
static void some_are_left(void **state)
{
    struct ptq_session *session = ptq_session_make();
    struct ptq_arena *arena = ptq_arena_make("left");
    struct ptq_error err;
    struct ptq_cell cell;
    char codes[64], folder[64];
    (void)state;
    make_codes(codes, row[5].spec, row[5].format);
    make_test_folder(folder);
    leave_up(codes, folder);
    struct ptq_job job = {.model = folder, .path = "packed", .text = MODELS "text.txt", .window = 32};
    EXPORT_OK(&err, ptq_cell_plan(session, &job, arena, &cell, &err));
    assert_string_equal(cell.path, "fp32");
    EXPORT_OK(&err, ptq_cell_run(session, &job, arena, &cell, &err));
    job.model = codes;
    EXPORT_OK(&err, ptq_cell_plan(session, &job, arena, &cell, &err));
    assert_string_equal(cell.path, "packed");
    ptq_session_free(session);
    ptq_arena_free(arena);
    remove_test_folder(codes);
    remove_test_folder(folder);
}

static void a_scale_that_is_infinite(void **state)
{
    struct ptq_arena *arena = ptq_arena_make("scale");
    struct edit edit = {.widen = UP ".scales", .poke = UP ".scales", .poked = 0x49742400}; /* 1e6 */
    struct ptq_model model;
    struct ptq_block block;
    struct ptq_error err;
    char codes[64], folder[64];
    (void)state;
    make_codes(codes, row[5].spec, row[5].format);
    make_test_folder(folder);
    copy_tensors(codes, folder, &edit);
    copy_config(codes, folder, &edit);
    EXPORT_OK(&err, ptq_model_open(arena, folder, "edited", &model, &err));
    model.path = PTQ_PATH_PACKED;
    EXPORT_OK(&err, ptq_block_load(&model, 0, arena, &block, &err));
    assert_refused("scale", ptq_block_load(&model, 1, arena, &block, &err), &err,
                   "/model.safetensors: " UP ": row 0, number 0: the scale is inf");
    ptq_model_close(&model);
    ptq_arena_free(arena);
    remove_test_folder(codes);
    remove_test_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_packed),         cmocka_unit_test(bits_are_counted),
        cmocka_unit_test(codes_are_held_packed),    cmocka_unit_test(some_are_left),
        cmocka_unit_test(a_scale_that_is_infinite),
    };
    return cmocka_run_group_tests(tests, make_packed, remove_packed);
}
