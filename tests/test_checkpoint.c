/* Checkpoints: one file, shards, GGUF, what folders may hold instead; reading, hashing. Golden models where they are.
 */
#include "checkpoint.h"
#include "gguf.h"

#include "files.h"

#include <math.h>

/* ---- making ---- */

struct fixture {
    char folder[64];
    struct ptq_arena *arena;
    struct ptq_checkpoint checkpoint;
    struct ptq_error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    make_test_folder(f->folder);
    f->arena = ptq_arena_make("test");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ptq_checkpoint_close(&f->checkpoint);
    ptq_arena_free(f->arena);
    remove_test_folder(f->folder);
    free(f);
    return 0;
}

/* folder/name: a safetensors file with F16 tensors [2], one for each letter of names, all elements half. */
static void write_shard(const char *folder, const char *name, const char *names, uint16_t half)
{
    char header[1024] = "{";
    size_t used = 1;
    for (int i = 0; names[i]; i++)
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%s\"%c\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[%d,%d]}", i ? "," : "",
                                 names[i], 4 * i, 4 * i + 4);
    snprintf(header + used, sizeof header - used, "}");
    struct bytes b = {0};
    put_number(&b, strlen(header), 8);
    put(&b, header, strlen(header));
    for (size_t i = 0; i < 2 * strlen(names); i++) put_number(&b, half, 2);
    write_test_file(folder, name, b.data, b.size);
    free(b.data);
}

static enum ptq_status open_in(struct fixture *f, const char *name)
{
    ptq_checkpoint_close(&f->checkpoint);
    const char *path = *name ? ptq_join(f->arena, f->folder, name) : f->folder;
    return ptq_checkpoint_open(f->arena, path, &f->checkpoint, &f->err);
}

static void assert_opens(struct fixture *f, const char *name, int n_tensors)
{
    if (open_in(f, name)) fail_msg("%s", f->err.text);
    assert_int_equal(f->checkpoint.n_tensors, n_tensors);
}

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

#define MAP(text) "{\"metadata\":{\"total_size\":8},\"weight_map\":" text "}"
#define INDEX "model.safetensors.index.json"

static void shards_become_one_checkpoint(void **state)
{
    struct fixture *f = *state;
    write_shard(f->folder, "m-2.safetensors", "ad", 0x4000);
    write_shard(f->folder, "m-1.safetensors", "cb", 0x3c00);
    write_test_text(f->folder, INDEX,
                    MAP("{\"a\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\",\"c\":\"m-1.safetensors\"}"));
    assert_opens(f, "", 4);
    assert_int_equal(f->checkpoint.n_files, 2);
    float x[2];
    for (int i = 0; i < 4; i++) {
        const struct ptq_tensor *t = &f->checkpoint.tensor[i];
        assert_int_equal(t->name[0], 'a' + i);
        assert_int_equal(ptq_tensor_read(t, 0, 2, x, &f->err), PTQ_OK);
        assert_true(x[1] == (strchr("ad", t->name[0]) ? 2.0f : 1.0f));
    }
}

/* Two good shards, m-1 with a and b, m-2 with c, and an index that is wrong. */
static const struct {
    const char *name, *index, *words;
} bad_indices[] = {
    {"no weight_map", "{}", INDEX ";weight_map must be an object"},
    {"weight_map an array", MAP("[\"a\"]"), INDEX ";weight_map must be an object"},
    {"weight_map empty", MAP("{}"), INDEX ";weight_map"},
    {"no JSON", "{\"weight_map\":", INDEX ";line 1;not valid"},
    {"shard missing", MAP("{\"a\":\"m-1.safetensors\",\"c\":\"m-9.safetensors\"}"),
     "shard 2 of 2;m-9.safetensors;No such"},
    {"a number", MAP("{\"a\":1}"), INDEX ";'a' must be a file name"},
    {"folder above", MAP("{\"a\":\"../m-1.safetensors\"}"), INDEX ";'a';bare name"},
    {"absolute", MAP("{\"a\":\"/etc/passwd\"}"), INDEX ";'a';bare name"},
    {"folder below", MAP("{\"a\":\"x/m-1.safetensors\"}"), INDEX ";'a';bare name"},
    {"hidden", MAP("{\"a\":\".m-1.safetensors\"}"), INDEX ";'a';bare name"},
    {"with a space", MAP("{\"a\":\"m 1.safetensors\"}"), INDEX ";'a';bare name"},
    {"empty", MAP("{\"a\":\"\"}"), INDEX ";'a';bare name"},
    {"tensor elsewhere", MAP("{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}"),
     INDEX ";'b';m-2.safetensors, which has no such tensor"},
    {"tensor nowhere", MAP("{\"a\":\"m-1.safetensors\",\"z\":\"m-2.safetensors\"}"), INDEX ";'z';m-2.safetensors"},
    {"tensor in two", MAP("{\"a\":\"m-1.safetensors\",\"c\":\"m-3.safetensors\"}"),
     "'a';m-1.safetensors;m-3.safetensors"},
    {"FIFO", MAP("{\"a\":\"fifo.safetensors\"}"), "shard 1 of 1;fifo;regular file"},
    {"folder as shard", MAP("{\"a\":\"dir.safetensors\"}"), "shard 1 of 1;dir.safetensors;a folder"},
    {"link that leaves", MAP("{\"a\":\"out.safetensors\"}"), "shard 1 of 1;out.safetensors;outside"},
    {"device", MAP("{\"a\":\"dev.safetensors\"}"), "shard 1 of 1;dev.safetensors;outside"},
    {"link to itself", MAP("{\"a\":\"loop.safetensors\"}"), "shard 1 of 1;loop.safetensors;symbolic links"},
};

static void bad_indices_are_refused(void **state)
{
    struct fixture *f = *state;
    char path[128], target[128];
    write_shard(f->folder, "m/m-1.safetensors", "ab", 0);
    write_shard(f->folder, "m/m-2.safetensors", "c", 0);
    write_shard(f->folder, "m/m-3.safetensors", "ac", 0);
    write_shard(f->folder, "elsewhere.safetensors", "a", 0);
    snprintf(path, sizeof path, "%s/m/fifo.safetensors", f->folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(path, sizeof path, "%s/m/dir.safetensors", f->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/m/out.safetensors", f->folder);
    snprintf(target, sizeof target, "%s/elsewhere.safetensors", f->folder);
    assert_int_equal(symlink(target, path), 0);
    snprintf(path, sizeof path, "%s/m/dev.safetensors", f->folder);
    assert_int_equal(symlink("/dev/zero", path), 0);
    snprintf(path, sizeof path, "%s/m/loop.safetensors", f->folder);
    assert_int_equal(symlink("loop.safetensors", path), 0);
    for (size_t i = 0; i < sizeof bad_indices / sizeof *bad_indices; i++) {
        write_test_text(f->folder, "m/" INDEX, bad_indices[i].index);
        assert_refused(bad_indices[i].name, open_in(f, "m"), &f->err, bad_indices[i].words);
    }
}

/* More shards than anybody has, all of them missing: refused before one is looked for. */
static void an_index_of_very_many_shards_is_refused(void **state)
{
    struct fixture *f = *state;
    struct bytes b = {0};
    put(&b, "{\"weight_map\":{\"x\":\"x\"", 22);
    for (int i = 0; i < 5000; i++) {
        char entry[64];
        put(&b, entry, (size_t)snprintf(entry, sizeof entry, ",\"t%d\":\"s%d\"", i, i));
    }
    put(&b, "}}", 2);
    write_test_file(f->folder, INDEX, b.data, b.size);
    free(b.data);
    assert_refused("5001 shards", open_in(f, ""), &f->err, INDEX ";more than 4096 shards");
}

static void links_within_the_folder_are_followed(void **state)
{
    struct fixture *f = *state;
    char path[128];
    write_shard(f->folder, "m/blobs/x", "a", 0x3c00);
    snprintf(path, sizeof path, "%s/m/model.safetensors", f->folder);
    assert_int_equal(symlink("blobs/x", path), 0);
    assert_opens(f, "m", 1);
    assert_string_equal(f->checkpoint.file[0].path, path);
}

/* As the hub's own library lays it out: snapshots/COMMIT/model.safetensors -> ../../blobs/HASH. */
static void snapshots_reach_their_blobs_and_no_further(void **state)
{
    struct fixture *f = *state;
    char path[160];
    write_shard(f->folder, "models--o--m/blobs/x", "ab", 0x3c00);
    write_test_text(f->folder, "models--o--m/snapshots/c0ffee/config.json", "{}");
    snprintf(path, sizeof path, "%s/models--o--m/snapshots/c0ffee/model.safetensors", f->folder);
    assert_int_equal(symlink("../../blobs/x", path), 0);
    assert_opens(f, "models--o--m/snapshots/c0ffee", 2);
    write_shard(f->folder, "outside", "a", 0);
    assert_int_equal(unlink(path) | symlink("../../../outside", path), 0);
    assert_refused("out", open_in(f, "models--o--m/snapshots/c0ffee"), &f->err, "model.safetensors;outside");
    write_shard(f->folder, "models--o--m-2/blobs/x", "a", 0); /* a folder whose name merely begins alike */
    assert_int_equal(unlink(path) | symlink("../../../models--o--m-2/blobs/x", path), 0);
    assert_refused("beside", open_in(f, "models--o--m/snapshots/c0ffee"), &f->err, "model.safetensors;outside");
}

static void folders_without_safetensors_say_what_to_do(void **state)
{
    struct fixture *f = *state;
    assert_refused("empty", open_in(f, ""), &f->err, "holds no model;model.safetensors");
    write_test_text(f->folder, "pytorch_model.bin", "PK");
    assert_refused("bin", open_in(f, ""), &f->err, "pickled;never reads;python3 data/convert_bin.py /tmp/ptq-test-");
    write_test_text(f->folder, "m-Q4_1.gguf", "GGUF");
    assert_refused("gguf", open_in(f, ""), &f->err, "by its path;/m-Q4_1.gguf");
    assert_refused("none", open_in(f, "none"), &f->err, "none: cannot be opened");
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

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_folder_with_one_file_opens),
        TEST(a_file_is_told_by_its_magic),
        TEST(tensors_of_one_name_in_gguf_are_refused),
        TEST(shards_become_one_checkpoint),
        TEST(bad_indices_are_refused),
        TEST(an_index_of_very_many_shards_is_refused),
        TEST(links_within_the_folder_are_followed),
        TEST(snapshots_reach_their_blobs_and_no_further),
        TEST(folders_without_safetensors_say_what_to_do),
        TEST(parts_of_a_tensor_are_read),
        TEST(nan_and_infinity_are_named_with_their_place),
        TEST(a_bad_scale_in_gguf_is_named),
        TEST(a_dtype_of_known_size_only_is_no_weight),
        TEST(one_file_has_its_own_hash),
        TEST(a_folder_has_its_config_hash),
        TEST(shards_have_the_hash_of_their_list),
        TEST(golden_models_are_read_in_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
