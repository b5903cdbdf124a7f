/* Every value of a cell in a results file, in turn missing, of another kind, of another size, no number: refused in one
 * sentence that names the file and the value, or what holds it. What an older file lacks is read without. The values
 * are changed on their way into the file: the linker puts the functions below before those of core/h5_write.c (--wrap,
 * see CMakeLists.txt). */
#include "cell_file.h"
#include "cells.h"
#include "folder_test.h"
#include "mapped.h"

enum fault { NONE, MISSING, OTHER_KIND, OTHER_ROWS, OTHER_COLUMNS };
static const char *const fault_name[] = {"as it is", "missing", "of another kind", "of other rows", "of other columns"};

/* What one number of a cell is in place of its own; "" for none. */
static const char *changed_name = "";
static double changed_to;

static enum fault fault;
static int fault_at, seen;          /* the value that has it, from 1; how many were written */
static char value[80], holder[200]; /* which that is; value "" where it cannot have the fault */

/* Of a value that can have the faults up to `last`. */
static enum fault take_fault(const char *group, const char *name, enum fault last)
{
    if (++seen != fault_at) return NONE;
    snprintf(value, sizeof value, "%s", fault <= last ? name : "");
    snprintf(holder, sizeof holder, "%s", group);
    return fault <= last ? fault : NONE;
}

/* name, parameters, words; the last fault that it can have, whether it is text, how many there are; what it is with
 * other rows or columns. An array has one fewer then. CMakeLists.txt has the same names. */
#define AT struct ptq_h5 *f, const char *group, const char *name
#define PUTS(X)                                                                                                        \
    X(put_text, (AT, const char *a, struct ptq_error *err), (f, group, name, a, err), OTHER_KIND, 1, 1,                \
      put_kind(f, group, name, 1, 2, err))                                                                             \
    X(put_int, (AT, int64_t a, struct ptq_error * err),                                                                \
      (f, group, name, strcmp(name, changed_name) ? a : (int64_t)changed_to, err), OTHER_KIND, 0, 1,                   \
      put_kind(f, group, name, 0, 2, err))                                                                             \
    X(put_real, (AT, double a, struct ptq_error *err),                                                                 \
      (f, group, name, strcmp(name, changed_name) ? a : changed_to, err), OTHER_KIND, 0, 1,                            \
      put_kind(f, group, name, 0, 2, err))                                                                             \
    X(put_texts, (AT, const char *const *a, int64_t n, struct ptq_error *err), (f, group, name, a, n, err),            \
      OTHER_ROWS, 1, n, __real_ptq_h5_put_texts(f, group, name, a, n - 1, err))                                        \
    X(put_ints, (AT, const int64_t *a, int64_t n, struct ptq_error *err), (f, group, name, a, n, err), OTHER_ROWS, 0,  \
      n, __real_ptq_h5_put_ints(f, group, name, a, n - 1, err))                                                        \
    X(put_reals, (AT, const double *a, int64_t n, struct ptq_error *err), (f, group, name, a, n, err), OTHER_ROWS, 0,  \
      n, __real_ptq_h5_put_reals(f, group, name, a, n - 1, err))                                                       \
    X(put_floats, (AT, const float *a, int64_t n, int64_t m, struct ptq_error *err), (f, group, name, a, n, m, err),   \
      OTHER_COLUMNS, 0, n,                                                                                             \
      __real_ptq_h5_put_floats(f, group, name, a, n - (now == OTHER_ROWS), m - (now == OTHER_COLUMNS), err))

#define X(call, parameters, ...) enum ptq_status __real_ptq_h5_##call parameters;
PUTS(X)
#undef X

/* n texts, or n whole numbers, which do for real ones as well. */
static enum ptq_status put_kind(struct ptq_h5 *f, const char *group, const char *name, int is_text, int64_t n,
                                struct ptq_error *err)
{
    static const char *const texts[4] = {"", "", "", ""};
    static const int64_t ints[4];
    assert_true(n <= 4);
    return is_text ? __real_ptq_h5_put_texts(f, group, name, texts, n, err)
                   : __real_ptq_h5_put_ints(f, group, name, ints, n, err);
}

#define X(call, parameters, words, last, is_text, n, other_size)                                                       \
    enum ptq_status __wrap_ptq_h5_##call parameters;                                                                   \
    enum ptq_status __wrap_ptq_h5_##call parameters                                                                    \
    {                                                                                                                  \
        enum fault now = take_fault(group, name, last);                                                                \
        if (now == MISSING) return PTQ_OK;                                                                             \
        if (now == OTHER_KIND) return put_kind(f, group, name, !(is_text), n, err);                                    \
        return now ? other_size : __real_ptq_h5_##call words;                                                          \
    }
PUTS(X)
#undef X

/* What other programs are told of a dataset needs it. */
enum ptq_status __wrap_ptq_h5_describe(AT, const char *unit, const char *about, struct ptq_error *err);
enum ptq_status __wrap_ptq_h5_describe(AT, const char *unit, const char *about, struct ptq_error *err)
{
    (void)f, (void)group, (void)name, (void)unit, (void)about, (void)err;
    return PTQ_OK;
}

static const char *path;

static void write_it(const struct ptq_cell *cell)
{
    struct ptq_h5 *file;
    struct ptq_error err;
    seen = 0;
    if (ptq_h5_create(path, &file, &err) || ptq_cell_write(file, cell, &err) || ptq_h5_commit(file, &err))
        fail_msg("%s", err.text);
    fault_at = 0;
}

static enum ptq_status read_it(const char *id, struct ptq_cell *back, struct ptq_error *err)
{
    struct ptq_h5 *file;
    if (ptq_h5_open(path, &file, err)) fail_msg("%s", err->text);
    enum ptq_status status = ptq_cell_read(file, path, id, arena, back, err);
    ptq_h5_close(file);
    return status;
}

/* What files of an older ptq lack. */
static int may_miss(void)
{
    return strcmp(value, "kl") == 0 || strncmp(value, "peak_rss_bytes_", 15) == 0 ||
           (strstr(holder, "/linears") && strcmp(value, "name") != 0);
}

/* Of the peaks by stage, the one that is missing is not known, and the others are what they were. */
static void expect_peaks(const struct ptq_cell *cell, const struct ptq_cell *back)
{
#define X(kind, name, ...) assert_int_equal(back->name, strcmp(value, #name) ? cell->name : 0);
    PTQ_PEAK_FIELDS(X)
#undef X
}

static int try_one(const struct ptq_cell *cell, int n)
{
    struct ptq_cell back;
    struct ptq_error err;
    char what[400], words[200];
    fault_at = n;
    write_it(cell);
    if (!*value) return 0;
    snprintf(what, sizeof what, "%s/%s, %s", holder, value, fault_name[fault]);
    enum ptq_status status = read_it(cell->id, &back, &err);
    if (fault == MISSING && may_miss()) {
        if (status) fail_msg("%s: %s", what, err.text);
        assert_true(!back.kl == (strcmp(value, "kl") == 0));
        expect_peaks(cell, &back);
        return 1;
    }
    snprintf(words, sizeof words, "%s: ;%s", path, cell->id);
    assert_refused(what, status, &err, words);
    assert_int_equal(status, PTQ_EINPUT);
    const char *part = strrchr(holder, '/') + 1; /* "linears", "inputs" */
    if (!strstr(err.text, value) && !strstr(err.text, part)) fail_msg("%s: does not say what: %s", what, err.text);
    return 1;
}

static void no_value_is_taken_for_another(void **state)
{
    (void)state;
    struct ptq_cell cell = make_whole_cell(arena), back;
    struct ptq_error err;
    int tried = 0;
    write_it(&cell);
    int n = seen;
    if (read_it(cell.id, &back, &err)) fail_msg("the file that is right: %s", err.text);
    for (fault = MISSING; fault <= OTHER_COLUMNS; fault++)
        for (int i = 1; i <= n; i++) tried += try_one(&cell, i);
    fault = NONE;
    print_message("%d values missing, of another kind or size\n", tried);
    assert_true(tried > 2 * n + 20); /* 2 faults for each, 3 for arrays, 4 for matrices */
}

/* A peak that is not known stands in no file, as a 0 would be taken for one. */
static void what_is_not_known_is_not_stored(void **state)
{
    (void)state;
    struct ptq_cell cell = make_whole_cell(arena);
    struct ptq_h5 *file;
    struct ptq_error err;
    cell.peak_rss_bytes_quantize = 0;
    write_it(&cell);
    if (ptq_h5_open(path, &file, &err)) fail_msg("%s", err.text);
    const char *group = ptq_format(arena, "/cells/%s", cell.id);
    assert_true(ptq_h5_has_value(file, group, "peak_rss_bytes_eval"));
    assert_false(ptq_h5_has_value(file, group, "peak_rss_bytes_quantize"));
    assert_false(ptq_h5_has_value(file, "/no such group", "peak_rss_bytes_eval"));
    ptq_h5_close(file);
}

/* Texts that are NULL, no windows, no linears. */
static void an_empty_cell_comes_back_empty(void **state)
{
    (void)state;
    struct ptq_cell cell = {.config = "schema=1\n"}, back;
    struct ptq_error err;
    ptq_cell_identify(&cell);
    write_it(&cell);
    if (read_it(cell.id, &back, &err)) fail_msg("%s", err.text);
    cell.config = "";
    assert_string_equal(back.config, "schema=1\n");
    back.config = "";
#define TEXT(name) assert_string_equal(back.name, "");
#define INT(name) assert_int_equal(back.name, 0);
#define REAL(name) assert_true(back.name == 0);
#define X(kind, name, ...) kind(name)
    PTQ_CELL_FIELDS(X)
    PTQ_PEAK_FIELDS(X)
#undef X
#undef TEXT
#undef INT
#undef REAL
    assert_true(!back.kl && back.n_linears == 0 && back.n_inputs == 0);
    cell.config = NULL;
    write_it(&cell);
    assert_refused("no config", read_it(cell.id, &back, &err), &err,
                   "its name is not the SHA-256 of its configuration");
}

/* What is not finite is never a result: neither of a token nor in a mean. */
static void means_are_those_of_the_tokens(void **state)
{
    (void)state;
    static const struct {
        float nll;
        double mean;
        const char *words; /* NULL: good */
    } rows[] = {{3, 3, NULL},
                {INFINITY, 3, "nll does not have the mean that nll_mean says"},
                {NAN, 3, "nll does not have the mean that nll_mean says"},
                {INFINITY, INFINITY, "nll_mean is inf"},
                {NAN, NAN, "nll_mean is nan"},
                {3, NAN, "nll_mean is nan"},
                {3, INFINITY, "nll_mean is inf"},
                {3, 4, "nll does not have the mean that nll_mean says"},
                {1000, 1000, "ppl is not the exponential of nll_mean"}}; /* which is infinite */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_cell cell = make_whole_cell(arena), back;
        struct ptq_error err;
        for (int k = 0; k < 6; k++) cell.nll[k] = rows[i].nll > 3 && isfinite(rows[i].nll) ? rows[i].nll : 3;
        cell.nll[1] = rows[i].nll;
        cell.nll_mean = rows[i].mean;
        cell.ppl = exp(3);
        write_it(&cell);
        enum ptq_status status = read_it(cell.id, &back, &err);
        if (rows[i].words) assert_refused("mean", status, &err, rows[i].words);
        if (!rows[i].words && status) fail_msg("%s", err.text);
    }
}

/* Each number in turn is beyond its range, or none; seconds are below 0. */
static void numbers_end_somewhere(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double bad[3];
    } rows[] = {
#define TEXT(name)
#define INT(name) {#name, {-0x1p63, -0x1p62, -0x1p62}},
#define REAL(name) {#name, {NAN, 1e31, -1e31}},
#define X(kind, name, ...) kind(name)
        PTQ_CELL_FIELDS(X) PTQ_PEAK_FIELDS(X) PTQ_AGAINST_FIELDS(X)
#undef X
#undef TEXT
#undef INT
#undef REAL
            {"ppl", {INFINITY, -INFINITY, -1}},
        {"seconds_load", {-1, INFINITY, -INFINITY}}};
    struct ptq_cell cell = make_whole_cell(arena), back;
    struct ptq_error err;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int k = 0; k < 3; k++) {
            changed_name = rows[i].name, changed_to = rows[i].bad[k];
            write_it(&cell);
            const char *words = ptq_format(arena, "cell.h5: ;%s is %g, which is never", changed_name, changed_to);
            assert_refused(changed_name, read_it(cell.id, &back, &err), &err, words);
        }
    changed_name = "";
}

/* The cell with one number that is out of its range: refused at reading, and before it is stored. */
static void refuse_odd(const struct ptq_cell *odd, const char *name, double is)
{
    struct ptq_cell back;
    struct ptq_error err;
    write_it(odd);
    const char *words = ptq_format(arena, "cell.h5: ;%s is %g, which is never stored", name, is);
    assert_refused(name, read_it(odd->id, &back, &err), &err, words);
    assert_int_equal(ptq_cell_check(odd, &err), PTQ_ENUMERIC);
    words = ptq_format(arena, "its %s is %g, which is beyond what results hold", name, is);
    assert_refused(name, PTQ_ENUMERIC, &err, words);
}

/* Each number of a linear's report and of an input's. */
static void numbers_of_rows_end_somewhere(void **state)
{
    (void)state;
    struct ptq_cell cell = make_whole_cell(arena);
    struct ptq_error err;
    assert_int_equal(ptq_cell_check(&cell, &err), PTQ_OK);
    static const double bad_real[] = {NAN, INFINITY, 1e308, -1e308};
    static const int64_t bad_int[] = {INT64_MIN, INT64_MAX, -2, -((int64_t)1 << 62)};
#define BAD_INT bad_int
#define BAD_REAL bad_real
#define X(kind, field, ...)                                                                                            \
    for (int i = 0; i < 4; i++) {                                                                                      \
        const PTQ_FIELD_TYPE_##kind good = row->field;                                                                 \
        row->field = BAD_##kind[i];                                                                                    \
        refuse_odd(&cell, #field, (double)BAD_##kind[i]);                                                              \
        row->field = good;                                                                                             \
    }
    {
        struct ptq_linear_report *row = &cell.linear[2];
        PTQ_LINEAR_FIELDS(X)
    }
    {
        struct ptq_input_report *row = &cell.input[1];
        PTQ_INPUT_FIELDS(X)
    }
#undef X
    cell.input[1].ranked[PTQ_INPUT_RANKS - 1] = -INFINITY;
    refuse_odd(&cell, "ranked", -INFINITY);
    cell.input[1].ranked[PTQ_INPUT_RANKS - 1] = 0;
    cell.kl_max = -7;
    refuse_odd(&cell, "kl_max", -7);
    cell.kl_max = 0;
    cell.calib_windows = INT64_MIN;
    refuse_odd(&cell, "calib_windows", -0x1p63);
    cell.calib_windows = 1 << 30;
    cell.linear[0].loss = 5e-324; /* denormal */
    cell.kl_mean = -1e-9;         /* rounded */
    assert_int_equal(ptq_cell_check(&cell, &err), PTQ_OK);
}

/* Spec and method are those of the configuration, which the cell's name is the hash of. */
static void texts_agree(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *method, *config;
        int good;
    } rows[] = {{"awq:w4,g32", "awq", "schema=1\nspec=awq:w4,g32\nmodel=x\n", 1},
                {"fp16", "fp16", "schema=1\nspec=fp16", 1},
                {"gptq:w4,g32", "gptq", "schema=1\nspec=awq:w4,g32\nmodel=x\n", 0},
                {"rtn:w3,g32", "rtn", "schema=1\nspec=awq:w4,g32\nmodel=x\n", 0},
                {"awq:w4,g3", "awq", "schema=1\nspec=awq:w4,g32\nmodel=x\n", 0},
                {"awq:w4,g32", "gptq", "schema=1\nspec=awq:w4,g32\nmodel=x\n", 0},
                {"awq:w4,g32", "rtn", "schema=1\nspec=awq:w4,g32\nmodel=x\n", 0},
                {"awq:w4,g32", "awq", "schema=1\nno_spec=awq:w4,g32\n", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_cell cell = make_whole_cell(arena), back;
        struct ptq_error err;
        cell.spec = rows[i].spec, cell.method = rows[i].method, cell.config = rows[i].config;
        ptq_cell_identify(&cell);
        write_it(&cell);
        enum ptq_status status = read_it(cell.id, &back, &err);
        if (rows[i].good && status) fail_msg("%s", err.text);
        if (!rows[i].good)
            assert_refused("spec", status, &err, "cell.h5: ;spec, method and config contradict one another");
    }
}

/* What is within its range, and is or is not what the others say. */
static void numbers_agree(void **state)
{
    (void)state;
    struct ptq_cell cell = make_whole_cell(arena), back;
    struct ptq_error err;
    changed_name = "seconds_eval", changed_to = -1e-9; /* which a difference of clocks may be */
    write_it(&cell);
    if (read_it(cell.id, &back, &err)) fail_msg("%s", err.text);
    changed_name = "ppl", changed_to = cell.ppl * (1 + 2e-6);
    write_it(&cell);
    assert_refused("ppl", read_it(cell.id, &back, &err), &err, "ppl is not the exponential of nll_mean");
    changed_name = "";
    cell.kl[2] = NAN;
    write_it(&cell);
    assert_refused("kl", read_it(cell.id, &back, &err), &err, "kl is not finite");
}

/* What no method makes, and what is just within. */
static void numbers_have_ranges(void **state)
{
    (void)state;
    struct ptq_cell cell = make_whole_cell(arena), back;
    struct ptq_error err;
#define X(field, good, ...)                                                                                            \
    {                                                                                                                  \
        const double bad[] = {__VA_ARGS__};                                                                            \
        struct ptq_cell odd = cell;                                                                                    \
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {                                                        \
            odd.field = bad[i];                                                                                        \
            write_it(&odd);                                                                                            \
            assert_refused(#field, read_it(cell.id, &back, &err), &err, "cell.h5: ;" #field " is ;never stored");      \
        }                                                                                                              \
        odd.field = good;                                                                                              \
        write_it(&odd);                                                                                                \
        if (read_it(cell.id, &back, &err)) fail_msg("%s", err.text);                                                   \
    }
    X(w_bit, 0, -1, 33, 0x1p40)
    X(calib_windows, 1 << 30, -1, 0x1p31)
    X(calib_window, 1 << 30, -1, 0x1p31)
    X(kl_mean, -1e-9, -7, 1e31)
    X(delta_p_p01, -1, -1.1, 2)
    X(saturated_groups, 0x1p53, -1, 0x1p60)
    X(group_size, -1, -2, -0x1p62)
    X(effective_bits, 1024, -3, 1025) X(fraction, 1, 9, -0.1) X(same_top, 0, 1.5, -1) X(threads, 0, -1)
#undef X
}

/* One character too few, too many, or none of a hexadecimal digit's. */
static void a_sha256_is_its_digits(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t offset;
    } field[] = {
#define FIELD(name) {#name, offsetof(struct ptq_cell, name)}
        FIELD(model_sha256), FIELD(text_sha256), FIELD(tokens_sha256), FIELD(calib_sha256)
#undef FIELD
    };
    static const char *const bad[] = {"<script>",
                                      "/../../e",
                                      "111111111111111111111111111111111111111111111111111111111111111",
                                      "11111111111111111111111111111111111111111111111111111111111111111",
                                      "111111111111111111111111111111111111111111111111111111111111111A",
                                      "1111111111111111111111111111111111111111111111111111111111111111g",
                                      "/111111111111111111111111111111111111111111111111111111111111111"};
    for (size_t f = 0; f < sizeof field / sizeof *field; f++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            struct ptq_cell cell = make_whole_cell(arena), back;
            struct ptq_error err;
            *(const char **)((char *)&cell + field[f].offset) = bad[i];
            write_it(&cell);
            const char *words = ptq_format(arena, "cell.h5: ;%s;%s is no SHA-256", cell.id, field[f].name);
            assert_refused(bad[i], read_it(cell.id, &back, &err), &err, words);
        }
}

static void files_of_another_schema_say_so(void **state)
{
    (void)state;
    static const char *const words[] = {"is a results file of schema 0, and this ptq reads schema 1",
                                        "is a results file of schema 2, and this ptq reads schema 1 (a newer ptq"};
    for (int i = 0; i < 2; i++) {
        struct ptq_h5 *file;
        struct ptq_error err;
        if (ptq_h5_create(path, &file, &err) || ptq_cell_file_begin(file, "eval", "title: x\n", &err) ||
            ptq_h5_put_int(file, "/", "schema", 2 * i, &err) || ptq_h5_commit(file, &err) ||
            ptq_h5_open(path, &file, &err))
            fail_msg("%s", err.text);
        assert_refused("schema", ptq_cell_file_check(file, path, &err), &err, words[i]);
        assert_true(i || !strstr(err.text, "newer"));
        ptq_h5_close(file);
    }
}

static int set_up_path(void **state)
{
    set_up(state);
    path = ptq_join(arena, folder, "cell.h5");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_value_is_taken_for_another),
                                       cmocka_unit_test(what_is_not_known_is_not_stored),
                                       cmocka_unit_test(an_empty_cell_comes_back_empty),
                                       cmocka_unit_test(means_are_those_of_the_tokens),
                                       cmocka_unit_test(numbers_agree),
                                       cmocka_unit_test(numbers_end_somewhere),
                                       cmocka_unit_test(numbers_of_rows_end_somewhere),
                                       cmocka_unit_test(texts_agree),
                                       cmocka_unit_test(numbers_have_ranges),
                                       cmocka_unit_test(a_sha256_is_its_digits),
                                       cmocka_unit_test(files_of_another_schema_say_so)};
    return cmocka_run_group_tests(tests, set_up_path, tear_down);
}
