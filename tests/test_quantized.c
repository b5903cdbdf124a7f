/* Quantised checkpoints of others as models: what their configs may say, and what is refused, by name: a tensor that is
 * missing, one too many, of another shape or type, groups that are none, a zero that underflowed. */
#include "edited_checkpoint.h"
#include "said.h"
#include "words.h"

static char gptq[64], gptq_v2[64], whole[64], awq[64], biased[64], cache[64];
static char tiny[64], bloom[64], bloom_awq[64], bloom_gptq[64];

/* ---- what is refused ---- */

#define UP "model.layers.0.mlp.up_proj"
#define GELU "transformer.h.0.mlp.gelu_impl.scales"

static void test_tensors_refused(void **state)
{
    static const struct {
        const char *source;
        struct edit edit;
        const char *words;
    } row[] = {
        {gptq, {.drop = UP ".qweight"}, UP ".qweight' (gptq 4 bits, g32) is missing, and '" UP ".weight' is not there"},
        {gptq, {.drop = UP ".qzeros", .from = "\"sym\": true", .to = "\"sym\": false"}, UP ".qzeros;missing"},
        {gptq, {.drop = UP ".scales"}, UP ".scales;missing"},
        {gptq_v2, {.drop = UP ".g_idx"}, UP ".g_idx' is missing, and desc_act says"},
        {gptq, {.drop_all = ".qzeros", .from = "\"sym\": true", .to = "\"sym\": false"}, "sym says;not symmetric"},
        {gptq, {.drop = UP ".qzeros"}, UP ".qzeros' is missing, and others, such as;q_proj.qzeros"},
        {awq, {.drop = UP ".qzeros"}, UP ".qzeros;missing"},
        {awq,
         {.drop_all = ".qzeros", .from = "\"zero_point\": true", .to = "\"zero_point\": false"},
         "q_proj.qzeros' is missing, and awq has them always"},
        {awq, {.drop = UP ".qweight"}, UP ".qweight' (awq 4 bits, g32) is missing"},
        {biased, {.drop = "model.decoder.layers.1.fc1.bias"}, "model.decoder.layers.1.fc1.bias' is missing"},
        {awq, {.drop = UP ".scales"}, UP ".scales;missing"},
        {gptq, {.drop = "model.norm.weight"}, "model.norm.weight;missing"},
        {gptq, {.turn = UP ".qweight"}, UP ".qweight;[96, 8];asks for [8, 96]"},
        {gptq, {.turn = UP ".scales"}, UP ".scales;[96, 2];asks for [2, 96]"},
        {gptq, {.turn = UP ".qzeros"}, UP ".qzeros;[12, 2];asks for [2, 12]"},
        {gptq_v2, {.cut = UP ".g_idx"}, UP ".g_idx' is [63];the config (gptq_v2 3 bits, g32) asks for [64]"},
        {gptq_v2, {.cut = UP ".qweight"}, UP ".qweight;[5, 96];asks for [6, 96]"},
        {gptq, {.cut = "model.norm.weight"}, "model.norm.weight;asks for [64]"},
        {awq, {.turn = UP ".qweight"}, UP ".qweight;asks for [64, 12]"},
        {gptq, {.flat = UP ".qweight"}, UP ".qweight' is [768];the config (gptq 4 bits, g32) asks for [8, 96]"},
        {gptq_v2, {.fold = UP ".g_idx"}, UP ".g_idx' is [32, 2];asks for [64]"},
        {gptq_v2, {.retype = UP ".g_idx", .dtype = PTQ_F32}, UP ".g_idx' is F32;must be I32"},
        {gptq, {.retype = UP ".qweight", .dtype = PTQ_F32}, UP ".qweight' is F32;must be I32"},
        {gptq, {.retype = UP ".scales", .dtype = PTQ_I16}, UP ".scales' is I16;must be F16"},
        {awq, {.cut = UP ".qzeros"}, UP ".qzeros;[1, 12];asks for [2, 12]"},
        {awq, {.cut = UP ".scales"}, UP ".scales;[1, 96];asks for [2, 96]"},
        {gptq,
         {.add = "model.layers.0.mlp.extra_proj.weight"},
         "extra_proj.weight;none that a model of this config (llama)"},
        {gptq,
         {.add = "short", .from = "\"lm_head\"", .to = "\"dynamic\": {\"-:x\": {}}, \"lm_head\""},
         "'short' is none that a model of this config (llama)"},
        {gptq, {.add = "model.layers.0.mlp.up_proj.bits"}, "up_proj.bits;none that a model of this config (llama)"},
        {gptq, {.add = "model.layers.7.mlp.up_proj.qweight"}, "layers.7.mlp.up_proj.qweight;none that"},
        {gptq,
         {.drop = "lm_head.weight", .add = "lm_head.qweight"},
         "'lm_head.weight' is missing, and 'lm_head.qweight' is there;FP16"},
        {awq,
         {.drop = "model.embed_tokens.weight", .add = "model.embed_tokens.qweight"},
         "embed_tokens.weight' is missing, and 'model.embed_tokens.qweight' is there"},
        {gptq, {.drop = "model.embed_tokens.weight"}, "embed_tokens.weight' is missing"},
        {awq, {.add = UP ".g_idx"}, UP ".g_idx;none that a model of this config (llama)"},
        {awq, {.add = "model.layers.0.mlp.act_fn.scales"}, "act_fn.scales;none that a model of this config (llama)"},
        {bloom_awq, {.cut = GELU}, "gelu_impl.scales' is [255];asks for [256]"},
        {bloom_awq, {.poke = GELU, .poked = 0x3c000000}, "gelu_impl.scales': element 0 is 0; it must be above 0"},
        {bloom_awq, {.poke = GELU, .poked = 0xbc003c00}, "gelu_impl.scales': element 1 is -1; it must be above 0"},
        {bloom_awq, {.poke = GELU, .poked = 0x7c003c00}, "gelu_impl.scales;1;infinite"},
        {bloom_gptq, {.add = GELU}, "gelu_impl.scales;none that a model of this config (bloom)"},
        {bloom, {.add = GELU}, "gelu_impl.scales;none that a model of this config (bloom)"},
        {tiny, {.drop = UP ".weight"}, UP ".weight;missing"}, /* and of a checkpoint without codes */
        {tiny, {.turn = UP ".weight"}, UP ".weight;[64, 96];asks for [96, 64]"},
        {tiny, {.cut = UP ".weight"}, UP ".weight;[95, 64];asks for [96, 64]"},
        {tiny, {.add = UP ".extra"}, UP ".extra;none that a model of this config (llama)"},
        {tiny, {.add = UP ".qweight"}, UP ".qweight;none that a model of this config (llama)"},
        {gptq_v2, {.poke = UP ".g_idx", .poked = 2}, UP ".g_idx;column 0 into group 2;64 columns are 0 to 1"},
        {gptq_v2, {.poke = UP ".g_idx", .poked = 0xffffffff}, UP ".g_idx;group -1"},
        {gptq, {.poke = UP ".g_idx", .poked = 1}, UP ".g_idx;column 63 into group 1, which has 32 columns already"},
        {whole, {.poke = UP ".g_idx", .poked = 1}, UP ".g_idx;column 0 into group 1;64 columns are 0 to 0"},
        {gptq, {.narrow = UP ".qweight"}, UP ".qweight' is [8, 95];asks for [8, 96]"},
        {MODELS "gpt2",
         {.poke = "transformer.h.0.attn.c_attn.weight", .poked = 0x7fc07fc0},
         "h.0.attn.c_attn.weight;NaN"},
        {gptq,
         {.poke = UP ".qzeros", .poked = 0x777777f7},
         UP ".qzeros;output 1;group 0;zero of 0;underflowed;gptq_v2"},
        {gptq, {.poke = UP ".scales", .poked = 0x7c00}, UP ".scales;infinite"},
        {awq, {.poke = UP ".scales", .poked = 0x7e000000}, UP ".scales;1;NaN"},
        {awq, {.poke = UP ".scales", .poked = 0x7bff}, "/model.safetensors: " UP ": a weight is too large for FP16"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct ptq_error err;
        struct seen seen;
        enum ptq_status status = open_edited(row[i].source, &row[i].edit, &seen, &err);
        assert_refused(row[i].words, status, &err, row[i].words);
    }
}

static void test_configs_refused(void **state)
{
#define SLOW(end) "\"-:[^!]*[^!]*[^!]*[^!]*[^!]*[!" end "]\": {}" /* within its limits, each time */
#define METHOD "\"quant_method\": \"gptq\""
    static const struct {
        const char *source, *from, *to, *words;
    } row[] = {
        {gptq, METHOD, "\"quant_method\": \"bitsandbytes\"", "bitsandbytes;known: awq (version gemm, 4 bits), gptq"},
        {gptq, METHOD, "\"quant_method\": \"compressed-tensors\"", "compressed-tensors;known: awq"},
        {gptq, METHOD, "\"quant_method\": \"fp8\"", "fp8;known: awq"},
        {gptq, METHOD, "\"load_in_4bit\": true", "quant_method is missing; known: awq"},
        {gptq, METHOD, "\"quant_method\": 4", "quant_method;must be"},
        {gptq, "\"checkpoint_format\": \"gptq\"", "\"checkpoint_format\": \"marlin\"",
         "checkpoint_format;marlin;known"},
        {gptq, "\"lm_head\": false", "\"lm_head\": true",
         "lm_head is true, and a quantised head is not read; take a checkpoint"},
        {gptq, "\"pack_dtype\": \"int32\"", "\"pack_dtype\": \"int16\"", "pack_dtype is 'int16';words of int32"},
        {gptq, "\"lm_head\": false", "\"dynamic\": {\"down\": {\"bits\": 8}}",
         "dynamic: 'down' has a bits of its own;differ between linears"},
        {gptq, "\"lm_head\": false", "\"dynamic\": {\"-:x\": {}, \"+:.*down\": {\"bits\": 4, \"mse\": 2}}",
         "dynamic: '+:.*down' has a mse of its own;differ between linears"},
        {gptq, "\"lm_head\": false", "\"dynamic\": {\"down\": 8}", "dynamic: 'down' must be an object"},
        {gptq, "\"lm_head\": false", "\"dynamic\": [1]", "dynamic must be an object"},
        {gptq, "\"lm_head\": false", "\"dynamic\": {\"-:.*mlp\": {}}",
         "layers.0.mlp.down_proj.qweight' is there, but by dynamic ('-:.*mlp') that linear is not quantised"},
        {gptq, "\"lm_head\": false", "\"dynamic\": {\"-:(\": {}, \"-:x\": {}}",
         "config.json: quantization_config: dynamic: '(': not a regular expression that PCRE2"},
        {gptq, "\"lm_head\": false", "\"dynamic\": {\"-:(?:(?:[^!]+)+)+[!?]\": {}}", "dynamic;backtracks too much"},
        {gptq, "\"lm_head\": false",
         "\"dynamic\": {" SLOW("?") ", " SLOW("#") ", " SLOW("%") ", " SLOW("&") ", " SLOW("=") ", " SLOW(
             "~") ", " SLOW(";") "}",
         "dynamic;processor time"},
        {gptq, "\"lm_head\": false", "\"rotation\": \"hadamard\"", "rotation: linears that compute more"},
        {gptq, "\"lm_head\": false", "\"activation\": \"fp8\"", "activation: linears that compute more"},
        {gptq, "\"lm_head\": false", "\"adapter\": {}", "adapter: linears that compute more"},
        {gptq, "\"lm_head\": false", "\"backend\": 1", "'backend' must be"},
        {gptq, "\"lm_head\": false", "\"format\": \"gptq_v2\"", "checkpoint_format and format contradict"},
        {gptq, "\"lm_head\": false", "\"format\": 2", "'format' must be"},
        {gptq, "\"lm_head\": false", "\"w_bit\": 8", "bits and w_bit contradict"},
        {gptq, "\"lm_head\": false", "\"w_bit\": \"8\"", "'w_bit' must be"},
        {gptq, "\"lm_head\": false", "\"q_group_size\": 128", "group_size and q_group_size contradict"},
        {gptq, "\"lm_head\": false", "\"method\": \"awq\"", "quant_method and method contradict"},
        {gptq, "\"lm_head\": false", "\"modules_to_not_convert\": [\"x\", \"up_proj\"]",
         UP ".qweight' is there, but by modules_to_not_convert ('up_proj')"},
        {gptq, "\"lm_head\": false", "\"modules_to_not_convert\": \"up_proj\"", "must be a list of names"},
        {gptq, "\"lm_head\": false", "\"modules_to_not_convert\": [1]", "must be a list of names"},
        {gptq, "\"lm_head\": false", "\"is_marlin_format\": true", "marlin"},
        {gptq, "\"bits\": 4", "\"bits\": 5", "gptq of 5 bits;2, 3, 4, 8"},
        {gptq, "\"bits\": 4", "\"bitz\": 4", "bits;missing"},
        {gptq, "\"bits\": 4", "\"bits\": \"4\"", "bits;must be"},
        {gptq, "\"group_size\": 32", "\"group_size\": 0", "group_size is 0"},
        {gptq, "\"group_size\": 32", "\"group_size\": -2", "group_size;-2"},
        {gptq, "\"group_size\": 32", "\"group_size\": 16", "qzeros;asks for [4, "},
        {awq, "\"bits\": 4", "\"bits\": 3", "awq of 3 bits"},
        {awq, "\"quantization_config\"", "\"another\"", "q_proj.qweight;no quantization_config;config.json that was"},
        {awq, "\"version\": \"gemm\"", "\"version\": \"gemv\"", "awq version;gemv;known: awq (version gemm"},
        {awq, "\"version\"", "\"checkpoint_format\": \"gemv\", \"version\"", "awq checkpoint_format;gemv;known"},
        {awq, "\"version\"", "\"checkpoint_format\": 1, \"version\"", "'checkpoint_format' must be"},
        {awq, "\"version\"", "\"backend\": \"llm-awq\", \"version\"", "backend llm-awq has a layout of its own"},
        {awq, "\"modules_to_not_convert\": null", "\"modules_to_not_convert\": [\"layers.1\"]",
         "layers.1.self_attn.q_proj.qweight' is there, but by modules_to_not_convert ('layers.1')"},
        {awq, "\"group_size\": 32", "\"group_size\": 48", "q_proj has 64 inputs, which groups of 48 do not divide"},
        {awq, "\"group_size\": 32", "\"group_size\": -1", "qzeros;asks for [1, "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct ptq_error err;
        struct seen seen;
        struct edit edit = {.from = row[i].from, .to = row[i].to};
        assert_refused(row[i].to, open_edited(row[i].source, &edit, &seen, &err), &err, row[i].words);
    }
}

/* More expressions than anybody has. */
static void test_many_expressions(void **state)
{
    struct ptq_buffer to = {0};
    struct ptq_error err;
    struct seen seen;
    struct edit edit = {.from = "\"lm_head\": false"};
    (void)state;
    for (int i = 0; i < 1025; i++) ptq_buffer_add(&to, "%s\"-:x%d\": {}", i ? ", " : "\"dynamic\": {", i);
    ptq_buffer_add(&to, "}");
    edit.to = to.data;
    assert_refused("1025", open_edited(gptq, &edit, &seen, &err), &err, "dynamic has more than 1024 expressions");
    free(to.data);
}

/* Sizes that fill no whole words, of either dimension. */
static void test_shapes_refused(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        int64_t n, k;
        const char *words;
    } row[] = {{gptq, 96, 66, UP " is [96, 66], which gptq 4 bits"},
               {gptq, 98, 64, UP " is [98, 64], which gptq 4 bits"},
               {awq, 98, 64, UP " is [98, 64], which awq 4 bits"},
               {awq, 96, 48, UP " has 48 inputs, which groups of 32 do not divide"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_checkpoint c;
        struct ptq_quantization *q;
        struct ptq_quantized_linear linear;
        struct ptq_error err;
        int found;
        EXPORT_OK(&err, ptq_checkpoint_open(arena, row[i].source, &c, &err));
        EXPORT_OK(&err, ptq_quantization_read(arena, row[i].source, &q, &err));
        assert_refused(row[i].words, ptq_quantized_find(q, &c, UP, row[i].n, row[i].k, &linear, &found, &err), &err,
                       row[i].words);
        ptq_checkpoint_close(&c);
        ptq_arena_free(arena);
    }
}

/* An image has scales in FP32, and with those a weight may be too large for that, too. */
static void test_weights_too_large(void **state)
{
    (void)state;
    uint8_t code[32];
    float scale = 3e38f, zero = 0, w[32];
    struct ptq_qmat q = {.n = 1, .k = 32, .n_groups = 1, .code = code, .scale = &scale, .zero = &zero};
    struct ptq_error err;
    q.grid.w_bit = 4;
    q.grid.group_size = 32;
    memset(code, 15, sizeof code);
    assert_refused("FP32", ptq_quantized_weights(&q, "F", "up", 1, w, &err), &err,
                   "F: up: a weight is too large for FP32");
    assert_int_equal(err.status, PTQ_ENUMERIC);
    scale = 1e4f;
    assert_refused("FP16", ptq_quantized_weights(&q, "F", "up", 0, w, &err), &err,
                   "F: up: a weight is too large for FP16");
    EXPORT_OK(&err, ptq_quantized_weights(&q, "F", "up", 1, w, &err));
    assert_true(w[31] == 15e4f);
}

/* ---- what is taken ---- */

/* Forms in which others write the same. */
static void test_variants_taken(void **state)
{
    static const struct {
        const char *source;
        struct edit edit;
        const char *dtype;
    } row[] = {
        {gptq, {0}, "gptq 4 bits, g32"},
        {gptq_v2, {0}, "gptq_v2 3 bits, g32"},
        {awq, {0}, "awq 4 bits, g32"},
        {whole, {.drop_all = ".g_idx", .from = "\"desc_act\": false", .to = "\"desc_act\": true"}, "gptq 8 bits, g-1"},
        {gptq, {.drop = UP ".g_idx"}, "gptq 4 bits, g32"},   /* groups of neighbours need none */
        {gptq, {.drop_all = ".qzeros"}, "gptq 4 bits, g32"}, /* symmetric: the middle */
        {gptq, {.from = "\"checkpoint_format\": \"gptq\",", .to = ""}, "gptq 4 bits, g32"},
        {gptq,
         {.from = "\"lm_head\"", .to = "\"format\": \"GPTQ\", \"backend\": \"auto\", \"rotation\": null, \"lm_head\""},
         "gptq 4 bits, g32"},
        {gptq,
         {.from = "\"lm_head\"", .to = "\"modules_to_not_convert\": [\"lm_head\"], \"lm_head\""},
         "gptq 4 bits, g32"},
        {awq,
         {.from = "\"version\"", .to = "\"format\": \"gemm\", \"checkpoint_format\": \"gemm\", \"version\""},
         "awq 4 bits, g32"},
        {gptq_v2, {.from = "\"checkpoint_format\"", .to = "\"format\""}, "gptq_v2 3 bits, g32"},
        {gptq, {.from = "\"quant_method\"", .to = "\"method\""}, "gptq 4 bits, g32"},
        {awq, {.from = "\"version\": \"gemm\"", .to = "\"version\": \"GEMM\""}, "awq 4 bits, g32"},
        {awq, {.from = "\"bits\": 4,", .to = "\"w_bit\": 4,"}, "awq 4 bits, g32"},
        {awq, {.from = "\"group_size\"", .to = "\"q_group_size\""}, "awq 4 bits, g32"},
        {gptq, {.add = "model.layers.0.self_attn.rotary_emb.inv_freq"}, "gptq 4 bits, g32"},
        {gptq, {.from = "\"lm_head\"", .to = "\"dynamic\": null, \"lm_head\""}, "gptq 4 bits, g32"},
        {gptq, {.from = "\"lm_head\"", .to = "\"dynamic\": {}, \"lm_head\""}, "gptq 4 bits, g32"},
        {gptq,
         {.from = "\"lm_head\"", .to = "\"dynamic\": {\"-:lm_head\": {}, \"-:mlp\": 0}, \"lm_head\""},
         "gptq 4 bits, g32"}, /* from a name's beginning on */
        {gptq,
         {.from = "\"lm_head\"",
          .to = "\"dynamic\": {\"+:.*up\": {\"bits\": 4}, \".*\": {\"group_size\": 32}, \"-:.*\": {}}, \"lm_head\""},
         "gptq 4 bits, g32"}, /* the first counts */
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct ptq_error err;
        struct seen seen;
        if (open_edited(row[i].source, &row[i].edit, &seen, &err)) fail_msg("row %zu: %s", i, err.text);
        assert_string_equal(seen.dtype, row[i].dtype);
    }
}

/* ---- what it means ---- */

static void open_loud(void *context)
{
    struct seen *seen = context;
    struct ptq_error err;
    struct edit edit = {.flip = UP ".qzeros", .poked = 3};
    ptq_progress_quiet(PTQ_LOUD);
    EXPORT_OK(&err, open_edited(gptq, &edit, seen, &err));
    ptq_progress_quiet(PTQ_QUIET);
}

/* Zeros count as they are stored, 7 as 4 with two bits changed, whatever sym says; which is told. */
static void test_zeros_count_as_stored(void **state)
{
    struct ptq_arena *arena = ptq_arena_make("zeros");
    struct seen plain, shifted;
    struct ptq_error err;
    struct edit none = {0};
    (void)state;
    EXPORT_OK(&err, open_edited(gptq, &none, &plain, &err));
    const char *said = said_by(arena, open_loud, &shifted);
    if (!strstr(said, "calls the grid symmetric, but tensor '" UP ".qzeros' has zeros that are not the middle, 8;"))
        fail_msg("it says: %s", said);
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1); /* once */
    float step = shifted.up[0] - plain.up[0];
    assert_true(step != 0 && shifted.bits > plain.bits); /* zeros that mean something are counted */
    for (int i = 0; i < EXPORT_FF * EXPORT_WIDTH; i++) {
        float moved = i < 32 ? step : 0;
        if (!(fabsf(shifted.up[i] - plain.up[i] - moved) <= fabsf(step) * 0x1p-7f))
            fail_msg("weight %d: %g as %g, moved by %g", i, (double)shifted.up[i], (double)plain.up[i], (double)moved);
    }
    ptq_arena_free(arena);
}

/* AutoRound's symmetric scales have a sign, and a scale may be 0: scale (code - zero) all the same. */
static void test_scales_have_signs(void **state)
{
    static const char *const source[] = {gptq, awq};
    (void)state;
    for (int s = 0; s < 2; s++) {
        struct seen plain, turned, none;
        struct ptq_error err;
        struct edit edit[] = {{0}, {.flip = UP ".scales", .poked = 0x8000}, {.poke = UP ".scales"}};
        EXPORT_OK(&err, open_edited(source[s], &edit[0], &plain, &err));
        EXPORT_OK(&err, open_edited(source[s], &edit[1], &turned, &err));
        EXPORT_OK(&err, open_edited(source[s], &edit[2], &none, &err));
        for (int i = 0; i < EXPORT_FF * EXPORT_WIDTH; i++) {
            int first = i < 32, second = i >= EXPORT_WIDTH && i < EXPORT_WIDTH + 32;
            assert_true(turned.up[i] == (first ? -plain.up[i] : plain.up[i]));
            assert_true(none.up[i] == (first || second ? 0 : plain.up[i]));
        }
        assert_true(plain.up[0] != 0);
    }
}

/* What BLOOM's activation gives is divided by, which is stored, too; a file that has none of it divides by nothing. */
static void test_activations_divided(void **state)
{
    static const struct {
        struct edit edit;
        float divisor;
    } row[] = {{{0}, 1}, {{.poke = GELU, .poked = 0x3c004100}, 2.5f}, {{.drop_all = "gelu_impl.scales"}, 0}};
    (void)state;
    struct seen seen[3];
    for (int i = 0; i < 3; i++) {
        struct ptq_error err;
        EXPORT_OK(&err, open_edited(bloom_awq, &row[i].edit, &seen[i], &err));
        assert_true(seen[i].divisor == row[i].divisor);
        assert_memory_equal(seen[i].up, seen[0].up, sizeof seen[0].up);
    }
    double weights = (3 + 1 + 2 * 4) * EXPORT_WIDTH * EXPORT_WIDTH;
    assert_true(fabs((seen[1].bits - seen[2].bits) * weights - 16 * 4 * EXPORT_WIDTH) < 1e-6);
}

/* Programs hold scales in FP16, whatever the file has. */
static void test_scales_are_fp16(void **state)
{
    struct seen plain, wide;
    struct ptq_error err;
    struct edit edit[] = {{0}, {.widen = UP ".scales"}};
    (void)state;
    EXPORT_OK(&err, open_edited(gptq, &edit[0], &plain, &err));
    EXPORT_OK(&err, open_edited(gptq, &edit[1], &wide, &err));
    assert_memory_equal(plain.up, wide.up, sizeof plain.up);
}

/* A config that promises codes, beside plain weights. */
static void test_codes_promised(void **state)
{
    char folder[64];
    struct ptq_arena *arena = ptq_arena_make("promised");
    struct ptq_model model;
    struct ptq_error err;
    (void)state;
    make_test_folder(folder);
    copy_tensors(tiny, folder, &(struct edit){0});
    copy_config(gptq, folder, &(struct edit){0});
    assert_refused("promised", ptq_model_open(arena, folder, "promised", &model, &err), &err,
                   "config.json: quantization_config says gptq 4 bits;no linear;.qweight");
    remove_test_folder(folder);
    ptq_arena_free(arena);
}

/* Codes are not made of codes. */
static void test_not_quantised_again(void **state)
{
    struct ptq_session *session = ptq_session_make();
    struct ptq_arena *arena = ptq_arena_make("again");
    struct ptq_job job = {.model = gptq, .text = MODELS "text.txt", .spec = "rtn:w3,g32", .window = 32};
    struct ptq_cell cell;
    struct ptq_error err;
    (void)state;
    assert_refused("again", ptq_cell_plan(session, &job, arena, &cell, &err), &err,
                   "quantised already (gptq 4 bits, g32);full-precision;rtn");
    job.spec = "fp16";
    EXPORT_OK(&err, ptq_cell_plan(session, &job, arena, &cell, &err));
    assert_string_equal(cell.source_dtype, "gptq 4 bits, g32");
    EXPORT_OK(&err, ptq_cell_run(session, &job, arena, &cell, &err));
    assert_string_equal(cell.spec, "fp16");
    assert_int_equal(cell.w_bit, 4); /* what the file is, and not 16 */
    assert_int_equal(cell.group_size, 32);
    assert_true(cell.effective_bits >= 4.5 && cell.effective_bits < 5.25);
    ptq_arena_free(arena);
    ptq_session_free(session);
}

/* ---- */

static void make_source(char folder[64], const char *model, const char *spec, const char *format)
{
    struct remembered r;
    struct ptq_error err;
    make_test_folder(folder);
    EXPORT_OK(&err, export_into(&r, model, spec, format, folder, &err));
    forget(&r);
}

static int set_up(void **state)
{
    (void)state;
    begin_exports(cache, tiny);
    make_source(gptq, tiny, "rtn:w4,g32,sym=1", "gptq");
    make_source(gptq_v2, tiny, "gptq:w3,g32,act_order=1", "gptq_v2");
    make_source(whole, tiny, "rtn:w8,g-1,sym=1", "gptq");
    make_source(awq, tiny, "rtn:w4,g32", "awq");
    make_source(biased, MODELS "opt", "rtn:w4,g32", "gptq_v2");
    make_test_folder(bloom);
    make_tiny(bloom, "bloom",
              "{\"model_type\": \"bloom\", \"vocab_size\": 288, \"hidden_size\": 64, \"n_layer\": 2, \"n_head\": 4, "
              "\"layer_norm_epsilon\": 1e-5}");
    make_source(bloom_awq, bloom, "rtn:w4,g32", "awq");
    make_source(bloom_gptq, bloom, "rtn:w4,g32,sym=1", "gptq");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const char *const folder[] = {gptq, gptq_v2, whole, awq, biased, cache, tiny, bloom, bloom_awq, bloom_gptq};
    return end_exports(folder, sizeof folder / sizeof *folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors_refused),     cmocka_unit_test(test_configs_refused),
        cmocka_unit_test(test_shapes_refused),      cmocka_unit_test(test_weights_too_large),
        cmocka_unit_test(test_variants_taken),      cmocka_unit_test(test_codes_promised),
        cmocka_unit_test(test_not_quantised_again), cmocka_unit_test(test_zeros_count_as_stored),
        cmocka_unit_test(test_scales_have_signs),   cmocka_unit_test(test_scales_are_fp16),
        cmocka_unit_test(test_many_expressions),    cmocka_unit_test(test_activations_divided),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
