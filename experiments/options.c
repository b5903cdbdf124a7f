#include "options.h"

#include "export.h"
#include "path.h"
#include "unicode.h"
#include "words.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum kind { FLAG, TEXT, NAME, NUMBER, SIZE, SET };

static const struct option {
    const char *name;
    enum kind kind;
    size_t offset;
    int64_t min, max;
    const char *value, *doc;
} options[] = {
#define AT(member) offsetof(struct ptq_options, member)
    {"text", NAME, AT(text), 0, 0, "FILE", "evaluation text: a file, or a name in the cache"},
    {"method", TEXT, AT(method), 0, 0, "SPEC",
     "fp16, rtn:w3,g128, salient:w3,g128,select=activation,...; w and g that are left out are the method's own, "
     "mostly g128, while experiments have w3,g64 [fp16]"},
    {"calib", NAME, AT(calib), 0, 0, "FILE", "calibration text: a file, or a name in the cache"},
    {"window", NUMBER, AT(window), 2, 1 << 24, "N", "tokens in a window [2048, or the model's positions]"},
    {"max-windows", NUMBER, AT(max_windows), 1, 1 << 30, "N", "at most N windows, from the start of the text [all]"},
    {"calib-windows", NUMBER, AT(calib_windows), 1, 1 << 30, "N", "calibration windows [64]"},
    {"calib-window", NUMBER, AT(calib_window), 1, 1 << 24, "N", "tokens in a calibration window [512]"},
    {"calib-sample", TEXT, AT(calib_sample), 0, 0, "HOW",
     "auto (the preset's, else first), first, random, gptq, awq [auto]"},
    {"seed", NUMBER, AT(seed), 0, INT64_MAX, "N", "seed of everything that is drawn at random [0]"},
    {"threads", NUMBER, AT(threads), 1, 1024, "N", "CPU threads [all that this process may use]"},
    {"device", TEXT, AT(device), 0, 0, "NAME",
     "cpu; cuda: calibration's and evaluation's forward passes, gptq and awq's searches on the first GPU [cpu]"},
    {"path", TEXT, AT(path), 0, 0, "NAME", PTQ_PATH_HELP("fp32")},
    {"bos", TEXT, AT(bos), 0, 0, "WHERE", "stream: once at the start; none; window: before each window [stream]"},
    {"out", NAME, AT(out), 0, 0, "PATH", "the results file (-o)"},
    {"reference", FLAG, AT(reference), 0, 0, NULL, "compare with FP16 too: KL divergence, equal top-1, change in p"},
    {"json", FLAG, AT(json), 0, 0, NULL, "one JSON object on stdout"},
    {"fresh", FLAG, AT(fresh), 0, 0, NULL,
     "start over: all cells anew; the results that are there stay until these are"},
    {"set", SET, 0, 0, 0, "KEY=VALUE", "change a key of the experiment; may be given several times"},
    {"reuse", NAME, AT(reuse), 0, 0, "PATH", "take finished cells from a results file, or from those of a folder"},
    {"quick", FLAG, AT(quick), 0, 0, NULL, "the experiment's quick form: its section quick, as --set quick=1"},
    {"launcher", TEXT, AT(launcher), 0, 0, "NAME",
     "local; slurm: a job array, a task a cell (docs/clusters.md) [local]"},
    {"jobs", NUMBER, AT(jobs), 1, 1024, "N", "cells at a time [1; with Slurm as many as it has room for]"},
    {"memory", SIZE, AT(memory), 1 << 20, INT64_MAX, "SIZE", "what the run may take: 800M, 8G [half of what is free]"},
    {"cell", TEXT, AT(cell), 0, 0, "N:ID", "this cell alone, joined with nothing: what a task of --launcher runs"},
    {"merge", FLAG, AT(merge), 0, 0, NULL, "run nothing; check and join what is finished"},
    {"dry-run", FLAG, AT(dry_run), 0, 0, NULL, "print the cells and what is done, run nothing"},
    {"special", FLAG, AT(special), 0, 0, NULL, "apply the tokenizer's own template"},
    {"format", TEXT, AT(format), 0, 0, "NAME", "text, md, csv, tex or json [text]"},
    {"prompt", TEXT, AT(prompt), 0, 0, "TEXT", "what the text begins with"},
    {"n", NUMBER, AT(n), 1, 1 << 24, "N", "new tokens at most (-n) [128]"},
    {"temperature", TEXT, AT(temperature), 0, 0, "T", "0: always the likeliest token [0; 1 with --top-k or --top-p]"},
    {"top-k", NUMBER, AT(top_k), 1, 1 << 24, "K", "draw from the K likeliest [all]"},
    {"top-p", TEXT, AT(top_p), 0, 0, "P", "draw from the fewest whose probabilities reach P [1]"},
    {"against", TEXT, AT(against), 0, 0, "SPEC", "compare every cell with this one: difference, 95 % interval, p"},
    {"claims", NAME, AT(claims), 0, 0, "FILE", "the claims that are judged [experiments/claims/awq-gptq.yaml]"},
    {"quiet", FLAG, AT(quiet), 0, 0, NULL, "no progress on stderr"},
    {"help", FLAG, AT(help), 0, 0, NULL, "this text (-h)"},
#undef AT
};
enum { N_OPTIONS = sizeof options / sizeof *options };

/* What an option is to a command where that is not what the table says. */
static const struct {
    const char *command, *name, *doc;
} particular[] = {
    {"run", "out", "the results file (-o) [results/NAME.h5]"},
    {"eval", "out", "a results file, to which the cell is added (-o)"},
    {"quantize", "out", "the folder of the checkpoint (-o)"},
    {"plot", "out", "the folder of the figures (-o)"},
    {"report", "out", "the folder of the report (-o)"},
    {"quantize", "format", PTQ_EXPORT_WORDS},
    {"report", "format", "html: the page alone; pdf: both [pdf]"},
    {"claims", "format", "text, md or json [text]"},
    {"claims", "dry-run", "print the experiments that the claims need, judge nothing"},
    {"generate", "path", PTQ_PATH_HELP("packed")},
    {"generate", "device", "cpu; cuda: calibration, gptq and awq's searches and decoding on the first GPU [cpu]"},
    {"quantize", "text", "a text that the checkpoint is evaluated on, for its card: a file, or a name in the cache"},
    {"quantize", "method",
     "rtn:w4,g128, gptq:w4,g128,act_order=1, ...: ptq methods lists them, with the w and g of a SPEC without"},
};

static const char *doc_of(const char *command, const struct option *o)
{
    for (size_t i = 0; i < sizeof particular / sizeof *particular; i++)
        if (strcmp(particular[i].command, command) == 0 && strcmp(particular[i].name, o->name) == 0)
            return particular[i].doc;
    return o->doc;
}

int ptq_is_word_of(const char *words, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = words; (at = strstr(at, name)); at += length)
        if ((at == words || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return 1;
    return 0;
}

/* Whether the command takes it; help it always does. */
static int is_taken(const char *taken, const char *name)
{
    return strcmp(name, "help") == 0 || ptq_is_word_of(taken, name);
}

/* typed: as it stands on the command line, "-o" or "--out". */
static enum ptq_status find_option(const char *name, const char *typed, const char *taken, const struct option **out,
                                   struct ptq_error *err)
{
    const char *names[N_OPTIONS];
    size_t n = 0;
    for (int i = 0; i < N_OPTIONS; i++) {
        if (!is_taken(taken, options[i].name)) continue;
        names[n++] = options[i].name;
        if (strcmp(options[i].name, name) == 0) {
            *out = &options[i];
            return PTQ_OK;
        }
    }
    if (strcmp(name, "out") == 0)
        return ptq_fail(err, PTQ_EUSAGE,
                        "option '%s' is not known here: what this command prints goes into a file by > FILE; --help "
                        "lists the options",
                        typed);
    const char *near = ptq_nearest(name, names, n);
    return ptq_fail(err, PTQ_EUSAGE, "option '%s' is not known here%s%s%s; --help lists the options", typed,
                    near ? ", did you mean '--" : "", near ? near : "", near ? "'" : "");
}

static enum ptq_status store(const struct option *o, const char *value, struct ptq_options *out, struct ptq_error *err)
{
    void *place = (char *)out + o->offset;
    switch (o->kind) {
    case FLAG:
        *(int *)place = 1;
        break;
    case NAME:
        if (!*value) return ptq_fail(err, PTQ_EUSAGE, "--%s is empty; it must be a name", o->name);
        *(const char **)place = value;
        break;
    case TEXT:
        *(const char **)place = value;
        break;
    case NUMBER:
        if (!ptq_parse_int(value, o->min, o->max, place))
            return ptq_fail(err, PTQ_EUSAGE, "--%s is '%s'; it must be an integer from %lld to %lld", o->name, value,
                            (long long)o->min, (long long)o->max);
        break;
    case SIZE:
        if (!ptq_parse_size(value, o->min, place))
            return ptq_fail(err, PTQ_EUSAGE, "--%s is '%s'; it must be a size from 1M on, such as 800M or 8G", o->name,
                            value);
        break;
    case SET:
        if (out->n_sets == PTQ_MAX_SETS) return ptq_fail(err, PTQ_EUSAGE, "more than %d --set", PTQ_MAX_SETS);
        out->set[out->n_sets++] = value;
        break;
    }
    return PTQ_OK;
}

/* argv[*i] is an option: takes it and its value. */
static enum ptq_status take_option(int argc, char **argv, int *i, const char *taken, struct ptq_options *out,
                                   struct ptq_error *err)
{
    const char *word = argv[*i], *value = NULL;
    char name[64], typed[sizeof name + 2];
    if (word[1] != '-') {
        const char *letter = word[1] && !word[2] ? strchr("ohn", word[1]) : NULL;
        if (!letter) return ptq_fail(err, PTQ_EUSAGE, "option '%.40s' is not known; --help lists the options", word);
        snprintf(name, sizeof name, "%s", *letter == 'o' ? "out" : *letter == 'h' ? "help" : "n");
    } else {
        size_t length = strcspn(word + 2, "=");
        if (word[2 + length] == '=') value = word + 3 + length;
        snprintf(name, sizeof name, "%.*s", (int)(length < 60 ? length : 60), word + 2);
    }
    snprintf(typed, sizeof typed, "%s%s", word[1] == '-' ? "--" : "", word[1] == '-' ? name : word);
    const struct option *o = NULL;
    PTQ_TRY(find_option(name, typed, taken, &o, err));
    if (o->kind == FLAG && value) return ptq_fail(err, PTQ_EUSAGE, "--%s takes no value", name);
    if (o->kind != FLAG && !value) {
        if (*i + 1 >= argc) return ptq_fail(err, PTQ_EUSAGE, "--%s needs a value: %s", name, o->value);
        value = argv[++*i];
    }
    return store(o, value, out, err);
}

enum ptq_status ptq_options_parse(struct ptq_arena *arena, int argc, char **argv, const char *taken,
                                  struct ptq_options *out, struct ptq_error *err)
{
    *out = (struct ptq_options){.operand = ptq_new(arena, const char *, argc + 1)};
    for (int i = 0, only_operands = 0; i < argc; i++) {
        if (!only_operands && strcmp(argv[i], "--") == 0)
            only_operands = 1;
        else if (!only_operands && argv[i][0] == '-' && argv[i][1])
            PTQ_TRY(take_option(argc, argv, &i, taken, out, err));
        else if (!argv[i][0])
            return ptq_fail(err, PTQ_EUSAGE, "argument %d is empty; it must be a name", out->n_operands + 1);
        else
            out->operand[out->n_operands++] = argv[i];
    }
    return PTQ_OK;
}

int ptq_options_given(const struct ptq_options *o, const char *name)
{
    const struct option *option = options;
    while (strcmp(option->name, name)) option++;
    const void *place = (const char *)o + option->offset;
    switch (option->kind) {
    case FLAG:
        return *(const int *)place;
    case NUMBER:
    case SIZE:
        return *(const int64_t *)place != 0;
    case TEXT:
    case NAME:
        return *(const char *const *)place != NULL;
    case SET:
        break;
    }
    return o->n_sets > 0;
}

void ptq_options_print(const char *command, const char *taken)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        char left[64];
        if (!is_taken(taken, options[i].name)) continue;
        snprintf(left, sizeof left, "--%s %s", options[i].name, options[i].value ? options[i].value : "");
        printf("  %-24s %s\n", left, doc_of(command, &options[i]));
    }
}

enum ptq_status ptq_options_job(const struct ptq_options *o, struct ptq_job *job, struct ptq_error *err)
{
    *job = (struct ptq_job){
        .spec = o->method,
        .text = o->text,
        .calib = o->calib,
        .window = o->window,
        .max_windows = o->max_windows,
        .fewer_do = 1,
        .calib_window = o->calib_window,
        .calib_windows = o->calib_windows,
        .seed = (uint64_t)o->seed,
        .device = o->device,
        .path = o->path,
        .reference = o->reference,
    };
    if (o->bos) PTQ_TRY(ptq_bos_parse(o->bos, &job->bos, err));
    if (o->calib_sample) PTQ_TRY(ptq_sample_parse(o->calib_sample, &job->calib_sample, err));
    return PTQ_OK;
}

enum ptq_status ptq_options_check_model(const struct ptq_options *o, const char *command, struct ptq_error *err)
{
    if (o->n_operands != 1) return ptq_fail(err, PTQ_EUSAGE, "%s needs one MODEL; see ptq %s --help", command, command);
    size_t length = strlen(o->operand[0]);
    if (!o->json || ptq_utf8_check(o->operand[0], length) == length) return PTQ_OK;
    return ptq_fail(err, PTQ_EUSAGE, "%s: JSON holds no name that is not UTF-8; call without --json", o->operand[0]);
}

/* A sweep has full precision beside its packed cells, and says of each what it ran by; one cell is what was asked for.
 */
enum ptq_status ptq_options_check_path(const struct ptq_options *o, const char *path, const char *model,
                                       const char *source_dtype, struct ptq_error *err)
{
    if (!o->path || strcmp(o->path, path) == 0) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: --path %s needs codes of every linear, and these weights (%s) are not; give a method that "
                    "quantises, such as --method rtn:w4,g64, or --path fp32",
                    model, o->path, source_dtype);
}
