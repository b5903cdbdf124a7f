#include "diff_models.h"

#include "checkpoint.h"
#include "diff_config.h"
#include "escape.h"
#include "progress.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 1 << 16 }; /* elements at a time; a multiple of every dtype's block */

struct difference {
    double worst, squares, power;
};

/* What a walk over two checkpoints needs. */
struct walk {
    float *buffer; /* [2][CHUNK] */
    FILE *out;
    struct ptq_arena *arena;
};

/* A stranger's name, as a terminal may see it. */
static const char *shown(const struct walk *w, const char *name)
{
    return ptq_escape(w->arena, PTQ_TABLE_TEXT, name);
}

static enum ptq_status compare_values(const struct ptq_tensor *a, const struct ptq_tensor *b, float *buffer,
                                      struct difference *d, struct ptq_error *err)
{
    *d = (struct difference){0};
    for (int64_t first = 0; first < a->count; first += CHUNK) {
        int64_t n = a->count - first < CHUNK ? a->count - first : CHUNK;
        PTQ_TRY(ptq_interrupted(err));
        PTQ_TRY(ptq_tensor_read(a, first, n, buffer, err));
        PTQ_TRY(ptq_tensor_read(b, first, n, buffer + CHUNK, err));
        for (int64_t i = 0; i < n; i++) {
            double off = (double)buffer[i] - buffer[CHUNK + i];
            d->worst = fmax(d->worst, fabs(off));
            d->squares += off * off;
            d->power += (double)buffer[i] * buffer[i];
        }
    }
    return PTQ_OK;
}

/* Codes and images, which are no numbers by themselves. */
static int64_t bytes_apart(const struct ptq_tensor *a, const struct ptq_tensor *b)
{
    const unsigned char *of_a = a->data, *of_b = b->data;
    int64_t apart = 0;
    for (size_t i = 0; i < a->bytes; i++) apart += of_a[i] != of_b[i];
    return apart;
}

static void compare_bytes(const struct ptq_tensor *a, const struct ptq_tensor *b, const char *name,
                          const struct walk *w, int *same)
{
    int64_t apart = bytes_apart(a, b);
    *same = apart == 0;
    if (!*same)
        fprintf(w->out, "%-56s %lld of %zu bytes differ (%s)\n", name, (long long)apart, a->bytes,
                ptq_dtypes[a->dtype].name);
}

static int same_shape(const struct ptq_tensor *a, const struct ptq_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, sizeof *a->shape * (size_t)a->rank) == 0;
}

/* One tensor that both have; *same: whether its values are. */
static enum ptq_status compare(const struct ptq_tensor *a, const struct ptq_tensor *b, const struct walk *w, int *same,
                               struct ptq_error *err)
{
    struct difference d;
    const char *name = shown(w, a->name);
    *same = 0;
    if (!same_shape(a, b)) {
        fprintf(w->out, "%-56s shapes differ\n", name);
        return PTQ_OK;
    }
    if (a->dtype == b->dtype && !ptq_dtypes[a->dtype].to_f32) {
        compare_bytes(a, b, name, w, same);
        return PTQ_OK;
    }
    PTQ_TRY(compare_values(a, b, w->buffer, &d, err));
    *same = d.worst == 0;
    if (!*same)
        fprintf(w->out, "%-56s largest %.3g, root mean square %.3g, relative %.3g\n", name, d.worst,
                sqrt(d.squares / (double)a->count), d.power > 0 ? sqrt(d.squares / d.power) : INFINITY);
    if (a->dtype != b->dtype)
        fprintf(w->out, "%-56s %s and %s\n", name, ptq_dtypes[a->dtype].name, ptq_dtypes[b->dtype].name);
    return PTQ_OK;
}

/* Both lists are sorted by name: one walk over them. */
static enum ptq_status walk(const struct ptq_checkpoint *a, const struct ptq_checkpoint *b, const struct walk *w,
                            int *equal, struct ptq_error *err)
{
    int both = 0, alike = 0, lone = 0;
    for (int i = 0, j = 0; i < a->n_tensors || j < b->n_tensors;) {
        int order = i == a->n_tensors ? 1 : j == b->n_tensors ? -1 : strcmp(a->tensor[i].name, b->tensor[j].name);
        if (order) {
            fprintf(w->out, "%-56s only in %s\n", shown(w, order < 0 ? a->tensor[i].name : b->tensor[j].name),
                    order < 0 ? a->path : b->path);
            lone++;
        } else {
            int same;
            PTQ_TRY(compare(&a->tensor[i], &b->tensor[j], w, &same, err));
            alike += same;
            both++;
        }
        i += order <= 0;
        j += order >= 0;
    }
    int same_config;
    PTQ_TRY(ptq_diff_configs(w->arena, a, b, w->out, &same_config, err));
    const char *what = same_config ? "" : a->gguf ? "; other metadata" : "; another config.json";
    fprintf(w->out, "%d tensor%s in both, %d with the same values, %d that differ; %d in one only%s%s\n", both,
            both == 1 ? "" : "s", alike, both - alike, lone, what, *what ? ", which makes them two models" : "");
    *equal = alike == both && lone == 0 && same_config;
    return PTQ_OK;
}

enum ptq_status ptq_diff_models(const char *a, const char *b, FILE *out, int *equal, struct ptq_error *err)
{
    struct ptq_arena *arena = ptq_arena_make("diff");
    struct ptq_checkpoint first = {0}, second = {0};
    enum ptq_status status = ptq_checkpoint_open(arena, a, &first, err);
    if (!status) status = ptq_checkpoint_open(arena, b, &second, err);
    struct walk w = {.buffer = ptq_new(arena, float, 2 * CHUNK), .out = out, .arena = arena};
    if (!status) status = walk(&first, &second, &w, equal, err);
    ptq_checkpoint_close(&first);
    ptq_checkpoint_close(&second);
    ptq_arena_free(arena);
    return status;
}
