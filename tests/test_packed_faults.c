/* ptq's own folders as strangers may have them: images at any place of one file give the same numbers; what is damaged
 * is refused by its file and the linear's name. */
#include "packed_folder.h"

/* One thing wrong in a copy, which is one file with images at odd places. */
struct edit {
    const char *tensor; /* NULL: none */
    int drop, retype;   /* retype: I8 */
    int columns;        /* a second dimension of 1 */
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
    ptq_tensor_plan(to, t->name, dtype, t->shape[0] + (edited ? e->grow : 0),
                    t->rank > 1            ? t->shape[1]
                    : edited && e->columns ? 1
                                           : -1);
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
    struct ptq_model model;
    struct ptq_block block;
    EXPORT_OK(&err, ptq_model_open(arena, folder, "odd", &model, &err));
    model.path = PTQ_PATH_PACKED;
    EXPORT_OK(&err, ptq_block_load(&model, 0, arena, &block, &err));
    assert_int_equal((uintptr_t)block.linear[PTQ_UP].packed->image % 64, 0); /* a copy */
    ptq_model_close(&model);
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
        {{.tensor = UP, .retype = 1}, "tensor '" UP "' is I8 of 1 dimensions; it must be U8 of one"},
        {{.tensor = UP, .columns = 1}, "tensor '" UP "' is U8 of 2 dimensions; it must be U8 of one"},
        {{.tensor = UP, .bytes = 1}, IN_FILE "this is no packed linear"},
        {{.tensor = UP, .at = 8, .bytes = 4, .value = 2}, IN_FILE "packed form of version 2;reads version 1"},
        {{.tensor = UP, .at = 56, .bytes = 4, .value = 9}, IN_FILE "the packed linear's head is damaged"},
        {{.tensor = UP, .at = 84, .bytes = 4, .value = 2}, IN_FILE "the packed linear's head is damaged"},
        {{.tensor = UP, .at = 96, .bytes = 8, .value = 3}, IN_FILE "the packed linear's head is damaged"},
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
    static const uint32_t value[] = {0, 0xbf800000, 0x7fc00000, 0x7f800000};
    static const char *const words[] = {"element 1 is 0; it must be above 0", "element 1 is -1; it must be above 0",
                                        "NaN", "infinite"};
    for (int i = 0; i < 4; i++) {
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_at_odd_places),
        cmocka_unit_test(damaged_images),
        cmocka_unit_test(damaged_orders_and_scales),
        cmocka_unit_test(codes_of_another_config),
    };
    return cmocka_run_group_tests(tests, make_packed, remove_packed);
}
