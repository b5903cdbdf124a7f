/* A small tree over libyaml's events: mappings, sequences and scalars with their line numbers.
 *
 * The subset is what an experiment needs and nothing that can surprise: every scalar is a string (the schema gives it
 * a type, so `no` is a word and 1e3 is what its key says); anchors, aliases, tags, duplicate keys, several documents
 * and tabs in the indentation are refused. At most 1 MB, 16 levels, 100 000 nodes, 1000 keys a mapping. */
#ifndef PTQ_YAML_TREE_H
#define PTQ_YAML_TREE_H

#include "arena.h"
#include "status.h"

#include <stddef.h>

enum ptq_yaml_kind { PTQ_YAML_SCALAR, PTQ_YAML_SEQUENCE, PTQ_YAML_MAPPING };

struct ptq_yaml {
    enum ptq_yaml_kind kind;
    const char *file;       /* where it comes from, for errors */
    int line;               /* from 1; of the key, where there is one; 0: file alone says where */
    const char *key;        /* in a mapping, else NULL */
    const char *text;       /* of a scalar, "" where nothing stands; else NULL */
    struct ptq_yaml *child; /* first child of a sequence or mapping, in the order of the file */
    struct ptq_yaml *next;  /* next child of the same parent */
    int n;                  /* children */
};

/* The one document in path. Fails with PTQ_EIO or PTQ_EINPUT. *text (may be NULL): the file as it is. All in arena. */
enum ptq_status ptq_yaml_read(struct ptq_arena *arena, const char *path, struct ptq_yaml **out, const char **text,
                              struct ptq_error *err);

/* The one document in text[0..size); file names it in errors, and must live as long as the tree. A file that begins
 * with "--" is an option of the command line, which has no lines. */
enum ptq_status ptq_yaml_parse(struct ptq_arena *arena, const char *file, const char *text, size_t size,
                               struct ptq_yaml **out, struct ptq_error *err);

/* A scalar that stands in no file (line 0). Neither text is copied. */
struct ptq_yaml *ptq_yaml_scalar(struct ptq_arena *arena, const char *file, const char *text);

/* The child of that key, or NULL (also where mapping is no mapping). */
const struct ptq_yaml *ptq_yaml_get(const struct ptq_yaml *mapping, const char *key);

/* "a text", "a list", "a mapping". */
const char *ptq_yaml_kind_name(const struct ptq_yaml *node);

/* Like ptq_fail with PTQ_EINPUT, "FILE:LINE: " put before the sentence. */
enum ptq_status ptq_yaml_fail(const struct ptq_yaml *node, struct ptq_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Like ptq_within: puts "FILE:LINE: " before the sentence in err, and makes it PTQ_EINPUT. */
enum ptq_status ptq_yaml_within(const struct ptq_yaml *node, struct ptq_error *err);

#endif
