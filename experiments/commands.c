#include "commands.h"

#include "claims.h"
#include "cmd_inspect.h"
#include "describe.h"
#include "diff.h"
#include "diff_models.h"
#include "experiment.h"
#include "h5.h"
#include "idle_options.h"
#include "inspect_results.h"
#include "locate.h"
#include "mapped.h"
#include "needs.h"
#include "plot.h"
#include "progress.h"
#include "run.h"
#include "table.h"
#include "version.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The --set texts with what --quick stands for before them, since what is said of single keys wins. */
static int all_sets(const struct ptq_options *o, const char **set)
{
    set[0] = "quick=1";
    memcpy(set + (o->quick != 0), o->set, (size_t)o->n_sets * sizeof *set);
    return o->n_sets + (o->quick != 0);
}

/* Where the experiments are: beside the user, else in the tree that this command was built from. */
static enum ptq_status experiments_folder(struct ptq_arena *arena, const char **out, struct ptq_error *err)
{
    enum ptq_kind kind;
    PTQ_TRY(ptq_look("experiments", &kind, err));
    *out = kind == PTQ_FOLDER ? "experiments" : ptq_join(arena, ptq_source_folder, "experiments");
    return PTQ_OK;
}

/* The file that a name of the list means ("table1"), where no file is called so; else the name itself. */
static enum ptq_status experiment_file(struct ptq_arena *arena, const char *name, const char **out,
                                       struct ptq_error *err)
{
    const char *folder, *file;
    enum ptq_kind named, listed;
    *out = name;
    if (strchr(name, '/')) return PTQ_OK;
    PTQ_TRY(experiments_folder(arena, &folder, err));
    PTQ_TRY(ptq_look(name, &named, err));
    file = ptq_format(arena, "%s/%s.yaml", folder, name);
    PTQ_TRY(ptq_look(file, &listed, err));
    if (named == PTQ_NOTHING && listed == PTQ_FILE) *out = file;
    return PTQ_OK;
}

enum ptq_status ptq_command_run(const struct ptq_options *o, struct ptq_error *err)
{
    if (o->n_operands != 1)
        return ptq_fail(err, PTQ_EUSAGE, "run needs one EXPERIMENT.yaml; ptq experiments lists them");
    const char *set[PTQ_MAX_SETS + 1];
    int n_sets = all_sets(o, set);
    struct ptq_arena *arena = ptq_arena_make("an experiment's name");
    struct ptq_run_options run = {.out = o->out,
                                  .set = set,
                                  .n_sets = n_sets,
                                  .quick_form = o->quick,
                                  .reuse = o->reuse,
                                  .fresh = o->fresh,
                                  .dry_run = o->dry_run,
                                  .quiet = o->quiet,
                                  .launcher = o->launcher,
                                  .jobs = o->jobs,
                                  .threads = o->threads,
                                  .memory = o->memory,
                                  .cell = o->cell,
                                  .merge = o->merge,
                                  .begun = ptq_process_seconds()};
    enum ptq_status status = ptq_run_check(&run, err);
    if (!status) status = ptq_idle_options("run", o, NULL, err);
    if (!status) status = experiment_file(arena, o->operand[0], &run.experiment, err);
    if (!status) status = ptq_run(&run, err);
    ptq_arena_free(arena);
    return status;
}

static enum ptq_status print_needs(const struct ptq_options *o, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("experiment");
    struct ptq_experiment experiment;
    const char *set[PTQ_MAX_SETS + 1], *file;
    int n = all_sets(o, set);
    enum ptq_status status = experiment_file(arena, o->operand[0], &file, err);
    if (!status) status = ptq_experiment_read(arena, file, set, n, &experiment, err);
    if (!status) ptq_experiment_needs(&experiment, stdout);
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_command_experiments(const struct ptq_options *o, struct ptq_error *err)
{
    if (o->n_operands > 1) return ptq_fail(err, PTQ_EUSAGE, "experiments takes one EXPERIMENT.yaml, or none");
    if (o->n_operands) return print_needs(o, err);
    const char *folder;
    struct ptq_arena *arena = ptq_arena_make("experiments");
    enum ptq_status status = experiments_folder(arena, &folder, err);
    if (!status) status = ptq_experiments_list(folder, stdout, err);
    ptq_arena_free(arena);
    return status;
}

/* A run joins its cells at its end. Until then they are in a folder, and some may be missing. */
static enum ptq_status note_unfinished(struct ptq_arena *arena, const char *file, struct ptq_error *err)
{
    enum ptq_kind kind;
    int fresh;
    PTQ_TRY(ptq_look(file, &kind, err));
    PTQ_TRY(ptq_results_is_fresh(arena, file, &fresh, err));
    if (fresh)
        ptq_progress_note("%s is being computed anew by --fresh, and that run has not ended: these are the cells from "
                          "before it",
                          file);
    if (kind == PTQ_NOTHING)
        ptq_progress_note("%s is not there yet: the run that makes it has not ended, and these are the cells so far",
                          file);
    return PTQ_OK;
}

enum ptq_status ptq_command_table(const struct ptq_options *o, struct ptq_error *err)
{
    enum ptq_table_format format = PTQ_TABLE_TEXT;
    const struct ptq_table_layout *layout;
    struct ptq_cell *cells;
    int n;
    if (o->n_operands < 1) return ptq_fail(err, PTQ_EUSAGE, "table needs one or more results files");
    if (o->format) PTQ_TRY(ptq_table_format_parse(o->format, &format, err));
    struct ptq_arena *arena = ptq_arena_make("table");
    enum ptq_status status = ptq_table_read(arena, o->operand, o->n_operands, &cells, &n, err);
    for (int i = 0; i < o->n_operands && !status; i++) status = note_unfinished(arena, o->operand[i], err);
    if (!status) status = ptq_table_find_layout(arena, o->operand, o->n_operands, cells, n, &layout, err);
    if (!status) status = ptq_table_print_as(layout, cells, n, o->against, format, stdout, err);
    ptq_arena_free(arena);
    return status;
}

/* What a script runs before it asks for verdicts: the experiments' names, one a line. */
static void print_experiments(const struct ptq_claims *claims)
{
    for (int i = 0; i < claims->n_experiments; i++) puts(claims->experiment[i]);
}

static enum ptq_status need_results_folder(struct ptq_arena *arena, const struct ptq_claims *claims, const char *folder,
                                           struct ptq_error *err)
{
    enum ptq_kind kind;
    const char *names = "";
    PTQ_TRY(ptq_look(folder, &kind, err));
    if (kind == PTQ_FOLDER || !claims->n_experiments) return PTQ_OK;
    for (int i = 0; i < claims->n_experiments; i++)
        names = ptq_format(arena, "%s%s%.60s", names, i ? ", " : "", claims->experiment[i]);
    return ptq_fail(err, PTQ_EINPUT,
                    "%s: there is no such folder of results; the claims need NAME.h5 there by ptq run NAME.yaml -o "
                    "%s/NAME.h5, NAME being %s",
                    folder, folder, names);
}

enum ptq_status ptq_command_claims(const struct ptq_options *o, struct ptq_error *err)
{
    enum ptq_table_format format = PTQ_TABLE_TEXT;
    struct ptq_claims claims;
    struct ptq_claim_cells *cells;
    if (o->n_operands < 1 || o->n_operands > 2)
        return ptq_fail(err, PTQ_EUSAGE, "claims needs a CLAIMS.yaml, and may have the folder of results [results]");
    if (o->format) PTQ_TRY(ptq_table_format_parse(o->format, &format, err));
    struct ptq_arena *arena = ptq_arena_make("claims");
    enum ptq_status status = ptq_claims_read(arena, o->operand[0], &claims, err);
    if (!status && o->dry_run) {
        print_experiments(&claims);
    } else if (!status) {
        const char *folder = o->n_operands > 1 ? o->operand[1] : "results";
        status = need_results_folder(arena, &claims, folder, err);
        if (!status) status = ptq_claims_cells(arena, &claims, folder, &cells, err);
        if (!status) ptq_claims_judge(arena, &claims, cells);
        if (!status) status = ptq_interrupted(err); /* which the claims take for something that cannot be tested */
        if (!status) status = ptq_claims_print(&claims, format, stdout, err);
    }
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_command_plot(const struct ptq_options *o, struct ptq_error *err)
{
    struct ptq_cell *cells;
    int n, figures = 0;
    if (o->n_operands < 1 || !o->out) return ptq_fail(err, PTQ_EUSAGE, "plot needs results files and -o FOLDER");
    struct ptq_arena *arena = ptq_arena_make("plot");
    enum ptq_status status = ptq_table_read(arena, o->operand, o->n_operands, &cells, &n, err);
    if (!status) status = ptq_plot(cells, n, o->out, &figures, err);
    if (!status && !o->quiet) ptq_say(stderr, "%s: %d figure%s\n", o->out, figures, figures == 1 ? "" : "s");
    ptq_arena_free(arena);
    return status;
}

/* Results files are HDF5, and no checkpoint is. */
static enum ptq_status is_results(const char *path, int *results, struct ptq_error *err)
{
    int bytes;
    PTQ_TRY(ptq_h5_begins(path, &bytes, err));
    *results = bytes == 8;
    return PTQ_OK;
}

/* Refuses a name that only a results file has, and none there. */
static enum ptq_status check_results_name(const char *path, struct ptq_error *err)
{
    size_t length = strlen(path);
    enum ptq_kind kind;
    PTQ_TRY(ptq_look(path, &kind, err));
    if (kind != PTQ_NOTHING || length <= 3 || strcmp(path + length - 3, ".h5")) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s: there is no such results file; ptq run and ptq eval -o write them", path);
}

enum ptq_status ptq_command_inspect(const struct ptq_options *o, struct ptq_error *err)
{
    const char *path = o->operand[0];
    int results;
    if (o->n_operands != 1)
        return ptq_fail(err, PTQ_EUSAGE, "inspect needs one PATH: a model, a checkpoint, a results file");
    PTQ_TRY(is_results(path, &results, err));
    if (results) return ptq_inspect_results(path, o->json, stdout, err);
    PTQ_TRY(check_results_name(path, err));
    struct ptq_arena *arena = ptq_arena_make("inspect");
    enum ptq_status status = ptq_locate_model(arena, path, &path, err);
    if (!status) status = ptq_inspect_checkpoint(path, o->json, stdout, err);
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_command_diff(const struct ptq_options *o, struct ptq_error *err)
{
    const char *a = o->operand[0], *b = o->operand[1];
    int equal = 0, results[2];
    if (o->n_operands != 2) return ptq_fail(err, PTQ_EUSAGE, "diff needs two models or two results files");
    for (int i = 0; i < 2; i++) PTQ_TRY(check_results_name(o->operand[i], err));
    for (int i = 0; i < 2; i++) PTQ_TRY(is_results(o->operand[i], &results[i], err));
    if (results[0] || results[1]) {
        PTQ_TRY(ptq_diff_results(a, b, stdout, &equal, err));
    } else {
        struct ptq_arena *arena = ptq_arena_make("diff");
        enum ptq_status status = ptq_locate_model(arena, a, &a, err);
        if (!status) status = ptq_locate_model(arena, b, &b, err);
        if (!status) status = ptq_diff_models(a, b, stdout, &equal, err);
        ptq_arena_free(arena);
        PTQ_TRY(status);
    }
    puts(equal ? "equal" : "different");
    return PTQ_OK;
}

static enum ptq_status take_no_operand(const struct ptq_options *o, const char *command, struct ptq_error *err)
{
    if (!o->n_operands) return PTQ_OK;
    return ptq_fail(err, PTQ_EUSAGE, "%s lists all of them, and takes no '%.40s'", command, o->operand[0]);
}

enum ptq_status ptq_command_methods(const struct ptq_options *o, struct ptq_error *err)
{
    if (o->n_operands > 1) return ptq_fail(err, PTQ_EUSAGE, "methods takes one METHOD, or none");
    return ptq_describe_methods(o->n_operands ? o->operand[0] : NULL, stdout, err);
}

enum ptq_status ptq_command_models(const struct ptq_options *o, struct ptq_error *err)
{
    PTQ_TRY(take_no_operand(o, "models", err));
    ptq_describe_models(stdout);
    return PTQ_OK;
}
