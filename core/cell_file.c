#include "cell_file.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static const char format_name[] = "ptq-results";

/* What each attribute of a cell is, since an attribute has none of its own: "UNIT; what it is". */
static enum ptq_status write_about(struct ptq_h5 *file, struct ptq_error *err)
{
#define X(kind, name, unit, doc) PTQ_TRY(ptq_h5_put_text(file, "/about", #name, unit "; " doc, err));
    PTQ_CELL_FIELDS(X)
    PTQ_PEAK_FIELDS(X)
    PTQ_AGAINST_FIELDS(X)
#undef X
    return PTQ_OK;
}

enum ptq_status ptq_cell_file_begin(struct ptq_h5 *file, const char *experiment, const char *yaml,
                                    struct ptq_error *err)
{
    PTQ_TRY(ptq_h5_put_text(file, "/", "format", format_name, err));
    PTQ_TRY(ptq_h5_put_int(file, "/", "schema", PTQ_RESULTS_SCHEMA, err));
    PTQ_TRY(ptq_h5_put_text(file, "/", "experiment", experiment, err));
    PTQ_TRY(ptq_h5_put_text(file, "/", "experiment_yaml", yaml, err));
    PTQ_TRY(write_about(file, err));
    return ptq_h5_put_group(file, "/cells", err);
}

enum ptq_status ptq_cell_file_write(const char *path, const char *experiment, const char *yaml,
                                    const struct ptq_cell *cell, int n, struct ptq_error *err)
{
    struct ptq_h5 *file;
    PTQ_TRY(ptq_h5_create(path, &file, err));
    enum ptq_status status = ptq_cell_file_begin(file, experiment, yaml, err);
    for (int i = 0; !status && i < n; i++) status = ptq_cell_write(file, &cell[i], err);
    if (!status) return ptq_h5_commit(file, err);
    ptq_h5_abandon(file);
    return status;
}

enum ptq_status ptq_cell_file_check(struct ptq_h5 *file, const char *path, struct ptq_error *err)
{
    const char *format = "";
    int64_t schema;
    struct ptq_arena *arena = ptq_arena_make("a results file's marks");
    struct ptq_error ignored;
    int ours = !ptq_h5_text(file, "/", "format", arena, &format, &ignored) && strcmp(format, format_name) == 0;
    ptq_arena_free(arena);
    if (!ours) return ptq_fail(err, PTQ_EINPUT, "%s: is HDF5, but no results file of ptq", path);
    PTQ_TRY(ptq_h5_int(file, "/", "schema", &schema, err));
    if (schema == PTQ_RESULTS_SCHEMA) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: is a results file of schema %lld, and this ptq reads schema %d%s", path,
                    (long long)schema, PTQ_RESULTS_SCHEMA,
                    schema > PTQ_RESULTS_SCHEMA ? " (a newer ptq wrote it: use that one)" : "");
}

/* ---- writing ---- */

#define PUT_TEXT(file, group, name, value, err) ptq_h5_put_text(file, group, name, (value) ? (value) : "", err)
#define PUT_INT ptq_h5_put_int
#define PUT_REAL ptq_h5_put_real

#define PUTS_INT ptq_h5_put_ints
#define PUTS_REAL ptq_h5_put_reals

static enum ptq_status write_linears(struct ptq_h5 *file, const char *at, const struct ptq_linear_report *linear, int n,
                                     struct ptq_arena *arena, struct ptq_error *err)
{
    const char **name = ptq_new(arena, const char *, n);
    for (int i = 0; i < n; i++) name[i] = linear[i].name;
    PTQ_TRY(ptq_h5_put_texts(file, at, "name", name, n, err));
    PTQ_TRY(ptq_h5_describe(file, at, "name", "text", "the linear", err));
#define X(kind, field, unit, doc)                                                                                      \
    PTQ_FIELD_TYPE_##kind *field = ptq_new(arena, PTQ_FIELD_TYPE_##kind, n);                                           \
    for (int i = 0; i < n; i++) field[i] = linear[i].field;                                                            \
    PTQ_TRY(PUTS_##kind(file, at, #field, field, n, err));                                                             \
    PTQ_TRY(ptq_h5_describe(file, at, #field, unit, doc, err));
    PTQ_LINEAR_FIELDS(X)
#undef X
    return PTQ_OK;
}

enum ptq_status ptq_linears_write(struct ptq_h5 *file, const char *group, const struct ptq_linear_report *linear, int n,
                                  struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("writing reports");
    enum ptq_status status = write_linears(file, ptq_format(arena, "%s/linears", group), linear, n, arena, err);
    ptq_arena_free(arena);
    return status;
}

static enum ptq_status write_inputs(struct ptq_h5 *file, const char *at, const struct ptq_cell *cell,
                                    struct ptq_arena *arena, struct ptq_error *err)
{
    int n = cell->n_inputs;
    const char **name = ptq_new(arena, const char *, n);
    float *ranked = ptq_new(arena, float, (int64_t)n *PTQ_INPUT_RANKS);
    for (int i = 0; i < n; i++) {
        name[i] = cell->input[i].name;
        memcpy(ranked + i * PTQ_INPUT_RANKS, cell->input[i].ranked, sizeof cell->input[i].ranked);
    }
    PTQ_TRY(ptq_h5_put_texts(file, at, "name", name, n, err));
    PTQ_TRY(ptq_h5_describe(file, at, "name", "text", "block and input", err));
#define X(kind, field, unit, doc)                                                                                      \
    PTQ_FIELD_TYPE_##kind *field = ptq_new(arena, PTQ_FIELD_TYPE_##kind, n);                                           \
    for (int i = 0; i < n; i++) field[i] = cell->input[i].field;                                                       \
    PTQ_TRY(PUTS_##kind(file, at, #field, field, n, err));                                                             \
    PTQ_TRY(ptq_h5_describe(file, at, #field, unit, doc, err));
    PTQ_INPUT_FIELDS(X)
#undef X
    PTQ_TRY(ptq_h5_put_floats(file, at, "ranked", ranked, n, PTQ_INPUT_RANKS, err));
    return ptq_h5_describe(file, at, "ranked", "1",
                           "[input][i] mean |x| of the channel of rank min(2^i, K), 1 the largest", err);
}

static enum ptq_status write_against(struct ptq_h5 *file, const char *group, const struct ptq_cell *cell,
                                     int64_t scored, struct ptq_error *err)
{
#define X(kind, name, ...) PTQ_TRY(PUT_##kind(file, group, #name, cell->name, err));
    PTQ_AGAINST_FIELDS(X)
#undef X
    PTQ_TRY(ptq_h5_put_floats(file, group, "kl", cell->kl, cell->windows, scored, err));
    return ptq_h5_describe(file, group, "kl", "nat", "[window][scored token] D(p_FP || p), natural log", err);
}

static enum ptq_status write_cell(struct ptq_h5 *file, const struct ptq_cell *cell, struct ptq_arena *arena,
                                  struct ptq_error *err)
{
    const char *group = ptq_format(arena, "/cells/%s", cell->id);
#define X(kind, name, ...) PTQ_TRY(PUT_##kind(file, group, #name, cell->name, err));
    PTQ_CELL_FIELDS(X)
#undef X
#define X(kind, name, ...)                                                                                             \
    if (cell->name) PTQ_TRY(PUT_##kind(file, group, #name, cell->name, err));
    PTQ_PEAK_FIELDS(X)
#undef X
    int64_t scored = cell->windows ? cell->tokens / cell->windows : 0;
    PTQ_TRY(ptq_h5_put_floats(file, group, "nll", cell->nll, cell->windows, scored, err));
    PTQ_TRY(ptq_h5_describe(file, group, "nll", "nat", "[window][scored token] -ln p of the token", err));
    if (cell->n_inputs) PTQ_TRY(write_inputs(file, ptq_format(arena, "%s/inputs", group), cell, arena, err));
    if (cell->kl) PTQ_TRY(write_against(file, group, cell, scored, err));
    return ptq_linears_write(file, group, cell->linear, cell->n_linears, err);
}

enum ptq_status ptq_cell_write(struct ptq_h5 *file, const struct ptq_cell *cell, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("writing a cell");
    enum ptq_status status = write_cell(file, cell, arena, err);
    ptq_arena_free(arena);
    return status;
}

/* ---- reading ---- */

#define GET_TEXT(file, group, name, out, err) get_text(file, path, group, name, arena, out, err)
#define GET_INT ptq_h5_int
#define GET_REAL ptq_h5_real

static enum ptq_status damaged(const char *path, const char *group, const char *what, struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EINPUT, "%s: %s: %s; the file is damaged", path, group, what);
}

/* Pieces of a SHA-256 stand in names of files, so it is none but in its digits; "" where it does not apply. */
static enum ptq_status get_text(struct ptq_h5 *file, const char *path, const char *group, const char *name,
                                struct ptq_arena *arena, const char **out, struct ptq_error *err)
{
    PTQ_TRY(ptq_h5_text(file, group, name, arena, out, err));
    if (!strstr(name, "_sha256") || !**out || ptq_is_sha256(*out, strlen(*out))) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: %s: %s is no SHA-256 of 64 lower-case hexadecimal digits; the file is damaged", path, group,
                    name);
}

/* What a number can be, by its name: in labels and axes it stands beside others', and sums and products of it must
 * hold. A name with a * at its end is all that begin so; the first that fits. What is not named is as its kind says. Of
 * effective_bits 300 are possible: packed, a group of one weight fills 32 places. */
struct range {
    const char *name;
    double least, most;
};

/* A difference of two clocks, or of two probabilities, may be below its least by what it was rounded. */
#define ROUNDED 1e-3

static const struct range ranges[] = {{"w_bit", 0, 32},
                                      {"group_size", -1, INT32_MAX},
                                      {"window", 0, 1 << 30},
                                      {"windows", 0, 1 << 30},
                                      {"calib_window", 0, 1 << 30},
                                      {"calib_windows", 0, 1 << 30},
                                      {"seed", 0, 0x1p63},
                                      {"threads", 0, INT32_MAX},
                                      {"channels", 0, INT32_MAX},
                                      {"top*", -1, INT32_MAX},
                                      {"saturated", 0, 0x1p40},
                                      {"groups", 0, 0x1p40},
                                      {"effective_bits", 0, 1024},
                                      {"fraction", 0, 1},
                                      {"ppl", 0, 1e30},
                                      {"seconds_*", -ROUNDED, 1e30},
                                      {"kl_*", -ROUNDED, 1e30},
                                      {"same_top", 0, 1},
                                      {"delta_p_*", -1 - ROUNDED, 1 + ROUNDED},
                                      {"weight_error", 0, 1e30},
                                      {"output_error", -1, 1e30},
                                      {"median", 0, 1e30},
                                      {"ranked", 0, 1e30}};
static const struct range of_int = {NULL, 0, 0x1p53}, of_real = {NULL, -1e30, 1e30};

static int is_named(const struct range *range, const char *name)
{
    size_t begin = strcspn(range->name, "*");
    return strncmp(range->name, name, begin) == 0 && (range->name[begin] || !name[begin]);
}

static int is_in_range(const char *name, const struct range *otherwise, double value)
{
    const struct range *range = ranges, *end = ranges + sizeof ranges / sizeof *ranges;
    while (range < end && !is_named(range, name)) range++;
    if (range == end) range = otherwise;
    return value >= range->least && value <= range->most; /* NaN is in none */
}

/* A number in one of the structs of results.h. */
struct number {
    const char *name;
    int is_real;
    size_t offset;
};

#define NUMBER_TEXT(type, field)
#define NUMBER_INT(type, field) {#field, 0, offsetof(struct type, field)},
#define NUMBER_REAL(type, field) {#field, 1, offsetof(struct type, field)},
#define X(kind, field, ...) NUMBER_##kind(ptq_cell, field)
static const struct number of_cell[] = {PTQ_CELL_FIELDS(X) PTQ_PEAK_FIELDS(X){0}};
static const struct number of_against[] = {PTQ_AGAINST_FIELDS(X){0}};
#undef X
#define X(kind, field, ...) NUMBER_##kind(ptq_linear_report, field)
static const struct number of_linear[] = {PTQ_LINEAR_FIELDS(X){0}};
#undef X
#define X(kind, field, ...) NUMBER_##kind(ptq_input_report, field)
static const struct number of_input[] = {PTQ_INPUT_FIELDS(X){0}};
#undef X

/* The first number of a struct that is out of its range; 0 where there is none. */
static int find_odd(const void *from, const struct number *number, const char **name, double *value)
{
    for (; number->name; number++) {
        const char *at = (const char *)from + number->offset;
        *name = number->name;
        *value = number->is_real ? *(const double *)(const void *)at : (double)*(const int64_t *)(const void *)at;
        if (!is_in_range(*name, number->is_real ? &of_real : &of_int, *value)) return 1;
    }
    return 0;
}

static int find_odd_linear(const struct ptq_linear_report *linear, int n, const char **name, double *value)
{
    for (int i = 0; i < n; i++)
        if (find_odd(&linear[i], of_linear, name, value)) return 1;
    return 0;
}

static int find_odd_input(const struct ptq_input_report *input, int n, const char **name, double *value)
{
    for (int i = 0; i < n; i++) {
        if (find_odd(&input[i], of_input, name, value)) return 1;
        *name = "ranked";
        for (int rank = 0; rank < PTQ_INPUT_RANKS; rank++)
            if (!is_in_range(*name, &of_real, *value = (double)input[i].ranked[rank])) return 1;
    }
    return 0;
}

enum ptq_status ptq_cell_check(const struct ptq_cell *cell, struct ptq_error *err)
{
    const char *name;
    double value;
    if (!find_odd(cell, of_cell, &name, &value) && !find_odd(cell, of_against, &name, &value) &&
        !find_odd_linear(cell->linear, cell->n_linears, &name, &value) &&
        !find_odd_input(cell->input, cell->n_inputs, &name, &value))
        return PTQ_OK;
    return ptq_fail(err, PTQ_ENUMERIC, "%s: its %s is %g, which is beyond what results hold", cell->model, name, value);
}

static enum ptq_status never_stored(const char *path, const char *group, const char *name, double value,
                                    struct ptq_error *err)
{
    return ptq_fail(err, PTQ_EINPUT, "%s: %s: %s is %g, which is never stored; the file is damaged", path, group, name,
                    value);
}

static int has_shape_of_nll(const struct ptq_cell *cell, int64_t rows, int64_t columns)
{
    return rows == cell->windows && rows * columns == cell->tokens; /* which are no more than the file can hold */
}

/* A sum of floats is finite where they all are. */
static double sum_of(const float *value, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += value[i];
    return sum;
}

static int has_mean(const float *nll, int64_t n, double said)
{
    double mean = sum_of(nll, n) / (double)n;
    return isfinite(mean) && fabs(mean - said) <= 1e-4 * (1 + fabs(mean));
}

static int has_ppl(const struct ptq_cell *cell)
{
    double ppl = cell->tokens ? exp(cell->nll_mean) : 0;
    return isfinite(ppl) && fabs(cell->ppl - ppl) <= 1e-6 * ppl;
}

static enum ptq_status read_nll(struct ptq_h5 *file, const char *path, const char *group, struct ptq_arena *arena,
                                struct ptq_cell *cell, struct ptq_error *err)
{
    int64_t rows, columns;
    PTQ_TRY(ptq_h5_floats(file, group, "nll", arena, &cell->nll, &rows, &columns, err));
    if (!has_shape_of_nll(cell, rows, columns))
        return damaged(path, group, "nll has another shape than windows and tokens say", err);
    if (cell->tokens && !has_mean(cell->nll, cell->tokens, cell->nll_mean))
        return damaged(path, group, "nll does not have the mean that nll_mean says", err);
    if (!has_ppl(cell)) return damaged(path, group, "ppl is not the exponential of nll_mean", err);
    return PTQ_OK;
}

/* What is measured against full precision, where the file has it. */
static enum ptq_status read_against(struct ptq_h5 *file, const char *path, const char *group, struct ptq_arena *arena,
                                    struct ptq_cell *cell, struct ptq_error *err)
{
    int64_t rows, columns;
    if (!ptq_h5_exists(file, ptq_format(arena, "%s/kl", group))) return PTQ_OK;
#define X(kind, name, ...) PTQ_TRY(GET_##kind(file, group, #name, &cell->name, err));
    PTQ_AGAINST_FIELDS(X)
#undef X
    const char *name;
    double value;
    if (find_odd(cell, of_against, &name, &value)) return never_stored(path, group, name, value, err);
    PTQ_TRY(ptq_h5_floats(file, group, "kl", arena, &cell->kl, &rows, &columns, err));
    if (!has_shape_of_nll(cell, rows, columns)) return damaged(path, group, "kl has another shape than nll", err);
    return isfinite(sum_of(cell->kl, rows * columns)) ? PTQ_OK : damaged(path, group, "kl is not finite", err);
}

/* The rows of a group's columns, one a name. */
static enum ptq_status read_names(struct ptq_h5 *file, const char *path, const char *group, struct ptq_arena *arena,
                                  const char ***name, int64_t *rows, struct ptq_error *err)
{
    PTQ_TRY(ptq_h5_texts(file, group, "name", arena, name, rows, err));
    if (*rows <= INT32_MAX) return PTQ_OK; /* no test: 2^31 names */
    return damaged(path, group, "has too many rows", err);
}

#define GETS_INT ptq_h5_ints
#define GETS_REAL ptq_h5_reals

enum ptq_status ptq_linears_read(struct ptq_h5 *file, const char *path, const char *group, struct ptq_arena *arena,
                                 struct ptq_linear_report **out, int *n_out, struct ptq_error *err)
{
    int64_t rows, n;
    const char **name, *at = ptq_format(arena, "%s/linears", group);
    PTQ_TRY(read_names(file, path, at, arena, &name, &rows, err));
    *n_out = (int)rows;
    struct ptq_linear_report *linear = *out = ptq_new(arena, struct ptq_linear_report, rows);
    for (int64_t i = 0; i < rows; i++) linear[i].name = name[i];
        /* A column that the file is older than stays at zeros. */
#define X(kind, field, ...)                                                                                            \
    if (ptq_h5_exists(file, ptq_format(arena, "%s/" #field, at))) {                                                    \
        PTQ_FIELD_TYPE_##kind *field;                                                                                  \
        PTQ_TRY(GETS_##kind(file, at, #field, arena, &field, &n, err));                                                \
        if (n != rows) return damaged(path, group, "the columns of linears have different lengths", err);              \
        for (int64_t i = 0; i < rows; i++) linear[i].field = field[i];                                                 \
    }
    PTQ_LINEAR_FIELDS(X)
#undef X
    const char *odd;
    double value;
    return find_odd_linear(linear, *n_out, &odd, &value) ? never_stored(path, at, odd, value, err) : PTQ_OK;
}

/* A file that is older has none. */
static enum ptq_status read_inputs(struct ptq_h5 *file, const char *path, const char *group, struct ptq_arena *arena,
                                   struct ptq_cell *cell, struct ptq_error *err)
{
    const char **name, *at = ptq_format(arena, "%s/inputs", group);
    int64_t rows, n, columns;
    float *ranked;
    if (!ptq_h5_exists(file, at)) return PTQ_OK;
    PTQ_TRY(read_names(file, path, at, arena, &name, &rows, err));
    PTQ_TRY(ptq_h5_floats(file, at, "ranked", arena, &ranked, &n, &columns, err));
    if (n != rows || columns != PTQ_INPUT_RANKS)
        return damaged(path, group, "ranked has another shape than name says", err);
    cell->input = ptq_new(arena, struct ptq_input_report, rows);
    cell->n_inputs = (int)rows;
    for (int64_t i = 0; i < rows; i++) {
        cell->input[i].name = name[i];
        memcpy(cell->input[i].ranked, ranked + i * PTQ_INPUT_RANKS, sizeof cell->input[i].ranked);
    }
#define X(kind, field, ...)                                                                                            \
    PTQ_FIELD_TYPE_##kind *field;                                                                                      \
    PTQ_TRY(GETS_##kind(file, at, #field, arena, &field, &n, err));                                                    \
    if (n != rows) return damaged(path, group, "the columns of inputs have different lengths", err);                   \
    for (int64_t i = 0; i < rows; i++) cell->input[i].field = field[i];
    PTQ_INPUT_FIELDS(X)
#undef X
    const char *odd;
    double value;
    return find_odd_input(cell->input, cell->n_inputs, &odd, &value) ? never_stored(path, at, odd, value, err) : PTQ_OK;
}

/* What stands behind "spec=" in the configuration, which has one line a setting; "" where there is no such line. */
static size_t spec_of(const char *config, const char **spec)
{
    const char *line = strstr(config, "\nspec=");
    *spec = line ? line + strlen("\nspec=") : "";
    return strcspn(*spec, "\n");
}

/* The configuration is what the cell's name is the hash of; the texts beside it say the same. */
static int has_its_spec(const struct ptq_cell *cell)
{
    const char *spec;
    size_t length = spec_of(cell->config, &spec), method = strcspn(cell->spec, ":");
    return strlen(cell->spec) == length && memcmp(cell->spec, spec, length) == 0 && strlen(cell->method) == method &&
           memcmp(cell->method, spec, method) == 0;
}

enum ptq_status ptq_cell_read(struct ptq_h5 *file, const char *path, const char *id, struct ptq_arena *arena,
                              struct ptq_cell *cell, struct ptq_error *err)
{
    const char *group = ptq_format(arena, "/cells/%s", id);
    *cell = (struct ptq_cell){0};
#define X(kind, name, ...) PTQ_TRY(GET_##kind(file, group, #name, &cell->name, err));
    PTQ_CELL_FIELDS(X)
#undef X
#define X(kind, name, ...)                                                                                             \
    if (ptq_h5_has_value(file, group, #name)) PTQ_TRY(GET_##kind(file, group, #name, &cell->name, err));
    PTQ_PEAK_FIELDS(X)
#undef X
    const char *name;
    double value;
    if (find_odd(cell, of_cell, &name, &value)) return never_stored(path, group, name, value, err);
    ptq_cell_identify(cell);
    if (strcmp(cell->id, id)) return damaged(path, group, "its name is not the SHA-256 of its configuration", err);
    if (!has_its_spec(cell)) return damaged(path, group, "spec, method and config contradict one another", err);
    PTQ_TRY(read_nll(file, path, group, arena, cell, err));
    PTQ_TRY(read_inputs(file, path, group, arena, cell, err));
    PTQ_TRY(read_against(file, path, group, arena, cell, err));
    return ptq_linears_read(file, path, group, arena, &cell->linear, &cell->n_linears, err);
}
