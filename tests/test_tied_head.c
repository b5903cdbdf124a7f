/* A head that the config ties to the embedding, and that is there all the same: a copy says nothing, another head is
 * the head. */
#include "cells.h"
#include "claims.h"
#include "edited_checkpoint.h"
#include "said.h"

#define HEAD "lm_head.weight"
#define EMBED "model.embed_tokens.weight"

static char cache[64], tiny[64], tied[64];

/* A head to be written beside the embedding. */
static const struct {
    const char *what, *name;
    enum ptq_dtype dtype;
    int changes, fewer;  /* one number becomes another; rows that it lacks */
    double change;       /* which */
    const char *refused; /* its words, or NULL */
} heads[] = {
    {"a copy", HEAD, PTQ_F16, 0, 0, 0, NULL},
    {"a copy in another type", HEAD, PTQ_F32, 0, 0, 0, NULL},
    {"another last number", HEAD, PTQ_F16, 1, 0, 0.75, NULL},
    {"another last number in another type", HEAD, PTQ_F32, 1, 0, 0.75, NULL},
    {"a damaged one", HEAD, PTQ_F32, 1, 0, NAN, HEAD ";NaN"},
    {"one of another shape", HEAD, PTQ_F16, 0, 1, 0, HEAD "' is [286, 64]; the config asks for [287, 64]"},
    {"one of another place", "model." HEAD, PTQ_F16, 0, 0, 0, "'model." HEAD "' is none that a model of this config"},
};
enum { N_HEADS = sizeof heads / sizeof *heads };

static void write_head(struct ptq_arena *arena, struct ptq_tensor_writer *writer, const struct ptq_tensor *embed,
                       size_t row)
{
    struct ptq_error err;
    int64_t n = embed->count - heads[row].fewer * embed->shape[1];
    float *x = ptq_new(arena, float, embed->count);
    EXPORT_OK(&err, ptq_tensor_read(embed, 0, embed->count, x, &err));
    if (heads[row].changes) x[n - 1] = (float)heads[row].change;
    if (heads[row].dtype == PTQ_F16)
        EXPORT_OK(&err, ptq_tensor_write_f16(writer, heads[row].name, x, n, &err));
    else
        EXPORT_OK(&err, ptq_tensor_write(writer, heads[row].name, x, sizeof *x * (size_t)n, &err));
}

/* The tied model with a head of that row, in an empty folder. */
static void make_with_head(const char *folder, size_t row)
{
    struct ptq_arena *arena = ptq_arena_make("head");
    struct ptq_tensor_writer *writer = ptq_tensor_writer_make(arena);
    struct ptq_checkpoint c;
    struct ptq_error err;
    EXPORT_OK(&err, ptq_checkpoint_open(arena, tied, &c, &err));
    const struct ptq_tensor *embed = ptq_checkpoint_find(&c, EMBED);
    for (int i = 0; i < c.n_tensors; i++) {
        const struct ptq_tensor *t = &c.tensor[i];
        ptq_tensor_plan(writer, t->name, t->dtype, t->shape[0], t->rank > 1 ? t->shape[1] : -1);
    }
    ptq_tensor_plan(writer, heads[row].name, heads[row].dtype, embed->shape[0] - heads[row].fewer, embed->shape[1]);
    EXPORT_OK(&err, ptq_safetensors_open(writer, folder, UINT64_MAX, &err));
    for (int i = 0; i < c.n_tensors; i++)
        EXPORT_OK(&err, ptq_tensor_write(writer, c.tensor[i].name, c.tensor[i].data, c.tensor[i].bytes, &err));
    write_head(arena, writer, embed, row);
    EXPORT_OK(&err, ptq_tensor_writer_finish(writer, &err));
    ptq_checkpoint_close(&c);
    copy_config(tied, folder, &(struct edit){0});
    copy_file(ptq_join(arena, tied, "tokenizer.json"), folder, "tokenizer.json");
    ptq_arena_free(arena);
}

struct opening {
    const char *folder;
    struct ptq_arena *arena;
    int own; /* the head is no embedding */
};

static void open_loud(void *context)
{
    struct opening *o = context;
    struct ptq_model model;
    struct ptq_error err;
    ptq_progress_quiet(PTQ_LOUD);
    EXPORT_OK(&err, ptq_model_open(o->arena, o->folder, "tied", &model, &err));
    ptq_progress_quiet(PTQ_QUIET);
    o->own = model.head != model.embed;
    ptq_model_close(&model);
}

static void expect_head(const char *folder, size_t row)
{
    struct opening o = {.folder = folder, .arena = ptq_arena_make("opening")};
    const char *said = said_by(o.arena, open_loud, &o);
    int told = strstr(said, "ties the head to the embedding, but tensor '" HEAD "' differs from '" EMBED "'") != NULL;
    if (o.own != heads[row].changes || told != heads[row].changes) fail_msg("%s: it says: %s", heads[row].what, said);
    assert_true((ppl_of(folder) != ppl_of(tied)) == heads[row].changes);
    ptq_arena_free(o.arena);
}

static void copies_are_none_and_others_count(void **state)
{
    (void)state;
    for (size_t row = 0; row < N_HEADS; row++) {
        char folder[64];
        struct ptq_arena *arena = ptq_arena_make("refused");
        struct ptq_model model;
        struct ptq_error err;
        make_test_folder(folder);
        make_with_head(folder, row);
        if (heads[row].refused)
            assert_refused(heads[row].what, ptq_model_open(arena, folder, "tied", &model, &err), &err,
                           heads[row].refused);
        else
            expect_head(folder, row);
        ptq_arena_free(arena);
        remove_test_folder(folder);
    }
}

/* What goes out has the head, and a config that says so. */
static void exports_agree(void **state)
{
    static const char *const row[][2] = {
        {"fp16", "fp16"}, {"packed", "rtn:w4,g32"}, {"gptq_v2", "rtn:w4,g32,scale_dtype=fp16"}, {"gguf", "rtn:w4,g32"}};
    (void)state;
    for (int differs = 0; differs < 2; differs++)
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            char source[64], folder[64];
            struct remembered r;
            struct ptq_error err;
            struct opening o = {.folder = folder, .arena = ptq_arena_make("opening")};
            make_test_folder(source);
            make_test_folder(folder);
            make_with_head(source, differs ? 2 : 0);
            EXPORT_OK(&err, export_into(&r, source, row[i][1], row[i][0], folder, &err));
            forget(&r);
            int gguf = strcmp(row[i][0], "gguf") == 0;
            if (gguf) o.folder = ptq_join(o.arena, folder, "model.gguf");
            const char *said = said_by(o.arena, open_loud, &o);
            if (o.own != differs || *said) fail_msg("%s: %d, and it says: %s", row[i][0], o.own, said);
            if (!gguf && ppl_by(folder, "exact") != ppl_by(source, row[i][1])) fail_msg("%s differs", row[i][0]);
            remove_test_folder(folder);
            remove_test_folder(source);
            ptq_arena_free(o.arena);
        }
}

/* MiB of the folder's model at 4 bits, as claims count it. */
static double claimed_mib(const char *folder)
{
    struct ptq_arena *arena = ptq_arena_make("claim");
    struct ptq_claims claims;
    struct ptq_error err;
    struct ptq_cell cell = make_cell(arena, folder, "rtn:w4,g32", 0);
    struct ptq_claim_cells cells = {.experiment = "e", .cell = &cell, .n = 1};
    const char *path = ptq_join(arena, cache, "claims.yaml"),
               *text = "claims: [{name: n, claim: c, source: s, tests: [{what: w, experiment: e, measure: model_mib, "
                       "of: \"rtn:w4,g32\", below: 1}]}]\n";
    EXPORT_OK(&err, ptq_write_file(path, text, strlen(text), &err));
    EXPORT_OK(&err, ptq_claims_read(arena, path, &claims, &err));
    ptq_claims_judge(arena, &claims, &cells);
    assert_int_equal(claims.claim[0].verdict, PTQ_CLAIM_HOLDS);
    double mib = claims.claim[0].test[0].value;
    ptq_arena_free(arena);
    return mib;
}

static void claims_count_a_copy_once(void **state)
{
    (void)state;
    for (size_t row = 0; row < 3; row++) {
        char folder[64];
        make_test_folder(folder);
        make_with_head(folder, row);
        double more = heads[row].changes ? 2.0 * 287 * 64 / (1 << 20) : 0,
               off = claimed_mib(folder) - claimed_mib(tied);
        if (fabs(off - more) > 1e-9) fail_msg("%s: %g MiB more", heads[row].what, off);
        remove_test_folder(folder);
    }
}

static int set_up(void **state)
{
    (void)state;
    begin_exports(cache, tiny);
    make_test_folder(tied);
    copy_tensors(tiny, tied, &(struct edit){.drop = HEAD});
    copy_config(tiny, tied,
                &(struct edit){.from = "\"tie_word_embeddings\": false", .to = "\"tie_word_embeddings\": true"});
    copy_file(MODELS "llama/tokenizer.json", tied, "tokenizer.json");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const char *const folder[] = {cache, tiny, tied};
    return end_exports(folder, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(copies_are_none_and_others_count),
                                       cmocka_unit_test(exports_agree), cmocka_unit_test(claims_count_a_copy_once)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
