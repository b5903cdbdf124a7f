#include "idle_options.h"

#include "progress.h"
#include "session.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

/* What holds of a call. */
enum {
    EVALUATES = 1,      /* there is a text */
    NAMES_CALIB = 2,    /* and one of calibration */
    NO_CALIB = 4,       /* or there is none of that */
    CALIBRATES = 8,     /* it is read */
    NEEDS_CALIB = 16,   /* codes depend on it */
    QUANTISES = 32,     /* the method */
    DRAWS = 64,         /* something, at random */
    DRAWS_TOKENS = 128, /* of what is generated */
    HAS_BOS = 256,      /* the tokenizer */
    IS_WHOLE = 512,     /* the model, and not codes alone */
    RUNS = 1024,        /* cells */
    RUNS_MANY = 2048,
};

enum about { NOBODY, THE_METHOD, THE_MODEL };

#define CALIBRATION "calib-windows calib-window calib-sample"

/* An option counts where any of what it needs holds. Of rows that say why one does not, the first speaks. */
static const struct row {
    const char *commands, *options; /* names, separated by spaces */
    unsigned needs;
    enum ptq_status status; /* PTQ_OK: it changes nothing, which is said */
    enum about about;       /* whom the sentence begins with */
    const char *why;
} rows[] = {
    {"eval quantize generate", CALIBRATION, NAMES_CALIB, PTQ_OK, NOBODY, "no --calib names a text"},
    {"eval", "calib " CALIBRATION, QUANTISES | NO_CALIB, PTQ_OK, THE_METHOD, "quantises nothing"},
    {"quantize generate", "calib " CALIBRATION, NEEDS_CALIB | NO_CALIB, PTQ_OK, THE_METHOD,
     "makes the same codes without calibration"},
    {"eval quantize generate", "seed", DRAWS, PTQ_OK, NOBODY, "nothing is drawn at random"},
    {"eval", "reference", IS_WHOLE, PTQ_EUSAGE, THE_MODEL, "has codes alone, and no full precision to compare with"},
    {"eval", "reference", QUANTISES, PTQ_OK, THE_METHOD, "quantises nothing, and is not compared with itself"},
    {"eval quantize", "bos", HAS_BOS, PTQ_OK, THE_MODEL, "has a tokenizer without a BOS"},
    {"quantize", "window max-windows", EVALUATES, PTQ_OK, NOBODY, "without --text nothing is evaluated"},
    {"quantize", "bos device", EVALUATES | CALIBRATES, PTQ_OK, NOBODY, "no text goes through the model"},
    {"generate", "top-k top-p", DRAWS_TOKENS, PTQ_EUSAGE, NOBODY, "--temperature 0 takes the likeliest token always"},
    {"run", "launcher jobs", RUNS, PTQ_OK, NOBODY, "--merge runs nothing"},
    {"run", "launcher reuse", RUNS_MANY, PTQ_OK, NOBODY, "--cell runs one cell, here"},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

/* ---- what holds ---- */

static unsigned when(int holds, unsigned fact)
{
    return holds ? fact : 0;
}

/* As ptq generate reads them. */
static int draws_tokens(const struct ptq_options *o)
{
    return o->temperature ? strtod(o->temperature, NULL) > 0 : o->top_k || o->top_p;
}

static unsigned facts_of_plan(const struct ptq_options *o, const struct ptq_planned *p)
{
    const struct ptq_spec *spec = &p->spec;
    int named = o->calib && strcmp(o->calib, PTQ_NO_CALIB) != 0;
    int draws = ptq_spec_need(spec) & PTQ_NEED_SEED || (p->calib && p->sample != PTQ_SAMPLE_FIRST) || draws_tokens(o);
    return when(p->text != NULL, EVALUATES) | when(named, NAMES_CALIB) | when(!named, NO_CALIB) |
           when(p->calib != NULL, CALIBRATES) | when(ptq_spec_needs_calib(spec), NEEDS_CALIB) |
           when(ptq_spec_quantizes(spec), QUANTISES) | when(draws, DRAWS) | when(draws_tokens(o), DRAWS_TOKENS) |
           when(ptq_tokenizer_bos(p->model->tokenizer) >= 0, HAS_BOS) | when(!p->model->model.quantization, IS_WHOLE);
}

static unsigned facts(const struct ptq_options *o, const struct ptq_planned *p)
{
    if (p) return facts_of_plan(o, p);
    return when(!o->merge, RUNS) | when(!o->cell, RUNS_MANY);
}

/* ---- what is said ---- */

/* The row's options that were given, and of which no row has spoken yet: "--a", "--a and --b", "--a, --b and --c". */
static int list_given(const struct row *row, const struct ptq_options *o, struct ptq_buffer *said,
                      struct ptq_arena *arena, const char **out)
{
    char *names = ptq_strdup(arena, row->options), *name;
    const char *last = NULL;
    int n = 0;
    *out = "";
    while ((name = strsep(&names, " "))) {
        if (!ptq_options_given(o, name) || ptq_is_word_of(said->data, name)) continue;
        ptq_buffer_add(said, "%s ", name);
        if (last) *out = ptq_format(arena, "%s%s--%s", *out, n > 1 ? ", " : "", last);
        last = name;
        n++;
    }
    if (n) *out = ptq_format(arena, "%s%s--%s %s no effect", *out, n > 1 ? " and " : "", last, n > 1 ? "have" : "has");
    return n;
}

static const char *subject(const struct row *row, const struct ptq_planned *p, struct ptq_arena *arena)
{
    if (row->about == THE_METHOD) return ptq_format(arena, "%s ", ptq_spec_format(&p->spec, arena));
    return row->about == THE_MODEL ? ptq_format(arena, "%s ", p->model->model.name) : "";
}

static enum ptq_status go_through(const char *command, const struct ptq_options *o, const struct ptq_planned *p,
                                  struct ptq_buffer *said, struct ptq_arena *arena, struct ptq_error *err)
{
    unsigned holds = facts(o, p);
    const char *given;
    for (const struct row *row = rows; row < rows + N_ROWS; row++) {
        if (!ptq_is_word_of(row->commands, command) || holds & row->needs) continue;
        int n = list_given(row, o, said, arena, &given);
        if (n && row->status)
            return ptq_fail(err, row->status, "%s: %s%s; leave %s out", given, subject(row, p, arena), row->why,
                            n > 1 ? "them" : "it");
        if (n) ptq_progress_note("note: %s: %s%s", given, subject(row, p, arena), row->why);
    }
    return PTQ_OK;
}

enum ptq_status ptq_idle_options(const char *command, const struct ptq_options *options, const struct ptq_planned *plan,
                                 struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("options");
    struct ptq_buffer said = {0};
    ptq_buffer_bytes(&said, "", 0);
    enum ptq_status status = go_through(command, options, plan, &said, arena, err);
    free(said.data);
    ptq_arena_free(arena);
    return status;
}
