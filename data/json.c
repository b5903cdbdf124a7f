#include "json.h"

#include "locate.h"
#include "mapped.h"

#include <string.h>

/* No file that we read goes deeper than 8; the parser itself is recursive, so its depth is not left to the input. */
enum { MAX_DEPTH = 100, VALUE_SHOWN = 60 };

const struct ptq_json_bounds ptq_json_usual = {.memory = 44 << 20, .string = 1 << 20, .size = 20 << 20};

/* The bytes that a character outside strings stands for once it is parsed, by jansson and malloc of 64-bit systems: a
 * number takes 32 and a place in its array or entry in its object, an empty text 80, an empty array 128, an empty
 * object 240. A comma stands for the value behind it, a colon for a key's entry, a quote for the text that it begins.
 */
static size_t weight(char c)
{
    return c == '{' ? 240 : c == '[' ? 128 : c == ',' || c == ':' || c == '"' ? 48 : 0;
}

/* Bounds what the parser does before it begins: it is recursive, and takes some hundred bytes for a value of two.
 * Brackets and commas inside strings do not count; what is no JSON is left for the parser to name. */
static enum ptq_status check_extent(const char *text, size_t size, const struct ptq_json_bounds *bounds,
                                    const char *what, struct ptq_error *err)
{
    int depth = 0, in_string = 0;
    size_t memory = size, begin = 0;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_string) {
            memory++;
            i += c == '\\';
            in_string = c != '"';
        } else {
            in_string = c == '"';
            begin = i;
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            memory += weight(c);
        }
        if (depth > MAX_DEPTH)
            return ptq_fail(err, PTQ_EINPUT, "%s: byte %zu: nested more than %d deep", what, i, (int)MAX_DEPTH);
        if (memory > bounds->memory)
            return ptq_fail(
                err, PTQ_EINPUT,
                "%s: byte %zu: the values and keys up to here take %zu bytes of memory, too much for such a file", what,
                i, bounds->memory);
        if (in_string && i - begin > bounds->string)
            return ptq_fail(err, PTQ_EINPUT, "%s: byte %zu: a string of more than %zu bytes, too long for such a file",
                            what, begin, bounds->string);
    }
    return PTQ_OK;
}

enum ptq_status ptq_json_parse_within(const struct ptq_json_bounds *bounds, const char *text, size_t size,
                                      const char *what, json_t **root, struct ptq_error *err)
{
    json_error_t cause;
    *root = NULL;
    if (!size) return ptq_fail(err, PTQ_EINPUT, "%s: is empty where JSON is needed", what);
    if (size > bounds->size)
        return ptq_fail(err, PTQ_EINPUT, "%s: has %zu bytes; at most %zu of JSON are taken here", what, size,
                        bounds->size);
    PTQ_TRY(check_extent(text, size, bounds, what, err));
    *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &cause);
    if (*root) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: line %d, column %d: not valid JSON: %s", what, cause.line, cause.column,
                    cause.text);
}

enum ptq_status ptq_json_parse(const char *text, size_t size, const char *what, json_t **root, struct ptq_error *err)
{
    return ptq_json_parse_within(&ptq_json_usual, text, size, what, root, err);
}

enum ptq_status ptq_json_load(const char *path, size_t limit, json_t **root, struct ptq_error *err)
{
    *root = NULL;
    struct ptq_arena *arena = ptq_arena_make("a JSON file");
    struct ptq_mapped file = {0};
    enum ptq_status status = ptq_map_inside(arena, path, &file, err);
    if (!status && file.size > limit)
        status = ptq_fail(err, PTQ_EINPUT, "%s: has %zu bytes; at most %zu are taken here", path, file.size, limit);
    if (!status) status = ptq_json_parse((const char *)file.data, file.size, path, root, err);
    ptq_unmap(&file);
    ptq_arena_free(arena);
    return status;
}

/* ---- kinds ---- */

/* jansson's own json_is_... are macros that look for NULL in each line which has them. */
int ptq_json_is(const json_t *value, json_type type)
{
    return value && json_typeof(value) == type;
}

int ptq_json_given(const json_t *value)
{
    return value && json_typeof(value) != JSON_NULL;
}

/* ---- getters ---- */

/* What stands where something else was wanted, for people. */
static void describe(const json_t *value, char out[VALUE_SHOWN])
{
    if (ptq_json_is(value, JSON_OBJECT)) {
        snprintf(out, VALUE_SHOWN, "an object");
    } else if (ptq_json_is(value, JSON_ARRAY)) {
        snprintf(out, VALUE_SHOWN, "an array of %zu", json_array_size(value));
    } else if (ptq_json_is(value, JSON_STRING)) {
        size_t length = json_string_length(value);
        snprintf(out, VALUE_SHOWN, "\"%.40s\"%s", json_string_value(value), length > 40 ? " and more" : "");
    } else {
        out[json_dumpb(value, out, VALUE_SHOWN - 1, JSON_ENCODE_ANY)] = 0; /* a number or a word: always fits */
    }
}

/* *out: object[key], or NULL where it is missing or null. */
static enum ptq_status find(const json_t *object, const char *key, const char *what, const json_t **out,
                            struct ptq_error *err)
{
    *out = NULL;
    if (!ptq_json_is(object, JSON_OBJECT))
        return ptq_fail(err, PTQ_EINPUT, "%s: must be an object that holds '%s'", what, key);
    *out = json_object_get(object, key);
    if (ptq_json_is(*out, JSON_NULL)) *out = NULL;
    return PTQ_OK;
}

static enum ptq_status missing(const char *key, const char *what, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EINPUT, "%s: '%s' is missing", what, key);
}

static enum ptq_status wrong(const json_t *value, const char *key, const char *what, const char *wanted,
                             struct ptq_error *err)
{
    char is[VALUE_SHOWN];
    describe(value, is);
    return ptq_fail(err, PTQ_EINPUT, "%s: '%s' must be %s; it is %s", what, key, wanted, is);
}

static enum ptq_status take_int(const json_t *value, const char *key, const char *what, int64_t min, int64_t max,
                                int64_t *out, struct ptq_error *err)
{
    char wanted[96];
    snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)min, (long long)max);
    if (!ptq_json_is(value, JSON_INTEGER)) return wrong(value, key, what, wanted, err);
    int64_t n = json_integer_value(value);
    if (n < min || n > max) return wrong(value, key, what, wanted, err);
    *out = n;
    return PTQ_OK;
}

static enum ptq_status take_real(const json_t *value, const char *key, const char *what, double min, double max,
                                 double *out, struct ptq_error *err)
{
    char wanted[96];
    snprintf(wanted, sizeof wanted, "a number from %g to %g", min, max);
    if (!(ptq_json_is(value, JSON_INTEGER) || ptq_json_is(value, JSON_REAL)))
        return wrong(value, key, what, wanted, err);
    double x = json_number_value(value);
    if (!(x >= min && x <= max)) return wrong(value, key, what, wanted, err);
    *out = x;
    return PTQ_OK;
}

enum ptq_status ptq_json_int(const json_t *object, const char *key, const char *what, int64_t min, int64_t max,
                             int64_t *out, struct ptq_error *err)
{
    const json_t *value;
    PTQ_TRY(find(object, key, what, &value, err));
    return value ? take_int(value, key, what, min, max, out, err) : missing(key, what, err);
}

enum ptq_status ptq_json_int_or(const json_t *object, const char *key, const char *what, int64_t min, int64_t max,
                                int64_t fallback, int64_t *out, struct ptq_error *err)
{
    const json_t *value;
    PTQ_TRY(find(object, key, what, &value, err));
    *out = fallback;
    return value ? take_int(value, key, what, min, max, out, err) : PTQ_OK;
}

enum ptq_status ptq_json_real(const json_t *object, const char *key, const char *what, double min, double max,
                              double *out, struct ptq_error *err)
{
    const json_t *value;
    PTQ_TRY(find(object, key, what, &value, err));
    return value ? take_real(value, key, what, min, max, out, err) : missing(key, what, err);
}

enum ptq_status ptq_json_real_or(const json_t *object, const char *key, const char *what, double min, double max,
                                 double fallback, double *out, struct ptq_error *err)
{
    const json_t *value;
    PTQ_TRY(find(object, key, what, &value, err));
    *out = fallback;
    return value ? take_real(value, key, what, min, max, out, err) : PTQ_OK;
}

enum ptq_status ptq_json_bool_or(const json_t *object, const char *key, const char *what, int fallback, int *out,
                                 struct ptq_error *err)
{
    const json_t *value;
    PTQ_TRY(find(object, key, what, &value, err));
    *out = fallback;
    if (!value) return PTQ_OK;
    if (!(ptq_json_is(value, JSON_TRUE) || ptq_json_is(value, JSON_FALSE)))
        return wrong(value, key, what, "true or false", err);
    *out = ptq_json_is(value, JSON_TRUE);
    return PTQ_OK;
}

static enum ptq_status take_text(const json_t *value, const char *key, const char *what, const char **out,
                                 struct ptq_error *err)
{
    if (!ptq_json_is(value, JSON_STRING)) return wrong(value, key, what, "a string", err);
    *out = json_string_value(value);
    return PTQ_OK;
}

enum ptq_status ptq_json_text(const json_t *object, const char *key, const char *what, const char **out,
                              struct ptq_error *err)
{
    const json_t *value;
    PTQ_TRY(find(object, key, what, &value, err));
    return value ? take_text(value, key, what, out, err) : missing(key, what, err);
}

enum ptq_status ptq_json_text_or(const json_t *object, const char *key, const char *what, const char *fallback,
                                 const char **out, struct ptq_error *err)
{
    const json_t *value;
    PTQ_TRY(find(object, key, what, &value, err));
    *out = fallback;
    return value ? take_text(value, key, what, out, err) : PTQ_OK;
}
