/* ptq's own folders: what is written gives the numbers of the cell that it was made of, to the last bit, by both paths,
 * for every family, kind of method and width; images are used where they lie in the file. What is damaged:
 * tests/test_packed_faults.c. */
#include "hold.h"
#include "packed_folder.h"

/* ---- the same numbers ---- */

static void there_and_the_same(const char *model, const char *spec)
{
    char folder[64];
    make_test_folder(folder);
    export_packed(model, spec, folder);
    same_scores(model, spec, folder);
    remove_test_folder(folder);
}

/* Every width; scales of float32 and FP16, zeros and none, an order of columns, salient and divided columns. */
static const char *const specs[] = {"rtn:w2,g32",
                                    "rtn:w7,g20",
                                    "rtn:w5,g48,sym=1,scale_dtype=fp16",
                                    "salient:w3,g32,fraction=0.05",
                                    "scale:w6,g32,fraction=0.05,s=2",
                                    "awq:w4,g32,loss=gram",
                                    "gptq:w4,g32,act_order=1",
                                    "awq+gptq:w3,g32",
                                    "obq:w8,g-1"};
enum { N_SPECS = sizeof specs / sizeof *specs };

/* BLOOM has fused q, k, v head by head, GPT-2 its linears the other way round, both an activation that AWQ divides. */
static void every_method(void **state)
{
    (void)state;
    static const char *const model[] = {MODELS "llama", MODELS "bloom", MODELS "gpt2"};
    for (int m = 0; m < 3; m++)
        for (int s = 0; s < N_SPECS; s++) there_and_the_same(model[m], specs[s]);
}

static void every_family(void **state)
{
    (void)state;
    static const char *const model[] = {MODELS "llama3", MODELS "mistral", MODELS "qwen2", MODELS "opt",
                                        MODELS "llama-gqa/model.gguf"};
    for (int m = 0; m < 5; m++) {
        there_and_the_same(model[m], "awq:w4,g32,loss=gram");
        there_and_the_same(model[m], "gptq:w3,g32,act_order=1");
    }
    there_and_the_same(MODELS "opt350", "gptq:w4,g32,act_order=1"); /* with linears outside the blocks */
}

/* ---- nothing beside the images is rounded ---- */

/* Vectors that only BF16 holds (of small numbers, 8 bits), matrices that neither does. */
static enum ptq_dtype odd_type(int64_t columns)
{
    return columns < 0 ? PTQ_BF16 : PTQ_F32;
}

static void plan_odd(void *context, const char *name, int64_t rows, int64_t columns)
{
    ptq_tensor_plan(context, name, odd_type(columns), rows, columns);
}

static void write_odd(void *context, const char *name, int64_t rows, int64_t columns)
{
    struct ptq_rng rng = ptq_rng_make(9, name);
    int64_t n = rows * (columns < 0 ? 1 : columns);
    float *x = malloc(sizeof *x * (size_t)n);
    struct ptq_error err;
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)(ptq_rng_uniform(&rng) - 0.5);
        if (columns < 0) x[i] = i % 2 ? 0x1.02p-20f : 1.5f;
    }
    EXPORT_OK(&err, ptq_tensor_write_exact(context, name, x, n, &err));
    free(x);
}

static void widen(const char *folder)
{
    struct ptq_arena *arena = ptq_arena_make("odd");
    struct ptq_tensor_writer *writer = ptq_tensor_writer_make(arena);
    struct ptq_config c;
    struct ptq_error err;
    make_tiny_llama(folder, "llama", "null");
    assert_int_equal(unlink(ptq_join(arena, folder, "model.safetensors")), 0);
    EXPORT_OK(&err, ptq_config_from_json(arena, ptq_join(arena, folder, "config.json"), &c, &err));
    each_tiny(&c, plan_odd, writer);
    EXPORT_OK(&err, ptq_safetensors_open(writer, folder, UINT64_MAX, &err));
    each_tiny(&c, write_odd, writer);
    EXPORT_OK(&err, ptq_tensor_writer_finish(writer, &err));
    ptq_arena_free(arena);
}

static void assert_dtype(const struct ptq_checkpoint *c, const char *name, enum ptq_dtype dtype)
{
    const struct ptq_tensor *t = ptq_checkpoint_find(c, name);
    assert_non_null(t);
    assert_string_equal(ptq_dtypes[t->dtype].name, ptq_dtypes[dtype].name);
}

static void the_smallest_exact_type(void **state)
{
    (void)state;
    static const char norm[] = "model.layers.1.input_layernorm.weight", head[] = "lm_head.weight";
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_checkpoint c;
    struct ptq_error err;
    char source[64], folder[64], scaled[64];
    make_test_folder(source);
    make_test_folder(folder);
    make_test_folder(scaled);
    widen(source);
    export_packed(source, "rtn:w4,g32", folder);
    same_scores(source, "rtn:w4,g32", folder);
    EXPORT_OK(&err, ptq_checkpoint_open(arena, folder, &c, &err));
    assert_dtype(&c, norm, PTQ_BF16);
    assert_dtype(&c, head, PTQ_F32);
    ptq_checkpoint_close(&c);
    EXPORT_OK(&err, ptq_checkpoint_open(arena, packed, &c, &err));
    assert_dtype(&c, norm, PTQ_F16);
    assert_dtype(&c, head, PTQ_F16);
    ptq_checkpoint_close(&c);
    export_packed(tiny, "awq:w4,g32,loss=gram", scaled);
    EXPORT_OK(&err, ptq_checkpoint_open(arena, scaled, &c, &err));
    assert_dtype(&c, norm, PTQ_F32); /* divided by AWQ's scales */
    ptq_checkpoint_close(&c);
    remove_test_folder(source);
    remove_test_folder(folder);
    remove_test_folder(scaled);
    ptq_arena_free(arena);
}

static float bias[EXPORT_WIDTH];

static void with_bias(struct ptq_block *block, struct ptq_qmat *q)
{
    (void)q;
    for (int i = 0; i < EXPORT_WIDTH; i++) bias[i] = 1.0f / (float)(i + 3);
    block->linear[PTQ_DOWN].b = bias;
}

static void a_bias_that_a_method_made(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_model model;
    struct ptq_block block;
    struct ptq_error err;
    char folder[64];
    make_test_folder(folder);
    change_block = with_bias;
    export_packed(tiny, "rtn:w4,g32", folder);
    change_block = NULL;
    EXPORT_OK(&err, ptq_model_open(arena, folder, "biased", &model, &err));
    EXPORT_OK(&err, ptq_block_load(&model, 1, arena, &block, &err));
    assert_memory_equal(block.linear[PTQ_DOWN].b, bias, sizeof bias);
    assert_null(block.linear[PTQ_O].b);
    ptq_model_close(&model);
    remove_test_folder(folder);
    ptq_arena_free(arena);
}

/* ---- images as they lie in the file ---- */

static int lies_in(const struct ptq_checkpoint *c, const unsigned char *at)
{
    for (int i = 0; i < c->n_files; i++)
        if (at >= c->file[i].data && at < c->file[i].data + c->file[i].size) return 1;
    return 0;
}

static void images_are_not_copied(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_model model;
    struct ptq_block block;
    struct ptq_error err;
    EXPORT_OK(&err, ptq_model_open(arena, packed, "packed", &model, &err));
    assert_string_equal(model.source_dtype, "ptq 4 bits, g32");
    assert_true(model.source_bits > 4 && model.source_bits < 8);
    model.path = PTQ_PATH_PACKED;
    for (int b = 0; b < EXPORT_BLOCKS; b++) {
        EXPORT_OK(&err, ptq_block_load(&model, b, arena, &block, &err));
        for (int role = 0; role < PTQ_N_ROLE; role++) {
            const struct ptq_linear *l = &block.linear[role];
            assert_null(l->w);
            assert_true(l->packed->n == l->n && l->packed->k == l->k);
            assert_true(lies_in(&model.checkpoint, l->packed->image) && (uintptr_t)l->packed->image % 64 == 0);
        }
    }
    ptq_model_close(&model);
    ptq_arena_free(arena);
}

/* A decoder's are: in its own memory, whose pages are larger. */
static void held_images_are_copied(void **state)
{
    (void)state;
    struct ptq_session *session = ptq_session_make();
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_job job = {.model = packed, .path = "packed"};
    struct ptq_held held;
    struct ptq_error err;
    EXPORT_OK(&err, ptq_hold(session, &job, arena, &held, &err));
    const struct ptq_packed *p = held.block[1].linear[PTQ_UP].packed;
    const struct ptq_tensor *t = ptq_checkpoint_find(&held.model->checkpoint, "model.layers.1.mlp.up_proj.packed");
    assert_false(lies_in(&held.model->checkpoint, p->image));
    assert_int_equal(p->bytes, t->bytes);
    assert_memory_equal(p->image, t->data, t->bytes);
    assert_true((const unsigned char *)p->code > p->image && (const unsigned char *)p->code < p->image + p->bytes);
    ptq_session_free(session);
    ptq_arena_free(arena);
}

static void half_a_zero(struct ptq_block *block, struct ptq_qmat *q)
{
    (void)block;
    q[PTQ_UP].zero[1] = 2.5f;
}

static void what_is_not_written(void **state)
{
    (void)state;
    struct remembered r;
    struct ptq_error err;
    char folder[64];
    make_test_folder(folder);
    assert_refused("fp16", export_into(&r, tiny, "fp16", "packed", folder, &err), &err,
                   "--format packed: fp16 quantises nothing;--format fp16");
    forget(&r);
    change_block = half_a_zero;
    assert_refused("zero", export_into(&r, tiny, "rtn:w4,g32", "packed", folder, &err), &err,
                   "layers.0.mlp.up_proj: row 0, number 1: the zero is 2.5");
    change_block = NULL;
    forget(&r);
    assert_refused("again", export_into(&r, packed, "rtn:w3,g32", "packed", folder, &err), &err,
                   "quantised already (ptq 4 bits, g32);full-precision;rtn");
    forget(&r);
    remove_test_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method),
        cmocka_unit_test(every_family),
        cmocka_unit_test(the_smallest_exact_type),
        cmocka_unit_test(a_bias_that_a_method_made),
        cmocka_unit_test(images_are_not_copied),
        cmocka_unit_test(held_images_are_copied),
        cmocka_unit_test(what_is_not_written),
    };
    return cmocka_run_group_tests(tests, make_packed, remove_packed);
}
