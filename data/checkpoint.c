#include "checkpoint.h"

#include "gguf.h"
#include "locate.h"
#include "progress.h"
#include "safetensors.h"
#include "shards.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HASH_STEP = 1 << 20, READ_STEP = 4096, MAX_TENSORS = 1 << 21 };

/* ---- opening ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ptq_tensor *)a)->name, ((const struct ptq_tensor *)b)->name);
}

static enum ptq_status sort_tensors(struct ptq_checkpoint *c, struct ptq_error *err)
{
    qsort(c->tensor, (size_t)c->n_tensors, sizeof *c->tensor, by_name);
    for (int i = 1; i < c->n_tensors; i++) {
        const struct ptq_tensor *a = &c->tensor[i - 1], *b = &c->tensor[i];
        if (strcmp(a->name, b->name)) continue;
        if (a->file == b->file)
            return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%.100s' is there twice", a->file->path, a->name);
        return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%.100s' is there and in %s; one of them must go", a->file->path,
                        a->name, b->file->path);
    }
    return PTQ_OK;
}

static enum ptq_status read_file(struct ptq_arena *arena, struct ptq_checkpoint *c, const struct ptq_mapped *file,
                                 struct ptq_tensor **tensor, size_t *n, struct ptq_error *err)
{
    if (ptq_gguf_is(file)) return ptq_gguf_read(arena, file, &c->gguf, tensor, n, err);
    return ptq_safetensors_read(arena, file, tensor, n, err);
}

static enum ptq_status open_file(struct ptq_arena *arena, const char *path, struct ptq_checkpoint *c,
                                 struct ptq_error *err)
{
    size_t n;
    c->file = ptq_new(arena, struct ptq_mapped, 1);
    PTQ_TRY(ptq_map(arena, path, &c->file[0], err));
    c->n_files = 1;
    PTQ_TRY(read_file(arena, c, &c->file[0], &c->tensor, &n, err));
    c->n_tensors = (int)n;
    return PTQ_OK;
}

/* The tensors of all shards, one shard behind the other. */
static enum ptq_status read_shards(struct ptq_arena *arena, struct ptq_checkpoint *c, struct ptq_error *err)
{
    struct ptq_tensor **tensor = ptq_new(arena, struct ptq_tensor *, c->n_files);
    size_t *n = ptq_new(arena, size_t, c->n_files), total = 0;
    for (int i = 0; i < c->n_files; i++) {
        PTQ_TRY(ptq_safetensors_read(arena, &c->file[i], &tensor[i], &n[i], err));
        total += n[i];
        if (total > MAX_TENSORS) /* no test: 2 million tensors */
            return ptq_fail(err, PTQ_EINPUT, "%s: more than %d tensors", c->path, (int)MAX_TENSORS);
    }
    c->tensor = ptq_new(arena, struct ptq_tensor, total);
    for (int i = 0; i < c->n_files; i++) {
        if (n[i]) memcpy(c->tensor + c->n_tensors, tensor[i], n[i] * sizeof **tensor);
        c->n_tensors += (int)n[i];
    }
    return PTQ_OK;
}

/* Every tensor that the index promises is in the shard where it says. */
static enum ptq_status check_index(const struct ptq_checkpoint *c, const struct ptq_shards *shards,
                                   struct ptq_error *err)
{
    for (size_t i = 0; i < shards->n_entries; i++) {
        const struct ptq_shard_entry *e = &shards->entry[i];
        const struct ptq_tensor *t = ptq_checkpoint_find(c, e->tensor);
        if (t && t->file == &c->file[e->shard]) continue;
        return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%.100s' is said to be in %s, which has no such tensor",
                        shards->path, e->tensor, shards->name[e->shard]);
    }
    return PTQ_OK;
}

/* Nothing is sized by what the index says, but a wrong number hints at a file of another checkpoint. */
static void compare_size(const struct ptq_checkpoint *c, const struct ptq_shards *shards)
{
    int64_t bytes = 0;
    for (int i = 0; i < c->n_tensors; i++) bytes += (int64_t)c->tensor[i].bytes;
    if (shards->total_size >= 0 && shards->total_size != bytes)
        ptq_progress_note("%s: metadata.total_size is %lld, but the tensors have %lld bytes; the tensors count",
                          shards->path, (long long)shards->total_size, (long long)bytes);
}

static enum ptq_status open_shards(struct ptq_arena *arena, struct ptq_checkpoint *c, struct ptq_error *err)
{
    struct ptq_shards shards;
    PTQ_TRY(ptq_shards_read(arena, c->folder, &shards, err));
    c->file = ptq_new(arena, struct ptq_mapped, shards.n);
    for (int i = 0; i < shards.n; i++, c->n_files++)
        if (ptq_map_member(arena, c->folder, shards.name[i], &c->file[i], err))
            return ptq_within(err, "shard %d of %d", i + 1, shards.n);
    PTQ_TRY(read_shards(arena, c, err));
    PTQ_TRY(sort_tensors(c, err));
    PTQ_TRY(check_index(c, &shards, err));
    compare_size(c, &shards);
    return PTQ_OK;
}

static enum ptq_status open_folder(struct ptq_arena *arena, struct ptq_checkpoint *c, struct ptq_error *err)
{
    size_t n;
    enum ptq_kind kind;
    const char *name = PTQ_ONE_FILE;
    c->folder = c->path;
    PTQ_TRY(ptq_look(ptq_join(arena, c->folder, name), &kind, err));
    if (kind != PTQ_FILE) PTQ_TRY(ptq_other_file(arena, c->folder, &name, err));
    if (!name) return open_shards(arena, c, err);
    c->file = ptq_new(arena, struct ptq_mapped, 1);
    PTQ_TRY(ptq_map_member(arena, c->folder, name, &c->file[0], err));
    c->n_files = 1;
    PTQ_TRY(ptq_safetensors_read(arena, &c->file[0], &c->tensor, &n, err));
    c->n_tensors = (int)n;
    return PTQ_OK;
}

enum ptq_status ptq_checkpoint_open(struct ptq_arena *arena, const char *path, struct ptq_checkpoint *out,
                                    struct ptq_error *err)
{
    *out = (struct ptq_checkpoint){.path = ptq_strdup(arena, path)};
    enum ptq_kind kind;
    enum ptq_status status = ptq_look(path, &kind, err);
    if (!status) status = kind == PTQ_FOLDER ? open_folder(arena, out, err) : open_file(arena, path, out, err);
    if (!status) status = sort_tensors(out, err);
    if (status) ptq_checkpoint_close(out);
    return status;
}

void ptq_checkpoint_close(struct ptq_checkpoint *checkpoint)
{
    for (int i = 0; i < checkpoint->n_files; i++) ptq_unmap(&checkpoint->file[i]);
    *checkpoint = (struct ptq_checkpoint){0};
}

/* ---- asking ---- */

static int name_order(const void *name, const void *tensor)
{
    return strcmp(name, ((const struct ptq_tensor *)tensor)->name);
}

const struct ptq_tensor *ptq_checkpoint_find(const struct ptq_checkpoint *c, const char *name)
{
    if (!c->n_tensors) return NULL;
    return bsearch(name, c->tensor, (size_t)c->n_tensors, sizeof *c->tensor, name_order);
}

enum ptq_status ptq_tensor_shape(const struct ptq_tensor *t, int64_t n, int64_t k, const char *asking,
                                 struct ptq_error *err)
{
    char is[22 * PTQ_MAX_RANK] = "", wanted[48];
    size_t used = 0;
    int fits = k < 0 ? t->rank == 1 && t->shape[0] == n : t->rank == 2 && t->shape[0] == n && t->shape[1] == k;
    if (fits) return PTQ_OK;
    for (int i = 0; i < t->rank; i++)
        used += (size_t)snprintf(is + used, sizeof is - used, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    snprintf(wanted, sizeof wanted, k < 0 ? "%lld" : "%lld, %lld", (long long)n, (long long)k);
    return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%s' is [%s]; %s asks for [%s]", t->file->path, t->name, is, asking,
                    wanted);
}

static enum ptq_status hash_file(const struct ptq_mapped *file, char hex[PTQ_SHA256_HEX], struct ptq_error *err)
{
    struct ptq_sha256 *hash = ptq_sha256_begin();
    enum ptq_status status = PTQ_OK;
    for (size_t at = 0; at < file->size && !status; at += HASH_STEP) {
        size_t n = file->size - at < HASH_STEP ? file->size - at : HASH_STEP;
        ptq_sha256_add(hash, file->data + at, n);
        status = ptq_interrupted(err);
    }
    ptq_sha256_end(hash, hex);
    return status;
}

/* "name sha256\n" of one file. */
static enum ptq_status add_file(struct ptq_sha256 *all, const struct ptq_mapped *file, struct ptq_error *err)
{
    char hex[PTQ_SHA256_HEX];
    const char *name = ptq_file_name(file->path);
    PTQ_TRY(hash_file(file, hex, err));
    ptq_sha256_add(all, name, strlen(name));
    ptq_sha256_add(all, " ", 1);
    ptq_sha256_add(all, hex, PTQ_SHA256_HEX - 1);
    ptq_sha256_add(all, "\n", 1);
    return PTQ_OK;
}

enum ptq_status ptq_checkpoint_sha256(const struct ptq_checkpoint *c, char hex[PTQ_SHA256_HEX], struct ptq_error *err)
{
    if (c->n_files == 1) return hash_file(&c->file[0], hex, err);
    struct ptq_sha256 *all = ptq_sha256_begin();
    enum ptq_status status = PTQ_OK;
    for (int i = 0; i < c->n_files && !status; i++) status = add_file(all, &c->file[i], err); /* in name order */
    ptq_sha256_end(all, hex);
    return status;
}

/* The folder's file of that name; "" in hex where there is none. */
static enum ptq_status hash_named(const struct ptq_checkpoint *c, const char *name, char hex[PTQ_SHA256_HEX],
                                  struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make(name);
    struct ptq_mapped file = {0};
    enum ptq_kind kind;
    hex[0] = 0;
    const char *path = c->folder ? ptq_join(arena, c->folder, name) : "";
    enum ptq_status status = ptq_look(path, &kind, err);
    if (!status && kind == PTQ_FILE) status = ptq_map_inside(arena, path, &file, err);
    if (!status && file.path) status = hash_file(&file, hex, err);
    ptq_unmap(&file);
    ptq_arena_free(arena);
    return status;
}

/* Where another file says how codes are meant (core/quantized.c), it counts, too. */
enum ptq_status ptq_checkpoint_config_sha256(const struct ptq_checkpoint *c, char hex[PTQ_SHA256_HEX],
                                             struct ptq_error *err)
{
    static const char *const others[] = {"quantize_config.json", "quant_config.json"};
    PTQ_TRY(hash_named(c, "config.json", hex, err));
    for (int i = 0; i < 2; i++) {
        char other[PTQ_SHA256_HEX];
        PTQ_TRY(hash_named(c, others[i], other, err));
        if (!other[0]) continue;
        struct ptq_sha256 *both = ptq_sha256_begin();
        ptq_sha256_add(both, hex, strlen(hex));
        ptq_sha256_add(both, other, strlen(other));
        ptq_sha256_end(both, hex);
    }
    return PTQ_OK;
}

/* ---- reading ---- */

static int is_finite(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (bits & 0x7f800000) != 0x7f800000;
}

/* Whether all are finite; without a branch in the loop, so that it is a few vector instructions. */
static int all_finite(const float *x, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        bad |= (bits & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

static enum ptq_status not_finite(const struct ptq_tensor *t, int64_t first, const float *x, struct ptq_error *err)
{
    int64_t i = 0;
    while (is_finite(x[i])) i++;
    return ptq_fail(err, PTQ_ENUMERIC,
                    "%s: tensor '%.100s': element %lld is %s; the file is damaged or the model broken", t->file->path,
                    t->name, (long long)(first + i), x[i] > 0 || x[i] < 0 ? "infinite" : "NaN");
}

enum ptq_status ptq_tensor_read(const struct ptq_tensor *t, int64_t first, int64_t n, float *out, struct ptq_error *err)
{
    const struct ptq_dtype_info *type = &ptq_dtypes[t->dtype];
    assert(first >= 0 && n >= 0 && first <= t->count && n <= t->count - first);
    assert(first % type->block_elements == 0 && n % type->block_elements == 0);
    if (!type->to_f32)
        return ptq_fail(err, PTQ_EINPUT, "%s: tensor '%.100s' is %s, which ptq does not read as weights", t->file->path,
                        t->name, type->name);
    const unsigned char *from = (const unsigned char *)t->data + first / type->block_elements * type->block_bytes;
    void (*decode)(const void *, float *, size_t) = t->exact && type->exact ? type->exact : type->to_f32;
    for (int64_t i = 0; i < n; i += READ_STEP) { /* a step stays in the first cache for the look at it */
        int64_t step = n - i < READ_STEP ? n - i : READ_STEP;
        decode(from, out + i, (size_t)step);
        if (!all_finite(out + i, (size_t)step)) return not_finite(t, first + i, out + i, err);
        from += step / type->block_elements * type->block_bytes;
    }
    return PTQ_OK;
}
