/* Experiments: what the axes make, and each wrong key or value with its place and what to write instead. */
#include "arena_test.h"
#include "documented.h"
#include "experiment.h"
#include "schema.h"
#include "words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static struct ptq_error error;
static char folder[] = "/tmp/ptq-experiment-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static const char *file_path(void)
{
    return ptq_join(arena, folder, "t.yaml");
}

static enum ptq_status read_text(const char *text, const char *const *sets, int n_sets, struct ptq_experiment *out)
{
    const char *path = file_path();
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    enum ptq_status status = ptq_experiment_read(arena, path, sets, n_sets, out, &error);
    unlink(path);
    return status;
}

static void expect_specs(const struct ptq_experiment *x, const char *const *specs, int n)
{
    for (int i = 0; i < n && i < x->n_jobs; i++) assert_string_equal(x->job[i].spec, specs[i]);
    assert_int_equal(x->n_jobs, n);
}

static void test_table1(void **state)
{
    (void)state;
    static const char *const specs[] = {
        "fp16",
        "rtn:w3,g64",
        "salient:w3,g64,select=activation,fraction=0.001",
        "salient:w3,g64,select=activation,fraction=0.01",
        "salient:w3,g64,select=activation,fraction=0.03",
        "salient:w3,g64,select=weight,fraction=0.001",
        "salient:w3,g64,select=weight,fraction=0.01",
        "salient:w3,g64,select=weight,fraction=0.03",
        "salient:w3,g64,select=random,fraction=0.001",
        "salient:w3,g64,select=random,fraction=0.01",
        "salient:w3,g64,select=random,fraction=0.03",
    };
    struct ptq_experiment x;
    if (ptq_experiment_read(arena, PTQ_FIXTURES "/../../experiments/table1.yaml", NULL, 0, &x, &error))
        fail_msg("%s", error.text);
    expect_specs(&x, specs, 11);
    assert_string_equal(x.name, "table1");
    assert_non_null(strstr(x.title, "Table 1"));
    const struct ptq_job *job = &x.job[10];
    assert_string_equal(job->experiment, "table1");
    assert_string_equal(job->model, "smollm2-135m-instruct");
    assert_string_equal(job->text, "anarchism");
    assert_string_equal(job->calib, "perl-doc");
    assert_int_equal(job->window, 2048);
    assert_int_equal(job->max_windows, 5);
    assert_int_equal(job->calib_window, 512);
    assert_int_equal(job->calib_windows, 32);
    assert_int_equal(job->bos, PTQ_BOS_STREAM);
    assert_int_equal(job->calib_sample, PTQ_SAMPLE_FIRST);
    assert_int_equal(job->seed, 0);
    assert_string_equal(job->device, "cpu");
    assert_string_equal(job->path, "fp32");
}

static void test_defaults(void **state)
{
    (void)state;
    static const char *const specs[] = {"rtn:w3,g64"};
    struct ptq_experiment x;
    assert_int_equal(read_text("methods: rtn\n", NULL, 0, &x), PTQ_OK);
    expect_specs(&x, specs, 1);
    assert_int_equal(x.job->window, 0); /* auto */
    assert_int_equal(x.job->calib_sample, PTQ_SAMPLE_AUTO);
    assert_int_equal(x.job->max_windows, 8);
}

/* The first axis changes slowest, the methods fastest; fp16 is there once a model and text. */
static void test_axes(void **state)
{
    (void)state;
    struct ptq_experiment x;
    const char *text = "models: [a, b]\n"
                       "methods: [rtn, fp16]\n"
                       "w_bit: [3, 4]\n"
                       "group_size: [64, -1]\n"
                       "seed: [0, 7]\n"
                       "calib: {windows: [16, 64]}\n"
                       "eval: {text: [x, y], windows: all, bos: none}\n";
    assert_int_equal(read_text(text, NULL, 0, &x), PTQ_OK);
    assert_int_equal(x.n_jobs, 2 * 2 * (2 * 2 * 2 * 2 + 1));
    assert_string_equal(x.job[0].spec, "rtn:w3,g64");
    assert_string_equal(x.job[1].spec, "fp16");
    assert_int_equal(x.job[2].seed, 7);
    assert_string_equal(x.job[2].spec, "rtn:w3,g64");
    assert_string_equal(x.job[3].text, "y");
    assert_string_equal(x.job[4].spec, "fp16");
    assert_int_equal(x.job[6].calib_windows, 64);
    assert_string_equal(x.job[33].model, "a");
    assert_string_equal(x.job[33].spec, "rtn:w4,g-1");
    assert_string_equal(x.job[34].model, "b");
    assert_int_equal(x.job[0].max_windows, 0); /* all */
    assert_int_equal(x.job[0].bos, PTQ_BOS_NONE);
}

/* What a SPEC gives itself is not crossed, and a cell that comes twice is kept where it came first. */
static void test_methods(void **state)
{
    (void)state;
    static const char *const specs[] = {
        "rtn:w4,g128",
        "rtn:w3,g128",
        "rtn:w2,g64",
        "rtn:w2,g128",
        "salient:w3,g32,select=weight,fraction=0.01",
        "salient:w3,g64,select=weight,fraction=0.03",
        "salient:w3,g64,range=gptq,select=weight,fraction=0.03",
        "rtn:w3,g64",
    };
    struct ptq_experiment x;
    const char *text = "methods:\n"
                       "  - rtn:w4,g128\n"
                       "  - rtn:g128\n"
                       "  - rtn: {w_bit: 2, group_size: [64, 128]}\n"
                       "  - salient: {select: weight, g: 32}\n"
                       "  - salient:select=weight: {fraction: [0.03], range: [awq, gptq]}\n"
                       "  - fp16\n"
                       "  - salient: {fraction: 3e-2, select: weight}\n"
                       "  - rtn\n"
                       "  - 'rtn:range=awq,g=64'\n";
    assert_int_equal(read_text(text, NULL, 0, &x), PTQ_OK);
    assert_string_equal(x.job[6 + 1].spec, "fp16");
    x.job[7] = x.job[8];
    x.n_jobs--;
    expect_specs(&x, specs, 8);
}

/* A preset's group size is not crossed, its sampling goes with the cell, and what is said beside it wins. */
static void test_presets(void **state)
{
    (void)state;
    static const char *const specs[] = {"gptq:w3,g-1,act_order=0", "awq:w3,g64,scale_dtype=fp16"};
    struct ptq_experiment x;
    const char *text = "methods:\n  - gptq: {preset: gptq-iclr}\n  - awq: {group_size: 64, preset: awq-paper}\n";
    const char *sets[] = {"calib.sample=random"};
    assert_int_equal(read_text(text, NULL, 0, &x), PTQ_OK);
    expect_specs(&x, specs, 2);
    assert_int_equal(x.job[0].calib_sample, PTQ_SAMPLE_GPTQ);
    assert_int_equal(x.job[1].calib_sample, PTQ_SAMPLE_AWQ);
    assert_int_equal(read_text(text, sets, 1, &x), PTQ_OK);
    assert_int_equal(x.job[1].calib_sample, PTQ_SAMPLE_RANDOM);
}

static void test_set(void **state)
{
    (void)state;
    struct ptq_experiment x;
    const char *text = "methods: [fp16]\nw_bit: [8]\ncalib: {text: c}\n";
    const char *sets[] = {"w_bit=5",   "w_bit=3,4",       "models=[a, 'b,c']", "methods=[rtn]",      "text=/x/a, b.txt",
                          "windows=2", "eval.window=128", "calib=[c, d]",      "calib_windows=4",    "calib_window=32",
                          "seed=18",   "group_size=-1",   "bos=window",        "calib.sample=random"};
    assert_int_equal(read_text(text, sets, sizeof sets / sizeof *sets, &x), PTQ_OK);
    assert_int_equal(x.n_jobs, 2 * 2 * 2);
    assert_string_equal(x.job[0].spec, "rtn:w3,g-1");
    assert_string_equal(x.job[2].spec, "rtn:w4,g-1");
    assert_string_equal(x.job[7].model, "b,c");
    assert_string_equal(x.job[7].calib, "d");
    assert_string_equal(x.job[0].text, "/x/a, b.txt");
    assert_int_equal(x.job[0].max_windows, 2);
    assert_int_equal(x.job[0].window, 128);
    assert_int_equal(x.job[0].calib_windows, 4);
    assert_int_equal(x.job[0].calib_window, 32);
    assert_int_equal(x.job[0].seed, 18);
    assert_int_equal(x.job[0].bos, PTQ_BOS_WINDOW);
    assert_int_equal(x.job[0].calib_sample, PTQ_SAMPLE_RANDOM);
    assert_non_null(strstr(x.yaml, "w_bit: [8]\n"));
    assert_non_null(strstr(x.yaml, "\n# --set w_bit=3,4\n"));
}

static const struct {
    const char *text, *sentence;
} refusals[] = {
    {"methods: rtn\nw_bits: 3\n", ":2: unknown key 'w_bits', did you mean 'w_bit'; known: title, models,"},
    {"methods: rtn\ncalib:\n  txt: x\n",
     ":3: unknown key 'calib.txt', did you mean 'text'; known in calib: text, windows"},
    {"methods: rtn\nzzzzzzzzzzz: 3\n", ":2: unknown key 'zzzzzzzzzzz'; known: title,"},
    {"methods: rtn\nwindows: 3\n", ":2: unknown key 'windows', did you mean 'eval: {windows: ...}'; known: "},
    {"methods: rtn\neval.window: 3\n", ":2: unknown key 'eval.window', did you mean 'eval: {window: ...}'; known: "},
    {"methods: rtn\neval.foo: 3\n", ":2: unknown key 'eval.foo', did you mean 'eval: {bos: ...}'; known: "},
    {"methods: rtn\neval.windos: 3\n", ":2: unknown key 'eval.windos', did you mean 'eval: {window: ...}'; known: "},
    {"methods: rtn\neval.zzzzzz: 3\n", ":2: unknown key 'eval.zzzzzz'; known: "},
    {"methods: rtn\nevil.text: 3\n", ":2: unknown key 'evil.text'; known: "},
    {"methods: rtn\neval: x\n", ":2: eval is a text; it must be a mapping of text, window, windows, bos"},
    {"methods: rtn\neval: [x]\n", ":2: eval is a list; it must be a mapping of text"},
    {"w_bit: 3\n", "t.yaml: key 'methods' is missing"},
    {"- methods\n", ":1: the file is a list; it must be a mapping of keys"},
    {"methods\n", ":1: the file is a text"},
    {"methods: rtn\nw_bit: 0\n", ":2: w_bit is '0'; it must be an integer from 2 to 8"},
    {"methods: rtn\nw_bit: [3,\n 17]\n", ":3: w_bit is '17'; it must be an integer from 2 to 8, or a list of them"},
    {"methods: rtn\nw_bit: 3.5\n", ":2: w_bit is '3.5'"},
    {"methods: rtn\nw_bit: three\n", ":2: w_bit is 'three'"},
    {"methods: rtn\nw_bit: []\n", ":2: w_bit is an empty list; it must be"},
    {"methods: rtn\nw_bit:\n", ":2: w_bit is empty; it must be"},
    {"methods: rtn\nw_bit: {a: 3}\n", ":2: w_bit is a mapping; it must be"},
    {"methods: rtn\nw_bit: [[3]]\n", ":2: w_bit is a list; it must be"},
    {"methods: rtn\nw_bit: 0x3\n", ":2: w_bit is '0x3'"},
    {"methods: rtn\nw_bit: ' 3'\n", ":2: w_bit is ' 3'"},
    {"methods: rtn\ngroup_size: 0\n", ":2: group_size is '0'; it must be an integer from -1 to 1048576 other than 0"},
    {"methods: rtn\ngroup_size: -2\n", ":2: group_size is '-2'"},
    {"methods: rtn\nseed: 18446744073709551616\n", ":2: seed is '18446744073709551616'; it must be an integer from 0"},
    {"methods: rtn\nseed: 9223372036854775808\n", ":2: seed is '9223372036854775808'"},
    {"methods: rtn\nseed: -1\n", ":2: seed is '-1'"},
    {"methods: rtn\neval: {window: 1}\n", ":2: eval.window is '1'; it must be an integer from 2 to 1048576 or auto"},
    {"methods: rtn\neval: {windows: 0}\n", ":2: eval.windows is '0'"},
    {"methods: rtn\neval: {windows: [1, 2]}\n", ":2: eval.windows is a list, and a table never mixes protocols"},
    {"methods: rtn\neval: {window: [64, 128]}\n", ":2: eval.window is a list, and a table never mixes protocols"},
    {"methods: rtn\neval: {bos: [stream, none]}\n", ":2: eval.bos is a list, and a table never mixes protocols"},
    {"methods: rtn\ndevice: [cpu]\n", ":2: device is a list; it must be one of cpu|cuda"},
    {"methods: rtn\neval: {bos: nones}\n", ":2: eval.bos is 'nones'; it must be one of stream|none|window"},
    {"methods: rtn\ndevice: tpu\n", ":2: device is 'tpu'; it must be one of cpu|cuda"},
    {"methods: rtn\ntitle: \"a\\nb\"\n", ":2: title is of several lines"},
    {"methods: rtn\nmodels: ['']\n", ":2: models is empty"},
    {"methods: rtn\nmethods: fp16\n", ":2: key 'methods' is there already, in line 1"},
    {"methods: rtn\nw_bit: &a 3\n", ":2: an anchor"},
    {"methods: rtn\ncalib:\n\ttext: x\n", ":3: a tab"},
    {"methods: []\n", ":1: methods is an empty list; it must be a method"},
    {"methods: {rtn: {}}\n", ":1: methods is a mapping; it must be a method, or a list of them"},
    {"methods:\n", ":1: an empty method"},
    {"methods:\n  - fp16\n  - rtm\n", ":3: method 'rtm' is not known, did you mean 'rtn'"},
    {"methods:\n  - [rtn]\n", ":2: a list in the list of methods"},
    {"methods: [rtn:w3,g64]\n", ":1: 'g64' is no method; put a SPEC that has commas in quotes"},
    {"methods:\n  - rtn:w17\n", ":2: method 'rtn:w17': w is '17'; it must be an integer from 2 to 8"},
    {"methods:\n  - salient:\n    select: weight\n", ":2: a method is one name with its parameters below it"},
    {"methods:\n  - salient:\n", ":2: a method is one name with its parameters below it"},
    {"methods:\n  - salient:\n      selekt: weight\n",
     ":3: method 'salient:selekt=weight': salient has no parameter 'sel"},
    {"methods:\n  - salient:\n      fraction:\n        - 0.1\n        - 2\n",
     ":5: method 'salient:fraction=2': fraction"},
    {"methods:\n  - salient: {select: []}\n", ":2: select is an empty list"},
    {"methods:\n  - salient: {select: {a: b}}\n", ":2: select is a mapping"},
    {"methods:\n  - salient: {select: [[weight]]}\n", ":2: select must be a name with one value"},
    {"methods:\n  - salient: {select: 'weight,w=4'}\n", ":2: select must be a name with one value"},
    {"methods:\n  - salient: {w_bit: 17}\n", ":2: method 'salient:w=17': w is '17'"},
    {"methods:\n  - salient: {w: 3, w_bit: 4}\n", ":2: method 'salient:w=3,w=4': w is given twice"},
    {"methods:\n  - fp16: {w_bit: 3}\n", ":2: method 'fp16:w=3': fp16 takes no parameters"},
    {"methods: rtn\nquick: 3\n", ":2: quick is a text; it must be a mapping of what --set takes"},
    {"methods: rtn\nquick: {windowz: 3}\n", "t.yaml:2: quick: unknown key 'windowz', did you mean 'window'"},
    {"methods: rtn\nexclude: x\n", ":2: exclude is a text; it must be a mapping of axes to values, or a list of them"},
    {"methods: rtn\nexclude: [x]\n", ":2: an entry of exclude is a text; it must be a mapping of axes"},
    {"methods: rtn\ninclude: [{}]\n", ":2: an entry of include is empty; it must be a mapping"},
    {"methods: rtn\ninclude: [{calib: {}}]\n", ":2: an entry of include names no axis"},
    {"methods: rtn\nexclude:\n  - w_bits: 3\n", ":3: unknown key 'w_bits', did you mean 'w_bit'"},
    {"methods: rtn\nexclude:\n  - w_bit: []\n", ":3: w_bit is an empty list"},
    {"methods: rtn\nexclude:\n  - w_bit: 17\n", ":3: w_bit is '17'; it must be an integer from 2 to 8"},
    {"methods: rtn\nexclude:\n  - eval: {window: 64}\n",
     ":3: exclude takes no eval.window, because a table never mixes protocols; it takes models, methods, w_bit,"},
    {"methods: rtn\ninclude:\n  - title: x\n", ":3: include takes no title; it takes models, methods,"},
    {"methods: rtn\ninclude:\n  - include: {w_bit: 3}\n", ":3: include takes no include; it takes models,"},
    {"methods: rtn\nexclude:\n  - methods: rtm\n", ":3: method 'rtm' is not known"},
    {"methods: rtn\nw_bit: [2, 3]\nexclude:\n  - w_bit: [3, 4]\n", ":4: exclude: w_bit 4 drops no cell; name what"},
    {"methods: rtn\nexclude:\n  - models: smollm\n", ":3: exclude: models smollm drops no cell"},
    {"methods: [fp16, rtn]\nexclude:\n  - {methods: fp16, w_bit: 3}\n", ":3: exclude: method fp16 drops no cell"},
    {"methods:\n  - salient: {fraction: 0.01}\nexclude:\n  - methods: [salient: {fraction: [0.01, 0.5]}]\n",
     ":4: exclude: method salient:fraction=0.5 drops no cell"},
    {"methods: rtn\nexclude: [{methods: rtn}]\n", "t.yaml: exclude leaves no cell; take an entry of it out"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct ptq_experiment x;
        enum ptq_status status = read_text(refusals[i].text, NULL, 0, &x);
        if (status != PTQ_EINPUT) fail_msg("status %d for: %s", status, refusals[i].text);
        if (strncmp(error.text, file_path(), strlen(file_path())) != 0 || !strstr(error.text, refusals[i].sentence))
            fail_msg("'%s' for: %s", error.text, refusals[i].text);
    }
}

static const struct {
    const char *set, *sentence;
    enum ptq_status status;
} set_refusals[] = {
    {"w_bits=3", "--set: unknown key 'w_bits', did you mean 'w_bit'; known: title, models,", PTQ_EUSAGE},
    {"qqqqqqqqqqqqqqqq=3", "--set: unknown key 'qqqqqqqqqqqqqqqq'; known: title, models,", PTQ_EUSAGE},
    {"quick=1", "has no section quick", PTQ_EUSAGE},
    {"windows=[2]", "--set windows: eval.windows is a list, and a table never mixes protocols", PTQ_EUSAGE},
    {"title=[2]", NULL, PTQ_OK},
    {"w_bit", "--set w_bit: must be KEY=VALUE", PTQ_EUSAGE},
    {"=3", "--set =3: must be KEY=VALUE", PTQ_EUSAGE},
    {"", "--set : must be KEY=VALUE", PTQ_EUSAGE},
    {"text=a\nb", "holds a control character", PTQ_EUSAGE},
    {"w_bit=17", "--set w_bit: w_bit is '17'; it must be an integer from 2 to 8", PTQ_EUSAGE},
    {"w_bit=3,", "--set w_bit: w_bit is empty", PTQ_EUSAGE},
    {"w_bit=", "--set w_bit: w_bit is empty", PTQ_EUSAGE},
    {"w_bit=[3, 17]", "--set w_bit: w_bit is '17'", PTQ_EUSAGE},
    {"w_bit=[3", "--set w_bit: not YAML", PTQ_EUSAGE},
    {"w_bit=[]", "--set w_bit: w_bit is an empty list", PTQ_EUSAGE},
    {"windows=3,4", "--set windows: eval.windows is a list, and a table never mixes protocols", PTQ_EUSAGE},
    {"text=", "--set text: eval.text is empty", PTQ_EUSAGE},
    {"methods=rtm", "--set methods: method 'rtm' is not known", PTQ_EUSAGE},
    {"methods=[&a rtn]", "--set methods: an anchor", PTQ_EUSAGE},
};

static void test_set_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof set_refusals / sizeof *set_refusals; i++) {
        struct ptq_experiment x;
        enum ptq_status status = read_text("methods: rtn\n", &set_refusals[i].set, 1, &x);
        if (status != set_refusals[i].status) fail_msg("status %d for: %s", status, set_refusals[i].set);
        if (status && !strstr(error.text, set_refusals[i].sentence))
            fail_msg("'%s' for: %s", error.text, set_refusals[i].set);
    }
}

static void test_long_text(void **state)
{
    (void)state;
    struct ptq_experiment x;
    struct ptq_buffer text = {0};
    ptq_buffer_add(&text, "methods: rtn\ntitle: %0*d\n", 4096, 0);
    assert_int_equal(read_text(text.data, NULL, 0, &x), PTQ_OK);
    free(text.data);
    text = (struct ptq_buffer){0};
    ptq_buffer_add(&text, "methods: rtn\ntitle: %0*d\n", 4097, 0);
    assert_int_equal(read_text(text.data, NULL, 0, &x), PTQ_EINPUT);
    assert_non_null(strstr(error.text, ":2: title is longer than 4096 bytes"));
    free(text.data);
}

/* Excludes name cells by what they are, a SPEC's own values too; includes keep what they do not name. */
static void test_entries(void **state)
{
    (void)state;
    static const char *const specs[] = {"fp16",       "rtn:w2,g64",  "gptq:w4,g64,act_order=0",
                                        "rtn:w3,g64", "rtn:w8,g128", "rtn:w8,g-1"};
    struct ptq_experiment x;
    const char *text = "methods: [fp16, rtn, 'gptq:w4', salient: {fraction: [0.01, 0.03]}]\n"
                       "w_bit: [2, 3, 4]\n"
                       "exclude:\n"
                       "  - {methods: [rtn, 'salient:select=activation'], w_bit: 4}\n"
                       "  - methods: [salient: {fraction: [0.01, 0.03]}]\n"
                       "    w_bit: [2, 3]\n"
                       "include:\n"
                       "  - {methods: rtn, w_bit: 8, group_size: [128, -1]}\n"
                       "  - {methods: rtn}\n";
    assert_int_equal(read_text(text, NULL, 0, &x), PTQ_OK);
    expect_specs(&x, (const char *const[]){specs[0], specs[1], specs[2], specs[3], specs[4], specs[5], "rtn:w4,g64"},
                 7);
    /* What is left out of the cross with the command line's own axes was not misspelt. */
    const char *sets[] = {"w_bit=3"};
    assert_int_equal(read_text(text, sets, 1, &x), PTQ_OK);
    expect_specs(&x, (const char *const[]){specs[0], specs[3], specs[2], specs[4], specs[5]}, 5);
    sets[0] = "exclude=[]";
    assert_int_equal(read_text(text, sets, 1, &x), PTQ_OK);
    assert_int_equal(x.n_jobs, 1 + 3 + 1 + 6 + 2);
    sets[0] = "include=[{methods: rtn, seed: [5, 6], eval: {text: other}, calib: {sample: random, window: [64, 32]}}]";
    assert_int_equal(read_text(text, sets, 1, &x), PTQ_OK);
    assert_int_equal(x.n_jobs, 1 + 2 + 1 + 2 * 2 * 3);
    assert_string_equal(x.job[4].text, "other");
    assert_string_equal(x.job[4].spec, "rtn:w2,g64");
    assert_int_equal(x.job[4].seed, 5);
    assert_int_equal(x.job[4].calib_window, 64);
    assert_int_equal(x.job[4].calib_sample, PTQ_SAMPLE_RANDOM);
}

static void add_list(struct ptq_buffer *text, const char *key, const char *item, int n)
{
    ptq_buffer_add(text, "%s: [", key);
    for (int i = 0; i < n; i++) ptq_buffer_add(text, "%s%s%d", i ? ", " : "", item, i);
    ptq_buffer_add(text, "]\n");
}

static void test_too_many(void **state)
{
    (void)state;
    struct ptq_experiment x;
    struct ptq_buffer text = {0};
    ptq_buffer_add(&text, "methods: [rtn]\n");
    add_list(&text, "models", "m", 1000);
    add_list(&text, "seed", "", 1000);
    ptq_buffer_add(&text, "eval:\n");
    add_list(&text, "  text", "t", 1000);
    assert_int_equal(read_text(text.data, NULL, 0, &x), PTQ_EINPUT);
    if (!strstr(error.text, "the axes make 1000000000 cells (1000 models x 1000 eval.text x 1000 seed x 1 methods); at "
                            "most 10000 are taken"))
        fail_msg("%s", error.text);
    free(text.data);
    struct ptq_buffer more = {0};
    ptq_buffer_add(&more, "methods: [rtn]\ninclude:\n- w_bit: 2\n- methods: rtn\n");
    add_list(&more, "  models", "m", 1000);
    add_list(&more, "  seed", "", 1000);
    ptq_buffer_add(&more, "  calib:\n");
    add_list(&more, "    windows", "1", 1000);
    assert_int_equal(read_text(more.data, NULL, 0, &x), PTQ_EINPUT);
    if (!strstr(error.text,
                ":4: with this entry of include the axes make 1000000002 cells (1000 models x 1000 calib.w"))
        fail_msg("%s", error.text);
    free(more.data);

    struct ptq_buffer many = {0};
    ptq_buffer_add(&many, "methods:\n  - salient:\n");
    for (int p = 0; p < 2; p++) {
        ptq_buffer_add(&many, p ? "      seed: [1" : "      fraction: [0");
        for (int i = 0; i < 999; i++) ptq_buffer_add(&many, ", 0.5");
        ptq_buffer_add(&many, "]\n");
        if (p == 0) add_list(&many, "      g", "1", 1000);
        if (p == 0) add_list(&many, "      w_bit", "", 1);
    }
    assert_int_equal(read_text(many.data, NULL, 0, &x), PTQ_EINPUT);
    free(many.data);
    struct ptq_buffer wide = {0};
    ptq_buffer_add(&wide, "methods:\n  - salient:\n");
    add_list(&wide, "      g", "1", 1000);
    add_list(&wide, "      fraction", "0.", 1000);
    assert_int_equal(read_text(wide.data, NULL, 0, &x), PTQ_EINPUT);
    if (!strstr(error.text, ":2: the parameters of salient make 1000000 combinations; at most 10000"))
        fail_msg("%s", error.text);
    free(wide.data);
}

/* 10 000 cells, most of them twice, are crossed at once. */
static void test_large(void **state)
{
    (void)state;
    struct ptq_experiment x;
    struct ptq_buffer text = {0};
    ptq_buffer_add(&text, "methods: [rtn, rtn:range=awq]\n");
    add_list(&text, "models", "m", 100);
    add_list(&text, "seed", "", 50);
    assert_int_equal(read_text(text.data, NULL, 0, &x), PTQ_OK);
    assert_int_equal(x.n_jobs, 5000);
    free(text.data);
}

static void test_list(void **state)
{
    (void)state;
    char *printed = NULL;
    size_t size;
    FILE *out = open_memstream(&printed, &size);
    assert_int_equal(ptq_experiments_list(PTQ_FIXTURES "/../../experiments", out, &error), PTQ_OK);
    fclose(out);
    assert_non_null(strstr(printed, "table1                  11 cells Salient channels"));
    free(printed);
    assert_int_equal(ptq_experiments_list("/nowhere", stdout, &error), PTQ_EIO);
}

/* The page shows the table as it is. */
static void test_documentation(void **state)
{
    (void)state;
    expect_documented("experiments.md", ptq_settings_print);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(table1),   TEST(defaults), TEST(presets),      TEST(axes),          TEST(methods),
        TEST(set),      TEST(refusals), TEST(set_refusals), TEST(long_text),     TEST(entries),
        TEST(too_many), TEST(large),    TEST(list),         TEST(documentation),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
