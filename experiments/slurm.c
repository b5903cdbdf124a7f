/* --launcher slurm: missing cells as job arrays, and a job behind them that joins what they wrote. */
#include "slurm.h"

#include "beside.h"
#include "mapped.h"
#include "method.h"
#include "program.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ARRAY = 1000 };

enum wave { LEADERS, ALONE, FOLLOWERS };

/* One call. */
struct slurm {
    struct ptq_launch *l;
    enum wave *wave;         /* [cells of the plan] */
    struct ptq_buffer queue; /* the file of that name */
    int n_queued;            /* jobs in it, on disk */
    const char *last;        /* the job that was submitted last, or NULL */
    struct ptq_buffer all;   /* "12:13:14", jobs for the merge to wait for */
    const char *limit;       /* "%N" or "" */
    const char *folder;      /* FILE.tasks, from the root */
    int64_t array, scripts;  /* cells in an array at most; arrays so far */
    struct ptq_error *err;
};

/* ---- which cells go first ---- */

static int is_new(const struct ptq_launch *l, int i)
{
    return l->plan->cell[i].state == PTQ_PLAN_MISSING && !l->given[i];
}

int ptq_slurm_count_new(const struct ptq_launch *l)
{
    int n = 0;
    for (int i = 0; i < l->plan->n; i++) n += is_new(l, i);
    return n;
}

/* What a cell asks of its calibration. */
enum reading { NO_STATISTICS, MEANS, MOMENTS };

static enum reading reading_of(const struct ptq_plan_cell *cell)
{
    struct ptq_spec spec;
    struct ptq_error ignored;
    if (!cell->cell.calib[0] || ptq_spec_parse(cell->job->spec, &spec, &ignored) || !ptq_spec_reads_stats(&spec))
        return NO_STATISTICS;
    return ptq_spec_need(&spec) & PTQ_NEED_MOMENTS ? MOMENTS : MEANS;
}

/* 1 where no other cell of the same model and calibration measures it for this one and leaves it in the cache: that is
 * the first which needs moments, else the first. */
static int leads(const struct ptq_plan *plan, const enum reading *reading, int i)
{
    for (int j = 0; j < plan->n; j++)
        if (reading[j] + (j < i) > reading[i] && ptq_same_calibration(&plan->cell[j].cell, &plan->cell[i].cell))
            return 0;
    return 1;
}

/* Leaders go at once, and so does who shares nothing; followers when the leaders have ended, however they did. */
static void make_waves(struct slurm *s)
{
    const struct ptq_plan *plan = s->l->plan;
    enum reading *reading = ptq_new(s->l->arena, enum reading, plan->n);
    s->wave = ptq_new(s->l->arena, enum wave, plan->n);
    for (int i = 0; i < plan->n; i++) reading[i] = is_new(s->l, i) ? reading_of(&plan->cell[i]) : NO_STATISTICS;
    for (int i = 0; i < plan->n; i++)
        s->wave[i] = reading[i] == NO_STATISTICS ? ALONE : leads(plan, reading, i) ? LEADERS : FOLLOWERS;
}

/* ---- submitting ---- */

/* One word for the shell. */
static void add_quoted(struct ptq_buffer *text, const char *word)
{
    ptq_buffer_add(text, "'");
    for (; *word; word++)
        if (*word == '\'')
            ptq_buffer_add(text, "'\\''");
        else
            ptq_buffer_bytes(text, word, 1);
    ptq_buffer_add(text, "'");
}

static void add_command(struct ptq_buffer *text, char **argv)
{
    for (; *argv; argv++) {
        add_quoted(text, *argv);
        ptq_buffer_add(text, " ");
    }
}

/* Slurm says which cores a job has; threads beyond them would only be in the way of others. */
static const char threads_of_job[] = "--threads \"${SLURM_CPUS_ON_NODE:-1}\"";

/* The tasks of one array: each takes its line of the list. */
static void write_tasks(struct slurm *s, const struct ptq_plan_cell *const *cell, int n, struct ptq_buffer *text)
{
    ptq_buffer_add(text, "#!/bin/sh\ncase $SLURM_ARRAY_TASK_ID in\n");
    for (int i = 0; i < n; i++)
        ptq_buffer_add(text, "%d) cell=%d:%s;;\n", i, (int)(cell[i]->job - s->l->experiment->job), cell[i]->cell.id);
    ptq_buffer_add(text, "esac\nlog=");
    add_quoted(text, s->l->folder);
    /* What Slurm says of the task, that its time is over, goes into one file with what the task says. A link of that
     * name would have it write elsewhere. */
    ptq_buffer_add(text, "/${cell#*:}.log\nrm -f \"$log\"\nmv -f ");
    add_quoted(text, s->l->folder);
    ptq_buffer_add(text, "/slurm-$SLURM_JOB_ID.log \"$log\" || exec >\"$log\"\nexec 2>&1\nexec ");
    char **argv = ptq_launch_command(s->l, cell[0], 0), **end = argv;
    while (*end) end++;
    end[-2] = NULL; /* "--cell" and its value, which the list has */
    add_command(text, argv);
    ptq_buffer_add(text, "%s --cell \"$cell\"\n", threads_of_job);
}

/* Slurm's name of a file, in which % is a place for a number. */
static char *slurm_log(struct ptq_arena *arena, const char *folder)
{
    struct ptq_buffer name = {0};
    for (const char *at = folder; *at; at++) ptq_buffer_add(&name, *at == '%' ? "%%%%" : "%c", *at);
    char *output = ptq_format(arena, "--output=%s/slurm-%%j.log", name.data);
    free(name.data);
    return output;
}

/* What is written down is what another call asks Slurm for, even where the rest cannot be submitted; a job that cannot
 * be written down nobody would wait for. */
static enum ptq_status write_queue(struct slurm *s, const char *job)
{
    const char *path = ptq_format(s->l->arena, "%s/queue", s->l->folder);
    enum ptq_status status = ptq_write_file(path, s->queue.data, s->queue.size, s->err);
    s->n_queued += !status;
    if (!status) return PTQ_OK;
    char *said, *argv[] = {"scancel", (char *)job, NULL};
    struct ptq_error second;
    int cancelled = !ptq_program_run(s->l->arena, argv, PTQ_PROGRAM_COMPLETES, ptq_slurm_hint, &said, &second);
    return ptq_within(s->err, cancelled ? "Slurm job %s is cancelled" : "Slurm job %s goes on, cancel it by hand", job);
}

/* sbatch with a script; *job in the arena. */
static enum ptq_status submit(struct slurm *s, const struct ptq_buffer *script, const char *array, const char *after,
                              const char **job)
{
    struct ptq_arena *a = s->l->arena;
    char *path = ptq_format(a, "%s/%lld.sh", s->folder, (long long)s->scripts++), *said;
    PTQ_TRY(ptq_write_file(path, script->data, script->size, s->err));
    char *argv[16] = {"sbatch", "--parsable", "--export=ALL",
                      ptq_format(a, "--job-name=ptq-%s", s->l->experiment->name), slurm_log(a, s->folder)};
    int n = 5;
    if (array) argv[n++] = ptq_format(a, "--array=%s", array);
    if (array && s->l->options->threads)
        argv[n++] = ptq_format(a, "--cpus-per-task=%lld", (long long)s->l->options->threads);
    if (after) argv[n++] = ptq_format(a, "--dependency=afterany:%s", after);
    argv[n++] = path;
    PTQ_TRY(ptq_program_run(a, argv, PTQ_PROGRAM_COMPLETES, ptq_slurm_hint, &said, s->err));
    said[strcspn(said, ";\n")] = 0; /* "12;cluster" */
    int64_t number;
    if (!ptq_parse_int(said, 1, INT64_MAX, &number))
        return ptq_fail(s->err, PTQ_EIO, "sbatch answers '%.80s', which is no job's number", said);
    *job = said;
    return PTQ_OK;
}

/* Some cells as one array. after: jobs that end before, or NULL. */
static enum ptq_status submit_array(struct slurm *s, const struct ptq_plan_cell *const *cell, int n, const char *after)
{
    struct ptq_buffer script = {0};
    const char *job;
    /* What a task of an earlier call said is not what this one says, should it never start. */
    for (int i = 0; i < n; i++) ptq_remove_name(AT_FDCWD, ptq_launch_log(s->l, cell[i]->cell.id), NULL);
    write_tasks(s, cell, n, &script);
    const char *array = ptq_format(s->l->arena, "0-%d%s", n - 1, s->limit);
    enum ptq_status status = submit(s, &script, array, after, &job);
    free(script.data);
    PTQ_TRY(status);
    if (!s->queue.data) ptq_buffer_add(&s->queue, "user %lld\n", (long long)getuid());
    for (int i = 0; i < n; i++) ptq_buffer_add(&s->queue, "%s %d %s\n", job, i, cell[i]->cell.id);
    ptq_buffer_add(&s->all, "%s%s", s->all.data ? ":" : "", job);
    s->last = job;
    PTQ_TRY(write_queue(s, job));
    if (!s->l->options->quiet) fprintf(s->l->log, "Slurm job %s: %d cell%s\n", job, n, n == 1 ? "" : "s");
    return PTQ_OK;
}

/* The missing cells of one kind, in arrays that Slurm takes. With a limit on tasks at a time, an array waits for the
 * one before it: the limit is of each array. */
static enum ptq_status submit_wave(struct slurm *s, enum wave wave, const char *after)
{
    const struct ptq_plan *plan = s->l->plan;
    const struct ptq_plan_cell **cell = ptq_new(s->l->arena, const struct ptq_plan_cell *, plan->n);
    int n = 0;
    for (int i = 0; i < plan->n; i++)
        if (is_new(s->l, i) && s->wave[i] == wave) cell[n++] = &plan->cell[i];
    for (int at = 0; at < n; at += (int)s->array) {
        int here = n - at < s->array ? n - at : (int)s->array;
        PTQ_TRY(submit_array(s, cell + at, here, *s->limit && s->last ? s->last : after));
    }
    return PTQ_OK;
}

static enum ptq_status submit_merge(struct slurm *s)
{
    struct ptq_buffer script = {0};
    const char *job;
    ptq_buffer_add(&script, "#!/bin/sh\nexec ");
    add_command(&script, ptq_launch_command(s->l, NULL, 0));
    ptq_buffer_add(&script, "%s\n", threads_of_job);
    enum ptq_status status = submit(s, &script, NULL, s->all.data, &job);
    free(script.data);
    PTQ_TRY(status);
    ptq_buffer_add(&s->queue, "%s - merge\n", job);
    return write_queue(s, job);
}

/* How many tasks an array may have here. */
static enum ptq_status ask_array_size(struct slurm *s)
{
    const char *said;
    int64_t size;
    PTQ_TRY(ptq_slurm_config(s->l->arena, "MaxArraySize", &said, s->err));
    s->array = ptq_parse_int(said, 2, 1 << 30, &size) && size - 1 < MAX_ARRAY ? size - 1 : MAX_ARRAY;
    return PTQ_OK;
}

static enum ptq_status submit_all(struct slurm *s)
{
    PTQ_TRY(ask_array_size(s));
    make_waves(s);
    s->limit = s->l->options->jobs ? ptq_format(s->l->arena, "%%%lld", (long long)s->l->options->jobs) : "";
    PTQ_TRY(submit_wave(s, LEADERS, NULL));
    const char *leaders = s->all.data ? ptq_strdup(s->l->arena, s->all.data) : NULL;
    PTQ_TRY(submit_wave(s, ALONE, NULL));
    PTQ_TRY(submit_wave(s, FOLLOWERS, leaders));
    return submit_merge(s);
}

/* From the root, since Slurm reads % also in the name of the folder that it is in; by the name that sbatch gives it. */
static enum ptq_status find_folder(struct slurm *s)
{
    const char *folder = s->l->folder;
    char here[PATH_MAX] = "";
    if (*folder != '/' && !getcwd(here, sizeof here))
        return ptq_fail(s->err, PTQ_EIO, "the folder that ptq is in has no name: %s", strerror(errno));
    s->folder = *folder == '/' ? folder : ptq_format(s->l->arena, "%s/%s", here, folder);
    if (strchr(s->folder, '\\'))
        return ptq_fail(s->err, PTQ_EINPUT, "%s: Slurm takes no backslash in a path; give another -o FILE", s->folder);
    return PTQ_OK;
}

enum ptq_status ptq_slurm_submit(struct ptq_launch *l, struct ptq_error *err)
{
    struct slurm s = {.l = l, .err = err};
    PTQ_TRY(ptq_slurm_check_cluster(err));
    PTQ_TRY(find_folder(&s));
    PTQ_TRY(ptq_launch_begin(l, err));
    enum ptq_status status = submit_all(&s);
    struct ptq_error second; /* the first one is what is said */
    if (!s.n_queued)
        ptq_launch_end(l, &second); /* nothing was submitted that could read it */
    else if (status)
        ptq_within(err, "what Slurm has taken goes on, and the same command waits for it");
    for (int i = 0; i < l->plan->n; i++) l->given[i] |= (char)is_new(l, i);
    free(s.queue.data);
    free(s.all.data);
    return status;
}
