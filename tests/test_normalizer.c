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
        size_t size, room = ptq_normal_room(strlen(rows[i].text));
        enum ptq_status status =
            ptq_normalize(&rows[i].normalizer, rows[i].text, strlen(rows[i].text), &room, arena, &out, &size, &err);
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

/* Two steps in the room that they need, all of which is taken, and in one byte less: a step that takes what is too much
 * fails, and so does one that makes less of it again. */
static void what_steps_make_is_taken_from_the_room(void **state)
{
    (void)state;
    static const struct {
        struct ptq_normalizer normalizer;
        const char *text, *want;
        size_t room;
    } rows[] = {
        {{{REPLACE("a", "bbb"), REPLACE("b", "a")}, 2}, "aa", "aaaaaa", 12},
        {{{REPLACE("a", "bbb"), REPLACE("bbb", "a")}, 2}, "aa", "aa", 8},
        {{{PREPEND("_"), PREPEND("__")}, 2}, "a", "___a", 6},
    };
    const struct ptq_normalizer decompose = {{FORM("NFD")}, 1};
    struct ptq_arena *arena = ptq_arena_make("test");
    struct ptq_error err;
    const char *out;
    size_t size, room;
    for (size_t i = 0; i <= sizeof rows / sizeof *rows; i++) {
        int last = i == sizeof rows / sizeof *rows; /* a form is not known to the compiler */
        const struct ptq_normalizer *normalizer = last ? &decompose : &rows[i].normalizer;
        const char *text = last ? "\xc3\xa9" : rows[i].text, *want = last ? "e\xcc\x81" : rows[i].want;
        size_t need = last ? 3 : rows[i].room;
        room = need;
        assert_int_equal(ptq_normalize(normalizer, text, strlen(text), &room, arena, &out, &size, &err), PTQ_OK);
        assert_int_equal(size, strlen(want));
        assert_memory_equal(out, want, size);
        assert_int_equal(room, 0);
        room = need - 1;
        assert_refused(text, ptq_normalize(normalizer, text, strlen(text), &room, arena, &out, &size, &err), &err,
                       "the normalizer makes the text more than 32 times longer");
    }
    ptq_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_follow_each_other),
                                       cmocka_unit_test(what_steps_make_is_taken_from_the_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
