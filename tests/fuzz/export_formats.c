/* Every export format: codes, scales and zeros of any values into a checkpoint's files, which are opened again as any
 * model is. What a container cannot hold is refused; what is written comes back. */
#include "export_fixture.h"
#include "fuzz.h"
#include "grid.h"

#include "dtype.h"

#include <sys/stat.h>

static struct ptq_model tiny;
static struct ptq_block block[EXPORT_BLOCKS];

static const char *folder_of(struct ptq_arena *arena, const char *name)
{
    const char *path = ptq_join(arena, ptq_fuzz_folder(), name);
    mkdir(path, 0700);
    return path;
}

/* The tiny llama of the tests, once a process. */
static void open_tiny(void)
{
    static struct ptq_arena *arena;
    struct ptq_error err;
    if (arena) return;
    arena = ptq_arena_make("the tiny model");
    const char *folder = folder_of(arena, "tiny");
    make_tiny_llama(folder, "llama", "null");
    ptq_fuzz_require(!ptq_model_open(arena, folder, "tiny", &tiny, &err), "the tiny model opens");
    for (int i = 0; i < EXPORT_BLOCKS; i++)
        ptq_fuzz_require(!ptq_block_load(&tiny, i, arena, &block[i], &err), "the tiny model's blocks are read");
}

/* ---- what goes out ---- */

/* A format with a SPEC that it may hold. */
static void choose(struct ptq_fuzz_bytes *in, struct ptq_export *x, struct ptq_spec *spec)
{
    static const int bits[] = {2, 3, 4, 8}, group[] = {32, 64, 48, -1};
    static const char *const format[] = {"awq", "gptq", "gptq_v2", "gguf"};
    uint32_t f = ptq_fuzz_below(in, 4), flags = ptq_fuzz_byte(in);
    int w = bits[ptq_fuzz_below(in, 4)], g = group[ptq_fuzz_below(in, 4)], sym = flags & 1, act_order = flags >> 1 & 1;
    char text[96];
    struct ptq_error err;
    if (f == 0) w = 4, act_order = 0;
    if (f == 0 && g == 48) g = 32;
    if (f == 3) w = sym && flags & 4 ? 8 : 4, g = 32, act_order = 0;
    snprintf(text, sizeof text, "gptq:w%d,g%d,sym=%d,act_order=%d", w, g, sym, act_order);
    ptq_fuzz_require(!ptq_spec_parse(text, spec, &err), "the SPEC is one");
    ptq_fuzz_require(!ptq_export_find(format[f], &x->format, &err), "the format is one");
}

/* Any bits as a scale where wild, else one near the weights'. */
static float take_scale(struct ptq_fuzz_bytes *in, int wild)
{
    float scale;
    if (!wild) return ptq_f16_round(0x1p-10f + (float)ptq_fuzz_byte(in) / 4096);
    ptq_fuzz_fill(in, &scale, sizeof scale);
    return scale;
}

static void fill(struct ptq_arena *arena, struct ptq_fuzz_bytes *in, const struct ptq_export *x, int64_t n, int64_t k,
                 int least, struct ptq_qmat *q)
{
    uint32_t flags = ptq_fuzz_byte(in), top = (1u << x->spec->grid.w_bit) - 1, shift = ptq_fuzz_byte(in);
    ptq_qmat_make(arena, &x->spec->grid, n, k, q);
    if (ptq_export_reorders(x->spec)) {
        q->perm = ptq_new(arena, int32_t, k);
        for (int64_t i = 0; i < k; i++) q->perm[i] = (int32_t)((i * 5 + shift) % k); /* 5 divides neither 64 nor 96 */
    }
    for (int64_t i = 0; i < n * q->n_groups; i++) {
        uint32_t zero = ptq_fuzz_byte(in) & top;
        q->scale[i] = take_scale(in, flags & 1 && i % 7 == 0);
        q->zero[i] =
            x->spec->grid.sym ? (float)(top + 1) / 2 : (float)(zero < (uint32_t)least ? (uint32_t)least : zero);
    }
    if (flags & 2) q->zero[0] = (float)(int8_t)ptq_fuzz_byte(in);
    for (int64_t i = 0; i < n * k; i++) q->code[i] = (uint8_t)((shift + i * 7) & top);
    for (int64_t i = 0; i < n * k && in->size; i += 3) q->code[i] = (uint8_t)(ptq_fuzz_byte(in) & top);
}

static enum ptq_status write_out(struct ptq_export *x, const struct ptq_qmat *q, struct ptq_error *err)
{
    enum ptq_status status = ptq_export_begin(x, err);
    for (int i = 0; i < EXPORT_BLOCKS && !status; i++) status = ptq_export_block(x, i, &block[i], q, err);
    if (!status) status = ptq_export_finish(x, err);
    ptq_export_abandon(x);
    return status;
}

/* ---- what comes back ---- */

static int64_t group_of(const struct ptq_qmat *q, int64_t place)
{
    return place / (q->grid.group_size < 0 ? q->k : q->grid.group_size);
}

/* Each weight by its own code, scale and zero: the places of both orders are compared column by column. */
static void check_codes(struct ptq_arena *arena, const struct ptq_qmat *out, const struct ptq_qmat *back)
{
    int64_t *group = ptq_new(arena, int64_t, 2 * out->k);
    ptq_fuzz_require(out->n == back->n && out->k == back->k && out->n_groups == back->n_groups, "the same sizes");
    ptq_fuzz_require(memcmp(out->code, back->code, (size_t)(out->n * out->k)) == 0, "the same codes");
    for (int64_t p = 0; p < out->k; p++) {
        group[out->perm ? out->perm[p] : p] = group_of(out, p);
        group[out->k + (back->perm ? back->perm[p] : p)] = group_of(back, p);
    }
    ptq_fuzz_require(memcmp(group, group + out->k, sizeof *group * (size_t)out->k) == 0, "every column in its group");
    for (int64_t i = 0; i < out->n * out->n_groups; i++)
        ptq_fuzz_require(out->zero[i] == back->zero[i] && ptq_f16_round(out->scale[i]) == back->scale[i],
                         "the same zeros, and the scales as FP16");
}

static void read_codes(struct ptq_arena *arena, const struct ptq_model *model, const struct ptq_qmat *q)
{
    struct ptq_quantized_linear linear;
    struct ptq_qmat back;
    struct ptq_error err;
    char name[PTQ_NAME_SIZE];
    int found;
    for (int role = 0; role < PTQ_N_ROLE; role++) {
        ptq_hf_name(&model->config, model->config.family->hf.linear[role], EXPORT_BLOCKS - 1, "", name);
        ptq_fuzz_require(!ptq_quantized_find(model->quantization, &model->checkpoint, name, q[role].n, q[role].k,
                                             &linear, &found, &err) &&
                             found && !ptq_quantized_codes(model->quantization, &linear, arena, &back, &err),
                         "the codes can be read");
        check_codes(arena, &q[role], &back);
    }
}

/* A GGUF comes back as weights: d and m in FP16, and their sum. */
static void read_blocks(struct ptq_arena *arena, const struct ptq_model *model, const struct ptq_qmat *q)
{
    struct ptq_block back;
    struct ptq_error err;
    if (ptq_block_load(model, EXPORT_BLOCKS - 1, arena, &back, &err)) return; /* too large for FP16, and it says so */
    for (int role = 0; role < PTQ_N_ROLE; role++)
        for (int64_t i = 0; i < q[role].n * q[role].k; i++) {
            int64_t at = i / q[role].k * q[role].n_groups + i % q[role].k / 32;
            float d = ptq_f16_round(q[role].scale[at]), code = (float)q[role].code[i], zero = q[role].zero[at];
            float w =
                q[role].grid.sym ? d * (code - zero) : d * code + ptq_f16_round(-q[role].scale[at] * q[role].zero[at]);
            ptq_fuzz_require(back.linear[role].w[i] == ptq_f16_round(w), "the weights that the codes stand for");
        }
}

static void read_back(struct ptq_arena *arena, const struct ptq_export *x, const struct ptq_qmat *q)
{
    int gguf = strcmp(x->format->name, "gguf") == 0;
    struct ptq_model model;
    struct ptq_error err;
    enum ptq_status status =
        ptq_model_open(arena, gguf ? ptq_join(arena, x->folder, "model.gguf") : x->folder, "back", &model, &err);
    ptq_fuzz_require(!status, status ? err.text : "an exported model opens");
    (gguf ? read_blocks : read_codes)(arena, &model, q);
    ptq_model_close(&model);
}

void ptq_fuzz_export_formats(const uint8_t *data, size_t size)
{
    struct ptq_fuzz_bytes in = {data, size};
    struct ptq_arena *arena = ptq_arena_make("fuzz"), *scratch = ptq_arena_make("scratch");
    struct ptq_spec spec;
    struct ptq_export x = {.arena = arena, .scratch = scratch, .spec = &spec, .shard_bytes = UINT64_MAX};
    struct ptq_qmat q[PTQ_N_ROLE];
    struct ptq_error err;
    open_tiny();
    x.model = &tiny;
    choose(&in, &x, &spec);
    if (!ptq_export_check(&x, &err)) {
        int least = strcmp(x.format->name, "gptq") == 0;
        x.folder = folder_of(arena, "out");
        for (int role = 0; role < PTQ_N_ROLE; role++)
            fill(arena, &in, &x, block[0].linear[role].n, block[0].linear[role].k, least, &q[role]);
        if (!write_out(&x, q, &err)) read_back(arena, &x, q);
        remove_test_folder(x.folder);
    }
    ptq_arena_free(scratch);
    ptq_arena_free(arena);
}
