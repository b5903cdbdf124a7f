/* --launcher slurm: missing cells as job arrays, and a job behind them that joins what they wrote. */
#include "launch.h"

#include "beside.h"
#include "mapped.h"
#include "method.h"
#include "program.h"
#include "progress.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char hint[] = "--launcher slurm needs a Slurm whose commands are in PATH (Debian: slurm-client)";
enum { QUEUE_LIMIT = 1 << 22, MAX_ARRAY = 1000, POLL_MS = 500, MAX_POLL_MS = 15000 };

enum wave { LEADERS, ALONE, FOLLOWERS };

/* One call. */
struct slurm {
    struct ptq_launch *l;
    enum wave *wave;         /* [cells of the plan] */
    struct ptq_buffer queue; /* the file of that name */
    const char *last;        /* the job that was submitted last, or NULL */
    struct ptq_buffer all;   /* "12:13:14", jobs for the merge to wait for */
    const char *limit;       /* "%N" or "" */
    const char *folder;      /* FILE.tasks, from the root */
    int64_t array, scripts;  /* cells in an array at most; arrays so far */
    struct ptq_error *err;
};

/* ---- what Slurm is ---- */

/* The value of a line "NAME   = VALUE" of Slurm's configuration, "" where there is none. */
static enum ptq_status ask_config(struct ptq_arena *arena, const char *name, const char **value, struct ptq_error *err)
{
    char *said, *argv[] = {"scontrol", "show", "config", NULL};
    PTQ_TRY(ptq_program_run(arena, argv, PTQ_PROGRAM_IS_KILLED, hint, &said, err));
    const char *at = strstr(said, name);
    if (at) at += strcspn(at, "=\n");
    if (at) at += strspn(at, "= ");
    *value = at ? ptq_strndup(arena, at, strcspn(at, "\n")) : "";
    return PTQ_OK;
}

/* Jobs have numbers of their own in each cluster, and those in which cluster is nowhere written down. */
static enum ptq_status check_cluster(struct ptq_error *err)
{
    static const char *const names[] = {"SLURM_CLUSTERS", "SBATCH_CLUSTERS"};
    for (int i = 0; i < 2; i++)
        if (getenv(names[i]))
            return ptq_fail(err, PTQ_EINPUT,
                            "%s is set, but --launcher slurm knows one cluster, that of slurm.conf; unset it",
                            names[i]);
    return PTQ_OK;
}

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

static int same_calibration(const struct ptq_cell *a, const struct ptq_cell *b)
{
    return strcmp(a->calib_sha256, b->calib_sha256) == 0 && strcmp(a->model_sha256, b->model_sha256) == 0;
}

/* 1 where no other cell of the same model and calibration measures it for this one and leaves it in the cache: that is
 * the first which needs moments, else the first. */
static int leads(const struct ptq_plan *plan, const enum reading *reading, int i)
{
    for (int j = 0; j < plan->n; j++)
        if (reading[j] + (j < i) > reading[i] && same_calibration(&plan->cell[j].cell, &plan->cell[i].cell)) return 0;
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

/* What is written down is what another call asks Slurm for, even where the rest cannot be submitted. */
static enum ptq_status write_queue(const struct slurm *s)
{
    return ptq_write_file(ptq_format(s->l->arena, "%s/queue", s->l->folder), s->queue.data, s->queue.size, s->err);
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
    PTQ_TRY(ptq_program_run(a, argv, PTQ_PROGRAM_COMPLETES, hint, &said, s->err));
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
    PTQ_TRY(write_queue(s));
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
    return write_queue(s);
}

/* How many tasks an array may have here. */
static enum ptq_status ask_array_size(struct slurm *s)
{
    const char *said;
    int64_t size;
    PTQ_TRY(ask_config(s->l->arena, "MaxArraySize", &said, s->err));
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
    PTQ_TRY(check_cluster(err));
    PTQ_TRY(find_folder(&s));
    PTQ_TRY(ptq_launch_begin(l, err));
    enum ptq_status status = submit_all(&s);
    struct ptq_error second;                       /* the first one is what is said */
    if (!s.queue.data) ptq_launch_end(l, &second); /* nothing was submitted that could read it */
    for (int i = 0; i < l->plan->n; i++) l->given[i] |= (char)is_new(l, i);
    free(s.queue.data);
    free(s.all.data);
    return status;
}

/* ---- asking ---- */

/* The jobs of a queue: lines of "JOB INDEX ID" behind "user UID". */
struct jobs {
    int64_t *number; /* [n] */
    int *left;       /* [n]: tasks that are pending or running */
    int n;
};

/* An array's lines stand together. */
static struct jobs jobs_of(struct ptq_arena *arena, const char *queue)
{
    int lines = 0;
    for (const char *at = queue; *at; at++) lines += *at == '\n';
    struct jobs jobs = {.number = ptq_new(arena, int64_t, lines + 1), .left = ptq_new(arena, int, lines + 1)};
    for (const char *at = queue; *at; at += strcspn(at, "\n"), at += *at == '\n') {
        int64_t number = strtoll(at, NULL, 10);
        if (number && (!jobs.n || jobs.number[jobs.n - 1] != number)) jobs.number[jobs.n++] = number;
    }
    return jobs;
}

/* What people set for a squeue of their own (SQUEUE_STATES, SQUEUE_PARTITION) would hide tasks from ours. */
static void forget_tastes(void)
{
    char name[NAME_MAX];
    for (char **at = environ; *at;) {
        size_t length = strcspn(*at, "=");
        if (strncmp(*at, "SQUEUE_", 7) || length >= sizeof name) {
            at++;
            continue;
        }
        memcpy(name, *at, length);
        name[length] = 0;
        unsetenv(name);
        at = environ; /* it has moved */
    }
}

/* Where Slurm shows a user's jobs to nobody else, a list without them says nothing. */
static enum ptq_status check_visible(struct ptq_arena *arena, const char *queue, struct ptq_error *err)
{
    long long user;
    const char *hidden;
    if (sscanf(queue, "user %lld", &user) != 1 || user == (long long)getuid()) return PTQ_OK;
    PTQ_TRY(ask_config(arena, "PrivateData", &hidden, err));
    if (!strstr(hidden, "jobs")) return PTQ_OK;
    return ptq_fail(err, PTQ_EIO, "user %lld submitted them, and Slurm shows them to nobody else: PrivateData=%s", user,
                    hidden);
}

/* How many tasks of the jobs in `queue` are pending or running, in whatever partition, whoever owns them. */
static enum ptq_status count_left(struct ptq_arena *arena, const char *queue, struct jobs *jobs, int *left,
                                  struct ptq_error *err)
{
    char *said, *argv[] = {"squeue", "--noheader", "--all", "--array", "--format=%F", NULL};
    *jobs = jobs_of(arena, queue);
    *left = 0;
    forget_tastes();
    PTQ_TRY(check_cluster(err));
    PTQ_TRY(check_visible(arena, queue, err));
    PTQ_TRY(ptq_program_run(arena, argv, PTQ_PROGRAM_IS_KILLED, hint, &said, err));
    for (char *line; (line = strsep(&said, "\n"));) {
        int64_t number = strtoll(line, NULL, 10);
        int i = 0;
        while (i < jobs->n && jobs->number[i] != number) i++;
        if (i == jobs->n) continue;
        jobs->left[i]++;
        ++*left;
    }
    return PTQ_OK;
}

static enum ptq_status read_queue(struct ptq_arena *arena, const char *file, char **queue, struct ptq_error *err)
{
    const char *path = ptq_format(arena, "%s" PTQ_TASKS "/queue", file);
    size_t size;
    enum ptq_kind kind;
    *queue = "";
    PTQ_TRY(ptq_look(path, &kind, err));
    return kind == PTQ_FILE ? ptq_read_file(arena, path, QUEUE_LIMIT, queue, &size, err) : PTQ_OK;
}

/* Whether this process is the job that joins the results: Slurm starts it when all the others have ended. */
static int is_merge_job(struct ptq_arena *arena, const char *queue)
{
    const char *job = getenv("SLURM_JOB_ID");
    if (!job || !*job) return 0;
    const char *at = strstr(queue, ptq_format(arena, "%s - merge\n", job));
    return at && (at == queue || at[-1] == '\n');
}

static enum ptq_status ask(struct ptq_arena *arena, const char *file, char **queue, struct jobs *jobs, int *left,
                           struct ptq_error *err)
{
    *left = 0;
    PTQ_TRY(read_queue(arena, file, queue, err));
    if (!**queue || is_merge_job(arena, *queue)) return PTQ_OK;
    enum ptq_status status = count_left(arena, *queue, jobs, left, err);
    if (!status || status == PTQ_EINTERRUPT) return status;
    struct ptq_error why = *err;
    return ptq_fail(err, PTQ_EIO,
                    "%s: was given to Slurm, which does not say whether its tasks have ended (%.600s); ask again, or "
                    "remove %s" PTQ_TASKS "/queue once they have",
                    file, why.text, file);
}

enum ptq_status ptq_slurm_ask(struct ptq_launch *l, int *left, struct ptq_error *err)
{
    char *queue;
    struct jobs jobs;
    PTQ_TRY(ask(l->arena, l->file, &queue, &jobs, left, err));
    for (int i = 0; *left && i < l->plan->n; i++)
        l->given[i] |= strstr(queue, ptq_format(l->arena, " %s\n", l->plan->cell[i].cell.id)) != NULL;
    return PTQ_OK;
}

enum ptq_status ptq_slurm_check_idle(struct ptq_arena *arena, const char *file, struct ptq_error *err)
{
    char *queue;
    struct jobs jobs;
    int left;
    PTQ_TRY(ask(arena, file, &queue, &jobs, &left, err));
    if (!left) return PTQ_OK;
    struct ptq_buffer list = {0};
    for (int i = 0; i < jobs.n; i++)
        if (jobs.left[i]) ptq_buffer_add(&list, " %lld", (long long)jobs.number[i]);
    ptq_fail(err, PTQ_EIO, "%s: %d tasks in Slurm are at work on it; wait with --launcher slurm, or scancel%.600s",
             file, left, list.data);
    free(list.data);
    return PTQ_EIO;
}

/* ---- waiting ---- */

static void pause_ms(int ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&pause, NULL);
}

/* A Slurm that does not answer is asked again: it may be restarting. */
enum ptq_status ptq_slurm_wait(struct ptq_launch *l, struct ptq_error *err)
{
    char *queue, *seen = ptq_new(l->arena, char, l->plan->n);
    int left = 1, unanswered = 0;
    double started = ptq_seconds();
    memset(seen, 0, (size_t)l->plan->n);
    PTQ_TRY(read_queue(l->arena, l->file, &queue, err));
    while (*queue && left) {
        struct ptq_arena *scratch = ptq_arena_make("Slurm's queue");
        struct jobs jobs;
        enum ptq_status status = count_left(scratch, queue, &jobs, &left, err);
        ptq_arena_free(scratch);
        if (ptq_interrupted(err))
            return ptq_within(err, "the cells stay with Slurm, and the same command waits for them again");
        if (status && !unanswered++ && !l->options->quiet) fprintf(l->log, "%s; waiting\n", err->text);
        if (status) left = 1;
        ptq_launch_watch(l, seen);
        double pause = (ptq_seconds() - started) * 1000 / 20; /* asked more rarely the longer it takes */
        if (left) pause_ms(pause < POLL_MS ? POLL_MS : pause > MAX_POLL_MS ? MAX_POLL_MS : (int)pause);
    }
    return PTQ_OK;
}
