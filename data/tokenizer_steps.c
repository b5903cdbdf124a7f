/* The parts of tokenizer.json that are lists of steps: normalizer, pre_tokenizer, post_processor. */
#include "tokenizer_parts.h"

#include "unicode.h"
#include "words.h"

#include <string.h>

/* One step of a part, read by its type; where is "FILE: part[i]". */
typedef enum ptq_status read_step(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *json,
                                  const char *type, const char *where, struct ptq_error *err);

/* A part is nothing, one step, or a Sequence of steps under list_key. */
static enum ptq_status read_part(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *json,
                                 const char *where, const char *list_key, read_step *read, struct ptq_error *err)
{
    const char *type;
    if (!ptq_json_given(json)) return PTQ_OK;
    if (!ptq_json_is(json, JSON_OBJECT)) return ptq_fail(err, PTQ_EINPUT, "%s must be an object or null", where);
    PTQ_TRY(ptq_json_text(json, "type", where, &type, err));
    if (strcmp(type, "Sequence") != 0) return read(tokenizer, arena, json, type, where, err);
    const json_t *list = json_object_get(json, list_key);
    if (!ptq_json_is(list, JSON_ARRAY)) return ptq_fail(err, PTQ_EINPUT, "%s: '%s' must be an array", where, list_key);
    if (json_array_size(list) > PTQ_MAX_STEPS)
        return ptq_fail(err, PTQ_EINPUT, "%s: %zu steps; %d are the most", where, json_array_size(list), PTQ_MAX_STEPS);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *step = json_array_get(list, i);
        const char *place = ptq_format(arena, "%s.%s[%zu]", where, list_key, i);
        PTQ_TRY(ptq_json_text(step, "type", place, &type, err));
        PTQ_TRY(read(tokenizer, arena, step, type, place, err));
    }
    return PTQ_OK;
}

static enum ptq_status unknown_type(const char *type, const char *where, const char *known, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EINPUT, "%s: type '%.60s' is not known; ptq knows %s", where, type, known);
}

/* A text that a step looks for or puts in: none that is known has ten bytes. */
static enum ptq_status check_text(const char *text, const char *key, const char *where, struct ptq_error *err)
{
    if (strlen(text) <= PTQ_MAX_STEP_BYTES) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: '%s' has %zu bytes; %d are the most", where, key, strlen(text),
                    PTQ_MAX_STEP_BYTES);
}

/* {"String": text} or {"Regex": expression}: exactly one of them is set afterwards, and not empty. */
static enum ptq_status read_pattern(const json_t *json, const char *where, const char **string, const char **regex,
                                    struct ptq_error *err)
{
    const json_t *pattern = json_object_get(json, "pattern");
    if (!ptq_json_is(pattern, JSON_OBJECT)) return ptq_fail(err, PTQ_EINPUT, "%s: 'pattern' must be an object", where);
    PTQ_TRY(ptq_json_text_or(pattern, "String", where, NULL, string, err));
    PTQ_TRY(ptq_json_text_or(pattern, "Regex", where, NULL, regex, err));
    if (!*string == !*regex)
        return ptq_fail(err, PTQ_EINPUT, "%s: 'pattern' must have one of 'String' and 'Regex'", where);
    if (*string && !**string) return ptq_fail(err, PTQ_EINPUT, "%s: 'pattern' is an empty string", where);
    return *string ? check_text(*string, "pattern", where, err) : PTQ_OK;
}

static enum ptq_status read_replace(struct ptq_arena *arena, const json_t *json, const char *where,
                                    struct ptq_normal_step *step, struct ptq_error *err)
{
    const char *string, *regex, *content;
    PTQ_TRY(read_pattern(json, where, &string, &regex, err));
    if (regex)
        return ptq_fail(err, PTQ_EINPUT, "%s: Replace by a regular expression is not known; ptq replaces strings",
                        where);
    PTQ_TRY(ptq_json_text(json, "content", where, &content, err));
    PTQ_TRY(check_text(content, "content", where, err));
    step->kind = PTQ_NORMAL_REPLACE;
    step->pattern = ptq_strdup(arena, string);
    step->content = ptq_strdup(arena, content);
    return PTQ_OK;
}

static enum ptq_status read_normal_step(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *json,
                                        const char *type, const char *where, struct ptq_error *err)
{
    struct ptq_normal_step step = {.kind = PTQ_NORMAL_FORM, .form = ptq_normal_form(type)};
    const char *content;
    if (strcmp(type, "Prepend") == 0) {
        PTQ_TRY(ptq_json_text(json, "prepend", where, &content, err));
        PTQ_TRY(check_text(content, "prepend", where, err));
        step.kind = PTQ_NORMAL_PREPEND;
        step.content = ptq_strdup(arena, content);
    } else if (strcmp(type, "Replace") == 0) {
        PTQ_TRY(read_replace(arena, json, where, &step, err));
    } else if (!step.form) {
        return unknown_type(type, where, "NFC, NFD, NFKC, NFKD, Prepend, Replace and Sequence", err);
    }
    tokenizer->normalizer.step[tokenizer->normalizer.n++] = step;
    return PTQ_OK;
}

enum ptq_status ptq_tokenizer_read_normalizer(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                              const json_t *json, const char *path, struct ptq_error *err)
{
    return read_part(tokenizer, arena, json, ptq_format(arena, "%s: normalizer", path), "normalizers", read_normal_step,
                     err);
}

static enum ptq_status read_behaviour(const json_t *json, const char *where, enum ptq_split_behaviour *out,
                                      struct ptq_error *err)
{
    static const char *const names[PTQ_N_SPLITS] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                                    "Contiguous"};
    const char *name;
    PTQ_TRY(ptq_json_text(json, "behavior", where, &name, err));
    for (int i = 0; i < PTQ_N_SPLITS; i++) {
        *out = (enum ptq_split_behaviour)i;
        if (strcmp(name, names[i]) == 0) return PTQ_OK;
    }
    return ptq_fail(err, PTQ_EINPUT, "%s: behavior '%.60s' is not known; did you mean %s?", where, name,
                    ptq_nearest(name, names, PTQ_N_SPLITS) ? ptq_nearest(name, names, PTQ_N_SPLITS) : names[0]);
}

static enum ptq_status read_split(struct ptq_arena *arena, const json_t *json, const char *where,
                                  struct ptq_pre_step *step, struct ptq_error *err)
{
    const char *string, *regex;
    PTQ_TRY(read_behaviour(json, where, &step->behaviour, err));
    PTQ_TRY(ptq_json_bool_or(json, "invert", where, 0, &step->invert, err));
    PTQ_TRY(read_pattern(json, where, &string, &regex, err));
    if (string) step->string = ptq_strdup(arena, string);
    if (regex) step->scan = ptq_scanner_find(regex);
    if (!regex || step->scan) return PTQ_OK;
    return ptq_pattern_compile(arena, regex, ptq_format(arena, "%s.pattern", where), &step->pattern, err);
}

static enum ptq_status read_byte_level(const json_t *json, const char *where, struct ptq_pre_step *step,
                                       struct ptq_error *err)
{
    int prefix, regex;
    PTQ_TRY(ptq_json_bool_or(json, "add_prefix_space", where, 1, &prefix, err));
    PTQ_TRY(ptq_json_bool_or(json, "use_regex", where, 1, &regex, err));
    if (prefix) step->prefix = " ";
    if (regex) step->scan = ptq_scan_gpt2;
    return PTQ_OK;
}

/* prepend_scheme is the newer form of add_prefix_space. */
static enum ptq_status read_metaspace(struct ptq_arena *arena, const json_t *json, const char *where,
                                      struct ptq_pre_step *step, struct ptq_error *err)
{
    const char *replacement, *scheme;
    int prefix, split;
    PTQ_TRY(ptq_json_text(json, "replacement", where, &replacement, err));
    PTQ_TRY(ptq_json_bool_or(json, "add_prefix_space", where, 1, &prefix, err));
    PTQ_TRY(ptq_json_text_or(json, "prepend_scheme", where, prefix ? "always" : "never", &scheme, err));
    PTQ_TRY(ptq_json_bool_or(json, "split", where, 1, &split, err));
    int length = 0;
    if (*replacement) ptq_utf8_decode(replacement, &length);
    if (!length || replacement[length])
        return ptq_fail(err, PTQ_EINPUT, "%s: 'replacement' must be one character", where);
    if (strcmp(scheme, "always") != 0 && strcmp(scheme, "first") != 0 && strcmp(scheme, "never") != 0)
        return ptq_fail(err, PTQ_EINPUT, "%s: prepend_scheme '%.60s' is not always, first or never", where, scheme);
    step->space = ptq_strdup(arena, replacement);
    if (strcmp(scheme, "never") != 0) step->prefix = step->space;
    step->prefix_only_at_start = strcmp(scheme, "first") == 0;
    if (split) step->string = step->space;
    step->behaviour = PTQ_SPLIT_NEXT;
    return PTQ_OK;
}

static enum ptq_status read_digits(const json_t *json, const char *where, struct ptq_pre_step *step,
                                   struct ptq_error *err)
{
    int individual;
    PTQ_TRY(ptq_json_bool_or(json, "individual_digits", where, 0, &individual, err));
    step->scan = ptq_scan_digits;
    step->behaviour = individual ? PTQ_SPLIT_ISOLATED : PTQ_SPLIT_CONTIGUOUS;
    return PTQ_OK;
}

static enum ptq_status read_pre_step(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *json,
                                     const char *type, const char *where, struct ptq_error *err)
{
    struct ptq_pretokenizer *pre = &tokenizer->pretokenizer;
    struct ptq_pre_step step = {0};
    if (pre->byte_level)
        return ptq_fail(err, PTQ_EINPUT, "%s: a step after ByteLevel, which ptq takes only as the last one", where);
    if (strcmp(type, "ByteLevel") == 0) {
        PTQ_TRY(read_byte_level(json, where, &step, err));
        pre->byte_level = 1;
    } else if (strcmp(type, "Split") == 0) {
        PTQ_TRY(read_split(arena, json, where, &step, err));
    } else if (strcmp(type, "Digits") == 0) {
        PTQ_TRY(read_digits(json, where, &step, err));
    } else if (strcmp(type, "Metaspace") == 0) {
        PTQ_TRY(read_metaspace(arena, json, where, &step, err));
    } else {
        return unknown_type(type, where, "ByteLevel, Split, Digits, Metaspace and Sequence", err);
    }
    pre->step[pre->n++] = step;
    return PTQ_OK;
}

enum ptq_status ptq_tokenizer_read_pretokenizer(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                                const json_t *json, const char *path, struct ptq_error *err)
{
    return read_part(tokenizer, arena, json, ptq_format(arena, "%s: pre_tokenizer", path), "pretokenizers",
                     read_pre_step, err);
}

/* The ids of a special token of a template: special_tokens[id].ids. */
static enum ptq_status read_special(const struct ptq_tokenizer *tokenizer, const json_t *processor, const json_t *item,
                                    const char *where, const json_t **ids, struct ptq_error *err)
{
    const char *name;
    PTQ_TRY(ptq_json_text(item, "id", where, &name, err));
    *ids = json_object_get(json_object_get(json_object_get(processor, "special_tokens"), name), "ids");
    if (!ptq_json_is(*ids, JSON_ARRAY))
        return ptq_fail(err, PTQ_EINPUT, "%s: special_tokens does not give '%.60s' its ids", where, name);
    for (size_t i = 0; i < json_array_size(*ids); i++) {
        const json_t *id = json_array_get(*ids, i);
        if (!ptq_json_is(id, JSON_INTEGER) || json_integer_value(id) < 0 || json_integer_value(id) >= tokenizer->size)
            return ptq_fail(err, PTQ_EINPUT, "%s: special_tokens: ids[%zu] of '%.60s' is the id of no token", where, i,
                            name);
    }
    return PTQ_OK;
}

/* A template wraps what the one before it made: its own ids go outside. */
static enum ptq_status add_wrap(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const int32_t *id, int n,
                                int is_after, const char *where, struct ptq_error *err)
{
    for (int i = 0; i < n; i++)
        if (is_after)
            PTQ_TRY(ptq_tokenizer_template_id(arena, &tokenizer->after, &tokenizer->n_after, id[i], 0, where, err));
        else
            PTQ_TRY(ptq_tokenizer_template_id(arena, &tokenizer->before, &tokenizer->n_before, id[n - 1 - i], 1, where,
                                              err));
    return PTQ_OK;
}

static enum ptq_status read_template(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *json,
                                     const char *where, struct ptq_error *err)
{
    const json_t *single = json_object_get(json, "single"), *ids;
    int32_t *part[2] = {NULL, NULL};
    int n[2] = {0, 0}, is_after = 0;
    if (!ptq_json_is(single, JSON_ARRAY)) return ptq_fail(err, PTQ_EINPUT, "%s: 'single' must be an array", where);
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *special = json_object_get(json_array_get(single, i), "SpecialToken");
        const char *place = ptq_format(arena, "%s.single[%zu]", where, i);
        if (!special && json_object_get(json_array_get(single, i), "Sequence") && !is_after) {
            is_after = 1;
            continue;
        }
        if (!special) return ptq_fail(err, PTQ_EINPUT, "%s must be a SpecialToken, or the one Sequence", place);
        PTQ_TRY(read_special(tokenizer, json, special, place, &ids, err));
        for (size_t k = 0; k < json_array_size(ids); k++)
            PTQ_TRY(ptq_tokenizer_template_id(arena, &part[is_after], &n[is_after],
                                              (int32_t)json_integer_value(json_array_get(ids, k)), 0, place, err));
    }
    if (!is_after) return ptq_fail(err, PTQ_EINPUT, "%s: 'single' has no Sequence", where);
    PTQ_TRY(add_wrap(tokenizer, arena, part[0], n[0], 0, where, err));
    return add_wrap(tokenizer, arena, part[1], n[1], 1, where, err);
}

/* BERT's and RoBERTa's: [text, id] under cls goes before, under sep after. */
static enum ptq_status read_pair(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *json,
                                 const char *where, struct ptq_error *err)
{
    static const char *const keys[2] = {"cls", "sep"};
    for (int i = 0; i < 2; i++) {
        const json_t *id = json_array_get(json_object_get(json, keys[i]), 1);
        if (!ptq_json_is(id, JSON_INTEGER) || json_integer_value(id) < 0 || json_integer_value(id) >= tokenizer->size)
            return ptq_fail(err, PTQ_EINPUT, "%s: '%s' must be [text, id] with the id of a token", where, keys[i]);
        int32_t value = (int32_t)json_integer_value(id);
        PTQ_TRY(add_wrap(tokenizer, arena, &value, 1, i, where, err));
    }
    return PTQ_OK;
}

static enum ptq_status read_post_step(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena, const json_t *json,
                                      const char *type, const char *where, struct ptq_error *err)
{
    if (strcmp(type, "ByteLevel") == 0) return PTQ_OK; /* moves offsets only */
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(tokenizer, arena, json, where, err);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        return read_pair(tokenizer, arena, json, where, err);
    return unknown_type(type, where, "TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel and Sequence",
                        err);
}

enum ptq_status ptq_tokenizer_read_template(struct ptq_tokenizer *tokenizer, struct ptq_arena *arena,
                                            const json_t *json, const char *path, struct ptq_error *err)
{
    return read_part(tokenizer, arena, json, ptq_format(arena, "%s: post_processor", path), "processors",
                     read_post_step, err);
}
