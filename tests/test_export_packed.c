/* ptq's own folders: what is written gives the numbers of the cell that it was made of, to the last bit, by both paths,
 * for every family, kind of method and width; images are used where they lie in the file; what is damaged is refused
 * by its name. */
#include "export_fixture.h"
#include "hold.h"

static char cache[64], tiny[64], packed[64];

/* ---- the same numbers ---- */

struct scores {
    float nll[512];
    int64_t n;
};

/* calib: 0 for what is quantised already. */
static void score(const char *model, const char *spec, const char *path, int calib, struct scores *out)
{
    struct ptq_session *session = ptq_session_make();
    struct ptq_arena *arena = ptq_arena_make("scores");
    struct ptq_job job = {.model = model, .spec = spec, .path = path, .text = MODELS "text.txt", .window = 32};
    struct ptq_cell cell;
    struct ptq_error err;
    job.max_windows = 3;
    if (calib) job.calib = MODELS "calib.txt", job.calib_window = 32, job.calib_windows = 4;
    EXPORT_OK(&err, ptq_cell_plan(session, &job, arena, &cell, &err));
    EXPORT_OK(&err, ptq_cell_run(session, &job, arena, &cell, &err));
    assert_string_equal(cell.path, path);
    out->n = cell.tokens;
    assert_true(out->n > 0 && out->n <= 512);
    memcpy(out->nll, cell.nll, sizeof *cell.nll * (size_t)cell.tokens);
    ptq_arena_free(arena);
    ptq_session_free(session);
}

static void same_scores(const char *model, const char *spec, const char *folder)
{
    static const char *const path[] = {"fp32", "packed"};
    for (int i = 0; i < 2; i++) {
        struct scores made, read;
        score(model, spec, path[i], 1, &made);
        score(folder, "fp16", path[i], 0, &read);
        if (made.n != read.n || memcmp(made.nll, read.nll, sizeof *made.nll * (size_t)made.n))
            fail_msg("%s by %s: other numbers by --path %s", model, spec, path[i]);
    }
}

static void export_packed(const char *model, const char *spec, const char *folder)
{
    struct remembered r;
    struct ptq_error err;
    EXPORT_OK(&err, export_into(&r, model, spec, "packed", folder, &err));
    forget(&r);
}

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
    model.packed = 1;
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

/* ---- what is refused ---- */

/* One thing wrong in a copy, which is one file with images at odd places. */
struct edit {
    const char *tensor; /* NULL: none */
    int drop, retype;   /* retype: I8 */
    int64_t grow;       /* elements more, or fewer */
    size_t at, bytes;   /* of the tensor: */
    uint64_t value;
    const char *from, *to; /* in config.json */
};

static int is_edited(const struct ptq_tensor *t, const struct edit *e)
{
    return e->tensor && strcmp(t->name, e->tensor) == 0;
}

static void plan_copy(struct ptq_tensor_writer *to, const struct ptq_tensor *t, const struct edit *e)
{
    int edited = is_edited(t, e);
    if (edited && e->drop) return;
    enum ptq_dtype dtype = edited && e->retype ? PTQ_I8 : t->dtype;
    ptq_tensor_plan(to, t->name, dtype, t->shape[0] + (edited ? e->grow : 0), t->rank > 1 ? t->shape[1] : -1);
}

static void write_copy(struct ptq_tensor_writer *to, const struct ptq_tensor *t, const struct edit *e)
{
    struct ptq_error err;
    int edited = is_edited(t, e);
    int64_t bytes = (int64_t)t->bytes + (edited ? e->grow * ptq_dtypes[t->dtype].block_bytes : 0);
    if (edited && e->drop) return;
    unsigned char *data = calloc(1, (size_t)bytes);
    memcpy(data, t->data, bytes < (int64_t)t->bytes ? (size_t)bytes : t->bytes);
    if (edited) memcpy(data + e->at, &e->value, e->bytes);
    EXPORT_OK(&err, ptq_tensor_write(to, t->name, data, (size_t)bytes, &err));
    free(data);
}

static void copy_edited(const char *source, const char *folder, const struct edit *e)
{
    struct ptq_arena *arena = ptq_arena_make("copy");
    struct ptq_tensor_writer *to = ptq_tensor_writer_make(arena);
    struct ptq_checkpoint c;
    struct ptq_error err;
    char *text;
    size_t size;
    EXPORT_OK(&err, ptq_checkpoint_open(arena, source, &c, &err));
    for (int i = 0; i < c.n_tensors; i++) plan_copy(to, &c.tensor[i], e);
    EXPORT_OK(&err, ptq_safetensors_open(to, folder, UINT64_MAX, &err));
    for (int i = 0; i < c.n_tensors; i++) write_copy(to, &c.tensor[i], e);
    EXPORT_OK(&err, ptq_tensor_writer_finish(to, &err));
    ptq_checkpoint_close(&c);
    EXPORT_OK(&err, ptq_read_file(arena, ptq_join(arena, source, "config.json"), 1 << 20, &text, &size, &err));
    char *at = e->from ? strstr(text, e->from) : NULL;
    if (e->from && !at) fail_msg("config.json has no %s", e->from);
    if (at) text = ptq_format(arena, "%.*s%s%s", (int)(at - text), text, e->to, at + strlen(e->from));
    write_test_text(folder, "config.json", text);
    copy_file(ptq_join(arena, source, "tokenizer.json"), folder, "tokenizer.json");
    ptq_arena_free(arena);
}

static enum ptq_status open_edited(const char *source, const struct edit *e, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("edited");
    struct ptq_model model;
    char folder[64];
    make_test_folder(folder);
    copy_edited(source, folder, e);
    enum ptq_status status = ptq_model_open(arena, folder, "edited", &model, err);
    if (!status) ptq_model_close(&model);
    remove_test_folder(folder);
    ptq_arena_free(arena);
    return status;
}

/* Of one file, with images at any place: the same numbers. */
static void images_at_odd_places(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_checkpoint c;
    struct ptq_error err;
    char folder[64];
    int odd = 0;
    make_test_folder(folder);
    copy_edited(packed, folder, &(struct edit){0});
    EXPORT_OK(&err, ptq_checkpoint_open(arena, folder, &c, &err));
    for (int i = 0; i < c.n_tensors; i++) odd += c.tensor[i].dtype == PTQ_U8 && (uintptr_t)c.tensor[i].data % 64;
    assert_int_equal(odd, 7 * EXPORT_BLOCKS);
    ptq_checkpoint_close(&c);
    same_scores(tiny, "rtn:w4,g32", folder);
    remove_test_folder(folder);
    ptq_arena_free(arena);
}

#define UP "model.layers.1.mlp.up_proj.packed"
#define IN_FILE "/model.safetensors: tensor '" UP "': "

/* Places in an image: the head's are struct head's of kernels/packed.c. */
static void damaged_images(void **state)
{
    (void)state;
    static const struct {
        struct edit edit;
        const char *words;
    } row[] = {
        {{.tensor = UP, .drop = 1}, "tensor '" UP "' is missing"},
        {{.tensor = UP, .retype = 1}, "tensor '" UP "' is I8; it must be U8"},
        {{.tensor = UP, .bytes = 1}, IN_FILE "this is no packed linear"},
        {{.tensor = UP, .at = 8, .bytes = 4, .value = 2}, IN_FILE "packed form of version 2;reads version 1"},
        {{.tensor = UP, .at = 56, .bytes = 4, .value = 9}, IN_FILE "the packed linear's head is damaged"},
        {{.tensor = UP, .grow = -64}, IN_FILE "the packed linear has;bytes, but its head asks for"},
        {{.tensor = UP, .grow = 64}, IN_FILE "the packed linear has;bytes, but its head asks for"},
        {{.tensor = UP, .grow = -4000}, IN_FILE "this is no packed linear"},
        {{.tensor = UP, .at = 16, .bytes = 8, .value = 95}, IN_FILE "the packed linear is [95, 64];asks for [96, 64]"},
        {{.tensor = UP, .at = 24, .bytes = 8, .value = 63}, IN_FILE "the packed linear is [96, 63];asks for [96, 64]"},
        {{.tensor = UP, .at = 128 + 96 * 32, .bytes = 4, .value = 0x7fc00000}, IN_FILE ";a scale is not finite"},
        {{.from = "\"bits\": 4", .to = "\"bits\": 3"},
         "q_proj.packed': the packed linear has 4 bits, g32;says ptq 3 bits, g32"},
        {{.from = "\"group_size\": 32", .to = "\"group_size\": 64"}, "has 4 bits, g32;says ptq 4 bits, g64"},
        {{.from = "\"bits\": 4", .to = "\"bits\": 9"}, "ptq of 9 bits is not known"},
        {{.from = "\"version\": 1", .to = "\"version\": 2"},
         "config.json: quantization_config: version 2 of ptq's own format is not known; known: 1"},
        {{.from = "\"version\": 1", .to = "\"version\": \"1\""}, "version;must be"},
        {{.from = "\"sym\": false", .to = "\"sym\": 3"}, "sym;must be"},
        {{.from = "\"quant_method\": \"ptq\"", .to = "\"quant_method\": \"ptk\""}, "ptk;known: awq;ptq (2 to 8 bits)"},
        {{.from = "\"quantization_config\"", .to = "\"another\""},
         "there is tensor 'model.layers.0.self_attn.q_proj.packed', but no quantization_config"},
    };
    struct ptq_error err;
    EXPORT_OK(&err, open_edited(packed, &(struct edit){0}, &err));
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        assert_refused(row[i].words, open_edited(packed, &row[i].edit, &err), &err, row[i].words);
}

static void damaged_orders_and_scales(void **state)
{
    (void)state;
    static const char fc[] = "transformer.h.0.mlp.c_proj", divided[] = "transformer.h.0.mlp.c_proj.activation_scale";
    char order[64], gpt2[64], name[64];
    struct ptq_error err;
    make_test_folder(order);
    make_test_folder(gpt2);
    export_packed(tiny, "gptq:w4,g32,act_order=1", order);
    size_t perm = 128 + 96 * 32 + 96 * 2 * 4 + 6 * 2 * 8 + 32; /* behind head, codes, scales, zeros up to 64 */
    struct edit edit = {.tensor = UP, .at = perm, .bytes = 4, .value = 64};
    assert_refused("order", open_edited(order, &edit, &err), &err,
                   IN_FILE ";its order names a column twice, or one that is not there");
    export_packed(MODELS "gpt2", "awq:w4,g32,loss=gram", gpt2);
    static const uint32_t value[] = {0, 0xbf800000, 0x7fc00000};
    static const char *const words[] = {"element 1 is 0; it must be above 0", "element 1 is -1; it must be above 0",
                                        "NaN"};
    for (int i = 0; i < 3; i++) {
        edit = (struct edit){.tensor = divided, .at = 4, .bytes = 4, .value = value[i]};
        assert_refused(divided, open_edited(gpt2, &edit, &err), &err, words[i]);
        assert_non_null(strstr(err.text, divided));
    }
    edit = (struct edit){.tensor = divided, .grow = -1};
    assert_refused("short", open_edited(gpt2, &edit, &err), &err, "activation_scale;asks for");
    snprintf(name, sizeof name, "%s.packed", fc);
    edit = (struct edit){.tensor = name, .grow = 64};
    assert_refused("long", open_edited(gpt2, &edit, &err), &err, "c_proj.packed;bytes, but its head asks for");
    remove_test_folder(order);
    remove_test_folder(gpt2);
}

/* Asked for by itself, an image is looked at, too. */
static void codes_of_another_config(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_model model;
    struct ptq_quantized_linear linear;
    struct ptq_qmat q;
    struct ptq_error err;
    int found;
    EXPORT_OK(&err, ptq_model_open(arena, packed, "packed", &model, &err));
    EXPORT_OK(&err, ptq_quantized_find(model.quantization, &model.checkpoint, "model.layers.1.mlp.up_proj", 96, 64,
                                       &linear, &found, &err));
    EXPORT_OK(&err, ptq_quantized_codes(model.quantization, &linear, arena, &q, &err));
    model.quantization->bits = 5;
    assert_refused("codes", ptq_quantized_codes(model.quantization, &linear, arena, &q, &err), &err, UP ";4 bits");
    ptq_model_close(&model);
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

static int set_up(void **state)
{
    (void)state;
    begin_exports(cache, tiny);
    make_test_folder(packed);
    export_packed(tiny, "rtn:w4,g32", packed);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const char *const folder[] = {cache, tiny, packed};
    return end_exports(folder, 3);
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
        cmocka_unit_test(images_at_odd_places),
        cmocka_unit_test(damaged_images),
        cmocka_unit_test(damaged_orders_and_scales),
        cmocka_unit_test(codes_of_another_config),
        cmocka_unit_test(what_is_not_written),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
