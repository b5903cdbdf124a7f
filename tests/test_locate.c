/* Names to paths: the cache, the MANIFEST, the Hugging Face cache, and the words when something is not here. */
#include "locate.h"

#include "files.h"

#include <pwd.h>

struct fixture {
    char folder[64];
    struct ptq_arena *arena;
    struct ptq_error err;
};

static const char *const variables[] = {
    "PTQ_CACHE", "PTQ_MANIFEST", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HOME"};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    make_test_folder(f->folder);
    f->arena = ptq_arena_make("test");
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ptq_arena_free(f->arena);
    remove_test_folder(f->folder);
    free(f);
    return 0;
}

static const char *in(struct fixture *f, const char *name)
{
    return ptq_join(f->arena, f->folder, name);
}

static void assert_model(struct fixture *f, const char *name, const char *want)
{
    const char *path;
    if (ptq_locate_model(f->arena, name, &path, &f->err)) fail_msg("%s: %s", name, f->err.text);
    assert_string_equal(path, want);
}

static void assert_no_model(struct fixture *f, const char *name, const char *words)
{
    const char *path;
    assert_refused(name, ptq_locate_model(f->arena, name, &path, &f->err), &f->err, words);
    assert_int_equal(f->err.status, PTQ_EINPUT);
}

/* ---- the cache ---- */

static void the_cache_is_where_the_environment_says(void **state)
{
    struct fixture *f = *state;
    const char *own = ptq_join(f->arena, getpwuid(getuid())->pw_dir, ".cache/ptq");
    assert_string_equal(ptq_cache_folder(f->arena), own);
    setenv("HOME", "", 1);
    assert_string_equal(ptq_cache_folder(f->arena), own);
    setenv("HOME", "/h", 1);
    assert_string_equal(ptq_cache_folder(f->arena), "/h/.cache/ptq");
    setenv("XDG_CACHE_HOME", "/x", 1);
    assert_string_equal(ptq_cache_folder(f->arena), "/x/ptq");
    setenv("PTQ_CACHE", "/p", 1);
    assert_string_equal(ptq_cache_folder(f->arena), "/p");
    setenv("PTQ_CACHE", "", 1); /* set to nothing is not set */
    assert_string_equal(ptq_cache_folder(f->arena), "/x/ptq");
}

static void models_of_the_cache_have_short_names(void **state)
{
    struct fixture *f = *state;
    setenv("PTQ_CACHE", f->folder, 1);
    write_test_text(f->folder, "models/small.gguf", "");
    write_test_text(f->folder, "models/folder/config.json", "{}");
    assert_model(f, "small", in(f, "models/small.gguf"));
    assert_model(f, "small.gguf", in(f, "models/small.gguf"));
    assert_model(f, "folder", in(f, "models/folder"));
}

static void an_existing_path_is_taken_as_it_is(void **state)
{
    struct fixture *f = *state;
    write_test_text(f->folder, "models/small.gguf", "");
    assert_model(f, in(f, "models/small.gguf"), in(f, "models/small.gguf"));
    assert_model(f, f->folder, f->folder);
}

static void names_of_the_manifest_say_how_to_fetch(void **state)
{
    struct fixture *f = *state;
    const char *path;
    write_test_text(f->folder, "M", "# comment | model\nbig | model | - | x\n essays|text | - | x\n");
    setenv("PTQ_MANIFEST", in(f, "M"), 1);
    setenv("PTQ_CACHE", in(f, "cache"), 1);
    assert_no_model(f, "big", "big: is not in the cache;cache/models;data/fetch big");
    assert_no_model(f, "bug", "bug: no such file or folder;no such model;did you mean 'big'?");
    assert_no_model(f, "xyz", "xyz: no such file or folder");
    setenv("PTQ_MANIFEST", in(f, "none"), 1); /* without it no name is known */
    assert_no_model(f, "big", "big: no such file or folder, and no name");
    char *large = ptq_alloc(f->arena, (1 << 20) + 2, "a MANIFEST");
    memset(large, '#', (1 << 20) + 1);
    write_test_text(f->folder, "large", large);
    setenv("PTQ_MANIFEST", in(f, "large"), 1);
    assert_no_model(f, "big", "big: no such file or folder, and no name");
    setenv("PTQ_MANIFEST", in(f, "M"), 1);
    assert_no_model(f, "essays", "essays: no such file or folder"); /* a text is no model */
    assert_refused("text", ptq_locate_text(f->arena, "essays", &path, &f->err), &f->err,
                   "cache/texts;data/fetch essays");
    assert_refused("like", ptq_locate_text(f->arena, "esays", &path, &f->err), &f->err, "no such text;mean 'essays'?");
    assert_refused("text", ptq_locate_text(f->arena, "big", &path, &f->err), &f->err, "big: no such text");
}

static void texts_of_the_cache_have_short_names(void **state)
{
    struct fixture *f = *state;
    const char *path;
    setenv("PTQ_CACHE", f->folder, 1);
    write_test_text(f->folder, "texts/essays.txt", "x");
    assert_int_equal(ptq_locate_text(f->arena, "essays", &path, &f->err), PTQ_OK);
    assert_string_equal(path, in(f, "texts/essays.txt"));
    assert_int_equal(ptq_locate_text(f->arena, path, &path, &f->err), PTQ_OK);
    assert_refused("above", ptq_locate_text(f->arena, "../texts/none", &path, &f->err), &f->err, "no such text");
}

/* ---- the hub's cache ---- */

static void write_hub_model(struct fixture *f, const char *hub)
{
    const char *model = ptq_format(f->arena, "%s/models--org--name", hub);
    write_test_text(f->folder, ptq_join(f->arena, model, "refs/main"), "c0ffee\n");
    write_test_text(f->folder, ptq_join(f->arena, model, "refs/pr/1"), "beef");
    write_test_text(f->folder, ptq_join(f->arena, model, "snapshots/c0ffee/config.json"), "{}");
    write_test_text(f->folder, ptq_join(f->arena, model, "snapshots/beef/config.json"), "{}");
}

static void the_hub_is_where_the_environment_says(void **state)
{
    struct fixture *f = *state;
    const char *tail = "models--org--name/snapshots/c0ffee";
    write_hub_model(f, "a/.cache/huggingface/hub");
    write_hub_model(f, "b/huggingface/hub");
    write_hub_model(f, "c/hub");
    write_hub_model(f, "d");
    write_hub_model(f, "e");
    setenv("HOME", in(f, "a"), 1);
    assert_model(f, "org/name", ptq_format(f->arena, "%s/a/.cache/huggingface/hub/%s", f->folder, tail));
    setenv("XDG_CACHE_HOME", in(f, "b"), 1);
    assert_model(f, "org/name", ptq_format(f->arena, "%s/b/huggingface/hub/%s", f->folder, tail));
    setenv("HF_HOME", in(f, "c"), 1);
    assert_model(f, "org/name", ptq_format(f->arena, "%s/c/hub/%s", f->folder, tail));
    setenv("HUGGINGFACE_HUB_CACHE", in(f, "e"), 1);
    assert_model(f, "org/name", ptq_format(f->arena, "%s/e/%s", f->folder, tail));
    setenv("HF_HUB_CACHE", in(f, "d"), 1);
    assert_model(f, "org/name", ptq_format(f->arena, "%s/d/%s", f->folder, tail));
}

/* What nothing expanded on the way here, as the environment of a container: ~ alone, and no other user's. */
static void the_hubs_folder_may_begin_with_a_tilde(void **state)
{
    struct fixture *f = *state;
    const char *tail = "models--org--name/snapshots/c0ffee";
    write_hub_model(f, "a/hub");
    setenv("HOME", in(f, "a"), 1);
    setenv("HF_HOME", "~", 1);
    assert_model(f, "org/name", ptq_format(f->arena, "%s/a/hub/%s", f->folder, tail));
    setenv("HF_HUB_CACHE", "~/hub", 1);
    assert_model(f, "org/name", ptq_format(f->arena, "%s/a/hub/%s", f->folder, tail));
    write_hub_model(f, "a");
    setenv("HF_HUB_CACHE", "~", 1);
    assert_model(f, "org/name", ptq_format(f->arena, "%s/a/%s", f->folder, tail));
    setenv("HF_HUB_CACHE", "~a/hub", 1);
    assert_no_model(f, "org/name", "cache (~a/hub)");
    setenv("HF_HUB_CACHE", "~/hub", 1);
    unsetenv("HOME");
    assert_no_model(f, "org/name", ptq_format(f->arena, "cache (%s/hub)", getpwuid(getuid())->pw_dir));
}

/* The hub's oldest models, as "gpt2". What is not in its cache may be anything: a path, or a name of the MANIFEST. */
static void a_model_may_have_no_organisation(void **state)
{
    struct fixture *f = *state;
    setenv("HF_HUB_CACHE", f->folder, 1);
    write_test_text(f->folder, "M", "small | model | - | x\n");
    setenv("PTQ_MANIFEST", in(f, "M"), 1);
    write_test_text(f->folder, "models--gpt2/refs/main", "c0ffee");
    write_test_text(f->folder, "models--gpt2/refs/pr/1", "beef");
    write_test_text(f->folder, "models--gpt2/snapshots/c0ffee/config.json", "{}");
    write_test_text(f->folder, "models--gpt2/snapshots/beef/config.json", "{}");
    assert_model(f, "gpt2", in(f, "models--gpt2/snapshots/c0ffee"));
    assert_model(f, "gpt2@beef", in(f, "models--gpt2/snapshots/beef"));
    assert_model(f, "gpt2@pr/1", in(f, "models--gpt2/snapshots/beef"));
    assert_no_model(f, "gpt2@other", "revision other is not in;data/fetch hub gpt2@other");
    assert_no_model(f, "gpt2@..", "no revision");
    assert_no_model(f, "gpt3", "gpt3: no such file or folder, and no name");
    assert_no_model(f, "gpt3@main", "gpt3@main: no such file or folder, and no name");
    assert_no_model(f, "smal", "did you mean 'small'?");
}

static void revisions_are_commits_branches_and_tags(void **state)
{
    struct fixture *f = *state;
    setenv("HF_HUB_CACHE", f->folder, 1);
    write_hub_model(f, ".");
    assert_model(f, "org/name@main", in(f, "models--org--name/snapshots/c0ffee"));
    assert_model(f, "org/name@beef", in(f, "models--org--name/snapshots/beef"));
    assert_model(f, "org/name@pr/1", in(f, "models--org--name/snapshots/beef"));
    assert_no_model(f, "org/name@other", "revision other is not in;data/fetch hub org/name@other");
    assert_no_model(f, "org/name@../../x", "no revision");
    assert_no_model(f, "org/name@/etc", "no revision");
    assert_no_model(f, "org/name@", "no revision");
    assert_no_model(f, "org/name@a!b", "no revision");
    char *large = ptq_alloc(f->arena, 300, "a revision");
    memset(large, 'r', 299);
    assert_no_model(f, ptq_format(f->arena, "org/name@%s", large), "no revision");
    assert_no_model(f, "name@pr/1", "no name of a model"); /* the organisation is missing */
}

/* What refs/ holds is a file's content: it names a snapshot or nothing. */
static void a_ref_leads_nowhere_else(void **state)
{
    struct fixture *f = *state;
    setenv("HF_HUB_CACHE", f->folder, 1);
    write_hub_model(f, ".");
    write_test_text(f->folder, "secret/config.json", "{}");
    write_test_text(f->folder, "models--org--name/refs/main", "../../secret");
    assert_no_model(f, "org/name", "is not in the Hugging Face cache");
    char *large = ptq_alloc(f->arena, 1000, "a ref");
    memset(large, 'c', 999);
    write_test_text(f->folder, "models--org--name/refs/main", large);
    assert_no_model(f, "org/name", "refs/main: is larger than the 256 bytes");
    write_test_text(f->folder, "models--org--name/refs/main", "");
    assert_no_model(f, "org/name", "is not in the Hugging Face cache");
}

/* Where the model's folder itself is a link, to a larger disk say, its snapshots are still its own. */
static void a_snapshot_leads_nowhere_else(void **state)
{
    struct fixture *f = *state;
    setenv("HF_HUB_CACHE", f->folder, 1);
    write_test_text(f->folder, "disk/snapshots/c/config.json", "{}");
    write_test_text(f->folder, "secret/config.json", "{}");
    assert_int_equal(symlink("disk", in(f, "models--org--name")), 0);
    const char *path;
    assert_int_equal(ptq_locate_model(f->arena, "org/name@c", &path, &f->err), PTQ_OK);
    assert_int_equal(symlink("../../secret", in(f, "disk/snapshots/d")), 0);
    assert_no_model(f, "org/name@d", "org/name@d: the snapshot;snapshots/d is a link that leaves;models--org--name");
}

/* A place that the system cannot say anything of, as a link to itself, is not passed over for the next one. */
static void a_place_that_cannot_be_looked_at(void **state)
{
    struct fixture *f = *state;
    static const char *const places[][2] = {
        {"here", NULL},
        {"models/short", "short"},
        {"models/short.gguf", "short"},
        {"models--org--name", "org/name"},
        {"models--org--name/refs/main", "org/name"},
        {"models--org--name/snapshots/main", "org/name"},
    };
    setenv("HF_HUB_CACHE", f->folder, 1);
    setenv("PTQ_CACHE", f->folder, 1);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *name = places[i][1], *path = in(f, places[i][0]), *found;
        write_test_text(f->folder, ptq_format(f->arena, "%s.folder/x", places[i][0]), "");
        assert_int_equal(symlink(ptq_file_name(path), path), 0);
        enum ptq_status status = ptq_locate_model(f->arena, name ? name : path, &found, &f->err);
        assert_refused(places[i][0], status, &f->err, ptq_format(f->arena, "%s: cannot be looked for: Too many", path));
        assert_int_equal(status, PTQ_EIO);
        unlink(path);
    }
    const char *path = in(f, "text"), *found;
    assert_int_equal(symlink("text", path), 0);
    assert_refused("a text", ptq_locate_text(f->arena, path, &found, &f->err), &f->err, "text: cannot be looked for");
}

static void what_is_not_here_says_what_to_do(void **state)
{
    struct fixture *f = *state;
    setenv("HOME", f->folder, 1);
    assert_no_model(f, "org/other", "org/other: no such file or folder;Hugging Face cache;data/fetch hub org/other");
    assert_no_model(f, "folder/model.gguf", "folder/model.gguf: no such file or folder, and no name");
    assert_no_model(f, "a/b/c", "a/b/c: no such file or folder, and no name");
    assert_no_model(f, "../x", "../x: no such file or folder, and no name");
    assert_no_model(f, "/x", "/x: no such file or folder, and no name");
    assert_no_model(f, "", "no such file or folder, and no name");
    assert_no_model(f, "org/na me", "org/na me: no such file or folder, and no name");
}

/* A card names the hub's models alone: what lies here by the same name is a path. */
static void an_id_of_the_hub_is_no_path(void **state)
{
    static const struct {
        const char *name, *id;
    } row[] = {{"org/name", "org/name"}, {"org/name@v1.0", "org/name"}, {"name", NULL},
               {"/org/name", NULL},      {"org/name.gguf", NULL},       {"a/b/c", NULL},
               {"here/folder", NULL},    {"here/file", NULL},           {"here/other", "here/other"},
               {"./name", NULL},         {"org/a name", NULL}};
    struct fixture *f = *state;
    char was[4096];
    assert_non_null(getcwd(was, sizeof was));
    write_test_text(f->folder, "here/folder/x", "text");
    write_test_text(f->folder, "here/file", "text");
    assert_int_equal(chdir(f->folder), 0);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const char *id = ptq_hub_id(f->arena, row[i].name);
        if (!id != !row[i].id || (id && strcmp(id, row[i].id))) fail_msg("%s: %s", row[i].name, id ? id : "none");
    }
    assert_int_equal(chdir(was), 0);
}

/* ---- members ---- */

static void assert_maps(struct fixture *f, enum ptq_status status, const struct ptq_mapped *file)
{
    if (status) fail_msg("%s", f->err.text);
    assert_memory_equal(file->data, "text", 4);
}

static void members_lie_beneath_their_folder(void **state)
{
    struct fixture *f = *state;
    struct ptq_mapped file;
    write_test_text(f->folder, "m/x", "text");
    write_test_text(f->folder, "other/blobs/x", "text");
    write_test_text(f->folder, "other/snapshots/c/y", "text");
    assert_int_equal(symlink("../../blobs/x", in(f, "other/snapshots/c/x")), 0);
    assert_maps(f, ptq_map_member(f->arena, in(f, "m"), "x", &file, &f->err), &file);
    ptq_unmap(&file);
    assert_maps(f, ptq_map_member(f->arena, "/", in(f, "m/x"), &file, &f->err), &file); /* all is beneath that */
    ptq_unmap(&file);
    /* only the hub's own folders reach their blobs */
    assert_refused("other", ptq_map_member(f->arena, in(f, "other/snapshots/c"), "x", &file, &f->err), &f->err,
                   "other/snapshots/c/x;outside the model's folder");
    assert_refused("no folder", ptq_map_inside(f->arena, in(f, "none/x"), &file, &f->err), &f->err,
                   "none/x: cannot be");
    assert_refused("root", ptq_map_inside(f->arena, "/no-such-file", &file, &f->err), &f->err, "/no-such-file: cannot");
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(in(f, "m")), 0);
    assert_maps(f, ptq_map_inside(f->arena, "x", &file, &f->err), &file);
    ptq_unmap(&file);
    assert_int_equal(chdir(here), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_cache_is_where_the_environment_says),
        TEST(models_of_the_cache_have_short_names),
        TEST(an_existing_path_is_taken_as_it_is),
        TEST(names_of_the_manifest_say_how_to_fetch),
        TEST(texts_of_the_cache_have_short_names),
        TEST(the_hub_is_where_the_environment_says),
        TEST(the_hubs_folder_may_begin_with_a_tilde),
        TEST(a_model_may_have_no_organisation),
        TEST(revisions_are_commits_branches_and_tags),
        TEST(a_ref_leads_nowhere_else),
        TEST(a_snapshot_leads_nowhere_else),
        TEST(a_place_that_cannot_be_looked_at),
        TEST(what_is_not_here_says_what_to_do),
        TEST(members_lie_beneath_their_folder),
        TEST(an_id_of_the_hub_is_no_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
