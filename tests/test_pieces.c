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

/* The text, and the first match, as the library finds it; "" where there is none. */
static const struct {
    const char *regex, *text, *found;
} taken[] = {
    {"\\S+", "  ab c", "ab"},
    {"[\\S]+", "  ab c", "ab"}, /* all but white space, as a class's member */
    {"[\\Sx\\s]+", " a\xe3\x80\x80 b", " a\xe3\x80\x80 b"},
    {"[^\\S]+", "ab \xe3\x80\x80 c", " \xe3\x80\x80 "},
    {"[^\\s]+", " ab", "ab"},
    {"\\s", "a\xc2\x85", "\xc2\x85"},
    {"\\p{L}+", "1a\xe1\xb2\x89", "a\xe1\xb2\x89"}, /* U+1C89, a letter since Unicode 16 */
    {"\\P{L}+", "a12b", "12"},
    {"\\p{^L}+", "a12b", "12"},
    {"\\P{^L}+", "1ab2", "ab"},
    {"[\\P{L}]+",
     "\xe1\xb2\x89"
     "12b",
     "12"},
    {"\\P{N}+", "1a2", "a"},
    {"[\\P{N}]+", "1a2", "a"},
    {"[\\p{N}x]+", "ax12", "x12"},
    {"\\p{Lu}", "aB", "B"},
    {"\\P{Lu}", "Ba", "a"},
    {"\\p{Han}", "\xe3\x80\x82\xe4\xb8\x89", "\xe4\xb8\x89"}, /* a stop that Han shares is not of it */
    {"\\p{Nd}+",
     "\xc2\xb2"
     "12",
     "12"},
    {"\\d+", "a12\xf0\x90\xb5\x80", "12\xf0\x90\xb5\x80"}, /* U+10D40, a digit since Unicode 16 */
    {"\\D+", "1ab", "ab"},
    {"[\\d]+", "a1", "1"},
    {"[^\\d]+", "1ab", "ab"},
    {"\\w+", " e\xcc\x81_\xc2\xb2 ", "e\xcc\x81_\xc2\xb2"}, /* with marks, and the superscripts of Latin-1 */
    {"[\\w]+", " e\xcc\x81_\xc2\xb2 ", "e\xcc\x81_"},       /* without these */
    {"\\W+", "a \xc2\xb2", " "},
    {"[^\\w]+", "a \xc2\xb2", " \xc2\xb2"},
    {"\\w", "\xe2\x80\x8c\xe0\xa7\xb4\xe2\x93\x90", "\xe2\x93\x90"}, /* a joiner and a fraction are none, U+24D0 is */
    {"[[:word:]]+", " e\xcc\x81\xc2\xb2", "e\xcc\x81"},
    {"[[:space:]]+", "a\xe1\xa0\x8e\xc2\xa0", "\xc2\xa0"}, /* not U+180E */
    {"[[:ascii:]]+",
     "\xc3\xa9"
     "a",
     "a"},
    {"\\v", "\n\v", "\v"},
    {"[\\v]", "\n\v", "\v"},
    {"[^\\v]+", "\v\n\f", "\n\f"},
    {"\\x41\\x{e9}", "A\xc3\xa9", "A\xc3\xa9"},
    {"[\\x{e9}-\\x{eb}]+", "A\xc3\xa9\xc3\xaa", "\xc3\xa9\xc3\xaa"},
    {"[\xc3\xa9-\xc3\xab-]+", "A\xc3\xaa-", "\xc3\xaa-"},
    {"\\\xc3\xa9", "\xc3\xa9", "\xc3\xa9"},
    {"[a\\b]+", "ba\b", "a\b"},
    {"\\Aa|b\\z", "xab", "b"},
    {"a{,3}b", "aaaab", "aaab"}, /* from 0 to 3 */
    {"a{,3}?b", "aab", "aab"},
    {"a{1,2}?", "aa", "a"},
    {"a{2,}", "aaa", "aaa"},
    {"a{2}", "aaa", "aa"},
    {"a{,}", "aa{,}", "a{,}"},
    {"a{x}{", "aa{x}{", "a{x}{"},
    {"a{1", "aa{1", "a{1"},
    {"a++b|a?+|a*?", "aac", "a"},
    {"[a-]+", "b-a", "-a"},
    {"[-a]+", "b-a", "-a"},
    {"[a-c-e]+", "d-be", "-be"},
    {"[a-c-]+", "d-b", "-b"},
    {"[\\d-]+", "a-1", "-1"},
    {"[!--]+", "a,-", ",-"},
    {"[&]+a", "&&a", "&&a"},
    {"=*(?i:s)?+=", "f=Ks", "="}, /* PCRE2 10.42 takes '=*' for possessive here */
    {"=?(?i:a)?+\\P{L}", "f=Ks", "="},
    {"(?>a|ab)b|a", "abb", "ab"},
    {"(?=a)a|(?<=b)c", "bc", "c"},
    {"(?i:'s)", "x'\xc5\xbf", "'\xc5\xbf"}, /* U+017F */
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'LL", "'LL"},
    {"'(?i:[sdmt]|ll|ve|re)", "'VE", "'VE"},
    {"(?i)k", "\xe2\x84\xaa", "\xe2\x84\xaa"}, /* U+212A */
    {"(?i)[^\\s]\\S", " A", ""},
    {"(?i:s)|t(?-i:st|f)ff", "tfff", "tfff"},
    {"(?i:a(?-i:ss))", "Ass", "Ass"},
    {"(?i:sat|fat)", "FAT", "FAT"},
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
    {"(?<=(?=a)a)(?<=(a))b", "bab", "b"},
    {"(a)", "a", "a"},
    {"^b$", "a\nb\nc", "b"}, /* ^ and $ are those of lines */
    {"z", "a", ""},
};

static void expressions_that_are_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_pattern *pattern;
        struct ptq_pattern_budget budget;
        struct ptq_error err;
        size_t start, end, size = strlen(taken[i].text);
        ptq_pattern_begin(&budget);
        if (ptq_pattern_compile(arena, taken[i].regex, "here", &pattern, &err) ||
            ptq_pattern_find(pattern, &budget, taken[i].text, size, 0, &start, &end, &err))
            fail_msg("%s: %s", taken[i].regex, err.text);
        if (!*taken[i].found)
            assert_int_equal(start, size + 1);
        else if (end - start != strlen(taken[i].found) || memcmp(taken[i].text + start, taken[i].found, end - start))
            fail_msg("%s finds '%.*s', not '%s'", taken[i].regex, (int)(end - start), taken[i].text + start,
                     taken[i].found);
        ptq_pattern_free(pattern);
        ptq_arena_free(arena);
    }
    ptq_pattern_free(NULL);
}

static char long_one[70000], deep_one[102];

static const struct {
    const char *regex, *words;
} refused[] = {
    {"", "here: the expression is empty"},
    {long_one, "here: the expression is longer"},
    {deep_one, "here;more than 100 groups;byte 100"},
    {"a\\h", "here;\\h;byte 1"},
    {"[\\K]", "here;\\K;byte 1"},
    {"a\\", "here;not a regular expression"},
    {"a\\V", "here;escape \\V;byte 1"},
    {"\\Qa\\E", "here;escape \\Q;byte 0"},
    {"\\N{U+61}", "here;escape \\N"},
    {"\\b", "here;escape \\b"}, /* another idea of a word */
    {"[\\A]", "here;escape \\A"},
    {"(a)\\1", "here;escape \\1"},
    {"\\pL", "here;\\p without braces;byte 0"},
    {"[\\PL]", "here;\\P without braces;byte 1"},
    {"\\p{L", "here;\\p without a closing brace"},
    {"\\p{}", "here;a property"},
    {"\\p{L&}", "here;a property"},
    {"\\p{w}", "here;a property"},
    {"\\p{script=Han}", "here;a property"},
    {"\\x", "here;\\x other than"},
    {"\\xe9", "here;\\x other than"},
    {"\\x4", "here;\\x other than"},
    {"\\x{}", "here;\\x other than"},
    {"\\x{1234567}", "here;\\x other than"},
    {"\\x{41 42}", "here;\\x other than"},
    {"[[:alpha]", "here;a class within a class;byte 1"},
    {"[a[b]]", "here;a class within a class;byte 2"},
    {"[[:alpha:]]", "here;[: :];byte 1"},
    {"[[:^space:]]", "here;[: :]"},
    {"[\\W]", "here;the negative;byte 1"},
    {"[\\D]", "here;the negative"},
    {"[\\x00-\\s]", "here;range that ends in a class;byte 6"},
    {"[a-\\p{Lu}]", "here;range that ends in a class"},
    {"[a-[:ascii:]]", "here;range that ends in a class"},
    {"[a-[:digit:]]", "here;range that ends in a class"},
    {"[\\d-a]", "here;a dash behind a class;byte 3"},
    {"[a-c--e]", "here;a dash behind a class"},
    {"[a&&b]", "here;an intersection of classes;byte 2"},
    {"(*COMMIT)a", "here;special kind;byte 0"},
    {"(?P<a>b)", "here;special kind"},
    {"(?<a>b)", "here;special kind"},
    {"(?Ca)", "here;special kind"},
    {"(?m:a)", "here;special kind"},
    {"(?i-s:a)", "here;special kind"},
    {"(?U)a+", "here;special kind"},
    {"(?^)a", "here;special kind"},
    {"a(?i)b|c", "here;special kind;byte 1"}, /* the rest, or all up to the bar */
    {"(?", "here;special kind"},
    {"(?1)", "here;special kind"},
    {"a)", "here;not a regular expression"},
    {"(?i)ss", "here;ss, st;byte 5"},
    {"(?i:S(t))", "here;ss, st;byte 6"},
    {"(?i)s{1}t", "here;ss, st"},
    {"(?i)s\\x73", "here;ss, st"},
    {"(?i)ff", "here;ss, st"},
    {"(?i)fi", "here;ss, st"},
    {"(?i)fl", "here;ss, st"},
    {"(?i)\xc3\x9f", "here;beyond ASCII;byte 4"},
    {"(?i)[\\x{df}]", "here;beyond ASCII"},
    {"(?i)\\p{Lu}", "here;a class where case does not matter"},
    {"(?i)[\\d]", "here;a class where case does not matter"},
    {"(?i)[[:ascii:]]", "here;a class where case does not matter"},
    {"a{2}?", "here;{n}?;byte 1"},
    {"a{2}+", "here;{n}+;byte 1"},
    {"a{1,2}+", "here;{n,m}+;byte 1"},
    {"a**", "here;a quantifier of a quantifier;byte 2"},
    {"a{2}{2}", "here;a quantifier of a quantifier"},
    {"^*a", "here;a quantifier of a place;byte 1"},
    {"\\A?a", "here;a quantifier of a place"},
    {"(?=a)*", "here;a quantifier of a place"},
    {"a{2,1}", "here;not a regular expression"},
    {"a(?<!(?<!))", "here;a lookbehind within a lookbehind;byte 5"}, /* PCRE2 matches that, Oniguruma does not */
    {"(?<=a(?=b(?<=b)))", "here;a lookbehind within a lookbehind"},
};

static void expressions_that_are_refused(void **state)
{
    (void)state;
    memset(long_one, 'a', sizeof long_one - 1);
    memset(deep_one, '(', sizeof deep_one - 1);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_pattern *pattern;
        struct ptq_error err;
        enum ptq_status status = ptq_pattern_compile(arena, refused[i].regex, "here", &pattern, &err);
        assert_refused(i == 1 ? "a long one" : refused[i].regex, status, &err, refused[i].words);
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
