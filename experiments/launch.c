#include "launch.h"

#include "beside.h"
#include "mapped.h"
#include "pool.h"
#include "program.h"
#include "progress.h"
#include "shares.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LIMIT = 1 << 24 };

/* ---- what a task is ---- */

static const char *yaml_path(const struct ptq_launch *l)
{
    return ptq_format(l->arena, "%s/%s.yaml", l->folder, l->experiment->name);
}

enum ptq_status ptq_launch_begin(struct ptq_launch *l, struct ptq_error *err)
{
    const char *text = l->experiment->text;
    PTQ_TRY(ptq_make_own_folder(l->folder, err));
    return ptq_write_file(yaml_path(l), text, strlen(text), err);
}

/* ---- its end ---- */

/* Whether name is PREFIX, a number and SUFFIX. */
static int is_numbered(const char *name, const char *prefix, const char *suffix)
{
    size_t skip = strlen(prefix);
    if (strncmp(name, prefix, skip)) return 0;
    size_t digits = strspn(name + skip, "0123456789");
    return digits && strcmp(name + skip + digits, suffix) == 0;
}

/* What a task writes, ID.log, of this plan's cells or of all; and ID.lock, which serves nobody when it has ended. */
static int is_of_a_cell(const struct ptq_launch *l, const char *name)
{
    char id[PTQ_SHA256_HEX];
    return ptq_results_id(name, PTQ_LOCK, id) ||
           (ptq_results_id(name, ".log", id) && (l->of_all || ptq_plan_has(l->plan, id)));
}

/* NAME.yaml: this experiment's, or another one's, whose tasks were run on FILE too. */
static int is_yaml(const struct ptq_launch *l, const char *name, int of_this)
{
    size_t length = strlen(name), stem = length > 5 ? length - 5 : 0;
    if (!stem || strcmp(name + stem, ".yaml")) return 0;
    return of_this == (strlen(l->experiment->name) == stem && memcmp(name, l->experiment->name, stem) == 0);
}

/* The names that this experiment and its Slurm scripts make in FILE.tasks; see launch.h. */
static int remove_task_name(int folder, const char *name, const void *context)
{
    const struct ptq_launch *l = context;
    int is_ours = is_yaml(l, name, 1) || strcmp(name, "queue") == 0 || is_numbered(name, "", ".sh") ||
                  is_numbered(name, "slurm-", ".log") || is_of_a_cell(l, name) || ptq_is_left_over(name);
    return is_ours ? ptq_remove_name(folder, name, NULL) : 0;
}

/* What FILE.tasks holds of others: one of the names, and how many there are. */
struct others {
    const char *yaml, *log, *stray;
    int n_yamls, n_logs, n_strays;
};

/* What cannot be looked at is not of others, and the removal says why it fails. */
static struct others others_in(const struct ptq_launch *l)
{
    struct others o = {0};
    DIR *dir = opendir(l->folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        char id[PTQ_SHA256_HEX];
        int other_yaml = is_yaml(l, name, 0), log = !other_yaml && ptq_results_id(name, ".log", id);
        const char **one = other_yaml ? &o.yaml : log ? &o.log : &o.stray;
        *one = ptq_strdup(l->arena, name);
        ++*(other_yaml ? &o.n_yamls : log ? &o.n_logs : &o.n_strays);
    }
    if (dir) closedir(dir);
    return o;
}

/* "other.yaml and 2 more": *list grows. */
static void add_names(struct ptq_launch *l, const char **list, const char *name, int n, const char *what)
{
    if (!n) return;
    const char *more = n > 1 ? ptq_format(l->arena, " and %d more", n - 1) : "";
    *list = ptq_format(l->arena, "%s%s%s%s%s", *list, **list ? "; " : "", name, more, what);
}

static void say_what_stays(struct ptq_launch *l)
{
    struct others o = others_in(l);
    const char *list = "";
    add_names(l, &list, o.yaml, o.n_yamls, ", of another experiment on this file");
    add_names(l, &list, o.log, o.n_logs, ", in which cells of that may say why they failed");
    add_names(l, &list, o.stray, o.n_strays, ", which no task makes");
    ptq_progress_note("%s: stays with %s", l->folder, *list ? list : "what came meanwhile");
}

enum ptq_status ptq_launch_end(struct ptq_launch *l, struct ptq_error *err)
{
    struct ptq_launch mine = *l;
    mine.of_all |= !others_in(l).n_yamls;
    int cause = ptq_remove_folder(AT_FDCWD, l->folder, remove_task_name, &mine);
    if (cause == ENOTEMPTY)
        say_what_stays(l);
    else if (cause == ENOTDIR)
        ptq_progress_note("%s: stays, since it is no folder of tasks", l->folder);
    else if (cause)
        return ptq_fail(err, PTQ_EIO, "%s: cannot be removed: %s", l->folder, strerror(cause));
    return PTQ_OK;
}

void ptq_launch_settle(struct ptq_launch *l)
{
    unlink(ptq_format(l->arena, "%s/queue", l->folder));
}

/* This program, whatever the folder that it runs in. */
static char *own_path(struct ptq_arena *arena)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    return n > 0 ? ptq_strndup(arena, path, (size_t)n) : ptq_strdup(arena, "ptq");
}

char **ptq_launch_command(struct ptq_launch *l, const struct ptq_plan_cell *cell, int threads)
{
    const struct ptq_run_options *o = l->options;
    char **argv = ptq_new(l->arena, char *, 16 + 2 * o->n_sets), **next = argv;
    *next++ = own_path(l->arena);
    *next++ = "run";
    *next++ = (char *)yaml_path(l);
    *next++ = "-o";
    *next++ = (char *)l->file;
    for (int i = 0; i < o->n_sets; i++) *next++ = "--set", *next++ = (char *)o->set[i];
    if (l->memory) *next++ = "--memory", *next++ = ptq_format(l->arena, "%lld", (long long)l->memory);
    if (threads) *next++ = "--threads", *next++ = ptq_format(l->arena, "%d", threads);
    if (cell)
        *next++ = "--cell",
        *next++ = ptq_format(l->arena, "%d:%s", (int)(cell->job - l->experiment->job), cell->cell.id);
    else
        *next++ = "--merge";
    *next = NULL;
    return argv;
}

const char *ptq_launch_log(struct ptq_launch *l, const char *id)
{
    return ptq_format(l->arena, "%s/%s.log", l->folder, id);
}

/* ---- what became of it ---- */

static void begin_line(const struct ptq_launch *l, const struct ptq_plan_cell *cell)
{
    if (isatty(fileno(l->log))) fprintf(l->log, "\r\033[K"); /* over a line of progress that may stand there */
    ptq_say(l->log, "[%d/%d] %s  ", (int)(cell - l->plan->cell) + 1, l->plan->n, cell->label);
}

void ptq_launch_say_done(const struct ptq_launch *l, const struct ptq_plan_cell *cell, double ppl, double seconds)
{
    char left[128];
    if (l->options->quiet) return;
    begin_line(l, cell);
    ptq_time_left(l->options, l->plan, left, sizeof left);
    ptq_say(l->log, "ppl %.2f  %.1f s%s%s\n", ppl, seconds, left, *left ? " left" : "");
}

void ptq_launch_say_failed(const struct ptq_launch *l, const struct ptq_plan_cell *cell)
{
    if (l->options->quiet) return;
    begin_line(l, cell);
    ptq_say(l->log, "failed: %s\n", cell->why);
}

/* All that the cell's process measured of itself. */
static double seconds_of(const struct ptq_cell *c)
{
    return c->seconds_load + c->seconds_calibrate + c->seconds_quantize + c->seconds_eval +
           (c->kl ? c->seconds_reference : 0);
}

/* What a task has left, counted and said; seconds: of all of the task, 0: not known. Where nobody can read it now, the
 * next look may. */
static void take_result(struct ptq_launch *l, struct ptq_plan_cell *cell, double seconds)
{
    struct ptq_arena *scratch = ptq_arena_make("a cell's file");
    struct ptq_cell *finished;
    struct ptq_error ignored;
    if (ptq_is_file(ptq_format(scratch, "%s" PTQ_CELLS "/%s.h5", l->file, cell->cell.id)) &&
        !ptq_results_one(scratch, l->file, cell->cell.id, &finished, &ignored) && finished) {
        ptq_plan_finish(l->plan, cell, finished);
        if (seconds > 0) ptq_plan_add_beside(l->plan, finished, seconds);
        ptq_launch_say_done(l, cell, finished->ppl, seconds > 0 ? seconds : seconds_of(finished));
    }
    ptq_arena_free(scratch);
}

void ptq_launch_watch(struct ptq_launch *l)
{
    for (struct ptq_plan_cell *cell = l->plan->cell; cell < l->plan->cell + l->plan->n; cell++)
        if (cell->state == PTQ_PLAN_MISSING) take_result(l, cell, 0);
}

/* Slurm's last word in a log: "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT ... DUE TO TIME LIMIT ***"; "" where it
 * has none. */
static const char *word_of_slurm(struct ptq_arena *arena, const char *log)
{
    static const char mark[] = "error: ";
    const char *line = NULL, *word;
    for (const char *at = log; *at; at += strcspn(at, "\n"), at += *at == '\n')
        if (strncmp(at, "slurmstepd", 10) == 0) line = at;
    word = line ? strstr(line, mark) : NULL;
    if (!word) return "";
    word += strlen(mark);
    return ptq_format(arena, "; Slurm says: %.*s", (int)strcspn(word, "\n"), word);
}

/* The last "ptq: why" of a log whose task ended for a reason of its own; "" where it has none. */
static const char *word_of_task(struct ptq_arena *arena, const char *log)
{
    const char *line = NULL;
    for (const char *at = log; *at; at += strcspn(at, "\n"), at += *at == '\n')
        if (strncmp(at, "slurmstepd", 10)) line = at;
    if (!line || strncmp(line, "ptq: ", 5)) return "";
    return ptq_strndup(arena, line + 5, strcspn(line + 5, "\n"));
}

/* What a cell's log says of its end; else what can be said without. */
static const char *reason(struct ptq_launch *l, const char *id)
{
    const char *path = ptq_launch_log(l, id), *task = "", *slurm = "";
    char *text;
    size_t size;
    struct ptq_error ignored;
    if (!ptq_is_file(path))
        return ptq_format(l->arena, "no task is known to have run it: neither a result nor a log in %s is there",
                          l->folder);
    /* A log that cannot be read is named, in place of what it says. */
    if (ptq_read_file(l->arena, path, LOG_LIMIT, &text, &size, &ignored) == PTQ_OK)
        task = word_of_task(l->arena, text), slurm = word_of_slurm(l->arena, text);
    if (!*task)
        task = ptq_format(
            l->arena, "its task ended without a result: killed, or out of time or memory; what it said is in %s", path);
    return ptq_format(l->arena, "%s%s", task, slurm);
}

void ptq_launch_fail_missing(struct ptq_launch *l)
{
    for (struct ptq_plan_cell *cell = l->plan->cell; cell < l->plan->cell + l->plan->n; cell++) {
        struct ptq_error why;
        if (cell->state != PTQ_PLAN_MISSING) continue;
        ptq_fail(&why, PTQ_EINPUT, "%.800s", reason(l, cell->cell.id));
        ptq_plan_fail(l->arena, l->plan, cell, &why);
        ptq_launch_say_failed(l, cell);
    }
}

/* ---- children of this process ---- */

/* One at a time in each slot. */
struct child {
    pid_t pid; /* 0: the slot is empty */
    struct ptq_plan_cell *cell;
    double started;
};

static enum ptq_status start_child(struct ptq_launch *l, struct ptq_plan_cell *cell, int threads, struct child *child,
                                   struct ptq_error *err)
{
    const char *path = ptq_launch_log(l, cell->cell.id);
    ptq_remove_name(AT_FDCWD, path, NULL); /* of an earlier call, or of a stranger who would have us write elsewhere */
    *child = (struct child){.cell = cell, .started = ptq_seconds()};
    int log = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_APPEND | O_CLOEXEC, 0666);
    if (log < 0) return ptq_fail(err, PTQ_EIO, "%s: cannot be written: %s", path, strerror(errno));
    char **argv = ptq_launch_command(l, cell, threads);
    enum ptq_status status = ptq_program_start(argv, log, log, 1, "", &child->pid, err);
    close(log);
    return status;
}

static void end_child(struct ptq_launch *l, struct child *child)
{
    child->pid = 0;
    take_result(l, child->cell, ptq_seconds() - child->started);
}

/* Takes the children that have ended out of their n slots; returns how many run. */
static int count_running(struct ptq_launch *l, struct child *child, int n)
{
    int running = 0;
    for (int i = 0; i < n; i++) {
        int status;
        if (child[i].pid && waitpid(child[i].pid, &status, WNOHANG)) end_child(l, &child[i]);
        running += child[i].pid != 0;
    }
    return running;
}

/* Waits until no more than `most` run. A signal restarts a wait that blocks (SA_RESTART), which then would not see
 * it before a child ends: so the children are looked at 50 times a second, and so is the signal. */
static enum ptq_status wait_until(struct ptq_launch *l, struct child *child, int n, int most, struct ptq_error *err)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    PTQ_TRY(ptq_interrupted(err));
    while (count_running(l, child, n) > most) {
        nanosleep(&pause, NULL);
        PTQ_TRY(ptq_interrupted(err));
    }
    return PTQ_OK;
}

static int empty_slot(const struct child *child)
{
    int i = 0;
    while (child[i].pid) i++;
    return i;
}

static enum ptq_status feed_children(struct ptq_launch *l, struct child *child, int n, struct ptq_error *err)
{
    int threads = ptq_pool_size() / n > 0 ? ptq_pool_size() / n : 1;
    for (struct ptq_plan_cell *cell = l->plan->cell; cell < l->plan->cell + l->plan->n; cell++) {
        if (cell->state != PTQ_PLAN_MISSING) continue;
        PTQ_TRY(wait_until(l, child, n, n - 1, err));
        PTQ_TRY(start_child(l, cell, threads, &child[empty_slot(child)], err));
    }
    return PTQ_OK;
}

enum ptq_status ptq_launch_local(struct ptq_launch *l, struct ptq_error *err)
{
    int n = (int)l->options->jobs;
    struct child *child = ptq_new(l->arena, struct child, n);
    memset(child, 0, sizeof *child * (size_t)n);
    setenv(PTQ_LAUNCHER, ptq_format(l->arena, "%ld", (long)getpid()), 1);
    enum ptq_status status = feed_children(l, child, n, err);
    if (!status) status = wait_until(l, child, n, 0, err);
    /* One signal each, which lets them end in order: a second one would end them at once. */
    for (int i = 0; i < n; i++)
        if (child[i].pid) kill(child[i].pid, SIGTERM);
    for (int i = 0; i < n; i++)
        if (child[i].pid) ptq_program_wait(child[i].pid);
    unsetenv(PTQ_LAUNCHER);
    if (status) ptq_launch_watch(l);
    return status;
}
