/* Characters, and what a token says: of byte-level vocabularies and of those with characters, tokens that no text
 * gives, bytes that make no character. And expressions: what is the same in Oniguruma and PCRE2 is found, what is not
 * is refused. */
#include "pieces.h"

#include "pattern.h"
#include "progress.h"
#include "tokenizers.h"
#include "unicode.h"

#include <signal.h>

static void expect_piece(const struct opened *o, const struct ptq_pieces *pieces, const char *token, const char *want)
{
    size_t size;
    int32_t id = ptq_tokenizer_id(o->tokenizer, token, strlen(token));
    if (id < 0) fail_msg("no token '%s'", token);
    const char *got = ptq_piece(pieces, id, o->arena, &size);
    if (size != strlen(want) || memcmp(got, want, size))
        fail_msg("'%s' is '%.*s', not '%s'", token, (int)size, got, want);
}

static void tokens_of_characters(void **state)
{
    (void)state;
    struct opened o = open_json(FIXTURE "metaspace.tokenizer.json");
    struct ptq_pieces pieces;
    ptq_pieces_make(o.arena, o.tokenizer, &pieces);
    expect_piece(&o, &pieces, "<0x0A>", "\n");
    expect_piece(&o, &pieces, "<s>", "<s>");
    expect_piece(&o, &pieces, "\xe2\x96\x81", " ");
    expect_piece(&o, &pieces, "e", "e");
    close_opened(&o);
}

/* Ids 3 and 4 have no token; U+02B0 and U+4E2D stand for no byte, U+0120 for a space. */
static void tokens_of_bytes(void **state)
{
    (void)state;
    static const char json[] = "{\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"added_tokens\": [{\"id\": 5, "
                               "\"content\": \"\xc4\xa0\xc4\xa0\"}],"
                               " \"model\": {\"vocab\": {\"a\": 0, \"\xc4\xa0\": 1, \"\xc4\xa0\xca\xb0\": 2, "
                               "\"\xe4\xb8\xad\": 6}, \"merges\": []}}";
    char folder[64];
    make_test_folder(folder);
    write_test_text(folder, "tokenizer.json", json);
    struct ptq_arena *names = ptq_arena_make("test");
    struct opened o = open_json(ptq_join(names, folder, "tokenizer.json"));
    struct ptq_pieces pieces;
    size_t size;
    ptq_pieces_make(o.arena, o.tokenizer, &pieces);
    expect_piece(&o, &pieces, "a", "a");
    expect_piece(&o, &pieces, "\xc4\xa0", " ");
    expect_piece(&o, &pieces, "\xc4\xa0\xca\xb0", "\xc4\xa0\xca\xb0");
    expect_piece(&o, &pieces, "\xe4\xb8\xad", "\xe4\xb8\xad");
    expect_piece(&o, &pieces, "\xc4\xa0\xc4\xa0", "\xc4\xa0\xc4\xa0"); /* an added token is what it says */
    const int32_t nothing[] = {-1, 3, 7, INT32_MAX};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(ptq_piece(&pieces, nothing[i], o.arena, &size), "");
        assert_int_equal(size, 0);
    }
    close_opened(&o);
    ptq_arena_free(names);
    remove_test_folder(folder);
}

static void bytes_that_begin_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"a", "a"},
        {"\xff", "\xef\xbf\xbd"},
        {"\xff\xff", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc3\xff", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc3\xa9", "\xc3\xa9"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_utf8_stream s = {0};
        char out[64];
        size_t n = ptq_utf8_push(&s, rows[i].in, strlen(rows[i].in), out);
        assert_int_equal(n, strlen(rows[i].out));
        assert_memory_equal(out, rows[i].out, n);
    }
}

/* The text, and the first match; "" where there is none. */
static void expressions_that_are_taken(void **state)
{
    (void)state;
    static const struct {
        const char *regex, *text, *found;
    } rows[] = {
        {"\\S+", "  ab c", "ab"},
        {"[\\S]+", "  ab c", "ab"}, /* all but white space, as a class's member */
        {"[\\Sx\\s]+", " a\xe3\x80\x80 b", " a\xe3\x80\x80 b"},
        {"[^\\S]+", "ab \xe3\x80\x80 c", " \xe3\x80\x80 "},
        {"[^\\s]+", " ab", "ab"},
        {"\\s", "a\xc2\x85", "\xc2\x85"},
        {"\\pL+", "1ab", "ab"},
        {"\\p{L}+", "1a\xe1\xb2\x89", "a\xe1\xb2\x89"}, /* U+1C89, a letter since Unicode 16 */
        {"\\P{L}+", "a12b", "12"},
        {"\\P{N}+", "1a2", "a"},
        {"[\\P{N}]+", "1a2", "a"},
        {"[\\p{N}x]+", "ax12", "x12"},
        {"\\p{Lu}", "aB", "B"},
        {"[[:digit:]a]+", "xa1", "a1"},
        {"[]a]+", "x]a", "]a"},
        {"[^]a]+", "]xa", "x"},
        {"[a&b]+", "x&a", "&a"},
        {"a&&b", "a&&b", "a&&b"},
        {"(?:ab)", "ab", "ab"},
        {"(?i:AB)", "ab", "ab"},
        {"(?-i:ab)", "ab", "ab"},
        {"(?i)A", "a", "a"},
        {"(?=b)b", "ab", "b"},
        {"(?<!a)b", "abb", "b"},
        {"(a)", "a", "a"},
        {"^b$", "a\nb\nc", "b"}, /* ^ and $ are those of lines */
        {"z", "a", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_pattern *pattern;
        struct ptq_pattern_budget budget;
        struct ptq_error err;
        size_t start, end, size = strlen(rows[i].text);
        ptq_pattern_begin(&budget);
        if (ptq_pattern_compile(arena, rows[i].regex, "here", &pattern, &err) ||
            ptq_pattern_find(pattern, &budget, rows[i].text, size, 0, &start, &end, &err))
            fail_msg("%s: %s", rows[i].regex, err.text);
        if (!*rows[i].found)
            assert_int_equal(start, size + 1);
        else if (end - start != strlen(rows[i].found) || memcmp(rows[i].text + start, rows[i].found, end - start))
            fail_msg("%s finds '%.*s', not '%s'", rows[i].regex, (int)(end - start), rows[i].text + start,
                     rows[i].found);
        ptq_pattern_free(pattern);
        ptq_arena_free(arena);
    }
    ptq_pattern_free(NULL);
}

static void expressions_that_are_refused(void **state)
{
    (void)state;
    static char long_one[70000];
    memset(long_one, 'a', sizeof long_one - 1);
    static const struct {
        const char *regex, *words;
    } rows[] = {
        {"", "here: the expression is empty"},
        {long_one, "here: the expression is longer"},
        {"a\\h", "here;\\h;byte 1"},
        {"[\\K]", "here;\\K;byte 1"},
        {"a\\", "here;not a regular expression"},
        {"\\p{L", "here;not a regular expression"},
        {"[[:alpha]", "here;a class within a class;byte 1"},
        {"[a&&b]", "here;an intersection of classes;byte 2"},
        {"(*COMMIT)a", "here;special kind;byte 0"},
        {"(?P<a>b)", "here;special kind"},
        {"(?Ca)", "here;special kind"},
        {"(?m:a)", "here;special kind"},
        {"(?i-s:a)", "here;special kind"},
        {"(?", "here;not a regular expression"},
        {"(?1)", "here;special kind"},
        {"a{2,1}", "here;not a regular expression"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_pattern *pattern;
        struct ptq_error err;
        enum ptq_status status = ptq_pattern_compile(arena, rows[i].regex, "here", &pattern, &err);
        assert_refused(i == 1 ? "a long one" : rows[i].regex, status, &err, rows[i].words);
        ptq_arena_free(arena);
    }
}

/* ---- characters ---- */

static void classes_are_the_librarys(void **state)
{
    static const struct {
        uint32_t code;
        int flags;
    } rows[] = {
        {'a', PTQ_LETTER},    {'5', PTQ_NUMBER},   {' ', PTQ_SPACE},
        {0x85, PTQ_SPACE},    {0xa0, PTQ_SPACE},   {0x3000, PTQ_SPACE},
        {0x2028, PTQ_SPACE},  {0x180e, 0},         {0x200b, 0},
        {0xfeff, 0},          {0x1c, 0},           {0x1c89, PTQ_LETTER},
        {0x2167, PTQ_NUMBER}, {0x301, 0},          {0x10ffff, 0},
        {0x4e2d, PTQ_LETTER}, {0x661, PTQ_NUMBER}, {'_', 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(ptq_char_flags(rows[i].code) & (PTQ_LETTER | PTQ_NUMBER | PTQ_SPACE), rows[i].flags);
}

static void utf8_is_checked_byte_by_byte(void **state)
{
    static const struct {
        const char *text;
        size_t size, good;
    } rows[] = {
        {"", 0, 0},
        {"a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80", 10, 10},
        {"\xc0\xaf", 2, 0},             /* overlong */
        {"a\xe0\x80\xaf", 4, 1},        /* overlong */
        {"\xf0\x8f\xbf\xbf", 4, 0},     /* overlong */
        {"\xed\xa0\x80", 3, 0},         /* a surrogate */
        {"\xed\x9f\xbf", 3, 3},         /* the last before them */
        {"\xf4\x90\x80\x80", 4, 0},     /* above U+10FFFF */
        {"\xf4\x8f\xbf\xbf", 4, 4},     /* U+10FFFF */
        {"\x80", 1, 0},                 /* a tail alone */
        {"ab\xf0\x9f\x98", 5, 2},       /* cut short */
        {"\xf8\x88\x80\x80\x80", 5, 0}, /* five bytes */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(ptq_utf8_check(rows[i].text, rows[i].size), rows[i].good);
}

/* A search in vain looks at the time and goes on between whole characters; what is behind is found all the same, with
 * what stands before it in sight. */
static void a_long_search_looks_at_the_time(void **state)
{
    (void)state;
    enum { N = 6000 };
    struct ptq_arena *arena = ptq_arena_make("test");
    char text[N + 3];
    for (int shift = 0; shift < 3; shift++) {
        struct ptq_pattern *pattern;
        struct ptq_pattern_budget budget;
        struct ptq_error err;
        size_t start, end;
        memset(text, 'x', (size_t)shift);
        for (int i = shift; i < N; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
        size_t size = (size_t)shift + (N - (size_t)shift + 2) / 3 * 3;
        text[size - 1] = text[size - 2] = text[size - 3] = 'y';
        const char *regex[] = {"y", "(?<=\xe2\x82\xacy)y+", "(?![xy\xe2\x82\xac])", "[^y]"};
        const size_t want[][2] = {{size - 3, size - 2}, {size - 2, size}, {size, size}, {0, shift ? 1 : 3}};
        for (int i = 0; i < 4; i++) {
            ptq_pattern_begin(&budget);
            assert_int_equal(ptq_pattern_compile(arena, regex[i], "here", &pattern, &err), PTQ_OK);
            if (ptq_pattern_find(pattern, &budget, text, size, 0, &start, &end, &err)) fail_msg("%s", err.text);
            if (start != want[i][0] || end != want[i][1]) fail_msg("%s: %zu to %zu", regex[i], start, end);
            budget.until = 0;
            enum ptq_status status = ptq_pattern_find(pattern, &budget, text, size, 0, &start, &end, &err);
            if (i < 3) assert_refused(regex[i], status, &err, "here: ;processor time");
            if (i == 3 && status) fail_msg("%s: what is found at once is no long search", regex[i]);
            ptq_pattern_free(pattern);
        }
    }
    ptq_arena_free(arena);
}

#ifdef PTQ_RELEASE
#define ALLOWED "and 5 us"
#else
#define ALLOWED "and 20 us"
#endif

/* Time is looked at in every eighth search, and so is whether a signal was seen; the last test here, since that stays.
 */
static void searches_of_a_text_end(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_pattern *pattern;
    struct ptq_pattern_budget budget;
    struct ptq_error err;
    assert_int_equal(ptq_pattern_compile(arena, "a", "here", &pattern, &err), PTQ_OK);
    ptq_pattern_begin(&budget);
    for (int i = 0; i < 16; i++) assert_int_equal(ptq_pattern_check(pattern, &budget, &err), PTQ_OK);
    budget.until = 0;
    for (int i = 0; i < 7; i++) assert_int_equal(ptq_pattern_check(pattern, &budget, &err), PTQ_OK);
    assert_refused("the eighth", ptq_pattern_check(pattern, &budget, &err), &err,
                   "here: ;processor time;0.25 s " ALLOWED);
    ptq_pattern_allow(&budget, 1ull << 50);
    budget.searches = 7;
    assert_int_equal(ptq_pattern_check(pattern, &budget, &err), PTQ_OK);
    ptq_catch_signals();
    assert_int_equal(raise(SIGINT), 0);
    budget.searches = 7;
    assert_int_equal(ptq_pattern_check(pattern, &budget, &err), PTQ_EINTERRUPT);
    ptq_pattern_free(pattern);
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_of_characters),         cmocka_unit_test(tokens_of_bytes),
        cmocka_unit_test(bytes_that_begin_nothing),     cmocka_unit_test(expressions_that_are_taken),
        cmocka_unit_test(expressions_that_are_refused), cmocka_unit_test(classes_are_the_librarys),
        cmocka_unit_test(utf8_is_checked_byte_by_byte), cmocka_unit_test(a_long_search_looks_at_the_time),
        cmocka_unit_test(searches_of_a_text_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
