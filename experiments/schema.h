/* The keys of an experiment: one table, which reads YAML files and --set, words every refusal, and prints itself for
 * the documentation. A key is a row here and a line where experiment.c uses it. */
#ifndef PTQ_SCHEMA_H
#define PTQ_SCHEMA_H

#include "arena.h"
#include "status.h"
#include "yaml_tree.h"

#include <stdint.h>
#include <stdio.h>

/* The rows of the table, in the order in which axes are crossed: the first changes slowest, the methods fastest. */
enum ptq_setting_id {
    PTQ_SET_TITLE,
    PTQ_SET_MODELS,
    PTQ_SET_METHODS,
    PTQ_SET_W_BIT,
    PTQ_SET_GROUP_SIZE,
    PTQ_SET_CALIB_TEXT,
    PTQ_SET_CALIB_WINDOWS,
    PTQ_SET_CALIB_WINDOW,
    PTQ_SET_CALIB_SAMPLE,
    PTQ_SET_EVAL_TEXT,
    PTQ_SET_EVAL_WINDOW,
    PTQ_SET_EVAL_WINDOWS,
    PTQ_SET_EVAL_BOS,
    PTQ_SET_EVAL_REFERENCE,
    PTQ_SET_SEED,
    PTQ_SET_DEVICE,
    PTQ_SET_PATH,
    PTQ_SET_EXCLUDE,
    PTQ_SET_INCLUDE,
    PTQ_N_SETTINGS
};

enum ptq_key_kind { PTQ_KEY_TEXT, PTQ_KEY_INT, PTQ_KEY_WORD, PTQ_KEY_METHODS, PTQ_KEY_CELLS };

struct ptq_key {
    const char *name; /* "eval.window": key window in section eval */
    const char *flat; /* what --set also takes; NULL: the name alone */
    enum ptq_key_kind kind;
    int axis;             /* 1: may be a list, whose values are crossed */
    int quantized;        /* 1: means nothing to a cell that quantises nothing */
    int protocol;         /* 1: how perplexity is measured, which no two cells of a table may differ in */
    const char *fallback; /* as it would be written; NULL: must be given */
    int64_t min, max;     /* of an INT */
    const char *words;    /* a WORD: "a|b", the value is its index; an INT: the word for 0 */
    const char *grid;     /* an INT: the SPEC parameter whose bounds it has; 0 is none of them */
    const char *doc;
};

/* One value, typed by its key. */
struct ptq_value {
    const char *text;            /* as it was written */
    int64_t number;              /* of an INT; the index of a WORD */
    const struct ptq_yaml *node; /* where it stands, for errors */
};

/* A key's values: one, or several on an axis. METHODS and CELLS have n = 0 and are read from the node, which is NULL
 * where there are no CELLS. */
struct ptq_setting {
    struct ptq_value *value;
    int n;
    int given; /* 0: it is the default */
    const struct ptq_yaml *node;
};

/* The row of a setting. */
const struct ptq_key *ptq_setting_key(enum ptq_setting_id id);

/* Reads every setting from the tree, from --set texts ("w_bit=3,4", "models=[a, b]"; the last one of a key holds;
 * "quick=1" stands for all of the file's section quick) and from the defaults into out[PTQ_N_SETTINGS]. Fails with
 * PTQ_EINPUT: unknown or missing keys, wrong types, values out of bounds, empty lists; PTQ_EUSAGE where a --set is no
 * KEY=VALUE of a known key. Memory from arena; file names the experiment in errors about what is missing. */
enum ptq_status ptq_settings_read(struct ptq_arena *arena, const char *file, const struct ptq_yaml *root,
                                  const char *const *sets, int n_sets, struct ptq_setting *out, struct ptq_error *err);

/* Reads an entry of exclude or include (id), a mapping of axes to values, into those of out[PTQ_N_SETTINGS] that it
 * names; given[i] says which. Fails with PTQ_EINPUT: no mapping or an empty one, a key that is unknown or no axis, and
 * what ptq_settings_read refuses. */
enum ptq_status ptq_settings_entry(struct ptq_arena *arena, enum ptq_setting_id id, const struct ptq_yaml *entry,
                                   struct ptq_setting *out, int *given, struct ptq_error *err);

/* The table as Markdown: key, default, values, what it is. */
void ptq_settings_print(FILE *out);

#endif
