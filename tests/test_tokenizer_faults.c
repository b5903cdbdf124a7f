/* Steps of reading a tokenizer and of encoding that fail (steps.h): of tokenizer.json, of a folder's older files, of a
 * GGUF. */
#include "pattern.h"
#include "tokenizers.h"

#define STEPS(X)                                                                                                       \
    X(ptq_pattern_compile,                                                                                             \
      (struct ptq_arena * a, const char *b, const char *c, struct ptq_pattern **d, struct ptq_error *err),             \
      (a, b, c, d, err))                                                                                               \
    X(ptq_pattern_find,                                                                                                \
      (const struct ptq_pattern *a, const struct ptq_pattern_budget *b, const char *c, size_t d, size_t e, size_t *f,  \
       size_t *g, struct ptq_error *err),                                                                              \
      (a, b, c, d, e, f, g, err))                                                                                      \
    X(ptq_normalize,                                                                                                   \
      (const struct ptq_normalizer *a, const char *b, size_t c, size_t *d, struct ptq_arena *e, const char **f,        \
       size_t *g, struct ptq_error *err),                                                                              \
      (a, b, c, d, e, f, g, err))                                                                                      \
    X(ptq_pretokenize,                                                                                                 \
      (const struct ptq_pretokenizer *a, const char *b, size_t c, int d, struct ptq_pattern_budget *e,                 \
       struct ptq_arena *f, ptq_piece_sink *g, void *h, struct ptq_error *err),                                        \
      (a, b, c, d, e, f, g, h, err))                                                                                   \
    X(ptq_pattern_check, (const struct ptq_pattern *a, struct ptq_pattern_budget *b, struct ptq_error *err),           \
      (a, b, err))                                                                                                     \
    X(ptq_interrupted, (struct ptq_error * err), (err))                                                                \
    X(ptq_bpe_piece, (struct ptq_bpe_run * a, const char *b, size_t c, struct ptq_error *err), (a, b, c, err))         \
    X(ptq_map_member,                                                                                                  \
      (struct ptq_arena * a, const char *b, const char *c, struct ptq_mapped *d, struct ptq_error *err),               \
      (a, b, c, d, err))                                                                                               \
    X(ptq_tokenizer_load_json, (struct ptq_arena * a, const char *b, json_t **c, struct ptq_error *err),               \
      (a, b, c, err))                                                                                                  \
    X(ptq_tokenizer_expect_merges,                                                                                     \
      (struct ptq_tokenizer * a, struct ptq_arena * b, size_t c, const char *d, struct ptq_error *err),                \
      (a, b, c, d, err))                                                                                               \
    X(ptq_tokenizer_add_merge,                                                                                         \
      (struct ptq_tokenizer * a, const char *b, size_t c, const char *d, size_t e, struct ptq_error *err),             \
      (a, b, c, d, e, err))                                                                                            \
    X(ptq_tokenizer_set_added,                                                                                         \
      (struct ptq_tokenizer * a, struct ptq_arena * b, const struct ptq_added_entry *c, size_t d, const char *e,       \
       struct ptq_error *err),                                                                                         \
      (a, b, c, d, e, err))                                                                                            \
    X(ptq_tokenizer_template_id,                                                                                       \
      (struct ptq_arena * a, int32_t * *b, int *c, int32_t d, int e, const char *f, struct ptq_error *err),            \
      (a, b, c, d, e, f, err))                                                                                         \
    X(ptq_json_text, (const json_t *a, const char *b, const char *c, const char **d, struct ptq_error *err),           \
      (a, b, c, d, err))                                                                                               \
    X(ptq_json_bool_or, (const json_t *a, const char *b, const char *c, int d, int *e, struct ptq_error *err),         \
      (a, b, c, d, e, err))
#include "steps.h"

static const char text[] = "ab <s>12 aq";

static enum ptq_status encode(const struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, struct ptq_error *err)
{
    int32_t *id;
    size_t n;
    return ptq_tokenizer_encode(tokenizer, text, sizeof text - 1, 1, arena, &id, &n, err);
}

static enum ptq_status open_once(void *context, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_tokenizer *tokenizer = NULL;
    enum ptq_status status = ptq_tokenizer_open(arena, context, &tokenizer, err);
    if (!status) status = encode(tokenizer, arena, err);
    ptq_tokenizer_close(tokenizer);
    ptq_arena_free(arena);
    return status;
}

static enum ptq_status gguf_once(void *context, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_tokenizer *tokenizer = NULL;
    struct bytes b = assemble(context);
    struct ptq_mapped file = {.path = "F", .data = b.data, .size = b.size};
    struct ptq_gguf *gguf;
    struct ptq_tensor *tensor;
    size_t n;
    enum ptq_status status = ptq_gguf_read(arena, &file, &gguf, &tensor, &n, err);
    if (!status) status = ptq_tokenizer_from_gguf(arena, gguf, "F", &tokenizer, err);
    if (!status) status = encode(tokenizer, arena, err);
    ptq_tokenizer_close(tokenizer);
    free(b.data);
    ptq_arena_free(arena);
    return status;
}

#define VOCAB                                                                                                          \
    "{\"a\": 0, \"b\": 1, \"ab\": 2, \"<s>\": 3, \"</s>\": 4, \" \": 5, \"1\": 6, \"2\": 7, \"q\": 8, \"\xc4\xa0\": "  \
    "9}"

static void every_step(void **state)
{
    (void)state;
    char folder[64], path[96];
    unsigned made = 0;
    make_test_folder(folder);
    write_test_text(
        folder, "tokenizer.json",
        "{\"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"a\"},"
        " \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\":"
        " {\"Regex\": \"[0-9]++\"}, \"behavior\": \"Isolated\"}]},"
        " \"post_processor\": {\"type\": \"Sequence\", \"processors\": [{\"type\": \"TemplateProcessing\", \"single\":"
        " [{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": {\"id\": \"A\"}}, {\"SpecialToken\": {\"id\": "
        "\"</s>\"}}],"
        " \"special_tokens\": {\"<s>\": {\"ids\": [3]}, \"</s>\": {\"ids\": [4, 4]}}},"
        " {\"type\": \"BertProcessing\", \"cls\": [\"<s>\", 3], \"sep\": [\"</s>\", 4]}]},"
        " \"added_tokens\": [{\"id\": 3, \"content\": \"<s>\"}, {\"id\": 8, \"content\": \"q\", \"normalized\": "
        "true}],"
        " \"model\": {\"type\": \"BPE\", \"vocab\": " VOCAB ", \"merges\": [\"a b\"]}}");
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    made |= each_step_fails("tokenizer.json", open_once, path);
    assert_int_equal(remove(path), 0);
    write_test_text(folder, "vocab.json", VOCAB);
    write_test_text(folder, "merges.txt", "a b\n");
    write_test_text(folder, "tokenizer_config.json",
                    "{\"add_bos_token\": true, \"bos_token\": {\"content\": \"<s>\"}, \"add_eos_token\": true,"
                    " \"added_tokens_decoder\": {\"4\": {\"content\": \"</s>\"}}}");
    write_test_text(folder, "special_tokens_map.json",
                    "{\"eos_token\": {\"content\": \"</s>\"}, \"additional_special_tokens\": [{\"content\": \"q\"}]}");
    write_test_text(folder, "added_tokens.json", "{}");
    made |= each_step_fails("a folder", open_once, folder);
    made |= each_step_fails("a GGUF of GPT-2's kind", gguf_once,
                            "'GGUF' 3:4 0:8 7:8 \"tokenizer.ggml.model\" 8:4 \"gpt2\" \"tokenizer.ggml.tokens\" 9:4 8:4"
                            " 10:8 \"a\" \"b\" \"ab\" \"<s>\" \"</s>\" \"x\" \"1\" \"2\" \"q\" \"\xc4\xa0\""
                            " \"tokenizer.ggml.token_type\" 9:4 5:4 10:8 1:4 1:4 1:4 3:4 3:4 1:4 1:4 1:4 1:4 1:4"
                            " \"tokenizer.ggml.merges\" 9:4 8:4 1:8 \"a b\" \"tokenizer.ggml.add_bos_token\" 7:4 1:1"
                            " \"tokenizer.ggml.bos_token_id\" 4:4 3:4 \"tokenizer.ggml.pre\" 8:4 \"default\" @32");
    made |=
        each_step_fails("a GGUF of SentencePiece's kind", gguf_once,
                        "'GGUF' 3:4 0:8 6:8 \"tokenizer.ggml.model\" 8:4 \"llama\" \"tokenizer.ggml.tokens\" 9:4 8:4"
                        " 4:8 \"<unk>\" \"a\" \"b\" \"ab\" \"tokenizer.ggml.token_type\" 9:4 5:4 4:8 2:4 1:4 1:4 1:4"
                        " \"tokenizer.ggml.scores\" 9:4 6:4 4:8 0:4 0:4 0:4 0:4"
                        " \"tokenizer.ggml.bos_token_id\" 4:4 1:4"
                        " \"tokenizer.ggml.unknown_token_id\" 4:4 0:4 @32");
    assert_int_equal(made, ALL_STEPS);
    print_message("%d steps that fail\n", tried);
    remove_test_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
