/* Normalizers, step by step: the text, or the words of its refusal. */
#include "normalizer.h"

#include "files.h"

#define FORM(name)                                                                                                     \
    {                                                                                                                  \
        .kind = PTQ_NORMAL_FORM, .form = ptq_normal_form(name)                                                         \
    }
#define PREPEND(text)                                                                                                  \
    {                                                                                                                  \
        .kind = PTQ_NORMAL_PREPEND, .content = text                                                                    \
    }
#define REPLACE(old, new)                                                                                              \
    {                                                                                                                  \
        .kind = PTQ_NORMAL_REPLACE, .pattern = old, .content = new                                                     \
    }

static char *letters(size_t n)
{
    char *text = malloc(n + 1);
    memset(text, 'a', n);
    text[n] = 0;
    return text;
}

static void steps_follow_each_other(void **state)
{
    (void)state;
    const struct {
        struct ptq_normalizer normalizer;
        const char *text, *want, *refused;
    } rows[] = {
        {{{PREPEND("_")}, 1}, "a", "_a", NULL},
        {{{PREPEND("_")}, 1}, "", "", NULL},
        {{{REPLACE("b", "")}, 1}, "abcb", "ac", NULL},
        {{{REPLACE("bb", "xyz")}, 1}, "abbbc", "axyzbc", NULL},
        {{{REPLACE("b", "x")}, 1}, "", "", NULL},
        {{{REPLACE("b", "x")}, 1}, "aa", "aa", NULL},
        {{{FORM("NFC"), REPLACE("\xc3\xa9", "e"), PREPEND("<")}, 3}, "e\xcc\x81g", "<eg", NULL},
        {{{FORM("NFD")}, 1}, "a\xc3\xa9z", "ae\xcc\x81z", NULL},
        /* what utf8proc takes for no text: a surrogate, which our own check keeps out, before what no form changes */
        {{{FORM("NFC")}, 1}, "\xed\xa0\x80\xc3\xa6\xc3\xa9", NULL, "cannot be normalised"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_arena *arena = ptq_arena_make("test");
        struct ptq_error err;
        const char *out;
        size_t size;
        enum ptq_status status =
            ptq_normalize(&rows[i].normalizer, rows[i].text, strlen(rows[i].text), arena, &out, &size, &err);
        if (rows[i].refused) {
            assert_refused(rows[i].text, status, &err, rows[i].refused);
        } else {
            if (status) fail_msg("%s: %s", rows[i].text, err.text);
            assert_int_equal(size, strlen(rows[i].want));
            assert_memory_equal(out, rows[i].want, size);
        }
        ptq_arena_free(arena);
    }
}

/* Each step alone keeps to the bound of 32 times its text and 64 KB; together they do not. */
static void growth_counts_over_all_steps(void **state)
{
    (void)state;
    enum { SIZE = 100, FIRST = 200, SECOND = 120 };
    char *text = letters(SIZE), *first = letters(FIRST), *second = letters(SECOND);
    struct ptq_normalizer normalizer = {{REPLACE("a", first), REPLACE("a", second)}, 2};
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    const char *out;
    size_t size;
    assert_refused("growth", ptq_normalize(&normalizer, text, SIZE, arena, &out, &size, &err), &err,
                   "the normalizer makes the text more than 32 times longer");
    normalizer.n = 1;
    assert_int_equal(ptq_normalize(&normalizer, text, SIZE, arena, &out, &size, &err), PTQ_OK);
    assert_int_equal(size, SIZE * FIRST);
    ptq_arena_free(arena);
    free(text);
    free(first);
    free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_follow_each_other),
                                       cmocka_unit_test(growth_counts_over_all_steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
