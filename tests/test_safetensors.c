/* safetensors headers: the catalogue of what is wrong with them, and what is odd but right. */
#include "safetensors.h"

#include "files.h"
#include "progress.h"

/* A header and a number of data bytes; the length in front is the header's own unless claimed says otherwise. */
struct row {
    const char *name, *header;
    size_t size; /* of header; 0: strlen */
    size_t data;
    const char *words; /* what the message must hold; of good rows the name of the first tensor, NULL for none */
};

#define F16(name, shape, begin, end)                                                                                   \
    "\"" name "\":{\"dtype\":\"F16\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"
#define DEEP10(x) x x x x x x x x x x

static const struct row bad[] = {
    {"header of no bytes", "", 0, 8, "F:;header;is empty"},
    {"not UTF-8", "{\"\xff\":1}", 0, 0, "F: header:;line 1;0xff"},
    {"cut short", "{\"w\":{\"dtype\":\"F16\"", 0, 0, "F: header: line 1;not valid"},
    {"an array", "[]", 0, 0, "F: header;must be an object"},
    {"padded with NUL", "{}\0\0", 4, 0, "F: header: line 1;not valid"},
    {"two objects", "{}{}", 0, 0, "F: header: line 1;column 3"},
    {"byte order mark", "\xef\xbb\xbf{}", 0, 0, "F: header: line 1"},
    {"comment", "{}/* */", 0, 0, "F: header: line 1"},
    {"deep", "{\"w\":" DEEP10(DEEP10("[")) DEEP10(DEEP10("[")) "}", 0, 0, "F: header:;nested more than 100"},
    {"name twice, alike", "{" F16("w", "[1]", 0, 2) "," F16("w", "[1]", 0, 2) "}", 0, 2, "duplicate;w"},
    {"name twice, unlike", "{" F16("w", "[1]", 0, 2) "," F16("w", "[2]", 0, 4) "}", 0, 4, "duplicate;w"},
    {"name empty", "{" F16("", "[1]", 0, 2) "}", 0, 2, "F: header;name is empty"},
    {"name with NUL", "{" F16("a\\u0000b", "[1]", 0, 2) "}", 0, 2, "F: header;line 1;NUL"},
    {"name with escape", "{" F16("a\\u001b[2J", "[1]", 0, 2) "}", 0, 2, "F: header;control character 0x1b"},
    {"lone surrogate", "{" F16("\\ud800", "[1]", 0, 2) "}", 0, 2, "F: header: line 1"},
    {"overlap", "{" F16("a", "[2]", 0, 4) "," F16("b", "[2]", 2, 6) "}", 0, 6, "F: b begins at data byte 2;before"},
    {"same place", "{" F16("a", "[2]", 0, 4) "," F16("b", "[2]", 0, 4) "}", 0, 4, "F: b begins at data byte 0;before"},
    {"hole", "{" F16("a", "[1]", 0, 2) "," F16("b", "[1]", 4, 6) "}", 0, 6, "F: b begins at data byte 4;behind"},
    {"first not at 0", "{" F16("a", "[1]", 2, 4) "}", 0, 4, "F: a begins at data byte 2"},
    {"bytes behind", "{" F16("a", "[1]", 0, 2) "}", 0, 5, "F: 3 bytes behind the last tensor"},
    {"bytes without a tensor", "{}", 0, 1, "F: 1 bytes behind"},
    {"data cut short", "{" F16("a", "[2]", 0, 4) "}", 0, 2, "F: a ends at data byte 4;holds 2;cut short"},
    {"begin behind end", "{" F16("a", "[1]", 4, 2) "}", 0, 4, "F: header: a.data_offsets;4 is behind end 2"},
    {"negative offset", "{" F16("a", "[1]", -2, 0) "}", 0, 0, "F: header: a.data_offsets;whole numbers from 0"},
    {"size not the shape's", "{" F16("a", "[3]", 0, 4) "}", 0, 4, "F: header: a: 3 elements of F16;4 bytes"},
    {"product too large", "{" F16("a", "[2,9223372036854775807]", 0, 2) "}", 0, 2, "F: header: a.shape;too large"},
    {"product too large, then 0", "{" F16("a", "[1099511627776,1099511627776,0]", 0, 0) "}", 0, 0, "a.shape;too large"},
    {"product wraps in bytes", "{" F16("a", "[4611686018427387904,2]", 0, 0) "}", 0, 0, "a.shape;too large"},
    {"bytes wrap", "{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}", 0, 0,
     "header: a: 2305843009213693952 elements of F64"},
    {"dimension above 64 bits", "{" F16("a", "[18446744073709551615]", 0, 2) "}", 0, 2, "line 1;integer"},
    {"dimension -1", "{" F16("a", "[-1]", 0, 2) "}", 0, 2, "F: header: a.shape[0];whole number"},
    {"dimension 4.0", "{" F16("a", "[1,4.0]", 0, 8) "}", 0, 8, "F: header: a.shape[1];whole number"},
    {"dimension 4e0", "{" F16("a", "[4e0]", 0, 8) "}", 0, 8, "F: header: a.shape[0];whole number"},
    {"dimension \"4\"", "{" F16("a", "[\"4\"]", 0, 8) "}", 0, 8, "F: header: a.shape[0];whole number"},
    {"dimension true", "{" F16("a", "[true]", 0, 2) "}", 0, 2, "F: header: a.shape[0];whole number"},
    {"shape no array", "{" F16("a", "4", 0, 8) "}", 0, 8, "F: header: a.shape must be an array"},
    {"rank 9", "{" F16("a", "[1,1,1,1,1,1,1,1,1]", 0, 2) "}", 0, 2, "F: header: a.shape has 9 dimensions;at most 8"},
    {"an offset that is a text", "{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,\"2\"]}}", 0, 2,
     "a.data_offsets;two whole numbers"},
    {"three offsets", "{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2,2]}}", 0, 2, "a.data_offsets;two"},
    {"no offsets", "{\"a\":{\"dtype\":\"F16\",\"shape\":[1]}}", 0, 2, "F: header: a.data_offsets"},
    {"no shape", "{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[0,2]}}", 0, 2, "F: header: a.shape"},
    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,2]}}", 0, 2, "F: header: a.dtype must be a string"},
    {"lower-case dtype", "{\"a\":{\"dtype\":\"f16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 0, 2,
     "F: header: a.dtype 'f16' is not known;F16"},
    {"dtype of four bits", "{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 0, 2,
     "F: header: a.dtype 'F4' is not known"},
    {"entry no object", "{\"a\":[1]}", 0, 0, "F: header: a must be an object"},
    {"metadata a number", "{\"__metadata__\":{\"format\":1}}", 0, 0, "F: header: __metadata__;strings"},
    {"metadata an array", "{\"__metadata__\":[]}", 0, 0, "F: header: __metadata__;object"},
    {"offset above 64 bits", "{" F16("a", "[1]", 0, 340282366920938463463374607431768211456) "}", 0, 2, "integer"},
};

static const struct row good[] = {
    {"nothing", "{}", 0, 0, NULL},
    {"metadata only", "{\"__metadata__\":{\"format\":\"pt\"}}", 0, 0, NULL},
    {"metadata null", "{\"__metadata__\":null," F16("a", "[1]", 0, 2) "}", 0, 2, "a"},
    {"white space in front and behind", "  \n{" F16("a", "[1]", 0, 2) "}   ", 0, 2, "a"},
    {"unordered entries", "{" F16("b", "[1]", 2, 4) "," F16("a", "[1]", 0, 2) "}", 0, 4, "a"},
    {"rank 0", "{" F16("a", "[]", 0, 2) "}", 0, 2, "a"},
    {"size 0", "{" F16("b", "[2]", 0, 4) "," F16("a", "[0,1099511627776,8388607]", 0, 0) "}", 0, 4, "a"},
    {"size 0 behind and before", "{" F16("c", "[0]", 0, 0) "," F16("b", "[2]", 0, 4) "," F16("a", "[0]", 0, 0) "}", 0,
     4, "a"},
    {"size 0 at the end", "{" F16("a", "[2]", 0, 4) "," F16("b", "[0]", 4, 4) "}", 0, 4, "a"},
    {"further fields", "{\"a\":{\"dtype\":\"F16\",\"x\":{},\"shape\":[1],\"data_offsets\":[0,2]}}", 0, 2, "a"},
    {"path as name", "{" F16("../../etc/passwd", "[1]", 0, 2) "}", 0, 2, "../../etc/passwd"},
    {"name with a space", "{" F16(" a b~", "[1]", 0, 2) "}", 0, 2, " a b~"},
    {"rank 8", "{" F16("a", "[1,1,1,1,1,1,1,2]", 0, 4) "}", 0, 4, "a"},
};

static struct bytes make(const struct row *row)
{
    struct bytes b = {0};
    size_t n = row->size ? row->size : strlen(row->header);
    put_number(&b, n, 8);
    put(&b, row->header, n);
    put_zeros(&b, row->data);
    return b;
}

/* Reads bytes as the file "F" and frees them. *first: a copy of the first tensor, whose name lives in arena. */
static enum ptq_status read_bytes(struct bytes b, struct ptq_arena *arena, struct ptq_tensor *first, size_t *n,
                                  struct ptq_error *err)
{
    struct ptq_mapped file = {.path = "F", .data = b.data, .size = b.size};
    struct ptq_tensor *tensor = NULL;
    enum ptq_status status = ptq_safetensors_read(arena, &file, &tensor, n, err);
    if (!status)
        for (size_t i = 0; i < *n; i++) {
            const unsigned char *data = tensor[i].data;
            assert_true(data >= b.data && tensor[i].bytes <= (size_t)(b.data + b.size - data));
        }
    if (!status && *n) *first = tensor[0];
    free(b.data);
    return status;
}

static void bad_headers_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_error err = {0};
        struct ptq_tensor first;
        size_t n;
        assert_refused(bad[i].name, read_bytes(make(&bad[i]), arena, &first, &n, &err), &err, bad[i].words);
        assert_int_equal(err.status, PTQ_EINPUT);
        ptq_arena_free(arena);
    }
}

static void odd_headers_are_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_error err = {0};
        struct ptq_tensor first;
        size_t n;
        if (read_bytes(make(&good[i]), arena, &first, &n, &err)) fail_msg("%s: %s", good[i].name, err.text);
        assert_int_equal(n > 0, good[i].words != NULL);
        if (n) assert_string_equal(first.name, good[i].words);
        ptq_arena_free(arena);
    }
}

/* ---- before the header ---- */

static const struct {
    const char *name, *file, *words;
} bad_files[] = {
    {"empty", "", "F: has 0 bytes;too few"},
    {"seven bytes", "*7", "F: has 7 bytes;too few"},
    {"longer than the file", "3:8 '{}'", "F: byte 0: a header of 3 bytes;file: 10 bytes"},
    {"2^64 - 1", "-1:8 '{}'", "F: byte 0: a header of 18446744073709551615 bytes;does not fit"},
    {"2^64 - 8", "-8:8 '{}'", "F: byte 0;does not fit"},
    {"LFS pointer", "'version https://git-lfs.example/spec/v1 oid sha256:00 size 9'",
     "F:;Git LFS pointer;git lfs pull"},
    {"zip", "'PK' 3:1 4:1 *100", "F:;pickled;never reads;convert_bin.py"},
    {"pickle", "0x80:1 2:1 *100", "F:;pickled;never reads"},
};

static void bad_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_error err = {0};
        struct ptq_tensor first;
        size_t n;
        enum ptq_status status = read_bytes(assemble(bad_files[i].file), arena, &first, &n, &err);
        assert_refused(bad_files[i].name, status, &err, bad_files[i].words);
        ptq_arena_free(arena);
    }
}

/* A file that is as large as its header claims, so that only the limit stands between it and the parser. */
static void a_header_above_the_limit_is_refused(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err = {0};
    struct ptq_tensor first;
    struct bytes b = {0};
    size_t n;
    put_number(&b, 100000001, 8);
    put_zeros(&b, 100000001);
    long long before = ptq_peak_rss_bytes();
    assert_refused("limit", read_bytes(b, arena, &first, &n, &err), &err, "F: byte 0;100000001 bytes;limit: 100000000");
    assert_true(ptq_peak_rss_bytes() - before < 64 << 20);
    ptq_arena_free(arena);
}

/* Every proper beginning of a good file is refused, and no byte beyond it is looked at (the sanitizer would see it). */
static void every_truncation_is_refused(void **state)
{
    (void)state;
    const struct row row = {"", "{" F16("b", "[3]", 4, 10) "," F16("a", "[2,1]", 0, 4) "}", 0, 10, NULL};
    struct bytes whole = make(&row);
    for (size_t size = 0; size < whole.size; size++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_error err = {0};
        struct ptq_tensor first;
        struct bytes b = {0};
        size_t n;
        put(&b, whole.data, size);
        assert_refused("truncated", read_bytes(b, arena, &first, &n, &err), &err, "F:");
        ptq_arena_free(arena);
    }
    free(whole.data);
}

static void a_header_is_read_in_full(void **state)
{
    (void)state;
    const char *header = "{\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[1,25]},"
                         "\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}";
    const struct row row = {"", header, 0, 25, NULL};
    struct bytes b = make(&row);
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_mapped file = {.path = "F", .data = b.data, .size = b.size};
    struct ptq_tensor *tensor;
    struct ptq_error err;
    size_t n;
    assert_int_equal(ptq_safetensors_read(arena, &file, &tensor, &n, &err), PTQ_OK);
    assert_int_equal(n, 2);
    assert_string_equal(tensor[0].name, "a");
    assert_true(tensor[0].rank == 0 && tensor[0].count == 1 && tensor[0].bytes == 1 && tensor[0].dtype == PTQ_U8);
    assert_true(tensor[1].rank == 2 && tensor[1].shape[0] == 2 && tensor[1].shape[1] == 3 && tensor[1].count == 6);
    assert_true(tensor[1].dtype == PTQ_F32 && tensor[1].bytes == 24 && tensor[1].file == &file);
    assert_ptr_equal(tensor[1].data, b.data + b.size - 24); /* one byte behind an even place: no alignment needed */
    ptq_arena_free(arena);
    free(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_headers_are_refused),     cmocka_unit_test(odd_headers_are_taken),
        cmocka_unit_test(bad_files_are_refused),       cmocka_unit_test(a_header_above_the_limit_is_refused),
        cmocka_unit_test(every_truncation_is_refused), cmocka_unit_test(a_header_is_read_in_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
