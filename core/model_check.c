#include "model_parts.h"

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
    if (status && m->quantization) return ptq_within(err, "neither as %s nor unquantised", m->quantization->text);
    return status ? check_not_codes(m, block, role, err) : PTQ_OK;
}

/* A config that speaks of codes beside a file that has none is the config of another file. */
static enum ptq_status check_codes(const struct ptq_model *m, struct ptq_error *err)
{
    struct ptq_quantized_linear codes;
    int found = !m->quantization;
    for (int64_t i = 0; !found && i < m->config.blocks; i++)
        for (int role = 0; !found && role < PTQ_N_ROLE; role++)
            if (m->names->linear[role]) PTQ_TRY(ptq_find_quantized(m, i, (enum ptq_role)role, &codes, &found, err));
    if (found) return PTQ_OK;
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
    return check_codes(m, err);
}
