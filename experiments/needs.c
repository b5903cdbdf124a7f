#include "needs.h"

#include <string.h>

static const char *need(const struct ptq_job *job, int which)
{
    return which == 0 ? job->model : which == 1 ? job->text : job->calib;
}

/* All but the calibration text that is none. */
static int is_needed(int which, const char *name)
{
    return which != 2 || strcmp(name, PTQ_NO_CALIB) != 0;
}

static int is_first(const struct ptq_experiment *e, int at, int which, const char *name)
{
    for (int i = 0; i < at; i++)
        if (strcmp(need(&e->job[i], which), name) == 0) return 0;
    for (int w = 0; w < which; w++)
        for (int i = 0; i < e->n_jobs; i++)
            if (strcmp(need(&e->job[i], w), name) == 0) return 0;
    return 1;
}

void ptq_experiment_needs(const struct ptq_experiment *e, FILE *out)
{
    for (int which = 0; which < 3; which++)
        for (int i = 0; i < e->n_jobs; i++)
            if (is_needed(which, need(&e->job[i], which)) && is_first(e, i, which, need(&e->job[i], which)))
                fprintf(out, "%s\n", need(&e->job[i], which));
}
