/* JSON by jansson, strict (duplicate keys refused, UTF-8 checked, bounded size), with errors that name the file and the
 * JSON path. Used for config.json, tokenizer.json, index.json and the safetensors header. */
#ifndef PTQ_JSON_H
#define PTQ_JSON_H

#include "arena.h"
#include "status.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* What is looked through before it is parsed, since a file of a few bytes a value takes a hundred once it is. */
struct ptq_json_bounds {
    size_t memory; /* bytes of the text and of all that is made of it */
    size_t string; /* bytes of one */
    size_t size;   /* bytes of the text */
};
/* Of a header, an index, a config (docs/decisions.md has what large ones count). What a header's reader makes of it
 * takes up to a quarter more. */
extern const struct ptq_json_bounds ptq_json_usual;

/* Parses text[0..size). what names the source in errors ("DIR/config.json"). The caller owns *root: json_decref. */
enum ptq_status ptq_json_parse(const char *text, size_t size, const char *what, json_t **root, struct ptq_error *err);
/* The same within other bounds. */
enum ptq_status ptq_json_parse_within(const struct ptq_json_bounds *bounds, const char *text, size_t size,
                                      const char *what, json_t **root, struct ptq_error *err);
/* The same of a file of a model's folder, of at most limit bytes; a link may not leave the folder (ptq_map_inside). */
enum ptq_status ptq_json_load(const char *path, size_t limit, json_t **root, struct ptq_error *err);

/* root as text, by jansson's flags, its real numbers in the fewest digits that read back the same, written as Python
 * writes them: 1e-05, 10000.0. In malloc memory; NULL where jansson gives none (a byte that is not UTF-8). */
char *ptq_json_dump(const json_t *root, size_t flags);

/* Whether value is there and of that kind; whether it is there and not null. What a key gives that is missing is NULL.
 */
int ptq_json_is(const json_t *value, json_type type);
int ptq_json_given(const json_t *value);

/* Getters: object[key] of the right kind and in range, else an error "what: 'key' is missing" / "must be ...".
 * The _or forms take a default where the key is missing or null; a wrong kind is an error all the same. */
enum ptq_status ptq_json_int(const json_t *object, const char *key, const char *what, int64_t min, int64_t max,
                             int64_t *out, struct ptq_error *err);
enum ptq_status ptq_json_int_or(const json_t *object, const char *key, const char *what, int64_t min, int64_t max,
                                int64_t fallback, int64_t *out, struct ptq_error *err);
enum ptq_status ptq_json_real(const json_t *object, const char *key, const char *what, double min, double max,
                              double *out, struct ptq_error *err);
enum ptq_status ptq_json_real_or(const json_t *object, const char *key, const char *what, double min, double max,
                                 double fallback, double *out, struct ptq_error *err);
enum ptq_status ptq_json_bool_or(const json_t *object, const char *key, const char *what, int fallback, int *out,
                                 struct ptq_error *err);
/* *out points into the json and lives as long as it does. */
enum ptq_status ptq_json_text(const json_t *object, const char *key, const char *what, const char **out,
                              struct ptq_error *err);
enum ptq_status ptq_json_text_or(const json_t *object, const char *key, const char *what, const char *fallback,
                                 const char **out, struct ptq_error *err);

#endif
