/* Checkpoints: one file, GGUF; reading, hashing. Golden models where they are. Shards are in test_shards.c. */
#include "checkpoint.h"
#include "gguf.h"

#include "progress.h"
#include "shard_files.h"

#include <signal.h>

/* ---- opening ---- */

static void a_folder_with_one_file_opens(void **state)
{
    struct fixture *f = *state;
    write_shard(f->folder, "model.safetensors", "cab", 0x3c00);
    assert_opens(f, "", 3);
    assert_string_equal(f->checkpoint.folder, f->folder);
    for (int i = 0; i < 3; i++) assert_int_equal(f->checkpoint.tensor[i].name[0], 'a' + i);
    assert_string_equal(ptq_checkpoint_find(&f->checkpoint, "b")->name, "b");
    assert_null(ptq_checkpoint_find(&f->checkpoint, "d"));
    assert_opens(f, "model.safetensors", 3);
    assert_null(f->checkpoint.folder);
    assert_null(f->checkpoint.gguf);
}

static void a_file_is_told_by_its_magic(void **state)
{
    struct fixture *f = *state;
    struct bytes b = assemble("'GGUF' 3:4 1:8 1:8 \"k\" 4:4 7:4 \"w\" 2:4 3:8 2:8 0:4 0:8 @32 *24");
    write_test_file(f->folder, "x.safetensors", b.data, b.size);
    free(b.data);
    assert_opens(f, "x.safetensors", 1);
    assert_non_null(f->checkpoint.gguf);
    assert_true(ptq_gguf_has(f->checkpoint.gguf, "k"));
    assert_int_equal(ptq_checkpoint_find(&f->checkpoint, "w")->shape[0], 2);
}

static void tensors_of_one_name_in_gguf_are_refused(void **state)
{
    struct fixture *f = *state;
    struct bytes b = assemble("'GGUF' 3:4 2:8 0:8 \"w\" 1:4 8:8 0:4 0:8 \"w\" 1:4 8:8 0:4 32:8 @32 *64");
    write_test_file(f->folder, "x.gguf", b.data, b.size);
    free(b.data);
    assert_refused("twice", open_in(f, "x.gguf"), &f->err, "x.gguf;'w' is there twice");
}

/* ---- reading ---- */

static void parts_of_a_tensor_are_read(void **state)
{
    struct fixture *f = *state;
    enum { N = 10000 };
    static float x[N];
    struct bytes b = {0};
    char header[100];
    snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"BF16\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", N, 2 * N);
    put_number(&b, strlen(header), 8);
    put(&b, header, strlen(header));
    for (int i = 0; i < N; i++) put_number(&b, (uint64_t)i + 1, 2);
    write_test_file(f->folder, "model.safetensors", b.data, b.size);
    free(b.data);
    assert_opens(f, "", 1);
    assert_int_equal(ptq_tensor_read(&f->checkpoint.tensor[0], 17, N - 17, x, &f->err), PTQ_OK);
    for (int i = 0; i < N - 17; i++) {
        uint32_t bits = (uint32_t)(i + 18) << 16;
        assert_memory_equal(&x[i], &bits, 4);
    }
    assert_int_equal(ptq_tensor_read(&f->checkpoint.tensor[0], N, 0, x, &f->err), PTQ_OK);
}

/* F32 [N] with one bad value at place at. */
static void write_bad_value(struct fixture *f, int n, int at, uint32_t bits)
{
    struct bytes b = {0};
    char header[100];
    snprintf(header, sizeof header, "{\"some.w\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", n,
             4 * n);
    put_number(&b, strlen(header), 8);
    put(&b, header, strlen(header));
    for (int i = 0; i < n; i++) put_number(&b, i == at ? bits : 0x7f7fffff, 4); /* else the largest finite */
    write_test_file(f->folder, "model.safetensors", b.data, b.size);
    free(b.data);
}

static void nan_and_infinity_are_named_with_their_place(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint32_t bits;
        int at;
        const char *words;
    } rows[] = {
        {0x7fc00000, 0, "'some.w': element 0 is NaN"},
        {0x7f800001, 4095, "'some.w': element 4095 is NaN"},
        {0xffc00000, 4096, "'some.w': element 4096 is NaN"},
        {0x7f800000, 8999, "'some.w': element 8999 is infinite"},
        {0xff800000, 5001, "'some.w': element 5001 is infinite"},
    };
    static float x[9000];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_bad_value(f, 9000, rows[i].at, rows[i].bits);
        assert_opens(f, "", 1);
        const struct ptq_tensor *t = &f->checkpoint.tensor[0];
        assert_int_equal(ptq_tensor_read(t, 0, 9000, x, &f->err), PTQ_ENUMERIC);
        assert_refused("bad value", f->err.status, &f->err, rows[i].words);
        int first = rows[i].at / 2; /* counted from the tensor's beginning, wherever the reading began */
        assert_int_equal(ptq_tensor_read(t, first, 9000 - first, x, &f->err), PTQ_ENUMERIC);
        assert_refused("bad value", f->err.status, &f->err, rows[i].words);
        assert_int_equal(ptq_tensor_read(t, 0, rows[i].at, x, &f->err), PTQ_OK);
    }
}

static void a_bad_scale_in_gguf_is_named(void **state)
{
    struct fixture *f = *state;
    struct bytes b = assemble("'GGUF' 3:4 1:8 0:8 \"blk.0.w\" 2:4 32:8 2:8 8:4 0:8 @32 *34 0x7e00:2 *32");
    write_test_file(f->folder, "x.gguf", b.data, b.size);
    free(b.data);
    float x[64];
    assert_opens(f, "x.gguf", 1);
    assert_int_equal(ptq_tensor_read(&f->checkpoint.tensor[0], 0, 32, x, &f->err), PTQ_OK);
    assert_int_equal(ptq_tensor_read(&f->checkpoint.tensor[0], 32, 32, x, &f->err), PTQ_ENUMERIC);
    assert_refused("scale", f->err.status, &f->err, "x.gguf;'blk.0.w': element 32 is NaN");
}

static void a_dtype_of_known_size_only_is_no_weight(void **state)
{
    struct fixture *f = *state;
    struct bytes b = assemble("67:8 '{\"w\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}' @1 *8");
    memcpy(b.data, (uint64_t[]){b.size - 16}, 8);
    write_test_file(f->folder, "model.safetensors", b.data, b.size);
    free(b.data);
    float x;
    assert_opens(f, "", 1);
    assert_refused("I64", ptq_tensor_read(&f->checkpoint.tensor[0], 0, 1, &x, &f->err), &f->err, "'w' is I64");
}

/* ---- identity ---- */

static void one_file_has_its_own_hash(void **state)
{
    struct fixture *f = *state;
    char hex[PTQ_SHA256_HEX], want[PTQ_SHA256_HEX];
    write_shard(f->folder, "model.safetensors", "ab", 0x3c00);
    assert_opens(f, "model.safetensors", 2);
    ptq_sha256(f->checkpoint.file[0].data, f->checkpoint.file[0].size, want);
    assert_int_equal(ptq_checkpoint_sha256(&f->checkpoint, hex, &f->err), PTQ_OK);
    assert_string_equal(hex, want);
}

/* The same weights mean something else under another config.json, or another of the files that say how codes are meant.
 */
static void a_folder_has_its_config_hash(void **state)
{
    struct fixture *f = *state;
    char hex[5][PTQ_SHA256_HEX];
    static const char *const config[] = {"{}", "{\"rope_theta\": 1}", "{}", "{}", "{}"};
    static const char *const codes[] = {NULL, NULL, NULL, "{\"checkpoint_format\": \"gptq\"}",
                                        "{\"checkpoint_format\": \"gptq_v2\"}"};
    for (int i = 0; i < 5; i++) {
        write_shard(f->folder, "model.safetensors", "ab", 0x3c00);
        write_test_text(f->folder, "config.json", config[i]);
        if (codes[i]) write_test_text(f->folder, "quantize_config.json", codes[i]);
        assert_opens(f, "", 2);
        assert_int_equal(ptq_checkpoint_config_sha256(&f->checkpoint, hex[i], &f->err), PTQ_OK);
        ptq_checkpoint_close(&f->checkpoint);
    }
    assert_string_not_equal(hex[0], hex[1]);
    assert_string_equal(hex[0], hex[2]);
    assert_string_not_equal(hex[2], hex[3]);
    assert_string_not_equal(hex[3], hex[4]);
}

static void shards_have_the_hash_of_their_list(void **state)
{
    struct fixture *f = *state;
    char hex[PTQ_SHA256_HEX], want[PTQ_SHA256_HEX], a[PTQ_SHA256_HEX], b[PTQ_SHA256_HEX], list[256];
    write_shard(f->folder, "b.safetensors", "b", 0x3c00);
    write_shard(f->folder, "a.safetensors", "a", 0x4000);
    write_test_text(f->folder, INDEX, MAP("{\"b\":\"b.safetensors\",\"a\":\"a.safetensors\"}"));
    assert_opens(f, "", 2);
    ptq_sha256(f->checkpoint.file[0].data, f->checkpoint.file[0].size, a);
    ptq_sha256(f->checkpoint.file[1].data, f->checkpoint.file[1].size, b);
    snprintf(list, sizeof list, "a.safetensors %s\nb.safetensors %s\n", a, b);
    ptq_sha256(list, strlen(list), want);
    assert_int_equal(ptq_checkpoint_sha256(&f->checkpoint, hex, &f->err), PTQ_OK);
    assert_string_equal(hex, want);
}

/* A config that leads out of the folder is not read, and so has no hash. */
static void configs_elsewhere_have_no_hash(void **state)
{
    struct fixture *f = *state;
    char hex[PTQ_SHA256_HEX];
    static const char *const name[] = {"config.json", "quant_config.json"};
    write_test_text(f->folder, "outside.json", "{}");
    write_shard(f->folder, "m/model.safetensors", "", 0);
    assert_opens(f, "m", 0);
    assert_null(ptq_checkpoint_find(&f->checkpoint, "a"));
    for (int i = 0; i < 2; i++) {
        const char *path = ptq_format(f->arena, "%s/m/%s", f->folder, name[i]);
        assert_int_equal(symlink("../outside.json", path), 0);
        assert_refused(name[i], ptq_checkpoint_config_sha256(&f->checkpoint, hex, &f->err), &f->err,
                       "outside the model");
        assert_int_equal(unlink(path), 0);
    }
    write_test_file(f->folder, "m/model.safetensors", "\2\0\0\0\0\0\0\0[]", 10);
    assert_refused("damaged", open_in(f, "m"), &f->err, "model.safetensors;header");
}

/* The last test: the signal stays. Hashing ends within the megabyte. */
static void hashing_can_be_interrupted(void **state)
{
    struct fixture *f = *state;
    enum { BYTES = 3 << 20 };
    char hex[PTQ_SHA256_HEX];
    struct bytes b = {0};
    char header[100];
    snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"F16\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", BYTES / 2,
             BYTES);
    put_number(&b, strlen(header), 8);
    put(&b, header, strlen(header));
    put_zeros(&b, BYTES);
    write_test_file(f->folder, "one/model.safetensors", b.data, b.size);
    free(b.data);
    write_shard(f->folder, "two/a.safetensors", "a", 0);
    write_shard(f->folder, "two/b.safetensors", "b", 0);
    write_test_text(f->folder, "two/" INDEX, MAP("{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\"}"));
    ptq_catch_signals();
    raise(SIGINT);
    static const char *const name[] = {"one", "two"};
    for (int i = 0; i < 2; i++) {
        assert_opens(f, name[i], i + 1);
        assert_int_equal(ptq_checkpoint_sha256(&f->checkpoint, hex, &f->err), PTQ_EINTERRUPT);
    }
}

/* ---- golden ---- */

static void golden_models_are_read_in_full(void **state)
{
    struct fixture *f = *state;
    static const char *const models[] = {"llama", "llama3", "opt", "opt350", "qwen2", "mistral", "gpt2", "bloom"};
    if (!ptq_is_folder(PTQ_GOLDEN "/models")) {
        print_message("skipped: no golden models in " PTQ_GOLDEN "\n");
        skip();
    }
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct ptq_checkpoint *c = &f->checkpoint;
        const char *path = ptq_join(f->arena, PTQ_GOLDEN "/models", models[i]);
        if (ptq_checkpoint_open(f->arena, path, c, &f->err)) fail_msg("%s", f->err.text);
        assert_true(c->n_tensors > 10);
        for (int j = 0; j < c->n_tensors; j++) {
            const struct ptq_tensor *t = &c->tensor[j];
            struct ptq_mark mark = ptq_arena_mark(f->arena);
            float *x = ptq_new(f->arena, float, t->count);
            if (ptq_tensor_read(t, 0, t->count, x, &f->err)) fail_msg("%s", f->err.text);
            ptq_arena_rewind(f->arena, mark);
        }
        ptq_checkpoint_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_folder_with_one_file_opens),
        TEST(a_file_is_told_by_its_magic),
        TEST(tensors_of_one_name_in_gguf_are_refused),
        TEST(parts_of_a_tensor_are_read),
        TEST(nan_and_infinity_are_named_with_their_place),
        TEST(a_bad_scale_in_gguf_is_named),
        TEST(a_dtype_of_known_size_only_is_no_weight),
        TEST(one_file_has_its_own_hash),
        TEST(a_folder_has_its_config_hash),
        TEST(shards_have_the_hash_of_their_list),
        TEST(configs_elsewhere_have_no_hash),
        TEST(golden_models_are_read_in_full),
        TEST(hashing_can_be_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
