#include "commands.h"

#include "cmd_inspect.h"
#include "describe.h"
#include "experiment.h"
#include "locate.h"
#include "mapped.h"
#include "run.h"
#include "table.h"
#include "version.h"

#include <stdio.h>
#include <string.h>

enum ptq_status ptq_command_run(const struct ptq_options *o, struct ptq_error *err)
{
    if (o->n_operands != 1)
        return ptq_fail(err, PTQ_EUSAGE, "run needs one EXPERIMENT.yaml; ptq experiments lists them");
    if (o->launcher && strcmp(o->launcher, "local"))
        return ptq_fail(err, PTQ_EUSAGE, "launcher '%.40s' is not known to this build; known: local", o->launcher);
    if (o->jobs > 1)
        return ptq_fail(err, PTQ_EUSAGE, "--jobs %lld: cells run one at a time on all threads; known: 1",
                        (long long)o->jobs);
    struct ptq_run_options run = {.experiment = o->operand[0],
                                  .out = o->out,
                                  .set = o->set,
                                  .n_sets = o->n_sets,
                                  .fresh = o->fresh,
                                  .dry_run = o->dry_run,
                                  .quiet = o->quiet};
    return ptq_run(&run, err);
}

/* The experiments beside the user, else those of the tree that this command was built from. */
enum ptq_status ptq_command_experiments(const struct ptq_options *o, struct ptq_error *err)
{
    (void)o;
    if (ptq_is_folder("experiments")) return ptq_experiments_list("experiments", stdout, err);
    struct ptq_arena *arena = ptq_arena_make("experiments");
    enum ptq_status status = ptq_experiments_list(ptq_join(arena, ptq_source_folder, "experiments"), stdout, err);
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_command_table(const struct ptq_options *o, struct ptq_error *err)
{
    enum ptq_table_format format = PTQ_TABLE_TEXT;
    struct ptq_cell *cells;
    int n;
    if (o->n_operands < 1) return ptq_fail(err, PTQ_EUSAGE, "table needs one or more results files");
    if (o->format) PTQ_TRY(ptq_table_format_parse(o->format, &format, err));
    struct ptq_arena *arena = ptq_arena_make("table");
    enum ptq_status status = ptq_table_read(arena, o->operand, o->n_operands, &cells, &n, err);
    if (!status) status = ptq_table_print(cells, n, format, stdout, err);
    ptq_arena_free(arena);
    return status;
}

/* A model's folder or file, or a results file: told by its first bytes. */
enum ptq_status ptq_command_inspect(const struct ptq_options *o, struct ptq_error *err)
{
    const char *path = o->operand[0];
    if (o->n_operands != 1)
        return ptq_fail(err, PTQ_EUSAGE, "inspect needs one PATH: a model, a checkpoint, a results file");
    struct ptq_arena *arena = ptq_arena_make("inspect");
    enum ptq_status status = PTQ_OK;
    if (!(status = ptq_locate_model(arena, path, &path, err)))
        status = ptq_inspect_checkpoint(path, o->json, stdout, err);
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_command_methods(const struct ptq_options *o, struct ptq_error *err)
{
    (void)o, (void)err;
    ptq_describe_methods(stdout);
    return PTQ_OK;
}

enum ptq_status ptq_command_models(const struct ptq_options *o, struct ptq_error *err)
{
    (void)o, (void)err;
    ptq_describe_models(stdout);
    return PTQ_OK;
}
