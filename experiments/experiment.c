#include "experiment.h"

#include "entries.h"
#include "table_layout.h"
#include "mapped.h"
#include "schema.h"
#include "variants.h"
#include "words.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is read and crossed on the way from a file to its jobs. */
struct crossing {
    struct ptq_arena *arena;
    const char *file;
    struct ptq_setting setting[PTQ_N_SETTINGS];
    struct ptq_variant *variant;
    int n_variants;
    struct ptq_entry *exclude, *include;
    int n_excludes, n_includes;
    const struct ptq_setting *axis; /* what is being crossed: the experiment's settings, or an entry's of include */
    int at[PTQ_N_SETTINGS];         /* which value of each */
    uint64_t *hash;                 /* of each job, to find those that come twice */
    struct ptq_experiment *out;
    struct ptq_error *err;
};

/* ---- how many ---- */

/* "2 models x 3 w_bit x 9 methods" */
static void add_product(const struct ptq_setting *setting, int n_variants, struct ptq_buffer *text)
{
    for (int i = 0; i < PTQ_N_SETTINGS; i++)
        if (setting[i].n > 1)
            ptq_buffer_add(text, "%d %s x ", setting[i].n, ptq_setting_key((enum ptq_setting_id)i)->name);
    ptq_buffer_add(text, "%d methods", n_variants);
}

/* Adds what crossing makes to *cells, before any of them is made; where: whose axes they are. */
static enum ptq_status count_cells(const struct crossing *c, const struct ptq_setting *setting, int n_variants,
                                   const char *where, double *cells)
{
    double here = n_variants;
    for (int i = 0; i < PTQ_N_SETTINGS; i++)
        if (setting[i].n > 1) here *= setting[i].n;
    *cells += here;
    if (*cells <= PTQ_MAX_CELLS) return PTQ_OK;
    struct ptq_buffer product = {0};
    add_product(setting, n_variants, &product);
    enum ptq_status status =
        ptq_fail(c->err, PTQ_EINPUT, "%s make %.20g cells (%s); at most %d are taken, shorten an axis", where, *cells,
                 product.data, PTQ_MAX_CELLS);
    free(product.data);
    return status;
}

static enum ptq_status count_all(const struct crossing *c, double *cells)
{
    *cells = 0;
    PTQ_TRY(count_cells(c, c->setting, c->n_variants, ptq_format(c->arena, "%s: the axes", c->file), cells));
    for (int i = 0; i < c->n_includes; i++) {
        const struct ptq_entry *e = &c->include[i];
        const char *where =
            ptq_format(c->arena, "%s:%d: with this entry of include the axes", e->node->file, e->node->line);
        PTQ_TRY(count_cells(c, e->setting, e->n_variants, where, cells));
    }
    return PTQ_OK;
}

/* ---- jobs ---- */

static const struct ptq_value *value(const struct crossing *c, enum ptq_setting_id id)
{
    return &c->axis[id].value[c->at[id]];
}

/* The SPEC is canonical by now and names no preset: what that says of the sampling is kept here. */
static struct ptq_job make_job(const struct crossing *c, const struct ptq_variant *variant, const char *spec)
{
    enum ptq_sample sample = (enum ptq_sample)value(c, PTQ_SET_CALIB_SAMPLE)->number;
    return (struct ptq_job){
        .experiment = c->out->name,
        .model = value(c, PTQ_SET_MODELS)->text,
        .spec = spec,
        .text = value(c, PTQ_SET_EVAL_TEXT)->text,
        .calib = value(c, PTQ_SET_CALIB_TEXT)->text,
        .calib_by_default = !c->axis[PTQ_SET_CALIB_TEXT].given,
        .window = value(c, PTQ_SET_EVAL_WINDOW)->number,
        .max_windows = value(c, PTQ_SET_EVAL_WINDOWS)->number,
        .calib_window = value(c, PTQ_SET_CALIB_WINDOW)->number,
        .calib_windows = value(c, PTQ_SET_CALIB_WINDOWS)->number,
        .bos = (enum ptq_bos)value(c, PTQ_SET_EVAL_BOS)->number,
        .calib_sample = sample == PTQ_SAMPLE_AUTO ? variant->sample : sample,
        .seed = (uint64_t)value(c, PTQ_SET_SEED)->number,
        .device = value(c, PTQ_SET_DEVICE)->text,
        .path = value(c, PTQ_SET_PATH)->text,
        .reference = (int)value(c, PTQ_SET_EVAL_REFERENCE)->number,
    };
}

/* What differs between the jobs of one experiment, as one text: equal texts, equal jobs. */
static uint64_t job_hash(const struct ptq_job *job)
{
    const char *texts[] = {job->model, job->spec, job->text, job->calib};
    uint64_t numbers[] = {(uint64_t)job->calib_windows, (uint64_t)job->calib_window, job->seed, job->calib_sample};
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (const char *c = texts[i]; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
        hash *= 1099511628211u;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) hash = (hash ^ numbers[i]) * 1099511628211u;
    return hash;
}

/* Where the hash is the same, so is the rest, but for once in a lifetime. */
static int same_job(const struct ptq_job *a, const struct ptq_job *b)
{
    return strcmp(a->spec, b->spec) == 0 && strcmp(a->model, b->model) == 0 && /* no test: two jobs of one hash */
           strcmp(a->text, b->text) == 0 && strcmp(a->calib, b->calib) == 0 && /* no test: the same */
           a->calib_windows == b->calib_windows && a->calib_window == b->calib_window && /* no test: the same */
           a->seed == b->seed && a->calib_sample == b->calib_sample;                     /* no test: the same */
}

static void add_job(struct crossing *c, const struct ptq_job *job)
{
    uint64_t hash = job_hash(job);
    for (int i = 0; i < c->out->n_jobs; i++)
        if (c->hash[i] == hash && same_job(&c->out->job[i], job)) return; /* no test: two jobs of one 64-bit hash */
    c->hash[c->out->n_jobs] = hash;
    c->out->job[c->out->n_jobs++] = *job;
}

/* Whether some entry of exclude drops the job; each is asked, so that each is known to be of use. */
static enum ptq_status is_excluded(struct crossing *c, const struct ptq_job *job, int *out)
{
    struct ptq_spec spec;
    *out = 0;
    if (c->n_excludes == 0) return PTQ_OK;
    PTQ_TRY(ptq_spec_parse(job->spec, &spec, c->err));
    for (int i = 0; i < c->n_excludes; i++) *out |= ptq_entry_drops(&c->exclude[i], job, &spec);
    return PTQ_OK;
}

/* The next combination of the axes, the last axis fastest; 0 after the last one. */
static int advance(struct crossing *c)
{
    for (int i = PTQ_N_SETTINGS - 1; i >= 0; i--) {
        if (++c->at[i] < c->axis[i].n) return 1;
        c->at[i] = 0;
    }
    return 0;
}

/* Whether all axes that mean something to quantised cells alone stand at their first value. */
static int first_of_quantized(const struct crossing *c)
{
    for (int i = 0; i < PTQ_N_SETTINGS; i++)
        if (ptq_setting_key((enum ptq_setting_id)i)->quantized && c->at[i]) return 0;
    return 1;
}

static enum ptq_status cross_one(struct crossing *c, const struct ptq_variant *variant, int may_exclude)
{
    const char *spec;
    int dropped = 0;
    if (!variant->quantizes && !first_of_quantized(c)) return PTQ_OK;
    PTQ_TRY(ptq_variant_spec(c->arena, variant, value(c, PTQ_SET_W_BIT)->number, value(c, PTQ_SET_GROUP_SIZE)->number,
                             &spec, c->err));
    struct ptq_job job = make_job(c, variant, spec);
    if (may_exclude) PTQ_TRY(is_excluded(c, &job, &dropped));
    if (!dropped) add_job(c, &job);
    return PTQ_OK;
}

static enum ptq_status cross(struct crossing *c, const struct ptq_setting *axis, const struct ptq_variant *variant,
                             int n_variants, int may_exclude)
{
    c->axis = axis;
    do
        for (int v = 0; v < n_variants; v++) PTQ_TRY(cross_one(c, &variant[v], may_exclude));
    while (advance(c));
    return PTQ_OK;
}

/* An entry of exclude that is of no use is most likely misspelt; but --set may have taken away what it was for. */
static enum ptq_status check_excludes(const struct crossing *c, int n_sets)
{
    for (int i = 0; i < c->n_excludes && n_sets == 0; i++) PTQ_TRY(ptq_entry_check_used(&c->exclude[i], c->err));
    if (c->out->n_jobs) return PTQ_OK;
    return ptq_fail(c->err, PTQ_EINPUT, "%s: exclude leaves no cell; take an entry of it out", c->file);
}

static enum ptq_status cross_all(struct crossing *c, int n_sets)
{
    double cells; /* no product of sizes is too large for it */
    PTQ_TRY(count_all(c, &cells));
    c->out->job = ptq_new(c->arena, struct ptq_job, (int64_t)cells);
    c->hash = ptq_new(c->arena, uint64_t, (int64_t)cells);
    PTQ_TRY(cross(c, c->setting, c->variant, c->n_variants, 1));
    for (int i = 0; i < c->n_includes; i++)
        PTQ_TRY(cross(c, c->include[i].setting, c->include[i].variant, c->include[i].n_variants, 0));
    return check_excludes(c, n_sets);
}

/* ---- files ---- */

/* "a/table1.yaml" to "table1" */
static const char *name_of(struct ptq_arena *arena, const char *path)
{
    const char *name = ptq_file_name(path), *dot = strrchr(name, '.');
    size_t length = dot && dot > name ? (size_t)(dot - name) : strlen(name);
    return ptq_strndup(arena, name, length);
}

static const char *with_sets(struct ptq_arena *arena, const char *text, const char *const *sets, int n_sets)
{
    struct ptq_buffer all = {0};
    ptq_buffer_add(&all, "%s", text);
    for (int i = 0; i < n_sets; i++) ptq_buffer_add(&all, "# --set %s\n", sets[i]);
    const char *result = ptq_strdup(arena, all.data);
    free(all.data);
    return result;
}

enum ptq_status ptq_experiment_read(struct ptq_arena *arena, const char *path, const char *const *sets, int n_sets,
                                    struct ptq_experiment *out, struct ptq_error *err)
{
    struct crossing c = {.arena = arena, .file = path, .out = out, .err = err};
    struct ptq_yaml *root;
    const char *text;
    *out = (struct ptq_experiment){0};
    PTQ_TRY(ptq_yaml_read(arena, path, &root, &text, err));
    PTQ_TRY(ptq_settings_read(arena, path, root, sets, n_sets, c.setting, err));
    PTQ_TRY(
        ptq_variants_read(arena, c.setting[PTQ_SET_METHODS].node, PTQ_MAX_VARIANTS, &c.variant, &c.n_variants, err));
    PTQ_TRY(
        ptq_entries_read(arena, PTQ_SET_EXCLUDE, c.setting, c.variant, c.n_variants, &c.exclude, &c.n_excludes, err));
    PTQ_TRY(
        ptq_entries_read(arena, PTQ_SET_INCLUDE, c.setting, c.variant, c.n_variants, &c.include, &c.n_includes, err));
    if (ptq_yaml_get(root, "layout")) {
        struct ptq_table_layout layout; /* a table's business, but what is wrong is said before anything runs */
        PTQ_TRY(ptq_table_layout_read(arena, ptq_yaml_get(root, "layout"), &layout, err));
        out->by_text = ptq_table_layout_has(&layout, "text");
    }
    out->name = name_of(arena, path);
    out->title = c.setting[PTQ_SET_TITLE].value->text;
    out->text = text;
    out->yaml = with_sets(arena, text, sets, n_sets);
    return cross_all(&c, n_sets);
}

static int is_yaml(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return entry->d_name[0] != '.' && dot && strcmp(dot, ".yaml") == 0;
}

static int list_one(const char *folder, const char *name, FILE *out)
{
    struct ptq_arena *arena = ptq_arena_make("experiment");
    struct ptq_experiment experiment;
    struct ptq_error err;
    const char *path = ptq_join(arena, folder, name);
    int bad = ptq_experiment_read(arena, path, NULL, 0, &experiment, &err) != PTQ_OK;
    if (bad)
        fprintf(out, "%-20s broken      %s\n", name_of(arena, name), err.text);
    else
        fprintf(out, "%-20s %5d cell%s %s\n", experiment.name, experiment.n_jobs, experiment.n_jobs == 1 ? " " : "s",
                experiment.title);
    ptq_arena_free(arena);
    return bad;
}

enum ptq_status ptq_experiments_list(const char *folder, FILE *out, struct ptq_error *err)
{
    struct dirent **entry;
    int bad = 0, n = scandir(folder, &entry, is_yaml, alphasort);
    if (n < 0)
        return ptq_fail(err, PTQ_EIO, "%s: cannot be listed: %s; run ptq where the experiments folder is", folder,
                        strerror(errno));
    for (int i = 0; i < n; i++) {
        bad += list_one(folder, entry[i]->d_name, out);
        free(entry[i]);
    }
    free(entry);
    return bad ? ptq_fail(err, PTQ_EINPUT, "%s: %d of %d experiments are broken", folder, bad, n) : PTQ_OK;
}
