/* Every value of every JSON file that ptq reads, in turn made another kind of value: what is read is refused in one
 * sentence that names the file and the key, so no key is taken for what it is not and none is passed over. The keys of
 * each kind that may be passed over or hold several kinds stand in the tables below. */
#include "files.h"
#include "mapped.h"
#include "model.h"
#include "quantized.h"
#include "tokenizer.h"

#include <jansson.h>

/* Quotes are ' in the texts below. */
struct document {
    const char *name; /* of the file in the folder */
    const char *text;
    const char *unread;   /* " key key ": what is not read, whatever it holds */
    const char *may_hold; /* " key:kinds ": o object, a array, t text, i whole number, r real, b true: taken as well */
    enum ptq_status (*read)(struct ptq_arena *arena, const char *folder, const char *path, struct ptq_error *err);
};

static enum ptq_status read_tokenizer(struct ptq_arena *arena, const char *folder, const char *path,
                                      struct ptq_error *err)
{
    struct ptq_tokenizer *tokenizer = NULL;
    int is_folder = !strstr(path, "tokenizer.json");
    enum ptq_status status = ptq_tokenizer_open(arena, is_folder ? folder : path, &tokenizer, err);
    ptq_tokenizer_close(tokenizer);
    return status;
}

static enum ptq_status read_config(struct ptq_arena *arena, const char *folder, const char *path, struct ptq_error *err)
{
    struct ptq_config config;
    (void)folder;
    return ptq_config_from_json(arena, path, &config, err);
}

static enum ptq_status read_quantization(struct ptq_arena *arena, const char *folder, const char *path,
                                         struct ptq_error *err)
{
    struct ptq_quantization *q;
    (void)path;
    return ptq_quantization_read(arena, folder, &q, err);
}

#define SIZES                                                                                                          \
    "'hidden_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'intermediate_size': 96, 'head_dim': 16, "   \
    "'vocab_size': 100, 'max_position_embeddings': 128, 'num_experts': 0, 'tie_word_embeddings': true, "               \
    "'is_causal': true"
#define ROPE                                                                                                           \
    "{'rope_type': 'llama3', 'factor': 8.5, 'low_freq_factor': 1.5, 'high_freq_factor': 4.5, "                         \
    "'original_max_position_embeddings': 32}"
/* A real number may be whole; JSON has one kind of number. */
#define REALS " rope_theta:i factor:i low_freq_factor:i high_freq_factor:i original_max_position_embeddings:ir "
#define FLAGS "'single_word': false, 'lstrip': true, 'rstrip': true"

static const struct document documents[] = {
    {"tokenizer.json",
     "{'normalizer': {'type': 'Sequence', 'normalizers': [{'type': 'NFC'}, {'type': 'Prepend', 'prepend': 'a'},"
     " {'type': 'Replace', 'pattern': {'String': 'c'}, 'content': 'b'}]},"
     " 'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [{'type': 'Digits', 'individual_digits': true},"
     " {'type': 'Split', 'pattern': {'Regex': 'a+'}, 'behavior': 'Isolated', 'invert': false},"
     " {'type': 'Split', 'pattern': {'String': 'b'}, 'behavior': 'Removed'},"
     " {'type': 'ByteLevel', 'add_prefix_space': true, 'use_regex': true}]},"
     " 'post_processor': {'type': 'Sequence', 'processors': [{'type': 'ByteLevel'},"
     " {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<s>'}}, {'Sequence': {'id': 'A'}},"
     " {'SpecialToken': {'id': '</s>'}}],"
     " 'special_tokens': {'<s>': {'ids': [4]}, '</s>': {'ids': [5, 4]}}},"
     " {'type': 'RobertaProcessing', 'cls': ['<s>', 4], 'sep': ['</s>', 5]}]},"
     " 'added_tokens': [{'id': 4, 'content': '<s>', " FLAGS ", 'normalized': false},"
     " {'id': 5, 'content': '</s>', 'normalized': true}],"
     " 'model': {'type': 'BPE', 'dropout': 0.0, 'unk_token': 'a', 'continuing_subword_prefix': '',"
     " 'end_of_word_suffix': '', 'fuse_unk': false, 'byte_fallback': false, 'ignore_merges': true,"
     " 'vocab': {'a': 0, 'b': 1, 'ab': 2, 'ba': 3}, 'merges': ['a b', ['b', 'a']]}}",
     " Sequence.id ", " dropout:i Sequence:oatirb cls[0]:oatirb sep[0]:oatirb ", read_tokenizer},
    {"tokenizer.json",
     "{'pre_tokenizer': {'type': 'Metaspace', 'replacement': '_', 'add_prefix_space': true, 'split': true,"
     " 'prepend_scheme': 'first'}, 'model': {'byte_fallback': true, 'vocab': {'a': 0, 'b': 1, 'ab': 2},"
     " 'merges': ['a b']}}",
     "", "", read_tokenizer},
    {"tokenizer_config.json",
     "{'add_prefix_space': false, 'add_bos_token': true, 'add_eos_token': true, 'bos_token': '<s>',"
     " 'eos_token': {'content': '</s>', " FLAGS "}, 'additional_special_tokens': ['ab', {'content': 'b', " FLAGS "}],"
     " 'added_tokens_decoder': {'4': {'content': '<s>', " FLAGS "}, '5': {'content': '</s>'}}}",
     "", " additional_special_tokens[0]:t additional_special_tokens[1]:t bos_token:t eos_token:t 4:t 5:t ",
     read_tokenizer},
    {"special_tokens_map.json",
     "{'unk_token': 'a', 'eos_token': {'content': 'b', " FLAGS "}, 'additional_special_tokens': ['a']}", "",
     " eos_token:t ", read_tokenizer},
    {"added_tokens.json", "{'<pad>': 4}", "", "", read_tokenizer},
    {"vocab.json", "{'a': 0, 'b': 1, 'ab': 2}", "", "", read_tokenizer},
    {"config.json",
     "{'model_type': 'llama', " SIZES ", 'num_key_value_heads': 2, 'rms_norm_eps': 0.00001, 'hidden_act': 'silu',"
     " 'attention_bias': false, 'mlp_bias': true, 'partial_rotary_factor': 1.0, 'rope_theta': 10000.5,"
     " 'use_sliding_window': false, 'sliding_window': 8, 'rope_scaling': " ROPE "}",
     "", " partial_rotary_factor:i " REALS, read_config},
    {"config.json",
     "{'model_type': 'llama', " SIZES ", 'rope_parameters': {'rope_theta': 20000.5, 'type': 'linear', 'factor': 2.5}}",
     "", REALS, read_config},
    {"config.json",
     "{'model_type': 'llama', " SIZES
     ", 'original_max_position_embeddings': 32, 'rope_scaling': {'rope_type': 'llama3',"
     " 'rope_theta': 20000.5, 'factor': 8.5, 'low_freq_factor': 1.5, 'high_freq_factor': 4.5}}",
     "", REALS, read_config},
    {"config.json",
     "{'model_type': 'qwen2', " SIZES ", 'use_sliding_window': true, 'sliding_window': 16, 'max_window_layers': 1,"
     " 'layer_types': ['full_attention', 'sliding_attention']}",
     "", "", read_config},
    {"config.json", "{'model_type': 'mistral', " SIZES ", 'sliding_window': 16}", "", "", read_config},
    {"config.json",
     "{'model_type': 'opt', 'hidden_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'ffn_dim': 96,"
     " 'vocab_size': 100, 'max_position_embeddings': 128, 'activation_function': 'relu', 'enable_bias': false,"
     " 'layer_norm_elementwise_affine': true, 'do_layer_norm_before': true, '_remove_final_layer_norm': false,"
     " 'tie_word_embeddings': true, 'word_embed_proj_dim': 32}",
     "", "", read_config},
    {"config.json",
     "{'model_type': 'gpt2', 'n_embd': 64, 'n_head': 4, 'n_layer': 2, 'n_positions': 16, 'n_inner': 96,"
     " 'vocab_size': 9, 'layer_norm_epsilon': 0.00001, 'activation_function': 'relu', 'scale_attn_weights': true,"
     " 'scale_attn_by_inverse_layer_idx': false, 'add_cross_attention': false, 'tie_word_embeddings': false}",
     "", "", read_config},
    {"config.json",
     "{'model_type': 'bloom', 'n_embed': 64, 'n_head': 4, 'n_layer': 2, 'vocab_size': 9,"
     " 'apply_residual_connection_post_layernorm': false, 'slow_but_exact': false, 'pretraining_tp': 4,"
     " 'tie_word_embeddings': true}",
     "", "", read_config},
    {"config.json",
     "{'quantization_config': {'quant_method': 'gptq', 'bits': 4, 'group_size': 32, 'desc_act': true, 'sym': false,"
     " 'checkpoint_format': 'gptq_v2', 'lm_head': false, 'is_marlin_format': false, 'pack_dtype': 'torch.int32',"
     " 'dynamic': {}}}",
     "", "", read_quantization},
    {"quantize_config.json", "{'bits': 4, 'group_size': -1, 'format': 'gptq'}", "", "", read_quantization},
    {"quant_config.json", "{'w_bit': 4, 'q_group_size': 32, 'zero_point': true, 'version': 'GEMM'}", "", "",
     read_quantization},
};

struct run {
    const struct document *document;
    json_t *root;
    char folder[64];
    int tried, taken;
};

/* What a value is made, with the letter of its kind. */
static const struct {
    char letter;
    const char *text;
} kinds[] = {{'o', "{}"}, {'a', "[]"}, {'t', "'text'"}, {'i', "7"}, {'r', "1.5"}, {'b', "true"}};

static char kind_of(const json_t *value)
{
    return json_is_object(value)    ? 'o'
           : json_is_array(value)   ? 'a'
           : json_is_string(value)  ? 't'
           : json_is_integer(value) ? 'i'
           : json_is_real(value)    ? 'r'
                                    : 'b';
}

static json_t *parse(const char *text)
{
    char *quoted = strdup(text);
    for (char *c = quoted; *c; c++)
        if (*c == '\'') *c = '"';
    json_t *value = json_loads(quoted, JSON_DECODE_ANY, NULL);
    free(quoted);
    if (!value) fail_msg("the test's own text is no JSON: %s", text);
    return value;
}

/* Whether the list " name:letters " has the letter under the name. */
static int lists(const char *list, const char *name, char letter)
{
    char key[80];
    snprintf(key, sizeof key, " %s:", name);
    const char *at = strstr(list, key);
    return at && memchr(at + strlen(key), letter, strcspn(at + strlen(key), " "));
}

static void write_root(const struct run *r)
{
    char *text = json_dumps(r->root, 0);
    write_test_text(r->folder, r->document->name, text);
    free(text);
}

static enum ptq_status read_now(const struct run *r, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("test");
    write_root(r);
    enum ptq_status status = r->document->read(arena, r->folder, ptq_join(arena, r->folder, r->document->name), err);
    ptq_arena_free(arena);
    return status;
}

/* The message names the key, or what holds it. */
static void expect_refusal(struct run *r, const char *holder, const char *name, const char *text)
{
    struct ptq_error err;
    enum ptq_status status = read_now(r, &err);
    char what[300], words[200];
    r->tried++;
    snprintf(what, sizeof what, "%s (%.40s): %s is %s", r->document->name, r->document->text, name, text);
    snprintf(words, sizeof words, "%s/%s: ", r->folder, r->document->name);
    if (status == PTQ_OK) {
        print_error("%s: taken\n", what);
        r->taken++;
        return;
    }
    assert_refused(what, status, &err, words);
    const char *rest = err.text + strlen(words);
    if (!strstr(rest, name) && !strstr(rest, holder)) print_error("%s: names no key: %s\n", what, err.text), r->taken++;
}

static void walk(struct run *r, json_t *parent, const char *name);

/* The member of parent under key, or its item i, is every kind but its own, then what it was. */
static void each_kind(struct run *r, json_t *parent, const char *holder, const char *key, size_t i, const char *name)
{
    json_t *kept = json_incref(key ? json_object_get(parent, key) : json_array_get(parent, i));
    char own = kind_of(kept);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        if (kinds[k].letter == own || lists(r->document->may_hold, name, kinds[k].letter)) continue;
        if (key)
            json_object_set_new(parent, key, parse(kinds[k].text));
        else
            json_array_set_new(parent, i, parse(kinds[k].text));
        expect_refusal(r, holder, name, kinds[k].text);
    }
    if (key)
        json_object_set(parent, key, kept);
    else
        json_array_set(parent, i, kept);
    walk(r, kept, name);
    json_decref(kept);
}

static void walk(struct run *r, json_t *parent, const char *name)
{
    const char *key;
    json_t *value;
    void *next;
    char path[200];
    json_object_foreach_safe(parent, next, key, value)
    {
        snprintf(path, sizeof path, " %s.%s ", name, key);
        if (!strstr(r->document->unread, path)) each_kind(r, parent, name, key, 0, key);
    }
    for (size_t i = 0; i < json_array_size(parent); i++) {
        snprintf(path, sizeof path, "%s[%zu]", name, i);
        each_kind(r, parent, name, NULL, i, path);
    }
}

static void no_value_is_taken_for_another_kind(void **state)
{
    (void)state;
    int tried = 0, taken = 0;
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        struct run r = {.document = &documents[i], .root = parse(documents[i].text)};
        struct ptq_error err;
        make_test_folder(r.folder);
        write_test_text(r.folder, "vocab.json", "{\"a\": 0, \"b\": 1, \"ab\": 2}");
        write_test_text(r.folder, "merges.txt", "a b\n");
        write_test_text(r.folder, "special_tokens_map.json", "{\"pad_token\": \"<pad>\"}");
        if (read_now(&r, &err)) fail_msg("%s, which is right: %s", documents[i].text, err.text);
        walk(&r, r.root, "");
        json_decref(r.root);
        remove_test_folder(r.folder);
        tried += r.tried;
        taken += r.taken;
    }
    print_message("%d values of the wrong kind\n", tried);
    assert_true(tried > 500);
    if (taken) fail_msg("%d of %d were taken", taken, tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_value_is_taken_for_another_kind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
