/* The cells of an experiment, planned: which there are, which are finished, how long the others will take. */
#ifndef PTQ_PLAN_H
#define PTQ_PLAN_H

#include "arena.h"
#include "cost.h"
#include "experiment.h"
#include "results.h"
#include "status.h"

#include <stdio.h>

/* What plans and runs cells: the pipeline, or a test's own. session is what make returned; the rest as
 * ptq_cell_plan and ptq_cell_run. */
struct ptq_runner {
    void *(*make)(void);
    void (*free)(void *session);
    enum ptq_status (*plan)(void *session, const struct ptq_job *job, struct ptq_arena *arena, struct ptq_cell *cell,
                            struct ptq_error *err);
    enum ptq_status (*run)(void *session, const struct ptq_job *job, struct ptq_arena *arena, struct ptq_cell *cell,
                           struct ptq_error *err);
    /* May be NULL: then nothing is known of costs, and cells count alike. */
    enum ptq_status (*cost)(void *session, const struct ptq_job *job, struct ptq_cost *cost, struct ptq_error *err);
    void (*budget)(void *session, int64_t bytes); /* may be NULL */
};

enum ptq_plan_state { PTQ_PLAN_MISSING, PTQ_PLAN_DONE, PTQ_PLAN_FAILED };

struct ptq_plan_cell {
    const struct ptq_job *job;
    struct ptq_cell cell; /* what ptq_cell_plan filled; of a failed plan nothing */
    const char *label;    /* SPEC, and what else differs between the cells */
    enum ptq_plan_state state;
    const char *why;      /* of a failed one: the error's sentence */
    int pace;             /* which of the plan's paces it belongs to */
    struct ptq_cost cost; /* all zero but evaluate = 1 where the runner makes none */
};

/* How fast cells of one model go. Work is their estimates', in floating-point operations. */
struct ptq_pace {
    const char *model;
    double seconds, work; /* of the measured cells together; seconds of one thread: a cell of two counts twice */
};

/* Two names of one model, of one text, or of calibration texts that give the same windows: cells of the first were
 * those of the second. */
enum ptq_twin_kind { PTQ_TWIN_MODEL, PTQ_TWIN_TEXT, PTQ_TWIN_CALIB };
struct ptq_twin {
    enum ptq_twin_kind kind;
    const char *name, *of;
};

struct ptq_plan {
    struct ptq_plan_cell *cell; /* [n], in the experiment's order, each id once */
    int n;
    struct ptq_pace *pace; /* [n_paces], one a model */
    int n_paces;
    struct ptq_twin *twin; /* [n_twins], each once */
    int n_twins;
    double machine; /* the same of an operation, for models of which nothing was measured; 0: not known */
    double begin;   /* seconds that a process takes before its cell, as this one did; 0: not known */
    double beside;  /* of n_beside cells together: seconds of this run that were none of their own */
    int n_beside;
    enum ptq_status failed; /* status of the first failed cell, PTQ_OK where there is none */
};

/* Plans every job. A job that cannot be planned (a model that is not there) is a failed cell; only PTQ_EINTERRUPT and
 * PTQ_EDEVICE stop the planning. Memory from arena. */
enum ptq_status ptq_plan_make(struct ptq_arena *arena, const struct ptq_experiment *experiment,
                              const struct ptq_runner *runner, void *session, struct ptq_plan *out,
                              struct ptq_error *err);

/* The cell that can be run and has this id, or NULL. */
const struct ptq_plan_cell *ptq_plan_find(const struct ptq_plan *plan, const char *id);
/* The one that the cell is, or is once more, since neither reads its calibration text (replicates.h); or NULL. */
const struct ptq_plan_cell *ptq_plan_find_same(const struct ptq_plan *plan, const struct ptq_cell *cell);
int ptq_plan_has(const struct ptq_plan *plan, const char *id);

/* Marks the cells that FILE or FILE.cells holds as done, and learns their pace where something is missing. */
enum ptq_status ptq_plan_look(struct ptq_plan *plan, const char *file, struct ptq_error *err);

/* Changes a missing cell's state; seconds is what it took, or 0. */
void ptq_plan_done(struct ptq_plan *plan, struct ptq_plan_cell *cell, double seconds);
/* The same by the cell as another process stored it. */
void ptq_plan_finish(struct ptq_plan *plan, struct ptq_plan_cell *cell, const struct ptq_cell *finished);
void ptq_plan_fail(struct ptq_arena *arena, struct ptq_plan *plan, struct ptq_plan_cell *cell,
                   const struct ptq_error *why);

/* What a finished cell took beside its own seconds: its task's start and end, its file. seconds: of all of it. */
void ptq_plan_add_beside(struct ptq_plan *plan, const struct ptq_cell *finished, double seconds);

int ptq_plan_count(const struct ptq_plan *plan, enum ptq_plan_state state);
/* The ids of the cells in that state, in order, in arena. */
char (*ptq_plan_ids(struct ptq_arena *arena, const struct ptq_plan *plan, enum ptq_plan_state state,
                    int *n))[PTQ_SHA256_HEX];

/* Whether one pass over the calibration text serves both. */
int ptq_same_calibration(const struct ptq_cell *a, const struct ptq_cell *b);

/* How cells are run: how many at a time, with how many threads each, and whether each has a process of its own. */
struct ptq_shares {
    int64_t at_once, threads;
    int in_tasks;
};

/* Seconds that the missing cells will take so, by the measured cells of the same model, else of any, else by the
 * machine's own pace; -1 where there is none of these. To each comes what this run's cells took beside their own so
 * far; before the first, for a process of its own, what this one took to begin. No sooner than the longest of them;
 * that a pass over the calibration text may be waited for is left out. */
double ptq_plan_seconds_left(const struct ptq_plan *plan, const struct ptq_shares *shares);
/* The most memory that a missing cell will take under a budget (0: what is usual), in bytes; 0 where it is not known.
 */
int64_t ptq_plan_peak(const struct ptq_plan *plan, int64_t budget);
/* "41 s", "5 min", "2.5 h"; in text[0..size). */
const char *ptq_duration(double seconds, char *text, size_t size);

/* --dry-run: the cells, done, missing or failed. */
void ptq_plan_print(const struct ptq_plan *plan, FILE *out);

/* PTQ_OK where no cell failed, else an error that lists them by reason. file NULL: nothing was to be run. awaits: file
 * stays what it was before --fresh, since cells are missing (core/results.h). */
enum ptq_status ptq_plan_verdict(const struct ptq_plan *plan, const char *file, int awaits, struct ptq_error *err);

#endif
