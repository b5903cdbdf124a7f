#include "reference.h"

#include "forward.h"
#include "mapped.h"
#include "ops.h"
#include "progress.h"

#include <string.h>

enum { DIGEST = PTQ_SHA256_HEX - 1, PIECES = 6 };

int64_t ptq_reference_bytes = 64 << 20;

static const char magic[16] = "ptq-reference 1\n";

/* The beginning of a file; behind it the arrays of ptq_reference_rows in their order, and the SHA-256 of all that. */
struct head {
    char magic[16];
    char key[72]; /* 64 hex digits and zeros */
    int64_t first, rows, width;
};

/* A chunk that is in memory. */
struct held {
    struct held *next;
    int64_t first;
    struct ptq_reference_rows rows;
};

struct ptq_reference {
    struct ptq_arena *arena;
    const struct ptq_model *model;
    const struct ptq_windows *eval;
    const char *folder; /* of this reference's own files, or NULL */
    char key[PTQ_SHA256_HEX];
    struct held *held;
    int64_t bytes; /* of all that is held */
    int given_up;
};

struct ptq_reference *ptq_reference_make(struct ptq_arena *arena, const struct ptq_model *model, const char *identity,
                                         const struct ptq_windows *eval, const char *folder)
{
    struct ptq_reference *r = ptq_new(arena, struct ptq_reference, 1);
    /* Other kernels or another BLAS round otherwise: theirs is another entry. */
    const char *what = ptq_format(arena, "%.15s %s %s %lldx%lld %s %s", magic, identity, eval->sha256,
                                  (long long)eval->n, (long long)eval->length, ptq_ops()->name, ptq_blas_name());
    *r = (struct ptq_reference){.arena = arena, .model = model, .eval = eval};
    ptq_sha256(what, strlen(what), r->key);
    if (folder) r->folder = ptq_format(arena, "%s/%s", folder, r->key);
    return r;
}

void ptq_reference_room(struct ptq_arena *arena, const struct ptq_reference *r, int64_t windows,
                        struct ptq_reference_rows *out)
{
    out->rows = windows * r->eval->length;
    out->width = r->model->config.embed_width;
    out->offset = ptq_new(arena, double, out->rows);
    out->nll = ptq_new(arena, float, out->rows);
    out->top = ptq_new(arena, int32_t, out->rows);
    out->mean = ptq_new(arena, float, out->rows * out->width);
}

/* ---- files ---- */

static const char *chunk_path(const struct ptq_reference *r, int64_t first, struct ptq_arena *arena)
{
    return ptq_format(arena, "%s/%06lld.ref", r->folder, (long long)first);
}

static void describe(const struct ptq_reference *r, int64_t first, const struct ptq_reference_rows *rows,
                     struct head *head)
{
    *head = (struct head){.first = first, .rows = rows->rows, .width = rows->width};
    memcpy(head->magic, magic, sizeof magic);
    memcpy(head->key, r->key, DIGEST);
}

/* The file as pieces: head, arrays. Returns their bytes together. */
static size_t list_pieces(const struct head *head, const struct ptq_reference_rows *rows, struct ptq_piece piece[5])
{
    size_t n = (size_t)rows->rows, all = 0;
    piece[0] = (struct ptq_piece){head, sizeof *head};
    piece[1] = (struct ptq_piece){rows->offset, n * sizeof *rows->offset};
    piece[2] = (struct ptq_piece){rows->nll, n * sizeof *rows->nll};
    piece[3] = (struct ptq_piece){rows->top, n * sizeof *rows->top};
    piece[4] = (struct ptq_piece){rows->mean, n * (size_t)rows->width * sizeof *rows->mean};
    for (int i = 0; i < 5; i++) all += piece[i].bytes;
    return all;
}

static enum ptq_status store(const struct ptq_reference *r, int64_t first, const struct ptq_reference_rows *rows,
                             struct ptq_arena *scratch, struct ptq_error *err)
{
    struct head head;
    struct ptq_piece piece[PIECES];
    char digest[PTQ_SHA256_HEX];
    describe(r, first, rows, &head);
    list_pieces(&head, rows, piece);
    struct ptq_sha256 *hash = ptq_sha256_begin();
    for (int i = 0; i < PIECES - 1; i++) ptq_sha256_add(hash, piece[i].data, piece[i].bytes);
    ptq_sha256_end(hash, digest);
    piece[PIECES - 1] = (struct ptq_piece){digest, DIGEST};
    PTQ_TRY(ptq_make_folder(r->folder, err));
    return ptq_write_pieces(chunk_path(r, first, scratch), piece, PIECES, err);
}

/* Whether the file is whole and holds just these rows; then they are in out. */
static int read_rows(const struct ptq_reference *r, const struct ptq_mapped *file, int64_t first,
                     struct ptq_reference_rows *out)
{
    struct head head;
    struct ptq_piece piece[PIECES];
    char digest[PTQ_SHA256_HEX];
    describe(r, first, out, &head);
    size_t bytes = list_pieces(&head, out, piece), at = sizeof head;
    if (file->size != bytes + DIGEST || memcmp(file->data, &head, sizeof head)) return 0;
    ptq_sha256(file->data, bytes, digest);
    if (memcmp(digest, file->data + bytes, DIGEST)) return 0;
    void *const array[] = {out->offset, out->nll, out->top, out->mean};
    for (int i = 0; i < 4; i++) {
        memcpy(array[i], file->data + at, piece[i + 1].bytes);
        at += piece[i + 1].bytes;
    }
    return 1;
}

static int fetch(const struct ptq_reference *r, int64_t first, struct ptq_arena *scratch,
                 struct ptq_reference_rows *out)
{
    struct ptq_mapped file;
    struct ptq_error ignored;
    const char *path = r->folder ? chunk_path(r, first, scratch) : NULL;
    if (!path || !ptq_is_file(path) || ptq_map(scratch, path, &file, &ignored)) return 0; /* else computed again */
    int found = read_rows(r, &file, first, out);
    ptq_unmap(&file);
    return found;
}

/* ---- memory ---- */

static const struct held *find_held(const struct ptq_reference *r, int64_t first, int64_t windows)
{
    for (const struct held *h = r->held; h; h = h->next)
        if (h->first == first && h->rows.rows == windows * r->eval->length) return h;
    return NULL;
}

static void hold(struct ptq_reference *r, int64_t first, int64_t windows, const struct ptq_reference_rows *rows)
{
    struct ptq_piece from[PIECES], to[PIECES];
    int64_t bytes = (int64_t)list_pieces(NULL, rows, from);
    if (find_held(r, first, windows) || bytes > ptq_reference_bytes - r->bytes) return;
    struct held *h = ptq_new(r->arena, struct held, 1);
    h->first = first;
    ptq_reference_room(r->arena, r, windows, &h->rows);
    list_pieces(NULL, &h->rows, to);
    for (int i = 1; i < PIECES - 1; i++) memcpy((void *)to[i].data, from[i].data, from[i].bytes);
    r->bytes += bytes;
    h->next = r->held;
    r->held = h;
}

/* ---- the whole ---- */

int ptq_reference_given_up(const struct ptq_reference *r)
{
    return r->given_up;
}

int ptq_reference_is_there(const struct ptq_reference *r, int64_t first, int64_t windows)
{
    if (find_held(r, first, windows)) return 1;
    if (!r->folder) return 0;
    struct ptq_arena *scratch = ptq_arena_make("a reference's name");
    int found = ptq_is_file(chunk_path(r, first, scratch)); /* where nobody can say, it is computed again */
    ptq_arena_free(scratch);
    return found;
}

void ptq_reference_put(struct ptq_reference *r, int64_t first, int64_t windows, const struct ptq_reference_rows *rows)
{
    struct ptq_error err = {.text = "there is no folder"};
    struct ptq_arena *scratch = ptq_arena_make("a reference's file");
    hold(r, first, windows, rows);
    if (!r->folder || store(r, first, rows, scratch, &err)) {
        int held = find_held(r, first, windows) != NULL;
        if (r->folder || !held)
            ptq_progress_note("the comparison with FP16 is %s: %s", held ? "not kept for the next run" : "left out",
                              err.text);
        r->folder = NULL;
        r->given_up |= !held;
    }
    ptq_arena_free(scratch);
}

static enum ptq_status pass(const struct ptq_reference *r, int64_t first, int64_t windows, struct ptq_arena *work,
                            struct ptq_reference_rows *out, struct ptq_error *err)
{
    struct ptq_forward f;
    struct ptq_progress progress = {0};
    int64_t length = r->eval->length, blocks = r->model->config.blocks;
    ptq_progress_begin(&progress, "FP16 to compare with", (double)(windows * blocks));
    ptq_forward_make(work, r->model, r->eval->id + first * length, windows, length, &f);
    PTQ_TRY(ptq_forward_embed(&f, err));
    for (int64_t b = 0; b < blocks; b++) {
        struct ptq_mark mark = ptq_arena_mark(work);
        struct ptq_block block;
        PTQ_TRY(ptq_interrupted(err));
        PTQ_TRY(ptq_block_load(r->model, b, work, &block, err));
        PTQ_TRY(ptq_forward_block(&f, &block, b, NULL, err));
        ptq_arena_rewind(work, mark);
        ptq_progress_step(&progress, (double)windows);
    }
    float *nll = ptq_new(work, float, windows *(length - 1));
    PTQ_TRY(ptq_forward_score(&f, work, NULL, out, &(struct ptq_scores){.nll = nll}, err));
    ptq_progress_end(&progress);
    return PTQ_OK;
}

enum ptq_status ptq_reference_get(struct ptq_reference *r, int64_t first, int64_t windows, struct ptq_arena *arena,
                                  struct ptq_reference_rows *out, struct ptq_error *err)
{
    const struct held *held = find_held(r, first, windows);
    if (held) {
        *out = held->rows;
        return PTQ_OK;
    }
    ptq_reference_room(arena, r, windows, out);
    struct ptq_arena *work = ptq_arena_make("the full-precision pass");
    enum ptq_status status = PTQ_OK;
    if (fetch(r, first, work, out)) {
        hold(r, first, windows, out);
    } else {
        status = pass(r, first, windows, work, out, err);
        if (!status) ptq_reference_put(r, first, windows, out);
    }
    ptq_arena_free(work);
    return status;
}
