/* The command line: which options a command takes, and their values. One table of all options (options.c); a command
 * names those that it takes. */
#ifndef PTQ_OPTIONS_H
#define PTQ_OPTIONS_H

#include "arena.h"
#include "pipeline.h"
#include "status.h"

enum { PTQ_MAX_SETS = 64 };

/* Everything that can be said on the command line, typed and in range; zero or NULL where it was not. */
struct ptq_options {
    const char **operand; /* what is no option, in order; points into argv */
    int n_operands;
    const char *text, *method, *calib, *device, *path, *bos, *calib_sample, *out, *launcher, *format, *cell, *reuse;
    const char *against, *claims;
    const char *prompt, *temperature, *top_p;
    int64_t window, max_windows, calib_windows, calib_window, seed, threads, jobs, memory, n, top_k;
    int json, reference, fresh, special, dry_run, quiet, merge, help, quick;
    const char *set[PTQ_MAX_SETS]; /* --set key=value, in order */
    int n_sets;
};

/* taken: names of the options that the command takes, separated by spaces ("text method json"). -o is --out, -h is
 * --help. Fails with PTQ_EUSAGE: an unknown option (with the nearest), a missing or bad value. */
enum ptq_status ptq_options_parse(struct ptq_arena *arena, int argc, char **argv, const char *taken,
                                  struct ptq_options *out, struct ptq_error *err);
/* Whether an option of the table was given; of a number one that is its default, 0, counts as not. */
int ptq_options_given(const struct ptq_options *options, const char *name);
/* Whether name is one of the words, which spaces separate. */
int ptq_is_word_of(const char *words, const char *name);
/* The help text of the options in taken, one line each, as they are meant by the command of this name. */
void ptq_options_print(const char *command, const char *taken);

/* That the command was given one MODEL, whose name JSON can hold where that is asked for: told before the work. */
enum ptq_status ptq_options_check_model(const struct ptq_options *options, const char *command, struct ptq_error *err);

/* The path that a cell runs by (model and source_dtype its own) is the one that was asked for, if any was. */
enum ptq_status ptq_options_check_path(const struct ptq_options *options, const char *path, const char *model,
                                       const char *source_dtype, struct ptq_error *err);

/* The job that eval's options describe. */
enum ptq_status ptq_options_job(const struct ptq_options *options, struct ptq_job *job, struct ptq_error *err);

#endif
