#include "stats_cache.h"

#include "h5.h"
#include "mapped.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME = 64 };

static void group_name(char out[NAME], int64_t block, int input)
{
    snprintf(out, NAME, "/block%lld/%s", (long long)block, ptq_input_name[input]);
}

static enum ptq_status finish(struct ptq_h5 *file, enum ptq_status status, struct ptq_error *err)
{
    if (!status) return ptq_h5_commit(file, err);
    ptq_h5_abandon(file);
    return status;
}

static enum ptq_status fetch_floats(struct ptq_h5 *file, const char *group, const char *name, float *out, int64_t rows,
                                    int64_t columns, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("cached statistics");
    float *data;
    int64_t r, c;
    enum ptq_status status = ptq_h5_floats(file, group, name, arena, &data, &r, &c, err);
    if (!status && r * c != rows * columns) status = ptq_fail(err, PTQ_EINPUT, "%s/%s has another size", group, name);
    for (int64_t i = 0; !status && i < rows * columns; i++) {
        if (!isfinite(data[i])) status = ptq_fail(err, PTQ_EINPUT, "%s/%s is not finite", group, name);
        out[i] = data[i];
    }
    ptq_arena_free(arena);
    return status;
}

/* ---- means ---- */

enum ptq_status ptq_means_store(const char *path, const struct ptq_model_stats *stats, struct ptq_error *err)
{
    struct ptq_h5 *file;
    PTQ_TRY(ptq_h5_create(path, &file, err));
    enum ptq_status status = PTQ_OK;
    for (int64_t b = 0; !status && b < stats->blocks; b++)
        for (int input = 0; !status && input < PTQ_N_INPUT; input++) {
            const struct ptq_stats *s = &stats->input[b][input];
            char group[NAME];
            group_name(group, b, input);
            status = ptq_h5_put_floats(file, group, "absmean", s->absmean, 1, s->k, err);
            if (!status) status = ptq_h5_put_floats(file, group, "sample", s->sample, s->n_sample, s->k, err);
        }
    return finish(file, status, err);
}

enum ptq_status ptq_means_fetch(const char *path, struct ptq_model_stats *out, struct ptq_error *err)
{
    struct ptq_h5 *file;
    PTQ_TRY(ptq_h5_open(path, &file, err));
    enum ptq_status status = PTQ_OK;
    for (int64_t b = 0; !status && b < out->blocks; b++)
        for (int input = 0; !status && input < PTQ_N_INPUT; input++) {
            struct ptq_stats *s = &out->input[b][input];
            char group[NAME];
            group_name(group, b, input);
            status = fetch_floats(file, group, "absmean", s->absmean, 1, s->k, err);
            if (!status) status = fetch_floats(file, group, "sample", s->sample, s->n_sample, s->k, err);
        }
    ptq_h5_close(file);
    return status;
}

/* ---- moments: of a Gram matrix the rows of its upper triangle, one after the other ---- */

static const char *block_path(struct ptq_arena *arena, const char *folder, int64_t block)
{
    return ptq_format(arena, "%s/block%04lld.h5", folder, (long long)block);
}

int ptq_moments_are_there(const char *folder, int64_t block)
{
    struct ptq_arena *arena = ptq_arena_make("name");
    int there = ptq_is_file(block_path(arena, folder, block)); /* where nobody can say, they are measured again */
    ptq_arena_free(arena);
    return there;
}

static enum ptq_status store_input(struct ptq_h5 *file, int64_t block, int input, const struct ptq_moments *m,
                                   struct ptq_error *err)
{
    char group[NAME];
    int64_t k = m->k, n = 0;
    struct ptq_arena *arena = ptq_arena_make("triangle");
    float *triangle = ptq_new(arena, float, k *(k + 1) / 2);
    for (int64_t i = 0; i < k; n += k - i, i++)
        memcpy(triangle + n, m->gram + i * k + i, sizeof(float) * (size_t)(k - i));
    group_name(group, block, input);
    enum ptq_status status = ptq_h5_put_floats(file, group, "gram", triangle, 1, n, err);
    if (!status) status = ptq_h5_put_floats(file, group, "row", m->row, m->n_row, k, err);
    ptq_arena_free(arena);
    return status;
}

enum ptq_status ptq_moments_store(const char *folder, int64_t block, const struct ptq_moments moments[PTQ_N_INPUT],
                                  struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("name");
    struct ptq_h5 *file;
    enum ptq_status status = ptq_make_folder(folder, err);
    if (!status) status = ptq_h5_create(block_path(arena, folder, block), &file, err);
    if (!status) {
        for (int input = 0; !status && input < PTQ_N_INPUT; input++)
            status = store_input(file, block, input, &moments[input], err);
        status = finish(file, status, err);
    }
    ptq_arena_free(arena);
    return status;
}

static enum ptq_status fetch_input(struct ptq_h5 *file, int64_t block, int input, struct ptq_arena *arena,
                                   struct ptq_moments *m, struct ptq_error *err)
{
    char group[NAME];
    int64_t k = m->k, n = 0;
    struct ptq_arena *work = ptq_arena_make("triangle");
    float *triangle = ptq_new(work, float, k *(k + 1) / 2);
    m->gram = ptq_new(arena, float, k *k);
    m->row = ptq_new(arena, float, m->n_row *k);
    group_name(group, block, input);
    enum ptq_status status = fetch_floats(file, group, "gram", triangle, 1, k * (k + 1) / 2, err);
    if (!status) status = fetch_floats(file, group, "row", m->row, m->n_row, k, err);
    for (int64_t i = 0; i < k; n += k - i, i++)
        memcpy(m->gram + i * k + i, triangle + n, sizeof(float) * (size_t)(k - i));
    ptq_arena_free(work);
    return status;
}

enum ptq_status ptq_moments_fetch(const char *folder, int64_t block, const struct ptq_stats like[PTQ_N_INPUT],
                                  struct ptq_arena *arena, struct ptq_moments out[PTQ_N_INPUT], struct ptq_error *err)
{
    const char *path = block_path(arena, folder, block);
    struct ptq_h5 *file;
    enum ptq_status status = ptq_h5_open(path, &file, err);
    if (!status) {
        for (int input = 0; !status && input < PTQ_N_INPUT; input++) {
            out[input] = (struct ptq_moments){.k = like[input].k, .n_row = ptq_moments_rows(like[input].rows)};
            status = fetch_input(file, block, input, arena, &out[input], err);
        }
        ptq_h5_close(file);
    }
    if (status != PTQ_EINPUT) return status; /* what the system cannot give today is not damaged */
    remove(path);
    return ptq_within(err, "statistics %s were damaged and are removed; run again, and they are measured again", path);
}
