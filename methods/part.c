#include "part.h"

#include "beside.h"
#include "cell_file.h"
#include "mapped.h"
#include "method.h"
#include "part_check.h"
#include "progress.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIGEST = PTQ_SHA256_HEX - 1 };

static const double default_pause = 60, most_seconds = 1e9;
static const char magic[16] = "ptq-next-x 1\n";

struct head {
    char magic[16];
    char stamp[72]; /* 64 hex digits and zeros */
    int64_t position, rows, columns;
    double seconds;
};

struct ptq_part {
    const char *folder, *spec, *next; /* next: the path of next.x */
    char stamp[PTQ_SHA256_HEX];
    const struct ptq_model *model;
    struct ptq_grid grid;
    int64_t blocks, width, ff;
    double pause, last; /* seconds between two next.x; when the last one was written */
    int64_t written;    /* the position of next.x, 0 where it is not ours */
    int given_up;       /* 1: the disk did not take something, so nothing more is written */
};

static enum ptq_status read_pause(double *out, struct ptq_error *err)
{
    const char *text = getenv("PTQ_CHECKPOINT_SECONDS");
    char *end;
    *out = default_pause;
    if (!text || !*text) return PTQ_OK;
    *out = strtod(text, &end);
    if (*end || end == text || !(*out >= 0))
        return ptq_fail(err, PTQ_EUSAGE, "PTQ_CHECKPOINT_SECONDS is '%.40s'; give a number of seconds from 0 on", text);
    return PTQ_OK;
}

enum ptq_status ptq_part_open(struct ptq_arena *arena, const struct ptq_cell *cell, const struct ptq_spec *spec,
                              const struct ptq_model *model, struct ptq_part **out, struct ptq_error *err)
{
    *out = NULL;
    if (!cell->part) return PTQ_OK;
    struct ptq_part *p = ptq_new(arena, struct ptq_part, 1);
    PTQ_TRY(read_pause(&p->pause, err));
    p->model = model;
    p->grid = spec->grid;
    const char *stamp = ptq_format(arena, "id=%s\nkernels=%s\nblas=%s\nversion=%s\ncommit=%s\ncompiler=%s\n", cell->id,
                                   cell->kernels, cell->blas, cell->version, cell->commit, cell->compiler);
    ptq_sha256(stamp, strlen(stamp), p->stamp);
    p->folder = cell->part;
    p->spec = cell->spec;
    p->next = ptq_format(arena, "%s/next.x", p->folder);
    p->blocks = model->config.blocks;
    p->width = model->config.width;
    p->ff = model->config.ff;
    p->last = ptq_seconds();
    *out = p;
    return PTQ_OK;
}

static const char *block_path(const struct ptq_part *p, int64_t index, struct ptq_arena *arena)
{
    return ptq_format(arena, "%s/block-%04lld.h5", p->folder, (long long)index);
}

/* ---- the calibration windows ---- */

/* x of a position has so many rows. */
static int64_t rows_at(const struct ptq_part *p, int64_t position, const struct ptq_forward *travel)
{
    return position == p->blocks ? 0 : travel->windows * travel->length;
}

static void hash_pieces(const struct ptq_piece *piece, int n, char digest[PTQ_SHA256_HEX])
{
    struct ptq_sha256 *hash = ptq_sha256_begin();
    for (int i = 0; i < n; i++) ptq_sha256_add(hash, piece[i].data, piece[i].bytes);
    ptq_sha256_end(hash, digest);
}

static void give_up(struct ptq_part *p, const struct ptq_error *err)
{
    ptq_progress_note("%s: goes on, but were it killed it could not be resumed from here on: %s", p->spec, err->text);
    p->given_up = 1;
}

void ptq_part_move(struct ptq_part *p, int64_t position, struct ptq_forward *travel, double seconds, int now)
{
    int due = now || position == p->blocks || ptq_seconds() - p->last >= p->pause;
    if (p->given_up || position <= p->written || !due) return;
    struct ptq_error err;
    if (position < p->blocks) ptq_forward_here(travel);
    struct head head = {
        .position = position, .rows = rows_at(p, position, travel), .columns = p->width, .seconds = seconds};
    memcpy(head.magic, magic, sizeof magic);
    memcpy(head.stamp, p->stamp, DIGEST);
    char digest[PTQ_SHA256_HEX];
    struct ptq_piece piece[] = {
        {&head, sizeof head}, {travel->x, sizeof(float) * (size_t)(head.rows * head.columns)}, {digest, DIGEST}};
    hash_pieces(piece, 2, digest);
    if (ptq_write_pieces(p->next, piece, 3, &err)) {
        give_up(p, &err);
        return;
    }
    p->written = position;
    p->last = ptq_seconds();
}

/* Why a next.x cannot be gone on from; NULL where it can. */
static const char *check_next(const struct ptq_part *p, const struct ptq_mapped *file, const struct ptq_forward *travel,
                              struct head *head)
{
    if (file->size < sizeof *head + DIGEST) return "is cut short";
    memcpy(head, file->data, sizeof *head);
    char digest[PTQ_SHA256_HEX];
    hash_pieces(&(struct ptq_piece){file->data, file->size - DIGEST}, 1, digest);
    if (memcmp(digest, file->data + file->size - DIGEST, DIGEST)) return "is damaged (SHA-256)";
    if (memcmp(head->magic, magic, sizeof magic) || memcmp(head->stamp, p->stamp, DIGEST))
        return "is another cell's, or was made by another build or other kernels";
    if (head->position < 1 || head->position > p->blocks || head->columns != p->width ||
        head->rows != rows_at(p, head->position, travel) ||
        file->size != sizeof *head + sizeof(float) * (size_t)(head->rows * head->columns) + DIGEST)
        return "has another shape than the cell's";
    if (!(head->seconds >= 0 && head->seconds <= most_seconds)) return "says that it took no time that can be";
    return NULL;
}

/* All blocks before position are there and whole. */
static enum ptq_status check_blocks(const struct ptq_part *p, int64_t position, struct ptq_arena *scratch,
                                    struct ptq_error *err)
{
    for (int64_t i = 0; i < position; i++) {
        struct ptq_mark mark = ptq_arena_mark(scratch);
        struct ptq_kept kept;
        struct ptq_linear_report *report;
        int n;
        PTQ_TRY(ptq_part_get(p, i, scratch, &kept, &report, &n, err));
        ptq_arena_rewind(scratch, mark);
    }
    return PTQ_OK;
}

static enum ptq_status take_up(struct ptq_part *p, struct ptq_arena *scratch, struct ptq_forward *travel,
                               double *seconds, struct ptq_error *err)
{
    struct ptq_mapped file;
    struct head head;
    PTQ_TRY(ptq_map(scratch, p->next, &file, err));
    const char *why = check_next(p, &file, travel, &head);
    enum ptq_status status = why ? ptq_fail(err, PTQ_EINPUT, "%s: %s", p->next, why) : PTQ_OK;
    if (!status) status = check_blocks(p, head.position, scratch, err);
    if (!status) {
        memcpy(travel->x, file.data + sizeof head, sizeof(float) * (size_t)(head.rows * head.columns));
        *seconds = head.seconds;
        p->written = head.position;
    }
    ptq_unmap(&file);
    return status;
}

int64_t ptq_part_resume(struct ptq_part *p, struct ptq_forward *travel, double *seconds)
{
    struct ptq_error err;
    if (ptq_check_own_folder(p->folder, &err)) return 0; /* and its first block will say so */
    ptq_sweep_temporaries(p->next);
    enum ptq_kind kind;
    enum ptq_status unknown = ptq_look(p->next, &kind, &err);
    if (!unknown && kind != PTQ_FILE) return 0;
    struct ptq_arena *scratch = ptq_arena_make("a finished part");
    if (unknown || take_up(p, scratch, travel, seconds, &err))
        ptq_progress_note("%s: starts at its first block, since what is kept of it cannot be used: %s", p->spec,
                          err.text);
    else if (p->written < p->blocks)
        ptq_progress_note("%s: resumed at block %lld of %lld", p->spec, (long long)p->written + 1,
                          (long long)p->blocks);
    else
        ptq_progress_note("%s: resumed behind its last block, number %lld", p->spec, (long long)p->blocks);
    ptq_arena_free(scratch);
    return p->written;
}

/* ---- a block ---- */

enum { N_NUMBERS = 8 };

/* What numbers of /ROLE are. */
static void list_numbers(const struct ptq_qmat *q, int64_t number[N_NUMBERS])
{
    const int64_t all[N_NUMBERS] = {q->n,        q->k,          q->grid.w_bit,     q->grid.group_size,
                                    q->grid.sym, q->grid.range, q->grid.scale_f16, q->n_keep};
    memcpy(number, all, sizeof all);
}

/* Into group /ROLE. */
static enum ptq_status put_linear(struct ptq_h5 *h5, const char *at, const struct ptq_qmat *q, const float *bias,
                                  struct ptq_arena *arena, struct ptq_error *err)
{
    int64_t number[N_NUMBERS], *perm = ptq_new(arena, int64_t, q->k);
    list_numbers(q, number);
    PTQ_TRY(ptq_h5_put_ints(h5, at, "numbers", number, N_NUMBERS, err));
    PTQ_TRY(ptq_h5_put_bytes(h5, at, "code", q->code, q->n, q->k, err));
    PTQ_TRY(ptq_h5_put_floats(h5, at, "scale", q->scale, q->n, q->n_groups, err));
    PTQ_TRY(ptq_h5_put_floats(h5, at, "zero", q->zero, q->n, q->n_groups, err));
    if (bias) PTQ_TRY(ptq_h5_put_floats(h5, at, "bias", bias, 1, q->n, err));
    for (int64_t i = 0; q->perm && i < q->k; i++) perm[i] = q->perm[i];
    if (q->perm) PTQ_TRY(ptq_h5_put_ints(h5, at, "perm", perm, q->k, err));
    for (int64_t i = 0; i < q->n_keep; i++) perm[i] = q->keep[i];
    if (q->n_keep) PTQ_TRY(ptq_h5_put_ints(h5, at, "keep", perm, q->n_keep, err));
    return q->n_keep ? ptq_h5_put_floats(h5, at, "kept", q->kept, q->n, q->n_keep, err) : PTQ_OK;
}

static enum ptq_status put_block(const struct ptq_part *p, struct ptq_h5 *h5, int64_t index,
                                 const struct ptq_kept *kept, const struct ptq_linear_report *report, int n,
                                 struct ptq_arena *arena, struct ptq_error *err)
{
    PTQ_TRY(ptq_h5_put_text(h5, "/", "stamp", p->stamp, err));
    PTQ_TRY(ptq_h5_put_int(h5, "/", "block", index, err));
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (kept->q[role].n)
            PTQ_TRY(put_linear(h5, ptq_format(arena, "/%d", role), &kept->q[role], kept->bias[role], arena, err));
    for (int i = 0; i < 4; i++)
        if (kept->norm[i])
            PTQ_TRY(ptq_h5_put_floats(h5, "/", ptq_format(arena, "norm%d", i), kept->norm[i], 1, p->width, err));
    if (kept->activation_scale)
        PTQ_TRY(ptq_h5_put_floats(h5, "/", "activation_scale", kept->activation_scale, 1, p->ff, err));
    return ptq_linears_write(h5, "/reports", report, n, err);
}

/* FILE.cells/ID.part: both are names of ours. */
static enum ptq_status make_folder(const struct ptq_part *p, struct ptq_arena *arena, struct ptq_error *err)
{
    char *parent = ptq_new(arena, char, PATH_MAX);
    ptq_folder_of(p->folder, parent, PATH_MAX);
    PTQ_TRY(ptq_make_own_folder(parent, err));
    return ptq_make_own_folder(p->folder, err);
}

static enum ptq_status write_block(const struct ptq_part *p, int64_t index, const struct ptq_kept *kept,
                                   const struct ptq_linear_report *report, int n, struct ptq_arena *arena,
                                   struct ptq_error *err)
{
    struct ptq_h5 *h5;
    PTQ_TRY(make_folder(p, arena, err));
    PTQ_TRY(ptq_h5_create(block_path(p, index, arena), &h5, err));
    enum ptq_status status = put_block(p, h5, index, kept, report, n, arena, err);
    if (!status) return ptq_h5_commit(h5, err);
    ptq_h5_abandon(h5);
    return status;
}

void ptq_part_put(struct ptq_part *p, int64_t index, const struct ptq_kept *kept,
                  const struct ptq_linear_report *report, int n)
{
    struct ptq_error err;
    struct ptq_arena *arena = ptq_arena_make("a finished block");
    if (!p->given_up && write_block(p, index, kept, report, n, arena, &err)) give_up(p, &err);
    ptq_arena_free(arena);
}

/* ---- a block read ---- */

/* Exactly n floats; *out stays NULL where there is no such array. */
static enum ptq_status get_floats(struct ptq_h5 *h5, const char *at, const char *name, int64_t n,
                                  struct ptq_arena *arena, float **out, struct ptq_error *err)
{
    int64_t rows, columns;
    *out = NULL;
    if (!ptq_h5_exists(h5, ptq_format(arena, "%s/%s", at, name))) return PTQ_OK;
    PTQ_TRY(ptq_h5_floats(h5, at, name, arena, out, &rows, &columns, err));
    if (rows * columns == n) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s of %s has another size than the linear's", name, at);
}

static enum ptq_status get_columns(struct ptq_h5 *h5, const char *at, const char *name, int64_t n,
                                   struct ptq_arena *arena, int32_t **out, struct ptq_error *err)
{
    int64_t *column, found;
    *out = NULL;
    if (!ptq_h5_exists(h5, ptq_format(arena, "%s/%s", at, name))) return PTQ_OK;
    PTQ_TRY(ptq_h5_ints(h5, at, name, arena, &column, &found, err));
    if (found != n) return ptq_fail(err, PTQ_EINPUT, "%s of %s has another size than the linear's", name, at);
    *out = ptq_new(arena, int32_t, n);
    for (int64_t i = 0; i < n; i++) /* none is -1, which is refused like whatever else is no column */
        (*out)[i] = column[i] >= 0 && column[i] <= INT32_MAX ? (int32_t)column[i] : -1;
    return PTQ_OK;
}

/* Sizes and grid, which the cell and the model know: only n_keep is the file's to say. */
static enum ptq_status get_numbers(const struct ptq_part *p, struct ptq_h5 *h5, const char *at, enum ptq_role role,
                                   struct ptq_arena *arena, struct ptq_qmat *q, struct ptq_error *err)
{
    int64_t number[N_NUMBERS], *found, n, wrong = -1;
    *q = (struct ptq_qmat){.grid = p->grid};
    ptq_linear_size(&p->model->config, role, &q->n, &q->k);
    q->n_groups = ptq_n_groups(q->k, q->grid.group_size);
    PTQ_TRY(ptq_h5_ints(h5, at, "numbers", arena, &found, &n, err));
    if (n != N_NUMBERS) return ptq_fail(err, PTQ_EINPUT, "%s/numbers: are not %d", at, N_NUMBERS);
    q->n_keep = found[N_NUMBERS - 1];
    list_numbers(q, number);
    for (int i = 0; i < N_NUMBERS && wrong < 0; i++)
        if (found[i] != number[i]) wrong = i;
    if (wrong < 0 && (q->n_keep < 0 || q->n_keep > q->k)) wrong = N_NUMBERS - 1;
    if (wrong < 0) return PTQ_OK;
    return ptq_fail(err, PTQ_EINPUT, "%s/numbers: value %lld is %lld, which is not this cell's", at, (long long)wrong,
                    (long long)found[wrong]);
}

static enum ptq_status get_linear(const struct ptq_part *p, struct ptq_h5 *h5, enum ptq_role role,
                                  struct ptq_arena *arena, struct ptq_qmat *q, float **bias, struct ptq_error *err)
{
    int64_t found;
    const char *at = ptq_format(arena, "/%d", role);
    PTQ_TRY(get_numbers(p, h5, at, role, arena, q, err));
    PTQ_TRY(ptq_h5_bytes(h5, at, "code", arena, &q->code, &found, err));
    if (found != q->n * q->k) return ptq_fail(err, PTQ_EINPUT, "code of %s has another size than the linear's", at);
    PTQ_TRY(get_floats(h5, at, "scale", q->n * q->n_groups, arena, &q->scale, err));
    PTQ_TRY(get_floats(h5, at, "zero", q->n * q->n_groups, arena, &q->zero, err));
    PTQ_TRY(get_floats(h5, at, "bias", q->n, arena, bias, err));
    PTQ_TRY(get_columns(h5, at, "perm", q->k, arena, &q->perm, err));
    PTQ_TRY(get_columns(h5, at, "keep", q->n_keep, arena, &q->keep, err));
    PTQ_TRY(get_floats(h5, at, "kept", q->n * q->n_keep, arena, &q->kept, err));
    if (q->scale && q->zero && !q->n_keep == !q->keep && !q->n_keep == !q->kept)
        return ptq_part_check_linear(at, q, *bias, arena, err);
    return ptq_fail(err, PTQ_EINPUT, "an array of %s is missing", at);
}

static enum ptq_status get_block(const struct ptq_part *p, struct ptq_h5 *h5, int64_t index, struct ptq_arena *arena,
                                 struct ptq_kept *out, struct ptq_error *err)
{
    const char *stamp;
    int64_t block;
    PTQ_TRY(ptq_h5_text(h5, "/", "stamp", arena, &stamp, err));
    PTQ_TRY(ptq_h5_int(h5, "/", "block", &block, err));
    if (strcmp(stamp, p->stamp) || block != index)
        return ptq_fail(err, PTQ_EINPUT, "is another cell's, or was made by another build or other kernels");
    *out = (struct ptq_kept){0};
    for (int role = 0; role < PTQ_N_ROLE; role++)
        if (p->model->config.family->hf.linear[role])
            PTQ_TRY(get_linear(p, h5, (enum ptq_role)role, arena, &out->q[role], &out->bias[role], err));
    for (int i = 0; i < 4; i++)
        PTQ_TRY(get_floats(h5, "", ptq_format(arena, "norm%d", i), p->width, arena, &out->norm[i], err));
    float *scale;
    PTQ_TRY(get_floats(h5, "", "activation_scale", p->ff, arena, &scale, err));
    out->activation_scale = scale;
    return ptq_part_check_rest(out, p->width, p->ff, err);
}

struct wanted {
    const struct ptq_part *part;
    const char *path;
    int64_t index;
};

struct found {
    struct ptq_kept kept;
    struct ptq_linear_report *report;
    int n;
};

static enum ptq_status read_block(struct ptq_h5 *h5, const void *context, struct ptq_arena *arena, void **out,
                                  struct ptq_error *err)
{
    const struct wanted *w = context;
    struct found *found = *out = ptq_new(arena, struct found, 1);
    PTQ_TRY(get_block(w->part, h5, w->index, arena, &found->kept, err));
    PTQ_TRY(ptq_linears_read(h5, w->path, "/reports", arena, &found->report, &found->n, err));
    return ptq_part_check_reports(w->part->model, w->index, found->report, found->n, err);
}

enum ptq_status ptq_part_get(const struct ptq_part *p, int64_t index, struct ptq_arena *arena, struct ptq_kept *out,
                             struct ptq_linear_report **report, int *n, struct ptq_error *err)
{
    void *found;
    struct wanted wanted = {p, block_path(p, index, arena), index};
    if (ptq_h5_read(wanted.path, read_block, &wanted, arena, &found, sizeof(struct found), err))
        return ptq_within(err, "%s", wanted.path);
    *out = ((const struct found *)found)->kept;
    *report = ((const struct found *)found)->report;
    *n = ((const struct found *)found)->n;
    return PTQ_OK;
}
