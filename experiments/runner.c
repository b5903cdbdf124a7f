#include "runner.h"

#include "pipeline.h"

static void *pipeline_make(void)
{
    return ptq_session_make();
}

static void pipeline_free(void *session)
{
    ptq_session_free(session);
}

static enum ptq_status pipeline_plan(void *session, const struct ptq_job *job, struct ptq_arena *arena,
                                     struct ptq_cell *cell, struct ptq_error *err)
{
    return ptq_cell_plan(session, job, arena, cell, err);
}

static enum ptq_status pipeline_run(void *session, const struct ptq_job *job, struct ptq_arena *arena,
                                    struct ptq_cell *cell, struct ptq_error *err)
{
    return ptq_cell_run(session, job, arena, cell, err);
}

static enum ptq_status pipeline_cost(void *session, const struct ptq_job *job, struct ptq_cost *cost,
                                     struct ptq_error *err)
{
    return ptq_cell_cost(session, job, cost, err);
}

static void pipeline_budget(void *session, int64_t bytes)
{
    ptq_session_budget(session, bytes);
}

const struct ptq_runner ptq_pipeline_runner = {
    .make = pipeline_make,
    .free = pipeline_free,
    .plan = pipeline_plan,
    .run = pipeline_run,
    .cost = pipeline_cost,
    .budget = pipeline_budget,
};
