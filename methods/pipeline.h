/* The one pipeline: from a job (what somebody asked for) to a finished cell (core/results.h).
 *
 * A session holds what the cells of one run share: mapped models, token streams, calibration statistics. The same
 * model, text or calibration asked for twice is loaded, tokenized or measured once. */
#ifndef PTQ_PIPELINE_H
#define PTQ_PIPELINE_H

#include "method.h"
#include "model.h"
#include "results.h"
#include "stats.h"
#include "tokens.h"

/* Takes every block once, in order, as the cell has it. q [PTQ_N_ROLE] are its codes, n = 0 where a linear has none;
 * block's weights are what they stand for, its norms and biases what the method made of them. Nothing outlives the
 * call. */
struct ptq_block_sink {
    enum ptq_status (*take)(void *context, int64_t index, const struct ptq_block *block, const struct ptq_qmat *q,
                            struct ptq_error *err);
    void *context;
};

/* A job's calibration text that is none. A file of that name is "./none". */
#define PTQ_NO_CALIB "none"

/* What was asked for; all texts outlive the session. Zero or NULL is the default given in brackets. */
struct ptq_job {
    const char *experiment;       /* name stored in the cell ["eval"] */
    const char *model;            /* path or name, see ptq_locate_model */
    const char *spec;             /* SPEC ["fp16"] */
    const char *text;             /* evaluation text, path or name */
    const char *calib;            /* calibration text; NULL or PTQ_NO_CALIB where the spec needs none */
    int calib_by_default;         /* 1: nobody named it, so it may be missing where the spec does not read it [0] */
    int64_t window;               /* tokens in a window [2048, less where the model's positions end before] */
    int64_t max_windows;          /* [all] */
    int fewer_do;                 /* 1: a text that gives fewer than max_windows is taken whole [0: it is refused] */
    int64_t calib_window;         /* [512] */
    int64_t calib_windows;        /* [64] */
    enum ptq_bos bos;             /* [stream] */
    enum ptq_sample calib_sample; /* [the preset's, else first] */
    uint64_t seed;
    const char *device; /* "cpu", or "cuda": forward passes, gptq and awq's searches on the first device ["cpu"] */
    const char *path;   /* ["fp32"] */
    int reference;      /* 1: compare with full precision (PTQ_AGAINST_FIELDS). No part of the cell's id [0] */
    const struct ptq_block_sink *sink; /* [none]; where there is one, text may be NULL: nothing is evaluated then */
};

struct ptq_session;

struct ptq_session *ptq_session_make(void);
/* Bytes that a cell may take, 0: what is usual. It decides how many windows go together, and not one bit of the result;
 * a cell that cannot keep to it is PTQ_EINPUT. */
void ptq_session_budget(struct ptq_session *session, int64_t bytes);
void ptq_session_free(struct ptq_session *session);

/* Checks the job and fills what is known before it runs: every configuration field of cell, config and id. Opens the
 * model and tokenizes the texts. Memory from arena. */
enum ptq_status ptq_cell_plan(struct ptq_session *session, const struct ptq_job *job, struct ptq_arena *arena,
                              struct ptq_cell *cell, struct ptq_error *err);
/* Runs a planned cell: statistics where needed, then block after block quantised and evaluated, and fills the rest of
 * the cell. Stops with PTQ_EINTERRUPT soon after Ctrl-C. Where cell->part names a folder, a block method keeps there
 * what is finished, and goes on from it (part.h); nothing else is written here. */
enum ptq_status ptq_cell_run(struct ptq_session *session, const struct ptq_job *job, struct ptq_arena *arena,
                             struct ptq_cell *cell, struct ptq_error *err);

/* What ptq_cell_run does once model, windows and statistics are there: block after block loaded, quantised by spec and
 * evaluated. Fills nll, linear, saturated_groups, effective_bits, ppl, nll_mean, and of both stages seconds and peak;
 * stats and calib, the calibration windows, may be NULL where the spec needs none (ptq_spec_need). */
enum ptq_status ptq_evaluate(const struct ptq_model *model, const struct ptq_spec *spec, uint64_t seed,
                             const struct ptq_model_stats *stats, const struct ptq_windows *calib,
                             const struct ptq_windows *eval, struct ptq_arena *arena, struct ptq_cell *cell,
                             struct ptq_error *err);

#endif
