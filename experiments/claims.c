#include "claims.h"

#include "mapped.h"
#include "method.h"
#include "words.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_NAMES = 32 };

/* ---- reading: a mapping whose keys are one table ---- */

enum kind { TEXT, NUMBER, SELECTORS, FILES, MEASURE };

struct field {
    const char *name;
    enum kind kind;
    size_t at, count; /* offsets in the struct; count of SELECTORS and FILES */
};

#define AT(member) offsetof(struct ptq_claim_test, member)
static const struct field test_fields[] = {
    {"what", TEXT, AT(what), 0},           {"experiment", TEXT, AT(experiment), 0},
    {"measure", MEASURE, AT(measure), 0},  {"of", SELECTORS, AT(of), AT(n_of)},
    {"to", SELECTORS, AT(to), AT(n_to)},   {"from", SELECTORS, AT(from), AT(n_from)},
    {"file", FILES, AT(file), AT(n_file)}, {"row", TEXT, AT(row), 0},
    {"column", TEXT, AT(column), 0},       {"above", NUMBER, AT(above), 0},
    {"below", NUMBER, AT(below), 0},
};
#undef AT
enum { N_TEST_FIELDS = sizeof test_fields / sizeof *test_fields };

static const struct field claim_fields[] = {
    {"name", TEXT, offsetof(struct ptq_claim, name), 0},
    {"claim", TEXT, offsetof(struct ptq_claim, claim), 0},
    {"source", TEXT, offsetof(struct ptq_claim, source), 0},
    {"note", TEXT, offsetof(struct ptq_claim, note), 0},
};
enum { N_CLAIM_FIELDS = sizeof claim_fields / sizeof *claim_fields };

static enum ptq_status unknown(const struct ptq_yaml *node, const char *what, const char *word,
                               const char *const *names, size_t n, struct ptq_error *err)
{
    const char *near = ptq_nearest(word, names, n);
    struct ptq_buffer known = {0};
    for (size_t i = 0; i < n; i++) ptq_buffer_add(&known, "%s%s", i ? ", " : "", names[i]);
    enum ptq_status status =
        ptq_yaml_fail(node, err, "unknown %s '%.40s'%s%s%s; known: %s", what, word, near ? ", did you mean '" : "",
                      near ? near : "", near ? "'" : "", known.data);
    free(known.data);
    return status;
}

static enum ptq_status need_kind(const struct ptq_yaml *node, enum ptq_yaml_kind kind, const char *wants,
                                 struct ptq_error *err)
{
    if (node->kind == kind) return PTQ_OK;
    return ptq_yaml_fail(node, err, "%s is %s; it must be %s", node->key ? node->key : "an entry",
                         ptq_yaml_kind_name(node), wants);
}

/* A text or several. wants: what each is, with an example. */
static enum ptq_status read_list(const struct ptq_yaml *node, const char *wants, const char **out, int *n,
                                 struct ptq_error *err)
{
    const struct ptq_yaml *item = node->kind == PTQ_YAML_SEQUENCE ? node->child : node;
    int count = node->kind == PTQ_YAML_SEQUENCE ? node->n : 1;
    if (count < 1 || count > PTQ_CLAIM_SIDE)
        return ptq_yaml_fail(node, err, "%s holds %d entries; it takes 1 to %d", node->key, count, PTQ_CLAIM_SIDE);
    for (int i = 0; i < count; i++, item = item->next) {
        PTQ_TRY(need_kind(item, PTQ_YAML_SCALAR, wants, err));
        out[i] = item->text;
    }
    *n = count;
    return PTQ_OK;
}

static enum ptq_status read_field(const struct field *field, const struct ptq_yaml *node, void *out,
                                  struct ptq_error *err)
{
    void *place = (char *)out + field->at;
    const char *names[MOST_NAMES];
    int *n = (int *)((char *)out + field->count);
    if (field->kind == SELECTORS) return read_list(node, "a selector such as awq:w3", place, n, err);
    if (field->kind == FILES) return read_list(node, "a file such as results/bench/packed.md", place, n, err);
    PTQ_TRY(need_kind(node, PTQ_YAML_SCALAR, field->kind == NUMBER ? "a number" : "a text", err));
    if (!*node->text) return ptq_yaml_fail(node, err, "%s is empty", field->name);
    if (field->kind == TEXT) *(const char **)place = node->text;
    if (field->kind == NUMBER && !ptq_parse_double(node->text, -DBL_MAX, DBL_MAX, place))
        return ptq_yaml_fail(node, err, "%s is '%.40s'; it must be a number", field->name, node->text);
    if (field->kind != MEASURE) return PTQ_OK;
    const struct ptq_claim_measure *measure = ptq_claim_measure(node->text);
    *(const struct ptq_claim_measure **)place = measure;
    return measure ? PTQ_OK
                   : unknown(node, "measure", node->text, names, ptq_claim_measure_names(names, MOST_NAMES), err);
}

/* Every key of the mapping but `other`, by the table. */
static enum ptq_status read_fields(const struct ptq_yaml *mapping, const struct field *field, int n, const char *other,
                                   void *out, struct ptq_error *err)
{
    const char *names[MOST_NAMES];
    PTQ_TRY(need_kind(mapping, PTQ_YAML_MAPPING, "a mapping", err));
    for (int i = 0; i < n; i++) names[i] = field[i].name;
    names[n] = other;
    for (const struct ptq_yaml *node = mapping->child; node; node = node->next) {
        int f = 0;
        if (other && strcmp(node->key, other) == 0) continue;
        while (f < n && strcmp(field[f].name, node->key)) f++;
        if (f == n) return unknown(node, "key", node->key, names, (size_t)(n + (other != NULL)), err);
        PTQ_TRY(read_field(&field[f], node, out, err));
    }
    return PTQ_OK;
}

/* ---- a test ---- */

static enum ptq_status lacks(const struct ptq_yaml *node, const struct ptq_claim_test *t, const char *key,
                             struct ptq_error *err)
{
    return ptq_yaml_fail(node, err, "a test of measure %s needs the key '%s'", t->measure->name, key);
}

static enum ptq_status check_test(const struct ptq_yaml *node, const struct ptq_claim_test *t, int judged,
                                  struct ptq_error *err)
{
    if (!t->measure) return ptq_yaml_fail(node, err, "a test needs the key 'measure'");
    if (judged && !t->what) return lacks(node, t, "what", err);
    if (!t->measure->uses_file && !t->experiment) return lacks(node, t, "experiment", err);
    if (t->measure->uses_of && !t->n_of) return lacks(node, t, "of", err);
    if (t->measure->uses_to && !t->n_to) return lacks(node, t, "to", err);
    if (t->measure->uses_from && !t->n_from) return lacks(node, t, "from", err);
    if (t->measure->uses_file && !(t->n_file && t->row && t->column)) return lacks(node, t, "file, row or column", err);
    if (judged && isnan(t->above) == isnan(t->below))
        return ptq_yaml_fail(node, err, "a test needs one of 'above' and 'below'");
    return PTQ_OK;
}

static enum ptq_status read_test(const struct ptq_yaml *node, int judged, struct ptq_claim_test *out,
                                 struct ptq_error *err)
{
    *out = (struct ptq_claim_test){.above = NAN, .below = NAN, .value = NAN, .interval = {NAN, NAN}};
    PTQ_TRY(read_fields(node, test_fields, N_TEST_FIELDS, NULL, out, err));
    return check_test(node, out, judged, err);
}

static void add_experiment(struct ptq_claims *claims, const char *name)
{
    for (int i = 0; i < claims->n_experiments; i++)
        if (!name || strcmp(claims->experiment[i], name) == 0) return;
    if (name) claims->experiment[claims->n_experiments++] = name;
}

/* A list of tests; their experiments are added to the set's. */
static enum ptq_status read_tests(struct ptq_arena *arena, const struct ptq_yaml *list, int judged,
                                  struct ptq_claim_test **out, int *n, struct ptq_claims *claims, struct ptq_error *err)
{
    PTQ_TRY(need_kind(list, PTQ_YAML_SEQUENCE, "a list of tests", err));
    *out = ptq_new(arena, struct ptq_claim_test, list->n);
    *n = 0;
    for (const struct ptq_yaml *node = list->child; node; node = node->next) {
        PTQ_TRY(read_test(node, judged, &(*out)[*n], err));
        add_experiment(claims, (*out)[(*n)++].experiment);
    }
    return PTQ_OK;
}

/* ---- claims, comparison ---- */

static enum ptq_status read_claim(struct ptq_arena *arena, const struct ptq_yaml *node, struct ptq_claims *claims,
                                  struct ptq_error *err)
{
    struct ptq_claim *claim = &claims->claim[claims->n];
    *claim = (struct ptq_claim){0};
    PTQ_TRY(read_fields(node, claim_fields, N_CLAIM_FIELDS, "tests", claim, err));
    const struct ptq_yaml *tests = ptq_yaml_get(node, "tests");
    if (!claim->name || !claim->claim || !claim->source || !tests || tests->n < 1)
        return ptq_yaml_fail(node, err, "a claim needs name, claim, source and tests");
    for (int i = 0; i < claims->n; i++)
        if (strcmp(claims->claim[i].name, claim->name) == 0)
            return ptq_yaml_fail(node, err, "claim '%s' is there twice", claim->name);
    claims->n++;
    return read_tests(arena, tests, 1, &claim->test, &claim->n_tests, claims, err);
}

static enum ptq_status read_rows(struct ptq_arena *arena, const struct ptq_yaml *rows, struct ptq_claims *claims,
                                 struct ptq_error *err)
{
    PTQ_TRY(need_kind(rows, PTQ_YAML_SEQUENCE, "a list", err));
    claims->row = ptq_new(arena, struct ptq_claim_row, rows->n);
    for (const struct ptq_yaml *node = rows->child; node; node = node->next) {
        struct ptq_claim_row *row = &claims->row[claims->n_rows++];
        const struct ptq_yaml *what = ptq_yaml_get(node, "what"), *sides = ptq_yaml_get(node, "sides");
        int n = 0;
        if (!what || !sides || node->n != 2 || what->kind != PTQ_YAML_SCALAR)
            return ptq_yaml_fail(node, err, "a row of the comparison needs what and sides, and nothing else");
        row->what = what->text;
        PTQ_TRY(read_tests(arena, sides, 0, &row->side, &n, claims, err));
        if (n != claims->n_sides)
            return ptq_yaml_fail(sides, err, "%d sides, where the comparison has %d", n, claims->n_sides);
    }
    return PTQ_OK;
}

static enum ptq_status read_comparison(struct ptq_arena *arena, const struct ptq_yaml *node, struct ptq_claims *claims,
                                       struct ptq_error *err)
{
    const struct ptq_yaml *sides = ptq_yaml_get(node, "of"), *rows = ptq_yaml_get(node, "rows");
    if (!sides || !rows || node->n != 2)
        return ptq_yaml_fail(node, err, "comparison needs of (its columns) and rows, and nothing else");
    PTQ_TRY(read_list(sides, "a name such as AWQ", claims->side, &claims->n_sides, err));
    return read_rows(arena, rows, claims, err);
}

static enum ptq_status read_baseline(const struct ptq_yaml *node, struct ptq_claims *claims, struct ptq_error *err)
{
    const struct ptq_method *method;
    PTQ_TRY(need_kind(node, PTQ_YAML_SCALAR, "a method such as rtn", err));
    if (ptq_method_find(node->text, &method, err)) return ptq_yaml_within(node, err);
    claims->baseline = node->text;
    return PTQ_OK;
}

static int count_tests(const struct ptq_yaml *node)
{
    int n = 1;
    for (const struct ptq_yaml *child = node->child; child; child = child->next) n += count_tests(child);
    return n;
}

enum ptq_status ptq_claims_read(struct ptq_arena *arena, const char *path, struct ptq_claims *out,
                                struct ptq_error *err)
{
    struct ptq_yaml *root;
    static const char *const known[] = {"title", "baseline", "claims", "comparison"};
    *out = (struct ptq_claims){.title = "Claims"};
    PTQ_TRY(ptq_yaml_read(arena, path, &root, NULL, err));
    PTQ_TRY(need_kind(root, PTQ_YAML_MAPPING, "a mapping", err));
    const struct ptq_yaml *list = ptq_yaml_get(root, "claims");
    if (!list || list->kind != PTQ_YAML_SEQUENCE || list->n < 1)
        return ptq_fail(err, PTQ_EINPUT, "%s: needs a list of claims", path);
    out->claim = ptq_new(arena, struct ptq_claim, list->n);
    out->experiment = ptq_new(arena, const char *, count_tests(root));
    for (const struct ptq_yaml *node = root->child; node; node = node->next) {
        if (strcmp(node->key, "title") == 0)
            out->title = node->text ? node->text : out->title;
        else if (strcmp(node->key, "baseline") == 0)
            PTQ_TRY(read_baseline(node, out, err));
        else if (strcmp(node->key, "comparison") == 0)
            PTQ_TRY(read_comparison(arena, node, out, err));
        else if (strcmp(node->key, "claims"))
            return unknown(node, "key", node->key, known, 4, err);
    }
    for (const struct ptq_yaml *node = list->child; node; node = node->next) PTQ_TRY(read_claim(arena, node, out, err));
    return PTQ_OK;
}

/* ---- cells ---- */

const struct ptq_claim_cells *ptq_claims_cells_of(const struct ptq_claims *claims, const struct ptq_claim_cells *cells,
                                                  const char *experiment)
{
    for (int i = 0; i < claims->n_experiments && experiment; i++)
        if (strcmp(cells[i].experiment, experiment) == 0) return &cells[i];
    return NULL;
}

enum ptq_status ptq_claims_cells(struct ptq_arena *arena, const struct ptq_claims *claims, const char *folder,
                                 struct ptq_claim_cells **out, struct ptq_error *err)
{
    struct ptq_claim_cells *all = *out = ptq_new(arena, struct ptq_claim_cells, claims->n_experiments);
    for (int i = 0; i < claims->n_experiments; i++) {
        const char *name = claims->experiment[i];
        const char *path = ptq_join(arena, folder, ptq_format(arena, "%s.h5", name));
        all[i] = (struct ptq_claim_cells){.experiment = name};
        int there;
        PTQ_TRY(ptq_results_are_there(arena, path, &there, err));
        if (!there) {
            all[i].missing = ptq_format(arena, "%s has not been run", name);
            continue;
        }
        enum ptq_status status = ptq_results_read(arena, path, &all[i].cell, &all[i].n, err);
        if (status && status != PTQ_EINPUT) return status; /* what the system cannot do today is no verdict */
        if (status) all[i].missing = ptq_strdup(arena, err->text), all[i].n = 0;
    }
    return PTQ_OK;
}
