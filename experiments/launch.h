/* Missing cells handed to other processes, a cell each: `--launcher slurm`, and `--jobs N` on one machine.
 *
 *   FILE.h5.tasks/NAME.yaml   the experiment as it was when the tasks were made: they read this one
 *                 N.sh        a job array's script (slurm.c)
 *                 queue       what was submitted, by "user UID": one line a cell, "JOB INDEX ID"
 *                 ID.log      what the cell's task said, and Slurm of it; slurm-JOB.log: of what has not begun, or
 * joins ID.lock     while the cell's task runs FILE.h5.cells/ID.h5       its result, as of any finished cell
 *
 * A task is `ptq run ... --cell N:ID`: cell number N of the experiment, which must turn out to be ID. It writes the one
 * file and merges nothing. Whoever started the tasks looks at the results alone: a cell that is not there has failed.
 */
#ifndef PTQ_LAUNCH_H
#define PTQ_LAUNCH_H

#include "run.h"

/* An environment variable of the children of --jobs: the number of the process that started them. */
#define PTQ_LAUNCHER "PTQ_LAUNCHER"

struct ptq_launch {
    struct ptq_arena *arena;
    const struct ptq_run_options *options;
    const struct ptq_experiment *experiment;
    struct ptq_plan *plan;
    const char *file, *folder; /* the results file; FILE.tasks */
    char *given;               /* [plan->n], of Slurm: 1 where a task had the cell while this call looked on */
    int64_t memory;            /* of a task, or 0 */
    int of_all;                /* 1 for --fresh, by which FILE loses the cells of other experiments, too */
    FILE *log;
};

/* Makes the folder with the experiment in it. */
enum ptq_status ptq_launch_begin(struct ptq_launch *l, struct ptq_error *err);
/* Where nothing is left to do: removes what is named above from the folder, and then itself. Logs of cells that this
 * plan does not have go too, as those of earlier settings; they stay, unless of_all, where another experiment's YAML
 * lies beside them, which may have no other word of why its cells failed. What stays, and why, is one line. Scripts,
 * queue and slurm-JOB.log serve no one by then: all tasks have ended. */
enum ptq_status ptq_launch_end(struct ptq_launch *l, struct ptq_error *err);
/* Where some cells have failed: their logs stay, but no task is under way any more. */
void ptq_launch_settle(struct ptq_launch *l);

/* argv of the task that runs a cell, ended by NULL; cell NULL: of the one that joins what is finished (--merge).
 * threads 0: left to the task. In the arena. */
char **ptq_launch_command(struct ptq_launch *l, const struct ptq_plan_cell *cell, int threads);
/* FILE.tasks/ID.log */
const char *ptq_launch_log(struct ptq_launch *l, const char *id);
/* The line of a cell that is finished: "[3/11] rtn:w3,g64  ppl 72.06  1.3 s, about 5 min left"; or has failed. */
void ptq_launch_say_done(const struct ptq_launch *l, const struct ptq_plan_cell *cell, double ppl, double seconds);
void ptq_launch_say_failed(const struct ptq_launch *l, const struct ptq_plan_cell *cell);
/* Takes the cells that tasks have finished since it was asked last for done, and says so. */
void ptq_launch_watch(struct ptq_launch *l);
/* Of cells that are missing when all tasks have ended: they have failed, for the reason that the task's log gives;
 * where there is no log, none is made up. */
void ptq_launch_fail_missing(struct ptq_launch *l);

/* Runs the missing cells as children, options->jobs at a time. PTQ_EINTERRUPT ends them too. */
enum ptq_status ptq_launch_local(struct ptq_launch *l, struct ptq_error *err);

/* By Slurm (slurm.c, slurm_queue.c). FILE.tasks belongs to the tasks that its queue names, whoever submitted them,
 * until Slurm lists none of them any more: only who has locked FILE and has asked since may write to it, remove it or
 * join the results. The job that joins is one of them, and starts when the others have ended.
 *
 * *left: how many are queued or running; the plan's cells among theirs are given then. PTQ_EIO where Slurm does not
 * say. Without FILE.tasks/queue there were none, and nobody is asked. */
enum ptq_status ptq_slurm_ask(struct ptq_launch *l, int *left, struct ptq_error *err);
/* A line on out where cells that are missing may be at work; that Slurm does not answer is a line, too. */
enum ptq_status ptq_slurm_list(struct ptq_launch *l, FILE *out, struct ptq_error *err);
/* How many cells are missing that were given to no task yet. */
int ptq_slurm_count_new(const struct ptq_launch *l);
/* Submits those, and they are given. FILE is locked, and no task is left. */
enum ptq_status ptq_slurm_submit(struct ptq_launch *l, struct ptq_error *err);
/* Waits, FILE not being locked, until no task of today's queue is left. Ctrl-C leaves them to Slurm. */
enum ptq_status ptq_slurm_wait(struct ptq_launch *l, struct ptq_error *err);
/* For who does not wait: PTQ_EIO with a sentence where tasks are left, or where Slurm does not say. */
enum ptq_status ptq_slurm_check_idle(struct ptq_arena *arena, const char *file, struct ptq_error *err);

#endif
