/* A tokenizer.json of SentencePiece's kind as scores of a GGUF, and what scores cannot say. The one below is made as
 * transformers makes them, all pairs that give a token, by its score; each row changes something. */
#include "folder_test.h"
#include "gguf_write.h"
#include "locate.h"
#include "tokenizer_export.h"
#include "tokenizers.h"

#define SPACE "\u2581"
enum { ROWS = 275 };

#define PREPEND "{\"type\": \"Prepend\", \"prepend\": \"" SPACE "\"}"
#define REPLACE "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" SPACE "\"}"
#define MERGES                                                                                                         \
    "\"" SPACE " a\", \"a b\", \"" SPACE "a b\", \"" SPACE " ab\", \"ab " SPACE "a\", \"b b\", \"" SPACE " b\""

static const char head[] =
    "{\"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\", \"special\": true}, {\"id\": 1, \"content\": \"<s>\", "
    "\"special\": true}, {\"id\": 271, \"content\": \"[X]\", \"special\": false}], "
    "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [" PREPEND ", " REPLACE "]}, "
    "\"pre_tokenizer\": null, \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
    "{\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": [], "
    "\"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [1], \"tokens\": [\"<s>\"]}}}, "
    "\"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"fuse_unk\": true, \"byte_fallback\": true, "
    "\"ignore_merges\": false, \"merges\": [" MERGES "], \"vocab\": {\"<unk>\": 0, \"<s>\": 1, ";
static const char tail[] =
    "\"" SPACE "\": 258, \"a\": 259, \"b\": 260, \"é\": 261, \"" SPACE "a\": 262, \"ab\": 263, \"" SPACE
    "ab\": 264, \"ab" SPACE "a\": 265, \"bb\": 266, \"" SPACE "b\": 267}}}";

/* folder's tokenizer.json with one text in it changed. */
static void write_changed(const char *from, const char *to)
{
    struct ptq_buffer text = {0};
    ptq_buffer_add(&text, "%s", head);
    for (int byte = 0; byte < 256; byte++) ptq_buffer_add(&text, "\"<0x%02X>\": %d, ", (unsigned)byte, byte + 2);
    ptq_buffer_add(&text, "%s", tail);
    const char *at = strstr(text.data, from);
    if (!at) fail_msg("there is no %s", from);
    write_test_text(folder, "tokenizer.json",
                    ptq_format(arena, "%.*s%s%s", (int)(at - text.data), text.data, to, at + strlen(from)));
    write_test_text(folder, "config.json", "{\"bos_token_id\": 1}");
    free(text.data);
}

static enum ptq_status put_folder(const char *path, struct ptq_error *err)
{
    struct ptq_gguf_keys keys = {0};
    unlink(path); /* of the row before */
    struct ptq_tensor_writer *writer = ptq_tensor_writer_make(arena);
    enum ptq_status status = ptq_gguf_put_tokenizer(&keys, arena, folder, ROWS, err);
    ptq_tensor_plan(writer, "x", PTQ_F32, 1, -1);
    if (!status) status = ptq_gguf_open(writer, path, &keys, err);
    if (!status) status = ptq_tensor_write(writer, "x", &(float){1}, sizeof(float), err);
    if (!status) status = ptq_tensor_writer_finish(writer, err);
    ptq_tensor_writer_abandon(writer);
    free(keys.bytes.data);
    return status;
}

static const char *const texts[] = {"",
                                    "a",
                                    " ",
                                    "ab",
                                    " ab",
                                    "ab ab a b bb abab",
                                    "aabbb bbb",
                                    "é ü 😀b",
                                    "abb" SPACE "a",
                                    "a  b\n",
                                    "a[X]ab<s>ab[X] b",
                                    "<0x41>",
                                    "<unk>ab"};

static void same_ids(const struct opened *ours, const struct opened *back, const char *text, int special)
{
    int32_t *a, *b;
    size_t n, n_back;
    struct ptq_error err;
    if (ptq_tokenizer_encode(ours->tokenizer, text, strlen(text), special, arena, &a, &n, &err))
        fail_msg("%s", err.text);
    if (ptq_tokenizer_encode(back->tokenizer, text, strlen(text), special, arena, &b, &n_back, &err))
        fail_msg("%s", err.text);
    if (n != n_back || memcmp(a, b, n * sizeof *a)) fail_msg("'%s': %zu ids became %zu others", text, n, n_back);
}

/* What goes out comes back with the ids that it had. */
static void ids_are_the_same(void **state)
{
    (void)state;
    static const char *const row[][2] = {
        {"{", "{"}, {PREPEND ", ", ""}, {"\"unk_token\": \"<unk>\"", "\"unk_token\": null"}};
    for (int i = 0; i < 3; i++) {
        const char *path = ptq_join(arena, folder, "model.gguf");
        struct ptq_error err;
        write_changed(row[i][0], row[i][1]);
        if (put_folder(path, &err)) fail_msg("row %d: %s", i, err.text);
        struct opened ours = open_json(folder), back = open_gguf(path);
        assert_int_equal(ours.tokenizer->normalizer.n, back.tokenizer->normalizer.n);
        assert_int_equal(ours.tokenizer->bpe.unk, back.tokenizer->bpe.unk);
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
            for (int special = 0; special < 2; special++) same_ids(&ours, &back, texts[t], special);
        close_opened(&ours);
        close_opened(&back);
    }
}

/* Types by id, and scores in the order in which tokens are made, single characters last. */
static void types_and_scores(void **state)
{
    (void)state;
    static const struct {
        int id, type;
        float score;
    } row[] = {{0, 2, 0},    {1, 3, 0},    {2, 6, 0},    {257, 6, 0},  {258, 1, -275}, {261, 1, -275}, {262, 1, 0},
               {263, 1, -1}, {264, 1, -2}, {265, 1, -3}, {266, 1, -4}, {267, 1, -5},   {268, 5, 0},    {271, 4, 0}};
    const char *path = ptq_join(arena, folder, "model.gguf");
    struct ptq_mapped file;
    struct ptq_gguf *gguf;
    struct ptq_tensor *tensor;
    struct ptq_error err;
    int32_t *type;
    float *score;
    size_t n = 0;
    write_changed("{", "{");
    if (put_folder(path, &err) || ptq_map(arena, path, &file, &err) ||
        ptq_gguf_read(arena, &file, &gguf, &tensor, &n, &err) ||
        ptq_gguf_ints(gguf, "tokenizer.ggml.token_type", arena, &type, &n, &err) ||
        ptq_gguf_reals(gguf, "tokenizer.ggml.scores", arena, &score, &n, &err))
        fail_msg("%s", err.text);
    assert_int_equal(n, ROWS);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (type[row[i].id] != row[i].type || score[row[i].id] != row[i].score)
            fail_msg("token %d is of type %d and has %g", row[i].id, type[row[i].id], (double)score[row[i].id]);
    ptq_unmap(&file);
}

static void what_scores_cannot_say(void **state)
{
    (void)state;
    static const char no_name[] = "tokenizer.json: llama.cpp has no name that ptq knows for the way";
    char longer[700];
    snprintf(longer, sizeof longer, "\"%0600d\": 261", 0);
    const struct {
        const char *from, *to, *words;
    } row[] = {
        {", \"b b\"", "", "llama.cpp's SentencePiece would join 'b' and 'b', which model.merges does not"},
        {"\"" SPACE " ab\", ", "", "would join '" SPACE "' and 'ab'"},
        {"\"" SPACE " ab\", ", "\"b b\", \"" SPACE " ab\", ",
         "model.merges[4] makes '" SPACE "ab', and merges of other tokens stand"},
        {"\"<0x41>\": 67, ", "", "model.vocab has no <0x41>"},
        {"\"é\": 261", longer, "token '0000000000;has 600 bytes; of a SentencePiece vocabulary 512 are the most"},
        {"\"byte_fallback\": true", "\"byte_fallback\": false", no_name},
        {"\"ignore_merges\": false", "\"ignore_merges\": true", no_name},
        {"\"pre_tokenizer\": null", "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"" SPACE "\"}",
         no_name},
        {REPLACE, "{\"type\": \"NFC\"}", no_name},
        {PREPEND, "{\"type\": \"NFC\"}", no_name},
        {PREPEND ", " REPLACE, "{\"type\": \"NFC\"}", no_name},
        {PREPEND, PREPEND ", {\"type\": \"NFC\"}", no_name},
        {"\"prepend\": \"" SPACE, "\"prepend\": \"_", no_name},
        {"\"content\": \"" SPACE, "\"content\": \"_", no_name},
        {"\"String\": \" \"", "\"String\": \"_\"", no_name},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct ptq_error err;
        write_changed(row[i].from, row[i].to);
        assert_refused(row[i].words, put_folder(ptq_join(arena, folder, "model.gguf"), &err), &err, row[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_are_the_same), cmocka_unit_test(types_and_scores),
                                       cmocka_unit_test(what_scores_cannot_say)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
