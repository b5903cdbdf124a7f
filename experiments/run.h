/* `ptq run`: an experiment's cells, those that are not finished yet, one after the other into a results file. */
#ifndef PTQ_RUN_H
#define PTQ_RUN_H

#include "plan.h"
#include "status.h"

#include <stdio.h>

struct ptq_run_options {
    const char *experiment; /* the YAML file */
    const char *out;        /* results file; NULL: results/NAME.h5 */
    const char *const *set; /* "KEY=VALUE" texts laid over the file, may be NULL */
    int n_sets;
    int quick_form;    /* 1: the sets ask for it, and out NULL is results/quick/NAME.h5 */
    const char *reuse; /* results file or folder whose finished cells are taken over (reuse.h); NULL: none */
    int fresh;         /* 1: all cells anew, in place of what the results file holds, once they are done */
    int dry_run;       /* 1: prints the cells, done or missing, and runs and writes nothing */
    int quiet;         /* 1: no line a cell */
    /* cells in processes of their own (launch.h) */
    const char *launcher; /* "local" or "slurm"; NULL: local */
    int64_t jobs;         /* cells at a time; 0: one, or with Slurm as many as it has room for */
    int64_t threads;      /* of a task; 0: what it may use */
    int64_t memory;       /* bytes that the run may take, as a budget for activations; 0: what is usual */
    const char *cell;     /* "N:ID": this cell alone, nothing is joined: what a task does. NULL: all */
    int merge;            /* 1: runs nothing, checks and joins what is finished */
    double begun;         /* seconds that the process took before this call, as each of --jobs does; 0: not known */
    /* for tests; NULL is what a user gets: the pipeline, standard output (of a dry run) and standard error */
    const struct ptq_runner *runner;
    FILE *list, *log;
};

/* Refuses options that no command line should have. */
enum ptq_status ptq_run_check(const struct ptq_run_options *options, struct ptq_error *err);

/* Plans every cell, skips those that the results file holds, runs the others in order and stores each as it is
 * finished; at the end the results file holds all of them in the experiment's order.
 *
 * A cell that fails (PTQ_EINPUT, PTQ_ENUMERIC, PTQ_EUSAGE, or any failure to plan it) is reported and the others go
 * on; the call then fails at its end with a list. PTQ_EINTERRUPT, PTQ_EIO and PTQ_EDEVICE stop at once. In each case
 * the same call goes on with what is missing. A second run on the same results file at the same time is refused. */
enum ptq_status ptq_run(const struct ptq_run_options *options, struct ptq_error *err);

#endif
