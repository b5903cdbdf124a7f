/* SPEC: what is read, what is written back, what is refused and in which words. */
#include "method.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

/* Each text and its canonical form. */
static const char *const canonical[][2] = {
    {"fp16", "fp16"},
    {"rtn", "rtn:w3,g128"},
    {"rtn:w4", "rtn:w4,g128"},
    {"rtn:g-1,w2", "rtn:w2,g-1"},
    {"rtn:w=3,g=64", "rtn:w3,g64"},
    {"rtn:w8,g32,range=awq,sym=0,scale_dtype=fp32", "rtn:w8,g32"},
    {"rtn:w8,g32,sym=1,range=gptq", "rtn:w8,g32,range=gptq,sym=1"},
    {"rtn:w3,g64,scale_dtype=fp16", "rtn:w3,g64,scale_dtype=fp16"},
    {"salient:w3,g64", "salient:w3,g64,select=activation,fraction=0.01"},
    {"salient:fraction=0.001,select=random,g64,w3", "salient:w3,g64,select=random,fraction=0.001"},
    {"salient:w3,g64,select=weight,fraction=3e-2", "salient:w3,g64,select=weight,fraction=0.03"},
    {"awq:preset=awq-paper", "awq:w3,g128,scale_dtype=fp16"},
    {"awq:w4,preset=awq-2023", "awq:w4,g128,scale_dtype=fp16,formula=2023-05"},
    {"awq:w4,g64,preset=autoawq", "awq:w4,g64,scale_dtype=fp16,formula=autoawq"},
    {"awq:preset=autoawq,g64,w4", "awq:w4,g64,scale_dtype=fp16,formula=autoawq"},
    {"awq:clip=0,preset=awq-paper,scale_dtype=fp32", "awq:w3,g128,clip=0"},
    {"gptq:w3,preset=gptq-iclr", "gptq:w3,g-1,act_order=0"},
    {"gptq:preset=gptq-llama,percdamp=0.1", "gptq:w4,g-1,act_order=1,true_sequential=1,percdamp=0.1"},
    {"gptq:preset=autogptq", "gptq:w4,g128,sym=1,act_order=1,true_sequential=1"},
};

/* Each bad text and words that the sentence must hold. */
#define LONG "01234567890123456789"
static const char *const refused[][2] = {
    {"rtm:w3", "did you mean 'rtn'"},
    {"", "known: fp16, rtn, salient"},
    {"fp16:w4", "takes no parameters"},
    {"rtn:w1", "from 2 to 8"},
    {"rtn:w3,only=", "only is ''"},
    {"rtn:w3,only=a{b", "only is 'a{b'"},
    {"rtn:w3,only=" LONG LONG LONG LONG LONG LONG, "only is '0123456789"},
    {"rtn:w9", "from 2 to 8"},
    {"rtn:w3.5", "an integer"},
    {"rtn:wthree", "an integer"},
    {"rtn:g0", "g is 0"},
    {"rtn:g-2", "from -1"},
    {"rtn:w3,w4", "given twice"},
    {"rtn:w3,", "no parameter ''"},
    {"rtn:", "no parameter ''"},
    {"rtn:w3,sim=1", "did you mean 'sym'"},
    {"rtn:w3,range=ptq", "known: awq|gptq"},
    {"rtn:w3,fraction=0.1", "no parameter 'fraction'"},
    {"salient:select=channel", "known: activation|weight|random"},
    {"salient:fraction=1.5", "from 0 to 1"},
    {"salient:fraction=nan", "a number"},
    {"salient:fraction=", "a number"},
    {"awq:preset=awq-papr", "did you mean 'awq-paper'; awq has awq-paper, awq-2023, autoawq"},
    {"awq:preset=gptq-llama", "preset 'gptq-llama' belongs to gptq, not to awq"},
    {"rtn:preset=awq-paper", "belongs to awq"},
    {"rtn:preset=best", "rtn has no presets"},
    {"awq:preset=awq-paper,preset=awq-2023", "preset is given twice"},
    {"awq:preset=", "preset '' is not known"},
    {"awq:preset", "no parameter 'preset'"},
    {"awq:preset=awq-paper,g64,g32", "g is given twice"},
    {"gptq:presets=gptq-llama", "did you mean 'preset'"},
};

static void test_canonical(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    for (size_t i = 0; i < sizeof canonical / sizeof *canonical; i++) {
        struct ptq_error err;
        struct ptq_spec spec, again;
        if (ptq_spec_parse(canonical[i][0], &spec, &err)) fail_msg("%s: %s", canonical[i][0], err.text);
        assert_string_equal(ptq_spec_format(&spec, arena), canonical[i][1]);
        assert_int_equal(ptq_spec_parse(canonical[i][1], &again, &err), PTQ_OK);
        assert_string_equal(ptq_spec_format(&again, arena), canonical[i][1]);
    }
    ptq_arena_free(arena);
}

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct ptq_error err = {0};
        struct ptq_spec spec;
        assert_int_equal(ptq_spec_parse(refused[i][0], &spec, &err), PTQ_EUSAGE);
        if (!strstr(err.text, refused[i][1])) fail_msg("'%s' says: %s", refused[i][0], err.text);
    }
}

/* Every preset is a SPEC of its method, keeps its name out of the canonical one, and is known as asked for. */
static void test_presets(void **state)
{
    (void)state;
    struct ptq_arena *arena = ptq_arena_make("test");
    for (const struct ptq_preset *p = ptq_presets; p->name; p++) {
        struct ptq_spec spec, plain;
        struct ptq_error err;
        const char *text = ptq_format(arena, "%s:preset=%s", p->method, p->name);
        if (ptq_spec_parse(text, &spec, &err)) fail_msg("%s", err.text);
        assert_ptr_equal(spec.preset, p);
        assert_null(strstr(ptq_spec_format(&spec, arena), "preset"));
        assert_int_equal(ptq_spec_parse(ptq_format(arena, "%s:%s", p->method, p->items), &plain, &err), PTQ_OK);
        assert_string_equal(ptq_spec_format(&spec, arena), ptq_spec_format(&plain, arena));
        assert_null(plain.preset);
    }
    ptq_arena_free(arena);
}

static void test_long(void **state)
{
    (void)state;
    char text[1000];
    memset(text, 'w', sizeof text - 1);
    text[sizeof text - 1] = 0;
    struct ptq_error err;
    struct ptq_spec spec;
    assert_int_equal(ptq_spec_parse(text, &spec, &err), PTQ_EUSAGE);
}

static void test_agrees(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *spec;
        int agrees;
    } rows[] = {
        {"rtn:w3", "rtn:w3,g64", 1},
        {"rtn:w3", "rtn:w4,g64", 0},
        {"rtn:g64", "rtn:w4,g64", 1},
        {"rtn", "salient", 0},
        {"rtn:only=down", "rtn:only=down", 1},
        {"rtn:only=down", "rtn:only=up", 0},
        {"rtn:only=down", "rtn", 0},
        {"rtn", "rtn:only=up", 1},
        {"salient:fraction=0.01", "salient:fraction=0.02", 0},
        {"salient:select=weight", "salient:select=weight,fraction=0.5", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ptq_spec pattern, spec;
        struct ptq_error err;
        if (ptq_spec_parse(rows[i].pattern, &pattern, &err) || ptq_spec_parse(rows[i].spec, &spec, &err))
            fail_msg("%s", err.text);
        if (ptq_spec_agrees(&pattern, &spec) != rows[i].agrees) fail_msg("%s, %s", rows[i].pattern, rows[i].spec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_canonical), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_presets), cmocka_unit_test(test_long),
                                       cmocka_unit_test(test_agrees)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
