/* GGUF: the catalogue of bad files, what is read of good ones, and a real one where it is there. */
#include "gguf.h"

#include "files.h"

#include <math.h>

/* Files are described in the words of assemble(). V3(t, k): magic, version 3, t tensors, k keys. */
#define V3(t, k) "'GGUF' 3:4 " #t ":8 " #k ":8 "
#define T_U8 "0:4 "
#define T_U16 "2:4 "
#define T_U32 "4:4 "
#define T_I32 "5:4 "
#define T_BOOL "7:4 "
#define T_STRING "8:4 "
#define T_ARRAY "9:4 "
/* A tensor of two dimensions (the fastest first), its ggml type and its offset. */
#define TENSOR(name, d0, d1, type, offset) "\"" name "\" 2:4 " #d0 ":8 " #d1 ":8 " #type ":4 " #offset ":8 "
#define F32(name, d0, d1, offset) TENSOR(name, d0, d1, 0, offset)

static const struct {
    const char *name, *file, *words;
} bad[] = {
    {"magic", "'GGUE' 3:4 0:8 0:8", "F: does not begin with GGUF"},
    {"empty", "", "F: does not begin with GGUF"},
    {"no version", "'GGUF' 3:2", "F: byte 4;version;2 more"},
    {"version 0", "'GGUF' 0:4 0:8 0:8", "F: byte 4;version 0"},
    {"version 1", "'GGUF' 1:4 0:4 0:4 *8", "F: byte 4;version 1;2 and 3"},
    {"version 4", "'GGUF' 4:4 0:8 0:8", "F: byte 4;version 4"},
    {"big-endian", "'GGUF' 0x03000000:4 0:8 0:8", "F:;big-endian"},
    {"no counts", "'GGUF' 3:4 0:8", "F: byte 16;number of metadata keys;0 more"},
    {"2^63 tensors", "'GGUF' 3:4 0x8000000000000000:8 0:8 *64", "F: byte 8;number of tensors;9223372036854775808"},
    {"2^63 keys", "'GGUF' 3:4 0:8 0x8000000000000000:8 *64", "F: byte 16;number of metadata keys;9223372036854775808"},
    {"more tensors than bytes", V3(9, 0) "*288", "F: byte 8;number of tensors is 9"},
    {"more keys than bytes", V3(0, 9) "*110", "F: byte 16;number of metadata keys is 9"},
    /* keys */
    {"key of 2^64 - 1", V3(0, 1) "-1:8 *32", "F: byte 24;key;18446744073709551615"},
    {"key past the end", V3(0, 1) "200:8 *64", "F: byte 32;key;200 bytes;64 more"},
    {"empty key", V3(0, 1) "\"\" " T_U8 "1:1 *8", "F: byte 24;key;0 bytes"},
    {"key with newline", V3(0, 1) "3:8 'a' 10:1 'b' " T_U8 "1:1", "F: byte 33;control character 0x0a"},
    {"key with NUL", V3(0, 1) "3:8 'a' 0:1 'b' " T_U8 "1:1", "F: byte 33;control character 0x00"},
    {"key not UTF-8", V3(0, 1) "3:8 'a' 0xff:1 'b' " T_U8 "1:1", "F: byte 32;key is not UTF-8"},
    {"key twice", V3(0, 2) "\"ab\" " T_U8 "1:1 \"ab\" " T_U8 "1:1", "F:;'ab' is there twice"},
    {"no value", V3(0, 1) "\"abcdefgh\" " T_U32, "F: byte 44: 'abcdefgh': u32 needs 4 bytes;0 more"},
    {"value cut short", V3(0, 1) "\"abcdefgh\" " T_U32 "1:3", "F: byte 44: 'abcdefgh';4 bytes;3 more"},
    {"type 13", V3(0, 1) "\"ab\" 13:4 *8", "F: byte 34;'ab';type 13"},
    {"type 2^32 - 1", V3(0, 1) "\"ab\" -1:4 *8", "F: byte 34;'ab';type 4294967295"},
    {"bool 2", V3(0, 1) "\"ab\" " T_BOOL "2:1", "F: byte 38;'ab';bool is 2"},
    {"string past the end", V3(0, 1) "\"ab\" " T_STRING "9:8 *8", "F: byte 46;'ab';string needs 9;8 more"},
    {"string of 2^64 - 1", V3(0, 1) "\"ab\" " T_STRING "-1:8 *8", "F: byte 46;'ab';string needs 18446744073709551615"},
    /* arrays */
    {"nested array", V3(0, 1) "\"ab\" " T_ARRAY T_ARRAY "1:8 *32", "F: byte 38;'ab';array of type 9"},
    {"array of type 13", V3(0, 1) "\"ab\" " T_ARRAY "13:4 1:8 *32", "F: byte 38;'ab';array of type 13"},
    {"array past the end", V3(0, 1) "\"ab\" " T_ARRAY T_U32 "3:8 *11", "F: byte 50;'ab';needs 12;11 more"},
    {"array of 2^62 u32", V3(0, 1) "\"ab\" " T_ARRAY T_U32 "0x4000000000000000:8 *32",
     "F: byte 50;'ab';4611686018427387904 values of u32"},
    {"array of 2^62 + 1 u32", V3(0, 1) "\"ab\" " T_ARRAY T_U32 "0x4000000000000001:8 *32",
     "F: byte 50;'ab';4611686018427387905 values of u32"},
    {"bools 1 0 3", V3(0, 1) "\"ab\" " T_ARRAY T_BOOL "3:8 1:1 0:1 3:1", "F: byte 52;'ab';bool is 3"},
    {"strings past the end", V3(0, 1) "\"ab\" " T_ARRAY T_STRING "2:8 \"x\" 5:8 *4", "F: byte 67;'ab';needs 5;4 more"},
    {"2^60 strings", V3(0, 1) "\"ab\" " T_ARRAY T_STRING "0x1000000000000000:8 *32", "F: byte 82;'ab';8 bytes;0 more"},
    /* alignment */
    {"alignment 0", V3(0, 1) "\"general.alignment\" " T_U32 "0:4", "general.alignment;power of two"},
    {"alignment 13", V3(0, 1) "\"general.alignment\" " T_U32 "13:4", "general.alignment;power of two"},
    {"alignment i32", V3(0, 1) "\"general.alignment\" " T_I32 "32:4", "general.alignment;u32"},
    {"alignment text", V3(0, 1) "\"general.alignment\" " T_STRING "\"32\"", "general.alignment;u32"},
    /* tensors */
    {"tensor name empty", V3(1, 0) F32("", 1, 1, 0) "*40", "F: byte 24;name;0 bytes"},
    {"tensor name of 64",
     V3(1, 0) F32("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", 1, 1, 0) "*9",
     "F: byte 24;name;64 bytes;1 to 63"},
    {"rank 0", V3(1, 0) "\"w\" 0:4 0:4 0:8 *64", "F:;'w' has rank 0"},
    {"rank 5", V3(1, 0) "\"w\" 5:4 1:8 1:8 1:8 1:8 1:8 0:4 0:8 *64", "F:;'w' has rank 5;1 to 4"},
    {"dimension 0", V3(1, 0) F32("w", 0, 4, 0) "@32 *32", "F:;'w';dimension 0"},
    {"dimension 2^42 + 1", V3(1, 0) F32("w", 4398046511105, 1, 0) "@32 *32", "F:;'w' is larger than the whole file"},
    {"dimension 2^63", V3(1, 0) F32("w", 0x8000000000000000, 1, 0) "@32 *32", "F:;'w';9223372036854775808"},
    {"product wraps", V3(1, 0) F32("w", 4294967296, 4294967296, 0) "@32 *32", "F:;'w';4294967296"},
    {"bytes wrap", V3(1, 0) F32("w", 4611686018427387904, 1, 0) "@32 *32", "F:;'w' is larger than the whole file"},
    {"row no multiple of a block", V3(1, 0) TENSOR("w", 33, 2, 3, 0) "@32 *99", "F:;'w' is Q4_1;33;multiple of 32"},
    {"Q4_K", V3(1, 0) TENSOR("w", 256, 1, 12, 0) "@32 *144",
     "F:;'w' is Q4_K;does not read;readable are: F32 F16 BF16 Q4_0 Q4_1 Q8_0"},
    {"removed type", V3(1, 0) TENSOR("w", 32, 1, 4, 0) "@32 *32", "F:;'w' is Q4_2 (removed"},
    {"removed type 31", V3(1, 0) TENSOR("w", 32, 1, 31, 0) "@32 *32", "F:;'w' is Q4_0_4_4 (removed"},
    {"type 200", V3(1, 0) TENSOR("w", 32, 1, 200, 0) "@32 *32", "F:;'w';unknown type 200"},
    {"offset unaligned", V3(1, 0) F32("w", 1, 1, 4) "@32 *32", "F:;'w' begins at data byte 4;must begin at 0"},
    {"overlap", V3(2, 0) F32("a", 9, 1, 0) F32("b", 9, 1, 32) "@32 *128", "F:;'b' begins at data byte 32;at 64"},
    {"hole", V3(2, 0) F32("a", 8, 1, 0) F32("b", 8, 1, 64) "@32 *128", "F:;'b' begins at data byte 64;at 32"},
    {"offset 2^64 - 32", V3(1, 0) F32("w", 1, 1, -32) "@32 *32", "F:;'w' begins at data byte 18446744073709551584"},
    {"data cut short", V3(1, 0) F32("w", 2, 2, 0) "@32 *15", "F:;'w' ends at byte;cut short"},
    {"second cut short", V3(2, 0) F32("a", 8, 1, 0) F32("b", 8, 1, 32) "@32 *63", "F:;'b' ends at byte;cut short"},
    {"no data", V3(1, 0) F32("w", 2, 2, 0), "F:;'w' ends at byte;cut short"},
    {"huge alignment", V3(1, 1) "\"general.alignment\" " T_U32 "0x80000000:4 " F32("w", 1, 1, 0) "*64",
     "F:;'w' ends at byte"},
    {"info cut short", V3(1, 0) "\"some.long.name\" 2:4 1:8 1:7", "F:;'some.long.name';shape needs 8;7 more"},
};

static enum ptq_status read_bytes(struct bytes b, struct ptq_arena *arena, struct ptq_error *err)
{
    struct ptq_mapped file = {.path = "F", .data = b.data, .size = b.size};
    struct ptq_tensor *tensor;
    struct ptq_gguf *gguf;
    size_t n;
    enum ptq_status status = ptq_gguf_read(arena, &file, &gguf, &tensor, &n, err);
    free(b.data);
    return status;
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_error err = {0};
        assert_refused(bad[i].name, read_bytes(assemble(bad[i].file), arena, &err), &err, bad[i].words);
        assert_int_equal(err.status, PTQ_EINPUT);
        ptq_arena_free(arena);
    }
}

/* ---- a good file ---- */

static const char good[] =
    V3(3, 13) "\"general.alignment\" " T_U32 "64:4 "
              "\"a.u8\" " T_U8 "200:1 \"a.i8\" 1:4 -3:1 \"a.i16\" 3:4 -300:2 \"a.u64\" 10:4 -1:8 \"a.i64\" 11:4 -5:8 "
              "\"a.f32\" 6:4 0x3f000000:4 \"a.nan\" 6:4 0x7fc00000:4 \"a.bool\" " T_BOOL "1:1 \"a.text\" " T_STRING
              "\"two words\" "
              "\"a.raw\" " T_STRING "3:8 'x' 0xff:1 0x0a:1 \"a.more\" 10:4 7:8 "
              "\"a.texts\" " T_ARRAY T_STRING "3:8 \"x\" \"\" \"zz\" "
    /* tensors: F32 [2][3], Q8_0 [1][32], F16 [5] */
    F32("w", 3, 2, 0) TENSOR("q", 32, 1, 8, 64) "\"v\" 1:4 5:8 1:4 128:8 "
                                                "@64 1:4 *23 @64 *34 @64 *10";

struct opened {
    struct ptq_arena *arena;
    struct ptq_mapped file;
    struct ptq_gguf *gguf;
    struct ptq_tensor *tensor;
    size_t n;
};

static struct opened open_spec(const char *spec)
{
    struct bytes b = assemble(spec);
    struct opened o = {.arena = ptq_arena_make("test"), .file = {.path = "F", .data = b.data, .size = b.size}};
    struct ptq_error err;
    struct ptq_mapped *file = ptq_new(o.arena, struct ptq_mapped, 1);
    *file = o.file;
    if (ptq_gguf_read(o.arena, file, &o.gguf, &o.tensor, &o.n, &err)) fail_msg("%s", err.text);
    return o;
}

static void close_spec(struct opened *o)
{
    free((void *)o->file.data);
    ptq_arena_free(o->arena);
}

/* At the very edge of what is allowed. */
static void edges_are_taken(void **state)
{
    (void)state;
    static const char *const edge[] = {
        V3(0, 0),
        V3(0, 1) "\"a b~\" " T_U8 "1:1",
        "'GGUF' 2:4 0:8 0:8",
        V3(1, 0) F32("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde", 1, 1, 0) "@32 *4",
        V3(1, 0) "\"w\" 4:4 1:8 1:8 1:8 2:8 0:4 0:8 @32 *8",
        V3(1, 1) "\"general.alignment\" " T_U32 "1:4 " F32("w", 1, 1, 0) "*4",
        V3(1, 0) F32("0123456789abcdef0123456789abcdef", 1, 1, 0) "*4", /* ends at a multiple of 32: no padding */
    };
    for (size_t i = 0; i < sizeof edge / sizeof *edge; i++) {
        struct opened o = open_spec(edge[i]);
        if (o.n)
            assert_ptr_equal((const unsigned char *)o.tensor[0].data + o.tensor[0].bytes, o.file.data + o.file.size);
        close_spec(&o);
    }
}

static void tensors_have_their_places(void **state)
{
    (void)state;
    struct opened o = open_spec(good);
    assert_int_equal(o.n, 3);
    const struct ptq_tensor *w = &o.tensor[0], *q = &o.tensor[1], *v = &o.tensor[2];
    assert_true(w->rank == 2 && w->shape[0] == 2 && w->shape[1] == 3 && w->count == 6 && w->dtype == PTQ_F32);
    assert_true(q->dtype == PTQ_Q8_0 && q->bytes == 34 && q->count == 32);
    assert_true(v->rank == 1 && v->shape[0] == 5 && v->dtype == PTQ_F16);
    const unsigned char *data = w->data;
    assert_int_equal((data - o.file.data) % 64, 0);
    assert_int_equal(data[0], 1);
    assert_ptr_equal(q->data, data + 64);
    assert_ptr_equal((const unsigned char *)v->data + 10, o.file.data + o.file.size);
    close_spec(&o);
}

static void numbers_of_any_width_are_taken(void **state)
{
    (void)state;
    struct opened o = open_spec(good);
    struct ptq_error err;
    int64_t n;
    double x;
    int b;
    assert_true(!ptq_gguf_int(o.gguf, "a.u8", 0, 255, &n, &err) && n == 200);
    assert_true(!ptq_gguf_int(o.gguf, "a.i8", -9, 9, &n, &err) && n == -3);
    assert_true(!ptq_gguf_int(o.gguf, "a.i16", -999, 9, &n, &err) && n == -300);
    assert_true(!ptq_gguf_int(o.gguf, "a.i64", -9, 9, &n, &err) && n == -5);
    assert_true(!ptq_gguf_real(o.gguf, "a.f32", &x, &err) && x == 0.5);
    assert_true(!ptq_gguf_real(o.gguf, "a.i16", &x, &err) && x == -300);
    assert_true(!ptq_gguf_bool(o.gguf, "a.bool", &b, &err) && b == 1);
    assert_true(ptq_gguf_has(o.gguf, "a.u8") && !ptq_gguf_has(o.gguf, "a.u") && !ptq_gguf_has(o.gguf, "zz"));
    assert_refused("u64", ptq_gguf_int(o.gguf, "a.u64", 0, 9, &n, &err), &err, "F:;'a.u64';from 0 to 9");
    assert_refused("u64", ptq_gguf_int(o.gguf, "a.u64", -9, 9, &n, &err), &err, "F:;'a.u64';from -9 to 9");
    assert_refused("range", ptq_gguf_int(o.gguf, "a.u8", 0, 9, &n, &err), &err, "F:;'a.u8';from 0 to 9;200");
    assert_refused("bool", ptq_gguf_int(o.gguf, "a.bool", 0, 9, &n, &err), &err, "F:;'a.bool';whole number;bool");
    assert_true(!ptq_gguf_int(o.gguf, "a.more", 0, 9, &n, &err) && n == 7);
    assert_refused("missing", ptq_gguf_int(o.gguf, "b", 0, 9, &n, &err), &err, "F:;'b' is missing");
    assert_refused("missing", ptq_gguf_bool(o.gguf, "b", &b, &err), &err, "F:;'b' is missing");
    assert_refused("NaN", ptq_gguf_real(o.gguf, "a.nan", &x, &err), &err, "F:;'a.nan';finite");
    assert_refused("text", ptq_gguf_real(o.gguf, "a.text", &x, &err), &err, "F:;'a.text';number;string");
    assert_refused("int", ptq_gguf_bool(o.gguf, "a.u8", &b, &err), &err, "F:;'a.u8';bool;u8");
    close_spec(&o);
}

static void texts_are_views(void **state)
{
    (void)state;
    struct opened o = open_spec(good);
    struct ptq_error err;
    struct ptq_span text, *texts;
    size_t n;
    assert_true(!ptq_gguf_text(o.gguf, "a.text", &text, &err) && text.size == 9 && !memcmp(text.data, "two words", 9));
    assert_true(!ptq_gguf_texts(o.gguf, "a.texts", o.arena, &texts, &n, &err) && n == 3);
    assert_true(texts[0].size == 1 && texts[0].data[0] == 'x' && texts[1].size == 0 && texts[2].size == 2);
    assert_true(texts[2].data > (const char *)o.file.data && memcmp(texts[2].data, "zz", 2) == 0);
    assert_refused("kind", ptq_gguf_texts(o.gguf, "a.u8", o.arena, &texts, &n, &err), &err, "F:;'a.u8';strings;u8");
    assert_refused("kind", ptq_gguf_text(o.gguf, "a.texts", &text, &err), &err, "'a.texts';string;array of string");
    close_spec(&o);
}

static void arrays_of_numbers_of_any_width_are_taken(void **state)
{
    (void)state;
    struct opened o = open_spec(V3(0, 7) "\"a\" " T_ARRAY T_U16 "2:8 1:2 65535:2 "
                                         "\"b\" " T_ARRAY "11:4 2:8 -1:8 0x80000000:8 "
                                         "\"c\" " T_ARRAY "6:4 2:8 0:4 0x3f000000:4 "
                                         "\"d\" " T_ARRAY "11:4 2:8 -0x80000000:8 0x7fffffff:8 "
                                         "\"e\" " T_ARRAY "12:4 1:8 0x3ff8000000000000:8 "
                                         "\"f\" " T_ARRAY "10:4 1:8 -1:8 "
                                         "\"g\" " T_ARRAY "11:4 1:8 -0x80000001:8 ");
    struct ptq_error err;
    struct ptq_span *texts;
    int32_t *items;
    float *reals;
    size_t n;
    assert_true(!ptq_gguf_ints(o.gguf, "a", o.arena, &items, &n, &err) && n == 2 && items[1] == 65535);
    assert_true(!ptq_gguf_ints(o.gguf, "d", o.arena, &items, &n, &err) && n == 2 && items[1] == INT32_MAX);
    assert_int_equal(items[0], INT32_MIN);
    assert_refused("wide", ptq_gguf_ints(o.gguf, "b", o.arena, &items, &n, &err), &err, "F:;'b';item 1;32 bits");
    assert_refused("u64", ptq_gguf_ints(o.gguf, "f", o.arena, &items, &n, &err), &err, "F:;'f';item 0;32 bits");
    assert_refused("low", ptq_gguf_ints(o.gguf, "g", o.arena, &items, &n, &err), &err, "F:;'g';item 0;32 bits");
    assert_refused("none", ptq_gguf_ints(o.gguf, "h", o.arena, &items, &n, &err), &err, "F:;'h' is missing");
    assert_refused("f32", ptq_gguf_ints(o.gguf, "c", o.arena, &items, &n, &err), &err, "F:;'c';whole numbers;f32");
    assert_true(!ptq_gguf_reals(o.gguf, "c", o.arena, &reals, &n, &err) && n == 2 && reals[1] == 0.5f);
    assert_true(!ptq_gguf_reals(o.gguf, "e", o.arena, &reals, &n, &err) && n == 1 && reals[0] == 1.5f);
    assert_refused("u16", ptq_gguf_reals(o.gguf, "a", o.arena, &reals, &n, &err), &err, "F:;'a';u16");
    assert_refused("texts", ptq_gguf_texts(o.gguf, "a", o.arena, &texts, &n, &err), &err,
                   "F:;'a';strings;array of u16");
    close_spec(&o);
}

static void values_are_shown(void **state)
{
    (void)state;
    static const char *const want[][2] = {
        {"a.bool", "true"},      {"a.f32", "0.5"},           {"a.i64", "-5"},
        {"a.text", "two words"}, {"a.texts", "[3 strings]"}, {"a.u64", "1.84467441e+19"},
        {"a.u8", "200"},         {"a.raw", "x? "},           {"a.more", "7"}};
    struct opened o = open_spec(good);
    char value[32];
    size_t seen = 0;
    for (size_t i = 0; i < ptq_gguf_n_keys(o.gguf); i++) {
        const char *key = ptq_gguf_key(o.gguf, i, value, sizeof value);
        for (size_t j = 0; j < sizeof want / sizeof *want; j++)
            if (strcmp(key, want[j][0]) == 0) assert_string_equal(value, want[j][1]), seen++;
    }
    assert_int_equal(seen, sizeof want / sizeof *want);
    char small[8];
    for (size_t i = 0; i < ptq_gguf_n_keys(o.gguf); i++)
        if (strcmp(ptq_gguf_key(o.gguf, i, small, sizeof small), "a.text") == 0) assert_string_equal(small, "two ...");
    close_spec(&o);
}

/* Of one type, the same items: each row is another value than the first of its kind, the row behind which is a copy. */
static void values_are_compared(void **state)
{
    (void)state;
    struct opened o = open_spec(V3(0, 15) "\"a0\" " T_U32 "7:4 \"a1\" " T_U32 "7:4 \"a2\" " T_U32 "8:4 "
                                          "\"a3\" " T_I32 "7:4 "
                                          "\"b0\" " T_STRING "\"yes\" \"b1\" " T_STRING "\"yes\" "
                                          "\"b2\" " T_STRING "\"yet\" \"b3\" " T_STRING "\"ye\" "
                                          "\"c0\" " T_ARRAY T_U32 "1:8 7:4 \"c1\" " T_ARRAY T_U32 "1:8 7:4 "
                                          "\"c2\" " T_ARRAY T_I32 "1:8 7:4 "
                                          "\"d0\" " T_ARRAY T_STRING "2:8 \"x\" \"yz\" "
                                          "\"d1\" " T_ARRAY T_STRING "2:8 \"x\" \"yz\" "
                                          "\"d2\" " T_ARRAY T_STRING "2:8 \"xy\" \"z\" "
                                          "\"d3\" " T_ARRAY T_STRING "2:8 \"x\" \"y\" ");
    size_t n = ptq_gguf_n_keys(o.gguf);
    char first[16], second[16];
    assert_int_equal(n, 15);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            const char *a = ptq_gguf_key(o.gguf, i, first, sizeof first);
            const char *b = ptq_gguf_key(o.gguf, j, second, sizeof second);
            int same = i == j || (a[0] == b[0] && a[1] < '2' && b[1] < '2');
            if (ptq_gguf_same(o.gguf, i, o.gguf, j) != same) fail_msg("%s and %s", a, b);
        }
    close_spec(&o);
}

/* ---- damage ---- */

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct bytes whole = assemble(good);
    for (size_t size = 0; size < whole.size; size++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_error err = {0};
        struct bytes b = {0};
        put(&b, whole.data, size);
        assert_refused("truncated", read_bytes(b, arena, &err), &err, "F");
        ptq_arena_free(arena);
    }
    free(whole.data);
}

/* Whatever a byte becomes, the reader answers, and what it then gives lies inside the file. */
static void every_changed_byte_is_survived(void **state)
{
    (void)state;
    static const unsigned char to[] = {0, 1, 0x7f, 0x80, 0xff};
    struct bytes b = assemble(good);
    for (size_t i = 0; i < b.size; i++) {
        unsigned char kept = b.data[i];
        for (size_t j = 0; j < sizeof to; j++) {
            struct ptq_arena *arena = ptq_arena_make("test");
            struct ptq_mapped file = {.path = "F", .data = b.data, .size = b.size};
            struct ptq_error err;
            struct ptq_tensor *t;
            struct ptq_gguf *gguf;
            size_t n;
            b.data[i] = to[j];
            if (!ptq_gguf_read(arena, &file, &gguf, &t, &n, &err))
                for (size_t k = 0; k < n; k++) {
                    const unsigned char *data = t[k].data;
                    assert_true(data >= b.data && t[k].bytes <= (size_t)(b.data + b.size - data));
                }
            ptq_arena_free(arena);
        }
        b.data[i] = kept;
    }
    free(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(edges_are_taken),
        cmocka_unit_test(tensors_have_their_places),
        cmocka_unit_test(numbers_of_any_width_are_taken),
        cmocka_unit_test(texts_are_views),
        cmocka_unit_test(arrays_of_numbers_of_any_width_are_taken),
        cmocka_unit_test(values_are_shown),
        cmocka_unit_test(values_are_compared),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_changed_byte_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
