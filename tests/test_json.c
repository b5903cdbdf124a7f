/* Strict JSON: what is refused and with which words, and what the getters take. */
#include "json.h"

#include "files.h"

/* ---- parsing ---- */

static const struct bad_text {
    const char *name, *text;
    size_t size; /* 0: strlen */
    const char *words;
} bad_texts[] = {
    {"empty", "", 0, "F:;is empty"},
    {"white space", "  \n ", 0, "F:;line 2;not valid"},
    {"cut short", "{\"a\": [1, 2", 0, "F:;line 1;column;not valid"},
    {"comment", "{} // x", 0, "line 1;not valid"},
    {"two values", "{}{}", 0, "line 1;column 3"},
    {"NUL behind", "{}\0", 3, "line 1;not valid"},
    {"byte order mark", "\xef\xbb\xbf{}", 0, "line 1;not valid"},
    {"not UTF-8", "{\"a\": \"\xff\"}", 0, "line 1;decode byte 0x"},
    {"overlong UTF-8", "{\"a\": \"\xc0\xaf\"}", 0, "line 1;decode byte 0x"},
    {"surrogate as bytes", "{\"a\": \"\xed\xa0\x80\"}", 0, "line 1;decode byte 0x"},
    {"lone surrogate", "{\"a\": \"\\ud800\"}", 0, "line 1;ud800"},
    {"NUL in a string", "{\"a\": \"\\u0000\"}", 0, "line 1;NUL"},
    {"duplicate key", "{\"a\": 1,\n \"a\": 2}", 0, "line 2;duplicate"},
    {"real too large", "{\"a\": 1e999}", 0, "line 1;overflow;1e999"},
    {"integer too large", "{\"a\": 340282366920938463463374607431768211456}", 0, "line 1;integer"},
    {"NaN", "{\"a\": NaN}", 0, "line 1;NaN"},
    {"leading zero", "{\"a\": 01}", 0, "line 1"},
    {"bare word", "{a: 1}", 0, "line 1"},
    {"trailing comma", "[1,]", 0, "line 1"},
    {"a number alone", "1", 0, "line 1"},
};

static void bad_texts_are_refused_with_file_line_and_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_texts / sizeof *bad_texts; i++) {
        const struct bad_text *row = &bad_texts[i];
        struct bytes b = {0};
        struct ptq_error err = {0};
        json_t *root;
        put(&b, row->text, row->size ? row->size : strlen(row->text));
        enum ptq_status status = ptq_json_parse((const char *)b.data, b.size, "F", &root, &err);
        assert_refused(row->name, status, &err, row->words);
        assert_int_equal(status, PTQ_EINPUT);
        assert_null(root);
        free(b.data);
    }
}

static json_t *nested(int depth, enum ptq_status *status, struct ptq_error *err)
{
    char text[1000];
    json_t *root;
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    *status = ptq_json_parse(text, (size_t)(2 * depth), "F", &root, err);
    return root;
}

static void depth_is_bounded(void **state)
{
    (void)state;
    enum ptq_status status;
    struct ptq_error err;
    json_decref(nested(100, &status, &err));
    assert_int_equal(status, PTQ_OK);
    nested(101, &status, &err);
    assert_refused("depth 101", status, &err, "F:;byte 100;nested more than 100");
}

/* Brackets in strings are no depth, a quote behind a backslash ends no string, and what is closed does not count. */
static void depth_is_counted_right(void **state)
{
    (void)state;
    struct ptq_error err;
    json_t *root;
    char text[1024];
    for (int n = 400; n < 402; n++) {
        snprintf(text, sizeof text, "[\"\\\\\\\"");
        size_t used = strlen(text);
        memset(text + used, '[', (size_t)n);
        memcpy(text + used + n, "\"]", 3);
        if (ptq_json_parse(text, strlen(text), "F", &root, &err)) fail_msg("%s", err.text);
        json_decref(root);
    }
    snprintf(text, sizeof text, "[{}");
    for (int i = 0; i < 150; i++) memcpy(text + 3 + 6 * i, ",[],{}", 7);
    memcpy(text + 3 + 6 * 150, "]", 2);
    if (ptq_json_parse(text, strlen(text), "F", &root, &err)) fail_msg("%s", err.text);
    json_decref(root);
}

/* What a text takes is counted before it is parsed, brackets and commas in strings as the bytes that they are, and what
 * is just as much as is allowed is taken; likewise the bytes of a string and of all. */
static void extent_is_bounded(void **state)
{
    (void)state;
    /* 26 bytes; an object 240, an array 128, two commas, a colon and two quotes 48 each, strings of 5 and 5 bytes with
     * the quote behind them, of which a backslash and what it escapes are one */
    static const char text[] = "{\"a,[{\": [1, 2, \"345\\\"\"]}\n";
    enum { MEMORY = 26 + 240 + 128 + 5 * 48 + 5 + 5 };
    static const struct {
        struct ptq_json_bounds bounds;
        const char *refused;
    } rows[] = {
        {{MEMORY, 5, 100}, NULL},
        {{MEMORY - 1, 5, 100}, "F: byte 22;values and keys;643 bytes of memory"},
        {{MEMORY - 5, 5, 100}, "F: byte 17;values and keys;639 bytes of memory"},
        {{25, 5, 100}, "F: byte 0;25 bytes of memory"},
        {{MEMORY, 4, 100}, "F: byte 16;a string of more than 4 bytes"},
        {{MEMORY, 5, 26}, NULL},
        {{MEMORY, 5, 25}, "F: has 26 bytes; at most 25"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_error err;
        json_t *root;
        enum ptq_status status = ptq_json_parse_within(&rows[i].bounds, text, sizeof text - 1, "F", &root, &err);
        if (rows[i].refused)
            assert_refused("beyond", status, &err, rows[i].refused);
        else if (status)
            fail_msg("%zu: %s", i, err.text);
        json_decref(root);
    }
}

/* An array of zeros, as many as fit, and one more. */
static void usual_bounds(void **state)
{
    (void)state;
    struct ptq_error err;
    json_t *root;
    size_t fit = (ptq_json_usual.memory - 3 - 128) / 50;
    for (size_t zeros = fit + 1; zeros <= fit + 2; zeros++) {
        size_t n = 2 * zeros + 1;
        char *many = malloc(n);
        assert_non_null(many);
        for (size_t i = 0; i < n; i++) many[i] = i % 2 ? '0' : ',';
        many[0] = '[';
        many[n - 1] = ']';
        enum ptq_status status = ptq_json_parse(many, n, "F", &root, &err);
        free(many);
        if (zeros > fit + 1) assert_refused("too many", status, &err, "F: byte 1845490;values and keys;46137344 bytes");
        if (zeros == fit + 1 && status) fail_msg("%s", err.text);
        json_decref(root);
    }
}

static void files_are_bounded_and_named(void **state)
{
    (void)state;
    char folder[64], path[128];
    struct ptq_error err;
    json_t *root;
    make_test_folder(folder);
    write_test_text(folder, "a.json", "{\"x\": 1}");
    snprintf(path, sizeof path, "%s/a.json", folder);
    assert_int_equal(ptq_json_load(path, 8, &root, &err), PTQ_OK);
    json_decref(root);
    assert_refused("limit", ptq_json_load(path, 7, &root, &err), &err, "a.json;8 bytes;at most 7");
    write_test_text(folder, "a.json", "");
    assert_refused("empty file", ptq_json_load(path, 8, &root, &err), &err, "a.json;is empty");
    assert_refused("a folder", ptq_json_load(folder, 8, &root, &err), &err, "a folder");
    snprintf(path, sizeof path, "%s/none.json", folder);
    assert_int_equal(ptq_json_load(path, 8, &root, &err), PTQ_EIO);
    remove_test_folder(folder);
}

/* ---- getters ---- */

static json_t *object(void)
{
    struct ptq_error err;
    json_t *root;
    const char *text = "{\"n\": 7, \"x\": 0.5, \"t\": \"word\", \"b\": true, \"null\": null, \"a\": [1, 2], \"o\": {}, "
                       "\"big\": 9223372036854775807, \"whole\": 4.0}";
    assert_int_equal(ptq_json_parse(text, strlen(text), "F", &root, &err), PTQ_OK);
    return root;
}

static void getters_take_what_is_there(void **state)
{
    (void)state;
    json_t *o = object();
    struct ptq_error e;
    int64_t n;
    double x;
    int b;
    const char *t;
    assert_true(!ptq_json_int(o, "n", "F", 7, 7, &n, &e) && n == 7);
    assert_true(!ptq_json_int(o, "big", "F", 0, INT64_MAX, &n, &e) && n == INT64_MAX);
    assert_true(!ptq_json_int_or(o, "none", "F", 0, 9, 3, &n, &e) && n == 3);
    assert_true(!ptq_json_int_or(o, "null", "F", 0, 9, 4, &n, &e) && n == 4);
    assert_true(!ptq_json_real(o, "x", "F", 0, 1, &x, &e) && x == 0.5);
    assert_true(!ptq_json_real(o, "n", "F", 7, 7, &x, &e) && x == 7);
    assert_true(!ptq_json_real_or(o, "none", "F", 0, 1, 0.25, &x, &e) && x == 0.25);
    assert_true(!ptq_json_bool_or(o, "b", "F", 0, &b, &e) && b == 1);
    assert_true(!ptq_json_bool_or(o, "null", "F", 0, &b, &e) && b == 0);
    assert_true(!ptq_json_text(o, "t", "F", &t, &e) && strcmp(t, "word") == 0);
    assert_true(!ptq_json_text_or(o, "none", "F", "other", &t, &e) && strcmp(t, "other") == 0);
    json_decref(o);
}

static void getters_refuse_with_key_wish_and_value(void **state)
{
    (void)state;
    json_t *o = object();
    struct ptq_error e;
    int64_t n = 55;
    double x;
    int b;
    const char *t;
    assert_refused("missing", ptq_json_int(o, "none", "F", 0, 9, &n, &e), &e, "F:;'none' is missing");
    assert_refused("null", ptq_json_int(o, "null", "F", 0, 9, &n, &e), &e, "F:;'null' is missing");
    assert_refused("range", ptq_json_int(o, "n", "F", 8, 9, &n, &e), &e, "F:;'n';from 8 to 9;it is 7");
    assert_refused("4.0", ptq_json_int(o, "whole", "F", 0, 9, &n, &e), &e, "'whole';whole number;it is 4.0");
    assert_refused("text", ptq_json_int(o, "t", "F", 0, 9, &n, &e), &e, "'t';it is \"word\"");
    assert_refused("or", ptq_json_int_or(o, "a", "F", 0, 9, 1, &n, &e), &e, "'a';it is an array of 2");
    assert_refused("real", ptq_json_real(o, "x", "F", 1, 2, &x, &e), &e, "'x';from 1 to 2;it is 0.5");
    assert_refused("real or", ptq_json_real_or(o, "o", "F", 1, 2, 1, &x, &e), &e, "'o';it is an object");
    assert_refused("bool", ptq_json_bool_or(o, "n", "F", 0, &b, &e), &e, "'n';true or false;it is 7");
    assert_refused("text or", ptq_json_text_or(o, "b", "F", "", &t, &e), &e, "'b';a string;it is true");
    assert_refused("text", ptq_json_text(o, "none", "F", &t, &e), &e, "'none' is missing");
    assert_refused("no object", ptq_json_text(json_object_get(o, "a"), "k", "F", &t, &e), &e, "F:;object;'k'");
    assert_int_not_equal(n, 7);
    json_decref(o);
}

/* Every getter says so where it is given nothing, or something that is no object. */
static void getters_refuse_what_is_no_object(void **state)
{
    (void)state;
    json_t *list = json_array();
    const json_t *const not_one[] = {NULL, list};
    struct ptq_error e;
    int64_t n;
    double x;
    int b;
    const char *t;
    for (int i = 0; i < 2; i++) {
        const json_t *o = not_one[i];
        assert_refused("int", ptq_json_int(o, "k", "F", 0, 9, &n, &e), &e, "F: ;object;'k'");
        assert_refused("int or", ptq_json_int_or(o, "k", "F", 0, 9, 1, &n, &e), &e, "F: ;object;'k'");
        assert_refused("real", ptq_json_real(o, "k", "F", 0, 9, &x, &e), &e, "F: ;object;'k'");
        assert_refused("real or", ptq_json_real_or(o, "k", "F", 0, 9, 1, &x, &e), &e, "F: ;object;'k'");
        assert_refused("bool or", ptq_json_bool_or(o, "k", "F", 0, &b, &e), &e, "F: ;object;'k'");
        assert_refused("text", ptq_json_text(o, "k", "F", &t, &e), &e, "F: ;object;'k'");
        assert_refused("text or", ptq_json_text_or(o, "k", "F", "", &t, &e), &e, "F: ;object;'k'");
    }
    json_object_set_new(list = object(), "long", json_string("a text of more than the forty bytes that are shown"));
    assert_refused("long", ptq_json_int(list, "long", "F", 0, 9, &n, &e), &e, "'long';\"a text of more;and more");
    assert_refused("above", ptq_json_real(list, "n", "F", 0, 6, &x, &e), &e, "'n';from 0 to 6;it is 7");
    assert_refused("missing real", ptq_json_real(list, "none", "F", 0, 6, &x, &e), &e, "'none' is missing");
    json_decref(list);
    json_decref((json_t *)not_one[1]);
}

/* ---- writing ---- */

/* What was read is written in the fewest digits that read back, as Python's json writes it, and strings as they are. */
static void numbers_keep_their_digits(void **state)
{
    static const char *const same[] = {"1e-05",
                                       "-1e-05",
                                       "1.5e-300",
                                       "5e-324",
                                       "0.0001",
                                       "0.00012345678901234567",
                                       "0.1",
                                       "0.30000000000000004",
                                       "-0.0",
                                       "0.0",
                                       "1.0",
                                       "10000.0",
                                       "500000.0",
                                       "1234567890123456.0",
                                       "1e+16",
                                       "1.7976931348623157e+308",
                                       "2.2250738585072014e-308",
                                       "3.141592653589793",
                                       "7",
                                       "-9007199254740993",
                                       "9223372036854775807",
                                       "true",
                                       "false",
                                       "null",
                                       "\"1.50\"",
                                       "\"a\\\"0.10, 1e-05\\\\\"",
                                       "{\"1.50\": 2.5, \"e\": [0.5, -3, \"\"]}"};
    static const char *const others[][2] = {{"1.0000000000000001e-5", "1e-05"},
                                            {"1E5", "100000.0"},
                                            {"2.50", "2.5"},
                                            {"1e-5", "1e-05"},
                                            {"9007199254740993.0", "9007199254740992.0"}};
    struct ptq_error err;
    json_t *root;
    char text[96], *written;
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same + sizeof others / sizeof *others; i++) {
        size_t other = i - sizeof same / sizeof *same;
        int is_same = i < sizeof same / sizeof *same;
        snprintf(text, sizeof text, "[%s]", is_same ? same[i] : others[other][0]);
        if (ptq_json_parse(text, strlen(text), "F", &root, &err)) fail_msg("%s", err.text);
        written = ptq_json_dump(root, 0);
        snprintf(text, sizeof text, "[%s]", is_same ? same[i] : others[other][1]);
        assert_string_equal(written, text);
        free(written);
        json_decref(root);
    }
    root = json_pack("{s:s%}", "name", "\xff", (size_t)1);
    assert_null(root ? ptq_json_dump(root, 0) : NULL);
    assert_null(ptq_json_dump(NULL, 0));
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_texts_are_refused_with_file_line_and_reason),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(depth_is_counted_right),
        cmocka_unit_test(extent_is_bounded),
        cmocka_unit_test(usual_bounds),
        cmocka_unit_test(files_are_bounded_and_named),
        cmocka_unit_test(getters_take_what_is_there),
        cmocka_unit_test(getters_refuse_with_key_wish_and_value),
        cmocka_unit_test(getters_refuse_what_is_no_object),
        cmocka_unit_test(numbers_keep_their_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
