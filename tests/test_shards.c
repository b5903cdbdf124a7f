/* Folders of shards: what an index may say, where its files may lie, and what folders hold instead. */
#include "shards.h"

#include "shard_files.h"

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
    {"damaged", MAP("{\"a\":\"m-1.safetensors\",\"z\":\"bad.safetensors\"}"), "bad.safetensors;header"},
    {"of nothing", MAP("{\"a\":\"m-1.safetensors\",\"z\":\"none.safetensors\"}"), "'z';none.safetensors, which has no"},
    {"link to itself", MAP("{\"a\":\"loop.safetensors\"}"), "shard 1 of 1;loop.safetensors;symbolic links"},
};

static void bad_indices_are_refused(void **state)
{
    struct fixture *f = *state;
    char path[128], target[128];
    write_shard(f->folder, "m/m-1.safetensors", "ab", 0);
    write_shard(f->folder, "m/m-2.safetensors", "c", 0);
    write_shard(f->folder, "m/m-3.safetensors", "ac", 0);
    write_shard(f->folder, "m/none.safetensors", "", 0);
    write_test_file(f->folder, "m/bad.safetensors", "\2\0\0\0\0\0\0\0[]", 10);
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

/* Two files, a of three tensors and b of one, and what quantize_config.json says. */
static void another_name_is_the_only_one_or_said(void **state)
{
    static const struct {
        const char *config;
        int n;             /* tensors of the file that is taken, or 0 */
        const char *words; /* why none is */
    } rows[] = {
        {NULL, 0, "nothing says which"},
        {"{\"bits\": 4}", 0, "nothing says which"},
        {"{\"model_file_base_name\": \"gptq_model-4bit-32g\"}", 3, NULL},
        {"{\"model_basename\": \"b\"}", 1, NULL},
        {"{\"model_basename\": \"b\", \"model_file_base_name\": \"gptq_model-4bit-32g\"}", 3, NULL},
        {"{\"model_file_base_name\": null, \"model_basename\": \"b\"}", 1, NULL},
        {"{\"model_file_base_name\": \"c\"}", 0, "nothing says which"},
        {"{\"model_file_base_name\": \"../outside\"}", 0, "nothing says which"},
        {"{\"model_file_base_name\": 1}", 0, "quantize_config.json: 'model_file_base_name' must be"},
        {"{\"model_basename\": 1}", 0, "quantize_config.json: 'model_basename' must be"},
        {"{", 0, "quantize_config.json;not valid"},
    };
    struct fixture *f = *state;
    write_shard(f->folder, "q/gptq_model-4bit-32g.safetensors", "abc", 0);
    assert_opens(f, "q", 3); /* the only one */
    write_shard(f->folder, "q/b.safetensors", "a", 0);
    write_shard(f->folder, "outside.safetensors", "a", 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].config) write_test_text(f->folder, "q/quantize_config.json", rows[i].config);
        if (rows[i].words)
            assert_refused("which", open_in(f, "q"), &f->err, rows[i].words);
        else
            assert_opens(f, "q", rows[i].n);
    }
    write_test_text(f->folder, "q/" INDEX, MAP("{\"a\":\"b.safetensors\"}"));
    assert_opens(f, "q", 1); /* an index is an index */
}

static void folders_without_safetensors_say_what_to_do(void **state)
{
    struct fixture *f = *state;
    assert_refused("empty", open_in(f, ""), &f->err, "holds no model;model.safetensors");
    write_test_text(f->folder, "pytorch_model.bin", "PK");
    assert_refused("bin", open_in(f, ""), &f->err, "pickled;never reads;python3 data/convert_bin.py /tmp/ptq-test-");
    write_test_text(f->folder, "m-Q4_1.gguf", "GGUF");
    assert_refused("gguf", open_in(f, ""), &f->err, "its GGUF by its path, such as;/m-Q4_1.gguf");
    assert_refused("none", open_in(f, "none"), &f->err, "none: cannot be opened");
    write_test_text(f->folder, "m/a b.safetensors", ""); /* a name that is not repeated */
    write_test_text(f->folder, "m/pytorch_model.txt", "");
    assert_refused("a blank", open_in(f, "m"), &f->err,
                   "nothing says which of its other .safetensors;to be called model.safetensors, and shards need");
    write_test_text(f->folder, "m/c d.gguf", "GGUF");
    assert_refused("a blank", open_in(f, "m"), &f->err, "give its GGUF by its path");
    if (strstr(f->err.text, "such as")) fail_msg("%s", f->err.text);
    write_shard(f->folder, "models/first/model.safetensors", "a", 0);
    write_test_text(f->folder, "models/second/" INDEX, "{}");
    write_test_text(f->folder, "models/a b/model.safetensors", "");
    assert_refused("folders", open_in(f, "models"), &f->err, "holds no model itself, but folders;such as;models/first");
    write_test_text(f->folder, "cached/snapshots/c0ffee/" INDEX, "{}");
    assert_refused("cached", open_in(f, "cached"), &f->err, "snapshots, such as;cached/snapshots/c0ffee");
    write_test_text(f->folder, "index/" INDEX, "{}");
    assert_int_equal(truncate(ptq_join(f->arena, f->folder, "index/" INDEX), (1 << 26) + 1), 0);
    assert_refused("large", open_in(f, "index"), &f->err, INDEX ";has 67108865 bytes; at most 20971520");
    assert_int_equal(unlink(ptq_join(f->arena, f->folder, "index/" INDEX)), 0);
    write_test_text(f->folder, "outside.json", MAP("{\"a\":\"a\"}"));
    assert_int_equal(symlink("../outside.json", ptq_join(f->arena, f->folder, "index/" INDEX)), 0);
    assert_refused("outside", open_in(f, "index"), &f->err, INDEX ";outside the model's folder");
    struct ptq_shards shards;
    const char *name, *gone = ptq_join(f->arena, f->folder, "gone"), *words = "gone: this folder cannot be read";
    assert_refused("gone", ptq_shards_read(f->arena, gone, &shards, &f->err), &f->err, words);
    assert_refused("gone", ptq_other_file(f->arena, gone, &name, &f->err), &f->err, words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shards_become_one_checkpoint),
        TEST(bad_indices_are_refused),
        TEST(an_index_of_very_many_shards_is_refused),
        TEST(links_within_the_folder_are_followed),
        TEST(snapshots_reach_their_blobs_and_no_further),
        TEST(another_name_is_the_only_one_or_said),
        TEST(folders_without_safetensors_say_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
