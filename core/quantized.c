#include "quantized.h"

#include "json.h"
#include "locate.h"
#include "packed_codes.h"
#include "quantized_parts.h"

#include <math.h>
#include <string.h>
#include <strings.h>

enum { MAX_CONFIG = 1 << 24 };

#define KNOWN "awq (version gemm, 4 bits), gptq and gptq_v2 (2, 3, 4, 8 bits), ptq (2 to 8 bits)"

/* ---- quantization_config ---- */

static enum ptq_status refuse(const char *what, const char *key, const char *value, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EINPUT, "%s: %s '%.60s' is not known; known: " KNOWN, what, key, value);
}

static enum ptq_status contradict(const char *what, const char *key, const char *alias, struct ptq_error *err)
{
    return ptq_fail(
        err, PTQ_EINPUT,
        "%s: %s and %s contradict each other, and programs differ in which they read; take out the one that "
        "is wrong",
        what, key, alias);
}

/* key, else alias: the names changed over the years. */
static enum ptq_status either_int(const json_t *json, const char *key, const char *alias, const char *what, int64_t min,
                                  int64_t max, int64_t *out, struct ptq_error *err)
{
    const char *name = json_object_get(json, key) || !json_object_get(json, alias) ? key : alias;
    int64_t other;
    PTQ_TRY(ptq_json_int(json, name, what, min, max, out, err));
    PTQ_TRY(ptq_json_int_or(json, alias, what, min, max, *out, &other, err));
    return other == *out ? PTQ_OK : contradict(what, key, alias, err);
}

static enum ptq_status either_text(const json_t *json, const char *key, const char *alias, const char *what,
                                   const char *fallback, const char **out, struct ptq_error *err)
{
    const char *other;
    PTQ_TRY(ptq_json_text_or(json, alias, what, NULL, &other, err));
    PTQ_TRY(ptq_json_text_or(json, key, what, other ? other : fallback, out, err));
    return !other || strcasecmp(other, *out) == 0 ? PTQ_OK : contradict(what, key, alias, err);
}

/* Keys of GPTQModel that change what a linear computes beside its codes, where they are given. */
static const char *const changing[] = {"rotation", "activation", "adapter"};

/* What makes a checkpoint one of another kind than its method's name says. */
static enum ptq_status refuse_variants(const json_t *json, const char *what, struct ptq_error *err)
{
    int head, marlin;
    const char *pack, *backend;
    PTQ_TRY(ptq_json_bool_or(json, "lm_head", what, 0, &head, err));
    PTQ_TRY(ptq_json_bool_or(json, "is_marlin_format", what, 0, &marlin, err));
    PTQ_TRY(ptq_json_text_or(json, "pack_dtype", what, "int32", &pack, err));
    PTQ_TRY(ptq_json_text_or(json, "backend", what, "auto", &backend, err));
    if (strcmp(backend, "llm-awq") == 0)
        return ptq_fail(err, PTQ_EINPUT,
                        "%s: backend llm-awq has a layout of its own, which is not read; known: " KNOWN, what);
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++)
        if (ptq_json_given(json_object_get(json, changing[i])))
            return ptq_fail(err, PTQ_EINPUT, "%s: %s: linears that compute more than their codes are not read", what,
                            changing[i]);
    if (head)
        return ptq_fail(
            err, PTQ_EINPUT,
            "%s: lm_head is true, and a quantised head is not read; take a checkpoint that has its head in FP16", what);
    if (marlin) return refuse(what, "format", "marlin", err);
    if (strcmp(pack, "int32") && strcmp(pack, "torch.int32"))
        return ptq_fail(err, PTQ_EINPUT, "%s: pack_dtype is '%.60s'; codes are read in words of int32 alone", what,
                        pack);
    return PTQ_OK;
}

static unsigned says(const json_t *json, const char *key, enum ptq_said what)
{
    return ptq_json_given(json_object_get(json, key)) ? what : 0;
}

static enum ptq_status read_awq(const json_t *json, const char *what, struct ptq_quantization *q, struct ptq_error *err)
{
    const char *version, *format;
    int zero_point;
    PTQ_TRY(either_text(json, "version", "format", what, "gemm", &version, err));
    PTQ_TRY(ptq_json_text_or(json, "checkpoint_format", what, version, &format, err));
    if (strcasecmp(version, "gemm")) return refuse(what, "awq version", version, err);
    if (strcasecmp(format, "gemm")) return refuse(what, "awq checkpoint_format", format, err);
    PTQ_TRY(ptq_json_bool_or(json, "zero_point", what, 1, &zero_point, err));
    q->container = &ptq_container_awq;
    q->sym = !zero_point;
    q->said = says(json, "zero_point", PTQ_SAYS_SYM);
    return PTQ_OK;
}

static enum ptq_status read_gptq(const json_t *json, const char *what, struct ptq_quantization *q,
                                 struct ptq_error *err)
{
    const char *format;
    PTQ_TRY(either_text(json, "checkpoint_format", "format", what, "gptq", &format, err));
    PTQ_TRY(ptq_json_bool_or(json, "desc_act", what, 0, &q->desc_act, err));
    PTQ_TRY(ptq_json_bool_or(json, "sym", what, 1, &q->sym, err));
    q->said = says(json, "desc_act", PTQ_SAYS_DESC_ACT) | says(json, "sym", PTQ_SAYS_SYM);
    q->container = strcmp(format, "gptq") == 0 ? &ptq_container_gptq : &ptq_container_gptq_v2;
    if (strcmp(format, q->container->name)) return refuse(what, "checkpoint_format", format, err);
    return PTQ_OK;
}

/* What the numbers of its head do not say stands in each image. */
static enum ptq_status read_ptq(const json_t *json, const char *what, struct ptq_quantization *q, struct ptq_error *err)
{
    int64_t version;
    PTQ_TRY(ptq_json_int(json, "version", what, 1, INT32_MAX, &version, err));
    PTQ_TRY(ptq_json_bool_or(json, "sym", what, 0, &q->sym, err));
    q->container = &ptq_container_ptq;
    if (version == PTQ_CONTAINER_VERSION) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: version %lld of ptq's own format is not known; known: %d; take the ptq that wrote it, or "
                    "quantise again",
                    what, (long long)version, PTQ_CONTAINER_VERSION);
}

/* By quant_method. */
static const struct {
    const char *name;
    enum ptq_status (*read)(const json_t *json, const char *what, struct ptq_quantization *q, struct ptq_error *err);
} readers[] = {{"awq", read_awq}, {"gptq", read_gptq}, {"ptq", read_ptq}};

enum { N_READERS = sizeof readers / sizeof *readers };

/* modules_to_not_convert. */
static enum ptq_status read_plain(struct ptq_arena *arena, const json_t *json, const char *what,
                                  struct ptq_quantization *q, struct ptq_error *err)
{
    const json_t *names = json_object_get(json, "modules_to_not_convert");
    if (!ptq_json_given(names)) return PTQ_OK;
    size_t n = json_array_size(names), i = 0;
    q->plain = ptq_new(arena, const char *, n);
    while (i < n && ptq_json_is(json_array_get(names, i), JSON_STRING)) {
        q->plain[i] = ptq_strdup(arena, json_string_value(json_array_get(names, i)));
        i++;
    }
    q->n_plain = (int)n;
    if (ptq_json_is(names, JSON_ARRAY) && i == n) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: modules_to_not_convert must be a list of names", what);
}

static enum ptq_status read_quantization(struct ptq_arena *arena, const json_t *json, const char *what,
                                         const char *method, struct ptq_quantization *q, struct ptq_error *err)
{
    int64_t bits;
    *q = (struct ptq_quantization){.source = what};
    PTQ_TRY(either_text(json, "quant_method", "method", what, method, &method, err));
    if (!method) return ptq_fail(err, PTQ_EINPUT, "%s: quant_method is missing; known: " KNOWN, what);
    int i = 0;
    while (i < N_READERS && strcmp(readers[i].name, method)) i++;
    if (i == N_READERS) return refuse(what, "quant_method", method, err);
    PTQ_TRY(refuse_variants(json, what, err));
    PTQ_TRY(read_plain(arena, json, what, q, err));
    PTQ_TRY(ptq_dynamic_read(arena, json, what, q, err));
    PTQ_TRY(readers[i].read(json, what, q, err));
    PTQ_TRY(either_int(json, "bits", "w_bit", what, 1, 64, &bits, err));
    PTQ_TRY(either_int(json, "group_size", "q_group_size", what, -1, 1 << 20, &q->group_size, err));
    if (!ptq_container_bits(q->container, bits))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s of %lld bits is not known; known: " KNOWN, what, q->container->name,
                        (long long)bits);
    if (q->group_size == 0) return ptq_fail(err, PTQ_EINPUT, "%s: group_size is 0; it must be -1 or positive", what);
    q->bits = (int)bits;
    q->text = ptq_format(arena, "%s %d bits, g%lld", q->container->name, q->bits, (long long)q->group_size);
    return PTQ_OK;
}

/* Where it is said: a file, its object at key (NULL: the whole), and the method where that is not said. */
struct place {
    const char *name, *key, *method;
};
static const struct place places[] = {{"config.json", "quantization_config", NULL},
                                      {"quantize_config.json", NULL, "gptq"},
                                      {"quant_config.json", NULL, "awq"}};

/* *out stays as it is where the file or the object is not there. */
static enum ptq_status read_place(struct ptq_arena *arena, const char *folder, const struct place *place,
                                  struct ptq_quantization **out, struct ptq_error *err)
{
    const char *path = ptq_join(arena, folder, place->name);
    json_t *json;
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind != PTQ_FILE) return PTQ_OK;
    PTQ_TRY(ptq_json_load(path, MAX_CONFIG, &json, err));
    const json_t *object = place->key ? json_object_get(json, place->key) : json;
    enum ptq_status status = PTQ_OK;
    const char *what = place->key ? ptq_format(arena, "%s: %s", path, place->key) : path;
    if (ptq_json_given(object)) {
        struct ptq_quantization *q = ptq_new(arena, struct ptq_quantization, 1);
        status = ptq_json_is(object, JSON_OBJECT) ? read_quantization(arena, object, what, place->method, q, err)
                                                  : ptq_fail(err, PTQ_EINPUT, "%s: must be an object", what);
        *out = q;
    }
    json_decref(json);
    return status;
}

static enum ptq_status places_differ(const struct ptq_quantization *first, const struct ptq_quantization *other,
                                     const char *says, const char *other_says, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EINPUT,
                    "%s says %s, and %s says %s; programs differ in which they read, so take out the one that is wrong",
                    first->source, says, other->source, other_says);
}

static int *switched(struct ptq_quantization *q, enum ptq_said which)
{
    return which == PTQ_SAYS_SYM ? &q->sym : &q->desc_act;
}

static const char *said(const struct ptq_quantization *q, enum ptq_said which)
{
    if (which == PTQ_SAYS_DESC_ACT) return q->desc_act ? "desc_act true" : "desc_act false";
    if (q->container == &ptq_container_awq) return q->sym ? "zero_point false" : "zero_point true";
    return q->sym ? "sym true" : "sym false";
}

/* Of a switch that both places speak of they say the same; where the first is silent, the other's word counts. */
static enum ptq_status agree(struct ptq_quantization *first, struct ptq_quantization *other, enum ptq_said which,
                             struct ptq_error *err)
{
    int *mine = switched(first, which), theirs = *switched(other, which);
    if (!(other->said & which)) return PTQ_OK;
    if (first->said & which && *mine != theirs)
        return places_differ(first, other, said(first, which), said(other, which), err);
    first->said |= which;
    *mine = theirs;
    return PTQ_OK;
}

enum ptq_status ptq_quantization_read(struct ptq_arena *arena, const char *folder, struct ptq_quantization **out,
                                      struct ptq_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct ptq_quantization *first = *out;
        PTQ_TRY(read_place(arena, folder, &places[i], out, err));
        if (!first) continue;
        struct ptq_quantization *other = *out;
        if (strcmp(first->text, other->text)) return places_differ(first, other, first->text, other->text, err);
        PTQ_TRY(agree(first, other, PTQ_SAYS_DESC_ACT, err));
        PTQ_TRY(agree(first, other, PTQ_SAYS_SYM, err));
        *out = first;
    }
    return PTQ_OK;
}

/* ---- a linear's tensors ---- */

/* A tensor beside others of a linear: NAME.suffix [rows][columns], or [rows] where columns < 0. */
struct part {
    const char *suffix;
    int64_t rows, columns;
    int integers;
    const char *needed; /* NULL, or why it may not be missing, "" where it never may */
};

static enum ptq_status find_part(const struct ptq_quantization *q, const struct ptq_checkpoint *c, const char *name,
                                 const struct part *part, const struct ptq_tensor **out, struct ptq_error *err)
{
    char full[256], asking[80];
    snprintf(full, sizeof full, "%s.%s", name, part->suffix);
    snprintf(asking, sizeof asking, "the config (%s)", q->text);
    const struct ptq_tensor *t = *out = ptq_checkpoint_find(c, full);
    if (!t && part->needed)
        return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%s' is missing%s", c->path, full, part->needed);
    if (!t) return PTQ_OK;
    PTQ_TRY(ptq_tensor_shape(t, part->rows, part->columns, asking, err));
    int is_integer = t->dtype == PTQ_I32 || t->dtype == PTQ_U32;
    if (is_integer == part->integers && (is_integer || ptq_dtypes[t->dtype].to_f32)) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%s' is %s; it must be %s", c->path, full, ptq_dtypes[t->dtype].name,
                    part->integers ? "I32" : "F16");
}

/* What reads AWQ's layout takes zeros that are missing for 0, which nobody means. */
static const char *needs_zeros(const struct ptq_quantization *q)
{
    if (q->container == &ptq_container_awq) return ", and awq has them always";
    return q->sym ? NULL : ", and sym says that the grid is not symmetric";
}

static enum ptq_status find_image(const struct ptq_checkpoint *c, const char *name, struct ptq_quantized_linear *out,
                                  struct ptq_error *err)
{
    char full[256];
    snprintf(full, sizeof full, "%s.packed", name);
    const struct ptq_tensor *t = out->image = ptq_checkpoint_find(c, full);
    if (!t) return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%s' is missing", c->path, full);
    if (t->dtype == PTQ_U8 && t->rank == 1) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%s' is %s of %d dimensions; it must be U8 of one", c->path, full,
                    ptq_dtypes[t->dtype].name, t->rank);
}

/* As AutoAWQ and vLLM have it, a linear is left as it was where its name holds one of the words. */
static enum ptq_status check_plain(const struct ptq_quantization *q, const struct ptq_checkpoint *c, const char *name,
                                   struct ptq_error *err)
{
    for (int i = 0; i < q->n_plain; i++)
        if (strstr(name, q->plain[i]))
            return ptq_fail(err, PTQ_EINPUT,
                            "%s: tensor '%s.qweight' is there, but by modules_to_not_convert ('%.60s') that linear is "
                            "not quantised; one of them belongs to another model",
                            c->path, name, q->plain[i]);
    return PTQ_OK;
}

/* AutoAWQ has no shorter last group. */
static enum ptq_status check_groups(const struct ptq_quantization *q, const struct ptq_checkpoint *c, const char *name,
                                    int64_t k, struct ptq_error *err)
{
    if (q->container != &ptq_container_awq || q->group_size < 0 || k % q->group_size == 0) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: %s has %lld inputs, which groups of %lld do not divide; awq has whole groups",
                    c->path, name, (long long)k, (long long)q->group_size);
}

enum ptq_status ptq_quantized_find(const struct ptq_quantization *q, const struct ptq_checkpoint *c, const char *name,
                                   int64_t n, int64_t k, struct ptq_quantized_linear *out, int *found,
                                   struct ptq_error *err)
{
    char codes[256];
    snprintf(codes, sizeof codes, "%s.qweight", name);
    *found = ptq_quantization_packed(q) || ptq_checkpoint_find(c, codes) != NULL;
    if (!*found) return PTQ_OK;
    int64_t groups = ptq_n_groups(k, q->group_size), rows, columns, packed;
    *out = (struct ptq_quantized_linear){.n = n, .k = k};
    if (ptq_quantization_packed(q)) return find_image(c, name, out, err);
    PTQ_TRY(check_plain(q, c, name, err));
    PTQ_TRY(check_groups(q, c, name, k, err));
    if (!q->container->shape(n, k, q->bits, &rows, &columns, &packed))
        return ptq_fail(err, PTQ_EINPUT, "%s: %s is [%lld, %lld], which %s cannot hold in whole words", c->path, name,
                        (long long)n, (long long)k, q->text);
    const char *reordered = ", and desc_act says that columns are in an order of their own";
    const struct part codes_part = {"qweight", rows, columns, 1, ""},
                      zeros = {"qzeros", groups, packed, 1, needs_zeros(q)}, scales = {"scales", groups, n, 0, ""},
                      g_idx = {"g_idx", k, -1, 1, q->desc_act && groups > 1 ? reordered : NULL};
    PTQ_TRY(find_part(q, c, name, &codes_part, &out->codes, err));
    PTQ_TRY(find_part(q, c, name, &zeros, &out->zeros, err));
    PTQ_TRY(find_part(q, c, name, &scales, &out->scales, err));
    return q->container == &ptq_container_awq ? PTQ_OK : find_part(q, c, name, &g_idx, &out->g_idx, err);
}
