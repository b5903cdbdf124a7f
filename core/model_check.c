#include "model_parts.h"
#include "progress.h"

#include <string.h>

/* GPTQModel quantises a head or an embedding where it is asked to. */
enum ptq_status ptq_tensor_missing(const struct ptq_model *m, const char *name, struct ptq_error *err)
{
    char codes[PTQ_NAME_SIZE];
    const char *suffix = strrchr(name, '.');
    snprintf(codes, sizeof codes, "%.*s.qweight", (int)(suffix - name), name);
    if (!m->quantization || strcmp(suffix, ".weight") || !ptq_checkpoint_find(&m->checkpoint, codes))
        return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%s' is missing", m->checkpoint.path, name);
    return ptq_fail(
        err, PTQ_EINPUT,
        "%s: tensor '%s' is missing, and '%s' is there; codes are read of linears of blocks alone, so take a "
        "checkpoint that has this one in FP16",
        m->checkpoint.path, name, codes);
}

/* A linear that is missing: where its codes are there, what is missing is the config that tells what they are. */
static enum ptq_status check_not_codes(const struct ptq_model *m, int64_t block, enum ptq_role role,
                                       struct ptq_error *err)
{
    char name[PTQ_NAME_SIZE];
    ptq_tensor_name(name, m->prefix, m->names->linear[role], block, ".qweight");
    if (!ptq_checkpoint_find(&m->checkpoint, name))
        ptq_tensor_name(name, m->prefix, m->names->linear[role], block, ".packed");
    if (!ptq_checkpoint_find(&m->checkpoint, name)) return err->status;
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: there is tensor '%s', but no quantization_config in config.json to say what its codes are; "
                    "take the config.json that was published with it",
                    m->checkpoint.path, name);
}

/* Of a checkpoint of codes, which may have left it as it was. */
static enum ptq_status neither(const struct ptq_model *m, int64_t block, enum ptq_role role, struct ptq_error *err)
{
    char name[PTQ_NAME_SIZE];
    ptq_tensor_name(name, m->prefix, m->names->linear[role], block, "");
    return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%s.qweight' (%s) is missing, and '%s.weight' is not there for it",
                    m->checkpoint.path, name, m->quantization->text, name);
}

static enum ptq_status denied_bias(const struct ptq_model *m, const struct ptq_tensor *t, enum ptq_role role,
                                   struct ptq_error *err)
{
    const char *key = ptq_bias_key(m->config.family, role);
    if (!key)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: tensor '%s' is not zero, but %s models have no such bias; it belongs to "
                        "another model",
                        t->file->path, t->name, m->config.family->model_type);
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: tensor '%s' is not zero, but by '%s' in config.json there is no such bias; "
                    "one of them belongs to another model",
                    t->file->path, t->name, key);
}

enum ptq_status ptq_model_find_bias(const struct ptq_model *m, int64_t block, enum ptq_role role,
                                    struct ptq_arena *arena, const struct ptq_tensor **out, struct ptq_error *err)
{
    const struct ptq_tensor *t;
    *out = NULL;
    PTQ_TRY(ptq_find_linear(m, block, role, ".bias", 0, &t, err));
    if (!t) return PTQ_OK;
    struct ptq_mark mark = ptq_arena_mark(arena);
    float *b = ptq_new(arena, float, t->count);
    enum ptq_status status = ptq_tensor_read(t, 0, t->count, b, err);
    for (int64_t i = 0; !status && i < t->count; i++)
        if (b[i] != 0) *out = t;
    ptq_arena_rewind(arena, mark);
    return status;
}

/* AutoGPTQ writes a bias of zeros for every linear: those are none. */
static enum ptq_status check_no_bias(const struct ptq_model *m, int64_t block, enum ptq_role role,
                                     struct ptq_arena *arena, struct ptq_error *err)
{
    const struct ptq_tensor *t;
    PTQ_TRY(ptq_model_find_bias(m, block, role, arena, &t, err));
    return t ? denied_bias(m, t, role, err) : PTQ_OK;
}

/* An image is looked at whole: what is in it is used as it is. */
static enum ptq_status check_image(const struct ptq_model *m, const struct ptq_quantized_linear *linear,
                                   struct ptq_arena *arena, struct ptq_error *err)
{
    struct ptq_packed image;
    struct ptq_mark mark = ptq_arena_mark(arena);
    enum ptq_status status = ptq_quantized_image(m->quantization, linear, arena, &image, err);
    ptq_arena_rewind(arena, mark);
    return status;
}

static enum ptq_status check_linear(const struct ptq_model *m, int64_t block, enum ptq_role role,
                                    struct ptq_arena *arena, struct ptq_error *err)
{
    struct ptq_quantized_linear codes;
    const struct ptq_tensor *t;
    int found;
    if (!ptq_may_have_bias(m, role))
        PTQ_TRY(check_no_bias(m, block, role, arena, err));
    else
        PTQ_TRY(ptq_find_linear(m, block, role, ".bias", m->config.biased >> role & 1, &t, err));
    PTQ_TRY(ptq_find_quantized(m, block, role, &codes, &found, err));
    if (found) return codes.image ? check_image(m, &codes, arena, err) : PTQ_OK;
    enum ptq_status status = ptq_find_linear(m, block, role, ".weight", 1, &t, err);
    if (status && !t) return m->quantization ? neither(m, block, role, err) : check_not_codes(m, block, role, err);
    return status;
}

/* What the linears that are codes have together; of the tensors the first. */
struct survey {
    int found, left;                         /* 1: some are, some are not codes */
    const struct ptq_tensor *with, *without; /* zeros; codes whose zeros are missing */
    const struct ptq_tensor *shifted;        /* zeros that are not all the middle */
};

static enum ptq_status survey_linear(const struct ptq_model *m, int64_t block, enum ptq_role role,
                                     struct ptq_arena *arena, struct survey *s, struct ptq_error *err)
{
    struct ptq_quantized_linear l;
    int found;
    PTQ_TRY(ptq_find_quantized(m, block, role, &l, &found, err));
    s->found |= found;
    s->left |= !found;
    if (!found || l.image) return PTQ_OK;
    if (!l.zeros && !s->without) s->without = l.codes;
    if (!l.zeros) return PTQ_OK;
    if (!s->with) s->with = l.zeros;
    if (!s->shifted && !ptq_quantized_zeros_middle(m->quantization, &l, arena)) s->shifted = l.zeros;
    return PTQ_OK;
}

/* Zeros of some linears alone are half a file. And what programs compute with is the zeros as they are stored,
 * whatever the config calls the grid. */
static enum ptq_status check_zeros(const struct ptq_model *m, const struct survey *s, struct ptq_error *err)
{
    struct ptq_quantization *q = m->quantization;
    if (s->with && s->without)
        return ptq_fail(
            err, PTQ_EINPUT,
            "%s: tensor '%.*s.qzeros' is missing, and others, such as '%s', are there; part of the file is lost, or "
            "another's, so take it anew",
            s->without->file->path, (int)(strlen(s->without->name) - strlen(".qweight")), s->without->name,
            s->with->name);
    if (!q->sym || !s->shifted) return PTQ_OK;
    ptq_progress_note("%s calls the grid symmetric, but tensor '%s' has zeros that are not the middle, %d; zeros are "
                      "read as they are stored",
                      q->source, s->shifted->name, 1 << q->bits >> 1);
    q->sym = 0;
    return PTQ_OK;
}

/* A config that speaks of codes beside a file that has none is the config of another file. */
static enum ptq_status check_codes(const struct ptq_model *m, struct ptq_arena *arena, struct ptq_error *err)
{
    struct survey survey = {0};
    if (!m->quantization) return PTQ_OK;
    PTQ_TRY(ptq_dynamic_check(m->quantization, &m->checkpoint, arena, err));
    for (int64_t i = 0; i < m->config.blocks; i++)
        for (int role = 0; role < PTQ_N_ROLE; role++)
            if (m->names->linear[role]) PTQ_TRY(survey_linear(m, i, (enum ptq_role)role, arena, &survey, err));
    m->quantization->whole = !survey.left;
    if (survey.found) return check_zeros(m, &survey, err);
    return ptq_fail(err, PTQ_EINPUT,
                    "%s says %s, and no linear of %s is stored so (.qweight); one of them is another "
                    "model's, or quantization_config must go",
                    m->quantization->source, m->quantization->text, m->checkpoint.path);
}

static enum ptq_status check_activation_scale(const struct ptq_model *m, int64_t block, struct ptq_arena *arena,
                                              struct ptq_error *err)
{
    const float *scale;
    struct ptq_mark mark = ptq_arena_mark(arena);
    enum ptq_status status = ptq_read_activation_scale(m, block, arena, &scale, err);
    ptq_arena_rewind(arena, mark);
    return status;
}

static enum ptq_status check_blocks(const struct ptq_model *m, struct ptq_arena *arena, struct ptq_error *err)
{
    const struct ptq_tensor *t;
    char name[PTQ_NAME_SIZE];
    for (int64_t i = 0; i < m->config.blocks; i++) {
        PTQ_TRY(check_activation_scale(m, i, arena, err));
        for (int role = 0; role < PTQ_N_ROLE; role++)
            if (m->names->linear[role]) PTQ_TRY(check_linear(m, i, role, arena, err));
        for (int norm = 0; norm < 2; norm++) {
            ptq_tensor_name(name, m->prefix, norm ? m->names->norm2 : m->names->norm1, i, ".weight");
            PTQ_TRY(ptq_find_tensor(m, name, m->config.width, -1, 1, &t, err));
            ptq_tensor_name(name, m->prefix, norm ? m->names->norm2 : m->names->norm1, i, ".bias");
            if (m->config.family->norm == PTQ_LAYERNORM)
                PTQ_TRY(ptq_find_tensor(m, name, m->config.width, -1, 1, &t, err));
        }
    }
    return PTQ_OK;
}

enum ptq_status ptq_model_check(const struct ptq_model *m, struct ptq_arena *arena, struct ptq_error *err)
{
    PTQ_TRY(check_blocks(m, arena, err));
    return check_codes(m, arena, err);
}
